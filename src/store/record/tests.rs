//! Records through the seal and back, and everything that must not come through.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::attestation::apple::receipt::refresh::{End, Outcome, Schedule};
use crate::id::{AppId, Bucket, ConsentId, DeviceId, SessionId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::key_directory::generate_files;
use crate::policy::{
    AndroidPosture, ApplePosture, Authenticators, Boot, Environment, Posture, ProvisioningKind,
    ReceiptStanding, SecurityLevel, Signal, TrustLevel, UserAuthentication, UserPresence,
    VerifiedBootState,
};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{
    Consent, Cut, DeviceEntry, DeviceState, EndReason, Footprint, Lineage, PresenceKey,
    RevocationReason, Risk, RoundId, SessionEntry, SessionState, StepUp, StepUpCause,
    SuspensionReason, Tally, UsedUp, Watcher, WatcherId,
};
use crate::simulator::{Curve, SoftKey};
use crate::store::{OperationId, keys};
use crate::time::Timestamp;

type File = (String, Secret<String>);

fn files(day: u32) -> Vec<File> {
    let at = format!("2026-11-{day:02}T00:00:00Z");
    generate_files(Timestamp::parse_rfc3339(&at).unwrap()).unwrap()
}

static OLD_FILES: LazyLock<Vec<File>> = LazyLock::new(|| files(1));
static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::from_pem(&OLD_FILES).unwrap());
/// The same service after a rotation: the old secret is still there.
static ROTATED: LazyLock<Keyring> = LazyLock::new(|| {
    let new = files(2)
        .into_iter()
        .filter(|(name, _)| name.starts_with("secret"));
    let all: Vec<File> = OLD_FILES.iter().cloned().chain(new).collect();
    Keyring::from_pem(&all).unwrap()
});
static POINTS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    let point = |_| {
        let key = SoftKey::generate(Curve::P256).unwrap();
        PublicKey::from_sec1(key.public_point()).unwrap()
    };
    (0..4).map(point).collect()
});
static FOREIGN: LazyLock<Keyring> = LazyLock::new(|| Keyring::from_pem(&files(1)).unwrap());

fn stored(value: Vec<u8>) -> Record {
    Record {
        version: OperationId([0; 16]),
        value,
    }
}

fn open<T: Stored>(keyring: &Keyring, name: &Key, value: &[u8]) -> Result<T, RecordError> {
    unseal(keyring, name, &stored(value.to_vec()))
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (0..crate::id::BUCKETS).prop_map(|number| Bucket::new(number).unwrap())
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    (bucket(), any::<[u8; 16]>()).prop_map(|(bucket, unique)| DeviceId::new(bucket, unique))
}

fn session_id() -> impl Strategy<Value = SessionId> {
    (bucket(), any::<[u8; 16]>()).prop_map(|(bucket, unique)| SessionId::new(bucket, unique))
}

fn app() -> impl Strategy<Value = AppId> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn subject_name() -> impl Strategy<Value = Subject> {
    "\\PC{1,64}".prop_map(|text| text.parse().unwrap())
}

fn thumbprint() -> impl Strategy<Value = Thumbprint> {
    any::<[u8; 32]>().prop_map(Thumbprint::from_bytes)
}

fn at() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn trust_level() -> impl Strategy<Value = TrustLevel> {
    use TrustLevel::{AppAttest, Provisional, StrongBox, Tee};
    prop::sample::select(vec![Provisional, AppAttest, Tee, StrongBox])
}

fn device_state() -> impl Strategy<Value = DeviceState> {
    let reasons = {
        use RevocationReason::{
            Administrative, Compromised, Lost, Reappraisal, Replaced, Stolen, UserRequest,
        };
        vec![
            Lost,
            Stolen,
            Compromised,
            UserRequest,
            Administrative,
            Replaced,
            Reappraisal,
        ]
    };
    let holds = {
        use SuspensionReason::{Administrative, Investigation, Mislaid, Reappraisal};
        vec![Mislaid, Investigation, Administrative, Reappraisal]
    };
    prop_oneof![
        Just(DeviceState::Active),
        (at(), prop::sample::select(holds))
            .prop_map(|(at, why)| DeviceState::Suspended { at, why }),
        (at(), prop::sample::select(reasons))
            .prop_map(|(at, why)| DeviceState::Revoked { at, why }),
    ]
}

