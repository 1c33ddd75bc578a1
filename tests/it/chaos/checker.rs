//! Decides whether a history keeps the promises of sessions. Pure: it knows what was asked and answered,
//! and nothing of how the service works.

use std::collections::BTreeMap;
use std::fmt;

use assay::reason::Reason;

use super::history::{Answer, Deed, Entry, Name, Outcome, Target, Tick, Token};

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Nobody is logged out without a cause: a revocation, an end, the time, an old token.
    NoLogoutWithoutCause,
    /// A token has one successor, and a generation has one token.
    OneBranch,
    /// Of those who present a token, exactly one rotates it; the others are told again.
    OneRotation,
    /// What was acknowledged as revoked is never authorised after that.
    RevokedStaysOut,
    /// The key of a revoked device does not come back.
    RevokedKeyStaysOut,
    /// Generations only go forward, and only after a loss is there anything to heal.
    Forward,
}

impl Rule {
    pub(super) const ALL: [Self; 6] = [
        Self::NoLogoutWithoutCause,
        Self::OneBranch,
        Self::OneRotation,
        Self::RevokedStaysOut,
        Self::RevokedKeyStaysOut,
        Self::Forward,
    ];
}

/// A promise that was broken, and by what.
#[derive(Clone)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) entries: Vec<Entry>,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rule)?;
        for entry in &self.entries {
            write!(
                f,
                "\n  {}..{} {:?} -> {:?}",
                entry.began, entry.ended, entry.deed, entry.answer
            )?;
        }
        Ok(())
    }
}

/// What the policy of the run says, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lives {
    pub(super) grace: i64,
    pub(super) idle: i64,
    pub(super) absolute: i64,
}

/// Every broken promise of a history.
pub(super) fn check(entries: &[Entry], lives: Lives) -> Vec<Violation> {
    let history = History::of(entries, lives);
    let mut found = Vec::new();
    for session in history.sessions.values() {
        history.logouts(session, &mut found);
        history.branches(session, &mut found);
        history.rotations(session, &mut found);
        history.backwards(session, &mut found);
        history.authorised(session, &mut found);
    }
    history.devices(&mut found);
    found
}

/// Everything about one session, in the order in which it ended.
#[derive(Default)]
struct Session {
    name: Name,
    /// Its device, its subject, and how it was opened. An opening whose answer was lost is unknown.
    opened: Option<(Name, Name, Entry)>,
    entries: Vec<Entry>,
}

struct History {
    lives: Lives,
    sessions: BTreeMap<Name, Session>,
    revocations: Vec<(Target, Entry)>,
    losses: Vec<(Tick, Entry)>,
    registrations: Vec<(Name, Entry)>,
    openings: Vec<(Name, Name, Entry)>,
}

impl History {
    fn of(entries: &[Entry], lives: Lives) -> Self {
        let mut entries = entries.to_vec();
        entries.sort_by_key(|entry| entry.ended);
        let mut history = Self {
            lives,
            sessions: BTreeMap::new(),
            revocations: Vec::new(),
            losses: Vec::new(),
            registrations: Vec::new(),
            openings: Vec::new(),
        };
        for entry in entries {
            match entry.deed {
                Deed::Register { device } => history.registrations.push((device, entry)),
                Deed::Issue { device, subject } => {
                    history.openings.push((device, subject, entry));
                    if let Answer::Issued(token) = entry.answer {
                        let session = history.session(token.session);
                        session.opened = Some((device, subject, entry));
                        session.entries.push(entry);
                    }
                }
                Deed::Refresh(token) => history.session(token.session).entries.push(entry),
                Deed::Verify { session } | Deed::Introspect { session } => {
                    history.session(session).entries.push(entry);
                }
                Deed::Revoke(target) => history.revocations.push((target, entry)),
                Deed::MayLose { since } => history.losses.push((since, entry)),
            }
        }
        history
    }

    fn session(&mut self, name: Name) -> &mut Session {
        let session = self.sessions.entry(name).or_default();
        session.name = name;
        session
    }

    /// Whether what was answered at `ended` may be gone by `tick`.
    fn may_be_lost(&self, ended: Tick, tick: Tick) -> bool {
        let lost = |(since, loss): &(Tick, Entry)| *since <= ended && loss.began < tick;
        self.losses.iter().any(lost)
    }

    /// Whether a revocation is one of this session. One of a subject or of everything ends what is open
    /// by then, so a session that was asked for after its acknowledgement is none of its.
    fn covers(session: &Session, (target, revocation): &(Target, Entry)) -> bool {
        let opened = session.opened.as_ref();
        let by_then = || {
            let acknowledged = matches!(revocation.answer, Answer::Done { .. });
            opened.is_none_or(|(.., issue)| !acknowledged || issue.began < revocation.ended)
        };
        match target {
            Target::Session(name) => *name == session.name,
            Target::Device(device) => opened.is_some_and(|(of, ..)| of == device),
            Target::Subject(subject) => opened.is_some_and(|(_, of, _)| of == subject) && by_then(),
            Target::Everything => by_then(),
        }
    }

