//! What software phones make, read by readers that had no part in making it: x509-parser, the
//! openssl command, jsonwebtoken, a few lines of CBOR below, and real attestations to compare with.

// Helpers between the tests are tests, too, in the eyes of the lints.
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use assay::cli::phone::{PhoneArgs, run_with};
use assay::key::{PublicKey, sha256};
use assay::simulator::android::{Boot, Provisioning, SecurityLevel};
use assay::simulator::apple::{Environment, Extensions};
use assay::simulator::proof::Dpop;
use assay::simulator::receipt::Receipt;
use assay::simulator::{Authorities, Device, Evidence, android, apple};
use assay::time::Timestamp;
use clap::Parser as _;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use x509_parser::der_parser::der::{DerObject, parse_der};
use x509_parser::prelude::{FromDer, X509Certificate};

const CHALLENGE: &[u8] = b"a challenge of the server";
const PACKAGE: &str = "com.example.app";
const DIGEST: [u8; 32] = [0x5a; 32];

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T04:00:00.123Z").unwrap()
}

fn android_options() -> android::Options {
    android::Options::well_kept(PACKAGE, DIGEST, now())
}

fn android_chain(options: android::Options) -> (Authorities, Vec<Vec<u8>>) {
    let authorities = Authorities::generate(now()).unwrap();
    let phone = android::Phone::new(&authorities, options, now()).unwrap();
    let chain = phone.attest(CHALLENGE, now()).unwrap().certificate_chain;
    (authorities, chain)
}

fn apple_phone(extensions: Option<Extensions>) -> (Authorities, apple::Phone) {
    let authorities = Authorities::generate(now()).unwrap();
    let mut options =
        apple::Options::well_kept("ABCDE12345", "com.example.app", Environment::Development);
    options.extensions = extensions;
    let phone = apple::Phone::new(&authorities, options).unwrap();
    (authorities, phone)
}

fn certificate(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

fn extension_value<'a>(certificate: &X509Certificate<'a>, oid: &str) -> &'a [u8] {
    let mut found = certificate
        .extensions()
        .iter()
        .filter(|extension| extension.oid.to_id_string() == oid);
    let value = found.next().unwrap().value;
    assert!(found.next().is_none());
    value
}

