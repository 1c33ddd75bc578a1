//! A reader of DER that never recurses, never copies and never reads past what it was given.
//!
//! Key attestations come from many makers' encoders, so the reader is asked for one element at a
//! time and each caller decides how much to insist on. Two things are refused everywhere: indefinite
//! lengths, and bytes left over where an element has to end.

/// The bytes are not the DER element that has to be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the expected DER element: {0}")]
pub(super) struct DerError(pub(super) &'static str);

/// An identifier: class and constructed bits as in the first octet, and the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    class_and_form: u8,
    pub(super) number: u32,
}

const CLASS_AND_FORM: u8 = 0b1110_0000;
const CONSTRUCTED: u8 = 0b0010_0000;
const CONTEXT: u8 = 0b1000_0000;
/// The low five bits that announce a tag number in the following octets (X.690, 8.1.2.4).
const HIGH_NUMBER: u8 = 0b0001_1111;
/// `KeyMint` tag numbers are below 2^14; three octets leave room and keep the number in a `u32`.
const TAG_OCTETS_MAX: usize = 3;
/// Four octets of length already exceed every cap on evidence.
const LENGTH_OCTETS_MAX: usize = 4;

impl Tag {
    pub(super) const BOOLEAN: Self = Self::universal(1);
    pub(super) const INTEGER: Self = Self::universal(2);
    pub(super) const BIT_STRING: Self = Self::universal(3);
    pub(super) const OCTET_STRING: Self = Self::universal(4);
    pub(super) const NULL: Self = Self::universal(5);
    pub(super) const OID: Self = Self::universal(6);
    pub(super) const ENUMERATED: Self = Self::universal(10);
    pub(super) const SEQUENCE: Self = Self::universal(16 | CONSTRUCTED);
    pub(super) const SET: Self = Self::universal(17 | CONSTRUCTED);

    const fn universal(octet: u8) -> Self {
        Self {
            class_and_form: octet & CONSTRUCTED,
            number: (octet & HIGH_NUMBER) as u32,
        }
    }

    /// `[number]`, constructed: what EXPLICIT tagging makes.
    pub(super) const fn explicit(number: u32) -> Self {
        Self {
            class_and_form: CONTEXT | CONSTRUCTED,
            number,
        }
    }

    pub(super) const fn is_explicit(self) -> bool {
        self.class_and_form == CONTEXT | CONSTRUCTED
    }
}

