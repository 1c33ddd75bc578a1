//! X.509 certificates as the attestation authorities of phones write them.
//!
//! A general certificate library tidies up what real devices do not (key identifiers, orders, which
//! hash goes with which curve); here every byte is chosen.

use time::{OffsetDateTime, UtcDateTime};

use super::der::{self, Der};
use super::key::{Hash, SoftKey};
use super::{Error, key};
use crate::time::Timestamp;

/// Object identifiers by their arcs.
mod arcs {
    pub(super) const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
    pub(super) const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];
    pub(super) const STATE: &[u64] = &[2, 5, 4, 8];
    pub(super) const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
    pub(super) const UNIT: &[u64] = &[2, 5, 4, 11];
    pub(super) const TITLE: &[u64] = &[2, 5, 4, 12];
    pub(super) const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
    pub(super) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
    pub(super) const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
    pub(super) const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
    pub(super) const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
    pub(super) const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
    pub(super) const ECDSA_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
}

/// One attribute of a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    CommonName(&'a str),
    SerialNumber(&'a str),
    State(&'a str),
    Organization(&'a str),
    Unit(&'a str),
    Title(&'a str),
}

/// Which string type a name is written in; Android's authorities and Apple's differ.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    Printable,
    Utf8,
}

/// An encoded name, one attribute per relative name, in the order given.
pub(super) fn name(text: Text, attributes: &[Attribute<'_>]) -> Der {
    let relative = |attribute: &Attribute<'_>| {
        let (arcs, value) = match attribute {
            Attribute::CommonName(value) => (arcs::COMMON_NAME, value),
            Attribute::SerialNumber(value) => (arcs::SERIAL_NUMBER, value),
            Attribute::State(value) => (arcs::STATE, value),
            Attribute::Organization(value) => (arcs::ORGANIZATION, value),
            Attribute::Unit(value) => (arcs::UNIT, value),
            Attribute::Title(value) => (arcs::TITLE, value),
        };
        let value = match text {
            Text::Printable => der::printable(value),
            Text::Utf8 => der::utf8(value),
        };
        der::set(&[der::sequence(&[der::oid(arcs), value])])
    };
    der::sequence(&attributes.iter().map(relative).collect::<Vec<_>>())
}

/// An encoded extension.
pub(super) fn extension(arcs: &[u64], critical: bool, value: &[u8]) -> Der {
    let mut items = vec![der::oid(arcs)];
    if critical {
        items.push(der::boolean(true));
    }
    items.push(der::octets(value));
    der::sequence(&items)
}

/// Basic constraints, critical. `None`: not an authority; `Some(path_length)`: one.
pub(super) fn basic_constraints(authority: Option<Option<u64>>) -> Der {
    let value = match authority {
        None => der::sequence(&[]),
        Some(None) => der::sequence(&[der::boolean(true)]),
        Some(Some(length)) => der::sequence(&[der::boolean(true), der::unsigned(length)]),
    };
    extension(arcs::BASIC_CONSTRAINTS, true, &value)
}

/// The bits of a key usage extension that occur here (RFC 5280, 4.2.1.3).
#[derive(Debug, Clone, Copy)]
pub(super) enum Usage {
    /// digitalSignature.
    Sign,
    /// keyCertSign.
    Certify,
    /// keyCertSign and cRLSign.
    CertifyAndRevoke,
    /// digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment: Apple's leaves.
    AppleLeaf,
}

/// Key usage, critical.
pub(super) fn key_usage(usage: Usage) -> Der {
    let (unused, byte) = match usage {
        Usage::Sign => (7, 0x80),
        Usage::Certify => (2, 0x04),
        Usage::CertifyAndRevoke => (1, 0x06),
        Usage::AppleLeaf => (4, 0xf0),
    };
    extension(arcs::KEY_USAGE, true, &der::named_bits(unused, &[byte]))
}

/// One extended key usage, not critical.
pub(super) fn extended_key_usage(purpose: &[u64]) -> Der {
    extension(
        arcs::EXTENDED_KEY_USAGE,
        false,
        &der::sequence(&[der::oid(purpose)]),
    )
}

/// Subject key identifier. Any stable function of the key serves (RFC 5280, 4.2.1.2).
pub(super) fn subject_key_id(key: &SoftKey) -> Der {
    extension(
        arcs::SUBJECT_KEY_ID,
        false,
        &der::octets(&key_identifier(key)),
    )
}

/// Authority key identifier, by key only.
pub(super) fn authority_key_id(issuer: &SoftKey) -> Der {
    let by_key = der::tlv(0x80, &key_identifier(issuer));
    extension(arcs::AUTHORITY_KEY_ID, false, &der::sequence(&[by_key]))
}

fn key_identifier(key: &SoftKey) -> Vec<u8> {
    let hash = key::sha256(key.public_point());
    hash.into_iter().take(20).collect()
}

/// Who signs a certificate, and how.
pub(super) struct Issuer {
    /// Its name, encoded.
    pub(super) name: Der,
    pub(super) key: SoftKey,
    pub(super) hash: Hash,
}

/// What a certificate says.
pub(super) struct Certificate<'a> {
    /// Big-endian bytes of a number that is not negative.
    pub(super) serial: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// `SubjectPublicKeyInfo`.
    pub(super) spki: &'a [u8],
    pub(super) extensions: &'a [Der],
}

impl Certificate<'_> {
    /// The signed certificate in DER.
    pub(super) fn sign(&self, issuer: &Issuer) -> Result<Der, Error> {
        let algorithm = der::sequence(&[der::oid(match issuer.hash {
            Hash::Sha256 => arcs::ECDSA_SHA256,
            Hash::Sha384 => arcs::ECDSA_SHA384,
        })]);
        let to_be_signed = der::sequence(&[
            // Version 3 is written as 2.
            der::explicit(0, &der::unsigned(2)),
            der::unsigned_bytes(self.serial),
            algorithm.clone(),
            issuer.name.clone(),
            der::sequence(&[instant(self.not_before)?, instant(self.not_after)?]),
            self.subject.to_vec(),
            self.spki.to_vec(),
            der::explicit(3, &der::sequence(self.extensions)),
        ]);
        let signature = issuer.key.sign(issuer.hash, &to_be_signed)?;
        Ok(der::sequence(&[
            to_be_signed,
            algorithm,
            der::bits(&signature),
        ]))
    }
}

/// UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5).
fn instant(at: Timestamp) -> Result<Der, Error> {
    let at: UtcDateTime = OffsetDateTime::from_unix_timestamp(at.as_secs())
        .map_err(|_| Error::Time)?
        .to_utc();
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    match at.year() {
        year @ 1950..=2049 => Ok(der::utc_time(&format!("{:02}{rest}", year % 100))),
        year @ 0..=9999 => Ok(der::generalized_time(&format!("{year:04}{rest}"))),
        _ => Err(Error::Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_change_their_form_in_2050() {
        let at = |text| instant(Timestamp::parse_rfc3339(text).unwrap()).unwrap();
        assert_eq!(at("1970-01-01T00:00:00Z")[2..], *b"700101000000Z");
        assert_eq!(at("2049-12-31T23:59:59Z")[2..], *b"491231235959Z");
        assert_eq!(at("2050-01-01T00:00:00Z")[2..], *b"20500101000000Z");
        assert!(matches!(
            instant(Timestamp::from_millis(i64::MAX)),
            Err(Error::Time)
        ));
    }
}
