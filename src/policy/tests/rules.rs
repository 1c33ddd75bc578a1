//! Rules beyond the first ones, monitor mode, and what holds for all policies.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn android(change: impl FnOnce(&mut android::Facts)) -> Facts {
    let mut facts = phone();
    change(&mut facts);
    Facts::Android(Box::new(facts))
}

fn apple(change: impl FnOnce(&mut apple::Facts)) -> Facts {
    let mut facts = iphone(None);
    change(&mut facts);
    Facts::Apple(Box::new(facts))
}

fn mac(facts: &mut apple::Facts) {
    facts.platform = Some("macosx".to_owned());
}

fn under(facts: &Facts, policy: &AppPolicy) -> Option<(&'static str, Reason)> {
    let (checks, verdict) = appraise(&Posture::of(facts), policy, now());
    assert_eq!(checks.rejection().is_some(), verdict.is_err());
    refusal(&checks)
}

fn with_android(change: impl FnOnce(&mut AndroidPolicy)) -> AppPolicy {
    let mut policy = app_policy();
    change(&mut policy.android);
    policy
}

fn with_apple(change: impl FnOnce(&mut ApplePolicy)) -> AppPolicy {
    let mut policy = app_policy();
    change(&mut policy.apple);
    policy
}

#[test]
fn makers_systems_may_be_limited_to_listed_keys() {
    let policy = |keys: &[&[u8]]| {
        let keys = keys.iter().map(|key| key.to_vec()).collect();
        with_android(|android| android.verified_boot_keys = keys)
    };
    let refused = Some(("verified_boot_key", Reason::BootStateRejected));
    let phone = android(|_| {});
    assert_eq!(under(&phone, &policy(&[])), None);
    assert_eq!(under(&phone, &policy(&[&[1; 32], &BOOT_KEY])), None);
    assert_eq!(
        under(&phone, &policy(&[&[1; 32], &BOOT_KEY[..31]])),
        refused
    );
    // A system the fleet signs itself is judged by its own list.
    let fleet = android(|facts| {
        let root = hardware(facts).root_of_trust.as_mut().unwrap();
        root.verified_boot_state = VerifiedBootState::SelfSigned;
    });
    let mut policy = policy(&[&[1; 32]]);
    policy.android.self_signed_boot_keys = vec![BOOT_KEY.to_vec()];
    assert_eq!(under(&fleet, &policy), None);
}

#[test]
fn a_patch_level_grows_old() {
    let day = Duration::from_secs(86_400);
    let refused = Some(("max_patch_age", Reason::PostureBelowPolicy));
    // On 2026-11-22; 2026-10 began 52 days before.
    for (level, age_max, expected) in [
        (Some(202_610), Some(day * 52), None),
        (Some(202_610), Some(day * 51), refused),
        (Some(202_612), Some(day), None),
        (Some(20_261_031), Some(day * 52), None),
        (Some(202_613), Some(day * 3650), refused),
        (Some(0), Some(day * 3650), refused),
        (None, Some(day * 3650), refused),
        (None, None, None),
    ] {
        let facts = android(|facts| hardware(facts).os_patch_level = level);
        let policy = with_android(|android| android.patch_age_max = age_max);
        assert_eq!(under(&facts, &policy), expected, "{level:?}, {age_max:?}");
    }
}

#[test]
fn the_same_posture_falls_below_policy_as_time_goes_by() {
    let policy = with_android(|android| {
        android.patch_age_max = Some(Duration::from_secs(365 * 86_400));
    });
    let posture = Posture::of(&android(|_| {}));
    let judge = |at| appraise(&posture, &policy, Timestamp::parse_rfc3339(at).unwrap()).1;
    assert_eq!(judge("2027-10-01T00:00:00Z").unwrap(), TrustLevel::Tee);
    let refused = judge("2027-10-01T00:00:01Z").unwrap_err();
    assert_eq!(refused.reason, Reason::PostureBelowPolicy);
}

