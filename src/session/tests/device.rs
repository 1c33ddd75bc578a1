use super::*;
use crate::policy::DowngradeRule;
use crate::session::{KnownDevices, Registration, RevocationReason, register, revoke};

const ENTRIES_MAX: usize = 128;

fn registered(
    existing: Option<&Device>,
    subject: Option<&SubjectRecord>,
    known: &KnownDevices,
    policy: &AppPolicy,
) -> Result<Registration, Refusal> {
    register(candidate(), existing, (subject, known), policy, now())
}

fn with_devices(ids: impl IntoIterator<Item = u8>) -> SubjectRecord {
    SubjectRecord {
        devices: ids.into_iter().map(entry).collect(),
        ..subject()
    }
}

/// The epoch of a record that was made now.
fn begun() -> u64 {
    now().as_millis().try_into().unwrap()
}

fn none() -> KnownDevices {
    KnownDevices::default()
}

fn revoked(ids: impl IntoIterator<Item = u8>) -> KnownDevices {
    KnownDevices {
        revoked: ids.into_iter().map(device_id).collect(),
        ..none()
    }
}

#[test]
fn the_first_device_of_a_subject_makes_the_subject() {
    let Registration {
        device: made,
        subject,
        ..
    } = registered(None, None, &none(), &policy()).unwrap();
    assert_eq!(
        made,
        Device {
            epoch: begun(),
            ..device()
        }
    );
    let expected = SubjectRecord {
        epoch: begun(),
        devices: vec![entry(1)],
        sessions: Vec::new(),
        consents: BTreeMap::new(),
    };
    assert_eq!(subject, expected);
}

#[test]
fn registering_again_is_idempotent_but_for_the_evidence() {
    let first = registered(None, None, &none(), &policy()).unwrap();
    let later = now().after(GRACE);
    let newer = Candidate {
        trust_level: TrustLevel::StrongBox,
        chain_serials: vec!["2".to_owned()],
        ..candidate()
    };
    let known = (Some(&first.subject), &none());
    let second = register(newer, Some(&first.device), known, &policy(), later).unwrap();
    assert_eq!(second.subject, first.subject);
    let expected = Device {
        attested_at: later,
        trust_level: TrustLevel::StrongBox,
        chain_serials: vec!["2".to_owned()],
        ..first.device
    };
    assert_eq!(second.device, expected);
}

fn apple_with(os_version: &str) -> Posture {
    match posture() {
        Posture::Apple(apple) => Posture::Apple(ApplePosture {
            os_version: Some(os_version.to_owned()),
            ..apple
        }),
        Posture::Android(_) => panic!("not Apple"),
    }
}

/// Registering again is no way around what a renewal is refused for.
#[test]
fn registering_again_does_not_go_back() {
    let newer = Device {
        posture: apple_with("27.1"),
        ..device()
    };
    let mut policy = policy();
    let again = |system: &str, policy: &AppPolicy| {
        let candidate = Candidate {
            posture: apple_with(system),
            ..candidate()
        };
        let known = (Some(&subject()), &none());
        register(candidate, Some(&newer), known, policy, now()).map(|done| done.device.posture)
    };
    assert_eq!(again("27.2", &policy), Ok(apple_with("27.2")));
    let older = again("27.0", &policy);
    assert_eq!(older, Err(Reason::PostureBelowPolicy.into()));
    policy.reappraisal.downgrade = DowngradeRule::Allow;
    assert_eq!(again("27.0", &policy), Ok(apple_with("27.0")));
}

#[test]
fn registering_again_lifts_a_doubt_unless_it_is_provisional() {
    let doubted = Device {
        doubt: Some(Reason::AttestationCertRevoked),
        ..device()
    };
    for (trust_level, doubt) in [
        (TrustLevel::Tee, None),
        (TrustLevel::Provisional, doubted.doubt),
    ] {
        let candidate = Candidate {
            trust_level,
            ..candidate()
        };
        let known = (Some(&subject()), &none());
        let again = register(candidate, Some(&doubted), known, &policy(), now()).unwrap();
        assert_eq!(again.device.doubt, doubt, "{trust_level:?}");
    }
}

#[test]
fn a_known_device_does_not_register_with_an_older_system() {
    let with = |version: &str| match posture() {
        Posture::Apple(apple) => Posture::Apple(ApplePosture {
            os_version: Some(version.to_owned()),
            ..apple
        }),
        Posture::Android(_) => panic!("the posture of these tests is Apple's"),
    };
    let known = Device {
        posture: with("26.10"),
        ..device()
    };
    let again = |version: &str, policy: &AppPolicy| {
        let candidate = Candidate {
            posture: with(version),
            ..candidate()
        };
        let subject = (Some(&subject()), &none());
        register(candidate, Some(&known), subject, policy, now()).map(drop)
    };
    let mut policy = policy();
    assert_eq!(again("26.10", &policy), Ok(()));
    assert_eq!(again("26.9", &policy), refused(Reason::PostureBelowPolicy));
    policy.reappraisal.downgrade = DowngradeRule::Allow;
    assert_eq!(again("26.9", &policy), Ok(()));
}

#[test]
fn a_known_device_keeps_its_epoch() {
    let again = registered(Some(&device()), Some(&subject()), &none(), &policy()).unwrap();
    assert_eq!(again.device.epoch, device().epoch);
}

#[test]
fn a_device_that_the_index_lost_is_listed_again() {
    let again = registered(
        Some(&device()),
        Some(&with_devices([2])),
        &none(),
        &policy(),
    );
    assert_eq!(again.unwrap().subject.devices, [entry(2), entry(1)]);
}

