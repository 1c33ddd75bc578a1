//! Key files and what is derived from them.

use assay::id::{AppId, Subject};
use assay::key::Thumbprint;
use assay::key_directory::{NamedFile, generate_files};
use assay::secret::Secret;
use assay::time::Timestamp;
use assay::token::Purpose;
use assay::token::keyring::{
    INDEX_LABEL, KEYS_OF_A_KIND_MAX, Keyring, KeyringError, SECRET_LABEL, SIGNING_LABEL,
};
use assay::token::pem;

use super::support::{NOW, rotation};

fn refusal(files: &[NamedFile]) -> KeyringError {
    Keyring::from_pem(files).map(|_| ()).unwrap_err()
}

fn named(name: &str, text: &Secret<String>) -> NamedFile {
    (name.to_owned(), text.clone())
}

#[test]
fn the_greatest_name_is_in_use_and_the_others_are_still_known() {
    let fleet = rotation();
    let old = fleet.before.signing_kid();
    let new = fleet.after.signing_kid();
    assert_ne!(old, new);
    assert_eq!(fleet.during.signing_kid(), new);
    assert!(fleet.during.verifying_key(&old.to_string()).is_some());
    assert!(fleet.after.verifying_key(&old.to_string()).is_none());
    let (old, _) = fleet.before.secret(Purpose::Seal);
    let (new, _) = fleet.after.secret(Purpose::Seal);
    assert_eq!(fleet.during.secret(Purpose::Seal).0, new);
    let found = fleet.during.find(Purpose::Seal, old).unwrap();
    assert_eq!(found.bytes(), fleet.before.secret(Purpose::Seal).1.bytes());
    assert!(fleet.after.find(Purpose::Seal, old).is_none());
}

#[test]
fn a_standby_key_is_known_but_not_used() {
    let [old, new] = rotation().files;
    let mut files = old.clone();
    for (name, text) in &new {
        if name != "index.pem" {
            files.push(named(&name.replace(".pem", ".next.pem"), text));
        }
    }
    let standby = Keyring::from_pem(&files).unwrap();
    let fleet = Keyring::from_pem(&old).unwrap();
    let after = Keyring::from_pem(&new).unwrap();
    assert_eq!(standby.signing_kid(), fleet.signing_kid());
    assert!(
        standby
            .verifying_key(&after.signing_kid().to_string())
            .is_some()
    );
    assert!(standby.jwks().contains(&after.signing_kid().to_string()));
    let (tag, _) = after.secret(Purpose::Nonce);
    assert_ne!(standby.secret(Purpose::Nonce).0, tag);
    assert!(standby.find(Purpose::Nonce, tag).is_some());

    let only_standby: Vec<_> = files
        .into_iter()
        .filter(|(name, _)| !name.starts_with("signing") || name.ends_with(".next.pem"))
        .collect();
    assert!(matches!(
        refusal(&only_standby),
        KeyringError::Missing { .. }
    ));
}