#[test]
fn a_key_that_the_hardware_gives_to_nobody_but_the_user() {
    const PASSWORD: u64 = 1;
    const BIOMETRIC: u64 = 2;
    let both = (true, true);
    let finger = (false, true);
    for (none, kinds, timeout, (password, biometric), most, passes) in [
        (false, Some(BIOMETRIC), None, finger, 0, true),
        (false, Some(BIOMETRIC), Some(0), finger, 0, true),
        (false, Some(BIOMETRIC), Some(1), finger, 0, false),
        (false, Some(BIOMETRIC), Some(30), finger, 30, true),
        (false, Some(BIOMETRIC), Some(31), finger, 30, false),
        (false, Some(BIOMETRIC), Some(u64::MAX), finger, 30, false),
        (false, Some(PASSWORD), None, finger, 0, false),
        (false, Some(PASSWORD | BIOMETRIC), None, finger, 0, false),
        (false, Some(PASSWORD | BIOMETRIC), None, both, 0, true),
        (false, Some(0xffff_ffff), None, both, 0, true),
        (false, Some(0xffff_ffff), None, finger, 0, false),
        (false, Some(BIOMETRIC | 4), None, both, 0, false),
        (false, Some(0), None, both, 0, false),
        (false, None, None, both, 0, false),
        (true, Some(BIOMETRIC), None, both, 0, false),
        (true, None, None, both, 0, false),
    ] {
        let facts = android(|facts| {
            let list = hardware(facts);
            list.no_auth_required = none;
            list.user_auth_type = kinds;
            list.auth_timeout = timeout;
        });
        let policy = with_android(|android| {
            android.user_authentication = UserAuthenticationRule::Required {
                authenticators: Authenticators {
                    password,
                    biometric,
                    other: false,
                },
                timeout_max: Duration::from_secs(most),
            };
        });
        assert_eq!(under(&facts, &app_policy()), None);
        let refused = Some(("user_authentication", Reason::AttestationKeyRejected));
        let expected = if passes { None } else { refused };
        assert_eq!(under(&facts, &policy), expected, "{kinds:?} {timeout:?}");
    }
}

#[test]
fn authentication_that_only_the_system_enforces_is_none() {
    let facts = android(|facts| {
        facts.key_description.software_enforced.user_auth_type = Some(2);
    });
    let policy = with_android(|android| {
        android.user_authentication = UserAuthenticationRule::Required {
            authenticators: Authenticators {
                password: true,
                biometric: true,
                other: false,
            },
            timeout_max: Duration::from_secs(86_400),
        };
    });
    let refused = Some(("user_authentication", Reason::AttestationKeyRejected));
    assert_eq!(under(&facts, &policy), refused);
}

#[test]
fn a_key_of_the_device_attests_no_other_unless_allowed() {
    let Posture::Android(mut posture) = Posture::of(&android(|_| {})) else {
        panic!("not Android");
    };
    posture.attest_key = true;
    let posture = Posture::Android(posture);
    let judge = |rule| {
        let policy = with_android(|android| android.attest_keys = rule);
        refusal(&appraise(&posture, &policy, now()).0)
    };
    let refused = Some(("attest_keys", Reason::AttestationChainUntrusted));
    assert_eq!(judge(AttestKeyRule::Refuse), refused);
    assert_eq!(judge(AttestKeyRule::Allow), None);
}

#[test]
fn a_registered_key_of_another_environment_is_found_later() {
    let policy = with_apple(|apple| apple.environment = Some(Environment::Production));
    let refused = Some(("app_environment", Reason::AttestationEnvironmentMismatch));
    assert_eq!(under(&apple(|_| {}), &policy), None);
    for other in [None, Some(Environment::Development)] {
        let facts = apple(|facts| facts.environment = other);
        assert_eq!(under(&facts, &policy), refused);
    }
}