fn pem(der: &[u8]) -> String {
    let lines: Vec<String> = BASE64
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Whether the openssl command builds and verifies the path from the leaf to the root.
fn openssl_verifies(chain: &[Vec<u8>], root_pem: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let between: String = chain[1..].iter().map(|der| pem(der)).collect();
    let output = Command::new("openssl")
        .arg("verify")
        .args(["-attime", &now().as_secs().to_string()])
        // Leaves carry extensions and usages that only their verifiers know.
        .args(["-purpose", "any"])
        .arg("-CAfile")
        .arg(put("root.pem", root_pem))
        .arg("-untrusted")
        .arg(put("between.pem", &between))
        .arg(put("leaf.pem", &pem(&chain[0])))
        .output()
        .expect("the tests need the openssl command");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

#[test]
fn openssl_verifies_every_kind_of_android_chain() {
    for level in [SecurityLevel::TrustedEnvironment, SecurityLevel::StrongBox] {
        for (provisioning, certificates) in [(Provisioning::Remote, 5), (Provisioning::Factory, 4)]
        {
            let (authorities, chain) = android_chain(android::Options {
                security_level: level,
                provisioning,
                ..android_options()
            });
            assert_eq!(chain.len(), certificates);
            assert!(openssl_verifies(&chain, &authorities.android_root_pem()));
            let others = Authorities::generate(now()).unwrap();
            assert!(!openssl_verifies(&chain, &others.android_root_pem()));
            let attestation = certificate(&chain[1]);
            assert!(attestation.is_ca());
            let word = match level {
                SecurityLevel::StrongBox => "StrongBox",
                SecurityLevel::Software | SecurityLevel::TrustedEnvironment => "TEE",
            };
            assert!(attestation.subject().to_string().contains(word));
        }
    }
}

#[test]
fn an_android_leaf_looks_like_a_real_one() {
    let (_, chain) = android_chain(android_options());
    let leaf = certificate(&chain[0]);
    assert_eq!(leaf.raw_serial(), [1]);
    assert_eq!(leaf.subject().to_string(), "CN=Android Keystore Key");
    assert_eq!(leaf.validity().not_before.timestamp(), 0);
    assert_eq!(
        leaf.validity().not_after.timestamp(),
        Timestamp::parse_rfc3339("2048-01-01T00:00:00Z")
            .unwrap()
            .as_secs()
    );
    for window in chain.windows(2) {
        assert_eq!(
            certificate(&window[0]).issuer().as_raw(),
            certificate(&window[1]).subject().as_raw()
        );
    }
    let attestation = certificate(&chain[1]);
    let common_name = HEXLOWER.encode(attestation.raw_serial());
    assert!(attestation.subject().to_string().contains(&common_name));
    assert_eq!(common_name.len(), 32);
    let provisioning = extension_value(&attestation, "1.3.6.1.4.1.11129.2.1.30");
    assert_eq!(provisioning, b"\xa2\x01\x08\x03\x69Simulator");
}

/// The explicit tags of an authorization list with their raw content.
fn tags(list: &DerObject<'_>) -> Vec<(u32, Vec<u8>)> {
    let items = list.as_sequence().unwrap();
    let entry = |item: &DerObject<'_>| (item.header.tag().0, item.as_slice().unwrap().to_vec());
    items.iter().map(entry).collect()
}

fn key_description(chain: &[Vec<u8>]) -> Vec<u8> {
    let leaf = certificate(&chain[0]);
    extension_value(&leaf, "1.3.6.1.4.1.11129.2.1.17").to_vec()
}

#[test]
fn the_key_description_says_what_the_options_say() {
    let (_, chain) = android_chain(android_options());
    let bytes = key_description(&chain);
    let (rest, description) = parse_der(&bytes).unwrap();
    assert!(rest.is_empty());
    let fields = description.as_sequence().unwrap();
    assert_eq!(fields.len(), 8);
    assert_eq!(fields[0].as_u32(), Ok(300));
    assert_eq!(fields[1].as_u32(), Ok(1));
    assert_eq!(fields[2].as_u32(), Ok(300));
    assert_eq!(fields[3].as_u32(), Ok(1));
    assert_eq!(fields[4].as_slice(), Ok(CHALLENGE));
    assert_eq!(fields[5].as_slice(), Ok(&[][..]));
    let hex = |list: &DerObject<'_>| -> Vec<(u32, String)> {
        let text = |(tag, bytes): (u32, Vec<u8>)| (tag, HEXLOWER.encode(&bytes));
        tags(list).into_iter().map(text).collect()
    };
    let software = hex(&fields[6]);
    let digest = HEXLOWER.encode(&DIGEST);
    let package = HEXLOWER.encode(PACKAGE.as_bytes());
    assert_eq!(
        software,
        [
            (701, format!("0206{:012x}", now().as_millis())),
            (
                709,
                format!("043e303c31163014040f{package}02010131220420{digest}").replacen(
                    "043e303c",
                    "043c303a",
                    usize::from(false)
                )
            ),
        ]
    );
    let hardware = hex(&fields[7]);
    let numbers: Vec<u32> = hardware.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(numbers, [1, 2, 3, 5, 10, 503, 702, 704, 705, 706, 718, 719]);
    assert_eq!(hardware[0].1, "3106020102020103");
    assert_eq!(hardware[9].1, "0203031772", "202610");
}

#[test]
fn boot_state_and_user_authentication_are_told() {
    let root_of_trust = |boot| {
        let (_, chain) = android_chain(android::Options {
            boot,
            user_authentication: true,
            ..android_options()
        });
        let bytes = key_description(&chain);
        let description = parse_der(&bytes).unwrap().1;
        let list = tags(&description.as_sequence().unwrap()[7]);
        assert!(list.contains(&(504, vec![2, 1, 3])));
        assert!(!list.iter().any(|(tag, _)| *tag == 503));
        let (_, content) = list.into_iter().find(|(tag, _)| *tag == 704).unwrap();
        let object = parse_der(&content).unwrap().1;
        let fields = object.as_sequence().unwrap();
        assert_eq!(fields.len(), 4);
        assert_eq!(fields[3].as_slice().unwrap().len(), 32);
        (
            fields[0].as_slice().unwrap() == [0; 32],
            fields[1].as_bool().unwrap(),
            fields[2].as_u32().unwrap(),
        )
    };
    assert_eq!(root_of_trust(Boot::Verified), (false, true, 0));
    assert_eq!(root_of_trust(Boot::SelfSigned), (false, true, 1));
    assert_eq!(root_of_trust(Boot::Unlocked), (true, false, 2));
}

#[test]
fn a_software_key_claims_nothing_of_hardware() {
    let (_, chain) = android_chain(android::Options {
        security_level: SecurityLevel::Software,
        ..android_options()
    });
    let bytes = key_description(&chain);
    let description = parse_der(&bytes).unwrap().1;
    let fields = description.as_sequence().unwrap();
    assert_eq!(fields[1].as_u32(), Ok(0));
    assert!(tags(&fields[7]).is_empty());
    let numbers: Vec<u32> = tags(&fields[6]).iter().map(|(tag, _)| *tag).collect();
    assert!(numbers.is_sorted() && numbers.contains(&704));
}

#[test]
fn a_forged_extension_of_a_chain_is_signed_by_the_attested_key() {
    let authorities = Authorities::generate(now()).unwrap();
    let phone = android::Phone::new(&authorities, android_options(), now()).unwrap();
    let genuine = phone.attest(CHALLENGE, now()).unwrap();
    let attested = PublicKey::from_sec1(genuine.key.public_point()).unwrap();
    let forged = phone.forge_below(genuine, b"another", now()).unwrap();
    assert_eq!(forged.certificate_chain.len(), 6);
    let leaf = certificate(&forged.certificate_chain[0]);
    attested
        .verify_der(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data)
        .unwrap();
}

/// A reader of the CBOR that occurs here, for comparison only.
fn cbor(bytes: &[u8]) -> (Value, &[u8]) {
    let (head, mut rest) = (bytes[0], &bytes[1..]);
    let mut argument = u64::from(head & 31);
    if argument > 23 {
        let width = 1_usize << (argument - 24);
        argument = rest[..width]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        rest = &rest[width..];
    }
    let count = usize::try_from(argument).unwrap();
    match head >> 5 {
        0 => (json!(argument), rest),
        1 => (json!(-1 - i64::try_from(argument).unwrap()), rest),
        2 => (json!(BASE64.encode(&rest[..count])), &rest[count..]),
        3 => (
            json!(std::str::from_utf8(&rest[..count]).unwrap()),
            &rest[count..],
        ),
        4 => {
            let mut items = Vec::new();
            for _ in 0..count {
                let (item, after) = cbor(rest);
                items.push(item);
                rest = after;
            }
            (json!(items), rest)
        }
        5 => {
            let mut items = serde_json::Map::new();
            for _ in 0..count {
                let (key, after) = cbor(rest);
                let (value, after) = cbor(after);
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                assert!(items.insert(key, value).is_none());
                rest = after;
            }
            (json!(items), rest)
        }
        other => panic!("major type {other} does not occur"),
    }
}

fn whole_cbor(bytes: &[u8]) -> Value {
    let (value, rest) = cbor(bytes);
    assert!(rest.is_empty());
    value
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

struct Opened {
    leaf: Vec<u8>,
    intermediate: Vec<u8>,
    authenticator_data: Vec<u8>,
    receipt: Vec<u8>,
}

fn opened(object: &[u8]) -> Opened {
    let value = whole_cbor(object);
    assert_eq!(value["fmt"], "apple-appattest");
    let x5c = value["attStmt"]["x5c"].as_array().unwrap();
    assert_eq!(x5c.len(), 2);
    Opened {
        receipt: decoded(&value["attStmt"]["receipt"]),
        leaf: decoded(&x5c[0]),
        intermediate: decoded(&x5c[1]),
        authenticator_data: decoded(&value["authData"]),
    }
}

#[test]
fn openssl_verifies_an_apple_chain() {
    let (authorities, phone) = apple_phone(None);
    let object = opened(&phone.attest(b"client data", now()).unwrap());
    let chain = [object.leaf, object.intermediate];
    assert!(openssl_verifies(&chain, &authorities.apple_root_pem()));
    assert!(!openssl_verifies(&chain, &authorities.android_root_pem()));
}

/// What OpenSSL finds signed by somebody certified under the root.
fn openssl_opens(receipt: &[u8], root_pem: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (root, input) = (dir.path().join("root.pem"), dir.path().join("receipt.der"));
    std::fs::write(&root, root_pem).unwrap();
    std::fs::write(&input, receipt).unwrap();
    let output = Command::new("openssl")
        .args(["cms", "-verify", "-binary", "-inform", "DER", "-in"])
        .arg(input)
        .args(["-purpose", "any"])
        .args(["-attime", &now().as_secs().to_string()])
        .arg("-CAfile")
        .arg(root)
        .output()
        .expect("the tests need the openssl command");
    output.status.success().then_some(output.stdout)
}

#[test]
fn openssl_verifies_the_receipt_of_an_attestation() {
    let (authorities, phone) = apple_phone(None);
    let object = opened(&phone.attest(b"client data", now()).unwrap());
    let content = openssl_opens(&object.receipt, &authorities.apple_root_pem()).unwrap();
    let said = Receipt::read(&object.receipt).unwrap();
    assert_eq!(
        said,
        Receipt {
            app_id: "ABCDE12345.com.example.app".to_owned(),
            leaf: object.leaf,
            client_data_hash: sha256(b"client data"),
            environment: Environment::Development,
            risk_metric: None,
            created_at: now(),
        }
    );
    // The content OpenSSL joined from the chunks is what was read back.
    let contains = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
    assert!(contains(&said.leaf) && contains(b"ATTEST") && contains(b"sandbox"));
    assert_eq!(
        openssl_opens(&object.receipt, &authorities.android_root_pem()),
        None
    );
    let mut changed = object.receipt;
    let at = changed.windows(6).position(|six| six == b"ATTEST").unwrap();
    changed[at] ^= 1;
    assert_eq!(openssl_opens(&changed, &authorities.apple_root_pem()), None);
}

#[test]
fn an_apple_leaf_binds_the_client_data() {
    let (_, phone) = apple_phone(None);
    let client_data = phone.client_data(CHALLENGE, "bank").unwrap();
    assert_eq!(
        String::from_utf8(client_data.clone()).unwrap(),
        format!(
            r#"{{"purpose":"register","challenge":"{}","app_id":"bank","jkt":"{}"}}"#,
            BASE64URL_NOPAD.encode(CHALLENGE),
            PublicKey::from_sec1(phone.session_key().public_point())
                .unwrap()
                .thumbprint()
        )
    );
    let object = opened(&phone.attest(&client_data, now()).unwrap());
    let leaf = certificate(&object.leaf);
    let signed = [&object.authenticator_data[..], &sha256(&client_data)].concat();
    let wanted = [&[0x30, 0x24, 0xa1, 0x22, 0x04, 0x20][..], &sha256(&signed)].concat();
    assert_eq!(extension_value(&leaf, "1.2.840.113635.100.8.2"), wanted);
    assert_eq!(wanted.len(), 38);

    let key_id = HEXLOWER.encode(&phone.key_id());
    assert!(leaf.subject().to_string().contains(&key_id));
    let millis = leaf
        .raw_serial()
        .iter()
        .fold(0, |sum, b| sum << 8 | i64::from(*b));
    assert_eq!(millis, now().as_millis());
    assert!(!leaf.is_ca());
    let intermediate = certificate(&object.intermediate);
    let constraints = intermediate.basic_constraints().unwrap().unwrap().value;
    assert!(constraints.ca);
    assert_eq!(constraints.path_len_constraint, Some(0));
    assert_eq!(
        leaf.signature_algorithm.algorithm.to_id_string(),
        "1.2.840.10045.4.3.2",
        "SHA-256 although the key above is P-384"
    );
}

#[test]
fn authenticator_data_has_every_byte_in_its_place() {
    let (_, phone) = apple_phone(None);
    let data = opened(&phone.attest(b"x", now()).unwrap()).authenticator_data;
    let key = PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap();
    let (x, y) = key.as_bytes()[1..].split_at(32);
    let wanted = [
        &sha256(b"ABCDE12345.com.example.app")[..],
        &[0x40, 0, 0, 0, 0],
        b"appattestdevelop",
        &[0, 32],
        &sha256(key.as_bytes()),
        &HEXLOWER.decode(b"a5010203262001215820").unwrap(),
        x,
        &HEXLOWER.decode(b"225820").unwrap(),
        y,
    ]
    .concat();
    assert_eq!(data, wanted);
    assert_eq!(data.len(), 164, "as on real phones before iOS 27");
}

#[test]
fn an_extension_map_follows_the_key() {
    for flagged in [true, false] {
        let (_, phone) = apple_phone(Some(Extensions {
            validation_category: 4,
            bundle_version: "1".to_owned(),
            flagged,
        }));
        let flags = if flagged { 0xc0 } else { 0x40 };
        let data = opened(&phone.attest(b"x", now()).unwrap()).authenticator_data;
        assert_eq!(data.len(), 226, "as on real phones with iOS 27");
        let assertion = whole_cbor(&phone.assert(b"x").unwrap());
        let asserted = decoded(&assertion["authenticatorData"]);
        for (data, at) in [(&data, 164), (&asserted, 37)] {
            assert_eq!(data[32], flags);
            let map = whole_cbor(&data[at..]);
            assert_eq!(decoded(&map["apple_validation_category_01"]), [4, 0, 0, 0]);
            assert_eq!(map["apple_bundle_version_01"], "1");
        }
    }
}

#[test]
fn assertions_count_up_and_verify_under_the_attested_key() {
    let (_, phone) = apple_phone(None);
    let key = PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap();
    for counter in 1..=3_u8 {
        let assertion = whole_cbor(&phone.assert(b"client data").unwrap());
        let data = decoded(&assertion["authenticatorData"]);
        assert_eq!(data.len(), 37);
        assert_eq!(data[32..], [0x40, 0, 0, 0, counter]);
        let nonce = sha256(&[&data[..], &sha256(b"client data")].concat());
        let signature = decoded(&assertion["signature"]);
        assert_eq!(key.verify_der(&nonce, &signature), Ok(()));
        assert!(key.verify_der(b"other", &signature).is_err());
    }
}

fn vectors() -> PathBuf {
    std::env::var_os("ASSAY_VECTORS")
        .expect("set ASSAY_VECTORS to the directory of the real device vectors")
        .into()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Keys and types without the values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), shape(v))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => json!("string"),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The claims of a proof that jsonwebtoken verified under the key in its own header.
fn verified_claims(proof: &str) -> (jsonwebtoken::Header, Value) {
    let header = jsonwebtoken::decode_header(proof).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(header.jwk.as_ref().unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(proof, &key, &rules)
        .unwrap()
        .claims;
    (header, claims)
}

#[test]
fn a_proof_verifies_and_says_what_it_is_about() {
    let (_, phone) = apple_phone(None);
    let device = Device::apple(phone);
    let uri = "https://assay.example/assay.v1.SessionService/IssueSession";
    let mut dpop = Dpop::new("POST", uri, now())
        .unwrap()
        .with_nonce("n-1")
        .with_access_token("token");
    dpop.body_sha256 = Some(sha256(b"body"));
    dpop.ctr = Some(7);
    let (header, claims) = verified_claims(&device.proof(&dpop).unwrap());
    assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
    assert_eq!(
        claims,
        json!({
            "jti": dpop.jti, "htm": "POST", "htu": uri, "iat": now().as_secs(), "nonce": "n-1",
            "ath": BASE64URL_NOPAD.encode(&sha256(b"token")),
            "bsh": BASE64URL_NOPAD.encode(&sha256(b"body")),
            "ctr": 7,
        })
    );
    let plain = Dpop::new("GET", "https://api.example/", now()).unwrap();
    let (_, claims) = verified_claims(&device.proof(&plain).unwrap());
    assert_eq!(claims.as_object().unwrap().len(), 4);
    assert_ne!(plain.jti, dpop.jti);
}

#[test]
fn an_android_phone_signs_proofs_with_the_key_it_had_attested() {
    let authorities = Authorities::generate(now()).unwrap();
    let phone = android::Phone::new(&authorities, android_options(), now()).unwrap();
    let mut device = Device::android(phone);
    let dpop = Dpop::new("GET", "https://api.example/", now()).unwrap();
    assert!(device.proof(&dpop).is_err());
    let Evidence::Android { certificate_chain } =
        device.evidence(CHALLENGE, "bank", now()).unwrap()
    else {
        panic!("an Android phone sends Android evidence");
    };
    let attested = certificate(&certificate_chain[0]).public_key().raw.to_vec();
    let attested = PublicKey::from_spki_der(&attested).unwrap();
    let (header, _) = verified_claims(&device.proof(&dpop).unwrap());
    let jwk = serde_json::to_value(header.jwk.unwrap()).unwrap();
    let (x, y) = attested.jwk_coordinates();
    assert_eq!(
        (jwk["x"].as_str(), jwk["y"].as_str()),
        (Some(&*x), Some(&*y))
    );
}

#[derive(clap::Parser)]
enum CommandLine {
    Phone(PhoneArgs),
}

/// What `assay phone …` prints, or what it complains of.
fn phone(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let (verb, rest) = arguments.split_first().unwrap();
    let dir = dir.to_str().unwrap();
    let line = [&["phone", verb, "--dir", dir][..], rest].concat();
    let line = ["assay"].iter().chain(&line);
    let CommandLine::Phone(line) =
        CommandLine::try_parse_from(line).map_err(|error| error.to_string())?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run_with(&line, now(), &mut out, &mut err);
    let (out, err) = (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    );
    if code == ExitCode::SUCCESS {
        assert!(err.is_empty());
        Ok(out)
    } else {
        assert_eq!(code, ExitCode::from(2));
        assert!(out.is_empty());
        Err(err)
    }
}

fn register(dir: &Path) -> Value {
    let challenge = BASE64.encode(CHALLENGE);
    let arguments = [
        "register",
        "--app-id",
        "bank",
        "--subject",
        "user-1",
        "--challenge",
        &challenge,
    ];
    let body: Value = serde_json::from_str(&phone(dir, &arguments).unwrap()).unwrap();
    assert_eq!(body["subject"], "user-1");
    assert_eq!(body["app_id"], "bank");
    assert_eq!(body["challenge"], challenge);
    assert_eq!(body.as_object().unwrap().len(), 4);
    body["evidence"].clone()
}

fn header_key(dir: &Path, arguments: &[&str]) -> (PublicKey, Value) {
    let line = phone(dir, arguments).unwrap();
    assert_eq!(line.lines().count(), 1);
    let (header, claims) = verified_claims(line.trim_end());
    let jwk = serde_json::to_value(header.jwk.unwrap()).unwrap();
    let (x, y) = (jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap());
    (PublicKey::from_jwk_coordinates(x, y).unwrap(), claims)
}

#[test]
fn the_command_line_registers_an_android_phone_and_signs_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("pixel");
    let colons = vec!["5A"; 32].join(":");
    let told = phone(
        &dir,
        &["new", "--package", PACKAGE, "--signing-digest", &colons],
    )
    .unwrap();
    assert!(told.contains(&HEXLOWER.encode(&DIGEST)));
    let root = dir.join("authorities/android-root.pem");
    assert!(told.contains(root.to_str().unwrap()));

    let proof = [
        "proof",
        "--uri",
        "https://h/assay.v1.SessionService/IssueSession",
    ];
    let early = phone(&dir, &proof).unwrap_err();
    assert!(early.contains("register first"), "{early}");

    let evidence = register(&dir);
    let chain = evidence["android"]["certificate_chain"].as_array().unwrap();
    let chain: Vec<Vec<u8>> = chain.iter().map(decoded).collect();
    assert!(openssl_verifies(
        &chain,
        &std::fs::read_to_string(root).unwrap()
    ));
    assert!(
        key_description(&chain)
            .windows(32)
            .any(|bytes| bytes == DIGEST)
    );

    let (key, claims) = header_key(&dir, &[&proof[..], &["--nonce", "n"]].concat());
    let attested = certificate(&chain[0]).public_key().raw.to_vec();
    assert_eq!(PublicKey::from_spki_der(&attested), Ok(key));
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["nonce"], "n");

    register(&dir);
    assert_ne!(
        header_key(&dir, &proof).0,
        key,
        "a registration makes a new key"
    );
}

