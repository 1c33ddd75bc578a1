//! A reader of BER (X.690) for receipts: the one thing Apple writes with indefinite lengths.
//!
//! It copies nothing but octet strings that come in chunks, and reads no more than it was given.
//! Tags are of one octet and definite lengths of the shortest form: all that receipts need, and one
//! reading of every byte.

use std::borrow::Cow;

/// How deep elements of indefinite length may stand in each other; in genuine receipts it is six.
const DEPTH_MAX: usize = 8;

/// Most chunks of one octet string. Genuine ones have at most 1000 bytes, so 16 would fill a receipt.
const CHUNKS_MAX: usize = 32;

/// Two octets of length already exceed the cap on receipts.
const LENGTH_OCTETS_MAX: usize = 2;

const CONSTRUCTED: u8 = 0x20;
/// The low five bits that announce a tag number in the following octets (X.690, 8.1.2.4).
const HIGH_NUMBER: u8 = 0x1f;
/// What ends an element of indefinite length (X.690, 8.1.5).
const END_OF_CONTENTS: [u8; 2] = [0, 0];

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// The bytes are not the BER element that has to be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BerError(pub(super) &'static str);

/// One element: its tag, its content without the end mark, and all its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) raw: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

enum Length {
    Definite(usize),
    Indefinite,
}

impl<'a> Element<'a> {
    /// A reader of what is inside.
    pub(super) const fn inside(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes behind the last element.
    pub(super) const fn finish(self) -> Result<(), BerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(BerError("there are bytes behind the last element"))
        }
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<Element<'a>, BerError> {
        let (element, rest) = element(self.rest, DEPTH_MAX)?;
        self.rest = rest;
        Ok(element)
    }

    /// The next element, which has to have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, BerError> {
        let element = self.next()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(BerError("there is an element of another type"))
        }
    }

    /// The next element if it has this tag; otherwise nothing is consumed.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, BerError> {
        if self.rest.first() == Some(&tag) {
            self.next().map(Some)
        } else {
            Ok(None)
        }
    }

    /// A reader of what is inside the next element, which has to have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, BerError> {
        Ok(self.expect(tag)?.inside())
    }

    /// An OBJECT IDENTIFIER, which has to be this one.
    pub(super) fn expect_oid(&mut self, oid: &[u8]) -> Result<(), BerError> {
        if self.expect(OID)?.content == oid {
            Ok(())
        } else {
            Err(BerError("there is another object identifier"))
        }
    }

    /// A non-negative INTEGER of 32 bits in its shortest form.
    pub(super) fn unsigned(&mut self) -> Result<u32, BerError> {
        const RANGE: BerError = BerError("an INTEGER is out of range");
        let content = self.expect(INTEGER)?.content;
        let magnitude = match content {
            [0] => content,
            [0, high, ..] if high & 0x80 != 0 => content.split_at(1).1,
            [high, ..] if *high != 0 && high & 0x80 == 0 => content,
            _ => return Err(RANGE),
        };
        if magnitude.len() > 4 {
            return Err(RANGE);
        }
        let fold = |value: u32, octet: &u8| value << 8 | u32::from(*octet);
        Ok(magnitude.iter().fold(0, fold))
    }

    /// An OCTET STRING, in one piece or in primitive chunks.
    pub(super) fn octets(&mut self) -> Result<Cow<'a, [u8]>, BerError> {
        let element = self.next()?;
        if element.tag == OCTET_STRING {
            return Ok(Cow::Borrowed(element.content));
        }
        if element.tag != OCTET_STRING | CONSTRUCTED {
            return Err(BerError("there is something else than an OCTET STRING"));
        }
        let mut chunks = element.inside();
        let mut whole = Vec::new();
        let mut count = 0;
        while !chunks.is_empty() {
            count += 1;
            if count > CHUNKS_MAX {
                return Err(BerError("an OCTET STRING has too many chunks"));
            }
            whole.extend_from_slice(chunks.expect(OCTET_STRING)?.content);
        }
        Ok(Cow::Owned(whole))
    }
}

/// The first element, and what is behind it. An element of indefinite length ends where its
/// elements end, so those are walked over; `depth` says how many such may be open.
fn element(bytes: &[u8], depth: usize) -> Result<(Element<'_>, &[u8]), BerError> {
    const SHORT: BerError = BerError("an element is longer than what holds it");
    let (tag, length, body) = header(bytes)?;
    let (content, rest) = match length {
        Length::Definite(length) => body.split_at_checked(length).ok_or(SHORT)?,
        Length::Indefinite if tag & CONSTRUCTED == 0 => {
            return Err(BerError("a primitive element is of indefinite length"));
        }
        Length::Indefinite => {
            let depth = depth
                .checked_sub(1)
                .ok_or(BerError("elements of indefinite length stand too deep"))?;
            let mut behind = body;
            loop {
                if let Some(rest) = behind.strip_prefix(&END_OF_CONTENTS) {
                    let length = body.len().saturating_sub(behind.len());
                    let (content, _) = body.split_at_checked(length).ok_or(SHORT)?;
                    break (content, rest);
                }
                behind = element(behind, depth)?.1;
            }
        }
    };
    let length = bytes.len().saturating_sub(rest.len());
    let (raw, _) = bytes.split_at_checked(length).ok_or(SHORT)?;
    Ok((Element { tag, content, raw }, rest))
}

