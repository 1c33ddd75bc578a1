//! FindDevices: devices by something else than their subject.

use std::str::FromStr;

use super::{DevicePage, Engine, Failure, PageRequest};
use crate::id::{BUCKETS, Bucket, DeviceId, InvalidId};
use crate::key::Thumbprint;
use crate::reason::Reason;
use crate::store::{Admission, IndexRange, Key, keys};

/// Most hex digits of a serial number: twenty bytes (RFC 5280, 4.1.2.2) and the zero byte in front
/// that some tools print.
const SERIAL_DIGITS_MAX: usize = 42;

/// Members of an index that are asked of every bucket at once. The devices of most certificates are
/// few; those of an intermediate one may be a good part of the fleet, and a whole page of every bucket
/// would be a hundred thousand ids for the hundred that are shown.
const FEW: usize = 4;

/// The serial number of a certificate, in minimal lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial(String);

impl FromStr for Serial {
    type Err = InvalidId;

    /// From hex as people copy it: any case, with or without leading zeros, with colons or spaces
    /// between its digits.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = hex_digits(text, SERIAL_DIGITS_MAX)?;
        let minimal = match digits.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        Ok(Self(minimal.to_owned()))
    }
}

/// The SHA-256 of an attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

impl FromStr for KeyDigest {
    type Err = InvalidId;

    /// From 64 hex digits, in any case, with colons or spaces between them.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = hex_digits(text, 64)?;
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes());
        let bytes = bytes.map_err(|_| InvalidId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }
}

/// One to so many hex digits, in lowercase, without colons and spaces.
fn hex_digits(text: &str, digits_max: usize) -> Result<String, InvalidId> {
    // Each digit with one separator behind it, at most.
    if text.len() > 2 * digits_max {
        return Err(InvalidId);
    }
    let digits = text.chars().filter(|c| !matches!(c, ':' | ' '));
    let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
    let fits = (1..=digits_max).contains(&digits.len());
    if fits && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(InvalidId)
    }
}

/// By what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Its id.
    Id(DeviceId),
    /// A key it has or had.
    Key(Thumbprint),
    /// A certificate above the leaf of its attestation.
    Serial(Serial),
    /// The key its attestation was signed with.
    AttestationKey(KeyDigest),
}

/// The request.
#[derive(Debug, Clone)]
pub struct FindDevices {
    /// By what.
    pub by: By,
    /// Which page.
    pub page: PageRequest<DeviceId>,
}

/// Devices, in the order of their ids. Two trips to the store; one by an id.
///
/// The owner of a key stays its owner when the device moves on to another key, so a key of long ago
/// still finds its device. Certificates are looked up in the index of every bucket at once; one more
/// trip where many devices of a bucket have the same. A device whose record cannot be read is named.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, request: FindDevices) -> Result<DevicePage, Failure> {
    let page = request.page;
    let behind = |id: &DeviceId| page.after.is_none_or(|after| *id > after);
    let mut found: Vec<DeviceId> = match &request.by {
        By::Id(id) => Some(*id).into_iter().filter(behind).collect(),
        By::Key(key) => owner(engine, key)
            .await?
            .into_iter()
            .filter(behind)
            .collect(),
        By::Serial(Serial(serial)) => {
            indexed(engine, page, |bucket| {
                keys::devices_by_serial(bucket, serial)
            })
            .await?
        }
        By::AttestationKey(KeyDigest(key)) => {
            let name = |bucket| keys::devices_by_attestation_key(bucket, key);
            indexed(engine, page, name).await?
        }
    };
    let more = found.len() > page.size;
    found.truncate(page.size);
    let next = found.last().copied().filter(|_| more);
    DevicePage::load(engine, &found, next).await
}

/// The device that owns a key.
async fn owner(engine: &Engine, key: &Thumbprint) -> Result<Option<DeviceId>, Failure> {
    let ask = Admission {
        owner_of: vec![keys::key_owner(key)],
        ..Admission::default()
    };
    let owners = engine.store.admit(ask).await?.owners;
    let owner = owners.into_iter().next().flatten();
    let id = owner.map(|owner| DeviceId::from_bytes(&owner));
    id.transpose().map_err(|_| Reason::Internal.into())
}

/// The ids behind the page before that stand in an index, in order: one more than fits the page, where
/// there are so many.
async fn indexed(
    engine: &Engine,
    page: PageRequest<DeviceId>,
    name: impl Fn(Bucket) -> Key,
) -> Result<Vec<DeviceId>, Failure> {
    let wanted = page.size.saturating_add(1);
    // An id begins with its bucket, so buckets in order give ids in order.
    let first = page.after.map_or(0, |after| after.bucket().number());
    let range = |bucket, limit| {
        let after = page.after.filter(|after| after.bucket() == bucket);
        IndexRange {
            key: name(bucket),
            after: after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()),
            limit,
        }
    };
    let buckets: Vec<Bucket> = (first..BUCKETS).filter_map(Bucket::new).collect();
    let ranges = buckets.iter().map(|bucket| range(*bucket, FEW));
    let mut parts = engine.store.page(ranges.collect()).await?;
    // The buckets that fill the page. Where one of them may have more, it is asked again.
    let mut known = 0;
    parts.retain(|part| {
        let needed = known < wanted;
        known += part.len();
        needed
    });
    let cut = |part: &Vec<Vec<u8>>| part.len() >= FEW;
    let again = buckets.iter().zip(&parts).filter(|(_, part)| cut(part));
    let again: Vec<IndexRange> = again.map(|(bucket, _)| range(*bucket, wanted)).collect();
    if !again.is_empty() {
        let whole = engine.store.page(again).await?;
        let places = parts.iter_mut().filter(|part| cut(part));
        for (part, whole) in places.zip(whole) {
            *part = whole;
        }
    }
    let ids = parts.iter().flatten().map(|id| DeviceId::from_bytes(id));
    let ids = ids.take(wanted).collect::<Result<_, _>>();
    ids.map_err(|_| Reason::Internal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_read_as_people_copy_it() {
        for text in ["963", "0963", "09:63", "09 63", "0:9:6:3", " 00:09:63 "] {
            assert_eq!(text.parse(), Ok(Serial("963".to_owned())), "{text}");
        }
        assert_eq!("00:AB:cD".parse(), Ok(Serial("abcd".to_owned())));
        assert_eq!("0".parse(), Ok(Serial("0".to_owned())));
        assert_eq!("00".parse(), Ok(Serial("0".to_owned())));
        let longest = "f".repeat(SERIAL_DIGITS_MAX);
        assert_eq!(longest.parse(), Ok(Serial(longest.clone())));
    }

    #[test]
    fn what_is_no_serial_is_refused() {
        let long = "0".repeat(SERIAL_DIGITS_MAX + 1);
        let padded = format!("1{}", " ".repeat(2 * SERIAL_DIGITS_MAX));
        for text in ["", ":", " ", "0x1f", "-1", "1g", "é", "1\n", &long, &padded] {
            assert!(text.parse::<Serial>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_digest_has_all_of_its_digits() {
        let plain = "aB".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [&plain, &colons] {
            assert_eq!(text.parse(), Ok(KeyDigest([0xab; 32])));
        }
        for text in ["", &plain[2..], &plain[1..], &format!("{plain}00")] {
            assert!(text.parse::<KeyDigest>().is_err(), "{text}");
        }
    }
}
