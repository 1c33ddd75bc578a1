//! Certificates read for their contents. Whether to believe them is decided in `chain`.

use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::KeyUsage;
use x509_parser::public_key::PublicKey as X509Key;
use x509_parser::time::ASN1Time;

use super::printable;
use crate::attestation::text::steers;
use crate::attestation::{AttestedKey, CertificateSummary};
use crate::key::PublicKey;
use crate::time::Timestamp;

const NONCE: Oid<'static> = oid!(1.2.840.113635.100.8.2);
const APP: Oid<'static> = oid!(1.2.840.113635.100.8.5);
const ACL_BLOB: Oid<'static> = oid!(1.2.840.113635.100.8.6);
const SYSTEM: Oid<'static> = oid!(1.2.840.113635.100.8.7);

/// What stands before the 32 bytes of the nonce: a sequence of one octet string tagged 1.
const NONCE_PREFIX: [u8; 6] = [0x30, 0x24, 0xa1, 0x22, 0x04, 0x20];

/// Field of the app extension: the App ID.
const APP_ID: u32 = 1204;

/// Fields of the system extension.
const PLATFORM: u32 = 1026;
const OS_VERSION: u32 = 1400;
const OS_BUILD: u32 = 1403;

/// Longest text shown of a name in a certificate.
const NAME_CHARS_MAX: usize = 256;

/// A certificate of `x5c` that could be read to its last byte.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

/// What the nonce extension of a leaf says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nonce {
    Is([u8; 32]),
    Missing,
    Repeated,
    Misshapen,
}

/// What the undocumented system extension says; signals only.
#[derive(Debug, Default)]
pub(super) struct System {
    pub(super) os_version: Option<String>,
    pub(super) os_build: Option<String>,
    pub(super) platform: Option<String>,
}

