//! Every rule of a policy, with facts made by hand.

mod downgrade;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::attestation::android::{
    self, AuthorizationList, KeyDescription, Origin, Provisioning, RootOfTrust,
};
use crate::attestation::{Attested, AttestedKey, Checks, Facts, Outcome, apple};
use crate::key::PublicKey;
use crate::reason::Reason;
use crate::simulator::{Curve, SoftKey};
use crate::time::Timestamp;

const SIGN: u64 = 2;
const VERIFY: u64 = 3;
const AGREE_KEY: u64 = 6;
const ATTEST_KEY: u64 = 7;
const BOOT_KEY: [u8; 32] = [0xb0; 32];

fn p256() -> AttestedKey {
    let key = SoftKey::generate(Curve::P256).unwrap();
    AttestedKey::P256(PublicKey::from_sec1(key.public_point()).unwrap())
}

/// A phone nothing is wrong with.
fn phone() -> android::Facts {
    let hardware_enforced = AuthorizationList {
        purposes: Some(vec![SIGN]),
        digests: Some(vec![4]),
        origin: Some(Origin::Generated),
        root_of_trust: Some(RootOfTrust {
            verified_boot_key: BOOT_KEY.to_vec(),
            device_locked: true,
            verified_boot_state: VerifiedBootState::Verified,
            verified_boot_hash: None,
        }),
        os_version: Some(150_000),
        os_patch_level: Some(202_610),
        vendor_patch_level: Some(20_261_005),
        boot_patch_level: Some(20_261_005),
        ..AuthorizationList::default()
    };
    android::Facts {
        key_description: KeyDescription {
            attestation_version: 300,
            attestation_security_level: SecurityLevel::TrustedEnvironment,
            keymint_version: 300,
            keymint_security_level: SecurityLevel::TrustedEnvironment,
            attestation_challenge: b"challenge".to_vec(),
            unique_id: Vec::new(),
            software_enforced: AuthorizationList::default(),
            hardware_enforced,
        },
        security_level: SecurityLevel::TrustedEnvironment,
        provisioning: Provisioning::Factory,
        serials: vec!["1".to_owned(), "a0".to_owned()],
        issuer_keys: vec![[1; 32]],
        attest_key: false,
        attestation_key_sha256: [1; 32],
        root_key_sha256: [2; 32],
    }
}

fn android_policy() -> AndroidPolicy {
    AndroidPolicy::strict()
}

fn iphone(validation_category: Option<u32>) -> apple::Facts {
    apple::Facts {
        key_id: [3; 32],
        rp_id_hash: [4; 32],
        app_id: Some("ABCDE12345.com.example.bank".to_owned()),
        environment: Some(Environment::Production),
        sign_count: 0,
        extensions: apple::Extensions {
            validation_category,
            bundle_version: Some("12".to_owned()),
            announced: true,
            ..apple::Extensions::default()
        },
        os_version: Some("26.1".to_owned()),
        os_build: Some("23B85".to_owned()),
        platform: None,
        acl_blob: None,
        leaf_serial: "c0".to_owned(),
        intermediate_serial: Some("c1".to_owned()),
        leaf_not_before: Timestamp::EPOCH,
        leaf_not_after: Timestamp::EPOCH,
        receipt: apple::receipt::ReceiptEvidence::Absent,
    }
}

fn apple_policy<const N: usize>(
    categories: [u32; N],
    missing_category: MissingRule,
) -> ApplePolicy {
    ApplePolicy {
        validation_categories: categories.into(),
        missing_category,
        ..ApplePolicy::open()
    }
}

fn any_apple() -> ApplePolicy {
    apple_policy([], MissingRule::Allowed)
}

/// The check that refuses, with its reason.
fn refusal(checks: &Checks) -> Option<(&'static str, Reason)> {
    checks
        .rejection()
        .map(|rejection| (rejection.name, rejection.reason))
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap()
}

