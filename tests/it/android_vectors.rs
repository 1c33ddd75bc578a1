//! Android chains of real devices: the verdict on each, and every field against two other decoders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use assay::attestation::android::{
    AuthorizationList, Chain, Facts, KeyDescription, Provisioning, RootOfTrust, Value,
    VerifiedBootState,
};
use assay::attestation::roots::{AndroidRoots, Roots};
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    self, AttestedKey, Evidence, Examination, Given, Outcome, Trust, examine,
};
use assay::key::sha256;
use assay::time::Timestamp;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value as Json;

use crate::android_forge as forge;

fn directory() -> PathBuf {
    let root = std::env::var_os("ASSAY_VECTORS")
        .expect("ASSAY_VECTORS names the directory of the real device vectors");
    Path::new(&root).join("android")
}

fn read(file: &str) -> String {
    let path = directory().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn chain(file: &str) -> Chain {
    Chain::from_pem(&read(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn expected() -> Vec<Json> {
    let all: Vec<Json> = serde_json::from_str(&read("expected.json")).unwrap();
    assert!(!all.is_empty(), "the vectors are not there");
    all
}

fn google() -> Roots {
    Roots {
        android: AndroidRoots::google(),
        ..Roots::default()
    }
}

fn look(chain: &Chain, given: Given<'_>, roots: &Roots, now: Timestamp) -> Examination {
    let list = StatusList::empty();
    let trust = Trust {
        roots,
        status_list: Some(&list),
        own_list: None,
    };
    examine(&Evidence::Android(chain.clone()), given, trust, now)
}

fn facts(examination: &Examination) -> Option<&Facts> {
    match examination.facts.as_ref()? {
        attestation::Facts::Android(facts) => Some(facts),
        attestation::Facts::Apple(_) => panic!("Apple facts from Android evidence"),
    }
}

/// In the middle of the validity of the intermediates; for factory chains long after their end.
fn time_for(entry: &Json) -> Timestamp {
    let autumn_2026 = Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap();
    if entry["provisioning"] == "factory" {
        return autumn_2026;
    }
    match (
        entry["intermediates_valid_from"].as_i64(),
        entry["intermediates_valid_to"].as_i64(),
    ) {
        (Some(from), Some(to)) => Timestamp::from_secs(from + (to - from) / 2),
        _ => autumn_2026,
    }
}

/// What has to fail, by the words of the expected verdict.
fn expected_failures(verdict: &str) -> BTreeSet<&'static str> {
    let words = [
        ("untrusted root", "root"),
        ("bad signature", "signatures"),
        ("leaf only", "shape"),
        ("security level", "security_level"),
        ("KeyDescription unparseable", "key_description"),
        ("origin != GENERATED", "key_origin"),
        ("no hardware rootOfTrust", "root_of_trust"),
        ("deviceLocked=false", "locked"),
        ("verifiedBootState=", "verified"),
    ];
    words
        .into_iter()
        .filter(|(word, _)| verdict.contains(word))
        .map(|(_, check)| check)
        .collect()
}

fn failures(examination: &Examination) -> BTreeSet<&'static str> {
    let checks = examination.checks.as_slice().iter();
    let mut failed: BTreeSet<&'static str> = checks
        .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
        .map(|check| check.name)
        .collect();
    let boot = facts(examination).and_then(|facts| {
        facts
            .key_description
            .hardware_enforced
            .root_of_trust
            .clone()
    });
    if let Some(boot) = boot {
        if !boot.device_locked {
            failed.insert("locked");
        }
        if boot.verified_boot_state != VerifiedBootState::Verified {
            failed.insert("verified");
        }
    }
    failed
}

/// What is wrong besides with chains that are refused anyway, and not in the words of the verdict.
fn also_wrong(file: &str) -> &'static [&'static str] {
    match file {
        "google-keyattestation/allow_while_on_body.pem" => &["root"],
        _ => &[],
    }
}

#[test]
fn every_real_chain_has_its_expected_verdict() {
    let roots = google();
    let entries = expected();
    for entry in &entries {
        let file = entry["file"].as_str().unwrap();
        let verdict = entry["strict_verdict"].as_str().unwrap();
        let at = time_for(entry);
        let examination = look(&chain(file), Given::default(), &roots, at);
        let mut wanted = expected_failures(verdict);
        wanted.extend(also_wrong(file));
        assert_eq!(failures(&examination), wanted, "{file}: {verdict}");
        let allowing = Given {
            attest_keys: attestation::AttestKeys::Allow,
            ..Given::default()
        };
        let allowing = look(&chain(file), allowing, &roots, at);
        assert_eq!(allowing.checks, examination.checks, "{file}: none has one");
        assert_eq!(wanted.is_empty(), verdict == "ACCEPT", "{file}: {verdict}");
        if let Some(facts) = facts(&examination).filter(|_| wanted.is_empty()) {
            // No genuine chain has a key between the device's own and the authorities.
            let signer = facts.issuer_keys.first();
            assert_eq!(signer, Some(&facts.attestation_key_sha256), "{file}");
        }
        let provisioning = facts(&examination).map(|facts| &facts.provisioning);
        match entry["provisioning"].as_str().unwrap() {
            "factory" => assert_eq!(provisioning, Some(&Provisioning::Factory), "{file}"),
            "RKP" => assert!(
                matches!(provisioning, Some(Provisioning::Remote { .. })),
                "{file}: {provisioning:?}"
            ),
            _ => {}
        }
    }
    println!("{} vectors", entries.len());
}

#[test]
fn the_verdict_files_are_all_the_files() {
    let listed: BTreeSet<String> = expected()
        .iter()
        .map(|entry| entry["file"].as_str().unwrap().to_owned())
        .collect();
    let mut found = BTreeSet::new();
    for group in std::fs::read_dir(directory()).unwrap() {
        let group = group.unwrap();
        if !group.path().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(group.path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".pem") {
                found.insert(format!("{}/{name}", group.file_name().to_str().unwrap()));
            }
        }
    }
    assert_eq!(found, listed);
}

