//! The rules of sessions, as tables. Here: what the tables are made of.

mod admit;
mod consent;
mod device;
mod device_state;
mod elevate;
mod fleet;
mod job;
mod liveness;
mod open;
mod overlay;
mod possession;
mod reappraise;
mod renew;
mod risk;
mod rotate;
mod subject;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use super::{
    Candidate, Device, DeviceEntry, DeviceState, Fleet, Footprint, Lineage, Refusal, Risk, Session,
    SessionState, Standing, SubjectRecord, Surroundings,
};
use crate::id::{AppId, Bucket, DeviceId, SessionId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::policy::{
    AndroidPolicy, AppPolicy, ApplePolicy, ApplePosture, BodyRule, CounterOrder, DeviceLimitRule,
    Lifetimes, NonceRule, Posture, ProofPolicy, Rates, Reappraisal, ReceiptStanding, ReplayRule,
    ReuseRule, RiskPolicy, ScopeRule, SessionLimitRule, StepUpPolicy, TrustLevel,
};
use crate::proof::dpop;
use crate::proof::{Body, Freshness, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::simulator::proof::Dpop;
use crate::simulator::{Curve, SoftKey};
use crate::time::Timestamp;
use crate::token::KeyTag;
use crate::token::keyring::Keyring;

const MILLISECOND: Duration = Duration::from_millis(1);
const GRACE: Duration = Duration::from_secs(600);
const IDLE: Duration = Duration::from_secs(7 * 86_400);
const ABSOLUTE: Duration = Duration::from_secs(30 * 86_400);

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::from_pem(&crate::key_directory::generate_files(now()).unwrap()).unwrap()
});
static PHONE_KEY: LazyLock<SoftKey> = LazyLock::new(|| SoftKey::generate(Curve::P256).unwrap());
/// The App Attest key that vouches for the phone's session key.
static ATTESTED_KEY: LazyLock<SoftKey> = LazyLock::new(|| SoftKey::generate(Curve::P256).unwrap());
static OTHER_KEY: LazyLock<SoftKey> = LazyLock::new(|| SoftKey::generate(Curve::P256).unwrap());

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T04:00:00.500Z").unwrap()
}

fn refused<T>(reason: Reason) -> Result<T, Refusal> {
    Err(Refusal(reason))
}

fn words<const N: usize>(list: [&str; N]) -> BTreeSet<String> {
    list.map(str::to_owned).into()
}

fn bucket() -> Bucket {
    Bucket::new(7).unwrap()
}

fn device_id(number: u8) -> DeviceId {
    DeviceId::new(bucket(), [number; 16])
}

fn session_id(number: u8) -> SessionId {
    SessionId::new(bucket(), [number; 16])
}

fn app() -> AppId {
    "bank".parse().unwrap()
}

fn subject_name() -> Subject {
    "user-1".parse().unwrap()
}

fn key(soft: &SoftKey) -> Thumbprint {
    soft.thumbprint().parse().unwrap()
}

fn point(soft: &SoftKey) -> PublicKey {
    PublicKey::from_sec1(soft.public_point()).unwrap()
}

fn posture() -> Posture {
    Posture::Apple(ApplePosture {
        environment: None,
        platform: None,
        os_version: None,
        os_build: None,
        validation_category: None,
        bundle_version: None,
        boot_rules: false,
        cd_hash: None,
        receipt: ReceiptStanding::Absent,
    })
}

/// Accounts for app attestation, transfers for execution environments, admin for secure elements.
fn policy() -> AppPolicy {
    let rule = |scope: &str, trust_level_min| ScopeRule {
        scopes: words([scope]),
        trust_level_min,
    };
    AppPolicy {
        android: AndroidPolicy::strict(),
        apple: ApplePolicy::open(),
        scopes: vec![
            rule("read", TrustLevel::Provisional),
            rule("accounts", TrustLevel::AppAttest),
            rule("transfer", TrustLevel::Tee),
            rule("admin", TrustLevel::StrongBox),
        ],
        audiences: vec!["https://api.example".to_owned(), "other".to_owned()],
        lifetimes: Lifetimes {
            access_for: Duration::from_secs(300),
            idle_for: IDLE,
            absolute_for: ABSOLUTE,
            refresh_grace_for: GRACE,
            challenge_for: Duration::from_secs(300),
            reattest_after: None,
        },
        level_lifetimes: BTreeMap::new(),
        reappraisal: Reappraisal::strict(),
        proof: ProofPolicy {
            nonce: NonceRule::Optional,
            iat_window: Duration::from_secs(60),
            accepted_uris: Vec::new(),
            replay: ReplayRule::Jti,
            counter: CounterOrder::Window,
            body: BodyRule::WhenSent,
        },
        on_refresh_reuse: ReuseRule::RevokeSession,
        devices_per_subject_max: 3,
        sessions_per_subject_max: 3,
        sessions_per_device_max: 2,
        on_session_limit: SessionLimitRule::Refuse,
        risk: RiskPolicy::usual(),
        rates: Rates::none(),
        on_device_limit: DeviceLimitRule::Refuse,
        step_up: StepUpPolicy::plain(),
    }
}

