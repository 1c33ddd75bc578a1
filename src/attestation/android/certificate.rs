//! The structure of one certificate (RFC 5280, 4.1), borrowed from its bytes.
//!
//! The walk is our own because genuine certificates break rules a general parser insists on: a leaf
//! may have dates that are no dates, extensions whose content is rubbish, BOOLEANs of 1. Only what a
//! verdict depends on is read, and it is read from the very bytes the signature covers.

use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::der::{DerError, Element, Reader, Tag};
use super::name::Name;
use crate::attestation::{AttestedKey, CertificateSummary};
use crate::key::{PublicKey, sha256};
use crate::time::Timestamp;

/// Serial numbers have at most 20 octets (RFC 5280, 4.1.2.2), and one more for the sign.
const SERIAL_BYTES_MAX: usize = 21;
/// More than twice as many as in any genuine certificate.
const EXTENSIONS_MAX: usize = 24;
/// Version 3, the only one with extensions.
const V3: u64 = 2;

/// A certificate as far as it matters here.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    /// What the signature covers.
    pub(super) to_be_signed: &'a [u8],
    pub(super) serial: &'a [u8],
    pub(super) issuer: Name<'a>,
    pub(super) subject: Name<'a>,
    not_before: Element<'a>,
    not_after: Element<'a>,
    pub(super) spki: Spki<'a>,
    pub(super) extensions: Vec<Extension<'a>>,
    /// `AlgorithmIdentifier` inside the signed part and beside it, whole.
    pub(super) inner_algorithm: &'a [u8],
    pub(super) outer_algorithm: &'a [u8],
    /// The OID of the latter.
    pub(super) algorithm_oid: &'a [u8],
    /// Whether its parameters are absent or NULL.
    pub(super) plain_parameters: bool,
    pub(super) signature: &'a [u8],
}

/// A `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spki<'a> {
    pub(super) raw: &'a [u8],
    /// Content of the `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    /// The key, from the BIT STRING.
    pub(super) key: &'a [u8],
}

/// An extension; its value is not looked into here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate with nothing behind it.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, DerError> {
        let mut outermost = Reader::new(der);
        let mut outer = outermost.sequence()?;
        outermost.finish()?;
        let signed = outer.expect(Tag::SEQUENCE)?;
        let algorithm = outer.expect(Tag::SEQUENCE)?;
        let signature = bit_string(&mut outer)?;
        outer.finish()?;

        let mut fields = signed.inside();
        let mut version = fields.expect(Tag::explicit(0))?.inside();
        if version.unsigned()? != V3 {
            return Err(DerError("a version other than 3"));
        }
        version.finish()?;
        let serial = serial(fields.expect(Tag::INTEGER)?.content)?;
        let inner_algorithm = fields.expect(Tag::SEQUENCE)?.raw;
        let issuer = Name::new(fields.expect(Tag::SEQUENCE)?.raw);
        let mut validity = fields.sequence()?;
        let (not_before, not_after) = (validity.next()?, validity.next()?);
        validity.finish()?;
        let subject = Name::new(fields.expect(Tag::SEQUENCE)?.raw);
        let spki = Spki::parse(fields.expect(Tag::SEQUENCE)?)?;
        // The optional unique identifiers between key and extensions occur nowhere and are refused.
        let extensions = match fields.optional(Tag::explicit(3))? {
            Some(explicit) => extensions(explicit)?,
            None => Vec::new(),
        };
        fields.finish()?;

        let (algorithm_oid, plain_parameters) = algorithm_identifier(algorithm)?;
        Ok(Self {
            to_be_signed: signed.raw,
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            extensions,
            inner_algorithm,
            outer_algorithm: algorithm.raw,
            algorithm_oid,
            plain_parameters,
            signature,
        })
    }

    /// All extensions of this kind. More than one is always a reason to refuse.
    pub(super) fn extensions_of<'s>(
        &'s self,
        oid: &'s [u8],
    ) -> impl Iterator<Item = &'a [u8]> + 's {
        self.extensions
            .iter()
            .filter(move |extension| extension.oid == oid)
            .map(|extension| extension.value)
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer.raw == self.subject.raw
    }

    /// Start and end of validity; `None` where the field is no date.
    pub(super) fn validity(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (date(self.not_before), date(self.not_after))
    }

    /// Minimal lowercase hex of the serial number: the form the status list is looked up by.
    pub(super) fn serial_hex(&self) -> String {
        minimal_hex(self.serial)
    }

    pub(super) fn summary(&self) -> CertificateSummary {
        let (not_before, not_after) = self.validity();
        CertificateSummary {
            subject: self.subject.text(),
            issuer: self.issuer.text(),
            serial: self.serial_hex(),
            key: self.spki.description(),
            signature: super::signature::describe(self.algorithm_oid),
            not_before,
            not_after,
        }
    }
}

