//! One server that has data: its connections, and when it is not asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::address::Address;
use super::answer::is_from_replica;
use super::breaker::Breaker;
use super::fault::Fault;
use super::link::{Link, Target};
use super::sentinels::Sentinels;

/// What was not answered when this part of its time has passed is asked a second time. Answers take a
/// hundredth of that, so hardly anything is; and the second has as long as the first was given.
const HEDGE_AFTER: u32 = 2;

/// So many at once are asked a second time: a server that is slow for everyone gets little more to do.
const HEDGES_MAX: usize = 16;

/// What a call may do, and so whether it may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
    /// It looks how the server is, and is let through when nothing else is: what it finds is told to
    /// people, who want to know what is wrong and not that nobody asks.
    Look,
}

/// A server and the links to it.
pub(super) struct Node {
    /// Where it is; of a primary that Sentinels name, nobody knows beforehand.
    pub(super) address: Option<Address>,
    links: Vec<Link>,
    next: AtomicUsize,
    /// For what is asked a second time.
    spare: Link,
    /// For commits that wait for replicas: the server answers nothing else on such a connection
    /// meanwhile. One at a time.
    waiting: Link,
    turn: Mutex<()>,
    breaker: Breaker,
    hedges: Semaphore,
    sentinels: Option<Arc<Sentinels>>,
}

impl Node {
    /// With so many connections for everyday use. They are made on first use.
    pub(super) fn new(
        address: Option<Address>,
        connections: usize,
        connect_timeout: Duration,
        target: impl Fn() -> Target,
    ) -> Self {
        let link = || Link::new(target(), connect_timeout);
        let sentinels = match target() {
            Target::Server(_) => None,
            Target::Primary(sentinels) => Some(sentinels),
        };
        Self {
            address,
            links: (0..connections.max(1)).map(|_| link()).collect(),
            next: AtomicUsize::new(0),
            spare: link(),
            waiting: link(),
            turn: Mutex::new(()),
            breaker: Breaker::default(),
            hedges: Semaphore::new(HEDGES_MAX),
            sentinels,
        }
    }

    /// Sends commands together and gives one answer for each.
    pub(super) async fn send(
        &self,
        commands: &Pipeline,
        purpose: Purpose,
        within: Duration,
    ) -> Result<Vec<Value>, Fault> {
        if purpose != Purpose::Look && !self.breaker.lets_through() {
            return Err(Fault::NotSent(
                "the server did not answer several calls in a row and is left alone for a moment"
                    .to_owned(),
            ));
        }
        self.keep_up();
        let answers = match purpose {
            Purpose::Read => self.read(commands, within).await,
            Purpose::Write | Purpose::Look => self.link().send(commands, within).await,
        };
        if answers.iter().flatten().any(is_from_replica) {
            self.give_up();
        }
        let answered = match &answers {
            Ok(_) | Err(Fault::Refused(_)) => true,
            Err(Fault::NotSent(_) | Fault::NoAnswer(_)) => false,
        };
        self.breaker.note(answered);
        answers
    }

    /// Sends commands that wait for replicas, when no others do; `None`: others did for too long.
    pub(super) async fn send_and_wait(
        &self,
        commands: &Pipeline,
        (until, within): (Instant, Duration),
    ) -> Option<Result<Vec<Value>, Fault>> {
        let turn = timeout_at(until, self.turn.lock()).await.ok()?;
        let waiting = Waiting {
            link: &self.waiting,
            answered: false,
            _turn: turn,
        };
        let answers = self.waiting.send(commands, within).await;
        if answers.iter().flatten().any(is_from_replica) {
            self.give_up();
        }
        waiting.ended(&answers);
        Some(answers)
    }

    /// Finds out beside the calls whether another server is the primary.
    pub(super) fn keep_up(&self) {
        if let Some(sentinels) = &self.sentinels {
            sentinels.look();
        }
    }

    /// Asks, and once more over another connection where no answer comes: the server may be well and
    /// only the connection broken, or its answer stuck behind a long one.
    async fn read(&self, commands: &Pipeline, within: Duration) -> Result<Vec<Value>, Fault> {
        let first = self.link().send(commands, within);
        tokio::pin!(first);
        let waited = within / HEDGE_AFTER;
        let failed = match timeout(waited, &mut first).await {
            Ok(Err(fault @ Fault::NoAnswer(_))) => Some(fault),
            Ok(done) => return done,
            Err(_elapsed) => None,
        };
        let permit = self.hedges.try_acquire();
        match (permit, failed) {
            (Err(_), Some(fault)) => Err(fault),
            (Err(_), None) => first.await,
            (Ok(_permit), Some(_)) => self.spare.send(commands, within - waited).await,
            (Ok(_permit), None) => {
                let second = self.spare.send(commands, within - waited);
                tokio::pin!(second);
                tokio::select! {
                    answers = &mut first => match answers {
                        Err(Fault::NoAnswer(_)) => second.await,
                        done => done,
                    },
                    answers = &mut second => match answers {
                        Err(_) => first.await,
                        done => done,
                    },
                }
            }
        }
    }

    /// Gives every connection up: where a name leads to another server by now, one that only reads would
    /// stay with the old one for ever, and be told what was.
    fn give_up(&self) {
        self.links
            .iter()
            .chain([&self.spare, &self.waiting])
            .for_each(Link::give_up);
    }

    /// The connections take turns.
    fn link(&self) -> &Link {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let number = turn.checked_rem(self.links.len()).unwrap_or(0);
        self.links.get(number).unwrap_or(&self.spare)
    }
}

/// Commands that wait for replicas, under way. Where no answer was heard of them, be it that their
/// caller went away, the server may hold the connection for as long as it waits: the next ones get
/// another one.
struct Waiting<'n> {
    link: &'n Link,
    answered: bool,
    _turn: MutexGuard<'n, ()>,
}

impl Waiting<'_> {
    fn ended(mut self, answers: &Result<Vec<Value>, Fault>) {
        self.answered = !matches!(answers, Err(Fault::NoAnswer(_)));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.link.give_up();
        }
    }
}
