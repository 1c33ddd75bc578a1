//! The findings as one JSON object. Its members are stable; what is not known is `null`, and what
//! the evidence says is left out where it cannot be read.

use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;

use super::finding::{Finding, Kind, Told};
use crate::attestation::apple::assertion::AssertionFacts;
use crate::attestation::{AttestedKey, CertificateSummary, Check, Facts, Outcome, android, apple};
use crate::key::sha256;
use crate::policy::{AndroidPosture, ApplePosture, Posture};

#[derive(Serialize)]
struct Document<'a> {
    verdict: &'static str,
    reason: Option<&'static str>,
    certificate_index: Option<usize>,
    checks: Vec<CheckLine<'a>>,
    device: Device<'a>,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    name: &'static str,
    outcome: &'static str,
    seen: &'a str,
    wanted: &'a str,
    certificate_index: Option<usize>,
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Device<'a> {
    platform: &'static str,
    evidence: &'static str,
    examined_at: String,
    certificates: Vec<CertificateLine<'a>>,
    key: Option<Key<'a>>,
    #[serde(flatten)]
    told: Option<Said<'a>>,
}

#[derive(Serialize)]
struct CertificateLine<'a> {
    subject: &'a str,
    issuer: &'a str,
    serial: &'a str,
    key: &'a str,
    signature: &'a str,
    not_before: Option<String>,
    not_after: Option<String>,
}

#[derive(Serialize)]
struct Key<'a> {
    kind: &'a str,
    /// RFC 7638.
    thumbprint: Option<String>,
    /// The uncompressed point, base64.
    x963: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Android(Box<AndroidSaid<'a>>),
    Apple(Box<AppleSaid<'a>>),
    Assertion(AssertionSaid<'a>),
}

#[derive(Serialize)]
struct AndroidSaid<'a> {
    security_level: android::SecurityLevel,
    provisioning: ProvisioningSaid<'a>,
    serials: &'a [String],
    attestation_key_sha256: String,
    root_key_sha256: String,
    posture: Option<AndroidPostureSaid>,
    key_description: &'a android::KeyDescription,
}

#[derive(Serialize)]
struct ProvisioningSaid<'a> {
    kind: &'static str,
    issued: Option<u64>,
    manufacturer: Option<&'a str>,
}

#[derive(Serialize)]
struct AndroidPostureSaid {
    attestation_version: u32,
    keymint_version: u32,
    security_level: android::SecurityLevel,
    device_locked: Option<bool>,
    verified_boot_state: Option<android::VerifiedBootState>,
    verified_boot_key: Option<String>,
    verified_boot_hash: Option<String>,
    os_version: Option<u32>,
    os_patch_level: Option<u32>,
    vendor_patch_level: Option<u32>,
    boot_patch_level: Option<u32>,
    provisioning: &'static str,
    attest_key: bool,
    user_authentication: UserAuthenticationSaid,
}

#[derive(Serialize)]
struct UserAuthenticationSaid {
    none_required: bool,
    password: bool,
    biometric: bool,
    other: bool,
    timeout_seconds: Option<u64>,
    unlocked_device: bool,
    presence: bool,
    confirmation: bool,
}

#[derive(Serialize)]
struct AppleSaid<'a> {
    key_id: String,
    rp_id_hash: String,
    app_id: Option<&'a str>,
    environment: Option<&'static str>,
    sign_count: u32,
    extensions: ExtensionsSaid<'a>,
    os_version: Option<&'a str>,
    os_build: Option<&'a str>,
    os_platform: Option<&'a str>,
    acl_blob: Option<String>,
    leaf_serial: &'a str,
    intermediate_serial: Option<&'a str>,
    leaf_not_before: String,
    leaf_not_after: String,
    /// As sent, base64. The check `receipt` says what became of it.
    receipt: Option<String>,
    posture: Option<ApplePostureSaid>,
}

#[derive(Serialize)]
struct ApplePostureSaid {
    environment: Option<&'static str>,
    platform: Option<String>,
    os_version: Option<String>,
    os_build: Option<String>,
    validation_category: Option<u32>,
    bundle_version: Option<String>,
    boot_rules: bool,
    cd_hash: Option<String>,
    receipt: &'static str,
}

#[derive(Serialize)]
struct AssertionSaid<'a> {
    key_id: Option<String>,
    counter: u32,
    extensions: ExtensionsSaid<'a>,
}