#[test]
fn systems_may_be_listed_and_may_be_unnamed_where_allowed() {
    use MissingRule::{Allowed, Refused};
    let refused = Some(("os_platform", Reason::UnsupportedPlatform));
    for (listed, missing, named, expected) in [
        (None, Refused, None, None),
        (Some("iphoneos"), Allowed, None, None),
        (Some("iphoneos"), Refused, None, refused),
        (Some("iphoneos"), Refused, Some("iphoneos"), None),
        (Some("iphoneos"), Allowed, Some("macosx"), refused),
        (Some("iphoneos"), Allowed, Some("iphoneos2"), refused),
    ] {
        let facts = apple(|facts| facts.platform = named.map(str::to_owned));
        let mut policy = with_apple(|apple| {
            apple.platforms = listed.map(str::to_owned).into_iter().collect();
            apple.missing_platform = missing;
            apple.missing_category_mac = Allowed;
        });
        // What else is asked of a Mac is another check.
        policy.apple.monitor.clear();
        assert_eq!(under(&facts, &policy), expected, "{named:?} of {listed:?}");
    }
}

#[test]
fn a_mac_shows_its_boot_rules_and_its_category() {
    let (boot, category) = (Reason::BootStateRejected, Reason::PostureBelowPolicy);
    let Posture::Apple(mut posture) = Posture::of(&apple(mac)) else {
        panic!("not Apple");
    };
    let judge = |posture: &ApplePosture, policy: &AppPolicy| {
        refusal(&appraise(&Posture::Apple(posture.clone()), policy, now()).0)
    };
    assert_eq!(judge(&posture, &app_policy()), Some(("boot_rules", boot)));
    posture.boot_rules = true;
    let missing = Some(("validation_category", category));
    assert_eq!(judge(&posture, &app_policy()), missing);
    let lax = with_apple(|apple| apple.missing_category_mac = MissingRule::Allowed);
    assert_eq!(judge(&posture, &lax), None);
    posture.validation_category = Some(6);
    assert_eq!(judge(&posture, &app_policy()), None);
}

#[test]
fn versions_of_the_app_have_a_floor_and_lists() {
    let version = |text: &str| text.parse::<DottedVersion>().unwrap();
    let rule = |min: &str, allowed: &[&str], refused: &[&str]| BundleVersionRule {
        min: (!min.is_empty()).then(|| version(min)),
        allowed: allowed.iter().map(|text| version(text)).collect(),
        refused: refused.iter().map(|text| version(text)).collect(),
        missing: MissingRule::Allowed,
    };
    for (rule, stated, passes) in [
        (rule("", &[], &[]), "no number", true),
        (rule("1.9", &[], &[]), "1.10", true),
        (rule("1.9", &[], &[]), "1.9.0", true),
        (rule("1.9", &[], &[]), "1.8.99", false),
        (rule("1.9", &[], &[]), "no number", false),
        (rule("", &["1.2", "3"], &[]), "1.2.0", true),
        (rule("", &["1.2", "3"], &[]), "1.2.1", false),
        (rule("", &[], &["1.2"]), "1.2.0", false),
        (rule("", &[], &["1.2"]), "1.2.1", true),
        // What cannot be compared might be the one that is refused.
        (rule("", &[], &["1.2"]), "1.2 ", false),
        (rule("2", &["1"], &[]), "1", false),
    ] {
        let facts = apple(|facts| facts.extensions.bundle_version = Some(stated.to_owned()));
        let policy = with_apple(|apple| apple.bundle_version = rule.clone());
        let refused = Some(("bundle_version", Reason::PostureBelowPolicy));
        let expected = if passes { None } else { refused };
        assert_eq!(under(&facts, &policy), expected, "{stated} under {rule:?}");
    }
}

#[test]
fn a_version_may_be_missing_where_allowed() {
    let facts = apple(|facts| facts.extensions.bundle_version = None);
    for (missing, min, passes) in [
        (MissingRule::Allowed, Some("1"), true),
        (MissingRule::Refused, Some("1"), false),
        (MissingRule::Refused, None, false),
    ] {
        let policy = with_apple(|apple| {
            apple.bundle_version.min = min.map(|min: &str| min.parse().unwrap());
            apple.bundle_version.missing = missing;
        });
        assert_eq!(under(&facts, &policy).is_none(), passes);
    }
}