    /// Whether something that may have ended the session began before `entry` ended.
    fn has_cause(&self, session: &Session, entry: &Entry) -> bool {
        let revoked = |revocation: &(Target, Entry)| {
            revocation.1.began < entry.ended && Self::covers(session, revocation)
        };
        let opened = session.opened.as_ref();
        let opening_lost =
            opened.is_some_and(|(.., issue)| self.may_be_lost(issue.ended, entry.ended));
        let reused = |earlier: &Entry| {
            earlier.began < entry.ended && self.presents_an_old_token(session, earlier)
        };
        self.revocations.iter().any(revoked)
            || opening_lost
            || self.is_over(session, entry)
            || session.entries.iter().any(reused)
    }

    /// Whether time alone ends the session by the end of `entry`.
    fn is_over(&self, session: &Session, entry: &Entry) -> bool {
        let Some((.., issue)) = &session.opened else {
            return false;
        };
        let used = session.entries.iter().filter(|used| {
            used.ended <= entry.ended
                && matches!(used.answer, Answer::Refreshed(..) | Answer::Issued(_))
        });
        let last = used.map(|used| used.time).max().unwrap_or(issue.time);
        entry.time >= issue.time + self.lives.absolute || entry.time >= last + self.lives.idle
    }

    /// Whether this presents a token although a newer one was presented before, or grace is over.
    fn presents_an_old_token(&self, session: &Session, entry: &Entry) -> bool {
        let Deed::Refresh(token) = entry.deed else {
            return false;
        };
        session.entries.iter().any(|other| {
            let Deed::Refresh(presented) = other.deed else {
                return false;
            };
            let newer = presented.generation > token.generation && other.began < entry.began;
            let grace_over = presented.generation == token.generation
                && other.time + self.lives.grace < entry.time;
            newer || grace_over
        })
    }

    fn logouts(&self, session: &Session, found: &mut Vec<Violation>) {
        for entry in &session.entries {
            let reused = entry.answer == Answer::Refused(Reason::RefreshTokenReused);
            if reused && self.presents_an_old_token(session, entry) {
                continue;
            }
            let is_out = matches!(entry.answer, Answer::Refused(_) | Answer::Inactive);
            if is_out && !self.has_cause(session, entry) {
                let opened = session.opened.iter().map(|(.., issue)| *issue);
                let entries = opened.chain([*entry]).collect();
                let rule = Rule::NoLogoutWithoutCause;
                found.push(Violation { rule, entries });
            }
        }
    }

    fn branches(&self, session: &Session, found: &mut Vec<Violation>) {
        let rule = Rule::OneBranch;
        let mut of_generation = BTreeMap::<u32, (Token, Entry)>::new();
        let mut meet = |token: Token, entry: Entry| {
            let (known, first) = *of_generation
                .entry(token.generation)
                .or_insert((token, entry));
            if known != token {
                let entries = vec![first, entry];
                found.push(Violation { rule, entries });
            }
        };
        let mut odd = Vec::new();
        for entry in &session.entries {
            match (entry.deed, entry.answer) {
                (_, Answer::Issued(given)) => {
                    meet(given, *entry);
                    if given.generation != 0 {
                        odd.push(*entry);
                    }
                }
                (Deed::Refresh(presented), Answer::Refreshed(_, given)) => {
                    meet(given, *entry);
                    let next = presented.generation + 1;
                    if given.session != presented.session || given.generation != next {
                        odd.push(*entry);
                    }
                }
                _ => {}
            }
        }
        let odd = odd.into_iter().map(|entry| vec![entry]);
        found.extend(odd.map(|entries| Violation { rule, entries }));
    }

    fn rotations(&self, session: &Session, found: &mut Vec<Violation>) {
        let mut presented = BTreeMap::<Token, Vec<Entry>>::new();
        for entry in &session.entries {
            if let Deed::Refresh(token) = entry.deed {
                presented.entry(token).or_default().push(*entry);
            }
        }
        for entries in presented.into_values() {
            let rotated = |entry: &&Entry| {
                use Outcome::{Healed, Rotated};
                matches!(entry.answer, Answer::Refreshed(Rotated | Healed, _))
            };
            let rotations: Vec<Entry> = entries.iter().filter(rotated).copied().collect();
            let twice = rotations
                .windows(2)
                .any(|pair| !self.may_be_lost(pair[0].ended, pair[1].ended));
            let all_answered = entries
                .iter()
                .all(|entry| matches!(entry.answer, Answer::Refreshed(..)));
            if twice || (all_answered && rotations.is_empty()) {
                let rule = Rule::OneRotation;
                found.push(Violation { rule, entries });
            }
        }
    }

