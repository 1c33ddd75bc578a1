//! Odd but genuine App Attest attestations, all accepted, and what is read from them.

use assay::attestation::apple::Environment;
use rcgen::{BasicConstraints, IsCa};

use crate::apple_attacks::good_mac;
use crate::apple_matrix::{ACCEPTED, Group};
use crate::apple_support::{
    BUNDLE, CLIENT_DATA_HASH, Cbor, DAY, NOW, Plan, TEAM, app_extension, der, extension,
    extension_map, facts_of, seconds, tagged,
};

/// Extended key usage of leaves issued since February 2026.
const APPLE_USAGE: &[u64] = &[1, 2, 840, 113_635, 100, 4, 24];

pub(crate) static GROUPS: [&Group<Plan>; 3] = [&OBJECTS, &CERTIFICATES, &SYSTEMS];

static OBJECTS: Group<Plan> = Group {
    test: "apple_odd::accepts_every_odd_but_genuine_form",
    rows: &[
        (ACCEPTED, "nothing changed", |_| ()),
        (
            ACCEPTED,
            "the extended key usage Apple added in 2026",
            |plan| plan.usage(APPLE_USAGE),
        ),
        (
            ACCEPTED,
            "an extended key usage of somebody else's",
            |plan| plan.usage(&[1, 3, 6, 1, 5, 5, 7, 3, 1]),
        ),
        (ACCEPTED, "extension map with its flag", |plan| {
            plan.flags = 0xc0;
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        (ACCEPTED, "extension map without its flag", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        (ACCEPTED, "category as a number", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
        }),
        (ACCEPTED, "extension flag without a map", |plan| {
            plan.flags = 0xc0
        }),
        (ACCEPTED, "empty extension map", |plan| {
            plan.tail = vec![0xa0]
        }),
        (ACCEPTED, "unknown extension", |plan| {
            plan.tail = Cbor::Map(vec![("apple_new_02", Cbor::Unsigned(1))]).write();
        }),
        (ACCEPTED, "code directory hash", |plan| {
            plan.tail = Cbor::Map(vec![
                ("apple_cd_hash_hash_01", Cbor::Bytes(vec![7; 32])),
                ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
            ])
            .write();
        }),
        (ACCEPTED, "unsigned cdHash beside the rest", |plan| {
            plan.more_object.push(("cdHash", Cbor::Bytes(vec![1; 32])));
        }),
        (ACCEPTED, "unknown key in the statement", |plan| {
            plan.more_statement
                .push(("later", Cbor::Array(vec![Cbor::Raw(vec![0xf6])])));
        }),
        (ACCEPTED, "no receipt", |plan| plan.receipt = None),
        (
            ACCEPTED,
            "raw challenge in the place of its hash, as in Apple's guide",
            |plan| {
                plan.signed_hash = b"challenge string of the guide".to_vec();
                plan.given_hash.clone_from(&plan.signed_hash);
            },
        ),
        (
            ACCEPTED,
            "same key attested again for another challenge",
            |plan| {
                plan.signed_hash = vec![0xa5; 32];
                plan.given_hash = vec![0xa5; 32];
            },
        ),
        (ACCEPTED, "empty client data hash on both sides", |plan| {
            plan.signed_hash.clear();
            plan.given_hash.clear();
        }),
        (ACCEPTED, "keys of the object in another order", |plan| {
            let data = plan.auth_data();
            plan.without.push("fmt");
            plan.object_changed = Box::new(move |object| {
                assert!(object.ends_with(&data));
                object[0] = 0xa3;
                object.extend(Cbor::Text("fmt").write());
                object.extend(Cbor::Text("apple-appattest").write());
            });
        }),
        (
            ACCEPTED,
            "other flags beside the attested-data flag",
            |plan| plan.flags = 0x45,
        ),
    ],
};

#[test]
fn accepts_every_odd_but_genuine_form() {
    OBJECTS.run();
}

static CERTIFICATES: Group<Plan> = Group {
    test: "apple_odd::accepts_every_odd_but_genuine_certificate",
    rows: &[
        (ACCEPTED, "no app in the clear", |plan| {
            plan.leaf.custom_extensions.remove(0);
        }),
        (ACCEPTED, "app extension of another form", |plan| {
            plan.leaf.custom_extensions[0] = extension(5, b"\x04\x01?".to_vec());
        }),
        (ACCEPTED, "no system extension", |plan| {
            plan.leaf.custom_extensions.remove(1);
        }),
        (ACCEPTED, "system extension of another form", |plan| {
            plan.leaf.custom_extensions[1] = extension(7, vec![0xff; 9]);
        }),
        (ACCEPTED, "macOS with the documented boot state", |plan| {
            good_mac(plan);
        }),
        (ACCEPTED, "iOS with some access control list", |plan| {
            plan.leaf
                .custom_extensions
                .push(extension(6, vec![0x30, 0x00]));
        }),
        (ACCEPTED, "issuer without keyUsage", |plan| {
            plan.intermediate.key_usages.clear()
        }),
        (ACCEPTED, "issuer with a path length of 0", |plan| {
            plan.intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
        (ACCEPTED, "first second of validity", |plan| {
            plan.leaf.not_before = seconds(NOW);
        }),
        (ACCEPTED, "last second of validity", |plan| {
            plan.leaf.not_after = seconds(NOW)
        }),
        (ACCEPTED, "leaf of a day and ten minutes", |plan| {
            plan.leaf.not_before = seconds(NOW - 600);
            plan.leaf.not_after = seconds(NOW + DAY);
        }),
        (ACCEPTED, "leaf of 353 days at its end", |plan| {
            plan.leaf.not_before = seconds(NOW - 353 * DAY);
            plan.leaf.not_after = seconds(NOW);
        }),
        (ACCEPTED, "leaf of 353 days at its beginning", |plan| {
            plan.leaf.not_before = seconds(NOW);
            plan.leaf.not_after = seconds(NOW + 353 * DAY);
        }),
        (ACCEPTED, "last second of the intermediate", |plan| {
            plan.intermediate.not_after = seconds(NOW);
        }),
        (ACCEPTED, "several extended key usages", |plan| {
            plan.raw_usage(&der(
                0x30,
                &[
                    der(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]),
                    der(
                        0x06,
                        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 0x04, 0x18],
                    ),
                ]
                .concat(),
            ));
        }),
        (ACCEPTED, "unknown extension that is not critical", |plan| {
            plan.leaf
                .custom_extensions
                .push(extension(99, vec![0x05, 0x00]));
        }),
        (ACCEPTED, "neither app nor system extension", |plan| {
            plan.leaf.custom_extensions.clear();
        }),
        (ACCEPTED, "leaf without basic constraints", |plan| {
            plan.leaf.is_ca = IsCa::NoCa
        }),
    ],
};

#[test]
fn accepts_every_odd_but_genuine_certificate() {
    CERTIFICATES.run();
}

static SYSTEMS: Group<Plan> = Group {
    test: "apple_odd::accepts_every_system_and_environment",
    rows: &[
        (ACCEPTED, "development key for a development app", |plan| {
            plan.expected.environment = Environment::Development;
            plan.aaguid = *b"appattestdevelop";
        }),
        (
            ACCEPTED,
            "App Clip, which has the id of its full app",
            |plan| {
                plan.app_id = format!("{TEAM}.{BUNDLE}");
                plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
            },
        ),
        (ACCEPTED, "iOS 14, which names its version only", |plan| {
            let system = der(0x30, &tagged(1400, "14.0"));
            plan.leaf.custom_extensions[1] = extension(7, system);
        }),
        (ACCEPTED, "iOS that names its platform", |plan| {
            let system = [tagged(1026, "iphoneos"), tagged(1400, "26.4")].concat();
            plan.leaf.custom_extensions[1] = extension(7, der(0x30, &system));
        }),
        (
            ACCEPTED,
            "macOS 27: map with code directory hash, no flag",
            |plan| {
                good_mac(plan);
                plan.tail = Cbor::Map(vec![
                    (
                        "apple_validation_category_01",
                        Cbor::Bytes(vec![6, 0, 0, 0]),
                    ),
                    ("apple_bundle_version_01", Cbor::Text("1")),
                    ("apple_cd_hash_hash_01", Cbor::Bytes(vec![9; 32])),
                    ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
                ])
                .write();
            },
        ),
        (ACCEPTED, "system of a version to come", |plan| {
            let system = [tagged(1400, "41.0 beta"), tagged(1403, "?")].concat();
            plan.leaf.custom_extensions[1] = extension(7, der(0x30, &system));
        }),
        (
            ACCEPTED,
            "category that means invalid, for policy to judge",
            |plan| {
                plan.tail = extension_map(Cbor::Bytes(vec![0; 4]));
            },
        ),
        (ACCEPTED, "category of a number to come", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![0xff; 4]));
        }),
    ],
};