#[test]
fn the_command_line_registers_an_iphone_that_vouches_for_its_session_key() {
    let dir = tempfile::tempdir().unwrap();
    phone(dir.path(), &["new", "--platform", "ios"]).unwrap();
    let apple = register(dir.path())["apple"].clone();
    let object = opened(&decoded(&apple["attestation_object"]));
    let root = std::fs::read_to_string(dir.path().join("authorities/apple-root.pem")).unwrap();
    assert!(openssl_verifies(&[object.leaf, object.intermediate], &root));
    assert_eq!(decoded(&apple["key_id"]), object.authenticator_data[55..87]);
    let client_data: Value = serde_json::from_slice(&decoded(&apple["client_data"])).unwrap();

    let token = dir.path().join("token");
    std::fs::write(&token, "secret-token\n").unwrap();
    let file = [
        "proof",
        "--uri",
        "https://h/",
        "--access-token-file",
        token.to_str().unwrap(),
    ];
    let given = [
        "proof",
        "--uri",
        "https://h/",
        "--access-token",
        "secret-token",
    ];
    for arguments in [file, given] {
        let (key, claims) = header_key(dir.path(), &arguments);
        assert_eq!(client_data["jkt"], key.thumbprint().to_string());
        assert_eq!(
            claims["ath"],
            BASE64URL_NOPAD.encode(&sha256(b"secret-token"))
        );
    }
}

