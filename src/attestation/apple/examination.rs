//! Every check of an attestation, in order.

use data_encoding::HEXLOWER;

use super::auth_data::{self, Attested};
use super::certificate::{Certificate, Nonce};
use super::object::{self, Object};
use super::receipt::{self, Beside, ReceiptEvidence};
use super::{Attestation, Environment, Facts, chain, printable};
use crate::attestation::{
    AppIdentity, AppleApp, AttestedKey, Checks, Examination, Examiner, Facts as AnyFacts, Given,
    Trust,
};
use crate::key::{PublicKey, sha256};
use crate::reason::Reason;
use crate::time::Timestamp;

/// `fmt` of App Attest.
const FORMAT: &str = "apple-appattest";

/// Most bytes shown of one value. The longest genuine one, the COSE key, has 77.
const SHOWN_BYTES_MAX: usize = 128;

/// The one access control list a key on macOS may have (System Integrity Protection on, Full
/// Security boot), as Apple documents it; DER.
const MAC_ACL_BLOB: &[u8] = &[
    0x30, 0x40, 0x0c, 0x02, 0x31, 0x31, 0x30, 0x3a, 0x30, 0x09, 0x0c, 0x02, 0x6f, 0x6b, 0xa1, 0x03,
    0x01, 0x01, 0xff, 0x30, 0x09, 0x0c, 0x02, 0x6f, 0x61, 0xa1, 0x03, 0x01, 0x01, 0xff, 0x30, 0x0b,
    0x0c, 0x04, 0x6f, 0x64, 0x65, 0x6c, 0xa1, 0x03, 0x01, 0x01, 0xff, 0x30, 0x15, 0x0c, 0x04, 0x6f,
    0x73, 0x67, 0x6e, 0xa0, 0x06, 0x0c, 0x04, 0x72, 0x73, 0x65, 0x63, 0x30, 0x05, 0xa6, 0x03, 0x02,
    0x01, 0x01,
];

/// Runs every check that can be made with what is given.
pub(in crate::attestation) fn examine(
    attestation: &Attestation,
    given: Given<'_>,
    trust: Trust<'_>,
    now: Timestamp,
) -> Examination {
    let mut examination = Examination {
        checks: Checks::default(),
        certificates: Vec::new(),
        key: None,
        facts: None,
        at: now,
        made_by: Examiner,
    };
    let checks = &mut examination.checks;
    let Some(object) = read_object(checks, &attestation.object) else {
        return examination;
    };
    let auth_data = read_auth_data(checks, object.auth_data);
    let certificates = read_certificates(checks, &object.x5c);
    check_chain(checks, &object.x5c, &certificates, trust, now);

    let leaf = certificates.first().and_then(Option::as_ref);
    let key = leaf.map(|leaf| check_leaf(checks, leaf));
    if let Some(leaf) = leaf {
        check_challenge(checks, leaf, object.auth_data, given.binding);
        check_boot_state(checks, leaf);
    }
    if let Some(AttestedKey::P256(key)) = &key {
        check_key_id(checks, key, &attestation.key_id);
    }
    if let Some(data) = &auth_data {
        check_credential(checks, data, key.as_ref(), &attestation.key_id);
        check_app(checks, data, leaf, given.app);
        check_environment(checks, data, given.app);
    }
    if let (Some(leaf), Some(data)) = (leaf, auth_data) {
        let intermediate = certificates.get(1).and_then(Option::as_ref);
        let mut facts = facts(leaf, data, given.app);
        facts.intermediate_serial = intermediate.map(Certificate::serial);
        let beside = Beside {
            facts: &facts,
            key: key.as_ref(),
            client_data_hash: given.binding,
        };
        facts.receipt = receipt::examine(object.receipt, beside, &trust.roots.apple, now);
        // Whatever it is, the attestation stands without it: policy says whether it has to be good.
        let seen = facts.receipt.described();
        checks.note("receipt", None, Ok(()), (seen, "judged by policy alone"));
        examination.facts = Some(AnyFacts::Apple(Box::new(facts)));
    }
    examination.key = key;
    examination.certificates = certificates
        .iter()
        .flatten()
        .map(Certificate::summary)
        .collect();
    examination
}