#[test]
fn accepts_every_system_and_environment() {
    SYSTEMS.run();
}

#[test]
fn the_facts_of_a_2026_system_are_read() {
    let mut plan = Plan::genuine();
    plan.tail = Cbor::Map(vec![
        (
            "apple_validation_category_01",
            Cbor::Bytes(vec![6, 1, 0, 0]),
        ),
        ("apple_bundle_version_01", Cbor::Text("7.2")),
        ("apple_cd_hash_hash_01", Cbor::Bytes(vec![9; 32])),
        ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
    ])
    .write();
    let blob = good_mac(&mut plan);
    plan.flags = 0xc0;
    let facts = facts_of(&plan.examine());
    assert!(facts.extensions.announced);
    assert_eq!(facts.extensions.validation_category, Some(0x106));
    assert_eq!(facts.extensions.bundle_version.as_deref(), Some("7.2"));
    assert_eq!(facts.extensions.cd_hash, Some(vec![9; 32]));
    assert_eq!(facts.extensions.cd_hash_type, Some(2));
    assert_eq!(facts.app_id, Some(format!("{TEAM}.{BUNDLE}")));
    assert_eq!(facts.environment, Some(Environment::Production));
    assert_eq!(facts.platform.as_deref(), Some("macosx"));
    assert_eq!(facts.os_version.as_deref(), Some("27.0"));
    assert_eq!(facts.os_build, None);
    assert_eq!(facts.acl_blob, Some(blob));
    assert_eq!(facts.leaf_serial, "1a3185c5000");
    assert_eq!(facts.receipt.bytes(), Some(&b"receipt"[..]));
}

