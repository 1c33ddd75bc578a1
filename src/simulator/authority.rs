//! The authorities behind the software devices: one root for Android, one for Apple.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::certificate::{
    Attribute, Certificate, Issuer, Text, Usage, authority_key_id, basic_constraints, key_usage,
    name, subject_key_id,
};
use super::der::Der;
use super::key::{Curve, Hash, SoftKey};
use super::pem;
use super::receipt::{Receipt, ReceiptSigner};
use crate::secret::{Secret, random};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a root lives; Apple's has 25 years.
const ROOT_DAYS: u32 = 25 * 365;
/// As the long-lived intermediate under Google's 2025 root.
const DROID_CA2_DAYS: u32 = 3 * 365;
/// As the short-lived intermediate below it.
const DROID_CA3_DAYS: u32 = 70;
/// As Apple's intermediate.
const APPLE_CA_DAYS: u32 = 10 * 365;
/// How long before it was made a certificate begins to be valid.
const BACKDATED_DAYS: u32 = 1;

/// A certificate authority with its chain.
pub(super) struct Authority {
    pub(super) issuer: Issuer,
    /// Its own certificate first, then upwards; ends with the root.
    pub(super) chain: Vec<Der>,
}

impl Authority {
    fn root(key: SoftKey, names: &[Attribute<'_>], now: Timestamp) -> Result<Self, Error> {
        let subject = name(Text::Utf8, names);
        let issuer = Issuer {
            name: subject.clone(),
            key,
            hash: Hash::Sha384,
        };
        let certificate = Certificate {
            serial: &serial()?,
            subject: &subject,
            not_before: now.before(DAY * BACKDATED_DAYS),
            not_after: now.after(DAY * ROOT_DAYS),
            spki: &issuer.key.spki(),
            extensions: &[
                basic_constraints(Some(None)),
                key_usage(Usage::CertifyAndRevoke),
                subject_key_id(&issuer.key),
            ],
        }
        .sign(&issuer)?;
        Ok(Self {
            issuer,
            chain: vec![certificate],
        })
    }

    /// An authority below this one, with a fresh key.
    pub(super) fn subordinate(&self, wanted: &Subordinate) -> Result<Self, Error> {
        let key = SoftKey::generate(wanted.curve)?;
        let mut extensions = vec![
            subject_key_id(&key),
            authority_key_id(&self.issuer.key),
            basic_constraints(Some(wanted.path_length)),
            key_usage(wanted.usage),
        ];
        extensions.extend(wanted.more.iter().cloned());
        let certificate = Certificate {
            serial: &wanted.serial,
            subject: &wanted.subject,
            not_before: wanted.not_before,
            not_after: wanted.not_after,
            spki: &key.spki(),
            extensions: &extensions,
        }
        .sign(&self.issuer)?;
        let mut chain = vec![certificate];
        chain.extend(self.chain.iter().cloned());
        Ok(Self {
            issuer: Issuer {
                name: wanted.subject.clone(),
                key,
                hash: wanted.hash,
            },
            chain,
        })
    }

    /// A root from what [`Authority::certificate_pem`] and [`Authority::key_pem`] wrote.
    fn from_pem(certificate: &str, key: &str, names: &[Attribute<'_>]) -> Result<Self, Error> {
        let der = pem::decode(pem::CERTIFICATE, certificate)?;
        let key = pem::decode(pem::PRIVATE_KEY, key)?;
        Ok(Self {
            issuer: Issuer {
                name: name(Text::Utf8, names),
                key: SoftKey::from_pkcs8(Curve::P384, &key)?,
                hash: Hash::Sha384,
            },
            chain: vec![der],
        })
    }

    fn certificate_pem(&self) -> String {
        let own = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        pem::encode(pem::CERTIFICATE, own)
    }

    fn key_pem(&self) -> Result<Secret<String>, Error> {
        let key = self.issuer.key.to_pkcs8()?;
        Ok(Secret::new(pem::encode(pem::PRIVATE_KEY, key.expose())))
    }
}

/// What an authority below another one is to be.
pub(super) struct Subordinate {
    pub(super) subject: Der,
    pub(super) serial: Vec<u8>,
    pub(super) curve: Curve,
    /// The hash it signs with.
    pub(super) hash: Hash,
    pub(super) usage: Usage,
    pub(super) path_length: Option<u64>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// Extensions besides key identifiers, constraints and usage.
    pub(super) more: Vec<Der>,
}

const ANDROID_ROOT: [Attribute<'_>; 2] = [
    Attribute::CommonName("Simulated Key Attestation CA"),
    Attribute::Organization("Assay simulator"),
];
const APPLE_ROOT: [Attribute<'_>; 2] = [
    Attribute::CommonName("Simulated App Attestation Root CA"),
    Attribute::Organization("Assay simulator"),
];

/// The authorities of the software devices. Their roots are worth nothing anywhere but where a
/// development configuration, a demonstration or a test names them.
#[derive(Clone)]
pub struct Authorities {
    pub(super) android_remote: Arc<Authority>,
    pub(super) apple: Arc<Authority>,
    pub(super) android_root: Arc<Authority>,
    pub(super) receipts: Arc<ReceiptSigner>,
    apple_root: Arc<Authority>,
}

/// The two roots with their keys, as text to be kept. The intermediates are made anew each time:
/// some of them live for weeks only.
pub struct StoredRoots {
    /// Certificate of the Android root, PEM.
    pub android_certificate: String,
    /// Its private key, PEM (PKCS#8).
    pub android_key: Secret<String>,
    /// Certificate of the Apple-like root, PEM.
    pub apple_certificate: String,
    /// Its private key, PEM (PKCS#8).
    pub apple_key: Secret<String>,
}

impl Authorities {
    /// Fresh roots and intermediates, valid from a day before `now`.
    ///
    /// # Errors
    /// [`Error`] when the generator fails or `now` is no date a certificate can hold.
    pub fn generate(now: Timestamp) -> Result<Self, Error> {
        let root = |names| Authority::root(SoftKey::generate(Curve::P384)?, names, now);
        Self::under(root(&ANDROID_ROOT)?, root(&APPLE_ROOT)?, now)
    }

    /// Kept roots with fresh intermediates, valid from a day before `now`.
    ///
    /// # Errors
    /// [`Error`] when a text is not what [`Self::to_stored`] wrote.
    pub fn from_stored(stored: &StoredRoots, now: Timestamp) -> Result<Self, Error> {
        let android = Authority::from_pem(
            &stored.android_certificate,
            stored.android_key.expose(),
            &ANDROID_ROOT,
        )?;
        let apple = Authority::from_pem(
            &stored.apple_certificate,
            stored.apple_key.expose(),
            &APPLE_ROOT,
        )?;
        Self::under(android, apple, now)
    }

    /// The roots, to be kept.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when a key cannot be encoded.
    pub fn to_stored(&self) -> Result<StoredRoots, Error> {
        Ok(StoredRoots {
            android_certificate: self.android_root_pem(),
            android_key: self.android_root.key_pem()?,
            apple_certificate: self.apple_root_pem(),
            apple_key: self.apple_root.key_pem()?,
        })
    }

    /// The Android root certificate, PEM.
    #[must_use]
    pub fn android_root_pem(&self) -> String {
        self.android_root.certificate_pem()
    }

    /// The Apple-like root certificate, PEM.
    #[must_use]
    pub fn apple_root_pem(&self) -> String {
        self.apple_root.certificate_pem()
    }

    /// A receipt as Apple's server would sign it, under the Apple-like root.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the library fails.
    pub fn receipt(&self, receipt: &Receipt) -> Result<Vec<u8>, Error> {
        self.receipts.sign(receipt)
    }

    fn under(android: Authority, apple: Authority, now: Timestamp) -> Result<Self, Error> {
        // The names of the real intermediates: remotely provisioned chains are told by them. They
        // make nobody trust these; the root key does, and it is another one.
        let droid = |common, curve, days| {
            let names = [
                Attribute::Organization("Google LLC"),
                Attribute::CommonName(common),
            ];
            intermediate(name(Text::Printable, &names), curve, days, now)
        };
        let ca2 = android.subordinate(&droid("Droid CA2", Curve::P384, DROID_CA2_DAYS)?)?;
        let ca3 = ca2.subordinate(&droid("Droid CA3", Curve::P256, DROID_CA3_DAYS)?)?;
        let apple_names = [
            Attribute::CommonName("Simulated App Attestation CA 1"),
            Attribute::Organization("Assay simulator"),
        ];
        let app_attestation = Subordinate {
            // Apple's intermediate signs leaves with a P-384 key and SHA-256.
            hash: Hash::Sha256,
            usage: Usage::CertifyAndRevoke,
            path_length: Some(0),
            ..intermediate(
                name(Text::Utf8, &apple_names),
                Curve::P384,
                APPLE_CA_DAYS,
                now,
            )?
        };
        Ok(Self {
            android_remote: Arc::new(ca3),
            apple: Arc::new(apple.subordinate(&app_attestation)?),
            android_root: Arc::new(android),
            receipts: Arc::new(ReceiptSigner::under(&apple, now)?),
            apple_root: Arc::new(apple),
        })
    }
}

fn intermediate(
    subject: Der,
    curve: Curve,
    days: u32,
    now: Timestamp,
) -> Result<Subordinate, Error> {
    Ok(Subordinate {
        subject,
        serial: serial()?,
        curve,
        hash: match curve {
            Curve::P256 => Hash::Sha256,
            Curve::P384 => Hash::Sha384,
        },
        usage: Usage::Certify,
        path_length: None,
        not_before: now.before(DAY * BACKDATED_DAYS),
        not_after: now.after(DAY * days),
        more: Vec::new(),
    })
}

/// A serial number of 16 bytes.
fn serial() -> Result<Vec<u8>, Error> {
    Ok(positive(random::<16>()?).to_vec())
}

/// Makes a serial number of all its bytes: the first is neither zero nor would it make the number
/// negative (RFC 5280, 4.1.2.2).
pub(super) fn positive<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_roots_come_back_as_they_were() {
        let now = Timestamp::from_secs(1_790_000_000);
        let made = Authorities::generate(now).unwrap();
        let kept =
            Authorities::from_stored(&made.to_stored().unwrap(), now.after(DAY * 400)).unwrap();
        assert_eq!(made.android_root_pem(), kept.android_root_pem());
        assert_eq!(made.apple_root_pem(), kept.apple_root_pem());
        assert_eq!(
            made.apple_root.issuer.key.public_point(),
            kept.apple_root.issuer.key.public_point()
        );
    }
}
