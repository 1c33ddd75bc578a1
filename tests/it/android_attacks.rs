//! Forged Android chains and the reason each is refused for, and odd but genuine ones that are
//! accepted.

use assay::attestation::android::{Chain, ChainError, Facts, Origin, Provisioning, SecurityLevel};
use assay::attestation::roots::{AndroidRoots, Roots};
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    self, AndroidApp, AppIdentity, AttestKeys, Attested, AttestedKey, Evidence, Expectation, Given,
    Outcome, Rejection, Trust,
};
use assay::reason::Reason;
use rcgen::KeyPair;

use crate::android_forge::*;

fn app() -> AppIdentity {
    AppIdentity {
        android: Some(AndroidApp {
            package_name: PACKAGE.to_owned(),
            signing_certificate_sha256: vec![[1; 32], SIGNER],
            shared_uid_packages: vec!["com.example.shared".to_owned()],
        }),
        apple: None,
    }
}

fn verify_with(forge: &Forge, roots: &Roots, list: &str) -> Result<Attested, Box<Rejection>> {
    let list = StatusList::parse(list.as_bytes()).unwrap();
    let app = app();
    attestation::verify(
        &Evidence::Android(forge.chain()),
        Expectation {
            binding: CHALLENGE,
            app: &app,
            attest_keys: AttestKeys::Refuse,
        },
        Trust {
            roots,
            status_list: Some(&list),
            own_list: None,
        },
        now(),
    )
}