#[test]
fn phones_can_share_authorities_and_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("roots");
    let shared_text = shared.to_str().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    phone(&one, &["new", "--authorities", shared_text]).unwrap();
    let root = std::fs::read(shared.join("apple-root.pem")).unwrap();
    phone(
        &other,
        &["new", "--platform", "ios", "--authorities", shared_text],
    )
    .unwrap();
    assert_eq!(std::fs::read(shared.join("apple-root.pem")).unwrap(), root);
    let again = phone(&one, &["new"]).unwrap_err();
    assert!(again.contains("name another directory"), "{again}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("phone");
    phone(&dir, &["new"]).unwrap();
    register(&dir);
    let mut files = 0;
    for place in [dir.clone(), dir.join("authorities")] {
        for entry in std::fs::read_dir(place).unwrap() {
            let metadata = entry.unwrap().metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode, if metadata.is_dir() { 0o700 } else { 0o600 });
            files += usize::from(metadata.is_file());
        }
    }
    assert_eq!(
        files, 6,
        "a profile, a session key, two roots and their keys"
    );
}

#[test]
fn complaints_are_in_plain_words_and_show_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("nowhere");
    let arguments = [
        "register",
        "--app-id",
        "a",
        "--subject",
        "s",
        "--challenge",
        "AA==",
    ];
    let complaint = phone(&absent, &arguments).unwrap_err();
    assert!(
        complaint.contains("nowhere") && complaint.contains("No such file"),
        "{complaint}"
    );
    let complaint = phone(&absent, &["new", "--signing-digest", "abcd"]).unwrap_err();
    assert!(complaint.contains("64 digits"), "{complaint}");
    phone(dir.path(), &["new"]).unwrap();
    let arguments = [
        "register",
        "--app-id",
        "a",
        "--subject",
        "s",
        "--challenge",
        "?",
    ];
    let complaint = phone(dir.path(), &arguments).unwrap_err();
    assert!(complaint.contains("not base64"), "{complaint}");
    std::fs::write(dir.path().join("phone.json"), "{}").unwrap();
    let arguments = [
        "register",
        "--app-id",
        "a",
        "--subject",
        "s",
        "--challenge",
        "AA==",
    ];
    let complaint = phone(dir.path(), &arguments).unwrap_err();
    assert!(complaint.contains("phone.json"), "{complaint}");

    let line = [
        "phone",
        "proof",
        "--dir",
        "d",
        "--uri",
        "u",
        "--access-token",
        "hunter2",
    ];
    let line = ["assay"].iter().chain(&line);
    let CommandLine::Phone(line) = CommandLine::try_parse_from(line).unwrap();
    assert!(!format!("{line:?}").contains("hunter2"));
}

