//! The pinned roots: two Google keys and two Apple certificates built in, or others for test
//! authorities.

use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::key::sha256;

pub mod android;
pub mod apple;

pub use android::{AndroidRoot, AndroidRoots, RootError};
pub use apple::AppleRoots;

/// The roots evidence may lead to. The default trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// For Android Key Attestation.
    pub android: AndroidRoots,
    /// For Apple App Attest.
    pub apple: AppleRoots,
}

/// A pinned root as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedRoot {
    /// The system it is for.
    pub system: System,
    /// What it signs.
    pub purpose: &'static str,
    /// Its subject.
    pub subject: String,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub spki_sha256: [u8; 32],
}

/// The system a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Android.
    Android,
    /// Apple's.
    Apple,
}

impl Roots {
    /// Every pinned root.
    #[must_use]
    pub fn pinned(&self) -> Vec<PinnedRoot> {
        let android = self.android.as_slice().iter().map(|root| PinnedRoot {
            system: System::Android,
            purpose: "attestations",
            subject: name(root.subject()),
            spki_sha256: root.key_sha256(),
        });
        let attesting = self.apple.anchors().iter().map(|a| ("attestations", a));
        let signing = self.apple.receipt_anchors().iter().map(|a| ("receipts", a));
        let apple = attesting
            .chain(signing)
            .map(|(purpose, anchor)| PinnedRoot {
                system: System::Apple,
                purpose,
                subject: name(&sequence(&anchor.subject)),
                spki_sha256: sha256(&sequence(&anchor.subject_public_key_info)),
            });
        android.chain(apple).collect()
    }
}

/// A name in its written form.
fn name(der: &[u8]) -> String {
    match X509Name::from_der(der) {
        Ok(([], name)) => name.to_string(),
        Ok(_) | Err(_) => "unreadable".to_owned(),
    }
}

/// The anchors keep the content of their two SEQUENCEs only.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().copied().skip_while(|octet| *octet == 0);
    let length: Vec<u8> = significant.collect();
    let mut der = vec![0x30];
    // X.690, 8.1.3: lengths below 128 are one octet, others say of how many they are.
    match length.as_slice() {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(0));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn the_built_in_roots_are_shown_by_name_and_key() {
        let roots = Roots {
            android: AndroidRoots::google(),
            apple: AppleRoots::apple(),
        };
        let shown: Vec<(String, String)> = roots
            .pinned()
            .iter()
            .map(|root| (root.subject.clone(), HEXLOWER.encode(&root.spki_sha256)))
            .collect();
        let [rsa, ca1, apple, receipts] = shown.as_slice() else {
            panic!("{shown:?}");
        };
        assert!(rsa.0.contains("f92009e853b6b045"), "{rsa:?}");
        assert!(rsa.1.starts_with("feb2ea7551ee316e"));
        assert!(ca1.0.contains("Key Attestation CA1"), "{ca1:?}");
        assert!(ca1.1.starts_with("3ee44512a1af2beb"));
        assert!(apple.0.contains("Apple App Attestation Root CA"));
        assert!(apple.1.starts_with("1ae751fd29896d0f"), "{apple:?}");
        assert!(receipts.0.contains("Apple Root CA - G3"));
        assert!(receipts.1.starts_with("9b219d0f"), "{receipts:?}");
    }
}
