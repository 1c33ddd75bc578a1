//! The operator's own revocations, beside Google's list: for keys that are known to have leaked
//! before Google says so.
//!
//! A line is `serial <hex>`, the serial number of a certificate, or `key <64 hex digits>`, the
//! SHA-256 of a `SubjectPublicKeyInfo`; blank lines and what follows a `#` are skipped. A serial
//! number names a certificate above the leaf, because devices write their leaves' themselves. A key
//! names whoever holds it: an authority, an attestation key, or a single device.

use std::collections::HashSet;
use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::status_list::{Status, StatusList, canonical};

/// As many bytes as Google's list may have.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// As many entries as Google's list may have.
const ENTRIES_MAX: usize = 65_536;

/// A parsed list. The default revokes nothing.
#[derive(Debug, Clone, Default)]
pub struct OwnList {
    serials: HashSet<Box<str>>,
    keys: HashSet<[u8; 32]>,
}

/// Why bytes are not taken as a list. A list of which one line cannot be understood is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnListError {
    /// Larger than the list can be.
    #[error("the list has {0} bytes, more than {LIST_BYTES_MAX}")]
    TooLarge(usize),
    /// More entries than the list can have.
    #[error("line {0}: more than {ENTRIES_MAX} entries")]
    TooMany(usize),
    /// Not UTF-8.
    #[error("line {0}: not UTF-8")]
    NotText(usize),
    /// Neither of the two kinds of entry.
    #[error("line {0}: neither \"serial\" nor \"key\" with one value behind it")]
    Kind(usize),
    /// Not the hex of a serial number.
    #[error("line {0}: a serial number is 1 to 42 hex digits")]
    Serial(usize),
    /// Not the hex of a SHA-256.
    #[error("line {0}: a key is named by the 64 hex digits of its SHA-256")]
    Key(usize),
}

impl OwnList {
    /// Reads the text.
    ///
    /// # Errors
    /// [`OwnListError`], with the line from 1, when any of it cannot be understood: a list read in
    /// part would let through what the rest revokes.
    pub fn parse(text: &[u8]) -> Result<Self, OwnListError> {
        if text.len() > LIST_BYTES_MAX {
            return Err(OwnListError::TooLarge(text.len()));
        }
        let mut list = Self::default();
        for (line, bytes) in (1..).zip(text.split(|octet| *octet == b'\n')) {
            let entry = std::str::from_utf8(bytes).map_err(|_| OwnListError::NotText(line))?;
            let (entry, _comment) = entry.split_once('#').unwrap_or((entry, ""));
            let mut words = entry.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (None, ..) => continue,
                (Some("serial"), Some(serial), None) => {
                    let serial = canonical(serial).ok_or(OwnListError::Serial(line))?;
                    list.serials.insert(serial);
                }
                (Some("key"), Some(key), None) => {
                    let key = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).ok();
                    let key = key.and_then(|octets| octets.try_into().ok());
                    list.keys.insert(key.ok_or(OwnListError::Key(line))?);
                }
                _ => return Err(OwnListError::Kind(line)),
            }
            if list.len() > ENTRIES_MAX {
                return Err(OwnListError::TooMany(line));
            }
        }
        Ok(list)
    }

    /// How many serial numbers are listed.
    #[must_use]
    pub fn serials(&self) -> usize {
        self.serials.len()
    }

    /// How many keys are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many serial numbers and keys are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.serials.len() + self.keys.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is on one of two lists and not on the other: serial numbers, and keys.
    #[must_use]
    pub fn difference<'l>(&'l self, other: &'l Self) -> (Vec<&'l str>, Vec<&'l [u8; 32]>) {
        let serials = self.serials.symmetric_difference(&other.serials);
        let keys = self.keys.symmetric_difference(&other.keys);
        (serials.map(|serial| &**serial).collect(), keys.collect())
    }

    /// Whether a certificate is listed, by its serial number in minimal lowercase hex.
    #[must_use]
    pub fn contains_serial(&self, serial: &str) -> bool {
        self.serials.contains(serial)
    }

    /// Whether a key is listed, by the SHA-256 of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn contains_key(&self, key: &[u8; 32]) -> bool {
        self.keys.contains(key)
    }
}

/// Why a device that was accepted once is not any more: which list names what of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// Google's list, a certificate.
    StatusList {
        /// Its serial number.
        serial: String,
        /// What the list says of it.
        status: Status,
    },
    /// The operator's list, a certificate by its serial number.
    OwnSerial(String),
    /// The operator's list, a key by its SHA-256.
    OwnKey([u8; 32]),
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StatusList { serial, status } => {
                write!(f, "serial {serial} is {}", status.as_str())
            }
            Self::OwnSerial(serial) => write!(f, "serial {serial} is on the own list"),
            Self::OwnKey(key) => {
                let key = data_encoding::HEXLOWER.encode(key);
                write!(f, "key {key} is on the own list")
            }
        }
    }
}

