//! Google's attestation status list: which certificates are revoked or suspended.
//!
//! The keys of the list are serial numbers in hex without leading zeros, also where they happen to
//! consist of digits only. An entry of any status refuses, because a status this version does not
//! know is no reason to trust.

mod packed;

pub use packed::PACKED_BYTES_MAX;

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

/// The list had 185 KB in autumn 2026; this leaves room for twenty times as much.
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// As many entries as fit at about 60 bytes each.
const ENTRIES_MAX: usize = 65_536;
/// Serial numbers have at most 20 octets (RFC 5280, 4.1.2.2), and one more for the sign.
const KEY_DIGITS_MAX: usize = 42;

/// What the list says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// For good.
    Revoked,
    /// For now.
    Suspended,
    /// A word this version does not know.
    Unknown,
}

impl Status {
    /// The word on the list.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "REVOKED",
            Self::Suspended => "SUSPENDED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A parsed status list.
#[derive(Debug, Clone, Default)]
pub struct StatusList {
    entries: HashMap<Box<str>, Status>,
}

/// Why bytes are not taken as a status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatusListError {
    /// Larger than the list can be.
    #[error("the status list has {0} bytes, more than {LIST_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON it has to be; a list of which one entry cannot be understood is not used.
    #[error("the status list cannot be read: line {line}, column {column}")]
    Malformed {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
}

impl StatusList {
    /// Reads the published JSON.
    ///
    /// # Errors
    /// [`StatusListError`] when it is too large or any of it cannot be understood: a list read in
    /// part would let through what the rest revokes.
    pub fn parse(json: &[u8]) -> Result<Self, StatusListError> {
        if json.len() > LIST_BYTES_MAX {
            return Err(StatusListError::TooLarge(json.len()));
        }
        // In what it skips, the decoder would take any bytes for text.
        let text = str::from_utf8(json).map_err(|error| {
            let (before, _) = json.split_at(error.valid_up_to());
            let mut lines = before.split(|byte| *byte == b'\n');
            StatusListError::Malformed {
                column: lines.next_back().map_or(0, <[u8]>::len) + 1,
                line: lines.count() + 1,
            }
        })?;
        // It would also take an array of the members' values, and `[{}]` as an empty list.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(StatusListError::Malformed { line: 1, column: 0 });
        }
        let document: Document =
            serde_json::from_str(text).map_err(|error| StatusListError::Malformed {
                line: error.line(),
                column: error.column(),
            })?;
        Ok(Self {
            entries: document.entries.0,
        })
    }

    /// A list that revokes nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// How many certificates are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a certificate is listed, by its serial number in minimal lowercase hex.
    #[must_use]
    pub fn contains(&self, serial: &str) -> bool {
        self.entries.contains_key(serial)
    }

    /// Every serial number on the list in minimal lowercase hex, in no order, and what it says.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Status)> {
        let entries = self.entries.iter();
        entries.map(|(serial, status)| (&**serial, *status))
    }

    /// The serial numbers on this list that were not on an older one: whose devices to look at again.
    /// What has another status than before was refused before.
    pub fn newly_listed<'l>(&'l self, older: &'l Self) -> impl Iterator<Item = &'l str> {
        let serials = self.iter().map(|(serial, _)| serial);
        serials.filter(|serial| !older.contains(serial))
    }

    /// What the list says of a certificate, by its serial number in minimal lowercase hex.
    #[must_use]
    pub fn status(&self, serial: &str) -> Option<Status> {
        self.entries.get(serial).copied()
    }
}

#[derive(Deserialize)]
struct Document {
    entries: Entries,
}

#[derive(Deserialize)]
struct Entry {
    status: String,
}

struct Entries(HashMap<Box<str>, Status>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of serial numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = HashMap::new();
        while let Some((key, entry)) = map.next_entry::<String, Entry>()? {
            if entries.len() == ENTRIES_MAX {
                return Err(A::Error::custom("too many entries"));
            }
            let key = canonical(&key).ok_or_else(|| A::Error::custom("not a serial number"))?;
            let status = match entry.status.as_str() {
                "REVOKED" => Status::Revoked,
                "SUSPENDED" => Status::Suspended,
                _ => Status::Unknown,
            };
            entries.insert(key, status);
        }
        Ok(Entries(entries))
    }
}

