//! The chain held against the lists of what is revoked.

use super::{Objection, Walk};
use crate::attestation::own_list::OwnList;
use crate::attestation::status_list::StatusList;
use crate::reason::Reason;

impl Walk<'_> {
    /// The leaf's serial number is 1 on every device, so it identifies nothing.
    pub(super) fn statuses(&self, list: &StatusList) -> Result<String, Objection> {
        for (index, certificate) in self.above_the_app() {
            let serial = certificate.serial_hex();
            if let Some(status) = list.status(&serial) {
                let seen = format!("{serial} is {}", status.as_str());
                return Err(Objection::new(Reason::AttestationCertRevoked, index, seen));
            }
        }
        Ok("none is listed".to_owned())
    }

    /// Serial numbers as for Google's list; keys of every certificate, the leaf's among them, and of
    /// the root also where it is left out.
    pub(super) fn own_revocations(&self, list: &OwnList) -> Result<String, Objection> {
        let refused = |index: usize, seen| {
            let sent = (index < self.certificates.len()).then_some(index);
            Err(Objection::new(Reason::AttestationCertRevoked, sent, seen))
        };
        for (index, certificate) in self.above_the_app() {
            let serial = certificate.serial_hex();
            if list.contains_serial(&serial) {
                return refused(index, format!("serial {serial}"));
            }
        }
        let keys = self.certificates.iter().map(|each| each.spki.sha256());
        let root = self.pin.filter(|_| !self.root_included);
        let root = root.map(|pin| pin.root.key_sha256());
        for (index, key) in keys.chain(root).enumerate() {
            if list.contains_key(&key) {
                let key = data_encoding::HEXLOWER.encode(&key);
                return refused(index, format!("key {key}"));
            }
        }
        Ok("none is listed".to_owned())
    }
}
