//! What this instance knows of recent revocations: the notices that verifiers need, and up to when it
//! is known that none is missing.
//!
//! A notice stays for as long as a token it is about can live. Posting is monotone: the later instant
//! wins, whatever comes first. Behind the notices is the [`Overlay`]: the revocations themselves, which
//! every record is read with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::policy::ACCESS_FOR_MAX;
use crate::session::{Event, Known, Notice, Overlay, Target};
use crate::time::{Reading, Timestamp};
use crate::token::INSTANCE_SKEW_MAX;
use crate::token::access::VerifiedClaims;

/// Most posts that are looked at for one part: whoever decides about a request waits meanwhile.
const LOOKED_AT_MAX: usize = 4096;

/// How long what is known to be complete is good enough to decide by: as long as verifiers of their own
/// are told to go on without a checkpoint.
pub const CURRENT_FOR: Duration = Duration::from_secs(5);

/// The notices of an instance.
#[derive(Debug, Default)]
pub struct Board {
    posts: Mutex<Posts>,
    overlay: RwLock<Overlay>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Posts {
    /// The number of the newest post; a post that is raised gets a new one.
    newest: u64,
    by_number: BTreeMap<u64, Target>,
    by_target: HashMap<Target, Post>,
    complete: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Post {
    number: u64,
    arrived_at: Timestamp,
    issued_until: Timestamp,
}

/// Notices from some point on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The notices, oldest first.
    pub notices: Vec<Notice>,
    /// Where to go on.
    pub number: u64,
    /// No revocation that was committed before this moment is missing on the board; `None`: that is
    /// not known yet.
    pub complete: Option<Reading>,
}

/// A bounded part of the notices from some point on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The notices, oldest first, and where to go on.
    pub news: News,
    /// Whether there is more behind it.
    pub more: bool,
}

impl Board {
    /// Posts a notice.
    pub fn post(&self, notice: Notice, now: Timestamp) {
        let mut posts = self.posts();
        let known = posts.by_target.get(&notice.target).copied();
        if known.is_some_and(|known| known.issued_until >= notice.issued_until) {
            return;
        }
        if let Some(known) = known {
            posts.by_number.remove(&known.number);
        }
        posts.newest = posts.newest.saturating_add(1);
        let post = Post {
            number: posts.newest,
            arrived_at: now,
            issued_until: notice.issued_until,
        };
        posts.by_number.insert(post.number, notice.target.clone());
        posts.by_target.insert(notice.target, post);
        let newest = posts.newest;
        drop(posts);
        self.changed.send_replace(newest);
    }

    /// Posts what verifiers have to know of an event that the store has since `kept_at`, and takes note of
    /// what it says for good.
    pub fn tell(&self, event: &Event, kept_at: Timestamp, now: Timestamp) {
        self.take(event, None, (kept_at, now));
    }

    /// The same of what the store was asked for after so many [`Overlay::doubts`] and says it has. With
    /// another doubt since then it may be a server that says so whose place another has taken: then it
    /// counts as missing until it is heard.
    pub fn tell_done(&self, event: &Event, doubts: u64, now: Timestamp) {
        self.take(event, Some(doubts), (now, now));
    }

    fn take(&self, event: &Event, doubts: Option<u64>, (kept_at, now): (Timestamp, Timestamp)) {
        if let Some(known) = Known::of(event) {
            let mut overlay = self.overlay_mut();
            let kept = doubts.is_none_or(|doubts| doubts == overlay.doubts());
            overlay.note(known, kept);
        }
        if let Some(notice) = event.notice(kept_at) {
            self.post(notice, now);
        }
    }

    /// The same of something the store could not be told yet: it holds here, and waits until it lands.
    /// Whether there was room for it.
    #[must_use]
    pub fn hold(&self, known: Known, now: Timestamp) -> bool {
        let notice = known.event.notice(now);
        let held = self.overlay_mut().wait(known);
        if let Some(notice) = notice.filter(|_| held) {
            self.post(notice, now);
        }
        held
    }

    /// What was held, or doubted, is in the store now, or is of no use there.
    pub fn settle(&self, known: &Known) {
        self.overlay_mut().settle(known);
    }

