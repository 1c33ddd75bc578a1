//! The record of a device.

use prost::{Enumeration, Message};

use super::posture::Posture;
use super::risk::{self, Tally};
use super::thumbprint;
use crate::id::DeviceId;
use crate::key::PublicKey;
use crate::policy::{TrustLevel, UserPresence};
use crate::reason::Reason;
use crate::session as domain;
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Trust {
    Unknown = 0,
    Provisional = 1,
    AppAttest = 2,
    Tee = 3,
    StrongBox = 4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum Why {
    Unknown = 0,
    Lost = 1,
    Stolen = 2,
    Compromised = 3,
    UserRequest = 4,
    Administrative = 5,
    Replaced = 6,
    Reappraisal = 7,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Hold {
    Unknown = 0,
    Mislaid = 1,
    Investigation = 2,
    Administrative = 3,
    Reappraisal = 4,
    Risk = 5,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Device {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    app: String,
    #[prost(string, tag = "3")]
    subject: String,
    #[prost(bytes = "vec", tag = "4")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    session_key: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    revoked: Option<Revoked>,
    #[prost(uint64, tag = "7")]
    epoch: u64,
    #[prost(enumeration = "Trust", tag = "8")]
    trust_level: i32,
    #[prost(int64, tag = "9")]
    registered_at: i64,
    #[prost(int64, tag = "10")]
    attested_at: i64,
    #[prost(oneof = "Posture", tags = "11, 12")]
    posture: Option<Posture>,
    #[prost(string, repeated, tag = "13")]
    chain_serials: Vec<String>,
    #[prost(message, optional, tag = "14")]
    suspended: Option<Suspended>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    issuer_keys: Vec<Vec<u8>>,
    #[prost(uint32, tag = "16")]
    assertion_counter: u32,
    #[prost(string, tag = "17")]
    doubt: String,
    #[prost(int64, tag = "18")]
    lineage_since: i64,
    #[prost(bytes = "vec", tag = "19")]
    predecessor: Vec<u8>,
    #[prost(bytes = "vec", tag = "20")]
    successor: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "21")]
    moved_from: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "22")]
    attestation_key: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "30")]
    risk: Vec<Tally>,
    #[prost(message, optional, tag = "23")]
    presence: Option<PresenceKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Shows {
    Unknown = 0,
    Declared = 1,
    Proved = 2,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct PresenceKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(enumeration = "Shows", tag = "2")]
    shows: i32,
    #[prost(int64, tag = "3")]
    enrolled_at: i64,
}

impl PresenceKey {
    /// A key that shows nothing is none.
    fn new(key: &domain::PresenceKey) -> Option<Self> {
        let shows = match key.shows {
            UserPresence::None => return None,
            UserPresence::Declared => Shows::Declared,
            UserPresence::Proved => Shows::Proved,
        };
        Some(Self {
            key: key.key.as_bytes().to_vec(),
            shows: shows.into(),
            enrolled_at: key.enrolled_at.as_millis(),
        })
    }

