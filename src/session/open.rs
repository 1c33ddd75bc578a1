//! Opening and ending sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Device, EndReason, Footprint, Refusal, Risk, Session, SessionEntry, SessionState, Standing,
    StepUp, SubjectRecord, Surroundings,
};
use crate::id::{ConsentId, DeviceId, SessionId};
use crate::policy::{AppPolicy, SessionLimitRule, TrustLevel};
use crate::proof::VerifiedProof;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::KeyTag;

/// What a new session shall be.
#[derive(Debug, Clone)]
pub struct Opening {
    /// A fresh id in the subject's bucket.
    pub id: SessionId,
    /// The secret in use for refresh tokens.
    pub refresh_key: KeyTag,
    /// Wanted scopes.
    pub scopes: BTreeSet<String>,
    /// Wanted audience; `None`: the app's first.
    pub audience: Option<String>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Authentication context class; may be empty.
    pub acr: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user was authenticated.
    pub auth_time: Timestamp,
    /// The consent it is opened under.
    pub consent: Option<ConsentId>,
    /// Sessions of the app opened until this instant are cut ([`Fleet::cut_until`]): this one is opened
    /// after it.
    ///
    /// [`Fleet::cut_until`]: super::Fleet::cut_until
    pub cut_until: Option<Timestamp>,
}

/// When each of a subject's sessions was last used: opened or refreshed.
pub type LastUsed = BTreeMap<SessionId, Timestamp>;

/// Most sessions that end for a new one: what one commit has room for. More are over the limit only
/// when it was lowered by as much; then each new session takes the next of them.
const EVICTED_MAX: usize = 100;

/// The least by which instants differ.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// A session that may be opened, and what has to be written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// The subject's record, with the session in its index.
    pub subject: SubjectRecord,
    /// Sessions that have to end for it, with [`EndReason::Evicted`].
    pub evicted: Vec<SessionId>,
}

/// Opens a session on a device for the holder of its session key.
///
/// `used` has those of the subject's sessions that are not over, as a look at their records showed.
/// The others leave the index, and where the policy makes room, the one that was not used for longest
/// ends: on the device when the device is full, else of the subject, whatever its app. All this has
/// to be looked up only when this answers [`Reason::SessionLimit`] without it.
///
/// # Errors
/// [`Reason::AppDisabled`], [`Reason::ProofKeyMismatch`], those of [`Device::check_form`],
/// [`Reason::DeviceRevoked`],
/// [`Reason::ReattestationRequired`], [`Reason::ScopeNotAllowed`], [`Reason::SessionLimit`].
pub fn open(
    opening: Opening,
    proof: &VerifiedProof,
    (app, policy): (Standing, &AppPolicy),
    (device, subject, used): (&Device, &SubjectRecord, Option<&LastUsed>),
    now: Timestamp,
) -> Result<Opened, Refusal> {
    if app == Standing::Disabled {
        return Err(Reason::AppDisabled.into());
    }
    if *proof.thumbprint() != device.session_key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    device.check_form(proof, policy.proof.counter)?;
    device.check_active()?;
    check_attestation_age(device, policy, now)?;
    check_scopes(&opening.scopes, device.trust_level, policy)?;
    let audience = choose_audience(opening.audience, policy)?;

    let mut subject = subject.clone();
    let lives = |id: &SessionId| used.is_none_or(|used| used.contains_key(id));
    subject
        .sessions
        .retain(|entry| entry.expires_at > now && lives(&entry.id));
    let evicted = make_room(&mut subject.sessions, &device.id, policy, used)?;
    let lifetimes = policy.lifetimes(device.trust_level);
    let expires_at = now.after(lifetimes.absolute_for);
    subject.sessions.push(SessionEntry {
        id: opening.id,
        device: device.id,
        expires_at,
    });
    let session = Session {
        id: opening.id,
        device: device.id,
        app: device.app.clone(),
        subject: device.subject.clone(),
        session_key: device.session_key,
        state: SessionState::Live,
        generation: 0,
        refresh_key: opening.refresh_key,
        rotated_at: now,
        opened_at: opened_behind(opening.cut_until, now),
        idle_expires_at: now.after(lifetimes.idle_for).min(expires_at),
        expires_at,
        device_epoch: device.epoch,
        subject_epoch: subject.epoch,
        scopes: opening.scopes,
        audience,
        roles: opening.roles,
        acr: opening.acr,
        amr: opening.amr,
        auth_time: opening.auth_time,
        consent: opening.consent.map(|id| subject.consent(id)),
        step_up: None,
        cut: None,
        risk: Risk::default(),
        footprint: Footprint::default(),
        answered_at: None,
        used_up: BTreeMap::new(),
    };
    Ok(Opened {
        session,
        subject,
        evicted,
    })
}

