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
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;
use crate::token::access::VerifiedClaims;

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
    complete_until: Option<Timestamp>,
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
    /// No revocation that was committed before this instant is missing on the board; `None`: that is
    /// not known yet.
    pub complete_until: Option<Timestamp>,
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

    /// Posts what verifiers have to know of an event that the store has, and takes note of what it says
    /// for good.
    pub fn tell(&self, event: &Event, now: Timestamp) {
        if let Some(known) = Known::of(event) {
            self.overlay_mut().note(known, true);
        }
        if let Some(notice) = event.notice() {
            self.post(notice, now);
        }
    }

    /// The same of something the store could not be told yet: it holds here, and waits until it lands.
    /// Whether there was room for it.
    #[must_use]
    pub fn hold(&self, known: Known, now: Timestamp) -> bool {
        let notice = known.event.notice();
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

    /// Says that everything committed before `complete_until` was posted, and takes down what no token
    /// can be about any more.
    pub fn checkpoint(&self, complete_until: Timestamp, now: Timestamp) {
        self.overlay_mut().prune(now);
        let mut posts = self.posts();
        posts.complete_until = posts.complete_until.max(Some(complete_until));
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
        self.posts().complete_until = None;
    }

    /// Up to when it is known that no revocation is missing.
    #[must_use]
    pub fn complete_until(&self) -> Option<Timestamp> {
        self.posts().complete_until
    }

    /// Up to when it is known, where that is recent enough to decide by; `None`: the store has to be
    /// asked. Where the clock was set back nothing is recent until it has caught up.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> Option<Timestamp> {
        let recent = |until: &Timestamp| *until <= now && now.since(*until) <= CURRENT_FOR;
        self.complete_until().filter(recent)
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
        let newer = self.by_number.range(behind.saturating_add(1)..);
        let notices = newer.filter_map(|(_, target)| {
            let post = self.by_target.get(target)?;
            let wanted = arrived.is_none_or(|instant| post.arrived_at >= instant);
            wanted.then(|| Notice {
                target: target.clone(),
                issued_until: post.issued_until,
            })
        });
        News {
            notices: notices.collect(),
            number: self.newest,
            complete_until: self.complete_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Bucket, SessionId};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
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
        board.checkpoint(at(0).after(life), at(0).after(life));
        assert_eq!(board.since(0).notices, [notice(1, 0)]);
        let later = at(0).after(life).after(Duration::from_millis(1));
        board.checkpoint(later, later);
        assert_eq!(board.since(0).notices, []);
        assert_eq!(board.complete_until(), Some(later));
        board.doubt();
        assert_eq!(board.complete_until(), None);
    }
}