/// Some point on the curve: making a key for each case takes too long.
fn point() -> impl Strategy<Value = PublicKey> {
    prop::sample::select(POINTS.clone())
}

prop_compose! {
    fn lineage()(
        since in at(),
        predecessor in option::of(device_id()),
        successor in option::of(device_id()),
    ) -> Lineage {
        Lineage { since, predecessor, successor }
    }
}

fn session_state() -> impl Strategy<Value = SessionState> {
    let reasons = vec![
        EndReason::LoggedOut,
        EndReason::RefreshTokenReused,
        EndReason::Evicted,
        EndReason::Revoked(RevocationReason::Stolen),
        EndReason::Revoked(RevocationReason::Reappraisal),
    ];
    option::of((at(), prop::sample::select(reasons))).prop_map(|ended| {
        ended.map_or(SessionState::Live, |(at, why)| SessionState::Ended {
            at,
            why,
        })
    })
}

fn number() -> impl Strategy<Value = Option<u32>> {
    option::of(any::<u32>())
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn digest() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..64))
}

prop_compose! {
    fn boot()(
        device_locked in any::<bool>(),
        state in prop::sample::select(vec![
            VerifiedBootState::Verified,
            VerifiedBootState::SelfSigned,
            VerifiedBootState::Unverified,
            VerifiedBootState::Failed,
        ]),
        key in vec(any::<u8>(), 0..64),
        hash in digest(),
    ) -> Boot {
        Boot { device_locked, state, key, hash }
    }
}

prop_compose! {
    fn user()(
        [none_required, unlocked_device, presence, confirmation] in any::<[bool; 4]>(),
        authenticators in option::of(any::<[bool; 3]>()),
        timeout in option::of(any::<u64>().prop_map(Duration::from_secs)),
    ) -> UserAuthentication {
        let set = |[password, biometric, other]: [bool; 3]| {
            Authenticators { password, biometric, other }
        };
        UserAuthentication {
            none_required,
            authenticators: authenticators.map(set),
            timeout,
            unlocked_device,
            presence,
            confirmation,
        }
    }
}

prop_compose! {
    fn android()(
        (attestation_version, keymint_version) in any::<(u32, u32)>(),
        security_level in prop::sample::select(vec![
            SecurityLevel::Software,
            SecurityLevel::TrustedEnvironment,
            SecurityLevel::StrongBox,
        ]),
        provisioning in prop::sample::select(vec![
            ProvisioningKind::Factory,
            ProvisioningKind::Remote,
            ProvisioningKind::Other,
        ]),
        boot in option::of(boot()),
        (os_version, os_patch_level) in (number(), number()),
        (vendor_patch_level, boot_patch_level) in (number(), number()),
        user in user(),
        attest_key in any::<bool>(),
    ) -> Posture {
        Posture::Android(AndroidPosture {
            attestation_version, keymint_version, security_level, boot, os_version,
            os_patch_level, vendor_patch_level, boot_patch_level, provisioning, user, attest_key,
        })
    }
}

prop_compose! {
    fn apple()(
        environment in option::of(prop::sample::select(vec![
            Environment::Production,
            Environment::Development,
        ])),
        (platform, os_version, os_build) in (text(), text(), text()),
        validation_category in number(),
        bundle_version in text(),
        boot_rules in any::<bool>(),
        cd_hash in digest(),
        receipt in prop::sample::select(vec![
            ReceiptStanding::Absent,
            ReceiptStanding::Unverified,
            ReceiptStanding::Verified,
        ]),
    ) -> Posture {
        Posture::Apple(ApplePosture {
            environment, platform, os_version, os_build, validation_category, bundle_version,
            boot_rules, cd_hash, receipt,
        })
    }
}

