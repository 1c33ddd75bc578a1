//! How the attestation key came to be on the device: put there in the factory, or certified over the
//! air for a few weeks at a time.

use super::certificate::Certificate;
use super::name::{COMMON_NAME, ORGANIZATION, SERIAL_NUMBER, TITLE, printable};
use super::value::SecurityLevel;

/// 1.3.6.1.4.1.11129.2.1.30, as the content of the OID.
const PROVISIONING_INFO: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 30];
/// The intermediate authorities of remote provisioning, so far `Droid CA2`.
const REMOTE_ORGANIZATION: &str = "Google LLC";
const REMOTE_COMMON_NAME: &str = "Droid CA";

/// How the attestation key came to be on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioning {
    /// In the factory, shared by a batch of devices; its certificates outlive their dates.
    Factory,
    /// Over the air, for this device alone; its certificates live for weeks.
    Remote {
        /// Roughly how many certificates the device was issued lately: a sign of abuse when high.
        issued: Option<u64>,
        /// The maker, as registered.
        manufacturer: Option<String>,
    },
    /// Neither is recognised; treated as strictly as remote provisioning.
    Other,
}

impl Provisioning {
    /// The word it is known by.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Factory => "FACTORY",
            Self::Remote { .. } => "REMOTE",
            Self::Other => "OTHER",
        }
    }

    /// Recognises it by the certificate below the root, which the root has signed: its content is
    /// the authority's word, not the device's.
    pub(super) fn recognise(
        below_root: &Certificate<'_>,
        attestation: Option<&Certificate<'_>>,
    ) -> Self {
        let Some(attributes) = below_root.subject.attributes() else {
            return Self::Other;
        };
        let stated = |kind: &[u8], wanted: &dyn Fn(&str) -> bool| {
            attributes
                .iter()
                .any(|(oid, value)| oid == kind && wanted(value))
        };
        let remote = is_remote_authority(below_root);
        let factory = stated(SERIAL_NUMBER, &|_| true)
            && (attributes.len() == 1
                || (attributes.len() == 2 && stated(TITLE, &|value| level_named(value).is_some())));
        if remote {
            let (issued, manufacturer) = attestation.map_or((None, None), provisioning_info);
            Self::Remote {
                issued,
                manufacturer,
            }
        } else if factory {
            Self::Factory
        } else {
            Self::Other
        }
    }
}

/// Whether a certificate is named as an authority of remote provisioning. That is the word of who has
/// signed it.
pub(super) fn is_remote_authority(certificate: &Certificate<'_>) -> bool {
    certificate.subject.attributes().is_some_and(|attributes| {
        let stated = |kind: &[u8], wanted: &dyn Fn(&str) -> bool| {
            attributes
                .iter()
                .any(|(oid, value)| oid == kind && wanted(value))
        };
        attributes.len() == 2
            && stated(ORGANIZATION, &|value| value == REMOTE_ORGANIZATION)
            && stated(COMMON_NAME, &|value| value.starts_with(REMOTE_COMMON_NAME))
    })
}

/// Whether a certificate's subject names this level, in its title (factory) or organisation (remote).
pub(super) fn names_level(certificate: &Certificate<'_>, level: SecurityLevel) -> bool {
    certificate.subject.attributes().is_some_and(|attributes| {
        attributes.iter().any(|(oid, value)| {
            (oid == TITLE || oid == ORGANIZATION) && level_named(value) == Some(level)
        })
    })
}

fn level_named(word: &str) -> Option<SecurityLevel> {
    match word {
        "TEE" => Some(SecurityLevel::TrustedEnvironment),
        "StrongBox" => Some(SecurityLevel::StrongBox),
        _ => None,
    }
}

/// Number of certificates and manufacturer. Only a hint, so whatever is odd counts as absent.
fn provisioning_info(attestation: &Certificate<'_>) -> (Option<u64>, Option<String>) {
    let mut values = attestation.extensions_of(PROVISIONING_INFO);
    values.next().and_then(info_map).unwrap_or((None, None))
}

/// The map is small; more entries than this are not looked at.
const ENTRIES_MAX: u64 = 16;

fn info_map(mut bytes: &[u8]) -> Option<(Option<u64>, Option<String>)> {
    let (mut issued, mut manufacturer) = (None, None);
    let (MAP, entries) = head(&mut bytes)? else {
        return None;
    };
    if entries > ENTRIES_MAX {
        return None;
    }
    for _ in 0..entries {
        let (UNSIGNED, key) = head(&mut bytes)? else {
            return None;
        };
        match (key, head(&mut bytes)?) {
            (1, (UNSIGNED, count)) => issued = Some(count),
            (3, (TEXT, length)) => {
                let text = std::str::from_utf8(take(&mut bytes, length)?).ok()?;
                manufacturer = Some(printable(text));
            }
            (_, (BYTES | TEXT, length)) => {
                take(&mut bytes, length)?;
            }
            (_, (UNSIGNED | NEGATIVE | SIMPLE, _)) => {}
            _ => return None,
        }
    }
    bytes.is_empty().then_some((issued, manufacturer))
}

/// Major types of CBOR (RFC 8949, 3.1).
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

/// Major type and argument of the next item.
fn head(bytes: &mut &[u8]) -> Option<(u8, u64)> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    let octets = match first & 0x1f {
        small @ 0..24 => return Some((first >> 5, u64::from(small))),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let argument = take(bytes, octets)?
        .iter()
        .fold(0_u64, |value, octet| value << 8 | u64::from(*octet));
    Some((first >> 5, argument))
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn reads_what_devices_write() {
        for (hex, issued, manufacturer) in [
            ("a10108", 8, None),
            ("a201080366476f6f676c65", 8, Some("Google")),
            ("a301184002f50366476f6f676c65", 64, Some("Google")),
            ("a2011880036773616d73756e67", 128, Some("samsung")),
        ] {
            let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
            assert_eq!(
                info_map(&bytes),
                Some((Some(issued), manufacturer.map(str::to_owned)))
            );
        }
    }

    #[test]
    fn takes_rubbish_as_absent() {
        for hex in [
            "",
            "01",
            "a1",
            "a101",
            "a10108ff",
            "bf0108ff",
            "a1036aff",
            "ba7fffffff",
            "a1033bffffffffffffffff",
            "a1037bffffffffffffffff",
        ] {
            let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
            let read = info_map(&bytes);
            assert!(matches!(read, None | Some((None, None))), "{hex}: {read:?}");
        }
    }
}