#[test]
fn the_key_set_has_public_members_only() {
    let fleet = rotation();
    let set: serde_json::Value = serde_json::from_str(fleet.during.jwks()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0]["kid"], fleet.during.signing_kid().to_string());
    for key in keys {
        let members: Vec<_> = key.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

#[test]
fn purposes_have_keys_of_their_own() {
    let keyring = rotation().before;
    let purposes = [
        Purpose::RefreshToken,
        Purpose::Challenge,
        Purpose::Nonce,
        Purpose::Seal,
    ];
    let keys: std::collections::BTreeSet<_> = purposes
        .iter()
        .map(|purpose| *keyring.secret(*purpose).1.bytes())
        .collect();
    assert_eq!(keys.len(), purposes.len());
}

#[test]
fn ids_depend_on_the_index_key_and_on_every_argument() {
    let fleet = rotation();
    let app: AppId = "app".parse().unwrap();
    let (ann, bob): (Subject, Subject) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let key = Thumbprint::from_bytes([1; 32]);
    let id = fleet.before.device_id(&app, &ann, &key);
    assert_eq!(fleet.after.device_id(&app, &ann, &key), id);
    assert_eq!(id.bucket(), fleet.before.bucket(&ann));
    assert_ne!(fleet.before.device_id(&app, &bob, &key), id);
    assert_ne!(
        fleet
            .before
            .device_id(&"ap".parse().unwrap(), &"pann".parse().unwrap(), &key),
        id
    );
    assert_ne!(
        fleet
            .before
            .device_id(&app, &ann, &Thumbprint::from_bytes([2; 32])),
        id
    );
    assert_ne!(
        fleet.before.subject_tag(&ann),
        fleet.before.subject_tag(&bob)
    );
    let stranger = Keyring::from_pem(&generate_files(NOW).unwrap()).unwrap();
    assert_ne!(stranger.device_id(&app, &ann, &key), id);
}

#[test]
fn every_kind_of_key_has_to_be_there() {
    let files = generate_files(NOW).unwrap();
    for missing in 0..files.len() {
        let mut some = files.clone();
        some.remove(missing);
        assert!(matches!(refusal(&some), KeyringError::Missing { .. }));
    }
    assert!(matches!(refusal(&[]), KeyringError::Missing { .. }));
}

#[test]
fn a_wrong_name_is_refused_rather_than_ignored() {
    let files = generate_files(NOW).unwrap();
    for name in [
        "signin-1.pem",
        "signing-.pem",
        "signing-1.key",
        "index.next.pem",
        "index-1.pem",
        "secret-1\n.pem",
        "secret-1/2.pem",
        ".pem",
        "",
    ] {
        let mut more = files.clone();
        more.push(named(name, &files[0].1));
        assert!(
            matches!(refusal(&more), KeyringError::UnknownName { .. }),
            "{name}"
        );
    }
}

#[test]
fn refuses_what_is_not_the_key_the_name_says() {
    let good = generate_files(NOW).unwrap();
    let with = |name: &str, text: Secret<String>| {
        let mut files = good.clone();
        files.push((name.to_owned(), text));
        refusal(&files)
    };
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = pem::encode(&p384.serialize_der(), SIGNING_LABEL);
    assert!(matches!(
        with("signing-2.pem", p384),
        KeyringError::NotP256 { .. }
    ));
    let junk = pem::encode(&[7; 100], SIGNING_LABEL);
    assert!(matches!(
        with("signing-2.pem", junk),
        KeyringError::NotP256 { .. }
    ));
    let mislabelled = pem::encode(&[7; 32], INDEX_LABEL);
    assert!(matches!(
        with("secret-2.pem", mislabelled),
        KeyringError::Pem { .. }
    ));
    let zeros = pem::encode(&[0; 32], SECRET_LABEL);
    assert!(matches!(
        with("secret-2.pem", zeros),
        KeyringError::Placeholder { .. }
    ));
    for length in [0, 31, 33] {
        let text = pem::encode(&vec![7; length], SECRET_LABEL);
        assert!(matches!(
            with("secret-2.pem", text),
            KeyringError::Length { .. }
        ));
    }
    for (name, text) in &good {
        assert!(matches!(
            with(name, text.clone()),
            KeyringError::NameTwice { .. }
        ));
    }
    for kind in ["signing", "secret"] {
        let (_, text) = good
            .iter()
            .find(|(name, _)| name.starts_with(kind))
            .unwrap();
        let twin = with(&format!("{kind}-0.pem"), text.clone());
        assert!(matches!(twin, KeyringError::SameKey { .. }), "{twin}");
    }
}

#[test]
fn the_number_of_keys_is_bounded() {
    let mut files = generate_files(NOW).unwrap();
    for n in 1..=KEYS_OF_A_KIND_MAX {
        assert!(Keyring::from_pem(&files).is_ok());
        let at = Timestamp::from_secs(n as i64);
        let more = generate_files(at).unwrap();
        files.extend(
            more.into_iter()
                .filter(|(name, _)| name.starts_with("secret")),
        );
    }
    assert!(matches!(refusal(&files), KeyringError::TooMany { .. }));
}

#[test]
fn neither_debug_nor_errors_show_a_key() {
    let files = generate_files(NOW).unwrap();
    let shown = format!("{:?} {files:?}", Keyring::from_pem(&files).unwrap());
    for (_, text) in &files {
        let inner = text.expose().lines().nth(1).unwrap();
        assert!(!shown.contains(&inner[..16]));
    }
    let broken: Vec<_> = files
        .iter()
        .map(|(name, text)| {
            (
                name.clone(),
                Secret::new(text.expose().replace("-----END", "END")),
            )
        })
        .collect();
    let error = format!("{0} {0:?}", refusal(&broken));
    for (_, text) in &files {
        assert!(!error.contains(&text.expose().lines().nth(1).unwrap()[..16]));
    }
}