fn posture() -> impl Strategy<Value = Posture> {
    prop_oneof![android(), apple()]
}

prop_compose! {
    fn device()(
        id in device_id(),
        (app, subject) in (app(), subject_name()),
        (key, session_key) in (point(), thumbprint()),
        state in device_state(),
        epoch in any::<u64>(),
        trust_level in trust_level(),
        (registered_at, attested_at) in (at(), at()),
        posture in posture(),
        chain_serials in vec("[0-9a-f]{1,40}", 0..6),
        issuer_keys in vec(any::<[u8; 32]>(), 0..6),
        attestation_key in any::<Option<[u8; 32]>>(),
        (moved_from, assertion_counter, presence)
            in (option::of(thumbprint()), any::<u32>(), option::of(presence())),
        doubt in option::of(prop::sample::select(Reason::ALL)),
        (lineage, risk) in (lineage(), risk()),
    ) -> Device {
        Device {
            id, app, subject, key, session_key, state, epoch, trust_level,
            registered_at, attested_at, posture, chain_serials, issuer_keys, attestation_key,
    moved_from, assertion_counter, doubt, lineage, risk, presence,
        }
    }
}

fn risk() -> impl Strategy<Value = Risk> {
    let tally = (any::<u32>(), at()).prop_map(|(heat, last)| Tally { heat, last });
    let signal = prop::sample::select(Signal::ALL);
    btree_map(signal, tally, 0..4).prop_map(|tallies| Risk { tallies })
}

fn footprint() -> impl Strategy<Value = Footprint> {
    (option::of(vec(any::<u8>(), 0..8)), any::<Option<String>>())
        .prop_map(|(network, locale)| Footprint { network, locale })
}

fn end() -> impl Strategy<Value = End> {
    prop::sample::select(vec![
        End::WrongEnvironment,
        End::BadPayload,
        End::NoData,
        End::Expired,
    ])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        end().prop_map(Outcome::Ended),
        prop::sample::select(vec![
            Outcome::Renewed,
            Outcome::TooEarly,
            Outcome::Unauthorized,
            Outcome::RateLimited,
            Outcome::Unavailable,
            Outcome::NotBelieved,
        ]),
    ]
}

fn presence() -> impl Strategy<Value = PresenceKey> {
    let shows = prop::sample::select(vec![UserPresence::Declared, UserPresence::Proved]);
    (thumbprint(), shows, at()).prop_map(|(key, shows, enrolled_at)| PresenceKey {
        key,
        shows,
        enrolled_at,
    })
}

prop_compose! {
    fn receipt()(
        receipt in vec(any::<u8>(), 0..64),
        (created_at, not_before, expires_at) in (at(), option::of(at()), at()),
        (risk_metric, attempts) in any::<(Option<u32>, u32)>(),
        schedule in prop_oneof![
            at().prop_map(Schedule::DueAt),
            end().prop_map(Schedule::Ended),
        ],
        last in option::of(outcome()),
    ) -> ReceiptRecord {
        ReceiptRecord {
            receipt, created_at, not_before, expires_at, risk_metric, attempts, schedule, last,
        }
    }
}

prop_compose! {
    fn consent_id()(text in "[!-~]{1,64}") -> ConsentId {
        text.parse().unwrap()
    }
}

fn consent() -> impl Strategy<Value = Option<Consent>> {
    let consent = (consent_id(), any::<u64>()).prop_map(|(id, epoch)| Consent { id, epoch });
    option::of(consent)
}

fn step_up() -> impl Strategy<Value = Option<StepUp>> {
    let why = prop_oneof![
        Just(StepUpCause::RefreshTokenReused),
        Just(StepUpCause::Risk)
    ];
    option::of((at(), why).prop_map(|(since, why)| StepUp { since, why }))
}