    fn backwards(&self, session: &Session, found: &mut Vec<Violation>) {
        let rule = Rule::Forward;
        let mut given: Vec<(u32, Entry)> = Vec::new();
        for entry in &session.entries {
            let Answer::Refreshed(outcome, token) = entry.answer else {
                continue;
            };
            if outcome == Outcome::Healed
                && !self.losses.iter().any(|(_, at)| at.began < entry.ended)
            {
                let entries = vec![*entry];
                found.push(Violation { rule, entries });
            }
            let newer = given.iter().find(|(generation, before)| {
                *generation > token.generation
                    && before.ended < entry.began
                    && !self.may_be_lost(before.ended, entry.ended)
            });
            if let Some((_, before)) = newer {
                let entries = vec![*before, *entry];
                found.push(Violation { rule, entries });
            }
            given.push((token.generation, *entry));
        }
    }

    fn authorised(&self, session: &Session, found: &mut Vec<Violation>) {
        let is_yes = |answer| {
            matches!(
                answer,
                Answer::Refreshed(..) | Answer::Allowed | Answer::Issued(_)
            )
        };
        for revocation in &self.revocations {
            let (target, acknowledged) = revocation;
            let Answer::Done { durable } = acknowledged.answer else {
                continue;
            };
            if !Self::covers(session, revocation) {
                continue;
            }
            // What was opened while everything was revoked may have come before or after that.
            let whole = matches!(target, Target::Session(_) | Target::Device(_));
            let before = |(.., issue): &(Name, Name, Entry)| issue.ended < acknowledged.began;
            if !whole && !session.opened.as_ref().is_some_and(before) {
                continue;
            }
            let late = session.entries.iter().find(|entry| {
                let undone = !durable && self.may_be_lost(acknowledged.ended, entry.ended);
                entry.began > acknowledged.ended && is_yes(entry.answer) && !undone
            });
            if let Some(late) = late {
                let rule = Rule::RevokedStaysOut;
                let entries = vec![*acknowledged, *late];
                found.push(Violation { rule, entries });
            }
        }
    }

    fn devices(&self, found: &mut Vec<Violation>) {
        let mut banned = BTreeMap::<Name, Vec<Entry>>::new();
        let mut leaving = BTreeMap::<Name, Tick>::new();
        for (target, revocation) in &self.revocations {
            if let Target::Device(device) = target {
                let first = leaving.entry(*device).or_insert(revocation.began);
                *first = revocation.began.min(*first);
                if let Answer::Done { .. } = revocation.answer {
                    banned.entry(*device).or_default().push(*revocation);
                }
            }
        }
        let back = |device: &Name, entry: &Entry| {
            // A store that was emptied forgets the ban; that is said in docs/chaos.md.
            let emptied = |ban: &Entry| {
                self.revocations.iter().any(|(target, emptying)| {
                    *target == Target::Everything
                        && emptying.ended > ban.began
                        && emptying.began < entry.ended
                })
            };
            let holds = |ban: &&Entry| {
                let may_be_lost = self.may_be_lost(ban.ended, entry.ended);
                let durable = ban.answer == (Answer::Done { durable: true });
                let forgotten = may_be_lost && (!durable || emptied(ban));
                entry.began > ban.ended && !forgotten
            };
            banned.get(device)?.iter().find(holds).copied()
        };
        let registrations = self.registrations.iter();
        let registrations = registrations.filter(|(_, entry)| entry.answer == Answer::Registered);
        let openings = self
            .openings
            .iter()
            .map(|(device, _, entry)| (device, entry));
        let openings = openings.filter(|(_, entry)| matches!(entry.answer, Answer::Issued(_)));
        for (device, entry) in registrations
            .map(|(device, entry)| (device, entry))
            .chain(openings)
        {
            if let Some(revocation) = back(device, entry) {
                let rule = Rule::RevokedKeyStaysOut;
                let entries = vec![revocation, *entry];
                found.push(Violation { rule, entries });
            }
        }
        // A device that nobody takes out opens sessions.
        for (device, _, entry) in &self.openings {
            let registered = self.registrations.iter().find(|(of, registration)| {
                of == device
                    && registration.answer == Answer::Registered
                    && registration.ended < entry.began
            });
            let Some((_, registration)) = registered else {
                continue;
            };
            let lost = self.may_be_lost(registration.ended, entry.ended);
            let left = leaving
                .get(device)
                .is_some_and(|began| *began < entry.ended);
            if matches!(entry.answer, Answer::Refused(_)) && !left && !lost {
                let rule = Rule::NoLogoutWithoutCause;
                let entries = vec![*registration, *entry];
                found.push(Violation { rule, entries });
            }
        }
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