#[test]
fn a_receipt_is_ignored_verified_or_required() {
    use ReceiptRule::{Ignore, Require, Verify};
    use ReceiptStanding::{Absent, Unverified, Verified};
    for (rule, standing, passes) in [
        (Ignore, Absent, true),
        (Ignore, Unverified, true),
        (Ignore, Verified, true),
        (Verify, Absent, true),
        (Verify, Unverified, false),
        (Verify, Verified, true),
        (Require, Absent, false),
        (Require, Unverified, false),
        (Require, Verified, true),
    ] {
        let Posture::Apple(mut posture) = Posture::of(&apple(|_| {})) else {
            panic!("not Apple");
        };
        posture.receipt = standing;
        let policy = with_apple(|apple| apple.receipt = rule);
        let seen = refusal(&appraise(&Posture::Apple(posture), &policy, now()).0);
        let refused = Some(("receipt", Reason::AttestationChainUntrusted));
        let expected = if passes { None } else { refused };
        assert_eq!(seen, expected, "{rule:?} of {standing:?}");
    }
}

#[test]
fn a_monitored_rule_is_listed_and_does_not_refuse() {
    let facts = android(|facts| hardware(facts).os_patch_level = Some(201_901));
    let mut policy = with_android(|android| android.os_patch_level_min = 202_610);
    assert!(under(&facts, &policy).is_some());
    policy.android.monitor = [Rule::OsPatchLevel, Rule::MaxPatchAge].into();
    let (checks, verdict) = appraise(&Posture::of(&facts), &policy, now());
    assert_eq!(verdict.unwrap(), TrustLevel::Tee);
    let seen: Vec<Rule> = monitored_rules(&checks).collect();
    assert_eq!(seen, [Rule::OsPatchLevel]);
    assert!(!checks.all_passed());
    let outcome = checks
        .as_slice()
        .iter()
        .find(|check| check.name == "os_patch_level");
    let outcome = outcome.unwrap().outcome;
    assert_eq!(outcome, Outcome::Monitored(Reason::PostureBelowPolicy));
}

#[test]
fn what_other_facts_depend_on_is_enforced_even_where_it_is_listed_as_monitored() {
    let all: BTreeSet<Rule> = Rule::ALL.iter().copied().collect();
    let policy = with_android(|android| android.monitor = all);
    let software = android(|facts| facts.security_level = SecurityLevel::Software);
    let refused = Some(("security_level_min", Reason::SecurityLevelTooLow));
    assert_eq!(under(&software, &policy), refused);
    let unlocked = android(|facts| {
        hardware(facts)
            .root_of_trust
            .as_mut()
            .unwrap()
            .device_locked = false;
    });
    let refused = Some(("device_locked", Reason::BootStateRejected));
    assert_eq!(under(&unlocked, &policy), refused);
    let unverified = android(|facts| {
        let root = hardware(facts).root_of_trust.as_mut().unwrap();
        root.verified_boot_state = VerifiedBootState::Unverified;
    });
    let refused = Some(("verified_boot_state", Reason::BootStateRejected));
    assert_eq!(under(&unverified, &policy), refused);
}

#[test]
fn every_rule_has_a_name_of_its_own() {
    let words: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(words.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        assert_eq!(Rule::of_check(rule.as_str()), Some(*rule));
        assert!(!rule.reasons().is_empty());
    }
    assert_eq!(Rule::of_check("root_key"), None);
}

#[test]
fn sessions_of_a_level_live_as_long_as_is_written_for_it() {
    let mut policy = app_policy();
    policy.lifetimes.access_for = Duration::from_secs(300);
    let short = SessionLifetimes {
        access_for: Duration::from_secs(60),
        idle_for: Duration::from_secs(600),
        absolute_for: Duration::from_secs(3600),
    };
    policy.level_lifetimes = [(TrustLevel::Provisional, short)].into();
    assert_eq!(policy.lifetimes(TrustLevel::Provisional), short);
    let others = policy.lifetimes(TrustLevel::Tee);
    assert_eq!(others.access_for, Duration::from_secs(300));
    assert_eq!(policy.access_for_max(), Duration::from_secs(300));
}