#[test]
fn accepts_a_genuine_chain_for_its_challenge_and_app_and_no_other() {
    let roots = google();
    let list = StatusList::empty();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let mut accepted = 0;
    for entry in expected() {
        if entry["strict_verdict"] != "ACCEPT" {
            continue;
        }
        let file = entry["file"].as_str().unwrap();
        let described = &entry["key_description"];
        let challenge = unhex(&described["challenge_hex"]);
        let id = &described["application_id"];
        let package = |n: usize| id["pkgs"][n][0].as_str().unwrap().to_owned();
        let others = 1..id["pkgs"].as_array().unwrap().len();
        let app = attestation::AppIdentity {
            android: Some(attestation::AndroidApp {
                package_name: package(0),
                signing_certificate_sha256: vec![unhex(&id["digests"][0]).try_into().unwrap()],
                shared_uid_packages: others.map(package).collect(),
            }),
            apple: None,
        };
        let evidence = Evidence::Android(chain(file));
        let verify = |binding: &[u8]| {
            let expectation = attestation::Expectation {
                binding,
                app: &app,
                attest_keys: attestation::AttestKeys::Refuse,
            };
            attestation::verify(&evidence, expectation, trust, time_for(&entry))
        };
        let attested = verify(&challenge).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(attested.checks().all_passed());
        let mut other = challenge.clone();
        other.push(0);
        assert_eq!(verify(&other).unwrap_err().name, "challenge", "{file}");
        accepted += 1;
    }
    assert!(accepted > 5);
    println!("{accepted} accepted");
}

#[test]
fn decodes_every_field_as_two_other_decoders_do() {
    let roots = google();
    let mut compared = 0;
    for entry in expected() {
        let file = entry["file"].as_str().unwrap();
        let examination = look(&chain(file), Given::default(), &roots, time_for(&entry));
        let description = facts(&examination).map(|facts| &facts.key_description);
        let wanted = &entry["key_description"];
        assert_eq!(description.is_some(), wanted.is_object(), "{file}");
        let Some(description) = description else {
            continue;
        };
        compared += against_expected(file, description, wanted);
        let beside = directory().join(file).with_extension("json");
        if beside.exists() {
            let text = std::fs::read_to_string(&beside).unwrap();
            compared += against_google(file, description, &json_with_comments(&text));
        }
    }
    assert!(compared > 500);
    println!("{compared} comparisons");
}

