//! Words for the numbers of Android's attestations, for a person. The number always stands beside
//! its word, and alone where this version knows none.
//!
//! Numbers as in the `KeyMint` interface (hardware/interfaces, security/keymint/aidl).

use data_encoding::HEXLOWER;

use crate::attestation::android::{AttestationApplicationId, Field, RootOfTrust, Value};
use crate::time::Timestamp;

type Words = &'static [(u64, &'static str)];

const PURPOSES: Words = &[
    (0, "ENCRYPT"),
    (1, "DECRYPT"),
    (2, "SIGN"),
    (3, "VERIFY"),
    (5, "WRAP_KEY"),
    (6, "AGREE_KEY"),
    (7, "ATTEST_KEY"),
];
const ALGORITHMS: Words = &[
    (1, "RSA"),
    (3, "EC"),
    (4, "ML-DSA"),
    (32, "AES"),
    (33, "TRIPLE_DES"),
    (128, "HMAC"),
];
const BLOCK_MODES: Words = &[(1, "ECB"), (2, "CBC"), (3, "CTR"), (32, "GCM")];
const DIGESTS: Words = &[
    (0, "NONE"),
    (1, "MD5"),
    (2, "SHA-1"),
    (3, "SHA-224"),
    (4, "SHA-256"),
    (5, "SHA-384"),
    (6, "SHA-512"),
];
const PADDINGS: Words = &[
    (1, "NONE"),
    (2, "RSA_OAEP"),
    (3, "RSA_PSS"),
    (4, "RSA_PKCS1_1_5_ENCRYPT"),
    (5, "RSA_PKCS1_1_5_SIGN"),
    (64, "PKCS7"),
];
const CURVES: Words = &[
    (0, "P-224"),
    (1, "P-256"),
    (2, "P-384"),
    (3, "P-521"),
    (4, "CURVE_25519"),
];
const ML_DSA_VARIANTS: Words = &[(1, "ML-DSA-65")];

/// `HardwareAuthenticatorType` is a set of bits, and all of them for "any".
const AUTHENTICATORS: Words = &[(1, "PASSWORD"), (2, "BIOMETRIC")];
const ANY_AUTHENTICATOR: u64 = 0xffff_ffff;

/// `KeymasterVersion` below 100: major times ten plus minor from 41 on, the major alone before.
const KEYMASTER_41: u64 = 41;

/// A label and what stands beside it.
pub(super) type Row = (String, String);

/// The lines that say what one field of an authorization list says.
pub(super) fn field(field: &Field<'_>) -> Vec<Row> {
    let row = |value: String| vec![(field.name.to_owned(), value)];
    match field.value {
        Value::Flag => row("yes".to_owned()),
        Value::Integer(number) => row(integer(field.name, number)),
        Value::Integers(numbers) => {
            let words: Vec<String> = numbers
                .iter()
                .map(|number| integer(field.name, *number))
                .collect();
            row(if words.is_empty() {
                "none".to_owned()
            } else {
                words.join(", ")
            })
        }
        Value::Bytes(bytes) => row(octets(bytes)),
        Value::Identifier(identifier) => row(identifier.text()),
        Value::Origin(origin) => row(format!("{origin} ({})", origin as u64)),
        Value::RootOfTrust(root) => root_of_trust(field.name, root),
        Value::Application(app) => application(field.name, app),
    }
}

fn integer(name: &str, number: u64) -> String {
    let word = match name {
        "purposes" => known(PURPOSES, number),
        "algorithm" => known(ALGORITHMS, number),
        "block_modes" => known(BLOCK_MODES, number),
        "digests" | "rsa_oaep_mgf_digests" => known(DIGESTS, number),
        "paddings" => known(PADDINGS, number),
        "ec_curve" => known(CURVES, number),
        "ml_dsa_variant" => known(ML_DSA_VARIANTS, number),
        "user_auth_type" => authenticators(number),
        "os_version" => os_version(number),
        "os_patch_level" | "vendor_patch_level" | "boot_patch_level" => patch_level(number),
        "active_date_time"
        | "origination_expire_date_time"
        | "usage_expire_date_time"
        | "creation_date_time" => instant(number),
        "key_size" => return format!("{number} bits"),
        "auth_timeout" => return format!("{number} s"),
        _ => None,
    };
    beside(word, number)
}

fn beside(word: Option<String>, number: u64) -> String {
    word.map_or_else(|| number.to_string(), |word| format!("{word} ({number})"))
}

fn known(words: Words, number: u64) -> Option<String> {
    words
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, word)| (*word).to_owned())
}

fn authenticators(bits: u64) -> Option<String> {
    if bits == ANY_AUTHENTICATOR {
        return Some("ANY".to_owned());
    }
    let all = AUTHENTICATORS.iter().fold(0, |all, (bit, _)| all | bit);
    if bits == 0 || bits & !all != 0 {
        return None;
    }
    let words: Vec<&str> = AUTHENTICATORS
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| *word)
        .collect();
    Some(words.join(" or "))
}