fn read_object<'a>(checks: &mut Checks, bytes: &'a [u8]) -> Option<Object<'a>> {
    const WANTED: &str = "strict CBOR with fmt, attStmt and authData";
    match object::attestation(bytes) {
        Ok(object) => {
            let seen = format!("{} bytes", bytes.len());
            checks.note("object", None, Ok(()), (seen, WANTED));
            let seen = printable(object.format.as_bytes()).unwrap_or_default();
            let same = wanted(object.format == FORMAT, Reason::EvidenceMalformed);
            checks.note("format", None, same, (seen, FORMAT));
            Some(object)
        }
        Err(error) => {
            let failed = Err(Reason::EvidenceMalformed);
            checks.note("object", None, failed, (error.to_string(), WANTED));
            None
        }
    }
}

fn read_auth_data(checks: &mut Checks, bytes: &[u8]) -> Option<Attested> {
    const WANTED: &str = "header, attested key, then nothing or one extension map";
    let read = auth_data::attested(bytes);
    let seen = match &read {
        Ok(_) => format!("{} bytes", bytes.len()),
        Err(error) => error.to_string(),
    };
    let passed = wanted(read.is_ok(), Reason::EvidenceMalformed);
    checks.note("authenticator_data", None, passed, (seen, WANTED));
    read.ok()
}

/// Reads each certificate of `x5c`; the unreadable ones are noted and leave a gap.
fn read_certificates<'a>(checks: &mut Checks, x5c: &[&'a [u8]]) -> Vec<Option<Certificate<'a>>> {
    let mut certificates = Vec::new();
    for (index, der) in x5c.iter().enumerate() {
        let certificate = Certificate::parse(der);
        if certificate.is_none() {
            let failed = Err(Reason::EvidenceMalformed);
            let facts = ("unreadable", "one DER certificate");
            checks.note("certificate", index, failed, facts);
        }
        certificates.push(certificate);
    }
    certificates
}