/// One element: its tag, its content, and all its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    pub(super) content: &'a [u8],
    pub(super) raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// A reader of what is inside.
    pub(super) const fn inside(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Reads elements one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes behind the last element.
    pub(super) fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerError("bytes behind the last element"))
        }
    }

    fn octet(&mut self) -> Result<u8, DerError> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or(DerError("the end comes too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<Element<'a>, DerError> {
        let start = self.rest;
        let tag = self.tag()?;
        let length = self.length()?;
        let (content, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DerError("an element is longer than what holds it"))?;
        self.rest = rest;
        let (raw, _) = start
            .split_at_checked(start.len().saturating_sub(rest.len()))
            .ok_or(DerError("an element is longer than what holds it"))?;
        Ok(Element { tag, content, raw })
    }

    fn tag(&mut self) -> Result<Tag, DerError> {
        let first = self.octet()?;
        let class_and_form = first & CLASS_AND_FORM;
        let low = first & HIGH_NUMBER;
        if low != HIGH_NUMBER {
            return Ok(Tag {
                class_and_form,
                number: u32::from(low),
            });
        }
        let mut number = 0_u32;
        for _ in 0..TAG_OCTETS_MAX {
            let octet = self.octet()?;
            number = number << 7 | u32::from(octet & 0x7f);
            if number == 0 {
                return Err(DerError("a tag number with leading zeros"));
            }
            if octet & 0x80 == 0 {
                return if number < u32::from(HIGH_NUMBER) {
                    Err(DerError("a low tag number in the high form"))
                } else {
                    Ok(Tag {
                        class_and_form,
                        number,
                    })
                };
            }
        }
        Err(DerError("a tag number beyond any in use"))
    }

    fn length(&mut self) -> Result<usize, DerError> {
        let first = self.octet()?;
        if first & 0x80 == 0 {
            return Ok(usize::from(first));
        }
        let octets = usize::from(first & 0x7f);
        if octets == 0 || octets > LENGTH_OCTETS_MAX {
            return Err(DerError("an indefinite or enormous length"));
        }
        let mut length = 0_usize;
        for _ in 0..octets {
            length = length << 8 | usize::from(self.octet()?);
        }
        // Longer than needed is not DER. No genuine encoder was seen to do it, and refusing it
        // leaves one reading of the bytes.
        if length < 0x80 || length >> (8 * (octets - 1)) == 0 {
            return Err(DerError("a length in more octets than needed"));
        }
        Ok(length)
    }

    /// The next element, which has to have this tag.
    pub(super) fn expect(&mut self, tag: Tag) -> Result<Element<'a>, DerError> {
        let element = self.next()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(DerError("an element of another type"))
        }
    }

    /// The next element if it has this tag; otherwise nothing is consumed.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.is_empty() || self.clone().tag()? != tag {
            return Ok(None);
        }
        self.expect(tag).map(Some)
    }

    pub(super) fn sequence(&mut self) -> Result<Self, DerError> {
        Ok(self.expect(Tag::SEQUENCE)?.inside())
    }

    pub(super) fn octet_string(&mut self) -> Result<&'a [u8], DerError> {
        Ok(self.expect(Tag::OCTET_STRING)?.content)
    }

    /// A BOOLEAN. Any octet but zero is TRUE: real devices write 1 where DER wants 255.
    pub(super) fn boolean(&mut self) -> Result<bool, DerError> {
        match self.expect(Tag::BOOLEAN)?.content {
            [octet] => Ok(*octet != 0),
            _ => Err(DerError("a BOOLEAN that is not one octet")),
        }
    }

    pub(super) fn null(&mut self) -> Result<(), DerError> {
        if self.expect(Tag::NULL)?.content.is_empty() {
            Ok(())
        } else {
            Err(DerError("a NULL with content"))
        }
    }

    /// A non-negative INTEGER that fits.
    pub(super) fn unsigned(&mut self) -> Result<u64, DerError> {
        let content = self.expect(Tag::INTEGER)?.content;
        u64::try_from(integer(content)?).map_err(|_| DerError("an INTEGER out of range"))
    }

    /// An INTEGER that fits.
    pub(super) fn signed(&mut self) -> Result<i64, DerError> {
        let content = self.expect(Tag::INTEGER)?.content;
        i64::try_from(integer(content)?).map_err(|_| DerError("an INTEGER out of range"))
    }

    /// An ENUMERATED that fits.
    pub(super) fn enumerated(&mut self) -> Result<u64, DerError> {
        let content = self.expect(Tag::ENUMERATED)?.content;
        u64::try_from(integer(content)?).map_err(|_| DerError("an ENUMERATED out of range"))
    }
}

/// Two's complement, of up to a `u64` with its sign octet.
fn integer(content: &[u8]) -> Result<i128, DerError> {
    let (first, _) = content
        .split_first()
        .ok_or(DerError("an INTEGER without content"))?;
    if content.len() > 9 {
        return Err(DerError("an INTEGER out of range"));
    }
    let sign: i128 = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(content
        .iter()
        .fold(sign, |value, octet| value << 8 | i128::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_high_tag_numbers_and_long_lengths() {
        let mut bytes = vec![0xbf, 0x85, 0x40, 0x81, 0x80];
        bytes.extend_from_slice(&[7; 128]);
        let mut reader = Reader::new(&bytes);
        let element = reader.next().unwrap();
        assert_eq!(element.tag, Tag::explicit(704));
        assert_eq!(element.content, [7; 128]);
        assert_eq!(element.raw, bytes);
        reader.finish().unwrap();
    }

    #[test]
    fn refuses_what_has_two_readings_or_no_end() {
        for bytes in [
            &[0x04_u8][..],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x04, 0x02, 0],
            &[0x1f, 0x80, 0x21, 0],
            &[0x1f, 0x1e, 0],
            &[0x1f, 0x81, 0x81, 0x81, 0x01, 0],
        ] {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:02x?}");
        }
        assert!(Reader::new(&[0]).finish().is_err());
    }

    #[test]
    fn integers_keep_their_sign_and_range() {
        let unsigned = |content: &[u8]| {
            let mut bytes = vec![2, u8::try_from(content.len()).unwrap()];
            bytes.extend_from_slice(content);
            Reader::new(&bytes).unsigned()
        };
        assert_eq!(unsigned(&[0]), Ok(0));
        assert_eq!(unsigned(&[0, 0xff]), Ok(255));
        assert_eq!(
            unsigned(&[0, 255, 255, 255, 255, 255, 255, 255, 255]),
            Ok(u64::MAX)
        );
        assert!(unsigned(&[0xff]).is_err());
        assert!(unsigned(&[]).is_err());
        assert!(unsigned(&[1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(Reader::new(&[2, 1, 0xff]).signed(), Ok(-1));
    }
}