#[derive(Serialize)]
struct ExtensionsSaid<'a> {
    announced: bool,
    validation_category: Option<u32>,
    bundle_version: Option<&'a str>,
    cd_hash: Option<String>,
    cd_hash_type: Option<u8>,
}

/// The document, in ASCII with a line end behind it.
pub(super) fn render(finding: &Finding) -> Result<String, serde_json::Error> {
    let rejection = finding.rejection();
    let document = Document {
        verdict: if rejection.is_none() {
            "accept"
        } else {
            "reject"
        },
        reason: rejection.as_ref().map(|why| why.reason.as_str()),
        certificate_index: rejection.as_ref().and_then(|why| why.certificate_index),
        checks: finding.checks.as_slice().iter().map(check).collect(),
        device: device(finding),
    };
    let mut text = ascii(&serde_json::to_string_pretty(&document)?);
    text.push('\n');
    Ok(text)
}

/// Everything that is not printable ASCII as an escape. Such characters stand inside strings only,
/// and there an escape is the same to a reader of JSON; to a terminal it is harmless.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || character == ' ' || character.is_ascii_graphic() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn check(check: &Check) -> CheckLine<'_> {
    let (outcome, reason) = match check.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed(reason) => ("failed", Some(reason.as_str())),
        Outcome::Monitored(reason) => ("monitored", Some(reason.as_str())),
        Outcome::NotChecked => ("not_checked", None),
    };
    CheckLine {
        name: check.name,
        outcome,
        seen: &check.seen,
        wanted: &check.wanted,
        certificate_index: check.certificate_index,
        reason,
    }
}

fn device(finding: &Finding) -> Device<'_> {
    let (platform, evidence) = match finding.kind {
        Kind::KeyAttestation => ("android", "attestation"),
        Kind::AppAttestation => ("apple", "attestation"),
        Kind::AppAssertion => ("apple", "assertion"),
    };
    Device {
        platform,
        evidence,
        examined_at: finding.at.to_rfc3339(),
        certificates: finding.certificates.iter().map(certificate).collect(),
        key: finding.key.as_ref().map(key),
        told: finding.told.as_ref().map(|told| match told {
            Told::Attestation(facts) => attestation(facts),
            Told::Assertion(facts) => Said::Assertion(assertion(facts, finding.key.as_ref())),
        }),
    }
}

fn certificate(summary: &CertificateSummary) -> CertificateLine<'_> {
    CertificateLine {
        subject: &summary.subject,
        issuer: &summary.issuer,
        serial: &summary.serial,
        key: &summary.key,
        signature: &summary.signature,
        not_before: summary.not_before.map(|at| at.to_rfc3339()),
        not_after: summary.not_after.map(|at| at.to_rfc3339()),
    }
}

fn key(key: &AttestedKey) -> Key<'_> {
    match key {
        AttestedKey::P256(point) => Key {
            kind: "EC P-256",
            thumbprint: Some(point.thumbprint().to_string()),
            x963: Some(BASE64.encode(point.as_bytes())),
        },
        AttestedKey::Other(kind) => Key {
            kind,
            thumbprint: None,
            x963: None,
        },
    }
}

fn attestation(facts: &Facts) -> Said<'_> {
    match (facts, Posture::of(facts)) {
        (Facts::Android(facts), posture) => Said::Android(Box::new(android(facts, posture))),
        (Facts::Apple(facts), posture) => Said::Apple(Box::new(apple(facts, posture))),
    }
}

fn android(facts: &android::Facts, posture: Posture) -> AndroidSaid<'_> {
    let (issued, manufacturer) = match &facts.provisioning {
        android::Provisioning::Remote {
            issued,
            manufacturer,
        } => (*issued, manufacturer.as_deref()),
        android::Provisioning::Factory | android::Provisioning::Other => (None, None),
    };
    AndroidSaid {
        security_level: facts.security_level,
        provisioning: ProvisioningSaid {
            kind: facts.provisioning.as_str(),
            issued,
            manufacturer,
        },
        serials: &facts.serials,
        attestation_key_sha256: HEXLOWER.encode(&facts.attestation_key_sha256),
        root_key_sha256: HEXLOWER.encode(&facts.root_key_sha256),
        posture: match posture {
            Posture::Android(posture) => Some(android_posture(&posture)),
            Posture::Apple(_) => None,
        },
        key_description: &facts.key_description,
    }
}