fn header(bytes: &[u8]) -> Result<(u8, Length, &[u8]), BerError> {
    let [tag, first, body @ ..] = bytes else {
        return Err(BerError("the end comes too early"));
    };
    if *tag == 0 {
        return Err(BerError("there is an end mark where nothing is open"));
    }
    if tag & HIGH_NUMBER == HIGH_NUMBER {
        return Err(BerError("there is a tag number beyond any in use"));
    }
    let (length, body) = match first {
        0..0x80 => (Length::Definite(usize::from(*first)), body),
        0x80 => (Length::Indefinite, body),
        0x81.. => {
            let (length, body) = long_length(usize::from(first & 0x7f), body)?;
            (Length::Definite(length), body)
        }
    };
    Ok((*tag, length, body))
}

fn long_length(octets: usize, body: &[u8]) -> Result<(usize, &[u8]), BerError> {
    if octets > LENGTH_OCTETS_MAX {
        return Err(BerError("a length is beyond any receipt"));
    }
    let (digits, body) = body
        .split_at_checked(octets)
        .ok_or(BerError("the end comes too early"))?;
    let length = digits
        .iter()
        .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
    if length < 0x80 || digits.first() == Some(&0) {
        return Err(BerError("a length has more octets than needed"));
    }
    Ok((length, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Element<'_>, BerError> {
        Reader::new(bytes).next()
    }

    #[test]
    fn an_element_of_indefinite_length_ends_at_its_own_mark() {
        let bytes = [
            0x30, 0x80, 0xa0, 0x80, 2, 1, 0, 0, 0, 4, 2, 0, 0, 0, 0, 2, 1, 7,
        ];
        let mut reader = Reader::new(&bytes);
        let outer = reader.next().unwrap();
        assert_eq!(outer.raw, &bytes[..15]);
        assert_eq!(outer.content, &bytes[2..13]);
        let mut inside = outer.inside();
        assert_eq!(inside.next().unwrap().content, [2, 1, 0]);
        assert_eq!(inside.octets().unwrap(), [0_u8, 0].as_slice());
        inside.finish().unwrap();
        assert_eq!(reader.unsigned(), Ok(7));
        reader.finish().unwrap();
    }

    #[test]
    fn chunks_of_an_octet_string_are_joined() {
        let joined = |bytes: &[u8]| Reader::new(bytes).octets().map(Cow::into_owned);
        assert_eq!(joined(&[4, 2, 1, 2]), Ok(vec![1, 2]));
        assert_eq!(
            joined(&[0x24, 0x80, 4, 1, 1, 4, 1, 2, 0, 0]),
            Ok(vec![1, 2])
        );
        assert_eq!(joined(&[0x24, 6, 4, 1, 1, 4, 1, 2]), Ok(vec![1, 2]));
        assert_eq!(joined(&[0x24, 0x80, 0, 0]), Ok(Vec::new()));
        for bad in [
            // a chunk in chunks, another type, a chunk longer than its string, no string at all
            &[0x24, 0x80, 0x24, 3, 4, 1, 1, 0, 0][..],
            &[0x24, 0x80, 2, 1, 1, 0, 0],
            &[0x24, 3, 4, 2, 1, 1],
            &[0x24, 0x80, 4, 9, 1, 0, 0],
            &[2, 1, 1],
        ] {
            assert!(joined(bad).is_err(), "{bad:02x?}");
        }
        let many = |count| [&[0x24, 0x80][..], &[4, 1, 7].repeat(count), &[0, 0]].concat();
        assert_eq!(joined(&many(CHUNKS_MAX)), Ok(vec![7; CHUNKS_MAX]));
        assert!(joined(&many(CHUNKS_MAX + 1)).is_err());
    }

    #[test]
    fn refuses_what_has_two_readings_or_no_end() {
        for bytes in [
            &[][..],
            &[0x04],
            &[0x00, 0x00],
            &[0x00, 0x01, 0x00],
            &[0x04, 0x80, 0, 0],
            &[0x30, 0x80, 0],
            &[0x30, 0x80, 2, 1, 1],
            &[0x30, 0x80, 0, 1, 0, 0],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x83, 0, 0, 1],
            &[0x04, 0x82, 0xff, 0xff],
            &[0x04, 0xff],
            &[0x04, 0x02, 0],
            &[0x1f, 0x21, 0],
        ] {
            assert!(first(bytes).is_err(), "{bytes:02x?}");
        }
        assert!(Reader::new(&[5, 0]).finish().is_err());
    }

    #[test]
    fn nesting_without_end_is_refused_not_followed() {
        let nested = |depth: usize| [[0x30, 0x80].repeat(depth), [0, 0].repeat(depth)].concat();
        assert!(first(&nested(DEPTH_MAX)).is_ok());
        for depth in [DEPTH_MAX + 1, 4000] {
            let refused = first(&nested(depth)).unwrap_err();
            assert_eq!(refused.0, "elements of indefinite length stand too deep");
        }
        assert!(first(&[0x30, 0x80].repeat(8000)).is_err());
    }

    #[test]
    fn integers_have_one_form_and_a_range() {
        let read = |content: &[u8]| {
            let mut bytes = vec![2, u8::try_from(content.len()).unwrap()];
            bytes.extend_from_slice(content);
            Reader::new(&bytes).unsigned().ok()
        };
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[0x7f]), Some(127));
        assert_eq!(read(&[0, 0x80]), Some(128));
        assert_eq!(read(&[0, 0xff, 0xff, 0xff, 0xff]), Some(u32::MAX));
        for bad in [
            &[][..],
            &[0x80],
            &[0, 1],
            &[0, 0],
            &[1, 0, 0, 0, 0],
            &[0; 5],
        ] {
            assert_eq!(read(bad), None, "{bad:02x?}");
        }
    }
}