prop_compose! {
    fn any_android()(
        level in 0..3_usize,
        boot in option::of((any::<bool>(), 0..4_usize, 0..3_u8)),
        (os, os_patch) in (option::of(0..20_u64), option::of(prop::sample::select(LEVELS))),
        vendor in option::of(prop::sample::select(LEVELS)),
        boot_patch in option::of(prop::sample::select(LEVELS)),
        provisioning in 0..3_usize,
        user in (any::<bool>(), option::of(0..5_u64), option::of(0..40_u64)),
    ) -> Posture {
        use SecurityLevel::{Software, StrongBox, TrustedEnvironment};
        use VerifiedBootState::{Failed, SelfSigned, Unverified, Verified};
        let mut facts = phone();
        facts.security_level = [Software, TrustedEnvironment, StrongBox][level];
        facts.provisioning = [
            Provisioning::Factory,
            Provisioning::Other,
            Provisioning::Remote { issued: None, manufacturer: None },
        ][provisioning].clone();
        let list = hardware(&mut facts);
        list.root_of_trust = boot.map(|(device_locked, state, key)| RootOfTrust {
            verified_boot_key: vec![key; 32],
            device_locked,
            verified_boot_state: [Verified, SelfSigned, Unverified, Failed][state],
            verified_boot_hash: None,
        });
        list.os_version = os.map(|os| os * 10_000);
        list.os_patch_level = os_patch;
        list.vendor_patch_level = vendor;
        list.boot_patch_level = boot_patch;
        (list.no_auth_required, list.user_auth_type, list.auth_timeout) = user;
        Posture::of(&Facts::Android(Box::new(facts)))
    }
}

const LEVELS: &[u64] = &[
    0, 7, 201_901, 202_601, 202_613, 20_260_100, 20_260_105, 20_261_105,
];

prop_compose! {
    fn any_android_policy()(
        strongbox in any::<bool>(),
        self_signed in vec(0..3_u8, 0..3),
        verified in vec(0..3_u8, 0..3),
        os_version_min in prop::sample::select(vec![0, 100_000, 150_000]),
        month in prop::sample::select(vec![0, 201_901, 202_601, 202_611]),
        (vendor, boot) in (
            prop::sample::select(vec![0, 20_190_101, 20_260_105]),
            prop::sample::select(vec![0, 20_190_101, 20_260_105]),
        ),
        age in option::of(prop::sample::select(vec![31_u64, 365, 3650])),
        remote in any::<bool>(),
        user in option::of((any::<bool>(), any::<bool>(), 0..40_u64)),
    ) -> AndroidPolicy {
        let keys = |keys: Vec<u8>| keys.into_iter().map(|key| vec![key; 32]).collect();
        AndroidPolicy {
            security_level_min: if strongbox { TrustLevel::StrongBox } else { TrustLevel::Tee },
            self_signed_boot_keys: keys(self_signed),
            verified_boot_keys: keys(verified),
            os_version_min,
            os_patch_level_min: month,
            vendor_patch_level_min: vendor,
            boot_patch_level_min: boot,
            patch_age_max: age.map(|days| Duration::from_secs(days * 86_400)),
            provisioning: if remote { ProvisioningRule::RemoteOnly } else { ProvisioningRule::Any },
            user_authentication: user.map_or(
                UserAuthenticationRule::Any,
                |(password, biometric, most)| UserAuthenticationRule::Required {
                    authenticators: Authenticators { password, biometric, other: false },
                    timeout_max: Duration::from_secs(most),
                },
            ),
            ..AndroidPolicy::strict()
        }
    }
}

