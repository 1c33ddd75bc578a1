//! Risk in the flows: what a caller tells of the phone becomes a footprint, and a refusal that speaks of
//! a thief is noted with the session behind it.
//!
//! What is seen of a request that is granted is committed with it and costs no trip. What is seen of one
//! that is refused is noted behind the refusal, in two trips, by one attempt: the refusal stands whatever
//! becomes of them.

use std::time::Duration;

use super::state::{Beside, Changes, Loaded, Place, State, keep_for};
use super::{App, Engine, Failure, index};
use crate::client::ClientContext;
use crate::id::SessionId;
use crate::policy::{RiskPolicy, Signal};
use crate::proof::dpop;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{
    Assessed, Device, Event, Footprint, Session, assess, assess_opening, signals_of_rotation,
    with_signal,
};
use crate::store::{Durability, Limit};
use crate::time::Timestamp;

/// A signal of refused requests counts once in so long: whoever overheard a request can send it as often
/// as they like, and must neither fill the audit log nor get in the way of the phone by it.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Whose request was refused.
pub(super) struct Suspect<'a> {
    pub(super) app: &'a App,
    pub(super) place: Place,
    pub(super) session: SessionId,
    pub(super) now: Timestamp,
}

/// Where a phone is and how, as far as the policy compares it.
fn footprint(client: &ClientContext, policy: &RiskPolicy) -> Footprint {
    let locale = client.locale.as_ref();
    let seen = Footprint {
        network: client.address.map(|address| address.region()),
        locale: locale.map(|locale| locale.as_str().to_owned()),
    };
    seen.kept_by(policy)
}

/// What follows from a rotation for its session, as it is without the rotation.
pub(super) fn of_rotation(
    session: &Session,
    device: &Device,
    (app, client): (&App, &ClientContext),
    now: Timestamp,
) -> Result<Assessed, Failure> {
    let policy = &app.policy.risk;
    let seen = footprint(client, policy);
    let signals = signals_of_rotation(session, &seen, policy, now);
    let session = Session {
        footprint: session.footprint.updated(seen).kept_by(policy),
        ..session.clone()
    };
    Ok(assess(&session, device, &signals, policy, now)?)
}

/// What follows for a session that is opened.
pub(super) fn of_opening(
    session: Session,
    device: &Device,
    (app, client): (&App, &ClientContext),
    now: Timestamp,
) -> Result<Assessed, Failure> {
    let policy = &app.policy.risk;
    let session = Session {
        footprint: footprint(client, policy),
        ..session
    };
    Ok(assess_opening(session, device, policy, now)?)
}

/// A device with what else was seen of it, and what to tell of that. What follows does so when one of
/// its sessions is opened or refreshed.
pub(super) fn seen_of_device(
    device: Device,
    seen: impl IntoIterator<Item = Signal>,
    app: &App,
    now: Timestamp,
) -> (Device, Vec<Event>) {
    let policy = &app.policy.risk;
    seen.into_iter()
        .fold((device, Vec::new()), |(device, mut told), signal| {
            let (device, event) = with_signal(device, signal, policy, now);
            told.extend(event);
            (device, told)
        })
}

/// Whether what was seen of a device, and of a session of it, lowers its rates.
pub(super) fn lowers_rates(
    app: &App,
    device: &Device,
    session: Option<&Session>,
    now: Timestamp,
) -> bool {
    let policy = &app.policy.risk;
    policy.is_enforced() && !device.risk_reached(session, policy, now).is_none()
}

/// A refusal of a proof, and whether it speaks of a thief: a proof that is for something else, which its
/// key has signed. `text` is the proof; that its key is the right one the caller knows.
pub(super) fn misdirected(failure: Failure, app: &App, text: &Secret<String>) -> Failure {
    if failure.reason != Reason::ProofTargetMismatch || !app.policy.risk.weighs(Signal::ProofFailed)
    {
        return failure;
    }
    let signed =
        dpop::parse(text.expose()).is_ok_and(|proof| proof.is_signed(app.identity.apple.as_ref()));
    if signed {
        failure.with_signal(Signal::ProofFailed)
    } else {
        failure
    }
}

impl Engine {
    /// Notes behind a refusal what it says of the session whose request was refused, and counts what it
    /// costs. Two trips where the refusal speaks of a thief and the app weighs that, else one where there
    /// is something to count, else none.
    pub(super) async fn note_refusal(
        &self,
        suspect: &Suspect<'_>,
        failure: &Failure,
        limit: Vec<Limit>,
    ) {
        let signal = failure.signal;
        match signal.filter(|signal| suspect.app.policy.risk.weighs(*signal)) {
            // Where the store is away, or the phone came in between, it is not noted: it is refused all
            // the same.
            Some(signal) => drop(self.note_signal(suspect, signal, limit).await),
            None => self.count(limit).await,
        }
    }

    async fn note_signal(
        &self,
        suspect: &Suspect<'_>,
        signal: Signal,
        limit: Vec<Limit>,
    ) -> Result<(), Failure> {
        let (app, now) = (suspect.app, suspect.now);
        let beside = Beside {
            session: Some(suspect.session),
            limit,
            ..Beside::default()
        };
        let answered = self.load_with(suspect.place, beside).await?;
        let (state, record) = (answered.state, answered.session.ok_or(Reason::Internal)?);
        let session = record.value.as_ref().ok_or(Reason::SessionRevoked)?;
        // What is over or waits already learns nothing by it.
        state.surroundings(app.standing).check(session, now)?;
        if session.risk.has_seen(signal, NOTED_EVERY, now) {
            return Ok(());
        }
        let device = state.device.value.as_ref().ok_or(Reason::DeviceRevoked)?;
        let policy = &app.policy.risk;
        let assessed = assess(session, device, &[signal].into(), policy, now)?;
        self.write_assessed((&state, &record), &assessed, now)
            .await?;
        Ok(())
    }

    /// Writes a session with what was seen of it and what followed, and its device where that is
    /// suspended. `None`: something else came in between.
    pub(super) async fn write_assessed(
        &self,
        (state, record): (&State, &Loaded<Session>),
        assessed: &Assessed,
        now: Timestamp,
    ) -> Result<Option<()>, Failure> {
        let session = &assessed.session;
        let mut changes = Changes {
            items: vec![
                record.put(self, session, Some(keep_for(session, now)))?,
                state.subject.keep(),
                state.fleet.keep(),
            ],
            events: assessed.events(now),
            ..Changes::default()
        };
        let durability = self.put_suspended(state, assessed, &mut changes)?;
        let bucket = session.id.bucket();
        let done = self.commit(bucket, changes, durability).await?;
        Ok(done.map(|_| ()))
    }

    /// The device goes with the changes: suspended as durably as by SuspendDevice, or as it is.
    pub(super) fn put_suspended(
        &self,
        state: &State,
        assessed: &Assessed,
        changes: &mut Changes,
    ) -> Result<Durability, Failure> {
        let Some(device) = &assessed.suspended else {
            changes.items.push(state.device.keep());
            return Ok(Durability::Local);
        };
        changes.items.push(state.device.put(self, device, None)?);
        let before = state.device.value.as_ref();
        changes.index.extend(index::changes(before, device));
        Ok(self.revocation_durability)
    }
}