    /// Everything known of recent revocations.
    pub fn overlay(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlay_mut(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that everything committed before `complete` was posted, and takes down what no token can be
    /// about any more. What is newer by the steady part of it counts: its instant is an earlier one where
    /// the clock was set back.
    pub fn checkpoint(&self, complete: Reading, now: Timestamp) {
        self.overlay_mut().prune(now);
        let mut posts = self.posts();
        let newer = posts
            .complete
            .filter(|known| known.steady > complete.steady);
        posts.complete = Some(newer.unwrap_or(complete));
        let over = now.before(ACCESS_FOR_MAX).before(INSTANCE_SKEW_MAX);
        let Posts {
            by_number,
            by_target,
            newest,
            ..
        } = &mut *posts;
        by_target.retain(|_, post| {
            let stays = post.issued_until >= over;
            if !stays {
                by_number.remove(&post.number);
            }
            stays
        });
        let newest = *newest;
        drop(posts);
        // Those who pass checkpoints on wake up as well.
        self.changed.send_replace(newest);
    }

    /// Says that nothing is known to be complete any more: what was read may have been lost.
    pub fn doubt(&self) {
        self.overlay_mut().doubt();
        self.posts().complete = None;
    }

    /// Up to when it is known that no revocation is missing.
    #[must_use]
    pub fn complete_until(&self) -> Option<Timestamp> {
        self.complete().map(|complete| complete.now)
    }

    /// The same as the clock showed it, so that its age can be told.
    #[must_use]
    pub fn complete(&self) -> Option<Reading> {
        self.posts().complete
    }

    /// Up to when it is known, where that is recent enough to decide by; `None`: the store has to be
    /// asked. Where the clock was set back nothing is recent until the next checkpoint.
    #[must_use]
    pub fn current(&self, now: Reading) -> Option<Timestamp> {
        let complete = self.complete()?;
        let recent = complete.now <= now.now && now.since(complete) <= CURRENT_FOR;
        recent.then_some(complete.now)
    }

    /// Whether a notice is about this access token.
    #[must_use]
    pub fn covers(&self, token: &VerifiedClaims) -> bool {
        let claims = token.claims();
        let posts = self.posts();
        let about = |target: &Target| {
            let post = posts.by_target.get(target);
            post.is_some_and(|post| claims.issued_at <= post.issued_until)
        };
        about(&Target::Session(claims.session))
            || about(&Target::Device(claims.device))
            || about(&Target::App(claims.app.clone()))
            || about(&Target::Everything)
    }

    /// What was posted behind this number; 0: everything.
    #[must_use]
    pub fn since(&self, number: u64) -> News {
        self.posts().news(number, None)
    }

    /// What arrived at this instant or later: for a reader that has everything that was complete
    /// before.
    #[must_use]
    pub fn arrived_since(&self, instant: Timestamp) -> News {
        self.posts().news(0, Some(instant))
    }

    /// At most `limit` notices that were posted behind this number, of those that arrived at this
    /// instant or later, where one is given; such a part may have none and still have more behind it.
    /// What is raised while somebody reads part by part comes again, behind what was there.
    #[must_use]
    pub fn part(&self, behind: u64, arrived: Option<Timestamp>, limit: usize) -> Part {
        self.posts().part(behind, arrived, (limit, LOOKED_AT_MAX))
    }

    /// A signal with every post and every checkpoint.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn posts(&self) -> MutexGuard<'_, Posts> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posts {
    fn news(&self, behind: u64, arrived: Option<Timestamp>) -> News {
        let all = (usize::MAX, usize::MAX);
        self.part(behind, arrived, all).news
    }

    fn part(
        &self,
        behind: u64,
        arrived: Option<Timestamp>,
        (limit, looked_at_max): (usize, usize),
    ) -> Part {
        let mut newer = self.by_number.range(behind.saturating_add(1)..);
        let mut notices = Vec::new();
        let mut last = behind;
        for (number, target) in newer.by_ref().take(looked_at_max) {
            last = *number;
            let post = self.by_target.get(target);
            let wanted = |post: &&Post| arrived.is_none_or(|since| post.arrived_at >= since);
            if let Some(post) = post.filter(wanted) {
                notices.push(Notice {
                    target: target.clone(),
                    issued_until: post.issued_until,
                });
            }
            if notices.len() >= limit {
                break;
            }
        }
        let more = newer.next().is_some();
        let news = News {
            notices,
            number: if more { last } else { self.newest },
            complete: self.complete,
        };
        Part { news, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Bucket, SessionId};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    fn reading(now: Timestamp) -> Reading {
        Reading {
            now,
            ..Reading::default()
        }
    }

    fn notice(number: u8, until: i64) -> Notice {
        Notice {
            target: Target::Session(SessionId::new(Bucket::new(1).unwrap(), [number; 16])),
            issued_until: at(until),
        }
    }

    #[test]
    fn the_later_instant_wins_whatever_comes_first() {
        let board = Board::default();
        board.post(notice(1, 20), at(20));
        board.post(notice(2, 20), at(20));
        board.post(notice(1, 10), at(21));
        assert_eq!(
            board.since(0).notices,
            [notice(1, 20), notice(2, 20)],
            "an older one changes nothing"
        );
        let seen = board.since(0).number;
        board.post(notice(1, 30), at(30));
        assert_eq!(board.since(seen).notices, [notice(1, 30)]);
        assert_eq!(board.since(0).notices, [notice(2, 20), notice(1, 30)]);
        assert_eq!(board.arrived_since(at(30)).notices, [notice(1, 30)]);
    }

    #[test]
    fn a_notice_stays_for_as_long_as_a_token_lives() {
        let board = Board::default();
        board.post(notice(1, 0), at(0));
        let life = ACCESS_FOR_MAX + INSTANCE_SKEW_MAX;
        board.checkpoint(reading(at(0).after(life)), at(0).after(life));
        assert_eq!(board.since(0).notices, [notice(1, 0)]);
        let later = at(0).after(life).after(Duration::from_millis(1));
        board.checkpoint(reading(later), later);
        assert_eq!(board.since(0).notices, []);
        assert_eq!(board.complete_until(), Some(later));
        board.doubt();
        assert_eq!(board.complete_until(), None);
    }

    #[test]
    fn parts_put_together_are_everything_also_what_is_raised_meanwhile() {
        let board = Board::default();
        for number in 1..=5 {
            board.post(notice(number, 20), at(i64::from(number)));
        }
        let first = board.part(0, None, 2);
        assert_eq!(first.news.notices, [notice(1, 20), notice(2, 20)]);
        assert!(first.more);
        board.post(notice(4, 30), at(6));
        let second = board.part(first.news.number, None, 2);
        assert_eq!(second.news.notices, [notice(3, 20), notice(5, 20)]);
        let third = board.part(second.news.number, None, 2);
        assert_eq!(third.news.notices, [notice(4, 30)]);
        assert!(!third.more);
        let end = board.part(third.news.number, None, 2);
        assert_eq!((end.news.notices.len(), end.more), (0, false));
        let late = board.part(0, Some(at(5)), 1);
        assert_eq!(late.news.notices, [notice(5, 20)]);
        let late = board.part(late.news.number, Some(at(5)), 1);
        assert_eq!((late.news.notices, late.more), (vec![notice(4, 30)], false));
    }

    #[test]
    fn a_part_looks_at_so_many_posts_and_goes_on_behind_them() {
        let board = Board::default();
        let last = u32::try_from(LOOKED_AT_MAX).unwrap() + 1;
        let numbered = |number: u32| {
            let mut unique = [0; 16];
            unique[..4].copy_from_slice(&number.to_be_bytes());
            Notice {
                target: Target::Session(SessionId::new(Bucket::new(1).unwrap(), unique)),
                issued_until: at(20),
            }
        };
        for number in 1..last {
            board.post(numbered(number), at(1));
        }
        board.post(numbered(last), at(2));
        let none = board.part(0, Some(at(2)), 2);
        assert_eq!((none.news.notices.len(), none.more), (0, true));
        let one = board.part(none.news.number, Some(at(2)), 2);
        assert_eq!((one.news.notices, one.more), (vec![numbered(last)], false));
    }
}
