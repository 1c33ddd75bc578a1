//! What a caller tells of the phone it speaks for: where it is on the network, and its language.
//!
//! Both are the caller's word: nothing vouches for them. They are counted and compared, and never
//! shown: not in a log, not in an error, not in [`fmt::Debug`].

use std::fmt;
use std::str::FromStr;

/// Longest locale: what RFC 5646, 4.4.1 asks implementations to take at least.
pub const LOCALE_BYTES_MAX: usize = 35;

/// Longest subtag of a locale (RFC 5646, 2.1).
const SUBTAG_BYTES_MAX: usize = 8;

/// An IPv6 address that stands for an IPv4 address begins so (RFC 4291, 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// What a caller tells of the phone it speaks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientContext {
    /// Where it is.
    pub address: Option<Address>,
    /// Its language.
    pub locale: Option<Locale>,
}

/// An IP address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6, and no mapped IPv4 address.
    V6([u8; 16]),
}

impl Address {
    /// An IPv6 address, or the IPv4 address it stands for.
    #[must_use]
    pub fn from_v6(octets: [u8; 16]) -> Self {
        let (head, tail) = octets.split_at(MAPPED.len());
        match tail.try_into() {
            Ok(v4) if head == MAPPED => Self::V4(v4),
            _ => Self::V6(octets),
        }
    }

    /// The network that is counted as one: a whole IPv4 address, but the first 64 bits of an IPv6
    /// address, because every subscriber has all addresses below at hand (RFC 6177, 2).
    #[must_use]
    pub fn network(&self) -> Network {
        let mut bytes = [0; 9];
        let (version, octets): (u8, &[u8]) = match self {
            Self::V4(octets) => (4, octets),
            Self::V6(octets) => (6, octets),
        };
        let octets = octets.iter().take(8);
        for (to, from) in bytes
            .iter_mut()
            .zip(std::iter::once(&version).chain(octets))
        {
            *to = *from;
        }
        Network(bytes)
    }

    /// Roughly where it is: the version of IP and the first half of what providers are given, which is
    /// 16 bits of an IPv4 address and 32 of an IPv6 address. A phone that stays with its provider mostly
    /// stays there.
    #[must_use]
    pub fn region(&self) -> Vec<u8> {
        let (version, octets): (u8, &[u8]) = match self {
            Self::V4([a, b, ..]) => (4, &[*a, *b]),
            Self::V6([a, b, c, d, ..]) => (6, &[*a, *b, *c, *d]),
        };
        std::iter::once(version)
            .chain(octets.iter().copied())
            .collect()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

/// A network that is counted as one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network([u8; 9]);

impl Network {
    /// Its bytes: the version of IP, and the part that counts.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 9] {
        &self.0
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[network]")
    }
}

/// A language tag (BCP 47) in lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct Locale(String);

/// The text is no language tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a language tag")]
pub struct InvalidLocale;

impl Locale {
    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Locale {
    type Err = InvalidLocale;

    /// A language of letters, then subtags of letters and digits (RFC 5646, 2.1).
    fn from_str(text: &str) -> Result<Self, InvalidLocale> {
        let is_subtag = |tag: &str| {
            (1..=SUBTAG_BYTES_MAX).contains(&tag.len())
                && tag.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let language = text.split('-').next().unwrap_or_default();
        let is_language = language.len() >= 2 && language.bytes().all(|b| b.is_ascii_alphabetic());
        if text.len() <= LOCALE_BYTES_MAX && is_language && text.split('-').all(is_subtag) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidLocale)
        }
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[locale]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(head: [u8; 8], tail: [u8; 8]) -> Address {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&head);
        octets[8..].copy_from_slice(&tail);
        Address::from_v6(octets)
    }

    #[test]
    fn a_whole_ipv4_address_counts() {
        let network = |last| Address::V4([192, 0, 2, last]).network();
        assert_eq!(network(1), network(1));
        assert_ne!(network(1), network(2));
    }

    #[test]
    fn sixty_four_bits_of_an_ipv6_address_count() {
        let head = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1];
        let one = v6(head, [0; 8]);
        assert_eq!(one.network(), v6(head, [0xff; 8]).network());
        let next = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2];
        assert_ne!(one.network(), v6(next, [0; 8]).network());
    }

    #[test]
    fn a_mapped_ipv4_address_is_that_address() {
        let mapped = v6([0; 8], [0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(mapped, Address::V4([192, 0, 2, 1]));
        // Equal bytes of another version are another network.
        let other = v6([192, 0, 2, 1, 0, 0, 0, 0], [0; 8]);
        assert_ne!(mapped.network(), other.network());
    }

    #[test]
    fn locales_are_language_tags() {
        for good in ["de", "en-GB", "zh-Hant-TW", "sr-Latn-RS-x-1", "de-1996"] {
            let locale: Locale = good.parse().unwrap();
            assert_eq!(locale.as_str(), good.to_ascii_lowercase());
        }
        let long = format!("de-{}", ["abcdefg"; 5].join("-"));
        for bad in [
            "",
            "d",
            "1de",
            "de_DE",
            "de-",
            "-de",
            "de--DE",
            "dé",
            "de DE",
            "abcdefghi",
            "de-abcdefghi",
            &long,
        ] {
            assert_eq!(bad.parse::<Locale>(), Err(InvalidLocale), "{bad}");
        }
    }

    #[test]
    fn nothing_is_shown() {
        let context = ClientContext {
            address: Some(Address::V4([192, 0, 2, 1])),
            locale: "en-GB".parse().ok(),
        };
        let shown = format!("{context:?}");
        assert_eq!(
            shown,
            "ClientContext { address: Some([address]), locale: Some([locale]) }"
        );
        let network = Address::V4([192, 0, 2, 1]).network();
        assert_eq!(format!("{network:?}"), "[network]");
    }
}
