//! A DER writer (X.690) just large enough for certificates and attestation extensions.
//!
//! It shares nothing with the readers of the verifiers, so that one mistake cannot hide another.

/// Universal tags used here (X.680, 8.4), constructed bit included.
mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const ENUMERATED: u8 = 0x0a;
    pub(super) const UTF8_STRING: u8 = 0x0c;
    pub(super) const PRINTABLE_STRING: u8 = 0x13;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    /// Class bits of a constructed context-specific tag.
    pub(super) const CONTEXT: u8 = 0xa0;
}

/// One encoded value.
pub(super) type Der = Vec<u8>;

/// A value under a one-byte tag.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Der {
    let mut out = vec![tag];
    out.extend(length(content.len()));
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of encoded values.
pub(super) fn sequence(items: &[Der]) -> Der {
    tlv(tag::SEQUENCE, &items.concat())
}

/// A SET OF encoded values, sorted as DER wants it (X.690, 11.6).
pub(super) fn set(items: &[Der]) -> Der {
    let mut sorted = items.to_vec();
    sorted.sort();
    tlv(tag::SET, &sorted.concat())
}

/// An INTEGER that is not negative.
pub(super) fn unsigned(value: u64) -> Der {
    unsigned_bytes(&value.to_be_bytes())
}

/// An INTEGER from the big-endian bytes of a number that is not negative.
pub(super) fn unsigned_bytes(bytes: &[u8]) -> Der {
    tlv(tag::INTEGER, &minimal(bytes))
}

/// An ENUMERATED that is not negative.
pub(super) fn enumerated(value: u8) -> Der {
    tlv(tag::ENUMERATED, &minimal(&[value]))
}

/// A BOOLEAN.
pub(super) fn boolean(value: bool) -> Der {
    tlv(tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// NULL.
pub(super) fn null() -> Der {
    tlv(tag::NULL, &[])
}

/// An OCTET STRING.
pub(super) fn octets(bytes: &[u8]) -> Der {
    tlv(tag::OCTET_STRING, bytes)
}

/// A BIT STRING of whole bytes.
pub(super) fn bits(bytes: &[u8]) -> Der {
    named_bits(0, bytes)
}

/// A BIT STRING whose last byte has unused bits.
pub(super) fn named_bits(unused: u8, bytes: &[u8]) -> Der {
    let mut content = vec![unused];
    content.extend_from_slice(bytes);
    tlv(tag::BIT_STRING, &content)
}

/// A UTF8String.
pub(super) fn utf8(text: &str) -> Der {
    tlv(tag::UTF8_STRING, text.as_bytes())
}

/// A PrintableString; the caller keeps to its alphabet.
pub(super) fn printable(text: &str) -> Der {
    tlv(tag::PRINTABLE_STRING, text.as_bytes())
}

/// A UTCTime from its text.
pub(super) fn utc_time(text: &str) -> Der {
    tlv(tag::UTC_TIME, text.as_bytes())
}

/// A GeneralizedTime from its text.
pub(super) fn generalized_time(text: &str) -> Der {
    tlv(tag::GENERALIZED_TIME, text.as_bytes())
}

/// An OBJECT IDENTIFIER from its arcs; the first two are folded as X.690, 8.19.4 says.
pub(super) fn oid(arcs: &[u64]) -> Der {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = arcs {
        content.extend(base128(first * 40 + second));
        rest.iter().for_each(|arc| content.extend(base128(*arc)));
    }
    tlv(tag::OBJECT_IDENTIFIER, &content)
}

/// `[number] EXPLICIT`, numbers above 30 in the long form (X.690, 8.1.2.4).
pub(super) fn explicit(number: u16, inner: &[u8]) -> Der {
    match u8::try_from(number) {
        Ok(low) if low < 31 => tlv(tag::CONTEXT | low, inner),
        _ => {
            let mut out = vec![tag::CONTEXT | 31];
            out.extend(base128(u64::from(number)));
            out.extend(length(inner.len()));
            out.extend_from_slice(inner);
            out
        }
    }
}

/// The shortest length form (X.690, 10.1).
fn length(bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short) if short < 0x80 => vec![short],
        _ => {
            let number: Vec<u8> = bytes
                .to_be_bytes()
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect();
            // A `usize` has at most eight bytes.
            let mut out = vec![0x80 | u8::try_from(number.len()).unwrap_or(8)];
            out.extend(number);
            out
        }
    }
}

/// The shortest two's complement form of a number that is not negative.
fn minimal(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = bytes
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    if out.first().is_none_or(|byte| byte & 0x80 != 0) {
        out.insert(0, 0);
    }
    out
}

/// Groups of seven bits, all but the last with the top bit set.
fn base128(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        out.push(if out.is_empty() { low } else { low | 0x80 });
        value >>= 7;
        if value == 0 {
            break;
        }
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_never_negative() {
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(127), [2, 1, 127]);
        assert_eq!(unsigned(128), [2, 2, 0, 128]);
        assert_eq!(unsigned(300), [2, 2, 1, 44]);
        assert_eq!(unsigned_bytes(&[0, 0, 0x80, 1]), [2, 3, 0, 0x80, 1]);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(octets(&[7; 127])[..2], [4, 127]);
        assert_eq!(octets(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octets(&[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn high_tag_numbers_and_arcs_are_base_128() {
        assert_eq!(
            explicit(701, &null()),
            [0xbf, 0x85, 0x3d, 2, 5, 0],
            "as creationDateTime is tagged on real devices"
        );
        assert_eq!(explicit(1, &null()), [0xa1, 2, 5, 0]);
        assert_eq!(
            oid(&[1, 3, 6, 1, 4, 1, 11129, 2, 1, 17]),
            [6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 0x11]
        );
    }

    #[test]
    fn sets_are_sorted() {
        assert_eq!(
            set(&[unsigned(3), unsigned(2)]),
            [0x31, 6, 2, 1, 2, 2, 1, 3]
        );
    }
}