fn device() -> Device {
    Device {
        id: device_id(1),
        app: app(),
        subject: subject_name(),
        key: point(&ATTESTED_KEY),
        session_key: key(&PHONE_KEY),
        state: DeviceState::Active,
        epoch: 4,
        trust_level: TrustLevel::Tee,
        registered_at: now(),
        attested_at: now(),
        posture: posture(),
        chain_serials: vec!["1".to_owned()],
        issuer_keys: vec![[3; 32]],
        attestation_key: Some([3; 32]),
        moved_from: None,
        assertion_counter: 0,
        doubt: None,
        lineage: Lineage {
            since: now(),
            predecessor: None,
            successor: None,
        },
        risk: Risk::default(),
        presence: None,
    }
}

fn candidate() -> Candidate {
    let device = device();
    Candidate {
        id: device.id,
        app: device.app,
        subject: device.subject,
        key: device.key,
        session_key: device.session_key,
        trust_level: device.trust_level,
        posture: device.posture,
        chain_serials: device.chain_serials,
        issuer_keys: device.issuer_keys,
        attestation_key: device.attestation_key,
    }
}

fn subject() -> SubjectRecord {
    SubjectRecord {
        epoch: 9,
        devices: vec![entry(1)],
        sessions: Vec::new(),
        consents: BTreeMap::new(),
    }
}

/// A device in the index of a subject.
fn entry(number: u8) -> DeviceEntry {
    DeviceEntry {
        id: device_id(number),
        app: app(),
    }
}

/// A live session of [`device`], at generation 5 since now.
fn session() -> Session {
    Session {
        id: session_id(1),
        device: device_id(1),
        app: app(),
        subject: subject_name(),
        session_key: key(&PHONE_KEY),
        state: SessionState::Live,
        generation: 5,
        refresh_key: KeyTag::from_bytes([1; 4]),
        rotated_at: now(),
        opened_at: now(),
        idle_expires_at: now().after(IDLE),
        expires_at: now().after(ABSOLUTE),
        device_epoch: 4,
        subject_epoch: 9,
        scopes: words(["accounts", "transfer"]),
        audience: "https://api.example".to_owned(),
        roles: vec!["customer".to_owned()],
        acr: "urn:acr:2".to_owned(),
        amr: vec!["pwd".to_owned()],
        auth_time: now(),
        consent: None,
        step_up: None,
        cut: None,
        risk: Risk::default(),
        footprint: Footprint::default(),
        answered_at: None,
        used_up: BTreeMap::new(),
    }
}

/// Everything a session depends on, each part of which a test may spoil.
#[derive(Clone)]
struct World {
    app: Standing,
    device: Option<Device>,
    subject: Option<SubjectRecord>,
    fleet: Option<Fleet>,
}

impl World {
    fn whole() -> Self {
        Self {
            app: Standing::Enabled,
            device: Some(device()),
            subject: Some(subject()),
            fleet: None,
        }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            app: self.app,
            device: self.device.as_ref(),
            subject: self.subject.as_ref(),
            fleet: self.fleet.as_ref(),
        }
    }
}

/// A verified proof by a key.
fn proof_by(soft: &SoftKey) -> VerifiedProof {
    let uri = "https://assay.example/x";
    let text = Dpop::new("POST", uri, now()).unwrap().sign(soft).unwrap();
    let expected = ProofExpectation {
        method: "POST",
        uris: &[uri.parse().unwrap()],
        key: None,
        access_token: None,
        body: Body::Unknown,
        freshness: Freshness {
            rule: NonceRule::Optional,
            keyring: &KEYRING,
            iat_window: Duration::from_secs(60),
        },
        app_attest: None,
    };
    dpop::parse(&text)
        .unwrap()
        .verify(&expected, now())
        .unwrap()
}
