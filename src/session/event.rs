//! What happened to devices and sessions: the events that are committed together with the change
//! they tell of, so that neither is there without the other.

use std::fmt;
use std::sync::Arc;

use super::{Device, Session};
use crate::id::{AppId, ConsentId, DeviceId, SessionId};
use crate::time::Timestamp;

/// Who did it: a caller by its certificate identity, or the service by itself. Never a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// Two callers: the one who proposed it and the one who confirmed it.
    #[must_use]
    pub fn both(proposer: &str, confirmer: &Self) -> Self {
        Self(format!("{proposer} {confirmer}").into())
    }

    /// What the service does without being asked.
    #[must_use]
    pub fn service() -> Self {
        Self("service".into())
    }

    /// A caller, by the identity of its certificate.
    #[must_use]
    pub const fn caller(identity: Arc<str>) -> Self {
        Self(identity)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! kinds {
    ($($variant:ident $word:literal $doc:literal;)+) => {
        /// What happened. The words are stable: they are never renamed or reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $(#[doc = $doc] $variant,)+
        }

        impl EventKind {
            /// Every kind, in the order of `docs/events.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc),+ }
            }
        }
    };
}

kinds! {
    DeviceRegistered "device-registered" "A device was registered, or registered again in the same way.";
    DeviceReattested "device-reattested" "Fresh evidence of a registered device was verified.";
    DeviceKeyRotated "device-key-rotated" "A device moved to a new key.";
    DeviceLinked "device-linked" "A device took the place of another.";
    DeviceSuspended "device-suspended" "A device was suspended.";
    DeviceResumed "device-resumed" "A suspended device was resumed.";
    DeviceRevoked "device-revoked" "A device was revoked.";
    DeviceDegraded "device-degraded" "A re-appraisal lowered a device's trust level to PROVISIONAL.";
    DeviceDoubted "device-doubted" "A re-appraisal found a device wanting, and the policy only reports it.";
    DeviceCleared "device-cleared" "A re-appraisal found nothing wrong with a device any more.";
    SubjectRevoked "subject-revoked" "Every session of the device's subject was revoked.";
    SessionOpened "session-opened" "A session was opened.";
    SessionEnded "session-ended" "A session ended before its time.";
    SessionElevated "session-elevated" "The user of a session showed more, and got an access token that says so.";
    SessionRotated "session-rotated" "Every token of a session was made void, and its holder got new ones.";
    SessionHeld "session-held" "A session may not be used until its user has shown more.";
    PresenceKeyEnrolled "presence-key-enrolled" "A device got a key that it uses only when the user is there.";
    ConsentRevoked "consent-revoked" "Every session that was opened under a consent of the device's subject was revoked.";
    NotBeforeSet "not-before-set" "Every session that was opened before an instant was revoked, of an app or of all.";
    SubjectErased "subject-erased" "All that was kept of the device's subject was erased.";
    RiskSignal "risk-signal" "Something was seen of a session or device that speaks of a thief.";
    RiskActed "risk-acted" "The risk of a session or device came so high that something followed.";
    RiskMonitored "risk-monitored" "It came so high that something would have followed if the policy enforced it.";
}

impl EventKind {
    /// The kind of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// One thing that happened. It names ids and words of closed sets only: no subject, no key, no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The app; `None` where it is about all of them.
    pub app: Option<AppId>,
    /// The device; `None` where it is about more than one.
    pub device: Option<DeviceId>,
    /// The session, where it is about one.
    pub session: Option<SessionId>,
    /// The consent, where it is about one.
    pub consent: Option<ConsentId>,
    /// The epoch that the subject, the device or the consent came to by it, where it moved one.
    pub epoch: Option<u64>,
    /// Why: a reason code, or the word for why a device was suspended or revoked or a session ended;
    /// empty when there is none.
    pub why: String,
    /// Who did it.
    pub by: Actor,
}

/// Hears of every event that is committed, to count it.
pub trait Listener: fmt::Debug + Send + Sync {
    /// It is committed.
    fn committed(&self, event: &Event);
}

/// Nobody listens.
impl Listener for () {
    fn committed(&self, _: &Event) {}
}

impl Device {
    /// Something that happened to this device.
    #[must_use]
    pub fn event(&self, kind: EventKind, why: String, by: &Actor, at: Timestamp) -> Event {
        // What takes it out: whoever has to do it again after the store lost it sees whether it is done.
        let takes_out = matches!(kind, EventKind::DeviceRevoked | EventKind::DeviceSuspended);
        Event {
            at,
            kind,
            app: Some(self.app.clone()),
            device: Some(self.id),
            session: None,
            consent: None,
            epoch: takes_out.then_some(self.epoch),
            why,
            by: by.clone(),
        }
    }
}

impl Session {
    /// Something that happened to this session.
    #[must_use]
    pub fn event(&self, kind: EventKind, why: &str, by: &Actor, at: Timestamp) -> Event {
        Event {
            at,
            kind,
            app: Some(self.app.clone()),
            device: Some(self.device),
            session: Some(self.id),
            consent: None,
            epoch: None,
            why: why.to_owned(),
            by: by.clone(),
        }
    }
}
