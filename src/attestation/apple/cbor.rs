//! A strict CBOR reader (RFC 8949) for the few shapes App Attest uses.
//!
//! Every accepted text has exactly one encoding: definite lengths, shortest heads, text keys, no
//! key twice, no tags, no floats, nothing behind the item. Values borrow from the input.

/// How deep arrays and maps may nest. Genuine objects nest three deep (object, `attStmt`, `x5c`).
const DEPTH_MAX: usize = 4;

/// Most items of one array or entries of one map. Genuine ones have at most four. The bound also
/// keeps the search for duplicate keys, which is quadratic, short.
const ITEMS_MAX: u64 = 64;

/// One CBOR item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Major type 0.
    Unsigned(u64),
    /// Major type 1: the number is −1 − n.
    Negative(u64),
    /// Major type 2.
    Bytes(&'a [u8]),
    /// Major type 3.
    Text(&'a str),
    /// Major type 4.
    Array(Vec<Self>),
    /// Major type 5, in the order written.
    Map(Map<'a>),
    /// Simple values 20 and 21.
    Bool(bool),
    /// Simple value 22.
    Null,
}

/// The entries of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Map<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Map<'a> {
    /// The value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }
}

impl<'a> Value<'a> {
    pub(super) const fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    pub(super) const fn as_text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(super) const fn as_unsigned(&self) -> Option<u64> {
        if let Self::Unsigned(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    pub(super) fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    pub(super) const fn as_map(&self) -> Option<&Map<'a>> {
        if let Self::Map(map) = self {
            Some(map)
        } else {
            None
        }
    }
}

/// Why bytes are not one acceptable CBOR item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CborError {
    #[error("the CBOR ends too early")]
    Truncated,
    #[error("there are bytes behind the CBOR item")]
    Trailing,
    #[error("a CBOR length or number is not in its shortest form")]
    NotShortest,
    #[error("a CBOR item has an indefinite length")]
    Indefinite,
    #[error("a CBOR tag, float or unassigned simple value")]
    Unsupported,
    #[error("a CBOR text is not UTF-8")]
    NotUtf8,
    #[error("a CBOR map has a key that is not a text")]
    KeyNotText,
    #[error("a CBOR map has a key twice")]
    DuplicateKey,
    #[error("the CBOR nests deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("a CBOR array or map has more than {ITEMS_MAX} items")]
    TooManyItems,
}

/// Reads one item that fills `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Value<'_>, CborError> {
    let mut reader = Reader { rest: bytes };
    let value = reader.item(0)?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(CborError::Trailing)
    }
}

/// As [`parse`], of a map; `None` when the item is something else.
pub(super) fn parse_map(bytes: &[u8]) -> Result<Option<Map<'_>>, CborError> {
    let value = parse(bytes)?;
    Ok(if let Value::Map(map) = value {
        Some(map)
    } else {
        None
    })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// One item inside `depth` arrays and maps.
    fn item(&mut self, depth: usize) -> Result<Value<'a>, CborError> {
        let (major, argument) = self.head()?;
        Ok(match major {
            0 => Value::Unsigned(argument),
            1 => Value::Negative(argument),
            2 => Value::Bytes(self.take(argument)?),
            3 => Value::Text(self.text(argument)?),
            4 => {
                let count = bounded(argument, depth)?;
                let items = (0..count).map(|_| self.item(depth.saturating_add(1)));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            5 => Value::Map(self.map(bounded(argument, depth)?, depth.saturating_add(1))?),
            7 if argument == 20 => Value::Bool(false),
            7 if argument == 21 => Value::Bool(true),
            7 if argument == 22 => Value::Null,
            _ => return Err(CborError::Unsupported),
        })
    }

    /// Major type and argument of the next item.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let first = u8::from_be_bytes(self.array()?);
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, smallest) = match info {
            0..=23 => return Ok((major, u64::from(info))),
            // In major type 7 these are floats and two-byte simple values.
            24..=27 if major == 7 => return Err(CborError::Unsupported),
            24 => (u64::from(u8::from_be_bytes(self.array()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.array()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.array()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.array()?), 1 << 32),
            31 => return Err(CborError::Indefinite),
            _ => return Err(CborError::Unsupported),
        };
        if argument < smallest {
            return Err(CborError::NotShortest);
        }
        Ok((major, argument))
    }

    fn map(&mut self, count: u64, depth: usize) -> Result<Map<'a>, CborError> {
        let mut entries: Vec<(&'a str, Value<'a>)> = Vec::new();
        for _ in 0..count {
            let (major, length) = self.head()?;
            if major != 3 {
                return Err(CborError::KeyNotText);
            }
            let key = self.text(length)?;
            if entries.iter().any(|(earlier, _)| *earlier == key) {
                return Err(CborError::DuplicateKey);
            }
            let value = self.item(depth)?;
            entries.push((key, value));
        }
        Ok(Map(entries))
    }

    fn text(&mut self, length: u64) -> Result<&'a str, CborError> {
        std::str::from_utf8(self.take(length)?).map_err(|_| CborError::NotUtf8)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError::Truncated)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// The number of items of an array or map that itself lies inside `depth` others.
