//! A CBOR writer (RFC 8949, definite lengths, shortest heads) for App Attest objects.
//!
//! It shares nothing with the readers of the verifiers, so that one mistake cannot hide another.

/// One encoded item.
pub(super) type Cbor = Vec<u8>;

/// Major types (RFC 8949, 3.1), already in the top three bits.
mod major {
    pub(super) const UNSIGNED: u8 = 0x00;
    pub(super) const NEGATIVE: u8 = 0x20;
    pub(super) const BYTES: u8 = 0x40;
    pub(super) const TEXT: u8 = 0x60;
    pub(super) const ARRAY: u8 = 0x80;
    pub(super) const MAP: u8 = 0xa0;
}

/// A whole number.
pub(super) fn integer(value: i64) -> Cbor {
    if value < 0 {
        head(major::NEGATIVE, value.unsigned_abs() - 1)
    } else {
        head(major::UNSIGNED, value.unsigned_abs())
    }
}

/// A byte string.
pub(super) fn bytes(value: &[u8]) -> Cbor {
    with_content(major::BYTES, value)
}

/// A text string.
pub(super) fn text(value: &str) -> Cbor {
    with_content(major::TEXT, value.as_bytes())
}

/// An array of encoded items.
pub(super) fn array(items: &[Cbor]) -> Cbor {
    let mut out = head(major::ARRAY, count(items.len()));
    items.iter().for_each(|item| out.extend(item));
    out
}

/// A map of encoded keys and values, in the order given.
pub(super) fn map(entries: &[(Cbor, Cbor)]) -> Cbor {
    let mut out = head(major::MAP, count(entries.len()));
    for (key, value) in entries {
        out.extend(key);
        out.extend(value);
    }
    out
}

fn with_content(major: u8, content: &[u8]) -> Cbor {
    let mut out = head(major, count(content.len()));
    out.extend_from_slice(content);
    out
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    if let Ok(byte) = u8::try_from(argument) {
        if byte < 24 {
            return vec![major | byte];
        }
        return vec![major | 24, byte];
    }
    let (additional, tail) = if let Ok(short) = u16::try_from(argument) {
        (25, short.to_be_bytes().to_vec())
    } else if let Ok(word) = u32::try_from(argument) {
        (26, word.to_be_bytes().to_vec())
    } else {
        (27, argument.to_be_bytes().to_vec())
    };
    let mut out = vec![major | additional];
    out.extend(tail);
    out
}

/// No platform has a wider `usize`.
fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// Examples of RFC 8949, appendix A.
    #[test]
    fn writes_the_examples_of_the_standard() {
        for (item, wanted) in [
            (integer(0), "00"),
            (integer(23), "17"),
            (integer(24), "1818"),
            (integer(1000), "1903e8"),
            (integer(1_000_000), "1a000f4240"),
            (integer(1_000_000_000_000), "1b000000e8d4a51000"),
            (integer(-1), "20"),
            (integer(-1000), "3903e7"),
            (bytes(&[1, 2, 3, 4]), "4401020304"),
            (text("IETF"), "6449455446"),
            (array(&[integer(1), integer(2), integer(3)]), "83010203"),
            (
                map(&[(integer(1), integer(2)), (integer(3), integer(4))]),
                "a201020304",
            ),
        ] {
            assert_eq!(HEXLOWER.encode(&item), wanted);
        }
    }
}