/// `MMmmss`.
fn os_version(number: u64) -> Option<String> {
    match number {
        0 => Some("pre-release".to_owned()),
        1..=999_999 => Some(format!(
            "Android {}.{}.{}",
            number / 10_000,
            number / 100 % 100,
            number % 100
        )),
        _ => None,
    }
}

/// `YYYYMM` or `YYYYMMDD`; devices write either where the other belongs, and day 0.
fn patch_level(number: u64) -> Option<String> {
    let month = |number: u64| format!("{}-{:02}", number / 100, number % 100);
    match number {
        200_000..=209_999 => Some(month(number)),
        20_000_000..=20_999_999 => Some(format!("{}-{:02}", month(number / 100), number % 100)),
        _ => None,
    }
}

fn instant(millis: u64) -> Option<String> {
    let at = Timestamp::from_millis(i64::try_from(millis).ok()?).to_rfc3339();
    // Beyond the year 9999 the time is a number itself.
    at.contains('T').then_some(at)
}

/// What an `attestation_version` stands for.
pub(super) fn attestation_version(version: u64) -> String {
    let word = match version {
        1 => Some("Keymaster 2".to_owned()),
        2 => Some("Keymaster 3".to_owned()),
        3 => Some("Keymaster 4".to_owned()),
        4 => Some("Keymaster 4.1".to_owned()),
        _ => keymint(version),
    };
    beside(word, version)
}

/// What a `keymint_version` stands for.
pub(super) fn keymint_version(version: u64) -> String {
    let word = match version {
        1..=4 => Some(format!("Keymaster {version}")),
        KEYMASTER_41 => Some("Keymaster 4.1".to_owned()),
        _ => keymint(version),
    };
    beside(word, version)
}

fn keymint(version: u64) -> Option<String> {
    let whole = version.is_multiple_of(100) && (100..=900).contains(&version);
    whole.then(|| format!("KeyMint {}", version / 100))
}

/// Octets in hex.
pub(super) fn octets(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "empty".to_owned()
    } else {
        HEXLOWER.encode(bytes)
    }
}

/// As [`octets`], with the text beside it where it is one: many apps send text as a challenge.
pub(super) fn octets_or_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic) => {
            format!("{} (\"{text}\")", octets(bytes))
        }
        _ => octets(bytes),
    }
}

fn root_of_trust(name: &str, root: &RootOfTrust) -> Vec<Row> {
    let state = root.verified_boot_state;
    let mut rows = vec![
        (name.to_owned(), String::new()),
        ("  device_locked".to_owned(), yes_or_no(root.device_locked)),
        (
            "  verified_boot_state".to_owned(),
            format!("{state} ({})", state as u64),
        ),
        (
            "  verified_boot_key".to_owned(),
            octets(&root.verified_boot_key),
        ),
    ];
    if let Some(hash) = &root.verified_boot_hash {
        rows.push(("  verified_boot_hash".to_owned(), octets(hash)));
    }
    rows
}

fn yes_or_no(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

fn application(name: &str, app: &AttestationApplicationId) -> Vec<Row> {
    let mut rows = vec![(name.to_owned(), String::new())];
    for package in &app.packages {
        let value = format!("{} (version {})", package.name, package.version);
        rows.push(("  package".to_owned(), value));
    }
    for digest in &app.signature_digests {
        rows.push(("  signature_digest".to_owned(), octets(digest)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_keeps_its_digits_beside_its_word() {
        for (name, number, said) in [
            ("purposes", 2, "SIGN (2)"),
            ("purposes", 99, "99"),
            ("digests", 4, "SHA-256 (4)"),
            ("algorithm", 3, "EC (3)"),
            ("os_version", 150_000, "Android 15.0.0 (150000)"),
            ("os_version", 0, "pre-release (0)"),
            ("os_patch_level", 202_511, "2025-11 (202511)"),
            ("vendor_patch_level", 20_251_105, "2025-11-05 (20251105)"),
            ("vendor_patch_level", 202_511, "2025-11 (202511)"),
            ("boot_patch_level", 7, "7"),
            ("user_auth_type", 3, "PASSWORD or BIOMETRIC (3)"),
            ("user_auth_type", 0xffff_ffff, "ANY (4294967295)"),
            ("user_auth_type", 4, "4"),
            ("user_auth_type", 0, "0"),
            ("creation_date_time", 0, "1970-01-01T00:00:00Z (0)"),
            ("creation_date_time", u64::MAX, "18446744073709551615"),
            ("key_size", 256, "256 bits"),
        ] {
            assert_eq!(integer(name, number), said, "{name}");
        }
    }

    #[test]
    fn versions_have_the_names_of_their_interfaces() {
        assert_eq!(attestation_version(3), "Keymaster 4 (3)");
        assert_eq!(attestation_version(300), "KeyMint 3 (300)");
        assert_eq!(keymint_version(41), "Keymaster 4.1 (41)");
        assert_eq!(keymint_version(350), "350");
    }
}
