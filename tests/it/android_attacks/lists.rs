//! Certificates that are not valid now, and those that are revoked by Google's list or by the
//! operator's own.

use data_encoding::{HEXLOWER, HEXUPPER};

use super::*;

const YESTERDAY: &str = "20261121235959Z";
const TOMORROW: &str = "20261122000001Z";

fn with_serial(at: usize, serial: &[u8]) -> Forge {
    factory_with(|f| f.certificates[at].serial = serial.to_vec())
}

fn key_of(forge: &Forge, at: usize) -> [u8; 32] {
    assay::key::sha256(&forge.certificates[at].spki())
}

/// With the key of one certificate on the operator's list.
fn key_revoked(forge: Forge, at: usize) -> Case {
    let entry = format!("key {}", HEXLOWER.encode(&key_of(&forge, at)));
    Case::from(forge).revoked(entry)
}

fn of_neither_kind(change: impl FnOnce(&mut Forge)) -> Forge {
    factory_with(|f| {
        f.certificates[2].subject = common_name("Some Authority");
        change(f);
    })
}

attacks! { GROUP, refuses_certificates_that_are_over_or_revoked;
    "an expired certificate, remote":
        AttestationChainUntrusted, "dates", [1, 2, 3],
        |at| remote_with(|f| f.certificates[at].not_after = time(YESTERDAY));
    "a certificate that is not valid yet, remote":
        AttestationChainUntrusted, "dates", [1, 2, 3],
        |at| remote_with(|f| f.certificates[at].not_before = time(TOMORROW));
    "a certificate that is not valid yet, factory":
        AttestationChainUntrusted, "dates", [1, 2],
        |at| factory_with(|f| f.certificates[at].not_before = time(TOMORROW));
    "an expired certificate of neither kind":
        AttestationChainUntrusted, "dates", [1, 2],
        |at| of_neither_kind(|f| f.certificates[at].not_after = time(YESTERDAY));
    "a certificate of neither kind that is not valid yet":
        AttestationChainUntrusted, "dates", [1, 2],
        |at| of_neither_kind(|f| f.certificates[at].not_before = time(TOMORROW));
    "a date that is none":
        AttestationChainUntrusted, "dates", [1, 2],
        |at| factory_with(|f| f.certificates[at].not_after = time("never"));
    "a date of another type":
        AttestationChainUntrusted, "dates", [1, 2],
        |at| factory_with(|f| f.certificates[at].not_before = octets(b"20260101000000Z"));
    "a name almost like those that never expire":
        AttestationChainUntrusted, "dates", [2],
        |at| factory_with(|f| {
            f.certificates[at].subject = batch("aa02", Some("Batch"));
            f.certificates[at].not_after = time(YESTERDAY);
        });
    "the name of a factory batch below a remote authority":
        AttestationChainUntrusted, "dates", [1],
        |at| remote_with(|f| {
            f.certificates[at].subject = batch("aa01", Some("TEE"));
            f.certificates[at].not_after = time(YESTERDAY);
        });
    "a revoked certificate, remote":
        AttestationCertRevoked, "status_list", [1, 2, 3],
        |at| Case::from(remote_with(|_| {})).listed(&format!("100{at}"), "REVOKED");
    "a revoked certificate, factory":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(factory_with(|_| {})).listed(&format!("100{at}"), "REVOKED");
    "a revoked root certificate":
        AttestationCertRevoked, "status_list", [4],
        |_| Case::from(remote_with(|_| {})).listed("1009", "REVOKED");
    "a suspended certificate":
        AttestationCertRevoked, "status_list", [1, 2, 3],
        |at| Case::from(remote_with(|_| {})).listed(&format!("100{at}"), "SUSPENDED");
    "a certificate listed with an unknown status":
        AttestationCertRevoked, "status_list", [1, 2, 3],
        |at| Case::from(remote_with(|_| {})).listed(&format!("100{at}"), "QUARANTINED");
    "a listed serial number whose first digit is zero":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0x09, 0x63, 0x55])).listed("96355", "REVOKED");
    "a listed serial number of decimal digits only":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0x66, 0x81, 0x15, 0x26])).listed("66811526", "REVOKED");
    "a listed serial number with its first bit set":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0, 0xcc, 0x66])).listed("cc66", "REVOKED");
    "a serial number listed in capitals":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0, 0xcc, 0x66])).listed("CC66", "REVOKED");
    "a serial number listed with zeros in front":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0, 0xcc, 0x66])).listed("0000cc66", "REVOKED");
    "a listed serial number of 20 octets":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0x7f; 20])).listed(&"7f".repeat(20), "REVOKED");
    "a listed serial number with zeros in front of it in the certificate":
        AttestationCertRevoked, "status_list", [1, 2],
        |at| Case::from(with_serial(at, &[0, 0, 0, 0x63])).listed("63", "REVOKED");
    "a negative serial number":
        EvidenceMalformed, "structure", [0, 1, 2, 3],
        |at| with_serial(at, &[0xcc, 0x66]);
    "a serial number longer than any":
        EvidenceMalformed, "structure", [0, 1, 2, 3],
        |at| with_serial(at, &[0x7f; 22]);
    "a serial number without content":
        EvidenceMalformed, "structure", [0, 1, 2, 3],
        |at| with_serial(at, &[]);
    "a serial number on the operator's list, remote":
        AttestationCertRevoked, "own_list", [1, 2, 3],
        |at| Case::from(remote_with(|_| {})).revoked(format!("serial 100{at}"));
    "a serial number on the operator's list, factory":
        AttestationCertRevoked, "own_list", [1, 2],
        |at| Case::from(factory_with(|_| {})).revoked(format!("serial 100{at}"));
    "a serial number on the operator's list in another form":
        AttestationCertRevoked, "own_list", [1, 2],
        |at| Case::from(with_serial(at, &[0, 0xcc, 0x66])).revoked("# leaked\nserial 00CC66 # x");
    "a key on the operator's list, remote":
        AttestationCertRevoked, "own_list", [0, 1, 2, 3, 4],
        |at| key_revoked(remote_with(|_| {}), at);
    "a key on the operator's list, factory":
        AttestationCertRevoked, "own_list", [0, 1, 2, 3],
        |at| key_revoked(factory_with(|_| {}), at);
    "a key on the operator's list in capitals":
        AttestationCertRevoked, "own_list", [1],
        |at| {
            let forge = remote_with(|_| {});
            let entry = format!("key {}", HEXUPPER.encode(&key_of(&forge, at)));
            Case::from(forge).revoked(entry)
        };
    "a key on the operator's list under another serial number":
        AttestationCertRevoked, "own_list", [1],
        |at| key_revoked(remote_with(|f| f.certificates[1].serial = vec![0x42]), at);
    "a root on the operator's list, left out":
        AttestationCertRevoked, "own_list", [],
        |_| key_revoked(remote_with(|f| f.root_sent = false), 4);
}

#[test]
fn a_listed_serial_number_of_a_leaf_refuses_nobody() {
    for at in [0, 4] {
        let case = || Case::from(remote_with(|f| f.certificates[at].serial = vec![1]));
        let refused = at > 0;
        assert_eq!(case().listed("1", "REVOKED").verdict().is_err(), refused);
        assert_eq!(case().revoked("serial 1").verdict().is_err(), refused);
    }
}

/// 0xcc66 is 52326, and 0x52326 is another number.
#[test]
fn serial_numbers_are_never_read_as_decimal_ones() {
    let case = || Case::from(with_serial(1, &[0, 0xcc, 0x66]));
    assert!(case().listed("52326", "REVOKED").verdict().is_ok());
    assert!(case().revoked("serial 52326").verdict().is_ok());
}