fn checks(facts: &Facts, android: &AndroidPolicy, apple: &ApplePolicy) -> Checks {
    posture_checks(&Posture::of(facts), android, apple, now())
}

fn posture(facts: android::Facts, policy: &AndroidPolicy) -> Option<(&'static str, Reason)> {
    let facts = Facts::Android(Box::new(facts));
    refusal(&checks(&facts, policy, &any_apple()))
}

fn hardware(facts: &mut android::Facts) -> &mut AuthorizationList {
    &mut facts.key_description.hardware_enforced
}

#[test]
fn a_well_kept_phone_passes_every_check() {
    let facts = Facts::Android(Box::new(phone()));
    let mut checks = checks(&facts, &android_policy(), &any_apple());
    checks.extend(device_key_checks(&facts, &p256()));
    assert!(checks.all_passed());
}

#[test]
fn the_key_has_to_be_held_by_hardware_of_the_wanted_level() {
    use SecurityLevel::{Software, StrongBox, TrustedEnvironment};
    for (level, least, passes) in [
        (Software, TrustLevel::Provisional, false),
        (Software, TrustLevel::Tee, false),
        (Software, TrustLevel::StrongBox, false),
        (TrustedEnvironment, TrustLevel::Tee, true),
        (TrustedEnvironment, TrustLevel::StrongBox, false),
        (StrongBox, TrustLevel::Tee, true),
        (StrongBox, TrustLevel::StrongBox, true),
    ] {
        let mut facts = phone();
        facts.security_level = level;
        let policy = AndroidPolicy {
            security_level_min: least,
            ..android_policy()
        };
        let expected = (!passes).then_some(("security_level_min", Reason::SecurityLevelTooLow));
        assert_eq!(posture(facts, &policy), expected, "{level} for {least:?}");
    }
}

#[test]
fn only_a_locked_phone_with_a_system_of_its_maker_or_an_allowed_key_passes() {
    use VerifiedBootState::{Failed, SelfSigned, Unverified, Verified};
    let state = ("verified_boot_state", Reason::BootStateRejected);
    let lock = ("device_locked", Reason::BootStateRejected);
    let allowed = vec![vec![1; 32], BOOT_KEY.to_vec()];
    let others = vec![vec![1; 32], BOOT_KEY[..31].to_vec(), Vec::new()];
    for (boot, locked, keys, expected) in [
        (Verified, true, &[][..], None),
        (Verified, true, &others[..], None),
        (Verified, false, &allowed[..], Some(lock)),
        (SelfSigned, true, &[], Some(state)),
        (SelfSigned, true, &others, Some(state)),
        (SelfSigned, true, &allowed, None),
        (SelfSigned, false, &allowed, Some(lock)),
        (Unverified, true, &allowed, Some(state)),
        (Unverified, false, &allowed, Some(lock)),
        (Failed, true, &allowed, Some(state)),
    ] {
        let mut facts = phone();
        let root = hardware(&mut facts).root_of_trust.as_mut().unwrap();
        root.verified_boot_state = boot;
        root.device_locked = locked;
        let policy = AndroidPolicy {
            self_signed_boot_keys: keys.to_vec(),
            ..android_policy()
        };
        assert_eq!(posture(facts, &policy), expected, "{boot}, locked {locked}");
    }
}

#[test]
fn without_a_root_of_trust_nothing_is_known_to_be_locked() {
    let mut facts = phone();
    let root = hardware(&mut facts).root_of_trust.take();
    // What the system says of itself is worth nothing.
    facts.key_description.software_enforced.root_of_trust = root;
    let seen = posture(facts, &android_policy());
    assert_eq!(seen, Some(("device_locked", Reason::BootStateRejected)));
}

/// Sets the lowest level of a check and the level the hardware states.
type Level = fn(&mut AndroidPolicy, u32, &mut AuthorizationList, Option<u64>);

