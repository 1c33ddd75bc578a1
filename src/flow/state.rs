//! Records as flows see them: opened, with the version to commit against.

mod loaded;

pub(super) use loaded::Loaded;

use std::time::Duration;

use super::laid::Laid;
use super::limits::Counted;
use super::once::Once;
use super::{Engine, Failure};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::id::{Bucket, DeviceId, SessionId};
use crate::proof::VerifiedProof;
use crate::reason::Reason;
use crate::secret::random;
use crate::session::{
    Device, Event, Fleet, Presented, Session, Standing, SubjectRecord, Surroundings,
};
use crate::store::record::seal;
use crate::store::{
    Admission, ChangeSet, Claim, Claimed, Committed, CounterUse, Durability, IndexChange, Item,
    Key, Limit, Limited, OperationId, Record, StoreError, Windowed, keys,
};
use crate::time::Timestamp;
use crate::token::Purpose;
use crate::token::access::VerifiedClaims;
use crate::token::challenge::VerifiedChallenge;
use crate::token::refresh::VerifiedRefresh;

/// What a flow has decided to change, all in one bucket.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) items: Vec<Item>,
    pub(super) claims: Vec<Claim>,
    pub(super) index: Vec<IndexChange>,
    pub(super) events: Vec<Event>,
    pub(super) limits: Vec<Counted>,
    pub(super) windows: Vec<CounterUse>,
}

impl Changes {
    /// With what makes a proof good once.
    pub(super) fn and_once(mut self, once: &Once) -> Self {
        self.claims.extend(once.claim());
        self.windows.extend(once.counter());
        self
    }
}

/// What most flows look at, all in one bucket.
#[derive(Debug)]
pub(super) struct State {
    pub(super) device: Loaded<Device>,
    pub(super) subject: Loaded<SubjectRecord>,
    pub(super) fleet: Loaded<Fleet>,
}

impl State {
    /// What a session of an app depends on.
    pub(super) fn surroundings(&self, app: Standing) -> Surroundings<'_> {
        Surroundings {
            app,
            device: self.device.value.as_ref(),
            subject: self.subject.value.as_ref(),
            fleet: self.fleet.value.as_ref(),
        }
    }
}

/// What a flow asks for in the trip that loads device, subject and fleet.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) session: Option<SessionId>,
    /// Whether the device's receipt is loaded as well.
    pub(super) receipt: bool,
    pub(super) claim: Vec<Claim>,
    /// Claims that are only looked at.
    pub(super) owner_of: Vec<Key>,
    pub(super) limit: Vec<Limit>,
    pub(super) window: Vec<CounterUse>,
}

/// What that trip gave.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) state: State,
    pub(super) session: Option<Loaded<Session>>,
    pub(super) receipt: Option<Loaded<ReceiptRecord>>,
    pub(super) claims: Vec<Claimed>,
    pub(super) owners: Vec<Option<Vec<u8>>>,
    pub(super) limits: Vec<Limited>,
    pub(super) windows: Vec<Windowed>,
}

/// Where a flow's records are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) device: DeviceId,
    pub(super) subject: [u8; 32],
}

impl Place {
    /// Where the records behind an access token are.
    pub(super) fn of(engine: &Engine, verified: &VerifiedClaims) -> Self {
        let claims = verified.claims();
        Self {
            device: claims.device,
            subject: engine.keyring.subject_tag(&claims.subject),
        }
    }
}

impl Engine {
    /// A verified refresh token with its proof, as the rules of sessions see it.
    pub(super) fn presented(&self, token: &VerifiedRefresh, proof: &VerifiedProof) -> Presented {
        Presented {
            generation: token.claims().generation,
            key: *token.key(),
            refresh_key: self.keyring.secret(Purpose::RefreshToken).0,
            session_ends_at: token.claims().session_ends_at,
            proof_made_at: proof.issued_at(),
        }
    }

    /// One trip: device, subject and fleet, and the session where one is named.
    pub(super) async fn load(
        &self,
        place: Place,
        session: Option<SessionId>,
    ) -> Result<(State, Option<Loaded<Session>>), Failure> {
        let beside = Beside {
            session,
            ..Beside::default()
        };
        let answered = self.load_with(place, beside).await?;
        Ok((answered.state, answered.session))
    }

    /// One trip: device, subject, fleet and session, with what makes a proof good once, which the
    /// caller checks, and rates.
    pub(super) async fn load_once(
        &self,
        place: Place,
        session: SessionId,
        once: &Once,
        limit: Vec<Limit>,
    ) -> Result<Answered, Failure> {
        let beside = Beside {
            session: Some(session),
            claim: once.claim().into_iter().collect(),
            window: once.counter().into_iter().collect(),
            limit,
            ..Beside::default()
        };
        let answered = self.load_with(place, beside).await?;
        once.heard(answered.windows.first().copied());
        Ok(answered)
    }

    /// One trip: device, subject and fleet, and what is asked for beside them.
    pub(super) async fn load_with(
        &self,
        place: Place,
        beside: Beside,
    ) -> Result<Answered, Failure> {
        let device = keys::device(&place.device);
        let subject = keys::subject(&place.subject);
        let fleet = keys::fleet(device.bucket());
        let session = beside.session.map(|id| keys::session(&id));
        let receipt = beside.receipt.then(|| keys::receipt(&place.device));
        let mut load = vec![device.clone(), subject.clone(), fleet.clone()];
        load.extend(session.clone());
        load.extend(receipt.clone());
        let ask = Admission {
            load,
            claim: beside.claim,
            owner_of: beside.owner_of,
            limit: beside.limit,
            window: beside.window,
        };
        let admitted = self.store.admit(ask).await?;
        let mut records = admitted.records.into_iter();
        let mut next = || records.next().flatten();
        let state = State {
            device: Loaded::open(self, device, next())?,
            subject: Loaded::open(self, subject, next())?,
            fleet: Loaded::open(self, fleet, next())?,
        };
        let session = session.map(|key| Loaded::open(self, key, next()));
        let session = session.transpose()?;
        let receipt = receipt.map(|key| Loaded::open(self, key, next()));
        Ok(Answered {
            state,
            session,
            receipt: receipt.transpose()?,
            claims: admitted.claims,
            owners: admitted.owners,
            limits: admitted.limits,
            windows: admitted.windows,
        })
    }