fn verify(forge: &Forge) -> Result<Attested, Box<Rejection>> {
    verify_with(forge, &forge.roots(), r#"{"entries":{}}"#)
}

fn genuine() -> KeyDescription {
    KeyDescription::genuine()
}

/// One thing done to a genuine chain.
type Change = fn(&mut Forge);

fn remote_changed(change: Change) -> Forge {
    let mut forge = remote(&genuine(), "TEE");
    change(&mut forge);
    forge
}

fn factory_changed(change: Change) -> Forge {
    let mut forge = factory(&genuine(), Some("TEE"));
    change(&mut forge);
    forge
}

fn described(description: &KeyDescription) -> Forge {
    remote(description, "TEE")
}

/// What has to come out: reason, check, certificate.
type Refusal = (Reason, &'static str, Option<usize>);

fn assert_refused(cases: Vec<(&str, Forge, Refusal)>) {
    for (attack, forge, wanted) in cases {
        let rejection = verify(&forge).expect_err(attack);
        let seen = (
            rejection.reason,
            rejection.name,
            rejection.certificate_index,
        );
        assert_eq!(seen, wanted, "{attack}: {rejection}");
    }
}

const UNTRUSTED: Reason = Reason::AttestationChainUntrusted;
const MALFORMED: Reason = Reason::EvidenceMalformed;

/// A genuine key signs a certificate with an attestation of its holder's invention.
fn extended(genuine_chain: Forge, invented: Vec<Vec<u8>>) -> Forge {
    let mut forge = genuine_chain;
    let mut fake = Certificate::new(common_name("Android Keystore Key"), 7);
    fake.extensions = invented;
    forge.certificates.insert(0, fake);
    forge
}

#[test]
fn refuses_a_genuine_chain_that_was_extended() {
    let invented = attestation(&genuine());
    let remote_chain = || remote(&genuine(), "TEE");
    let factory_chain = || factory(&genuine(), Some("TEE"));
    let mut moved = remote_chain();
    let stolen = moved.certificates[0].extensions.remove(1);
    moved.certificates[1].extensions.push(stolen);
    let mut without_own = remote_chain();
    without_own.certificates[0].extensions.truncate(1);
    assert_refused(vec![
        (
            "an invented attestation in front of a remote chain",
            extended(remote_chain(), vec![invented.clone()]),
            (UNTRUSTED, "attestation_position", Some(1)),
        ),
        (
            "an invented attestation in front of a factory chain",
            extended(factory_chain(), vec![invented.clone()]),
            (UNTRUSTED, "attestation_position", Some(1)),
        ),
        (
            "a key of one's own in front of a chain",
            extended(remote_chain(), Vec::new()),
            (UNTRUSTED, "attestation_position", Some(0)),
        ),
        (
            "the attestation moved one up",
            moved,
            (UNTRUSTED, "attestation_position", Some(0)),
        ),
        (
            "no attestation at all",
            without_own.clone_shape(),
            (UNTRUSTED, "attestation_position", Some(0)),
        ),
        (
            "an invented attestation under a key that never had one",
            extended(without_own, vec![invented.clone()]),
            (UNTRUSTED, "shape", None),
        ),
        (
            "the same under a factory key",
            {
                let mut plain = factory_chain();
                plain.certificates[0].extensions.truncate(1);
                extended(plain, vec![invented])
            },
            (UNTRUSTED, "shape", None),
        ),
    ]);
}

impl Forge {
    /// The same certificates again, with other keys.
    fn clone_shape(&self) -> Self {
        let certificates = self.certificates.iter().map(|from| {
            let mut to = Certificate::new(from.subject.clone(), 0);
            to.serial = from.serial.clone();
            to.extensions = from.extensions.clone();
            to
        });
        Self {
            certificates: certificates.collect(),
            root_sent: self.root_sent,
        }
    }
}

#[test]
fn refuses_a_second_attestation_in_every_place() {
    for index in 0..5 {
        let mut forge = remote(&genuine(), "TEE");
        forge.certificates[index]
            .extensions
            .push(attestation(&genuine()));
        let rejection = verify(&forge).unwrap_err();
        let check = if index == 0 {
            "extensions"
        } else {
            "attestation_position"
        };
        assert_eq!((rejection.reason, rejection.name), (UNTRUSTED, check));
        assert_eq!(rejection.certificate_index, Some(index));
    }
}

#[test]
fn refuses_a_chain_whose_root_is_pinned_by_name_only() {
    let real = remote(&genuine(), "TEE");
    let empty = r#"{"entries":{}}"#;
    for root_sent in [true, false] {
        let mut own = remote(&genuine(), "TEE");
        own.root_sent = root_sent;
        let rejection = verify_with(&own, &real.roots(), empty).unwrap_err();
        let check = if root_sent { "root" } else { "signatures" };
        assert_eq!((rejection.reason, rejection.name), (UNTRUSTED, check));
    }
    let google = Roots {
        android: AndroidRoots::google(),
        ..Roots::default()
    };
    let mut named = remote(&genuine(), "TEE");
    named.certificates[4].subject = AndroidRoots::google().as_slice()[0].subject().to_vec();
    let rejection = verify_with(&named, &google, empty).unwrap_err();
    assert_eq!((rejection.reason, rejection.name), (UNTRUSTED, "root"));
    let rejection = verify_with(&named, &Roots::default(), empty).unwrap_err();
    assert_eq!((rejection.reason, rejection.name), (UNTRUSTED, "root"));
}

#[test]
fn refuses_a_pinned_key_that_did_not_sign() {
    // The root certificate shows the pinned key, but another key has signed what is below it.
    let real = remote(&genuine(), "TEE");
    let mut forge = remote(&genuine(), "TEE");
    let real_root = real.certificates.last().unwrap();
    forge.certificates[4].spki = Some(rcgen::PublicKeyData::subject_public_key_info(
        &real_root.key,
    ));
    let rejection = verify_with(&forge, &real.roots(), r#"{"entries":{}}"#).unwrap_err();
    assert_eq!(
        (rejection.reason, rejection.name),
        (UNTRUSTED, "signatures")
    );
    assert_eq!(rejection.certificate_index, Some(3));
}

#[test]
fn refuses_extensions_that_could_mean_something_else() {
    assert_refused(vec![
        (
            "an unknown critical extension in the leaf",
            remote_changed(|f| {
                let critical = extension(&[0x55, 0x1d, 99], Some(0xff), &null());
                f.certificates[0].extensions.push(critical);
            }),
            (UNTRUSTED, "extensions", Some(0)),
        ),
        (
            "critical name constraints above",
            remote_changed(|f| {
                let critical = extension(NAME_CONSTRAINTS, Some(1), &sequence(&[]));
                f.certificates[2].extensions.push(critical);
            }),
            (UNTRUSTED, "extensions", Some(2)),
        ),
        (
            "an extension twice",
            remote_changed(|f| {
                let again = f.certificates[1].extensions[0].clone();
                f.certificates[1].extensions.push(again);
            }),
            (UNTRUSTED, "extensions", Some(1)),
        ),
        (
            "an entity attestation token beside the attestation",
            remote_changed(|f| {
                let token = extension(ENTITY_TOKEN, None, &[0xa0]);
                f.certificates[0].extensions.push(token);
            }),
            (UNTRUSTED, "attestation_position", Some(0)),
        ),
    ]);
}

#[test]
fn refuses_signatures_that_prove_nothing() {
    assert_refused(vec![
        (
            "SHA-1",
            remote_changed(|f| {
                f.certificates[1].inner_algorithm = algorithm(ECDSA_SHA1, false);
                f.certificates[1].outer_algorithm = algorithm(ECDSA_SHA1, false);
            }),
            (UNTRUSTED, "signatures", Some(1)),
        ),
        (
            "SHA-1 in the root",
            remote_changed(|f| {
                f.certificates[4].inner_algorithm = algorithm(ECDSA_SHA1, false);
                f.certificates[4].outer_algorithm = algorithm(ECDSA_SHA1, false);
            }),
            (UNTRUSTED, "signatures", Some(4)),
        ),
        (
            "two algorithm identifiers that differ",
            remote_changed(|f| {
                f.certificates[0].outer_algorithm = algorithm(ECDSA_SHA256, true);
            }),
            (UNTRUSTED, "signatures", Some(0)),
        ),
        (
            "signed by another key",
            remote_changed(|f| f.certificates[1].spki = Some(other_key())),
            (UNTRUSTED, "signatures", Some(0)),
        ),
        (
            "issued by another name",
            remote_changed(|f| f.certificates[1].issuer = Some(common_name("someone"))),
            (UNTRUSTED, "names", Some(1)),
        ),
    ]);
}

#[test]
fn refuses_bytes_that_are_no_certificate() {
    assert_refused(vec![
        (
            "a byte behind the leaf",
            remote_changed(|f| f.certificates[0].trailing = vec![b'\n']),
            (MALFORMED, "structure", Some(0)),
        ),
        (
            "a byte behind an intermediate",
            remote_changed(|f| f.certificates[3].trailing = vec![0]),
            (MALFORMED, "structure", Some(3)),
        ),
        (
            "version 1",
            remote_changed(|f| f.certificates[0].version = 0),
            (MALFORMED, "structure", Some(0)),
        ),
    ]);
}

fn other_key() -> Vec<u8> {
    rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate().unwrap())
}

#[test]
fn refuses_chains_of_the_wrong_shape() {
    assert_refused(vec![
        (
            "a factory chain with a certificate too many",
            factory_changed(|f| {
                let more = Certificate::new(batch("aa03", Some("TEE")), 5);
                f.certificates.insert(1, more);
            }),
            (UNTRUSTED, "shape", None),
        ),
        (
            "a remote chain with a certificate too many",
            remote_changed(|f| {
                let more = Certificate::new(droid_ca("Droid CA4"), 5);
                f.certificates.insert(2, more);
            }),
            (UNTRUSTED, "shape", None),
        ),
        (
            "a chain of neither kind with a certificate too many",
            remote_changed(|f| {
                f.certificates[3].subject = common_name("Some Authority");
                let more = Certificate::new(droid_ca("Droid CA4"), 5);
                f.certificates.insert(2, more);
            }),
            (UNTRUSTED, "shape", None),
        ),
        (
            "a leaf the root has signed",
            remote_changed(|f| drop(f.certificates.drain(1..4))),
            (UNTRUSTED, "shape", None),
        ),
        (
            "a leaf alone",
            remote_changed(|f| {
                f.certificates.drain(1..4);
                f.root_sent = false;
            }),
            (UNTRUSTED, "shape", None),
        ),
    ]);
}

/// What comes of certificates that are sent otherwise than they were made.
fn rearranged(forge: &Forge, rearrange: fn(&mut Vec<Vec<u8>>)) -> Rejection {
    let mut der = forge.der();
    rearrange(&mut der);
    let list = StatusList::empty();
    let roots = forge.roots();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let evidence = Evidence::Android(Chain::from_der(der).unwrap());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    examination.checks.rejection().unwrap()
}

#[test]
fn refuses_certificates_in_another_order() {
    let chain = remote(&genuine(), "TEE");
    let swapped = rearranged(&chain, |der| der.swap(1, 2));
    assert_eq!((swapped.reason, swapped.name), (UNTRUSTED, "signatures"));
    let turned = rearranged(&chain, |der| der.reverse());
    assert_eq!(turned.reason, UNTRUSTED);
    let gap = rearranged(&chain, |der| drop(der.remove(2)));
    assert_eq!((gap.reason, gap.name), (UNTRUSTED, "signatures"));
}

#[test]
fn refuses_a_root_before_the_end() {
    // The key of the second root verifies the first, so nothing but the position is wrong.
    let twice = |forge: &Forge| {
        rearranged(forge, |der| {
            let root = der.last().unwrap().clone();
            der.push(root);
        })
    };
    let mut short = factory(&genuine(), Some("TEE"));
    short.certificates.remove(2);
    for (forge, index) in [(remote(&genuine(), "TEE"), 4), (short, 2)] {
        let rejection = twice(&forge);
        assert_eq!((rejection.reason, rejection.name), (UNTRUSTED, "root"));
        assert_eq!(rejection.certificate_index, Some(index));
    }
}

#[test]
fn refuses_dates_that_count() {
    assert_refused(vec![
        (
            "an expired remote attestation certificate",
            remote_changed(|f| f.certificates[1].not_after = time("20261121235959Z")),
            (UNTRUSTED, "dates", Some(1)),
        ),
        (
            "an expired remote authority",
            remote_changed(|f| f.certificates[3].not_after = time("20261121235959Z")),
            (UNTRUSTED, "dates", Some(3)),
        ),
        (
            "a remote authority of tomorrow",
            remote_changed(|f| f.certificates[2].not_before = time("20261122000001Z")),
            (UNTRUSTED, "dates", Some(2)),
        ),
        (
            "a factory certificate of tomorrow",
            factory_changed(|f| f.certificates[1].not_before = time("20261122000001Z")),
            (UNTRUSTED, "dates", Some(1)),
        ),
        (
            "an intermediate whose date is none",
            factory_changed(|f| f.certificates[2].not_after = time("never")),
            (UNTRUSTED, "dates", Some(2)),
        ),
        (
            "an expired intermediate of neither kind",
            factory_changed(|f| {
                f.certificates[2].subject = common_name("Some Authority");
                f.certificates[2].not_after = time("20261121235959Z");
            }),
            (UNTRUSTED, "dates", Some(2)),
        ),
        (
            "a third attribute in a name that would otherwise never expire",
            factory_changed(|f| {
                f.certificates[2].subject = batch("aa02", Some("Batch"));
                f.certificates[2].not_after = time("20261121235959Z");
            }),
            (UNTRUSTED, "dates", Some(2)),
        ),
    ]);
}

#[test]
fn refuses_a_listed_certificate_of_any_status() {
    let cases = [
        ("1001", "REVOKED", 1),
        ("1002", "SUSPENDED", 2),
        ("001003", "WHATEVER", 3),
        ("1009", "REVOKED", 4),
    ];
    for (serial, status, index) in cases {
        let forge = remote(&genuine(), "TEE");
        let list = format!(r#"{{"entries":{{"{serial}":{{"status":"{status}"}}}}}}"#);
        let rejection = verify_with(&forge, &forge.roots(), &list).unwrap_err();
        assert_eq!(rejection.reason, Reason::AttestationCertRevoked);
        assert_eq!(rejection.certificate_index, Some(index));
    }
}

#[test]
fn a_serial_with_a_leading_zero_digit_is_found_on_the_list() {
    let mut forge = factory(&genuine(), Some("TEE"));
    forge.certificates[1].serial = vec![0x09, 0x63, 0x55];
    let list = r#"{"entries":{"96355":{"status":"REVOKED"}}}"#;
    let rejection = verify_with(&forge, &forge.roots(), list).unwrap_err();
    assert_eq!(rejection.reason, Reason::AttestationCertRevoked);
}

#[test]
fn a_listed_serial_of_a_leaf_refuses_nobody() {
    let forge = remote(&genuine(), "TEE");
    let list = r#"{"entries":{"1":{"status":"REVOKED"}}}"#;
    assert!(verify_with(&forge, &forge.roots(), list).is_ok());
}

#[test]
fn refuses_levels_that_are_too_low_or_not_certified() {
    let level = Reason::SecurityLevelTooLow;
    let security = (level, "security_level", Some(0));
    let certified = (level, "security_level_certified", Some(1));
    assert_refused(vec![
        ("software", described(&genuine().at_level(0, 0)), security),
        (
            "a software attestation",
            described(&genuine().at_level(0, 1)),
            security,
        ),
        (
            "a software key",
            described(&genuine().at_level(1, 0)),
            security,
        ),
        (
            "levels that differ",
            described(&genuine().at_level(2, 1)),
            security,
        ),
        (
            "a secure element under a certificate for an execution environment",
            described(&genuine().at_level(2, 2)),
            certified,
        ),
        (
            "an execution environment under a certificate for a secure element",
            remote(&genuine(), "StrongBox"),
            certified,
        ),
    ]);
}

#[test]
fn refuses_keys_that_hardware_does_not_vouch_for() {
    let swapped = {
        let mut description = genuine();
        std::mem::swap(&mut description.software, &mut description.hardware);
        description
    };
    let origin = |value| genuine().with_hardware(702, integer(value));
    let key = Reason::AttestationKeyRejected;
    assert_refused(vec![
        (
            "imported",
            described(&origin(2)),
            (key, "key_origin", Some(0)),
        ),
        (
            "derived",
            described(&origin(1)),
            (key, "key_origin", Some(0)),
        ),
        (
            "reserved",
            described(&origin(3)),
            (key, "key_origin", Some(0)),
        ),
        (
            "securely imported",
            described(&origin(4)),
            (key, "key_origin", Some(0)),
        ),
        (
            "no origin",
            described(&genuine().without_hardware(702)),
            (key, "key_origin", Some(0)),
        ),
        (
            "no root of trust",
            described(&genuine().without_hardware(704)),
            (Reason::BootStateRejected, "root_of_trust", Some(0)),
        ),
        (
            "the lists swapped",
            described(&swapped),
            (key, "key_origin", Some(0)),
        ),
    ]);
}

#[test]
fn refuses_an_attestation_that_cannot_be_read_one_way() {
    let changed = |change: fn(&mut KeyDescription)| {
        let mut description = genuine();
        change(&mut description);
        described(&description)
    };
    let refusal = (MALFORMED, "key_description", Some(0));
    let cases: Vec<(&str, Forge)> = vec![
        (
            "a tag twice",
            changed(|d| d.hardware.push((702, integer(2)))),
        ),
        ("bytes behind it", changed(|d| d.trailing = null())),
        ("an unknown level", changed(|d| d.key_level = 3)),
        (
            "an unknown origin",
            changed(|d| d.hardware[6] = (702, integer(9))),
        ),
        (
            "a number as flag",
            changed(|d| d.hardware[5] = (503, integer(0))),
        ),
        (
            "a flag as number",
            changed(|d| d.hardware[9] = (706, null())),
        ),
        (
            "two values in one tag",
            changed(|d| d.hardware[9] = (706, [integer(202_610), integer(1)].concat())),
        ),
        (
            "an unknown boot state",
            changed(|d| d.hardware[7].1 = root_of_trust(&[], 0xff, 4, None)),
        ),
        (
            "a root of trust with five fields",
            changed(|d| {
                let mut parts = root_of_trust(&[], 0xff, 0, Some(&[]));
                parts.extend(octets(&[]));
                parts[1] += 2;
                d.hardware[7].1 = parts;
            }),
        ),
        (
            "an app that is not UTF-8",
            changed(|d| {
                let package = sequence(&[octets(&[0xff]), integer(1)]);
                d.software[1].1 = octets(&sequence(&[set(&[package]), set(&[])]));
            }),
        ),
        (
            "more tags than there are",
            changed(|d| d.software.extend((1000..1200).map(|n| (n, null())))),
        ),
        (
            "a set without end",
            changed(|d| d.hardware[0].1 = integers(&[2; 33])),
        ),
    ];
    assert_refused(
        cases
            .into_iter()
            .map(|(attack, forge)| (attack, forge, refusal))
            .collect(),
    );
}

#[test]
fn refuses_evidence_for_another_challenge() {
    let challenge = Reason::AttestationChallengeMismatch;
    let with_challenge = |bytes: &[u8]| {
        let mut description = genuine();
        description.challenge = bytes.to_vec();
        described(&description)
    };
    assert_refused(vec![
        (
            "no challenge",
            with_challenge(b""),
            (challenge, "challenge", Some(0)),
        ),
        (
            "another challenge",
            with_challenge(b"another"),
            (challenge, "challenge", Some(0)),
        ),
        (
            "the beginning of the challenge",
            with_challenge(&CHALLENGE[..5]),
            (challenge, "challenge", Some(0)),
        ),
    ]);
}

#[test]
fn refuses_evidence_for_another_app() {
    let app = Reason::AttestationAppMismatch;
    let with_app = |packages: &[&str], digests: &[&[u8]]| {
        described(&genuine().with_application(application(packages, digests)))
    };
    let mut nameless = genuine();
    nameless.software.pop();
    let mut hardware_says_otherwise = genuine();
    hardware_says_otherwise
        .hardware
        .push((709, application(&["com.example.other"], &[&SIGNER])));
    assert_refused(vec![
        ("no app", described(&nameless), (app, "app", Some(0))),
        (
            "another package",
            with_app(&["com.example.other"], &[&SIGNER]),
            (app, "app", Some(0)),
        ),
        (
            "a foreign package beside the right one",
            with_app(&[PACKAGE, "com.example.other"], &[&SIGNER]),
            (app, "app", Some(0)),
        ),
        (
            "a package whose name only begins right",
            with_app(&["com.example.bank.evil"], &[&SIGNER]),
            (app, "app", Some(0)),
        ),
        (
            "signed by someone else",
            with_app(&[PACKAGE], &[&[9; 32]]),
            (app, "app", Some(0)),
        ),
        (
            "signed by nobody named",
            with_app(&[PACKAGE], &[]),
            (app, "app", Some(0)),
        ),
        (
            "a digest cut short",
            with_app(&[PACKAGE], &[&SIGNER[..31]]),
            (app, "app", Some(0)),
        ),
        (
            "only the package that may stand beside it",
            with_app(&["com.example.shared"], &[&SIGNER]),
            (app, "app", Some(0)),
        ),
        (
            "another app by the hardware's word",
            described(&hardware_says_otherwise),
            (app, "app", Some(0)),
        ),
    ]);
}

#[test]
fn an_empty_challenge_binds_nothing_even_when_it_is_expected() {
    let mut description = genuine();
    description.challenge.clear();
    let forge = described(&description);
    let (app, list) = (app(), StatusList::empty());
    let rejection = attestation::verify(
        &Evidence::Android(forge.chain()),
        Expectation {
            binding: b"",
            app: &app,
            attest_keys: AttestKeys::Refuse,
        },
        Trust {
            roots: &forge.roots(),
            status_list: Some(&list),
            own_list: None,
        },
        now(),
    )
    .unwrap_err();
    assert_eq!(rejection.reason, Reason::AttestationChallengeMismatch);
}

#[test]
fn what_is_not_given_is_not_checked_and_never_accepted() {
    let forge = remote(&genuine(), "TEE");
    let roots = forge.roots();
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let unchecked: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .filter(|check| check.outcome == Outcome::NotChecked)
        .map(|check| check.name)
        .collect();
    assert_eq!(unchecked, ["status_list", "challenge", "app"]);
    assert_eq!(examination.checks.rejection(), None);
    assert!(examination.into_attested().is_err());

    let app = app();
    let expectation = Expectation {
        binding: CHALLENGE,
        app: &app,
        attest_keys: AttestKeys::Refuse,
    };
    let rejection = attestation::verify(&evidence, expectation, trust, now()).unwrap_err();
    assert_eq!(rejection.reason, Reason::TrustListStale);
}

#[test]
fn everything_that_is_wrong_is_listed_and_the_first_gives_the_reason() {
    let mut description = genuine().at_level(0, 0).without_hardware(702);
    description.challenge.clear();
    let forge = described(&description);
    let (app, list) = (app(), StatusList::empty());
    let given = Given {
        binding: Some(CHALLENGE),
        app: Some(&app),
        attest_keys: AttestKeys::Refuse,
    };
    let roots = Roots::default();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, given, trust, now());
    let failed: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(
        failed,
        [
            "root",
            "security_level",
            "security_level_certified",
            "key_origin",
            "challenge"
        ]
    );
    assert_eq!(examination.checks.rejection().unwrap().reason, UNTRUSTED);
    assert_eq!(examination.certificates.len(), 5);
}

#[test]
fn an_unreadable_intermediate_still_lets_the_leaf_be_explained() {
    let mut der = remote(&genuine(), "TEE").der();
    der[2].pop();
    let roots = Roots::default();
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let evidence = Evidence::Android(Chain::from_der(der).unwrap());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let rejection = examination.checks.rejection().unwrap();
    assert_eq!(
        (rejection.reason, rejection.certificate_index),
        (MALFORMED, Some(2))
    );
    let names: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .map(|c| c.name)
        .collect();
    assert!(names.contains(&"key_origin"), "{names:?}");
    assert_eq!(examination.certificates.len(), 2);
    assert_eq!(examination.facts, None);
}

#[test]
fn refuses_chains_beyond_their_bounds() {
    let cases: Vec<(Vec<Vec<u8>>, ChainError, Reason)> = vec![
        (Vec::new(), ChainError::Empty, MALFORMED),
        (
            vec![vec![0]; 7],
            ChainError::TooManyCertificates(7),
            Reason::EvidenceTooLarge,
        ),
        (
            vec![vec![0], vec![0; 8193]],
            ChainError::CertificateTooLarge {
                index: 1,
                bytes: 8193,
            },
            Reason::EvidenceTooLarge,
        ),
        (
            vec![vec![0; 8192]; 5],
            ChainError::TooLarge(5 * 8192),
            Reason::EvidenceTooLarge,
        ),
    ];
    for (certificates, error, reason) in cases {
        assert_eq!(Chain::from_der(certificates).unwrap_err(), error);
        assert_eq!(error.reason(), reason);
    }
    assert!(Chain::from_der(vec![vec![0; 8192]; 4]).is_ok());
    let long = "x".repeat(65_537);
    assert_eq!(
        Chain::from_pem(&long).unwrap_err(),
        ChainError::TextTooLarge(65_537)
    );
    assert_eq!(Chain::from_pem("x").unwrap_err(), ChainError::NotPem);
    assert_eq!(Chain::from_pem("").unwrap_err(), ChainError::Empty);
    assert_eq!(ChainError::NotPem.reason(), MALFORMED);
}

fn facts(attested: &Attested) -> &Facts {
    match attested.facts() {
        attestation::Facts::Android(facts) => facts,
        attestation::Facts::Apple(_) => panic!("Apple facts from Android evidence"),
    }
}

#[test]
fn says_what_a_genuine_chain_says() {
    let forge = remote(&genuine().at_level(2, 2), "StrongBox");
    let attested = verify(&forge).unwrap();
    let facts = facts(&attested);
    assert_eq!(facts.security_level, SecurityLevel::StrongBox);
    assert_eq!(facts.serials, ["1", "1001", "1002", "1003"]);
    assert_eq!(
        facts.provisioning,
        Provisioning::Remote {
            issued: Some(8),
            manufacturer: Some("Google".to_owned())
        }
    );
    let spki = |index: usize| {
        rcgen::PublicKeyData::subject_public_key_info(&forge.certificates[index].key)
    };
    assert_eq!(facts.attestation_key_sha256, assay::key::sha256(&spki(1)));
    assert_eq!(facts.root_key_sha256, assay::key::sha256(&spki(4)));
    let key = assay::key::PublicKey::from_spki_der(&spki(0)).unwrap();
    assert_eq!(attested.key(), &AttestedKey::P256(key));
    assert_eq!(attested.at(), now());
}

#[test]
fn accepts_certificates_as_genuine_devices_have_them() {
    assert_accepted(vec![
        ("a remote chain", remote(&genuine(), "TEE")),
        ("a factory chain", factory(&genuine(), Some("TEE"))),
        ("a factory chain without titles", factory(&genuine(), None)),
        (
            "a factory secure element",
            factory(&genuine().at_level(2, 2), Some("StrongBox")),
        ),
        (
            "a BOOLEAN of 1 in a certificate",
            remote_changed(|f| {
                f.certificates[0].extensions[0] =
                    extension(KEY_USAGE, Some(1), &tlv(3, &[7, 0x80]));
            }),
        ),
        (
            "an attestation certificate that is no authority",
            remote_changed(|f| {
                f.certificates[1].extensions =
                    vec![extension(BASIC_CONSTRAINTS, Some(0xff), &sequence(&[]))];
            }),
        ),
        (
            "a leaf that ended before it began",
            remote_changed(|f| {
                f.certificates[0].not_before = time("21060207062815Z");
                f.certificates[0].not_after = time("19700101000000Z");
            }),
        ),
        (
            "a leaf with a date that is none",
            remote_changed(|f| f.certificates[0].not_after = tlv(23, b"990231250061Z")),
        ),
        (
            "a leaf extension full of rubbish",
            remote_changed(|f| {
                let rubbish = extension(&[0x55, 0x1d, 31], None, &[0]);
                f.certificates[0].extensions.push(rubbish);
            }),
        ),
        (
            "NULL behind the ECDSA algorithms",
            remote_changed(|f| {
                f.certificates[0].inner_algorithm = algorithm(ECDSA_SHA256, true);
                f.certificates[0].outer_algorithm = algorithm(ECDSA_SHA256, true);
            }),
        ),
        ("the root left out", remote_changed(|f| f.root_sent = false)),
        (
            "an expired factory intermediate",
            factory_changed(|f| f.certificates[2].not_after = time("20260524165259Z")),
        ),
        (
            "an expired root",
            remote_changed(|f| f.certificates[4].not_after = time("20260524165259Z")),
        ),
        (
            "name constraints that are not critical",
            remote_changed(|f| {
                let constraints = extension(NAME_CONSTRAINTS, None, &sequence(&[]));
                f.certificates[1].extensions.push(constraints);
            }),
        ),
        (
            "an intermediate of neither kind",
            factory_changed(|f| f.certificates[2].subject = common_name("Some Authority")),
        ),
    ]);
}

#[test]
fn accepts_attestations_as_genuine_devices_write_them() {
    let mut unsorted = genuine().with_hardware(1, integers(&[3, 2]));
    unsorted.hardware.reverse();
    unsorted.software.reverse();
    let mut newer = genuine();
    newer.version = 700;
    newer.hardware.push((999, integer(1)));
    newer.software.push((20_000, sequence(&[null()])));
    let mut five_hundred = genuine();
    five_hundred.version = 500;
    five_hundred.software.push((724, octets(&[3; 32])));
    let mut oldest = genuine().with_hardware(704, root_of_trust(&[7; 32], 1, 0, None));
    oldest.version = 1;
    let shared = application(&[PACKAGE, "com.example.shared"], &[&[9; 32], &SIGNER]);
    let in_hardware = {
        let mut description = genuine();
        let app = description.software.pop().unwrap();
        description.hardware.push(app);
        description
    };
    assert_accepted(vec![
        ("unsorted lists and sets", described(&unsorted)),
        ("a version and tags of the future", described(&newer)),
        ("version 500", described(&five_hundred)),
        (
            "version 1 with a root of trust of three fields",
            described(&oldest),
        ),
        (
            "a package beside it that may be there, and two signers",
            described(&genuine().with_application(shared)),
        ),
        ("the app in the hardware's list", described(&in_hardware)),
    ]);
}

fn assert_accepted(cases: Vec<(&str, Forge)>) {
    for (case, forge) in cases {
        let attested = verify(&forge).unwrap_or_else(|rejection| panic!("{case}: {rejection}"));
        assert!(attested.checks().all_passed(), "{case}");
    }
}

#[test]
fn a_key_of_another_kind_is_described_and_not_refused_here() {
    let mut forge = remote(&genuine(), "TEE");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    forge.certificates[0].spki = Some(rcgen::PublicKeyData::subject_public_key_info(&key));
    let attested = verify(&forge).unwrap();
    assert_eq!(attested.key(), &AttestedKey::Other("EC P-384".to_owned()));
}

#[test]
fn tags_without_a_name_are_recorded() {
    let mut description = genuine();
    description.hardware.push((999, integer(1)));
    let attested = verify(&described(&description)).unwrap();
    let facts = facts(&attested);
    assert_eq!(facts.key_description.hardware_enforced.unknown_tags, [999]);
}

#[test]
fn the_app_decides_nothing_about_the_terminal() {
    let mut forge = remote(&genuine(), "TEE");
    forge.certificates[0].subject = common_name("\u{1b}[2Jhello");
    let list = StatusList::empty();
    let roots = forge.roots();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let subject = &examination.certificates[0].subject;
    assert!(subject.contains("hello"), "{subject}");
    assert!(!subject.contains(char::is_control), "{subject}");
}

#[test]
fn finds_the_key_that_signed_among_two_of_one_name() {
    let empty = r#"{"entries":{}}"#;
    for root_sent in [true, false] {
        let mut forge = remote(&genuine(), "TEE");
        forge.root_sent = root_sent;
        let other = remote(&genuine(), "TEE").roots().android;
        let own = forge.roots().android;
        for android in [own.clone().and(other.clone()), other.and(own)] {
            let roots = Roots {
                android,
                ..Roots::default()
            };
            assert!(verify_with(&forge, &roots, empty).is_ok(), "{root_sent}");
        }
    }
}

/// The signatures are right and the attestation is changed in one octet, as by a faulty encoder:
/// whatever is accepted still says what every device key has to say.
#[test]
fn a_faulty_attestation_is_refused_or_still_says_what_it_must() {
    let mut forge = remote(&genuine(), "TEE");
    let mut description = KeyDescription::complete();
    description.software.retain(|(tag, _)| *tag != 709);
    description
        .software
        .push((709, application(&[PACKAGE], &[&SIGNER])));
    let der = description.der();
    let (mut accepted, mut malformed) = (0, 0);
    for at in 0..der.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[at] ^= mask;
            forge.certificates[0].extensions[1] = extension(KEY_DESCRIPTION, None, &changed);
            match verify(&forge) {
                Ok(attested) => {
                    let description = &facts(&attested).key_description;
                    let hardware = &description.hardware_enforced;
                    assert_eq!(hardware.origin, Some(Origin::Generated), "octet {at}");
                    assert!(hardware.root_of_trust.is_some(), "octet {at}");
                    assert_eq!(description.attestation_challenge, CHALLENGE);
                    accepted += 1;
                }
                Err(rejection) => malformed += usize::from(rejection.reason == MALFORMED),
            }
        }
    }
    assert!(accepted > 100 && malformed > 100, "{accepted}, {malformed}");
    println!("{accepted} accepted, {malformed} malformed");
}