const SIX_DIGITS: [(&str, Level); 1] = [("os_patch_level", |policy, least, list, seen| {
    policy.os_patch_level_min = least;
    list.os_patch_level = seen;
})];
const EIGHT_DIGITS: [(&str, Level); 2] = [
    ("vendor_patch_level", |policy, least, list, seen| {
        policy.vendor_patch_level_min = least;
        list.vendor_patch_level = seen;
    }),
    ("boot_patch_level", |policy, least, list, seen| {
        policy.boot_patch_level_min = least;
        list.boot_patch_level = seen;
    }),
];

fn levels_hold(checks: &[(&'static str, Level)], rows: &[(u32, Option<u64>, bool)]) {
    for (name, set) in checks {
        for (least, seen, passes) in rows {
            let (mut policy, mut facts) = (android_policy(), phone());
            set(&mut policy, *least, hardware(&mut facts), *seen);
            let expected = (!passes).then_some((*name, Reason::PostureBelowPolicy));
            assert_eq!(
                posture(facts, &policy),
                expected,
                "{name}: {seen:?} for {least}"
            );
        }
    }
}

#[test]
fn a_patch_level_by_month_is_at_least_the_wanted_one() {
    let rows = [
        (202_610, Some(202_610), true),
        (202_610, Some(202_611), true),
        (202_610, Some(202_609), false),
        (202_610, Some(0), false),
        (202_610, None, false),
        (0, None, true),
        (0, Some(0), true),
        // A day in it makes no phone newer.
        (202_610, Some(20_261_005), true),
        (202_610, Some(20_260_905), false),
        (202_610, Some(20_150_101), false),
    ];
    levels_hold(&SIX_DIGITS, &rows);
}

#[test]
fn a_patch_level_by_day_may_lack_its_day() {
    let rows = [
        (20_261_005, Some(20_261_005), true),
        (20_261_005, Some(20_261_004), false),
        (20_261_005, Some(20_261_101), true),
        // Without a day, or with day 00, it is the first of the month.
        (20_261_001, Some(202_610), true),
        (20_261_001, Some(20_261_000), true),
        (20_261_002, Some(202_610), false),
        (20_261_002, Some(20_261_000), false),
        (20_261_101, Some(202_610), false),
        (20_260_930, Some(202_610), true),
        (20_260_930, Some(20_261_000), true),
        (20_261_005, Some(0), false),
        (20_261_005, None, false),
        (0, None, true),
    ];
    levels_hold(&EIGHT_DIGITS, &rows);
}

#[test]
fn the_system_version_is_at_least_the_wanted_one() {
    let set: Level = |policy, least, list, seen| {
        policy.os_version_min = least;
        list.os_version = seen;
    };
    let rows = [
        (130_000, Some(130_000), true),
        (130_000, Some(150_000), true),
        (130_000, Some(120_100), false),
        (130_000, Some(90_000), false),
        // Pre-releases state 0.
        (130_000, Some(0), false),
        (130_000, None, false),
        (0, None, true),
    ];
    levels_hold(&[("os_version", set)], &rows);
}

#[test]
fn patch_levels_stated_by_the_system_itself_do_not_count() {
    let mut facts = phone();
    let stated = hardware(&mut facts).os_patch_level.take();
    facts.key_description.software_enforced.os_patch_level = stated;
    let policy = AndroidPolicy {
        os_patch_level_min: 201_901,
        ..android_policy()
    };
    let expected = Some(("os_patch_level", Reason::PostureBelowPolicy));
    assert_eq!(posture(facts, &policy), expected);
}

#[test]
fn a_policy_may_want_keys_provisioned_remotely() {
    let remote = Provisioning::Remote {
        issued: Some(3),
        manufacturer: None,
    };
    for (provisioning, passes) in [
        (Provisioning::Factory, false),
        (Provisioning::Other, false),
        (remote, true),
    ] {
        let mut facts = phone();
        facts.provisioning = provisioning;
        assert_eq!(posture(facts.clone(), &android_policy()), None);
        let policy = AndroidPolicy {
            provisioning: ProvisioningRule::RemoteOnly,
            ..android_policy()
        };
        let expected = (!passes).then_some(("provisioning", Reason::SecurityLevelTooLow));
        assert_eq!(posture(facts, &policy), expected);
    }
}

#[test]
fn a_check_that_failed_does_not_hide_the_others() {
    let mut facts = phone();
    facts.security_level = SecurityLevel::Software;
    hardware(&mut facts).root_of_trust = None;
    hardware(&mut facts).os_patch_level = None;
    let policy = AndroidPolicy {
        os_patch_level_min: 202_610,
        ..android_policy()
    };
    let checks = checks(&Facts::Android(Box::new(facts)), &policy, &any_apple());
    let failed: Vec<_> = checks
        .as_slice()
        .iter()
        .filter(|check| check.outcome != Outcome::Passed)
        .map(|check| check.name)
        .collect();
    let expected = [
        "security_level_min",
        "device_locked",
        "verified_boot_state",
        "os_patch_level",
    ];
    assert_eq!(failed, expected);
}

#[test]
fn categories_of_an_apple_app_are_listed_and_may_be_missing_where_allowed() {
    use MissingRule::{Allowed, Refused};
    let other = Some(Reason::AttestationAppMismatch);
    let old = Some(Reason::PostureBelowPolicy);
    for (policy, category, reason) in [
        (apple_policy([], Allowed), None, None),
        (apple_policy([], Allowed), Some(0), other),
        (apple_policy([0], Allowed), Some(0), None),
        (apple_policy([], Allowed), Some(1), None),
        (apple_policy([], Refused), None, old),
        (apple_policy([], Refused), Some(3), None),
        (apple_policy([2, 4], Allowed), None, None),
        (apple_policy([2, 4], Allowed), Some(4), None),
        (apple_policy([2, 4], Allowed), Some(3), other),
        (apple_policy([2, 4], Allowed), Some(0), other),
        (apple_policy([2, 4], Refused), None, old),
        (apple_policy([2, 4], Refused), Some(2), None),
        (apple_policy([2, 4], Refused), Some(u32::MAX), other),
    ] {
        let facts = Facts::Apple(Box::new(iphone(category)));
        let seen = refusal(&checks(&facts, &android_policy(), &policy));
        let expected = reason.map(|reason| ("validation_category", reason));
        assert_eq!(seen, expected, "{category:?} under {policy:?}");
    }
}

#[test]
fn what_an_app_can_have_signed_behind_the_data_is_not_what_the_system_says() {
    let posture = |platform: Option<&str>, announced| {
        let mut facts = iphone(Some(4));
        facts.platform = platform.map(str::to_owned);
        facts.extensions.announced = announced;
        match Posture::of(&Facts::Apple(Box::new(facts))) {
            Posture::Apple(apple) => (apple.validation_category, apple.bundle_version),
            Posture::Android(_) => panic!("an iPhone"),
        }
    };
    let said = (Some(4), Some("12".to_owned()));
    assert_eq!(posture(None, true), said);
    assert_eq!(posture(Some("iphoneos"), true), said);
    assert_eq!(posture(Some("macosx"), false), said);
    assert_eq!(posture(None, false), (None, None));
    assert_eq!(posture(Some("iphoneos"), false), (None, None));
}

fn key_refusal(facts: android::Facts, key: &AttestedKey) -> Option<(&'static str, Reason)> {
    refusal(&device_key_checks(&Facts::Android(Box::new(facts)), key))
}

#[test]
fn a_device_key_signs_and_does_nothing_else() {
    for (purposes, passes) in [
        (Some(vec![SIGN]), true),
        (Some(vec![SIGN, VERIFY]), true),
        (Some(vec![VERIFY, SIGN]), true),
        (Some(vec![VERIFY]), false),
        (Some(vec![SIGN, ATTEST_KEY]), false),
        (Some(vec![SIGN, AGREE_KEY]), false),
        (Some(vec![SIGN, u64::MAX]), false),
        (Some(vec![]), false),
        (None, false),
    ] {
        let mut facts = phone();
        hardware(&mut facts).purposes.clone_from(&purposes);
        let expected = (!passes).then_some(("device_key_purpose", Reason::AttestationKeyRejected));
        assert_eq!(key_refusal(facts, &p256()), expected, "{purposes:?}");
    }
}

#[test]
fn purposes_that_only_the_system_enforces_are_no_limits() {
    let mut facts = phone();
    let purposes = hardware(&mut facts).purposes.take();
    facts.key_description.software_enforced.purposes = purposes;
    let expected = Some(("device_key_purpose", Reason::AttestationKeyRejected));
    assert_eq!(key_refusal(facts, &p256()), expected);
}

#[test]
fn a_device_key_signs_sha_256() {
    for (digests, passes) in [
        (Some(vec![4]), true),
        (Some(vec![0, 4, 6]), true),
        (Some(vec![0]), false),
        (Some(vec![2, 6]), false),
        (None, false),
    ] {
        let mut facts = phone();
        hardware(&mut facts).digests.clone_from(&digests);
        let expected = (!passes).then_some(("device_key_digest", Reason::AttestationKeyRejected));
        assert_eq!(key_refusal(facts, &p256()), expected, "{digests:?}");
    }
}

#[test]
fn a_device_key_is_p_256_on_either_platform() {
    let other = AttestedKey::Other("RSA 2048".to_owned());
    let expected = Some(("device_key_algorithm", Reason::AttestationKeyRejected));
    assert_eq!(key_refusal(phone(), &other), expected);
    let facts = Facts::Apple(Box::new(iphone(None)));
    assert_eq!(refusal(&device_key_checks(&facts, &other)), expected);
    assert_eq!(refusal(&device_key_checks(&facts, &p256())), None);
}

fn app_policy() -> AppPolicy {
    AppPolicy {
        android: android_policy(),
        apple: any_apple(),
        scopes: Vec::new(),
        audiences: Vec::new(),
        lifetimes: Lifetimes {
            access_for: Duration::ZERO,
            idle_for: Duration::ZERO,
            absolute_for: Duration::ZERO,
            refresh_grace_for: Duration::ZERO,
            challenge_for: Duration::ZERO,
            reattest_after: None,
        },
        level_lifetimes: BTreeMap::new(),
        reappraisal: Reappraisal::strict(),
        proof: ProofPolicy {
            nonce: NonceRule::Required,
            iat_window: Duration::ZERO,
            accepted_uris: Vec::new(),
            replay: ReplayRule::Jti,
            counter: CounterOrder::Window,
            body: BodyRule::WhenSent,
        },
        on_refresh_reuse: ReuseRule::RevokeSession,
        devices_per_subject_max: 1,
        sessions_per_subject_max: 1,
        sessions_per_device_max: 1,
        on_session_limit: SessionLimitRule::Refuse,
        risk: RiskPolicy::usual(),
        rates: Rates::none(),
        on_device_limit: DeviceLimitRule::Refuse,
        step_up: StepUpPolicy::plain(),
    }
}

fn assured(facts: Facts, key: AttestedKey, policy: &AppPolicy) -> Result<Assurance, Reason> {
    let attested = Attested::of(key, facts);
    let (checks, verdict) = evaluate(&attested, policy, now());
    assert_eq!(checks.rejection().is_none(), verdict.is_ok());
    verdict.map_err(|rejection| rejection.reason)
}

#[test]
fn an_assurance_says_what_was_attested() {
    let key = p256();
    let AttestedKey::P256(public) = &key else {
        panic!("not P-256");
    };
    let mut facts = phone();
    facts.security_level = SecurityLevel::StrongBox;
    let android = Facts::Android(Box::new(facts));
    let seen = assured(android, key.clone(), &app_policy()).unwrap();
    assert_eq!(seen.key(), public);
    assert_eq!(seen.trust_level(), TrustLevel::StrongBox);
    assert_eq!(seen.chain_serials(), ["1", "a0"]);
    let expected = AndroidPosture {
        attestation_version: 300,
        keymint_version: 300,
        security_level: SecurityLevel::StrongBox,
        boot: Some(Boot {
            device_locked: true,
            state: VerifiedBootState::Verified,
            key: BOOT_KEY.to_vec(),
            hash: None,
        }),
        os_version: Some(150_000),
        os_patch_level: Some(202_610),
        vendor_patch_level: Some(20_261_005),
        boot_patch_level: Some(20_261_005),
        provisioning: ProvisioningKind::Factory,
        user: UserAuthentication::default(),
        attest_key: false,
    };
    assert_eq!(*seen.posture(), Posture::Android(expected));
    assert_eq!(seen.provisional().trust_level(), TrustLevel::Provisional);

    let apple = Facts::Apple(Box::new(iphone(Some(4))));
    let seen = assured(apple, key, &app_policy()).unwrap();
    assert_eq!(seen.trust_level(), TrustLevel::AppAttest);
    assert_eq!(seen.chain_serials(), ["c0"]);
    let expected = ApplePosture {
        environment: Some(Environment::Production),
        platform: None,
        os_version: Some("26.1".to_owned()),
        os_build: Some("23B85".to_owned()),
        validation_category: Some(4),
        bundle_version: Some("12".to_owned()),
        boot_rules: false,
        cd_hash: None,
        receipt: ReceiptStanding::Absent,
    };
    assert_eq!(*seen.posture(), Posture::Apple(expected));
}

#[test]
fn what_no_genuine_device_states_is_kept_as_not_stated() {
    let mut facts = phone();
    let list = hardware(&mut facts);
    list.os_patch_level = Some(u64::MAX);
    list.os_version = Some(0);
    list.vendor_patch_level = None;
    let root = list.root_of_trust.as_mut().unwrap();
    root.verified_boot_key = vec![1; BOOT_DIGEST_BYTES_MAX + 1];
    root.verified_boot_hash = Some(vec![2; BOOT_DIGEST_BYTES_MAX]);
    let Posture::Android(seen) = Posture::of(&Facts::Android(Box::new(facts))) else {
        panic!("not Android");
    };
    assert_eq!((seen.os_patch_level, seen.vendor_patch_level), (None, None));
    assert_eq!(seen.os_version, Some(0));
    let boot = seen.boot.unwrap();
    assert_eq!(boot.key, [0; 0]);
    assert_eq!(boot.hash, Some(vec![2; BOOT_DIGEST_BYTES_MAX]));
}

#[test]
fn what_any_check_refuses_gets_no_assurance() {
    let refusals = |facts, key| assured(Facts::Android(Box::new(facts)), key, &app_policy());
    let other = AttestedKey::Other("EC P-384".to_owned());
    assert_eq!(
        refusals(phone(), other),
        Err(Reason::AttestationKeyRejected)
    );
    let mut unlocked = phone();
    hardware(&mut unlocked).root_of_trust = None;
    assert_eq!(refusals(unlocked, p256()), Err(Reason::BootStateRejected));
    // The posture gives the reason before the key.
    let mut both = phone();
    both.security_level = SecurityLevel::Software;
    hardware(&mut both).purposes = None;
    assert_eq!(refusals(both, p256()), Err(Reason::SecurityLevelTooLow));
    let refused = AppPolicy {
        apple: apple_policy([4], MissingRule::Refused),
        ..app_policy()
    };
    let seen = assured(Facts::Apple(Box::new(iphone(Some(3)))), p256(), &refused);
    assert_eq!(seen, Err(Reason::AttestationAppMismatch));
}
