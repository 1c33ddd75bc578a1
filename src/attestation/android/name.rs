//! Distinguished names: compared as bytes, read only to tell factory from remote provisioning.

use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::attestation::text::steers;

/// Attribute types (X.520), as the content of their OIDs.
pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
pub(super) const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
pub(super) const ORGANIZATION: &[u8] = &[0x55, 4, 10];
pub(super) const TITLE: &[u8] = &[0x55, 4, 12];

/// A longer name is cut for people; the whole is compared.
const TEXT_CHARS_MAX: usize = 256;

/// A `Name`, whole, as it stands in the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) raw: &'a [u8],
}

impl<'a> Name<'a> {
    pub(super) const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    fn parsed(self) -> Option<X509Name<'a>> {
        match X509Name::from_der(self.raw) {
            Ok(([], name)) => Some(name),
            _ => None,
        }
    }

    /// Type and value of every attribute; `None` when the name or a value cannot be read.
    pub(super) fn attributes(self) -> Option<Vec<(Vec<u8>, String)>> {
        self.parsed()?
            .iter_attributes()
            .map(|attribute| {
                let value = attribute.as_str().ok()?.to_owned();
                Some((attribute.attr_type().as_bytes().to_vec(), value))
            })
            .collect()
    }

    /// For people. The leaf's subject is whatever the app chose, so nothing in it may reach a
    /// terminal as a control character.
    pub(super) fn text(self) -> String {
        self.parsed().map_or_else(
            || "(unreadable name)".to_owned(),
            |name| printable(&name.to_string()),
        )
    }
}

/// `text` with control characters escaped, cut to a length a person reads.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == TEXT_CHARS_MAX {
            out.push('…');
            break;
        }
        // Everything that could move the cursor or turn the line around is shown escaped.
        let word = character.is_alphanumeric() && !steers(character);
        if character.is_ascii_graphic() || character == ' ' || word {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

/// The dotted form of an OID's content; rubbish gives rubbish, but of bounded length.
pub(super) fn dotted_oid(oid: &[u8]) -> String {
    const OCTETS_MAX: usize = 32;
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for octet in oid.iter().take(OCTETS_MAX) {
        arc = arc << 7 | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            if arcs.is_empty() {
                let root = (arc / 40).min(2);
                arcs.push(root);
                arc -= root * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    let words: Vec<String> = arcs.iter().map(u64::to_string).collect();
    words.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_are_written_with_dots() {
        assert_eq!(dotted_oid(&[0x55, 0x1d, 0x0f]), "2.5.29.15");
        assert_eq!(
            dotted_oid(&[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 17]),
            "1.3.6.1.4.1.11129.2.1.17"
        );
        assert_eq!(dotted_oid(&[]), "");
    }

    #[test]
    fn nothing_unprintable_reaches_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}é"), "a\\u{1b}[2J\\u{202e}é");
        assert_eq!(printable("\u{5d0}1\u{3164}"), "\\u{5d0}1\\u{3164}");
        assert!(printable(&"x".repeat(1000)).len() < 300);
    }
}