    fn into_domain(self) -> Option<domain::PresenceKey> {
        Some(domain::PresenceKey {
            shows: match self.shows() {
                Shows::Unknown => return None,
                Shows::Declared => UserPresence::Declared,
                Shows::Proved => UserPresence::Proved,
            },
            key: thumbprint(&self.key)?,
            enrolled_at: Timestamp::from_millis(self.enrolled_at),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct Suspended {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(enumeration = "Hold", tag = "2")]
    why: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct Revoked {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(enumeration = "Why", tag = "2")]
    why: i32,
}

impl From<&domain::Device> for Device {
    fn from(device: &domain::Device) -> Self {
        let (suspended, revoked) = states(device.state);
        let id = |id: Option<DeviceId>| id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        Self {
            id: device.id.as_bytes().to_vec(),
            app: device.app.as_str().to_owned(),
            subject: device.subject.expose().to_owned(),
            key: device.key.as_bytes().to_vec(),
            session_key: device.session_key.as_bytes().to_vec(),
            revoked,
            epoch: device.epoch,
            trust_level: Trust::from(device.trust_level).into(),
            registered_at: device.registered_at.as_millis(),
            attested_at: device.attested_at.as_millis(),
            posture: Some(Posture::from(&device.posture)),
            chain_serials: device.chain_serials.clone(),
            suspended,
            issuer_keys: device.issuer_keys.iter().map(|key| key.to_vec()).collect(),
            assertion_counter: device.assertion_counter,
            doubt: device.doubt.map_or("", Reason::as_str).to_owned(),
            lineage_since: device.lineage.since.as_millis(),
            predecessor: id(device.lineage.predecessor),
            successor: id(device.lineage.successor),
            moved_from: device.moved_from.map(|key| key.as_bytes().to_vec()),
            attestation_key: device.attestation_key.map(|key| key.to_vec()),
            risk: risk::tallies(&device.risk),
            presence: device.presence.as_ref().and_then(PresenceKey::new),
        }
    }
}

impl Device {
    pub(in crate::store::record) fn into_domain(self) -> Option<domain::Device> {
        let state = self.state()?;
        let doubt = match self.doubt.as_str() {
            "" => None,
            word => Some(Reason::parse(word)?),
        };
        let lineage = domain::Lineage {
            since: Timestamp::from_millis(self.lineage_since),
            predecessor: linked(&self.predecessor)?,
            successor: linked(&self.successor)?,
        };
        let issuer_keys = self.issuer_keys.iter();
        let issuer_keys = issuer_keys.map(|key| key.as_slice().try_into().ok());
        Some(domain::Device {
            id: DeviceId::from_bytes(&self.id).ok()?,
            app: self.app.parse().ok()?,
            subject: self.subject.parse().ok()?,
            key: PublicKey::from_sec1(&self.key).ok()?,
            session_key: thumbprint(&self.session_key)?,
            state,
            epoch: self.epoch,
            trust_level: self.trust_level().into_domain()?,
            registered_at: Timestamp::from_millis(self.registered_at),
            attested_at: Timestamp::from_millis(self.attested_at),
            issuer_keys: issuer_keys.collect::<Option<_>>()?,
            moved_from: match self.moved_from {
                None => None,
                Some(key) => Some(thumbprint(&key)?),
            },
            attestation_key: match self.attestation_key {
                None => None,
                Some(key) => Some(key.try_into().ok()?),
            },
            presence: match self.presence {
                None => None,
                Some(key) => Some(key.into_domain()?),
            },
            assertion_counter: self.assertion_counter,
            risk: risk::into_domain(&self.risk)?,
            doubt,
            lineage,
            posture: self.posture?.into_domain()?,
            chain_serials: self.chain_serials,
        })
    }

    /// A revoked device was perhaps suspended before; it is revoked.
    fn state(&self) -> Option<domain::DeviceState> {
        Some(match (self.revoked, self.suspended) {
            (None, None) => domain::DeviceState::Active,
            (None, Some(suspended)) => domain::DeviceState::Suspended {
                at: Timestamp::from_millis(suspended.at),
                why: suspended.why().into_domain()?,
            },
            (Some(revoked), _) => domain::DeviceState::Revoked {
                at: Timestamp::from_millis(revoked.at),
                why: revoked.why().into_domain()?,
            },
        })
    }
}

fn states(state: domain::DeviceState) -> (Option<Suspended>, Option<Revoked>) {
    match state {
        domain::DeviceState::Active => (None, None),
        domain::DeviceState::Suspended { at, why } => {
            let (at, why) = (at.as_millis(), Hold::from(why).into());
            (Some(Suspended { at, why }), None)
        }
        domain::DeviceState::Revoked { at, why } => {
            let (at, why) = (at.as_millis(), Why::from(why).into());
            (None, Some(Revoked { at, why }))
        }
    }
}

/// The id of a linked device; the outer `None` when it is not one.
fn linked(bytes: &[u8]) -> Option<Option<DeviceId>> {
    if bytes.is_empty() {
        return Some(None);
    }
    DeviceId::from_bytes(bytes).ok().map(Some)
}

impl From<TrustLevel> for Trust {
    fn from(level: TrustLevel) -> Self {
        match level {
            TrustLevel::Provisional => Self::Provisional,
            TrustLevel::AppAttest => Self::AppAttest,
            TrustLevel::Tee => Self::Tee,
            TrustLevel::StrongBox => Self::StrongBox,
        }
    }
}

impl Trust {
    const fn into_domain(self) -> Option<TrustLevel> {
        match self {
            Self::Unknown => None,
            Self::Provisional => Some(TrustLevel::Provisional),
            Self::AppAttest => Some(TrustLevel::AppAttest),
            Self::Tee => Some(TrustLevel::Tee),
            Self::StrongBox => Some(TrustLevel::StrongBox),
        }
    }
}

impl From<domain::RevocationReason> for Why {
    fn from(why: domain::RevocationReason) -> Self {
        match why {
            domain::RevocationReason::Lost => Self::Lost,
            domain::RevocationReason::Stolen => Self::Stolen,
            domain::RevocationReason::Compromised => Self::Compromised,
            domain::RevocationReason::UserRequest => Self::UserRequest,
            domain::RevocationReason::Administrative => Self::Administrative,
            domain::RevocationReason::Replaced => Self::Replaced,
            domain::RevocationReason::Reappraisal => Self::Reappraisal,
        }
    }
}

impl Why {
    pub(super) const fn into_domain(self) -> Option<domain::RevocationReason> {
        match self {
            Self::Unknown => None,
            Self::Lost => Some(domain::RevocationReason::Lost),
            Self::Stolen => Some(domain::RevocationReason::Stolen),
            Self::Compromised => Some(domain::RevocationReason::Compromised),
            Self::UserRequest => Some(domain::RevocationReason::UserRequest),
            Self::Administrative => Some(domain::RevocationReason::Administrative),
            Self::Replaced => Some(domain::RevocationReason::Replaced),
            Self::Reappraisal => Some(domain::RevocationReason::Reappraisal),
        }
    }
}

impl From<domain::SuspensionReason> for Hold {
    fn from(why: domain::SuspensionReason) -> Self {
        match why {
            domain::SuspensionReason::Mislaid => Self::Mislaid,
            domain::SuspensionReason::Investigation => Self::Investigation,
            domain::SuspensionReason::Administrative => Self::Administrative,
            domain::SuspensionReason::Reappraisal => Self::Reappraisal,
            domain::SuspensionReason::Risk => Self::Risk,
        }
    }
}

impl Hold {
    const fn into_domain(self) -> Option<domain::SuspensionReason> {
        match self {
            Self::Unknown => None,
            Self::Mislaid => Some(domain::SuspensionReason::Mislaid),
            Self::Investigation => Some(domain::SuspensionReason::Investigation),
            Self::Administrative => Some(domain::SuspensionReason::Administrative),
            Self::Reappraisal => Some(domain::SuspensionReason::Reappraisal),
            Self::Risk => Some(domain::SuspensionReason::Risk),
        }
    }
}
