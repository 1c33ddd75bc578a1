//! Attestations that cannot be read in one way only.

use super::*;

fn hardware_too(tag: u32, value: Vec<u8>) -> Forge {
    described(|d| d.hardware.push((tag, value)))
}

fn root(locked: u8, state: u8) -> Vec<u8> {
    root_of_trust(&[7; 32], locked, state, Some(&[8; 32]))
}

/// A field of the hardware's list with another value.
fn stating(tag: u32, value: Vec<u8>) -> Forge {
    described(|d| *hardware(d, tag) = value)
}

/// With some of its octets replaced by as many others.
fn altered(seen: &[u8], instead: &[u8]) -> Forge {
    let mut der = genuine().der();
    let at = der.windows(seen.len()).position(|octets| octets == seen);
    der[at.unwrap()..][..seen.len()].copy_from_slice(instead);
    remote_with(|f| f.certificates[0].extensions[1] = extension(KEY_DESCRIPTION, None, &der))
}

attacks! { GROUP, refuses_attestations_with_two_readings;
    "two origins":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(702, integer(2));
    "the same origin twice":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(702, integer(0));
    "two roots of trust":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(704, root(0, 2));
    "two patch levels":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(706, integer(209_901));
    "a flag twice":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(503, null());
    "two apps in one list":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.software.push((709, application(&[PACKAGE], &[&SIGNER]))));
    "two values in one tag":
        EvidenceMalformed, "key_description", [0],
        |_| stating(706, [integer(202_610), integer(1)].concat());
    "a tag without value":
        EvidenceMalformed, "key_description", [0],
        |_| stating(706, Vec::new());
    "an unknown level of the key":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.key_level = 3);
    "an unknown level of the attestation":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.attestation_level = 3);
    "an unknown origin":
        EvidenceMalformed, "key_description", [0],
        |_| stating(702, integer(9));
    "a negative origin":
        EvidenceMalformed, "key_description", [0],
        |_| stating(702, tlv(2, &[0x80]));
    "an unknown boot state":
        EvidenceMalformed, "key_description", [0],
        |_| stating(704, root(0xff, 4));
    "a lock of two octets":
        EvidenceMalformed, "key_description", [0],
        |_| stating(704, sequence(&[octets(&[7; 32]), tlv(1, &[0, 1]), tlv(10, &[0])]));
    "a root of trust without boot state":
        EvidenceMalformed, "key_description", [0],
        |_| stating(704, sequence(&[octets(&[7; 32]), tlv(1, &[0xff])]));
    "a root of trust with five fields":
        EvidenceMalformed, "key_description", [0],
        |_| stating(704, sequence(&[
            octets(&[7; 32]), tlv(1, &[0xff]), tlv(10, &[0]), octets(&[8; 32]), null(),
        ]));
    "a number as flag":
        EvidenceMalformed, "key_description", [0],
        |_| stating(503, integer(0));
    "a flag as number":
        EvidenceMalformed, "key_description", [0],
        |_| stating(706, null());
    "a flag with content":
        EvidenceMalformed, "key_description", [0],
        |_| stating(503, tlv(5, &[0]));
    "a number larger than any":
        EvidenceMalformed, "key_description", [0],
        |_| stating(706, tlv(2, &[1; 9]));
    "a negative version":
        EvidenceMalformed, "key_description", [0],
        |_| altered(&integer(300), &tlv(2, &[0x81, 0x2c]));
    "purposes that are no set":
        EvidenceMalformed, "key_description", [0],
        |_| stating(1, integer(2));
    "a set without end":
        EvidenceMalformed, "key_description", [0],
        |_| stating(1, integers(&[2; 33]));
    "a set without end in parts":
        EvidenceMalformed, "key_description", [0],
        |_| hardware_too(5, integers(&[4; 32]));
    "more tags than there are":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.software.extend((1000..1200).map(|n| (n, null()))));
    "an unknown tag without end":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.hardware.extend(vec![(900, null()); 128]));
    "an authorization that is not explicitly tagged":
        EvidenceMalformed, "key_description", [0],
        |_| {
            let purposes = explicit(1, &integers(&[2, 3]));
            altered(&purposes, &[&[0x81], &purposes[1..]].concat())
        };
    "a package name that is not UTF-8":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| {
            let package = sequence(&[octets(&[0xff]), integer(1)]);
            d.software[1].1 = octets(&sequence(&[set(&[package]), set(&[])]));
        });
    "more packages than any shared UID has":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.software[1].1 = application(&[PACKAGE; 65], &[&SIGNER]));
    "more signers than any package has":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| d.software[1].1 = application(&[PACKAGE], &[SIGNER.as_slice(); 33]));
    "a byte behind the app":
        EvidenceMalformed, "key_description", [0],
        |_| described(|d| {
            let id = application(&[PACKAGE], &[&SIGNER]);
            d.software[1].1 = octets(&[&id[2..], &[0]].concat());
        });
}