impl<'a> Spki<'a> {
    fn parse(element: Element<'a>) -> Result<Self, DerError> {
        let mut fields = element.inside();
        let algorithm = fields.expect(Tag::SEQUENCE)?.content;
        let key = bit_string(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            raw: element.raw,
            algorithm,
            key,
        })
    }

    /// Reads one with nothing behind it.
    pub(super) fn from_der(der: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(der);
        let element = reader.expect(Tag::SEQUENCE).ok()?;
        reader.finish().ok()?;
        Self::parse(element).ok()
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        sha256(self.raw)
    }

    /// E.g. `EC P-256`, `RSA 4096`, `ML-DSA-65`.
    pub(super) fn description(&self) -> String {
        super::signature::describe_key(self)
    }

    pub(super) fn attested_key(&self) -> AttestedKey {
        PublicKey::from_spki_der(self.raw).map_or_else(
            |_| AttestedKey::Other(self.description()),
            AttestedKey::P256,
        )
    }
}

fn bit_string<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DerError> {
    match reader.expect(Tag::BIT_STRING)?.content.split_first() {
        Some((0, bits)) => Ok(bits),
        _ => Err(DerError("a BIT STRING that is not whole octets")),
    }
}

fn serial(content: &[u8]) -> Result<&[u8], DerError> {
    match content.first() {
        None => Err(DerError("a serial number without content")),
        Some(first) if first & 0x80 != 0 => Err(DerError("a negative serial number")),
        Some(_) if content.len() > SERIAL_BYTES_MAX => Err(DerError("a serial number too long")),
        Some(_) => Ok(content),
    }
}

fn algorithm_identifier(element: Element<'_>) -> Result<(&[u8], bool), DerError> {
    let mut fields = element.inside();
    let oid = fields.expect(Tag::OID)?.content;
    let plain = fields.is_empty() || (fields.null().is_ok() && fields.is_empty());
    Ok((oid, plain))
}

fn extensions(explicit: Element<'_>) -> Result<Vec<Extension<'_>>, DerError> {
    let mut wrapper = explicit.inside();
    let mut list = wrapper.sequence()?;
    wrapper.finish()?;
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == EXTENSIONS_MAX {
            return Err(DerError("more extensions than any genuine certificate has"));
        }
        let mut fields = list.sequence()?;
        let oid = fields.expect(Tag::OID)?.content;
        let critical = match fields.optional(Tag::BOOLEAN)? {
            Some(flag) => Reader::new(flag.raw).boolean()?,
            None => false,
        };
        let value = fields.octet_string()?;
        fields.finish()?;
        found.push(Extension {
            oid,
            critical,
            value,
        });
    }
    Ok(found)
}

fn date(element: Element<'_>) -> Option<Timestamp> {
    let (rest, time) = ASN1Time::from_der(element.raw).ok()?;
    rest.is_empty()
        .then(|| Timestamp::from_secs(time.timestamp()))
}

/// Lowercase hex without leading zeros, as a number is written; zero is `0`.
fn minimal_hex(bytes: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(bytes);
    match hex.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_written_as_numbers() {
        assert_eq!(minimal_hex(&[0, 0x09, 0x63]), "963");
        assert_eq!(minimal_hex(&[0x16, 0x58]), "1658");
        assert_eq!(minimal_hex(&[0, 0]), "0");
        assert!(serial(&[0x80]).is_err());
        assert!(serial(&[1; 22]).is_err());
        assert!(serial(&[]).is_err());
    }
}