#[test]
fn a_revoked_key_never_comes_back() {
    let revoked = revoke(&device(), RevocationReason::UserRequest, now());
    for subject in [None, Some(subject()), Some(with_devices([2]))] {
        let again = registered(Some(&revoked), subject.as_ref(), &none(), &policy());
        assert_eq!(again, refused(Reason::DeviceKeyBanned));
    }
}

#[test]
fn a_key_is_not_registered_again_with_another_session_key() {
    let device = Device {
        session_key: Thumbprint::from_bytes([3; 32]),
        ..device()
    };
    let again = registered(Some(&device), Some(&subject()), &none(), &policy());
    assert_eq!(again, refused(Reason::DeviceExists));
}

#[test]
fn devices_are_limited_and_revoked_ones_do_not_count() {
    // The policy of these tests allows three.
    let two = registered(None, Some(&with_devices([2, 3])), &none(), &policy());
    assert_eq!(two.unwrap().subject.devices.len(), 3);
    let full = with_devices([2, 3, 4]);
    let third = registered(None, Some(&full), &none(), &policy());
    assert_eq!(third, refused(Reason::DeviceLimit));
    let room = registered(None, Some(&full), &revoked([3]), &policy()).unwrap();
    let listed = [2, 3, 4, 1].map(entry);
    assert_eq!(room.subject.devices, listed, "a revoked one stays listed");
    // A known one is not a further one.
    let known = registered(
        Some(&device()),
        Some(&with_devices([1, 2, 3])),
        &none(),
        &policy(),
    );
    assert!(known.is_ok());
    // The revoked device of somebody else makes no room.
    let foreign = revoked([77]);
    let seen = registered(None, Some(&full), &foreign, &policy());
    assert_eq!(seen, refused(Reason::DeviceLimit));
}

#[test]
fn the_index_is_bounded_and_the_oldest_revoked_entry_makes_room() {
    let ids: Vec<u8> = (10..138).collect();
    assert_eq!(ids.len(), ENTRIES_MAX);
    let full = with_devices(ids);
    let made = registered(None, Some(&full), &revoked(12..138), &policy()).unwrap();
    let subject = made.subject;
    assert_eq!(subject.devices.len(), ENTRIES_MAX);
    assert!(
        !subject.lists(device_id(12)),
        "the oldest revoked one leaves"
    );
    for stays in [10, 11, 13, 137, 1] {
        assert!(subject.lists(device_id(stays)), "{stays}");
    }
    assert_eq!(subject.devices.last(), Some(&entry(1)));
}

#[test]
fn no_policy_lifts_the_bound_of_the_index() {
    let boundless = AppPolicy {
        devices_per_subject_max: usize::MAX,
        ..policy()
    };
    let full = with_devices(10..138);
    let seen = registered(None, Some(&full), &none(), &boundless);
    assert_eq!(seen, refused(Reason::DeviceLimit));
    let last = registered(None, Some(&with_devices(10..137)), &none(), &boundless);
    assert_eq!(last.unwrap().subject.devices.len(), ENTRIES_MAX);
}

#[test]
fn the_device_unused_for_longest_gives_way_and_no_other() {
    let replacing = AppPolicy {
        on_device_limit: DeviceLimitRule::ReplaceOldest,
        ..policy()
    };
    let at = |millis| now().before(MILLISECOND * millis);
    let used = |known: &[(u8, u32)]| KnownDevices {
        used: known
            .iter()
            .map(|(id, age)| (device_id(*id), at(*age)))
            .collect(),
        ..none()
    };
    let full = with_devices([2, 3, 4]);
    let replaced = |known: &KnownDevices, policy: &AppPolicy| {
        let made = registered(None, Some(&full), known, policy)?;
        Ok::<_, Refusal>((made.replaced, made.subject.devices.len()))
    };
    let seen = replaced(&used(&[(2, 5), (3, 9), (4, 1)]), &replacing);
    assert_eq!(seen, Ok((vec![device_id(3)], 4)));
    // Of two that were used at the same time the one that was registered first.
    let seen = replaced(&used(&[(2, 5), (3, 5), (4, 5)]), &replacing);
    assert_eq!(seen, Ok((vec![device_id(2)], 4)));
    // Those of other apps are not known here, and stay.
    let seen = replaced(&used(&[(4, 1)]), &replacing);
    assert_eq!(seen, Ok((vec![device_id(4)], 4)));
    assert_eq!(replaced(&none(), &replacing), refused(Reason::DeviceLimit));
    let refusing = replaced(&used(&[(2, 5), (3, 9), (4, 1)]), &policy());
    assert_eq!(refusing, refused(Reason::DeviceLimit));
    // What is revoked already makes room first.
    let known = KnownDevices {
        revoked: [device_id(4)].into(),
        ..used(&[(2, 5), (3, 9)])
    };
    assert_eq!(replaced(&known, &replacing), Ok((Vec::new(), 4)));
    // A limit that was lowered by much is not met at the price of all devices.
    let lowered = AppPolicy {
        devices_per_subject_max: 1,
        ..replacing
    };
    let many = with_devices(10..30);
    let known = KnownDevices {
        used: (10..30).map(|id| (device_id(id), now())).collect(),
        ..none()
    };
    let seen = registered(None, Some(&many), &known, &lowered);
    assert_eq!(seen, refused(Reason::DeviceLimit));
}