fn unhex(value: &Json) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// What is decoded, in the words of `expected.json`.
fn in_words_of_expected(description: &KeyDescription) -> BTreeMap<&'static str, Json> {
    let (hw, sw) = (
        &description.hardware_enforced,
        &description.software_enforced,
    );
    let number = |of: fn(&AuthorizationList) -> Option<u64>| -> Json { of(hw).or(of(sw)).into() };
    let numbers = |of: fn(&AuthorizationList) -> Option<Vec<u64>>| -> Json {
        of(hw).or_else(|| of(sw)).into()
    };
    let tags = |list: &AuthorizationList| -> Json {
        let mut tags: Vec<u32> = list.fields().map(|field| field.tag).collect();
        tags.extend(&list.unknown_tags);
        tags.sort_unstable();
        tags.into()
    };
    let hex = |bytes: &[u8]| -> Json { HEXLOWER.encode(bytes).into() };
    let level = |level| -> Json { (level as u64).into() };
    let origin = hw.origin.or(sw.origin).map(|origin| origin as u64);
    BTreeMap::from([
        (
            "attestation_version",
            description.attestation_version.into(),
        ),
        (
            "attestation_security_level",
            level(description.attestation_security_level),
        ),
        ("keymint_version", description.keymint_version.into()),
        (
            "keymint_security_level",
            level(description.keymint_security_level),
        ),
        ("challenge_hex", hex(&description.attestation_challenge)),
        ("unique_id_hex", hex(&description.unique_id)),
        ("purpose", numbers(|list| list.purposes.clone())),
        ("algorithm", number(|list| list.algorithm)),
        ("key_size", number(|list| list.key_size)),
        ("ec_curve", number(|list| list.ec_curve)),
        ("digest", numbers(|list| list.digests.clone())),
        ("origin", origin.into()),
        ("os_version", number(|list| list.os_version)),
        ("os_patch_level", number(|list| list.os_patch_level)),
        ("vendor_patch_level", number(|list| list.vendor_patch_level)),
        ("boot_patch_level", number(|list| list.boot_patch_level)),
        ("creation_date_time", number(|list| list.creation_date_time)),
        ("tags_software", tags(sw)),
        ("tags_hardware", tags(hw)),
        (
            "module_hash",
            (sw.module_hash.is_some() || hw.module_hash.is_some()).into(),
        ),
        ("root_of_trust", root_of_trust(hw, sw)),
        ("application_id", application(hw, sw)),
    ])
}

fn against_expected(file: &str, description: &KeyDescription, wanted: &Json) -> usize {
    let seen = in_words_of_expected(description);
    let sorted = |value: &Json| -> Json {
        let mut tags: Vec<u64> = serde_json::from_value(value.clone()).unwrap();
        tags.sort_unstable();
        tags.into()
    };
    let mut compared = 0;
    for (key, value) in wanted.as_object().unwrap() {
        let wanted = match key.as_str() {
            "quirks" => continue,
            "tags_software" | "tags_hardware" => sorted(value),
            "root_of_trust" if value.is_object() => {
                let mut root = value.clone();
                root["locked"] = (value["locked"] != "00").into();
                root
            }
            _ => value.clone(),
        };
        assert_eq!(seen.get(key.as_str()), Some(&wanted), "{file}: {key}");
        compared += 1;
    }
    compared
}

fn place<'a, T>(hw: Option<&'a T>, sw: Option<&'a T>) -> Option<(&'static str, &'a T)> {
    hw.map(|value| ("hw", value))
        .or(sw.map(|value| ("sw", value)))
}

fn root_of_trust(hw: &AuthorizationList, sw: &AuthorizationList) -> Json {
    let root = place(hw.root_of_trust.as_ref(), sw.root_of_trust.as_ref());
    root.map_or(Json::Null, |(place, root): (_, &RootOfTrust)| {
        let hash = root.verified_boot_hash.as_ref();
        serde_json::json!({
            "where": place,
            "key": HEXLOWER.encode(&root.verified_boot_key),
            "locked": root.device_locked,
            "state": root.verified_boot_state as u64,
            "hash": hash.map(|hash| HEXLOWER.encode(hash)),
        })
    })
}