    /// One trip: records of one kind.
    pub(super) async fn load_all<T: Laid>(
        &self,
        keys: Vec<Key>,
    ) -> Result<Vec<Loaded<T>>, Failure> {
        self.load_each(keys).await?.into_iter().collect()
    }

    /// One trip: records of one kind, of which some may be unreadable.
    pub(super) async fn load_each<T: Laid>(
        &self,
        keys: Vec<Key>,
    ) -> Result<Vec<Result<Loaded<T>, Failure>>, Failure> {
        self.load_with_each(keys, Loaded::open).await
    }

    /// The same as the store has them.
    pub(super) async fn load_each_as_kept<T: Laid>(
        &self,
        keys: Vec<Key>,
    ) -> Result<Vec<Result<Loaded<T>, Failure>>, Failure> {
        self.load_with_each(keys, Loaded::as_kept).await
    }

    async fn load_with_each<T>(
        &self,
        keys: Vec<Key>,
        open: impl Fn(&Self, Key, Option<Record>) -> Result<Loaded<T>, Failure>,
    ) -> Result<Vec<Result<Loaded<T>, Failure>>, Failure> {
        let ask = Admission {
            load: keys.clone(),
            ..Admission::default()
        };
        let records = self.store.admit(ask).await?.records;
        let opened = keys.into_iter().zip(records);
        Ok(opened
            .map(|(key, record)| open(self, key, record))
            .collect())
    }

    /// One trip: one record.
    pub(super) async fn load_one<T: Laid>(&self, key: Key) -> Result<Loaded<T>, Failure> {
        let record = self.load_all(vec![key]).await?.pop();
        record.ok_or_else(|| Reason::Internal.into())
    }

    /// Commits. `None`: something else came in between, nothing changed, start again.
    ///
    /// When the answer is lost the very same change set is sent once more, which is safe; lost again,
    /// the caller is told that the store is unavailable, and finds out by asking.
    ///
    /// # Errors
    /// [`Reason::ProofReplayed`] when a claim has another owner or a counter refuses: those of commits
    /// are for proofs; the reason of a limit that is used up.
    pub(super) async fn commit(
        &self,
        bucket: Bucket,
        changes: Changes,
        durability: Durability,
    ) -> Result<Option<Done>, Failure> {
        let operation = OperationId(random()?);
        let outbox = keys::outbox(bucket);
        let events = changes.events.iter();
        let events = events.map(|event| seal(&self.keyring, &outbox, event));
        let change = ChangeSet {
            operation,
            bucket,
            items: changes.items,
            claims: changes.claims,
            index: changes.index,
            events: events.collect::<Result<_, _>>()?,
            durability,
            limits: changes.limits.iter().map(Counted::limit).collect(),
            windows: changes.windows,
        };
        let doubts = self.board.overlay().doubts();
        let answer = match self.store.commit(change.clone()).await {
            Err(StoreError::OutcomeUnknown(_)) => self.store.commit(change).await?,
            answer => answer?,
        };
        match answer {
            Committed::Done { replicas_acked } => {
                let now = self.clock.now();
                for event in &changes.events {
                    audit(event);
                    self.listener.committed(event);
                    self.board.tell_done(event, doubts, now);
                }
                Ok(Some(Done {
                    operation,
                    replicas_acked,
                }))
            }
            Committed::Conflict => Ok(None),
            Committed::ClaimTaken { .. } | Committed::CounterRefused { .. } => {
                Err(Reason::ProofReplayed.into())
            }
            Committed::Limited { index, retry_after } => Err(match changes.limits.get(index) {
                Some(counted) => counted.refusal(retry_after),
                None => Reason::Internal.into(),
            }),
        }
    }
}

/// The line in the log for what has happened.
fn audit(event: &Event) {
    tracing::info!(
        event = event.kind.as_str(),
        device_id = event.device.map(tracing::field::display),
        session_id = event.session.map(tracing::field::display),
        app_id = event.app.as_ref().map(tracing::field::display),
        reason = event.why.as_str(),
        caller = event.by.as_str(),
        "audit"
    );
}

/// A commit that is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) operation: OperationId,
    pub(super) replicas_acked: u32,
}

/// A session's record is kept this much longer than it lives, so that its holder is told how it
/// ended rather than that it never was.
const SESSION_SLACK: Duration = Duration::from_secs(24 * 3600);

/// How long a session's record is kept.
pub(super) fn keep_for(session: &Session, now: Timestamp) -> Duration {
    session.expires_at.since(now) + SESSION_SLACK
}

/// A used challenge is remembered this much longer than it could be used, for clocks that differ
/// between our instances.
const CHALLENGE_SLACK: Duration = Duration::from_secs(300);

/// The claim that a challenge serves this owner and nobody else.
pub(super) fn used_challenge(used: &VerifiedChallenge, owner: Vec<u8>, now: Timestamp) -> Claim {
    Claim {
        key: keys::challenge(used.id()),
        owner,
        live_for: Some(used.expires_at().since(now) + CHALLENGE_SLACK),
    }
}
