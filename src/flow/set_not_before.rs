//! SetNotBefore: every session that was opened before an instant is dead, of an app or of all; one caller
//! proposes it, another confirms it.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};

use super::settle::insist;
use super::state::{Changes, Done, Loaded};
use super::{Engine, Failure, Receipt};
use crate::id::{BUCKETS, Bucket};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Event, EventKind, Fleet, Reach, first_epoch};
use crate::store::{Durability, keys};
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;
use crate::token::confirm::{self, CONFIRM_FOR, Proposed, VerifiedProposal};

/// Buckets written at once: enough to fill the way to the store and one group commit of the disk, and so
/// few that the calls of others are not held up behind them.
const AT_ONCE: usize = 64;

/// The request.
#[derive(Debug, Clone)]
pub struct SetNotBefore {
    /// Whose sessions.
    pub reach: Reach,
    /// Those opened until this instant; `None`: until now, or with a confirm token what it says.
    pub not_before: Option<Timestamp>,
    /// The token of a proposal; `None`: this is one.
    pub confirm: Option<Secret<String>>,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug)]
pub enum NotBefore {
    /// Nothing is changed yet.
    Proposed {
        /// What another caller confirms it with.
        confirm_token: Secret<String>,
        /// Until when.
        confirm_by: Timestamp,
        /// Sessions opened until this instant would be cut.
        not_before: Timestamp,
    },
    /// It was confirmed, and this is true of it.
    Confirmed(Cut),
}

/// What is true of a confirmed cut.
#[derive(Debug)]
pub struct Cut {
    /// Sessions opened until this instant are cut in the buckets that are done.
    pub not_before: Timestamp,
    /// In how many of all buckets it holds.
    pub buckets_done: u16,
    /// When it holds in all of them: since when, and how far it has got. Otherwise why not, and the same
    /// call again goes on.
    pub outcome: Result<Receipt, Failure>,
}

/// Proposes a cut, without a trip to the store, or does a confirmed one: one trip that loads what holds in
/// every bucket, and a commit for each of the 1024. Each bucket is for itself; the same call again
/// finishes what was not done, and writes the rest again, so that the answer is as durable as it says.
///
/// # Errors
/// `APP_DISABLED` when there is no such app (one that is switched off can be cut); `MALFORMED_REQUEST`
/// when the instant lies in the future, or the token is not one of ours for this; `TWO_PERSON_REQUIRED`
/// when the proposer confirms; `STATE_STORE_UNAVAILABLE` before anything was done. After that the
/// [`Cut`] says what is true.
pub async fn run(engine: &Engine, request: SetNotBefore) -> Result<NotBefore, Failure> {
    let now = engine.clock.now();
    if let Reach::App(app) = &request.reach
        && !engine.apps.load().contains_key(app)
    {
        return Err(Reason::AppDisabled.into());
    }
    match &request.confirm {
        None => propose(engine, &request, now),
        Some(token) => {
            let proposal = confirmed(engine, &request, token, now)?;
            let cut = Task::new(engine, &request, &proposal).run().await?;
            Ok(NotBefore::Confirmed(cut))
        }
    }
}

fn propose(engine: &Engine, request: &SetNotBefore, now: Timestamp) -> Result<NotBefore, Failure> {
    let not_before = request.not_before.unwrap_or(now);
    // It would cut what is opened after the answer.
    if not_before > now.after(INSTANCE_SKEW_MAX) {
        return Err(Failure::field("not_before", "an instant that has passed"));
    }
    let proposed = Proposed {
        app: request.reach.app(),
        not_before,
        proposer: request.by.as_str(),
    };
    let confirm_by = now.after(CONFIRM_FOR);
    Ok(NotBefore::Proposed {
        confirm_token: confirm::mint(&engine.keyring, &proposed, confirm_by),
        confirm_by,
        not_before,
    })
}

fn confirmed(
    engine: &Engine,
    request: &SetNotBefore,
    token: &Secret<String>,
    now: Timestamp,
) -> Result<VerifiedProposal, Failure> {
    let app = request.reach.app();
    let proposal = confirm::verify(&engine.keyring, token.expose(), app, now).map_err(|_| {
        Failure::field(
            "confirm_token",
            "the confirm_token of an answer for the same target, not over",
        )
    })?;
    let other = |at: Timestamp| at != proposal.not_before();
    if request.not_before.is_some_and(other) {
        return Err(Failure::field(
            "not_before",
            "what was proposed, or not set",
        ));
    }
    if proposal.proposer() == request.by.as_str() {
        return Err(Reason::TwoPersonRequired.into());
    }
    Ok(proposal)
}