fn application(hw: &AuthorizationList, sw: &AuthorizationList) -> Json {
    let id = place(
        hw.attestation_application_id.as_ref(),
        sw.attestation_application_id.as_ref(),
    );
    id.map_or(Json::Null, |(place, id)| {
        let packages: Vec<Json> = id
            .packages
            .iter()
            .map(|package| serde_json::json!([package.name, package.version]))
            .collect();
        let digests: Vec<String> = id
            .signature_digests
            .iter()
            .map(|digest| HEXLOWER.encode(digest))
            .collect();
        serde_json::json!({ "where": place, "pkgs": packages, "digests": digests })
    })
}

/// Google's files have comment lines.
fn json_with_comments(text: &str) -> Json {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    serde_json::from_str(&lines.join("\n")).unwrap()
}

/// Writes a description as Google's decoder does: numbers as strings, octets in base64.
fn as_google_writes(description: &KeyDescription) -> Json {
    let base64 = |bytes: &[u8]| BASE64.encode(bytes);
    serde_json::json!({
        "attestationVersion": description.attestation_version.to_string(),
        "attestationSecurityLevel": description.attestation_security_level.as_str(),
        "keyMintVersion": description.keymint_version.to_string(),
        "keyMintSecurityLevel": description.keymint_security_level.as_str(),
        "attestationChallenge": base64(&description.attestation_challenge),
        "uniqueId": base64(&description.unique_id),
        "softwareEnforced": list_as_google_writes(&description.software_enforced),
        "hardwareEnforced": list_as_google_writes(&description.hardware_enforced),
    })
}

