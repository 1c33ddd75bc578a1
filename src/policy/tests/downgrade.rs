//! What counts as going back.

use super::*;

fn old_android() -> AndroidPosture {
    match Posture::of(&Facts::Android(Box::new(phone()))) {
        Posture::Android(posture) => posture,
        Posture::Apple(_) => panic!("not Android"),
    }
}

fn old_apple() -> ApplePosture {
    match Posture::of(&Facts::Apple(Box::new(iphone(None)))) {
        Posture::Apple(posture) => posture,
        Posture::Android(_) => panic!("not Apple"),
    }
}

fn android_change(change: fn(&mut AndroidPosture)) -> (Option<&'static str>, Option<&'static str>) {
    let (old, mut new) = (old_android(), old_android());
    change(&mut new);
    let (old, new) = (Posture::Android(old), Posture::Android(new));
    (is_downgrade(&old, &new), is_downgrade(&new, &old))
}

fn apple_change(change: fn(&mut ApplePosture)) -> (Option<&'static str>, Option<&'static str>) {
    let (old, mut new) = (old_apple(), old_apple());
    change(&mut new);
    let (old, new) = (Posture::Apple(old), Posture::Apple(new));
    (is_downgrade(&old, &new), is_downgrade(&new, &old))
}

#[test]
fn the_same_device_does_not_go_back() {
    assert_eq!(android_change(|_| {}), (None, None));
    assert_eq!(apple_change(|_| {}), (None, None));
}

#[test]
fn a_lower_version_or_level_of_android_goes_back_and_a_higher_one_does_not() {
    type Change = (&'static str, fn(&mut AndroidPosture));
    let changes: [Change; 8] = [
        ("os_version", |p| p.os_version = Some(140_000)),
        ("os_version", |p| p.os_version = None),
        ("os_patch_level", |p| p.os_patch_level = Some(202_609)),
        ("os_patch_level", |p| p.os_patch_level = None),
        ("vendor_patch_level", |p| {
            p.vendor_patch_level = Some(20_261_004)
        }),
        ("vendor_patch_level", |p| {
            p.vendor_patch_level = Some(202_610)
        }),
        ("boot_patch_level", |p| {
            p.boot_patch_level = Some(20_261_000)
        }),
        ("verified_boot_state", |p| {
            p.boot.as_mut().unwrap().state = VerifiedBootState::SelfSigned;
        }),
    ];
    for (what, change) in changes {
        assert_eq!(android_change(change), (Some(what), None));
    }
    let stronger = android_change(|p| p.security_level = SecurityLevel::StrongBox);
    assert_eq!(stronger, (None, Some("security_level")));
}

#[test]
fn a_lower_version_or_build_of_apples_systems_goes_back_and_a_higher_one_does_not() {
    type Change = (&'static str, fn(&mut ApplePosture));
    let changes: [Change; 3] = [
        ("os_version", |p| p.os_version = Some("26.0.9".to_owned())),
        ("os_version", |p| p.os_version = Some("9.9".to_owned())),
        ("os_build", |p| p.os_build = Some("23B84".to_owned())),
    ];
    // What Apple does not state any more is unknown.
    assert_eq!(apple_change(|p| p.os_version = None), (None, None));
    assert_eq!(apple_change(|p| p.os_build = None), (None, None));
    for (what, change) in changes {
        assert_eq!(apple_change(change), (Some(what), None));
    }
    // By text "9B1" would be newer.
    let newer = apple_change(|p| p.os_build = Some("123A1".to_owned()));
    assert_eq!(newer, (None, Some("os_build")));
}

#[test]
fn a_device_does_not_change_its_platform() {
    let (android, apple) = (Posture::Android(old_android()), Posture::Apple(old_apple()));
    assert_eq!(is_downgrade(&android, &apple), Some("platform"));
    assert_eq!(is_downgrade(&apple, &android), Some("platform"));
}