fn bounded(count: u64, depth: usize) -> Result<u64, CborError> {
    if depth >= DEPTH_MAX {
        Err(CborError::TooDeep)
    } else if count > ITEMS_MAX {
        Err(CborError::TooManyItems)
    } else {
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
        let bytes = argument.to_be_bytes();
        let (info, tail) = match argument {
            0..=23 => (u8::try_from(argument).unwrap(), 8),
            24..=0xff => (24, 7),
            0x100..=0xffff => (25, 6),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 0),
        };
        out.push(major << 5 | info);
        out.extend_from_slice(&bytes[tail..]);
    }

    fn encode(out: &mut Vec<u8>, value: &Value<'_>) {
        match value {
            Value::Unsigned(n) => head(out, 0, *n),
            Value::Negative(n) => head(out, 1, *n),
            Value::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Text(text) => {
                head(out, 3, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Array(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| encode(out, item));
            }
            Value::Map(Map(entries)) => {
                head(out, 5, entries.len() as u64);
                for (key, item) in entries {
                    encode(out, &Value::Text(key));
                    encode(out, item);
                }
            }
            Value::Bool(flag) => out.push(if *flag { 0xf5 } else { 0xf4 }),
            Value::Null => out.push(0xf6),
        }
    }

    /// Bytes that look like CBOR: a random tree encoded, so that the reader gets past the first
    /// byte often enough.
    fn tree() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(|n| encoded(&Value::Unsigned(n))),
            (0_u64..70_000).prop_map(|n| encoded(&Value::Negative(n))),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| encoded(&Value::Bytes(&bytes))),
            ".{0,8}".prop_map(|text| encoded(&Value::Text(&text))),
            prop_oneof![Just(0xf4_u8), Just(0xf5), Just(0xf6)].prop_map(|byte| vec![byte]),
        ];
        leaf.prop_recursive(5, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|items| {
                    let mut out = Vec::new();
                    head(&mut out, 4, items.len() as u64);
                    out.extend(items.concat());
                    out
                }),
                prop::collection::btree_map("[a-e]{1,2}", inner, 0..5).prop_map(|entries| {
                    let mut out = Vec::new();
                    head(&mut out, 5, entries.len() as u64);
                    for (key, item) in entries {
                        out.extend(encoded(&Value::Text(&key)));
                        out.extend(item);
                    }
                    out
                }),
            ]
        })
    }

    fn encoded(value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, value);
        out
    }

    proptest! {
        #[test]
        fn what_is_accepted_encodes_back_to_the_same_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(encoded(&value), bytes);
            }
        }

        #[test]
        fn a_well_formed_tree_is_read_unless_it_is_too_deep(bytes in tree()) {
            match parse(&bytes) {
                Ok(value) => prop_assert_eq!(encoded(&value), bytes),
                Err(error) => prop_assert_eq!(error, CborError::TooDeep),
            }
        }

        #[test]
        fn a_changed_tree_is_refused_or_encodes_back(
            bytes in tree(),
            at in any::<prop::sample::Index>(),
            by in 1_u8..,
            cut in any::<prop::sample::Index>(),
        ) {
            let mut changed = bytes.clone();
            let at = at.index(changed.len());
            changed[at] ^= by;
            if let Ok(value) = parse(&changed) {
                prop_assert_eq!(encoded(&value), changed);
            }
            prop_assert!(parse(&bytes[..cut.index(bytes.len())]).is_err());
            let mut longer = bytes;
            longer.push(0);
            prop_assert!(parse(&longer).is_err());
        }
    }

    #[test]
    fn refuses_every_other_encoding_with_its_reason() {
        let cases = [
            ("", CborError::Truncated),
            ("a0 00", CborError::Trailing),
            ("18 17", CborError::NotShortest),
            ("19 00ff", CborError::NotShortest),
            ("1a 0000ffff", CborError::NotShortest),
            ("1b 00000000ffffffff", CborError::NotShortest),
            ("58 01 00", CborError::NotShortest),
            ("b8 00", CborError::NotShortest),
            ("5f 41 00 ff", CborError::Indefinite),
            ("7f 61 61 ff", CborError::Indefinite),
            ("9f ff", CborError::Indefinite),
            ("bf ff", CborError::Indefinite),
            ("ff", CborError::Indefinite),
            ("c0 00", CborError::Unsupported),
            ("1c", CborError::Unsupported),
            ("f7", CborError::Unsupported),
            ("f8 14", CborError::Unsupported),
            ("f9 0000", CborError::Unsupported),
            ("61 ff", CborError::NotUtf8),
            ("a1 01 00", CborError::KeyNotText),
            ("a2 61 61 00 61 61 00", CborError::DuplicateKey),
            ("81 81 81 81 80", CborError::TooDeep),
            ("a1 61 61 81 81 81 a0", CborError::TooDeep),
            ("98 41", CborError::TooManyItems),
            ("9b ffffffffffffffff", CborError::TooManyItems),
            ("bb ffffffffffffffff", CborError::TooManyItems),
            ("5b ffffffffffffffff 00", CborError::Truncated),
            ("42 00", CborError::Truncated),
            ("19 01", CborError::Truncated),
            ("82 00", CborError::Truncated),
            ("a1 61 61", CborError::Truncated),
        ];
        for (hex, expected) in cases {
            let bytes = HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
            assert_eq!(parse(&bytes), Err(expected), "{hex}");
        }
    }

    #[test]
    fn four_levels_and_sixty_four_items_are_the_most() {
        assert!(parse(&[0x81, 0x81, 0x81, 0x81, 0x00]).is_ok());
        let mut items = vec![0x98, 64];
        items.extend([0; 64]);
        assert!(parse(&items).is_ok());
        assert_eq!(parse(&vec![0x81; 16 * 1024]), Err(CborError::TooDeep));
    }
}
