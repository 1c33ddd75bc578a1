//! Taking a device or session out, for now or for ever: what revoking and suspending share, and what
//! is true of it when it is answered.

use std::time::Duration;

use super::laid::Laid;
use super::settle::insist;
use super::state::{Changes, Done, keep_for};
use super::{Engine, Failure};
use crate::id::{AppId, DeviceId, SessionId};
use crate::policy::ACCESS_FOR_MAX;
use crate::reason::Reason;
use crate::session::{
    Actor, Device, DeviceState, Event, EventKind, Known, Refusal, Session, SessionState, Watcher,
    WatcherId,
};
use crate::store::{Durability, Key, OperationId, keys};
use crate::time::Timestamp;

/// What is true of a revocation or suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The operation; `None` with `validate_only`.
    pub revision: Option<OperationId>,
    /// Since when it holds.
    pub effective_at: Timestamp,
    /// Replicas that confirmed it.
    pub replicas_acked: u32,
    /// Replicas that have to.
    pub replicas_wanted: u32,
    /// How long an access token minted before lives on for a verifier that looks only at its expiry.
    pub residual_access_for: Duration,
    /// Watchers of revocations as this instance last read of them, and whether each has surely
    /// acknowledged this one; those who have not come first, and at most a hundred.
    pub watchers: Vec<(WatcherId, Watcher, bool)>,
    /// When it was made.
    pub as_of: Timestamp,
}

/// Most watchers in a receipt; ConfirmRevocations tells of all.
const WATCHERS_TOLD_MAX: usize = 100;

impl Receipt {
    /// Of what holds since `effective_at` in these apps, by a commit that is done, or by none.
    ///
    /// # Errors
    /// [`Reason::RevocationNotDurable`] when fewer replicas than configured confirmed the commit.
    pub(super) fn new<'a>(
        engine: &Engine,
        effective_at: Timestamp,
        apps: impl IntoIterator<Item = Option<&'a AppId>>,
        done: Option<Done>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let replicas_wanted = match engine.revocation_durability {
            Durability::Local => 0,
            Durability::Replicated { replicas, .. } => replicas,
        };
        let replicas_acked = done.map_or(0, |done| done.replicas_acked);
        if done.is_some() && replicas_acked < replicas_wanted {
            return Err(Reason::RevocationNotDurable.into());
        }
        let configured = engine.apps.load();
        let life = |app: Option<&AppId>| match app.and_then(|app| configured.get(app)) {
            Some(app) => app.policy.access_for_max(),
            // Of an app that was taken out of the configuration nothing is known but the bound, nor
            // of all apps together.
            None => ACCESS_FOR_MAX,
        };
        let life = apps.into_iter().map(life).max().unwrap_or_default();
        Ok(Self {
            revision: done.map(|done| done.operation),
            effective_at,
            replicas_acked,
            replicas_wanted,
            residual_access_for: effective_at.after(life).since(now),
            watchers: engine.watchers.heard_of(effective_at, WATCHERS_TOLD_MAX),
            as_of: now,
        })
    }
}

/// What can be taken out.
pub(super) trait Withdrawable: Laid + PartialEq {
    /// What it is known by.
    type Id: Copy;

    /// The name of its record.
    fn key(id: &Self::Id) -> Key;