fn cut() -> impl Strategy<Value = Option<Cut>> {
    option::of((any::<u32>(), at()).prop_map(|(generation, at)| Cut { generation, at }))
}

prop_compose! {
    fn used_up()(at in at(), proof_made_at in at()) -> UsedUp {
        UsedUp { at, proof_made_at }
    }
}

prop_compose! {
    fn session()(
        (id, device) in (session_id(), device_id()),
        (app, subject, session_key) in (app(), subject_name(), thumbprint()),
        state in session_state(),
        generation in any::<u32>(),
        refresh_key in any::<[u8; 4]>().prop_map(KeyTag::from_bytes),
        times in any::<[i64; 5]>(),
        (device_epoch, subject_epoch) in any::<(u64, u64)>(),
        scopes in btree_set("[!#-~]{1,20}", 0..5),
        (roles, amr) in (vec(any::<String>(), 0..4), vec(any::<String>(), 0..4)),
        (audience, acr) in any::<(String, String)>(),
        (consent, step_up, cut) in (consent(), step_up(), cut()),
        (risk, footprint) in (risk(), footprint()),
        answered_at in option::of(at()),
        used_up in btree_map(any::<u32>(), used_up(), 0..4),
    ) -> Session {
        let [rotated_at, opened_at, idle_expires_at, expires_at, auth_time] =
            times.map(Timestamp::from_millis);
        Session {
            id, device, app, subject, session_key, state, generation, refresh_key, rotated_at, opened_at,
            idle_expires_at, expires_at, device_epoch, subject_epoch, scopes, audience, roles,
            acr, amr, auth_time, consent, step_up, cut, risk, footprint, answered_at,
            used_up,
        }
    }
}

/// Devices of one app, and of a few that take turns.
fn devices() -> impl Strategy<Value = Vec<DeviceEntry>> {
    let devices = vec(app(), 1..4).prop_flat_map(|apps| {
        let device = (device_id(), prop::sample::select(apps));
        vec(device.prop_map(|(id, app)| DeviceEntry { id, app }), 0..8)
    });
    devices.boxed()
}

prop_compose! {
    fn subject()(
        epoch in any::<u64>(),
        devices in devices(),
        sessions in vec((session_id(), device_id(), at()), 0..8),
        consents in btree_map(consent_id(), any::<u64>(), 0..4),
    ) -> SubjectRecord {
        let sessions = sessions
            .into_iter()
            .map(|(id, device, expires_at)| SessionEntry { id, device, expires_at })
            .collect();
        SubjectRecord { epoch, devices, sessions, consents }
    }
}

prop_compose! {
    fn fleet()(
        not_before in option::of(at()),
        apps in btree_map(app(), at(), 0..5),
    ) -> Fleet {
        Fleet { not_before, apps }
    }
}

prop_compose! {
    fn origin()(
        sha256 in any::<[u8; 32]>(),
        (validated_at, refetch_at, modified_at) in (at(), at(), option::of(at())),
        (etag, last_modified) in any::<(Option<String>, Option<String>)>(),
    ) -> Origin {
        Origin { sha256, validated_at, refetch_at, modified_at, etag, last_modified }
    }
}

prop_compose! {
    fn list_part()(
        sha256 in any::<[u8; 32]>(),
        packed in vec(any::<u8>(), 0..100),
    ) -> ListPart {
        ListPart { sha256, packed }
    }
}