#[test]
fn help_says_where_the_roots_are_trusted() {
    let help = CommandLine::try_parse_from(["assay", "phone", "--help"]);
    let help = help.map(drop).unwrap_err().to_string();
    let words: Vec<&str> = help.split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains("trusted only where a development configuration names them"),
        "{help}"
    );
}

/// Which extensions a certificate has, in order, and whether they are critical.
fn extensions(certificate: &X509Certificate<'_>) -> Vec<(String, bool)> {
    certificate
        .extensions()
        .iter()
        .map(|extension| (extension.oid.to_id_string(), extension.critical))
        .collect()
}

/// What reads the data of real devices: left out where there is none.
mod real_devices {
    use super::*;

    #[test]
    fn android_certificates_have_the_shape_of_real_ones() {
        let path = vectors().join("android/google-keyattestation/tegu__sdk36__SB_EC_2026_ROOT.pem");
        let text = std::fs::read_to_string(path).unwrap();
        let theirs: Vec<Vec<u8>> = text
            .split("-----END CERTIFICATE-----")
            .filter_map(|block| block.split_once("-----BEGIN CERTIFICATE-----"))
            .map(|(_, body)| body.split_whitespace().collect::<String>())
            .map(|body| BASE64.decode(body.as_bytes()).unwrap())
            .collect();
        let (_, ours) = android_chain(android::Options {
            security_level: SecurityLevel::StrongBox,
            ..android_options()
        });
        assert_eq!(theirs.len(), ours.len());
        for at in [0, 1] {
            let (theirs, ours) = (certificate(&theirs[at]), certificate(&ours[at]));
            assert_eq!(extensions(&theirs), extensions(&ours));
            let usage = "2.5.29.15";
            assert_eq!(
                extension_value(&theirs, usage),
                extension_value(&ours, usage)
            );
        }
        let algorithms = |chain: &[Vec<u8>]| -> Vec<String> {
            let name = |der: &Vec<u8>| {
                certificate(der)
                    .signature_algorithm
                    .algorithm
                    .to_id_string()
            };
            chain.iter().map(name).collect()
        };
        assert_eq!(algorithms(&theirs), algorithms(&ours));

        let (theirs, ours) = (key_description(&theirs), key_description(&ours));
        let (theirs, ours) = (parse_der(&theirs).unwrap().1, parse_der(&ours).unwrap().1);
        let (theirs, ours) = (theirs.as_sequence().unwrap(), ours.as_sequence().unwrap());
        for at in 0..4 {
            assert_eq!(theirs[at].as_u32(), ours[at].as_u32());
        }
        for at in [6, 7] {
            let numbers =
                |list| -> Vec<u32> { tags(list).into_iter().map(|(tag, _)| tag).collect() };
            assert_eq!(numbers(&theirs[at]), numbers(&ours[at]));
        }
        // From purpose to origin: what the key is, not what the phone is.
        assert_eq!(tags(&theirs[7])[..7], tags(&ours[7])[..7]);
    }

