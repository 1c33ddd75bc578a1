//! Bytes with two readings, none, or no end. What is around the signed part of a certificate anyone
//! can write in another way, so each is tried there, and in the attestation.

use super::*;

/// The tag, the content and what follows of the first element.
fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (start, length) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let octets = usize::from(long & 0x7f);
            let each = der[2..2 + octets].iter();
            let length = each.fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (2 + octets, length)
        }
    };
    (der[0], &der[start..start + length], &der[start + length..])
}

/// With a length in more octets than needed.
fn long_length(der: &[u8]) -> Vec<u8> {
    let (tag, content, _) = split(der);
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], content].concat()
}

fn indefinite(der: &[u8]) -> Vec<u8> {
    let (tag, content, _) = split(der);
    [&[tag, 0x80], content, &[0, 0]].concat()
}

/// With the length of more octets than there are.
fn endless(der: &[u8]) -> Vec<u8> {
    let (tag, content, _) = split(der);
    [&[tag, 0x84, 0x7f, 0xff, 0xff, 0xff], content].concat()
}

/// The parts of a certificate: signed part, algorithm, signature.
fn parts(der: &[u8]) -> [Vec<u8>; 3] {
    let (_, mut rest, _) = split(der);
    std::array::from_fn(|_| {
        let (_, _, after) = split(rest);
        let part = rest[..rest.len() - after.len()].to_vec();
        rest = after;
        part
    })
}

fn resent(at: usize, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Case {
    Case::from(remote_with(|_| {})).sent(|der| der[at] = change(&der[at]))
}

/// With one part of a certificate encoded otherwise.
fn part_resent(at: usize, part: usize, change: fn(&[u8]) -> Vec<u8>) -> Case {
    resent(at, |der| {
        let mut parts = parts(der);
        parts[part] = change(&parts[part]);
        sequence(&parts)
    })
}

/// A leaf with these octets as its attestation.
fn attesting(change: impl FnOnce(&[u8]) -> Vec<u8>) -> Forge {
    remote_with(|f| {
        let octets = change(&genuine().der());
        f.certificates[0].extensions[1] = extension(KEY_DESCRIPTION, None, &octets);
    })
}

/// A thousand levels of SEQUENCE.
pub(crate) fn deep() -> Vec<u8> {
    (0..1000).fold(null(), |inside, _| tlv(0x30, &inside))
}

attacks! { GROUP, refuses_bytes_that_are_not_one_certificate;
    "bytes that are no certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |_| b"certificate".to_vec());
    "nothing where a certificate should be":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |_| Vec::new());
    "a byte behind a certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| remote_with(|f| f.certificates[at].trailing = vec![b'\n']);
    "a certificate behind a certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |der| [der, der].concat());
    "a byte less of a certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |der| der[..der.len() - 1].to_vec());
    "a certificate of version 1":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| remote_with(|f| f.certificates[at].version = 0);
    "a certificate whose length has more octets than needed":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, long_length);
    "a signed part whose length has more octets than needed":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 0, long_length);
    "an algorithm whose length has more octets than needed":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 1, long_length);
    "a signature whose length has more octets than needed":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 2, long_length);
    "a certificate of indefinite length":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, indefinite);
    "a signed part of indefinite length":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 0, indefinite);
    "a certificate longer than its bytes":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, endless);
    "a signed part longer than what holds it":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 0, endless);
    "a fourth part of a certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |der| sequence(&[parts(der).concat(), null()]));
    "a thousand levels instead of a certificate":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| resent(at, |_| deep());
    "a signature that is not whole octets":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| part_resent(at, 2, |part| [&part[..2], &[4], &part[3..]].concat());
    "more extensions than any certificate has":
        EvidenceMalformed, "structure", [0, 1, 2, 3, 4],
        |at| remote_with(|f| {
            let each = (0..30).map(|n| extension(&[0x55, 0x1d, 60 + n], None, &null()));
            f.certificates[at].extensions.extend(each);
        });
    "a byte behind the attestation":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(|der| [der, &[0]].concat());
    "a byte less of the attestation":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(|der| der[..der.len() - 1].to_vec());
    "an attestation without content":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(|_| Vec::new());
    "an attestation whose length has more octets than needed":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(long_length);
    "an attestation of indefinite length":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(indefinite);
    "an attestation longer than its bytes":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(endless);
    "a thousand levels instead of an attestation":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(|_| deep());
    "a thousand levels instead of a root of trust":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| *hardware(d, 704) = deep());
    "an attestation in a SET":
        EvidenceMalformed, "key_description", [0],
        |_| attesting(|der| [&[0x31], &der[1..]].concat());
    "a ninth field of the attestation":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.trailing = null());
}