/// A confirmed cut under way.
struct Task<'a> {
    engine: &'a Engine,
    reach: &'a Reach,
    not_before: Timestamp,
    by: Actor,
    /// Replicas did not confirm in time: the rest is not kept waiting for them. It is cut just as well,
    /// and said to be not durable.
    lagging: AtomicBool,
}

impl<'a> Task<'a> {
    fn new(engine: &'a Engine, request: &'a SetNotBefore, proposal: &VerifiedProposal) -> Self {
        Self {
            engine,
            reach: &request.reach,
            not_before: proposal.not_before(),
            by: Actor::both(proposal.proposer(), &request.by),
            lagging: AtomicBool::new(false),
        }
    }

    async fn run(&self) -> Result<Cut, Failure> {
        let buckets: Vec<Bucket> = (0..BUCKETS).filter_map(Bucket::new).collect();
        let names = buckets.iter().map(|bucket| keys::fleet(*bucket)).collect();
        // What is known is not yet what every bucket has, and each is told of its own.
        let fleets = self.engine.load_each_as_kept::<Fleet>(names).await?;
        let each = stream::iter(buckets.into_iter().zip(fleets));
        let each = each.map(|(bucket, loaded)| async move {
            // A record that cannot be read keeps its own bucket from being cut, and no other.
            self.cut(bucket, loaded?).await
        });
        let ended: Vec<_> = each.buffer_unordered(AT_ONCE).collect().await;
        let (mut buckets_done, mut last, mut failure) = (0_u16, None, None);
        for ended in ended {
            match ended {
                Ok(done) => {
                    buckets_done = buckets_done.saturating_add(1);
                    last = weaker(last, done);
                }
                Err(why) => failure = Some(why),
            }
        }
        Ok(Cut {
            not_before: self.not_before,
            buckets_done,
            outcome: match failure {
                Some(failure) => Err(failure),
                None => self.receipt(last),
            },
        })
    }

    /// Moves what holds in one bucket; the record that was loaded with all others is tried first.
    async fn cut(&self, bucket: Bucket, loaded: Loaded<Fleet>) -> Result<Done, Failure> {
        if let Some(done) = self.commit(bucket, &loaded).await? {
            return Ok(done);
        }
        insist(|| async {
            let names = vec![keys::fleet(bucket)];
            let loaded = self.engine.load_each_as_kept::<Fleet>(names).await?.pop();
            self.commit(bucket, &loaded.ok_or(Reason::Internal)??).await
        })
        .await
    }

    async fn commit(
        &self,
        bucket: Bucket,
        loaded: &Loaded<Fleet>,
    ) -> Result<Option<Done>, Failure> {
        // The time of this bucket, not of the call: tokens minted until then are told of.
        let now = self.engine.clock.now();
        let before = loaded.value.clone().unwrap_or_default();
        let fleet = before.cut(self.reach, self.not_before, now);
        let told = (fleet != before).then(|| self.event(now));
        let changes = Changes {
            items: vec![loaded.put(self.engine, &fleet, None)?],
            events: told.into_iter().collect(),
            ..Changes::default()
        };
        let durability = if self.lagging.load(Ordering::Relaxed) {
            Durability::Local
        } else {
            self.engine.revocation_durability
        };
        let done = self.engine.commit(bucket, changes, durability).await?;
        if done.is_some_and(|done| done.replicas_acked < self.wanted()) {
            self.lagging.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    const fn wanted(&self) -> u32 {
        match self.engine.revocation_durability {
            Durability::Local => 0,
            Durability::Replicated { replicas, .. } => replicas,
        }
    }

    fn event(&self, now: Timestamp) -> Event {
        Event {
            at: now,
            kind: EventKind::NotBeforeSet,
            app: self.reach.app().cloned(),
            device: None,
            session: None,
            consent: None,
            epoch: Some(first_epoch(self.not_before)),
            why: self.not_before.to_rfc3339(),
            by: self.by.clone(),
        }
    }

    /// What is true once every bucket is done.
    fn receipt(&self, weakest: Option<Done>) -> Result<Receipt, Failure> {
        let now = self.engine.clock.now();
        // Of all apps nothing is known but the bound: some may have left the configuration.
        let apps = [self.reach.app()];
        Receipt::new(self.engine, now, apps, weakest, now)
    }
}

/// Of two commits the one that fewer replicas confirmed: what is true of all is true of it.
fn weaker(one: Option<Done>, other: Done) -> Option<Done> {
    match one {
        Some(one) if one.replicas_acked <= other.replicas_acked => Some(one),
        _ => Some(other),
    }
}
