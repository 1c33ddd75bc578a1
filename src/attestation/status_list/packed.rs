//! The compact form of a status list, for the copies that are kept of it.
//!
//! An entry is one octet, the status in its upper two bits and the length of the serial number in the
//! others, and the serial number in as few octets as it has. So the largest list, whose published
//! form has four megabytes, has less than one and a half.

use std::collections::HashMap;

use data_encoding::HEXLOWER;

use super::{ENTRIES_MAX, KEY_DIGITS_MAX, Status, StatusList};

/// Octets of the longest serial number.
const SERIAL_OCTETS_MAX: usize = KEY_DIGITS_MAX / 2;

/// Octets of the largest list in this form.
pub const PACKED_BYTES_MAX: usize = ENTRIES_MAX * (SERIAL_OCTETS_MAX + 1);

impl StatusList {
    /// The compact form; the same for the same list.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let mut entries: Vec<(&str, Status)> = self.iter().collect();
        entries.sort_unstable_by_key(|(serial, _)| *serial);
        let mut packed = Vec::new();
        for (serial, status) in entries {
            let even = if serial.len().is_multiple_of(2) {
                serial.to_owned()
            } else {
                format!("0{serial}")
            };
            // Canonical keys are hex of a bounded length, so neither can fail.
            let octets = HEXLOWER.decode(even.as_bytes()).unwrap_or_default();
            let length = u8::try_from(octets.len()).unwrap_or(0);
            packed.push(code(status) << 6 | length);
            packed.extend_from_slice(&octets);
        }
        packed
    }

    /// From the compact form; `None` when it is not exactly that.
    #[must_use]
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        let mut entries = HashMap::new();
        let mut rest = packed;
        while let Some((head, behind)) = rest.split_first() {
            let status = status(head >> 6)?;
            let length = usize::from(head & 0x3f);
            let fits = (1..=SERIAL_OCTETS_MAX).contains(&length);
            let (octets, behind) = behind.split_at_checked(length).filter(|_| fits)?;
            let digits = HEXLOWER.encode(octets);
            let serial = match digits.strip_prefix('0') {
                Some("0") => "0",
                Some(minimal) if !minimal.starts_with('0') => minimal,
                Some(_) => return None,
                None => &digits,
            };
            if entries.len() == ENTRIES_MAX || entries.insert(serial.into(), status).is_some() {
                return None;
            }
            rest = behind;
        }
        Some(Self { entries })
    }
}

const fn code(status: Status) -> u8 {
    match status {
        Status::Unknown => 0,
        Status::Revoked => 1,
        Status::Suspended => 2,
    }
}

const fn status(code: u8) -> Option<Status> {
    match code {
        0 => Some(Status::Unknown),
        1 => Some(Status::Revoked),
        2 => Some(Status::Suspended),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(entries: &[(String, &str)]) -> StatusList {
        let entries: Vec<String> = entries
            .iter()
            .map(|(serial, status)| format!(r#""{serial}":{{"status":"{status}"}}"#))
            .collect();
        let json = format!(r#"{{"entries":{{{}}}}}"#, entries.join(","));
        StatusList::parse(json.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn a_list_is_packed_and_unpacked_without_loss(
            entries in prop::collection::vec(
                ("[0-9a-f]{1,42}", prop::sample::select(vec!["REVOKED", "SUSPENDED", "OTHER"])),
                0..50,
            )
        ) {
            let list = list(&entries);
            let packed = list.pack();
            let again = StatusList::unpack(&packed).unwrap();
            prop_assert_eq!(&again.entries, &list.entries);
            prop_assert_eq!(again.pack(), packed);
        }

        #[test]
        fn what_unpacks_is_packed_alike_and_nothing_panics(
            packed in prop::collection::vec(any::<u8>(), 0..60)
        ) {
            if let Some(list) = StatusList::unpack(&packed) {
                prop_assert_eq!(list.pack().len(), packed.len());
            }
        }
    }

    #[test]
    fn the_largest_list_fits() {
        let serial = |n: usize| format!("f{n:041x}");
        let entries = (0..ENTRIES_MAX).map(|n| (serial(n).into(), Status::Revoked));
        let list = StatusList {
            entries: entries.collect(),
        };
        let packed = list.pack();
        assert_eq!(packed.len(), PACKED_BYTES_MAX);
        assert_eq!(StatusList::unpack(&packed).unwrap().len(), ENTRIES_MAX);
        let mut more = packed;
        more.extend_from_slice(&[0x41, 1]);
        assert!(StatusList::unpack(&more).is_none());
    }

    #[test]
    fn other_bytes_are_no_list() {
        for bytes in [
            &[0x41][..],
            &[0x40],
            &[0xc1, 1],
            &[0x42, 0, 1],
            &[0x56, 1],
            &[0x41, 1, 0x81, 1],
        ] {
            assert!(StatusList::unpack(bytes).is_none(), "{bytes:?}");
        }
        assert!(StatusList::unpack(&[]).unwrap().is_empty());
        assert!(StatusList::unpack(&[0x41, 0]).unwrap().contains("0"));
    }
}