    #[test]
    fn receipts_have_the_shape_of_real_ones() {
        /// Up to the first chunk: all of it but the chunk's bytes is the same in every receipt.
        const BEFORE_THE_CHUNK: usize = 58;
        let vector = vectors().join("apple/attestation/a-sit-plus-ios17.5.1-c1888c.json");
        let theirs = opened(&decoded(&json_file(&vector)["attestation"])).receipt;
        let (_, phone) = apple_phone(None);
        let ours = opened(&phone.attest(b"x", now()).unwrap()).receipt;
        assert_eq!(theirs[..BEFORE_THE_CHUNK], ours[..BEFORE_THE_CHUNK]);
        // The ends of signers' set, data, explicit tag and whole.
        assert_eq!(theirs[theirs.len() - 6..], ours[ours.len() - 6..]);
        let said = Receipt::read(&theirs).unwrap();
        assert_eq!(said.risk_metric, None);
        assert_eq!(
            said.leaf,
            opened(&decoded(&json_file(&vector)["attestation"])).leaf
        );
    }

    #[test]
    fn apple_objects_have_the_shape_of_real_ones() {
        let real = vectors().join("apple");
        let (_, phone) = apple_phone(None);

        let vector = json_file(&real.join("attestation/a-sit-plus-ios17.5.1-c1888c.json"));
        let theirs = decoded(&vector["attestation"]);
        let ours = phone.attest(b"x", now()).unwrap();
        assert_eq!(shape(&whole_cbor(&theirs)), shape(&whole_cbor(&ours)));

        let their_leaf = opened(&theirs).leaf;
        let our_leaf = opened(&ours).leaf;
        let (their_leaf, our_leaf) = (certificate(&their_leaf), certificate(&our_leaf));
        // Extended key usage came in 2026, after this vector.
        let mut our_extensions = extensions(&our_leaf);
        our_extensions.retain(|(oid, _)| oid != "2.5.29.37");
        assert_eq!(extensions(&their_leaf), our_extensions);
        let same = "2.5.29.15";
        assert_eq!(
            extension_value(&their_leaf, same),
            extension_value(&our_leaf, same)
        );
        let number = |leaf: &X509Certificate<'_>, oid: &str| -> Vec<u32> {
            let list = parse_der(extension_value(leaf, oid)).unwrap().1;
            tags(&list).into_iter().map(|(tag, _)| tag).collect()
        };
        let app = "1.2.840.113635.100.8.5";
        assert_eq!(number(&their_leaf, app), number(&our_leaf, app));

        let vector = json_file(&real.join("assertion/veehaitch-ios14.4-7bce8e.a1.json"));
        let theirs = decoded(&vector["assertion"]);
        let ours = phone.assert(b"x").unwrap();
        assert_eq!(shape(&whole_cbor(&theirs)), shape(&whole_cbor(&ours)));
    }
}
