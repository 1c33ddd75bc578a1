//! Keys and hand-made tokens.

use assay::key::PublicKey;
use assay::key_directory::{NamedFile, generate_files};
use assay::secret::signing_rng;
use assay::time::Timestamp;
use assay::token::keyring::Keyring;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_320_000_500);

/// Two generations of keys that share one index key, and the keyrings of a fleet before, while and
/// after it rotates.
pub(crate) struct Rotation {
    pub(crate) files: [Vec<NamedFile>; 2],
    pub(crate) before: Keyring,
    pub(crate) during: Keyring,
    pub(crate) after: Keyring,
}

pub(crate) fn rotation() -> Rotation {
    let old = generate_files(NOW).unwrap();
    let mut new = generate_files(Timestamp::from_secs(NOW.as_secs() + 1)).unwrap();
    let index = new
        .iter()
        .position(|(name, _)| name == "index.pem")
        .unwrap();
    new[index] = old
        .iter()
        .find(|(name, _)| name == "index.pem")
        .unwrap()
        .clone();
    let mut both = old.clone();
    both.extend(new.iter().filter(|(name, _)| name != "index.pem").cloned());
    Rotation {
        before: Keyring::from_pem(&old).unwrap(),
        during: Keyring::from_pem(&both).unwrap(),
        after: Keyring::from_pem(&new).unwrap(),
        files: [old, new],
    }
}

pub(crate) fn keyring() -> Keyring {
    Keyring::from_pem(&generate_files(NOW).unwrap()).unwrap()
}

/// A P-256 key of a phone, or of an attacker.
pub(crate) struct ClientKey {
    pair: EcdsaKeyPair,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) public: PublicKey,
}

impl ClientKey {
    pub(crate) fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            pkcs8: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            public: PublicKey::from_sec1(pair.public_key().as_ref()).unwrap(),
            pair,
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.public.jwk_coordinates();
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    }

    /// A compact JWS over exactly these texts, with a genuine signature.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(payload.as_bytes())
        );
        let signature = self.pair.sign(&signing_rng(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

/// Every truncation of `text`, every single-bit flip that is still text, and what sloppy parsers let
/// through.
pub(crate) fn corruptions(text: &str) -> Vec<String> {
    let mut out: Vec<String> = (0..text.len()).map(|end| text[..end].to_owned()).collect();
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            out.push(String::from_utf8(bytes).unwrap());
        }
    }
    for junk in ["=", " ", "\n", "\0", "A", ".", "é"] {
        out.push(format!("{text}{junk}"));
        out.push(format!("{junk}{text}"));
        out.push(text.replacen('.', &format!("{junk}."), 1));
        out.push(text.replacen('.', &format!(".{junk}"), 1));
    }
    out.push(text.to_uppercase());
    out.push(format!("{text}{text}"));
    // Some of these change nothing in a text without dots.
    out.retain(|bad| bad != text);
    out
}

/// Other spellings of the same base64url bytes: the last digit with its unused bits changed.
pub(crate) fn respellings(text: &str) -> Vec<String> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = Vec::new();
    for (place, part) in text.split('.').enumerate() {
        let unused = match part.len() % 4 {
            2 => 4,
            3 => 2,
            _ => continue,
        };
        let last = part.as_bytes()[part.len() - 1];
        let Some(value) = DIGITS.iter().position(|digit| *digit == last) else {
            continue;
        };
        for change in 1..1 << unused {
            let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
            parts[place].pop();
            parts[place].push(char::from(DIGITS[value ^ change]));
            out.push(parts.join("."));
        }
    }
    out
}