#[test]
fn an_app_id_is_a_fact_only_where_its_hash_agrees() {
    let mut plan = Plan::genuine();
    plan.leaf.custom_extensions.remove(0);
    let expected = Some(format!("{TEAM}.{BUNDLE}"));
    assert_eq!(facts_of(&plan.examine()).app_id, expected);
    plan.app_id.push('x');
    assert_eq!(facts_of(&plan.examine()).app_id, None);
    let claimed = app_extension(&format!("{TEAM}.{BUNDLE}"));
    plan.leaf.custom_extensions.push(claimed);
    assert_eq!(facts_of(&plan.examine()).app_id, None);
}

/// The system signs header, map and whatever the app calls a hash, with nothing in between. Only the
/// flags in front tell whose the map is.
#[test]
fn a_map_that_an_app_put_in_front_of_the_hash_is_not_taken_for_announced() {
    let map = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
    let mut lured = Plan::genuine();
    lured.signed_hash = [&map[..], &CLIENT_DATA_HASH].concat();
    let mut shown = Plan::genuine();
    shown.tail = map;
    assert_eq!(lured.right_nonce(), shown.right_nonce());
    let extensions = facts_of(&shown.examine()).extensions;
    assert_eq!(extensions.validation_category, Some(4));
    assert!(!extensions.announced);

    shown.flags = 0xc0;
    assert_ne!(lured.right_nonce(), shown.right_nonce());
    assert!(facts_of(&shown.examine()).extensions.announced);
}