fn list_as_google_writes(list: &AuthorizationList) -> Json {
    list.fields()
        .map(|field| {
            let value: Json = match field.value {
                Value::Flag => true.into(),
                Value::Integer(number) => number.to_string().into(),
                Value::Integers(numbers) => numbers.iter().map(u64::to_string).collect(),
                Value::Bytes(bytes) => BASE64.encode(bytes).into(),
                Value::Identifier(identifier) => identifier.text().into(),
                Value::Origin(origin) => origin.as_str().into(),
                Value::RootOfTrust(root) => serde_json::json!({
                    "verifiedBootKey": BASE64.encode(&root.verified_boot_key),
                    "deviceLocked": root.device_locked,
                    "verifiedBootState": root.verified_boot_state.as_str(),
                    "verifiedBootHash": root.verified_boot_hash.as_ref().map(|h| BASE64.encode(h)),
                }),
                Value::Application(id) => serde_json::json!({
                    "packages": id.packages.iter().map(|package| serde_json::json!({
                        "name": package.name, "version": package.version.to_string(),
                    })).collect::<Vec<_>>(),
                    "signatures": id.signature_digests.iter()
                        .map(|digest| BASE64.encode(digest)).collect::<Vec<_>>(),
                }),
            };
            (camel_case(field.name), value)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn camel_case(name: &str) -> String {
    let mut upper = false;
    let name = if name == "algorithm" {
        "algorithms"
    } else {
        name
    };
    name.chars()
        .filter_map(|c| match (c, std::mem::take(&mut upper)) {
            ('_', _) => {
                upper = true;
                None
            }
            (c, true) => Some(c.to_ascii_uppercase()),
            (c, false) => Some(c),
        })
        .collect()
}

fn against_google(file: &str, description: &KeyDescription, wanted: &Json) -> usize {
    let seen = as_google_writes(description);
    let mut compared = 0;
    for (key, wanted) in wanted.as_object().unwrap() {
        let Some(list) = wanted.as_object() else {
            assert_eq!(seen.get(key), Some(wanted), "{file}: {key}");
            compared += 1;
            continue;
        };
        let mut wanted = list.clone();
        // A note of Google's decoder about the encoding, not a field.
        wanted.remove("areTagsOrdered");
        let seen = seen[key].as_object().unwrap();
        assert_eq!(
            seen.keys().collect::<BTreeSet<_>>(),
            wanted.keys().collect::<BTreeSet<_>>(),
            "{file}: {key}"
        );
        for (field, wanted) in &wanted {
            assert_eq!(seen.get(field), Some(wanted), "{file}: {key}.{field}");
            compared += 1;
        }
    }
    compared
}

/// Google's complete list comes without a certificate: it is encoded here and has to be decoded to
/// what it was.
#[test]
fn decodes_every_field_of_googles_complete_list() {
    let complete = json_with_comments(&read("google-keyattestation/complete_authlist.json"));
    let bytes = |value: &Json| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let mut description = forge::KeyDescription::genuine();
    description.version = number(&complete["attestationVersion"]);
    description.challenge = bytes(&complete["attestationChallenge"]);
    description.unique_id = bytes(&complete["uniqueId"]);
    description.software = encode_list(&complete["softwareEnforced"]);
    description.hardware = encode_list(&complete["hardwareEnforced"]);
    let made = forge::chain_for(&description);
    let examination = look(&made.chain(), Given::default(), &made.roots(), forge::now());
    let seen = &facts(&examination).unwrap().key_description;
    let compared = against_google("complete_authlist.json", seen, &complete);
    assert!(compared > 60, "{compared}");
}

fn number(value: &Json) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

/// Encodes one of Google's lists, by the tags and kinds of a list that has every field.
fn encode_list(list: &Json) -> Vec<(u32, Vec<u8>)> {
    let every = forge::chain_for(&forge::KeyDescription::complete());
    let every = look(
        &every.chain(),
        Given::default(),
        &every.roots(),
        forge::now(),
    );
    let every = &facts(&every).unwrap().key_description.software_enforced;
    let base64 = |value: &Json| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let encode = |value: &Json, kind: Value<'_>| match kind {
        Value::Flag => forge::null(),
        Value::Integer(_) => forge::integer(number(value)),
        Value::Integers(_) => {
            let numbers: Vec<u64> = value.as_array().unwrap().iter().map(number).collect();
            forge::integers(&numbers)
        }
        Value::Bytes(_) => forge::octets(&base64(value)),
        Value::Identifier(_) => forge::octets(value.as_str().unwrap().as_bytes()),
        Value::Origin(_) => {
            assert_eq!(value, "GENERATED");
            forge::integer(0)
        }
        Value::RootOfTrust(_) => forge::root_of_trust(
            &base64(&value["verifiedBootKey"]),
            if value["deviceLocked"] == true {
                255
            } else {
                0
            },
            if value["verifiedBootState"] == "VERIFIED" {
                0
            } else {
                2
            },
            Some(&base64(&value["verifiedBootHash"])),
        ),
        Value::Application(_) => {
            let package = &value["packages"][0];
            let package = forge::sequence(&[
                forge::octets(package["name"].as_str().unwrap().as_bytes()),
                forge::integer(number(&package["version"])),
            ]);
            let digest = forge::octets(&base64(&value["signatures"][0]));
            let id = [forge::set(&[package]), forge::set(&[digest])];
            forge::octets(&forge::sequence(&id))
        }
    };
    list.as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let mut fields = every.fields();
            let field = fields
                .find(|field| camel_case(field.name) == *name)
                .unwrap_or_else(|| panic!("{name} has no name here"));
            (field.tag, encode(value, field.value))
        })
        .collect()
}