/// When a session is opened that is opened after a cut, whatever the clocks say.
#[must_use]
pub fn opened_behind(cut_until: Option<Timestamp>, now: Timestamp) -> Timestamp {
    cut_until.map_or(now, |cut| now.max(cut.after(CLOCK_STEP)))
}

/// Gives a session that was just opened once more, because the first answer may have been lost: the
/// scopes of its access token, as of now.
///
/// # Errors
/// The reason the session is not live; [`Reason::IllegalStateTransition`] when it was refreshed since,
/// because whoever did that has had the first answer; [`Reason::ReattestationRequired`];
/// [`Reason::ScopeNotAllowed`].
pub fn reopen(
    session: &Session,
    surroundings: Surroundings<'_>,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<BTreeSet<String>, Refusal> {
    // A session that has waited since it was opened has done so in the first answer as well.
    let opened_waiting = |step_up: &StepUp| step_up.since == session.rotated_at;
    if session.generation == 0 && session.step_up.as_ref().is_some_and(opened_waiting) {
        surroundings.check_but_step_up(session, now)?;
    } else {
        surroundings.check(session, now)?;
    }
    if session.generation > 0 {
        return Err(Reason::IllegalStateTransition.into());
    }
    // The check has found that there is one.
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    check_attestation_age(device, policy, now)?;
    session.narrow(&BTreeSet::new(), device.trust_level, policy)
}

/// Takes out of an index what has to go for one more session on this device.
fn make_room(
    entries: &mut Vec<SessionEntry>,
    device: &DeviceId,
    policy: &AppPolicy,
    used: Option<&LastUsed>,
) -> Result<Vec<SessionId>, Refusal> {
    let mut evicted = Vec::new();
    while evicted.len() < EVICTED_MAX {
        let on_device = entries.iter().filter(|entry| entry.device == *device);
        let device_full = on_device.count() >= policy.sessions_per_device_max;
        if !device_full && entries.len() < policy.sessions_per_subject_max {
            break;
        }
        let used = match policy.on_session_limit {
            SessionLimitRule::EvictOldest => used.ok_or(Reason::SessionLimit)?,
            SessionLimitRule::Refuse => return Err(Reason::SessionLimit.into()),
        };
        let found = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !device_full || entry.device == *device)
            // Of those that were used at the same time, the one that was opened first.
            .min_by_key(|(_, entry)| used.get(&entry.id));
        let (oldest, _) = found.ok_or(Reason::SessionLimit)?;
        evicted.push(entries.remove(oldest).id);
    }
    Ok(evicted)
}

/// A device whose evidence is older than the policy wants has to attest again first.
pub(super) fn check_attestation_age(
    device: &Device,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<(), Refusal> {
    match device.reattest_by(policy) {
        Some(by) if by <= now => Err(Reason::ReattestationRequired.into()),
        _ => Ok(()),
    }
}

impl Device {
    /// When it has to have attested again for its sessions to go on; `None`: never.
    #[must_use]
    pub fn reattest_by(&self, policy: &AppPolicy) -> Option<Timestamp> {
        let span = policy.lifetimes.reattest_after?;
        Some(self.attested_at.after(span))
    }
}

/// Each scope has to be allowed by some rule the device's trust level reaches.
pub(super) fn check_scopes(
    scopes: &BTreeSet<String>,
    trust_level: TrustLevel,
    policy: &AppPolicy,
) -> Result<(), Refusal> {
    let allowed = |scope: &String| policy.grants(scope, trust_level);
    if !scopes.is_empty() && scopes.iter().all(allowed) {
        Ok(())
    } else {
        Err(Reason::ScopeNotAllowed.into())
    }
}

fn choose_audience(wanted: Option<String>, policy: &AppPolicy) -> Result<String, Refusal> {
    let mut audiences = policy.audiences.iter();
    match wanted {
        None => audiences.next().cloned(),
        Some(wanted) => audiences.find(|audience| **audience == wanted).cloned(),
    }
    .ok_or(Refusal(Reason::ScopeNotAllowed))
}

/// Ends a session. One that is over stays as it first ended.
#[must_use]
pub fn end(session: &Session, why: EndReason, now: Timestamp) -> Session {
    let mut session = session.clone();
    if session.state == SessionState::Live {
        session.state = SessionState::Ended { at: now, why };
    }
    session
}