impl<'a> Certificate<'a> {
    /// Reads one; `None` when it is not DER of a certificate, or has bytes behind it.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Self(certificate)),
            _ => None,
        }
    }

    pub(super) fn not_before(&self) -> Timestamp {
        instant(&self.0.validity().not_before)
    }

    pub(super) fn not_after(&self) -> Timestamp {
        instant(&self.0.validity().not_after)
    }

    /// Minimal lowercase hex.
    pub(super) fn serial(&self) -> String {
        let hex = data_encoding::HEXLOWER.encode(self.0.raw_serial());
        let digits = hex.trim_start_matches('0');
        if digits.is_empty() { "0" } else { digits }.to_owned()
    }

    /// The subject's key; only a P-256 one can be a device key.
    pub(super) fn key(&self) -> AttestedKey {
        PublicKey::from_spki_der(self.0.public_key().raw).map_or_else(
            |_| AttestedKey::Other(self.key_description()),
            AttestedKey::P256,
        )
    }

    /// Whether the key may sign data, and never certificates: `digitalSignature` set, not an
    /// authority by any of its extensions.
    pub(super) fn is_signing_leaf(&self) -> bool {
        let signs = |usage: &KeyUsage| {
            usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
        };
        self.usage_allows(signs, false)
            && self
                .0
                .basic_constraints()
                .is_ok_and(|constraints| constraints.is_none_or(|found| !found.value.ca))
    }

    /// Whether the key may sign certificates, as far as `keyUsage` goes.
    pub(super) fn may_sign_certificates(&self) -> bool {
        self.usage_allows(KeyUsage::key_cert_sign, true)
    }

    fn usage_allows(&self, wanted: impl Fn(&KeyUsage) -> bool, when_absent: bool) -> bool {
        match self.0.key_usage() {
            Ok(Some(usage)) => wanted(usage.value),
            Ok(None) => when_absent,
            Err(_) => false,
        }
    }

    /// The nonce Apple certified.
    pub(super) fn nonce(&self) -> Nonce {
        let mut found = self.values(NONCE);
        match (found.next(), found.next()) {
            (None, _) => Nonce::Missing,
            (Some(_), Some(_)) => Nonce::Repeated,
            (Some(value), None) => value
                .strip_prefix(&NONCE_PREFIX)
                .and_then(|nonce| nonce.try_into().ok())
                .map_or(Nonce::Misshapen, Nonce::Is),
        }
    }

    /// Every App ID in the clear, as bytes.
    pub(super) fn app_ids(&self) -> Vec<&'a [u8]> {
        let fields = self.values(APP).flat_map(tagged_fields);
        fields
            .filter(|(tag, _)| *tag == APP_ID)
            .map(|(_, value)| value)
            .collect()
    }

    /// What the leaf says of the system it was made on.
    pub(super) fn system(&self) -> System {
        let fields: Vec<_> = self.values(SYSTEM).flat_map(tagged_fields).collect();
        let text = |wanted: u32| {
            let mut found = fields.iter().filter(|(tag, _)| *tag == wanted);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => printable(value),
                _ => None,
            }
        };
        System {
            os_version: text(OS_VERSION),
            os_build: text(OS_BUILD),
            platform: text(PLATFORM),
        }
    }

    /// Whether the leaf names macOS as its system, however often.
    pub(super) fn names_mac(&self) -> bool {
        self.values(SYSTEM)
            .flat_map(tagged_fields)
            .any(|(tag, value)| tag == PLATFORM && value.starts_with(b"macos"))
    }

    /// The access control list of the key's boot state, where there is exactly one.
    pub(super) fn acl_blob(&self) -> Option<&'a [u8]> {
        let mut found = self.values(ACL_BLOB);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Whether it has this extension exactly once, with this value.
    pub(super) fn is_marked(&self, oid: Oid<'static>, value: &[u8]) -> bool {
        let mut found = self.values(oid);
        found.next() == Some(value) && found.next().is_none()
    }

    /// Whether it was issued under this name, DER, with this serial number.
    pub(super) fn is_named(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.0.issuer().as_raw() == issuer && self.0.raw_serial() == serial
    }

    /// The certificate, described for people.
    pub(super) fn summary(&self) -> CertificateSummary {
        CertificateSummary {
            subject: shown(&self.0.subject().to_string()),
            issuer: shown(&self.0.issuer().to_string()),
            serial: self.serial(),
            key: self.key_description(),
            signature: self.signature_description(),
            not_before: Some(self.not_before()),
            not_after: Some(self.not_after()),
        }
    }

    fn values(&self, oid: Oid<'static>) -> impl Iterator<Item = &'a [u8]> + use<'_, 'a> {
        let extensions = self.0.iter_extensions();
        extensions
            .filter(move |extension| extension.oid == oid)
            .map(|extension| extension.value)
    }

    fn key_description(&self) -> String {
        let info = self.0.public_key();
        match info.parsed() {
            Ok(X509Key::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
            Ok(X509Key::EC(_)) => {
                let curve = info.algorithm.parameters.as_ref();
                let curve = curve.and_then(|any| any.as_oid().ok());
                match curve.map(|oid| oid.to_id_string()).as_deref() {
                    Some("1.2.840.10045.3.1.7") => "EC P-256".to_owned(),
                    Some("1.3.132.0.34") => "EC P-384".to_owned(),
                    Some("1.3.132.0.35") => "EC P-521".to_owned(),
                    Some(other) => format!("EC {other}"),
                    None => "EC".to_owned(),
                }
            }
            _ => info.algorithm.algorithm.to_id_string(),
        }
    }

    fn signature_description(&self) -> String {
        let oid = self.0.signature_algorithm.algorithm.to_id_string();
        match oid.as_str() {
            "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256".to_owned(),
            "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384".to_owned(),
            "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512".to_owned(),
            "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption".to_owned(),
            _ => oid,
        }
    }
}

fn instant(time: &ASN1Time) -> Timestamp {
    Timestamp::from_secs(time.timestamp())
}

/// A name for people, bounded, with what could steer a terminal replaced.
fn shown(name: &str) -> String {
    name.chars()
        .take(NAME_CHARS_MAX)
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The fields of a sequence of explicitly tagged primitives: number and content. A field of another
/// form is passed over, so that it cannot hide the ones behind it.
fn tagged_fields(value: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = match Any::from_der(value) {
        Ok(([], any)) if any.header.tag() == Tag::Sequence => any.data,
        _ => &[],
    };
    let fields = std::iter::from_fn(move || {
        let (behind, field) = Any::from_der(rest).ok()?;
        rest = behind;
        Some(field)
    });
    fields.filter_map(|field| {
        let (after, content) = Any::from_der(field.data).ok()?;
        let explicit = field.header.class() == Class::ContextSpecific && after.is_empty();
        explicit.then_some((field.header.tag().0, content.data))
    })
}
