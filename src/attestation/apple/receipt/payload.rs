//! What a receipt says: a set of numbered fields.

use std::collections::BTreeMap;

use super::{Kind, ReceiptRefusal};
use crate::attestation::AttestedKey;
use crate::attestation::apple::ber::{OCTET_STRING, Reader, SEQUENCE, SET};
use crate::attestation::apple::certificate::Certificate;
use crate::attestation::apple::{Environment, printable};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// The fields in use, by their numbers.
mod number {
    pub(super) const APP_ID: u32 = 2;
    pub(super) const KEY: u32 = 3;
    pub(super) const CLIENT_DATA_HASH: u32 = 4;
    /// A token for Apple's own use.
    pub(super) const TOKEN: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const ENVIRONMENT: u32 = 7;
    pub(super) const CREATED_AT: u32 = 12;
    pub(super) const RISK_METRIC: u32 = 17;
    pub(super) const NOT_BEFORE: u32 = 19;
    pub(super) const EXPIRES_AT: u32 = 21;
}

/// The fields whose meaning is known.
const KNOWN: &[u32] = &[
    number::APP_ID,
    number::KEY,
    number::CLIENT_DATA_HASH,
    number::TOKEN,
    number::KIND,
    number::ENVIRONMENT,
    number::CREATED_AT,
    number::RISK_METRIC,
    number::NOT_BEFORE,
    number::EXPIRES_AT,
];

/// Version of every field in every genuine receipt.
const VERSION: u32 = 1;

/// Most fields of one receipt; genuine ones have at most ten.
const FIELDS_MAX: usize = 32;

/// Longest date: `2024-02-07T21:08:56.308Z` has 24 characters.
const DATE_BYTES_MAX: usize = 32;

/// Longest risk metric: ten digits hold every number of 32 bits.
const METRIC_DIGITS_MAX: usize = 10;

/// What a receipt says, as far as it is understood.
pub(super) struct Payload {
    pub(super) app_id: String,
    pub(super) key: PublicKey,
    pub(super) client_data_hash: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) environment: Option<Environment>,
    pub(super) created_at: Timestamp,
    pub(super) risk_metric: Option<u32>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
    pub(super) unknown: Vec<u32>,
}

/// Reads a payload to its last byte.
pub(super) fn parse(content: &[u8]) -> Result<Payload, ReceiptRefusal> {
    let fields = Fields::read(content)?;
    Ok(Payload {
        app_id: fields.wanted(number::APP_ID, printable)?,
        key: fields.wanted(number::KEY, certified_key)?,
        client_data_hash: fields.wanted(number::CLIENT_DATA_HASH, |hash| Some(hash.to_vec()))?,
        kind: fields.wanted(number::KIND, kind)?,
        environment: fields.allowed(number::ENVIRONMENT, environment)?,
        created_at: fields.wanted(number::CREATED_AT, date)?,
        risk_metric: fields.allowed(number::RISK_METRIC, metric)?,
        not_before: fields.allowed(number::NOT_BEFORE, date)?,
        expires_at: fields.wanted(number::EXPIRES_AT, date)?,
        unknown: fields.unknown(),
    })
}

struct Fields<'a>(BTreeMap<u32, &'a [u8]>);

impl<'a> Fields<'a> {
    /// Every field by its number. A field that stands twice is refused: which one counts would be
    /// up to the reader.
    fn read(content: &'a [u8]) -> Result<Self, ReceiptRefusal> {
        let mut outside = Reader::new(content);
        let mut set = outside.enter(SET)?;
        outside.finish()?;
        let mut found = BTreeMap::new();
        while !set.is_empty() {
            if found.len() == FIELDS_MAX {
                return Err(ReceiptRefusal::Malformed("there are too many fields"));
            }
            let mut field = set.enter(SEQUENCE)?;
            let number = field.unsigned()?;
            let version = field.unsigned()?;
            let value = field.expect(OCTET_STRING)?.content;
            field.finish()?;
            if version != VERSION && KNOWN.contains(&number) {
                return Err(ReceiptRefusal::Field(number));
            }
            if found.insert(number, value).is_some() {
                return Err(ReceiptRefusal::FieldTwice(number));
            }
        }
        Ok(Self(found))
    }

    /// A field that has to be there and well formed.
    fn wanted<T>(
        &self,
        number: u32,
        read: impl Fn(&'a [u8]) -> Option<T>,
    ) -> Result<T, ReceiptRefusal> {
        self.allowed(number, read)?
            .ok_or(ReceiptRefusal::FieldMissing(number))
    }

    /// A field that has to be well formed if it is there.
    fn allowed<T>(
        &self,
        number: u32,
        read: impl Fn(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, ReceiptRefusal> {
        self.0
            .get(&number)
            .map(|value| read(value).ok_or(ReceiptRefusal::Field(number)))
            .transpose()
    }

    fn unknown(&self) -> Vec<u32> {
        let numbers = self.0.keys().copied();
        numbers.filter(|number| !KNOWN.contains(number)).collect()
    }
}

/// The attested key. It is documented as the key, and every genuine receipt has the whole leaf.
fn certified_key(der: &[u8]) -> Option<PublicKey> {
    match Certificate::parse(der)?.key() {
        AttestedKey::P256(key) => Some(key),
        AttestedKey::Other(_) => None,
    }
}

fn kind(value: &[u8]) -> Option<Kind> {
    match value {
        b"ATTEST" => Some(Kind::Attest),
        b"RECEIPT" => Some(Kind::Receipt),
        _ => None,
    }
}

fn environment(value: &[u8]) -> Option<Environment> {
    match value {
        b"production" => Some(Environment::Production),
        b"sandbox" => Some(Environment::Development),
        _ => None,
    }
}

/// RFC 3339 in UTC. Genuine dates have two or three digits behind the second's point.
fn date(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let fits = text.len() <= DATE_BYTES_MAX && text.ends_with('Z');
    fits.then(|| Timestamp::parse_rfc3339(text))?
}

fn metric(value: &[u8]) -> Option<u32> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let fits = (1..=METRIC_DIGITS_MAX).contains(&value.len());
    let text = std::str::from_utf8(value).ok()?;
    (digits && fits).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_any_fraction_and_no_offset() {
        let at = |text: &str| date(text.as_bytes()).map(Timestamp::as_millis);
        assert_eq!(at("2020-08-16T13:44:24.32Z"), Some(1_597_585_464_320));
        assert_eq!(at("2020-08-16T13:44:24.320Z"), Some(1_597_585_464_320));
        assert_eq!(at("2020-08-16T13:44:24Z"), Some(1_597_585_464_000));
        for bad in [
            "",
            "Z",
            "2020-08-16T13:44:24.32",
            "2020-08-16T13:44:24.32+00:00",
            "2020-08-16T25:44:24.32Z",
            "2020-08-16T13:44:24.00000000000000000Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_metric_is_digits_only() {
        assert_eq!(metric(b"0"), Some(0));
        assert_eq!(metric(b"15"), Some(15));
        assert_eq!(metric(b"4294967295"), Some(u32::MAX));
        for bad in [
            &b""[..],
            b"4294967296",
            b"+1",
            b"-1",
            b"1 ",
            b"1.0",
            b"00000000001",
        ] {
            assert_eq!(metric(bad), None);
        }
    }
}