    /// What is told of one whose record cannot be asked for.
    fn unseen(id: Self::Id, order: &Order<'_>, at: Timestamp) -> Event;

    /// Its app.
    fn app(&self) -> &AppId;

    /// Since when it is out; `None`: it is not.
    fn out_since(&self) -> Option<Timestamp>;

    /// How long its record is kept; `None`: for ever.
    fn kept_for(&self, now: Timestamp) -> Option<Duration>;

    /// What is told of it.
    fn told(&self, kind: EventKind, why: &'static str, by: &Actor, at: Timestamp) -> Event;
}

impl Withdrawable for Device {
    type Id = DeviceId;

    fn key(id: &DeviceId) -> Key {
        keys::device(id)
    }

    fn unseen(id: DeviceId, order: &Order<'_>, at: Timestamp) -> Event {
        Event {
            device: Some(id),
            ..order.unseen(at)
        }
    }

    fn app(&self) -> &AppId {
        &self.app
    }

    fn out_since(&self) -> Option<Timestamp> {
        match self.state {
            DeviceState::Revoked { at, .. } | DeviceState::Suspended { at, .. } => Some(at),
            DeviceState::Active => None,
        }
    }

    fn kept_for(&self, _: Timestamp) -> Option<Duration> {
        None
    }

    fn told(&self, kind: EventKind, why: &'static str, by: &Actor, at: Timestamp) -> Event {
        self.event(kind, why.to_owned(), by, at)
    }
}

impl Withdrawable for Session {
    type Id = SessionId;

    fn key(id: &SessionId) -> Key {
        keys::session(id)
    }

    fn unseen(id: SessionId, order: &Order<'_>, at: Timestamp) -> Event {
        Event {
            session: Some(id),
            ..order.unseen(at)
        }
    }

    fn app(&self) -> &AppId {
        &self.app
    }

    fn out_since(&self) -> Option<Timestamp> {
        match self.state {
            SessionState::Ended { at, .. } => Some(at),
            SessionState::Live => None,
        }
    }

    fn kept_for(&self, now: Timestamp) -> Option<Duration> {
        Some(keep_for(self, now))
    }

    fn told(&self, kind: EventKind, why: &'static str, by: &Actor, at: Timestamp) -> Event {
        self.event(kind, why, by, at)
    }
}

/// What is wanted of a device or session, by whom and why.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) kind: EventKind,
    pub(super) why: &'static str,
    pub(super) validate_only: bool,
    pub(super) by: &'a Actor,
    pub(super) durability: Durability,
}

impl Order<'_> {
    fn unseen(&self, at: Timestamp) -> Event {
        Event {
            at,
            kind: self.kind,
            app: None,
            device: None,
            session: None,
            consent: None,
            epoch: None,
            why: self.why.to_owned(),
            by: self.by.clone(),
        }
    }
}

/// Takes a device or session out as `decide` says. Two trips to the store. What is so already is
/// written again, so that the answer is as durable as it says even when the first one was not; an
/// event tells only of a change.
///
/// While the store does not answer it holds in this instance alone, and is kept until it lands.
pub(super) async fn withdraw<T: Withdrawable>(
    engine: &Engine,
    id: T::Id,
    order: &Order<'_>,
    decide: impl Fn(&T, Timestamp) -> Result<T, Refusal>,
) -> Result<(T, Receipt), Failure> {
    let now = engine.clock.now();
    let key = T::key(&id);
    let settled = insist(|| async {
        let loaded = engine.load_one::<T>(key.clone()).await?;
        let before = loaded.value.as_ref().ok_or(Reason::ResourceNotFound)?;
        let out = decide(before, now)?;
        if order.validate_only {
            return Ok(Some((out, None)));
        }
        let news = (out != *before).then(|| out.told(order.kind, order.why, order.by, now));
        let changes = Changes {
            items: vec![loaded.put_known(engine, &out, out.kept_for(now))?],
            events: news.into_iter().collect(),
            ..Changes::default()
        };
        let done = engine
            .commit(key.bucket(), changes, order.durability)
            .await?;
        Ok(done.map(|done| (out, Some(done))))
    })
    .await;
    let (out, done) = settled.map_err(|failure| {
        let known = Known::of(&T::unseen(id, order, now)).filter(|_| !order.validate_only);
        held(engine, known, failure, now)
    })?;
    let effective_at = out.out_since().unwrap_or(now);
    let receipt = Receipt::new(engine, effective_at, [Some(out.app())], done, now)?;
    Ok((out, receipt))
}

/// What is answered when the store could not be told: what is asked for holds here at once and waits
/// until it lands; then it is applied, and not durable. Where there is no room left it is not applied.
pub(super) fn held(
    engine: &Engine,
    known: Option<Known>,
    failure: Failure,
    now: Timestamp,
) -> Failure {
    let away = failure.reason == Reason::StateStoreUnavailable;
    if away && known.is_some_and(|known| engine.board.hold(known, now)) {
        return Failure {
            reason: Reason::RevocationNotDurable,
            ..failure
        };
    }
    failure
}