/// Holds what is kept of a device's chain against the lists of today.
///
/// `serials` are those of [`super::android::Facts::serials`], leaf first; the leaf's is skipped,
/// because every device writes 1 there. `keys` are those of
/// [`super::android::Facts::issuer_keys`], and any other SHA-256 of a key, such as the device's own.
#[must_use]
pub fn revoked(
    serials: &[String],
    keys: &[[u8; 32]],
    status_list: Option<&StatusList>,
    own_list: Option<&OwnList>,
) -> Option<Revocation> {
    let above_the_leaf = || serials.iter().skip(1);
    let by_google = status_list.and_then(|list| {
        above_the_leaf().find_map(|serial| {
            let status = list.status(serial)?;
            let serial = serial.clone();
            Some(Revocation::StatusList { serial, status })
        })
    });
    by_google.or_else(|| {
        let list = own_list?;
        let serial = above_the_leaf().find(|serial| list.contains_serial(serial));
        let key = keys.iter().find(|key| list.contains_key(key));
        serial
            .map(|serial| Revocation::OwnSerial(serial.clone()))
            .or_else(|| key.map(|key| Revocation::OwnKey(*key)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_in_any_case_and_with_leading_zeros() {
        let text = format!(
            "# leaked in spring\n\nserial 00CC66\r\n\tserial 9635 # digits only\nkey {}",
            "aB".repeat(32)
        );
        let list = OwnList::parse(text.as_bytes()).unwrap();
        assert_eq!(list.len(), 3);
        assert!(list.contains_serial("cc66"));
        assert!(list.contains_serial("9635"));
        assert!(!list.contains_serial("00cc66"));
        assert!(list.contains_key(&[0xab; 32]));
        assert!(!list.contains_key(&[0; 32]));
    }

    #[test]
    fn a_list_that_cannot_be_understood_whole_is_not_used() {
        let cases: [(&[u8], OwnListError); 13] = [
            (b"cc66", OwnListError::Kind(1)),
            (b"\nserial", OwnListError::Kind(2)),
            (b"serial cc66 cc67", OwnListError::Kind(1)),
            (b"serials cc66", OwnListError::Kind(1)),
            (b"SERIAL cc66", OwnListError::Kind(1)),
            (b"serial 0xcc66", OwnListError::Serial(1)),
            (b"serial -1", OwnListError::Serial(1)),
            (b"serial cc:66", OwnListError::Serial(1)),
            (b"serial \xc2\xb2", OwnListError::Serial(1)),
            (b"serial 1\n# \xff", OwnListError::NotText(2)),
            (b"key cc66", OwnListError::Key(1)),
            (&[b"key ", &[b'a'; 63][..]].concat(), OwnListError::Key(1)),
            (&[b"key ", &[b'a'; 66][..]].concat(), OwnListError::Key(1)),
        ];
        for (text, error) in cases {
            assert_eq!(OwnList::parse(text).unwrap_err(), error);
        }
        let long = format!("serial {}", "1".repeat(43));
        let refused = OwnList::parse(long.as_bytes());
        assert_eq!(refused.unwrap_err(), OwnListError::Serial(1));
    }

    #[test]
    fn a_list_beyond_its_bounds_is_refused() {
        let long = vec![b'\n'; LIST_BYTES_MAX + 1];
        let error = OwnListError::TooLarge(LIST_BYTES_MAX + 1);
        assert_eq!(OwnList::parse(&long).unwrap_err(), error);
        let full: String = (0..ENTRIES_MAX)
            .map(|n| format!("serial {n:x}\n"))
            .collect();
        assert_eq!(OwnList::parse(full.as_bytes()).unwrap().len(), ENTRIES_MAX);
        let over = format!("{full}serial fffffff");
        let error = OwnListError::TooMany(ENTRIES_MAX + 1);
        assert_eq!(OwnList::parse(over.as_bytes()).unwrap_err(), error);
        let again = format!("{full}serial 1");
        assert!(OwnList::parse(again.as_bytes()).is_ok(), "no new entry");
    }

    #[test]
    fn an_empty_text_revokes_nothing() {
        let list = OwnList::parse(b"").unwrap();
        assert!(list.is_empty());
        assert_eq!(
            revoked(&["1".into(), "a".into()], &[], None, Some(&list)),
            None
        );
    }

    #[test]
    fn a_stored_chain_is_held_against_both_lists() {
        let google = br#"{"entries":{"b0":{"status":"SUSPENDED"},"1":{"status":"REVOKED"}}}"#;
        let google = StatusList::parse(google).unwrap();
        let own = format!("serial 1\nserial A1\nkey {}", "07".repeat(32));
        let own = OwnList::parse(own.as_bytes()).unwrap();
        let held = |serials: &[&str], keys: &[[u8; 32]]| {
            let serials: Vec<String> = serials.iter().map(|serial| (*serial).to_owned()).collect();
            revoked(&serials, keys, Some(&google), Some(&own)).map(|found| found.to_string())
        };
        assert_eq!(held(&["1", "a0", "c0"], &[[1; 32]]), None);
        assert_eq!(held(&["b0"], &[]), None, "a leaf is known by its key only");
        assert_eq!(held(&[], &[]), None);
        let by_google = held(&["1", "a0", "b0"], &[[7; 32]]).unwrap();
        assert_eq!(by_google, "serial b0 is SUSPENDED");
        let by_serial = held(&["1", "a1"], &[[7; 32]]).unwrap();
        assert_eq!(by_serial, "serial a1 is on the own list");
        let by_key = held(&["1", "a0"], &[[1; 32], [7; 32]]).unwrap();
        assert_eq!(
            by_key,
            format!("key {} is on the own list", "07".repeat(32))
        );
    }
}