fn android_posture(posture: &AndroidPosture) -> AndroidPostureSaid {
    let boot = posture.boot.as_ref();
    let user = &posture.user;
    let held = user.authenticators.unwrap_or_default();
    AndroidPostureSaid {
        attestation_version: posture.attestation_version,
        keymint_version: posture.keymint_version,
        security_level: posture.security_level,
        device_locked: boot.map(|boot| boot.device_locked),
        verified_boot_state: boot.map(|boot| boot.state),
        verified_boot_key: boot.map(|boot| HEXLOWER.encode(&boot.key)),
        verified_boot_hash: boot.and_then(|boot| boot.hash.as_deref().map(|h| HEXLOWER.encode(h))),
        os_version: posture.os_version,
        os_patch_level: posture.os_patch_level,
        vendor_patch_level: posture.vendor_patch_level,
        boot_patch_level: posture.boot_patch_level,
        provisioning: posture.provisioning.as_str(),
        attest_key: posture.attest_key,
        user_authentication: UserAuthenticationSaid {
            none_required: user.none_required,
            password: held.password,
            biometric: held.biometric,
            other: held.other,
            timeout_seconds: user.timeout.map(|timeout| timeout.as_secs()),
            unlocked_device: user.unlocked_device,
            presence: user.presence,
            confirmation: user.confirmation,
        },
    }
}

fn apple(facts: &apple::Facts, posture: Posture) -> AppleSaid<'_> {
    AppleSaid {
        key_id: BASE64.encode(&facts.key_id),
        rp_id_hash: HEXLOWER.encode(&facts.rp_id_hash),
        app_id: facts.app_id.as_deref(),
        environment: facts.environment.map(apple::Environment::as_str),
        sign_count: facts.sign_count,
        extensions: extensions(&facts.extensions),
        os_version: facts.os_version.as_deref(),
        os_build: facts.os_build.as_deref(),
        os_platform: facts.platform.as_deref(),
        acl_blob: facts.acl_blob.as_deref().map(|blob| HEXLOWER.encode(blob)),
        leaf_serial: &facts.leaf_serial,
        intermediate_serial: facts.intermediate_serial.as_deref(),
        leaf_not_before: facts.leaf_not_before.to_rfc3339(),
        leaf_not_after: facts.leaf_not_after.to_rfc3339(),
        receipt: facts.receipt.bytes().map(|receipt| BASE64.encode(receipt)),
        posture: match posture {
            Posture::Apple(posture) => Some(apple_posture(posture)),
            Posture::Android(_) => None,
        },
    }
}

fn apple_posture(posture: ApplePosture) -> ApplePostureSaid {
    ApplePostureSaid {
        environment: posture.environment.map(apple::Environment::as_str),
        platform: posture.platform,
        os_version: posture.os_version,
        os_build: posture.os_build,
        validation_category: posture.validation_category,
        bundle_version: posture.bundle_version,
        boot_rules: posture.boot_rules,
        cd_hash: posture.cd_hash.as_deref().map(|hash| HEXLOWER.encode(hash)),
        receipt: posture.receipt.as_str(),
    }
}

fn assertion<'a>(facts: &'a AssertionFacts, key: Option<&AttestedKey>) -> AssertionSaid<'a> {
    let key_id = match key {
        Some(AttestedKey::P256(point)) => Some(BASE64.encode(&sha256(point.as_bytes()))),
        Some(AttestedKey::Other(_)) | None => None,
    };
    AssertionSaid {
        key_id,
        counter: facts.counter,
        extensions: extensions(&facts.extensions),
    }
}

fn extensions(extensions: &apple::Extensions) -> ExtensionsSaid<'_> {
    ExtensionsSaid {
        announced: extensions.announced,
        validation_category: extensions.validation_category,
        bundle_version: extensions.bundle_version.as_deref(),
        cd_hash: extensions
            .cd_hash
            .as_deref()
            .map(|hash| HEXLOWER.encode(hash)),
        cd_hash_type: extensions.cd_hash_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_ascii_leaves_and_nothing_is_lost() {
        let text = "\u{1b}[31m\u{9b}31m\u{7f}\u{202e}é😀\n";
        let json = ascii(&serde_json::to_string(text).unwrap());
        assert!(
            json.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