/// There and back; under another name, with another service's keys, or changed, not at all.
fn passes_the_seal<T: Stored + PartialEq + std::fmt::Debug>(
    record: &T,
    name: &Key,
    (bit, cut): (prop::sample::Index, prop::sample::Index),
) -> Result<(), TestCaseError> {
    let sealed = seal(&KEYRING, name, record).unwrap();
    let seen = open::<T>(&KEYRING, name, &sealed);
    prop_assert_eq!(seen.as_ref(), Ok(record));
    let seen = open::<T>(&ROTATED, name, &sealed);
    prop_assert_eq!(seen.as_ref(), Ok(record));
    prop_assert!(open::<T>(&FOREIGN, name, &sealed).is_err());
    for moved in [
        Key::new(name.bucket(), format!("{}0", name.name())),
        Key::new(
            Bucket::new(name.bucket().number() ^ 1).unwrap(),
            name.name().to_owned(),
        ),
    ] {
        let seen = open::<T>(&KEYRING, &moved, &sealed);
        prop_assert!(matches!(seen, Err(RecordError::Sealed)));
    }
    let mut changed = sealed.clone();
    let bit = bit.index(changed.len() * 8);
    changed[bit / 8] ^= 1 << (bit % 8);
    prop_assert!(open::<T>(&KEYRING, name, &changed).is_err());
    let shorter = &sealed[..cut.index(sealed.len())];
    prop_assert!(open::<T>(&KEYRING, name, shorter).is_err());
    let longer = [&sealed[..], &[0]].concat();
    prop_assert!(open::<T>(&KEYRING, name, &longer).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn a_device_passes_the_seal(record in device(), harm in any::<(prop::sample::Index, prop::sample::Index)>()) {
        passes_the_seal(&record, &keys::device(&record.id), harm)?;
    }

    #[test]
    fn a_receipt_passes_the_seal(record in receipt(), id in device_id(), harm in any::<(prop::sample::Index, prop::sample::Index)>()) {
        passes_the_seal(&record, &keys::receipt(&id), harm)?;
    }

    #[test]
    fn a_session_passes_the_seal(record in session(), harm in any::<(prop::sample::Index, prop::sample::Index)>()) {
        passes_the_seal(&record, &keys::session(&record.id), harm)?;
    }

    #[test]
    fn a_subject_passes_the_seal(record in subject(), tag in any::<[u8; 32]>(), harm in any::<(prop::sample::Index, prop::sample::Index)>()) {
        passes_the_seal(&record, &keys::subject(&tag), harm)?;
    }

    #[test]
    fn a_fleet_passes_the_seal(record in fleet(), bucket in bucket(), harm in any::<(prop::sample::Index, prop::sample::Index)>()) {
        passes_the_seal(&record, &keys::fleet(bucket), harm)?;
    }

    #[test]
    fn the_copy_of_a_list_passes_the_seal(
        origin in origin(),
        part in list_part(),
        harm in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        passes_the_seal(&origin, &keys::status_list(), harm)?;
        passes_the_seal(&part, &keys::status_list_part(1), harm)?;
    }

    #[test]
    fn random_bytes_open_as_nothing(bytes in vec(any::<u8>(), 0..200)) {
        let name = keys::fleet(Bucket::new(0).unwrap());
        prop_assert!(open::<Device>(&KEYRING, &name, &bytes).is_err());
        let mut headed = vec![FORMAT];
        headed.extend_from_slice(KEYRING.secret(Purpose::Seal).0.as_bytes());
        headed.extend_from_slice(&bytes);
        prop_assert!(open::<Session>(&KEYRING, &name, &headed).is_err());
    }

    #[test]
    fn plain_bytes_that_are_no_record_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        // Whether random bytes are a record does not matter; that what is read can be written does.
        if let Ok(record) = Session::decode(&bytes) {
            prop_assert_eq!(Session::decode(&record.encode()), Ok(record));
        }
        if let Ok(record) = Device::decode(&bytes) {
            prop_assert_eq!(Device::decode(&record.encode()), Ok(record));
        }
        if let Ok(record) = SubjectRecord::decode(&bytes) {
            prop_assert_eq!(SubjectRecord::decode(&record.encode()), Ok(record));
        }
        if let Ok(record) = Origin::decode(&bytes) {
            prop_assert_eq!(Origin::decode(&record.encode()), Ok(record));
        }
        if let Ok(record) = ListPart::decode(&bytes) {
            prop_assert_eq!(ListPart::decode(&record.encode()), Ok(record));
        }
        if let Ok(record) = Fleet::decode(&bytes) {
            prop_assert_eq!(Fleet::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over(device in device(), session in session(), number in 100_u32..2000, text in any::<String>()) {
        let mut later = device.encode();
        prost::encoding::string::encode(number, &text, &mut later);
        prop_assert_eq!(Device::decode(&later), Ok(device));
        let mut later = session.encode();
        prost::encoding::string::encode(number, &text, &mut later);
        prop_assert_eq!(Session::decode(&later), Ok(session));
    }
}

/// One record of each kind, always the same.
fn sample() -> (Key, SubjectRecord) {
    let id = DeviceId::new(Bucket::new(3).unwrap(), [5; 16]);
    let app = "bank".parse().unwrap();
    let record = SubjectRecord {
        epoch: 1,
        devices: vec![DeviceEntry { id, app }],
        sessions: Vec::new(),
        consents: [("consent-1".parse().unwrap(), 5)].into(),
    };
    (keys::subject(&[9; 32]), record)
}

#[test]
fn no_single_bit_of_a_sealed_record_can_be_changed() {
    let (name, record) = sample();
    let sealed = seal(&KEYRING, &name, &record).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            open::<SubjectRecord>(&KEYRING, &name, &changed).is_err(),
            "bit {bit}"
        );
    }
    for length in 0..sealed.len() {
        let shorter = &sealed[..length];
        assert!(
            open::<SubjectRecord>(&KEYRING, &name, shorter).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn a_rotated_service_seals_with_the_new_secret_which_the_old_one_lacks() {
    let (name, record) = sample();
    let sealed = seal(&ROTATED, &name, &record).unwrap();
    assert_eq!(open(&ROTATED, &name, &sealed), Ok(record));
    let seen = open::<SubjectRecord>(&KEYRING, &name, &sealed);
    assert_eq!(seen, Err(RecordError::Sealed));
}

#[test]
fn the_same_record_is_never_sealed_to_the_same_bytes() {
    let (name, record) = sample();
    let first = seal(&KEYRING, &name, &record).unwrap();
    assert_ne!(first, seal(&KEYRING, &name, &record).unwrap());
}

#[test]
fn a_sealed_record_shows_nothing_of_its_subject() {
    let name = keys::session(&SessionId::new(Bucket::new(3).unwrap(), [5; 16]));
    let runner = &mut proptest::test_runner::TestRunner::deterministic();
    let mut record = session().new_tree(runner).unwrap().current();
    record.subject = "alice@example.com".parse().unwrap();
    record.scopes = ["transfer:everything".to_owned()].into();
    let sealed = seal(&KEYRING, &name, &record).unwrap();
    for word in [&b"alice"[..], b"transfer"] {
        assert!(!sealed.windows(word.len()).any(|window| window == word));
    }
}

#[test]
fn a_state_this_version_does_not_know_is_no_record() {
    let runner = &mut proptest::test_runner::TestRunner::deterministic();
    let mut device = device().new_tree(runner).unwrap().current();
    device.state = DeviceState::Active;
    // Field 6 says that it was revoked: without a reason, and with one from a later version.
    for revoked in [&[0x32, 0][..], &[0x32, 2, 0x10, 99]] {
        let plain = [&device.encode()[..], revoked].concat();
        assert_eq!(Device::decode(&plain), Err(RecordError::Form));
    }
    assert_eq!(Device::decode(&[]), Err(RecordError::Form));
    assert_eq!(Session::decode(&[]), Err(RecordError::Form));
}

#[test]
fn a_list_of_devices_that_lacks_something_is_no_record() {
    let (_, record) = sample();
    let [entry] = record.devices.as_slice() else {
        panic!("one device");
    };
    let id = entry.id.as_bytes();
    let field = |number: u32, bytes: &[u8]| {
        let mut field = Vec::new();
        prost::encoding::bytes::encode(number, &bytes.to_vec(), &mut field);
        field
    };
    let listed = |parts: &[Vec<u8>]| SubjectRecord::decode(&field(2, &parts.concat()));
    let (app, device) = (field(1, b"bank"), field(2, id));
    let read = listed(&[app.clone(), device.clone()]).unwrap();
    assert_eq!(read.devices, record.devices);
    for (what, bad) in [
        ("nothing", vec![]),
        ("an app alone", vec![app.clone()]),
        ("a device of no app", vec![device.clone()]),
        (
            "a name that is none",
            vec![field(1, b"Bank"), device.clone()],
        ),
        ("a short id", vec![app.clone(), field(2, &id[1..])]),
        (
            "a good id and an empty one",
            vec![app.clone(), device, field(2, &[])],
        ),
        (
            "a bucket there is none of",
            vec![app, field(2, &[0xff; 18])],
        ),
    ] {
        assert_eq!(listed(&bad), Err(RecordError::Form), "{what}");
    }
    // An id where a list with its app belongs.
    assert_eq!(SubjectRecord::decode(&field(2, id)), Err(RecordError::Form));
}

/// What is loaded with every request: the name of an app is there once, not with each device.
#[test]
fn a_device_more_costs_a_subject_twenty_bytes() {
    let (_, mut record) = sample();
    let one = record.encode().len();
    for number in 0..4 {
        let mut entry = record.devices[0].clone();
        entry.id = DeviceId::new(entry.id.bucket(), [number; 16]);
        record.devices.push(entry);
    }
    assert_eq!(record.encode().len(), one + 4 * 20);
}

#[test]
fn one_kind_of_record_is_never_found_under_the_name_of_another() {
    let bucket = Bucket::new(5).unwrap();
    let names = [
        keys::device(&DeviceId::new(bucket, [1; 16])),
        keys::session(&SessionId::new(bucket, [1; 16])),
        keys::subject(&[0; 32]),
        keys::fleet(bucket),
        keys::challenge(&[0; 32]),
        keys::key_owner(&Thumbprint::from_bytes([0; 32])),
        keys::proof(bucket, &[0; 32]),
    ];
    let kinds: std::collections::BTreeSet<&str> = names
        .iter()
        .map(|key| &key.name()[..key.name().len().min(3)])
        .collect();
    assert_eq!(kinds.len(), names.len());
}

#[test]
fn proofs_meet_only_with_the_same_id_in_the_same_bucket() {
    let bucket = |number| Bucket::new(number).unwrap();
    let one = keys::proof(bucket(1), &[1; 32]);
    assert_eq!(one, keys::proof(bucket(1), &[1; 32]));
    assert_ne!(one, keys::proof(bucket(1), &[2; 32]));
    assert_ne!(one, keys::proof(bucket(2), &[1; 32]));
}

#[test]
fn the_roll_of_watchers_comes_back_as_it_was_written() {
    let round = |number: u8| RoundId([number; 16]);
    let watcher = |acked: Option<i64>, passed| Watcher {
        seen_at: Timestamp::from_millis(1_700_000_000_123),
        acked_until: acked.map(Timestamp::from_millis),
        passed,
    };
    let id = |name: &str| WatcherId::new("spiffe://example/api", name).unwrap();
    let roll = Roll {
        rounds: vec![round(1), round(2)],
        watchers: [
            (id("new"), watcher(None, None)),
            (id("old"), watcher(Some(1), Some(round(1)))),
        ]
        .into(),
        left_out_at: Some(Timestamp::from_millis(2)),
        ..Roll::begin(Timestamp::from_millis(3))
    };
    for roll in [roll, Roll::begin(Timestamp::from_millis(4))] {
        assert_eq!(Roll::decode(&roll.encode()), Ok(roll));
    }
    // A round of another length, a watcher without a name.
    for bad in [&[0x0a, 2, 1, 2][..], &[0x12, 0]] {
        assert_eq!(Roll::decode(bad), Err(RecordError::Form));
    }
}