/// Name, certificates, a time at which they are valid, and the index of the root where there is one.
type Damageable = (&'static str, Vec<Vec<u8>>, Timestamp, Option<usize>);

/// Chains to damage: factory with an RSA root, remote with the P-384 root, and one whose root is
/// left out.
fn to_damage() -> Vec<Damageable> {
    let entries = expected();
    let load = |file: &str| {
        let entry = entries.iter().find(|entry| entry["file"] == file).unwrap();
        let certificates: Vec<Vec<u8>> = chain(file).certificates().map(<[u8]>::to_vec).collect();
        (certificates, time_for(entry))
    };
    let (factory, factory_time) =
        load("google-keyattestation/sony-xperia10-iii__sdk33__TEE_EC.pem");
    let (remote, remote_time) = load("google-keyattestation/tegu__sdk36__SB_EC_2026_ROOT.pem");
    let (mut rootless, rootless_time) = load("multipaz/pixel7a_rkp.pem");
    rootless.pop();
    let (factory_root, remote_root) = (factory.len() - 1, remote.len() - 1);
    vec![
        ("factory", factory, factory_time, Some(factory_root)),
        ("remote", remote, remote_time, Some(remote_root)),
        ("rootless", rootless, rootless_time, None),
    ]
}

fn key_text(examination: &Examination) -> Option<[u8; 32]> {
    match examination.key.as_ref()? {
        AttestedKey::P256(key) => Some(sha256(key.as_bytes())),
        AttestedKey::Other(_) => None,
    }
}

/// A chain with one octet changed is refused, wherever it is. The only octets that no signature
/// covers are those of a root certificate that came with the chain: of it only the key and the names
/// are believed, and both are compared with the pinned ones. A change there may pass, and then the
/// key and the facts are the original's.
#[test]
fn no_changed_octet_is_accepted_as_something_else() {
    let roots = google();
    let (mut changes, mut harmless) = (0, 0);
    for (name, certificates, now, root) in to_damage() {
        let original = Chain::from_der(certificates.clone()).unwrap();
        let original = look(&original, Given::default(), &roots, now);
        assert_eq!(failures(&original), BTreeSet::new(), "{name}");
        for index in 0..certificates.len() {
            for at in 0..certificates[index].len() {
                for mask in [0x01, 0xff] {
                    let mut damaged = certificates.clone();
                    damaged[index][at] ^= mask;
                    let chain = Chain::from_der(damaged).unwrap();
                    let seen = look(&chain, Given::default(), &roots, now);
                    changes += 1;
                    if seen.checks.rejection().is_some() {
                        continue;
                    }
                    harmless += 1;
                    let place = format!("{name}: certificate {index}, octet {at}, {mask:#x}");
                    assert_eq!(Some(index), root, "{place}");
                    assert_eq!(seen.facts, original.facts, "{place}");
                    assert_eq!(key_text(&seen), key_text(&original), "{place}");
                }
            }
        }
    }
    assert!(harmless > 0, "the rule about the root is not exercised");
    println!("{changes} changes, {harmless} harmless");
}

#[test]
fn every_truncated_certificate_is_refused() {
    let roots = google();
    let mut cuts = 0;
    for (name, certificates, now, _) in to_damage() {
        for index in 0..certificates.len() {
            for length in 0..certificates[index].len() {
                let mut cut = certificates.clone();
                cut[index].truncate(length);
                let seen = look(
                    &Chain::from_der(cut).unwrap(),
                    Given::default(),
                    &roots,
                    now,
                );
                let rejection = seen.checks.rejection().unwrap();
                assert_eq!(rejection.name, "structure", "{name}: {index}, {length}");
                assert_eq!(rejection.certificate_index, Some(index));
                cuts += 1;
            }
        }
        for length in 1..certificates.len() {
            let short = Chain::from_der(certificates[..length].to_vec()).unwrap();
            let seen = look(&short, Given::default(), &roots, now);
            let complete = root_may_be_left_out(length, certificates.len(), name);
            assert_eq!(
                seen.checks.rejection().is_none(),
                complete,
                "{name}: {length}"
            );
        }
    }
    println!("{cuts} cuts");
}

fn root_may_be_left_out(length: usize, whole: usize, name: &str) -> bool {
    name != "rootless" && length == whole - 1
}

#[test]
fn a_factory_chain_is_refused_before_it_was_made_and_a_remote_one_after_it_ended() {
    let roots = google();
    for entry in expected() {
        if entry["strict_verdict"] != "ACCEPT" {
            continue;
        }
        let file = entry["file"].as_str().unwrap();
        let from = entry["intermediates_valid_from"].as_i64().unwrap();
        let to = entry["intermediates_valid_to"].as_i64().unwrap();
        let accepted_at = |secs: i64| {
            let at = Timestamp::from_secs(secs);
            failures(&look(&chain(file), Given::default(), &roots, at)).is_empty()
        };
        let remote = entry["provisioning"] == "RKP";
        assert!(accepted_at(from), "{file}");
        assert!(!accepted_at(from - 1), "{file}");
        assert!(accepted_at(to), "{file}");
        assert_eq!(accepted_at(to + 1), !remote, "{file}");
    }
}

#[test]
fn a_published_status_list_is_read_whole() {
    let json = read("status/google-android-key-attestation_status.json");
    let list = StatusList::parse(json.as_bytes()).unwrap();
    assert_eq!(list.len(), 5);
    assert!(list.contains("6681152659205225093"));
    assert!(list.contains("cc66e9a93713b6e643b26c15879786f7"));
}
