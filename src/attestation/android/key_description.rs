//! `KeyDescription`: the extension in which the hardware says what it attests.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::authorization_list::AuthorizationList;
use super::der::{DerError, Reader};
use super::value::{AttestationApplicationId, SecurityLevel};

/// 1.3.6.1.4.1.11129.2.1.17, as the content of the OID.
pub(super) const KEY_DESCRIPTION: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 17];
/// 1.3.6.1.4.1.11129.2.1.25: the same claims as an entity attestation token, which is not read.
pub(super) const ENTITY_ATTESTATION_TOKEN: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 25];
/// 1.3.6.1.4.1.11129.2.1.29 and what is below it: a virtual machine attested remotely.
pub(super) const VIRTUAL_MACHINE: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 29];

/// Values of `purposes`.
pub mod purpose {
    /// Makes signatures.
    pub const SIGN: u64 = 2;
    /// Checks signatures.
    pub const VERIFY: u64 = 3;
    /// Attests other keys: never a device key.
    pub const ATTEST_KEY: u64 = 7;
}

/// What the hardware attests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// 1 to 4 for Keymaster, 100 to 500 and beyond for `KeyMint`.
    pub attestation_version: u64,
    /// What signs the attestation.
    pub attestation_security_level: SecurityLevel,
    /// Differs from `attestation_version` on some genuine devices.
    pub keymint_version: u64,
    /// What holds the key.
    pub keymint_security_level: SecurityLevel,
    /// The challenge the key was made for.
    pub attestation_challenge: Vec<u8>,
    /// Normally empty.
    pub unique_id: Vec<u8>,
    /// What the operating system enforces. Only as good as the system: whoever controls it writes it.
    pub software_enforced: AuthorizationList,
    /// What the hardware enforces.
    pub hardware_enforced: AuthorizationList,
}

impl KeyDescription {
    /// Reads the value of the extension.
    pub(super) fn read(value: &[u8]) -> Result<Self, DerError> {
        let mut outer = Reader::new(value);
        let mut fields = outer.sequence()?;
        outer.finish()?;
        let description = Self {
            attestation_version: fields.unsigned()?,
            attestation_security_level: SecurityLevel::from_number(fields.enumerated()?)?,
            keymint_version: fields.unsigned()?,
            keymint_security_level: SecurityLevel::from_number(fields.enumerated()?)?,
            attestation_challenge: fields.octet_string()?.to_vec(),
            unique_id: fields.octet_string()?.to_vec(),
            software_enforced: AuthorizationList::read(fields.sequence()?)?,
            hardware_enforced: AuthorizationList::read(fields.sequence()?)?,
        };
        fields.finish()?;
        Ok(description)
    }

    /// The app that made the key: from the hardware's list where it is there, otherwise from the
    /// system's.
    #[must_use]
    pub fn application(&self) -> Option<&AttestationApplicationId> {
        self.hardware_enforced
            .attestation_application_id
            .as_ref()
            .or(self.software_enforced.attestation_application_id.as_ref())
    }
}

impl Serialize for KeyDescription {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let mut fields = serializer.serialize_struct("KeyDescription", 8)?;
        fields.serialize_field("attestation_version", &self.attestation_version)?;
        fields.serialize_field(
            "attestation_security_level",
            &self.attestation_security_level,
        )?;
        fields.serialize_field("keymint_version", &self.keymint_version)?;
        fields.serialize_field("keymint_security_level", &self.keymint_security_level)?;
        fields.serialize_field("attestation_challenge", &hex(&self.attestation_challenge))?;
        fields.serialize_field("unique_id", &hex(&self.unique_id))?;
        fields.serialize_field("software_enforced", &self.software_enforced)?;
        fields.serialize_field("hardware_enforced", &self.hardware_enforced)?;
        fields.end()
    }
}