/// Minimal lowercase hex, or `None` for what is no hex number of a serial's size.
pub(super) fn canonical(key: &str) -> Option<Box<str>> {
    let fits = (1..=KEY_DIGITS_MAX).contains(&key.len());
    if !fits || !key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let lower = key.to_ascii_lowercase();
    Some(match lower.trim_start_matches('0') {
        "" => "0".into(),
        digits => digits.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hex_whatever_they_look_like() {
        let list = StatusList::parse(
            br#"{"entries": {
                "9635589634154189895": {"status": "REVOKED", "reason": "KEY_COMPROMISE"},
                "00CC66": {"status": "SUSPENDED", "expires": "2030-01-01", "comment": "x"},
                "1a": {"status": "QUARANTINED"}
            }}"#,
        )
        .unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(list.status("9635589634154189895"), Some(Status::Revoked));
        assert_eq!(list.status("cc66"), Some(Status::Suspended));
        assert_eq!(list.status("1a"), Some(Status::Unknown));
        assert!(!list.contains("85b86b1a1bd7d7c7"), "not a decimal number");
        assert!(!list.contains("1"));
    }

    #[test]
    fn a_list_that_cannot_be_understood_whole_is_not_used() {
        for json in [
            &b""[..],
            b"{}",
            b"[]",
            b"[{}]",
            br#"{"entries": []}"#,
            br#"{"entries": {"xyz": {"status": "REVOKED"}}}"#,
            br#"{"entries": {"": {"status": "REVOKED"}}}"#,
            br#"{"entries": {"-1": {"status": "REVOKED"}}}"#,
            br#"{"entries": {"1": {}}}"#,
            br#"{"entries": {"1": "REVOKED"}}"#,
            br#"{"entries": {"1": {"status": "REVOKED"}}} x"#,
            br#"{"entries": {}, "entries": {}}"#,
            b"{\"entries\": {}, \"comment\": \"\xff\"}",
        ] {
            assert!(
                matches!(
                    StatusList::parse(json),
                    Err(StatusListError::Malformed { .. })
                ),
                "{}",
                String::from_utf8_lossy(json)
            );
        }
        assert_eq!(
            StatusList::parse(b"{\n\"entries\": {},\n\"\xff\": 1}").unwrap_err(),
            StatusListError::Malformed { line: 3, column: 2 }
        );
        let long_key = format!(
            r#"{{"entries": {{"{}": {{"status": "REVOKED"}}}}}}"#,
            "1".repeat(43)
        );
        assert!(StatusList::parse(long_key.as_bytes()).is_err());
    }

    #[test]
    fn a_list_beyond_its_bounds_is_refused() {
        let long = vec![b' '; LIST_BYTES_MAX + 1];
        assert_eq!(
            StatusList::parse(&long).unwrap_err(),
            StatusListError::TooLarge(LIST_BYTES_MAX + 1)
        );
        let entries: Vec<String> = (0..=ENTRIES_MAX)
            .map(|n| format!(r#""{n:x}":{{"status":"REVOKED"}}"#))
            .collect();
        let full = format!(r#"{{"entries":{{{}}}}}"#, entries[..ENTRIES_MAX].join(","));
        assert_eq!(
            StatusList::parse(full.as_bytes()).unwrap().len(),
            ENTRIES_MAX
        );
        let over = format!(r#"{{"entries":{{{}}}}}"#, entries.join(","));
        assert!(over.len() < LIST_BYTES_MAX);
        assert!(StatusList::parse(over.as_bytes()).is_err());
    }

    #[test]
    fn tells_what_is_new_since_an_older_list() {
        let older = br#"{"entries":{"a":{"status":"SUSPENDED"},"b":{"status":"REVOKED"}}}"#;
        let newer = br#"{"entries":{"0A":{"status":"REVOKED"},"c":{"status":"SUSPENDED"}}}"#;
        let older = StatusList::parse(older).unwrap();
        let newer = StatusList::parse(newer).unwrap();
        assert_eq!(newer.newly_listed(&older).collect::<Vec<_>>(), ["c"]);
        assert_eq!(older.newly_listed(&newer).collect::<Vec<_>>(), ["b"]);
        assert_eq!(newer.newly_listed(&newer).count(), 0);
        let mut all: Vec<_> = newer.iter().collect();
        all.sort_by_key(|(serial, _)| *serial);
        assert_eq!(all, [("a", Status::Revoked), ("c", Status::Suspended)]);
    }

    #[test]
    fn an_empty_list_revokes_nothing() {
        assert!(StatusList::empty().is_empty());
        assert!(!StatusList::empty().contains("1"));
    }
}