/// The policy with one more demand.
fn stricter(policy: &AndroidPolicy, which: usize) -> AndroidPolicy {
    let mut policy = policy.clone();
    match which {
        0 => policy.security_level_min = TrustLevel::StrongBox,
        1 => policy.self_signed_boot_keys.clear(),
        2 => {
            policy.verified_boot_keys = vec![
                policy
                    .verified_boot_keys
                    .first()
                    .cloned()
                    .unwrap_or_else(|| vec![1; 32]),
            ]
        }
        3 => policy.os_version_min += 10_000,
        4 => policy.os_patch_level_min = policy.os_patch_level_min.max(202_601),
        5 => policy.vendor_patch_level_min = policy.vendor_patch_level_min.max(20_260_105),
        6 => policy.boot_patch_level_min = policy.boot_patch_level_min.max(20_260_105),
        7 => policy.patch_age_max = Some(Duration::from_secs(31 * 86_400)),
        8 => policy.provisioning = ProvisioningRule::RemoteOnly,
        _ => {
            policy.user_authentication = match policy.user_authentication {
                UserAuthenticationRule::Any => UserAuthenticationRule::Required {
                    authenticators: Authenticators {
                        password: true,
                        biometric: true,
                        other: true,
                    },
                    timeout_max: Duration::MAX,
                },
                UserAuthenticationRule::Required { authenticators, .. } => {
                    UserAuthenticationRule::Required {
                        authenticators,
                        timeout_max: Duration::ZERO,
                    }
                }
            };
        }
    }
    policy
}

fn any_rules() -> impl Strategy<Value = BTreeSet<Rule>> {
    btree_set(prop::sample::select(Rule::ALL), 0..Rule::ALL.len())
}

fn accepts(posture: &Posture, android: &AndroidPolicy) -> bool {
    posture_checks(posture, android, &any_apple(), now())
        .rejection()
        .is_none()
}

prop_compose! {
    fn any_apple_posture()(
        platform in option::of(prop::sample::select(vec!["iphoneos", "macosx", "other"])),
        category in option::of(0..5_u32),
        version in option::of(prop::sample::select(vec!["1", "1.2", "2", "x"])),
        boot_rules in any::<bool>(),
        receipt in prop::sample::select(vec![
            ReceiptStanding::Absent,
            ReceiptStanding::Unverified,
            ReceiptStanding::Verified,
        ]),
    ) -> Posture {
        let facts = apple(|facts| {
            facts.platform = platform.map(str::to_owned);
            facts.extensions.validation_category = category;
            facts.extensions.bundle_version = version.map(str::to_owned);
        });
        match Posture::of(&facts) {
            Posture::Apple(posture) => Posture::Apple(ApplePosture { boot_rules, receipt, ..posture }),
            Posture::Android(_) => panic!("not Apple"),
        }
    }
}

fn missing(refused: bool) -> MissingRule {
    if refused {
        MissingRule::Refused
    } else {
        MissingRule::Allowed
    }
}

prop_compose! {
    fn any_apple_policy()(
        lists in any::<[bool; 5]>(),
        refused in any::<[bool; 4]>(),
        receipt in prop::sample::select(vec![
            ReceiptRule::Ignore,
            ReceiptRule::Verify,
            ReceiptRule::Require,
        ]),
    ) -> ApplePolicy {
        let version = |text: &str| text.parse::<DottedVersion>().unwrap();
        let listed = |there: bool, text| there.then(|| version(text)).into_iter().collect();
        ApplePolicy {
            platforms: lists[0].then(|| "iphoneos".to_owned()).into_iter().collect(),
            missing_platform: missing(refused[0]),
            validation_categories: lists[1].then_some([2, 4]).into_iter().flatten().collect(),
            missing_category: missing(refused[1]),
            missing_category_mac: missing(refused[2]),
            bundle_version: BundleVersionRule {
                min: lists[2].then(|| version("1.1")),
                allowed: listed(lists[3], "1.2"),
                refused: listed(lists[4], "2"),
                missing: missing(refused[3]),
            },
            receipt,
            ..ApplePolicy::open()
        }
    }
}

/// The policy with one more demand.
fn stricter_apple(policy: &ApplePolicy, which: usize) -> ApplePolicy {
    let mut policy = policy.clone();
    let version = |text: &str| text.parse::<DottedVersion>().unwrap();
    match which {
        0 => policy.platforms = ["iphoneos".to_owned()].into(),
        1 => policy.missing_platform = MissingRule::Refused,
        2 => policy.validation_categories = [4].into(),
        3 => policy.missing_category = MissingRule::Refused,
        4 => policy.missing_category_mac = MissingRule::Refused,
        5 => policy.bundle_version.min = Some(version("1.2")),
        6 => policy.bundle_version.allowed = [version("1.2")].into(),
        7 => {
            policy.bundle_version.refused.insert(version("1"));
        }
        8 => policy.bundle_version.missing = MissingRule::Refused,
        9 => policy.environment = Some(Environment::Development),
        _ => policy.receipt = ReceiptRule::Require,
    }
    policy
}