fn check_chain(
    checks: &mut Checks,
    x5c: &[&[u8]],
    certificates: &[Option<Certificate<'_>>],
    trust: Trust<'_>,
    now: Timestamp,
) {
    const UNTRUSTED: Reason = Reason::AttestationChainUntrusted;
    for (index, certificate) in certificates.iter().enumerate() {
        let Some(certificate) = certificate else {
            continue;
        };
        let (from, to) = (certificate.not_before(), certificate.not_after());
        // Certificates are dated in whole seconds; the last one counts.
        let valid = from.as_secs() <= now.as_secs() && now.as_secs() <= to.as_secs();
        let facts = (format!("{from} to {to}"), format!("valid at {now}"));
        checks.note("validity", index, wanted(valid, UNTRUSTED), facts);
    }
    const WANTED: &str = "leaf and intermediate, leading to a trusted root";
    match chain::verify(x5c, &trust.roots.apple, now) {
        Ok(()) => checks.note("chain", None, Ok(()), ("2 certificates", WANTED)),
        Err(error) => checks.note("chain", None, Err(UNTRUSTED), (error.to_string(), WANTED)),
    };
    if let Some(intermediate) = certificates.get(1).and_then(Option::as_ref) {
        let may = intermediate.may_sign_certificates();
        let seen = if may { "allowed" } else { "not allowed" };
        let facts = (seen, "keyUsage allows keyCertSign");
        checks.note("issuer_usage", 1, wanted(may, UNTRUSTED), facts);
    }
}

/// The leaf's own properties; gives the key it certifies.
fn check_leaf(checks: &mut Checks, leaf: &Certificate<'_>) -> AttestedKey {
    let key = leaf.key();
    let (passed, seen) = match &key {
        AttestedKey::P256(_) => (Ok(()), "EC P-256".to_owned()),
        AttestedKey::Other(kind) => (Err(Reason::AttestationKeyRejected), kind.clone()),
    };
    checks.note("leaf_key", 0, passed, (seen, "EC P-256"));
    let signing = leaf.is_signing_leaf();
    let seen = if signing {
        "signing leaf"
    } else {
        "another use"
    };
    let passed = wanted(signing, Reason::AttestationKeyRejected);
    let facts = (seen, "keyUsage digitalSignature, not an authority");
    checks.note("leaf_usage", 0, passed, facts);
    key
}

/// The nonce in the leaf is what binds the object to the challenge, and `authData` to the leaf.
fn check_challenge(
    checks: &mut Checks,
    leaf: &Certificate<'_>,
    auth_data: &[u8],
    client_data_hash: Option<&[u8]>,
) {
    const NAME: &str = "challenge";
    const MISMATCH: Result<(), Reason> = Err(Reason::AttestationChallengeMismatch);
    let misfit = match leaf.nonce() {
        Nonce::Is(seen) => {
            let Some(client_data_hash) = client_data_hash else {
                checks.not_checked(NAME, hex(&seen));
                return;
            };
            let expected = sha256(&[auth_data, client_data_hash].concat());
            let passed = wanted(seen == expected, Reason::AttestationChallengeMismatch);
            checks.note(NAME, 0, passed, (hex(&seen), hex(&expected)));
            return;
        }
        Nonce::Missing => "no nonce extension",
        Nonce::Repeated => "more than one nonce extension",
        Nonce::Misshapen => "a nonce extension of another form",
    };
    checks.note(NAME, 0, MISMATCH, (misfit, "exactly one nonce extension"));
}

/// Only macOS states a boot state that is documented. The platform field is not documented itself;
/// without it the system is taken for one that states none, as every one before 2026.
fn check_boot_state(checks: &mut Checks, leaf: &Certificate<'_>) {
    if !leaf.names_mac() {
        return;
    }
    let blob = leaf.acl_blob();
    let passed = wanted(blob == Some(MAC_ACL_BLOB), Reason::BootStateRejected);
    let seen = blob.map_or_else(|| "none".to_owned(), hex);
    checks.note("boot_state", 0, passed, (seen, hex(MAC_ACL_BLOB)));
}

fn check_key_id(checks: &mut Checks, key: &PublicKey, key_id: &[u8; 32]) {
    let certified = sha256(key.as_bytes());
    let passed = wanted(certified == *key_id, Reason::AttestationKeyRejected);
    checks.note("key_id", 0, passed, (hex(key_id), hex(&certified)));
}

fn check_credential(
    checks: &mut Checks,
    data: &Attested,
    key: Option<&AttestedKey>,
    key_id: &[u8; 32],
) {
    const REJECTED: Reason = Reason::AttestationKeyRejected;
    let same = wanted(data.credential_id == *key_id, REJECTED);
    let facts = (hex(&data.credential_id), hex(key_id));
    checks.note("credential_id", None, same, facts);
    if let Some(AttestedKey::P256(key)) = key {
        let expected = auth_data::cose_key(key);
        let same = wanted(data.cose_key.as_slice() == expected, REJECTED);
        let facts = (hex(&data.cose_key), hex(&expected));
        checks.note("cose_key", None, same, facts);
    }
    let unused = wanted(data.header.counter == 0, REJECTED);
    checks.note(
        "counter",
        None,
        unused,
        (data.header.counter.to_string(), "0"),
    );
}

fn check_app(
    checks: &mut Checks,
    data: &Attested,
    leaf: Option<&Certificate<'_>>,
    app: Option<&AppIdentity>,
) {
    note_app(
        checks,
        &data.header.rp_id_hash,
        app.map(|app| app.apple.as_ref()),
    );
    let certified = leaf.map(Certificate::app_ids).unwrap_or_default();
    let same = |id: &&&[u8]| sha256(id) == data.header.rp_id_hash;
    // One line, however many there are: before its chain is believed, anybody can write a leaf.
    let other = certified.iter().find(|id| !same(id));
    if let Some(certified) = other.or(certified.first()) {
        let passed = wanted(other.is_none(), Reason::AttestationAppMismatch);
        let seen = printable(certified).unwrap_or_else(|| hex(certified));
        let facts = (seen, format!("SHA-256 {}", hex(&data.header.rp_id_hash)));
        checks.note("certified_app", 0, passed, facts);
    }
}

/// Notes whether `rp_id_hash` is the app's; the outer `None` is "not said", the inner one "there is
/// no such app on Apple's systems".
pub(super) fn note_app(checks: &mut Checks, rp_id_hash: &[u8; 32], app: Option<Option<&AppleApp>>) {
    let seen = format!("SHA-256 {}", hex(rp_id_hash));
    let (passed, expected) = match app {
        None => return checks.not_checked("app", seen),
        Some(None) => (false, "no app on Apple's systems".to_owned()),
        Some(Some(app)) => {
            let id = app_id(app);
            let hash = sha256(id.as_bytes());
            (hash == *rp_id_hash, format!("{id}, SHA-256 {}", hex(&hash)))
        }
    };
    let passed = wanted(passed, Reason::AttestationAppMismatch);
    checks.note("app", None, passed, (seen, expected));
}

fn check_environment(checks: &mut Checks, data: &Attested, app: Option<&AppIdentity>) {
    const NAME: &str = "environment";
    const MISMATCH: Reason = Reason::AttestationEnvironmentMismatch;
    let expected = app.and_then(|app| app.apple.as_ref());
    let expected = expected.map(|app| app.environment);
    match (Environment::from_aaguid(data.aaguid), expected) {
        (None, _) => {
            let facts = (hex(&data.aaguid), "a known environment");
            checks.note(NAME, None, Err(MISMATCH), facts);
        }
        (Some(seen), None) => checks.not_checked(NAME, seen.as_str()),
        (Some(seen), Some(expected)) => {
            let facts = (seen.as_str(), expected.as_str());
            checks.note(NAME, None, wanted(seen == expected, MISMATCH), facts);
        }
    }
}

fn facts(leaf: &Certificate<'_>, data: Attested, app: Option<&AppIdentity>) -> Facts {
    let rp_id_hash = data.header.rp_id_hash;
    let certified = leaf.app_ids().into_iter().find_map(printable);
    let expected = app.and_then(|app| app.apple.as_ref()).map(app_id);
    let system = leaf.system();
    Facts {
        key_id: data.credential_id,
        rp_id_hash,
        app_id: certified
            .into_iter()
            .chain(expected)
            .find(|id| sha256(id.as_bytes()) == rp_id_hash),
        environment: Environment::from_aaguid(data.aaguid),
        sign_count: data.header.counter,
        extensions: data.extensions,
        os_version: system.os_version,
        os_build: system.os_build,
        platform: system.platform,
        acl_blob: leaf.acl_blob().map(<[u8]>::to_vec),
        leaf_serial: leaf.serial(),
        intermediate_serial: None,
        leaf_not_before: leaf.not_before(),
        leaf_not_after: leaf.not_after(),
        receipt: ReceiptEvidence::Absent,
    }
}

impl Facts {
    /// Whether the key is bound to the boot state that Apple documents for the Mac.
    #[must_use]
    pub fn states_mac_boot_rules(&self) -> bool {
        self.acl_blob.as_deref() == Some(MAC_ACL_BLOB)
    }
}

fn app_id(app: &AppleApp) -> String {
    format!("{}.{}", app.team_id, app.bundle_id)
}

fn wanted(passed: bool, otherwise: Reason) -> Result<(), Reason> {
    if passed { Ok(()) } else { Err(otherwise) }
}

/// Bytes for people; the beginning of what is longer than anything genuine.
fn hex(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES_MAX) {
        Some(beginning) if beginning.len() < bytes.len() => {
            format!("{}… ({} bytes)", HEXLOWER.encode(beginning), bytes.len())
        }
        _ => HEXLOWER.encode(bytes),
    }
}