proptest! {
    #[test]
    fn a_stricter_policy_never_accepts_more_on_apples_side(
        posture in any_apple_posture(),
        policy in any_apple_policy(),
        which in 0..11_usize,
        monitor in any_rules(),
    ) {
        let accepts = |policy: &ApplePolicy| {
            let checks = posture_checks(&posture, &android_policy(), policy, now());
            checks.rejection().is_none()
        };
        let strict = stricter_apple(&policy, which);
        prop_assert!(!accepts(&strict) || accepts(&policy));
        let watched = ApplePolicy { monitor, ..policy.clone() };
        prop_assert!(accepts(&watched) || !accepts(&policy));
    }

    #[test]
    fn nothing_goes_back_from_itself(android in any_android(), apple in any_apple_posture()) {
        prop_assert_eq!(is_downgrade(&android, &android), None);
        prop_assert_eq!(is_downgrade(&apple, &apple), None);
    }

    #[test]
    fn a_stricter_policy_never_accepts_more(
        posture in any_android(),
        policy in any_android_policy(),
        which in 0..10_usize,
    ) {
        let stricter = stricter(&policy, which);
        prop_assert!(!accepts(&posture, &stricter) || accepts(&posture, &policy));
    }

    #[test]
    fn a_monitored_rule_never_refuses_and_hides_no_other(
        posture in any_android(),
        policy in any_android_policy(),
        monitor in any_rules(),
    ) {
        let enforced = posture_checks(&posture, &policy, &any_apple(), now());
        let lax = AndroidPolicy { monitor: monitor.clone(), ..policy };
        let monitored = posture_checks(&posture, &lax, &any_apple(), now());
        let pairs = enforced.as_slice().iter().zip(monitored.as_slice());
        prop_assert_eq!(enforced.as_slice().len(), monitored.as_slice().len());
        for (strict, lax) in pairs {
            prop_assert_eq!(strict.name, lax.name);
            let rule = Rule::of_check(strict.name).unwrap();
            match (strict.outcome, lax.outcome) {
                (Outcome::Failed(reason), Outcome::Monitored(would)) => {
                    prop_assert_eq!(reason, would);
                    prop_assert!(monitor.contains(&rule) && rule.may_be_monitored());
                    prop_assert!(rule.reasons().contains(&reason));
                }
                (Outcome::Failed(reason), Outcome::Failed(same)) => {
                    prop_assert_eq!(reason, same);
                    prop_assert!(rule.reasons().contains(&reason));
                    let software = rule == Rule::SecurityLevelMin && strict.seen == "SOFTWARE";
                    prop_assert!(software || !monitor.contains(&rule) || !rule.may_be_monitored());
                }
                (strict, lax) => prop_assert_eq!((strict, lax), (Outcome::Passed, Outcome::Passed)),
            }
        }
    }
}

/// The configuration takes no such level; a policy of another making would otherwise ask for nothing.
#[test]
fn a_least_patch_level_that_is_none_is_met_by_nobody() {
    let facts = Facts::Android(Box::new(phone()));
    type Set = fn(&mut AndroidPolicy, u32);
    let levels: [(&str, Set, u32); 3] = [
        ("os_patch_level", |p, l| p.os_patch_level_min = l, 202_613),
        (
            "vendor_patch_level",
            |p, l| p.vendor_patch_level_min = l,
            20_261_301,
        ),
        ("boot_patch_level", |p, l| p.boot_patch_level_min = l, 7),
    ];
    for (name, set, level) in levels {
        let policy = with_android(|android| set(android, level));
        let expected = Some((name, Reason::PostureBelowPolicy));
        assert_eq!(under(&facts, &policy), expected);
    }
}
