//! What phone and app an Android attestation speaks of.

use time::OffsetDateTime;

use crate::time::Timestamp;

/// Where a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityLevel {
    /// In the operating system: no protection.
    Software,
    /// In a trusted execution environment.
    TrustedEnvironment,
    /// In a secure element.
    StrongBox,
}

impl SecurityLevel {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Software => 0,
            Self::TrustedEnvironment => 1,
            Self::StrongBox => 2,
        }
    }

    /// As the attestation certificate names it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Software => "Software",
            Self::TrustedEnvironment => "TEE",
            Self::StrongBox => "StrongBox",
        }
    }
}

/// What the phone booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The maker's system, bootloader locked.
    Verified,
    /// Another system signed with the owner's key, bootloader locked.
    SelfSigned,
    /// Anything, bootloader unlocked.
    Unlocked,
}

/// How the phone came by its attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    /// Over the air, a certificate of two weeks: five certificates.
    Remote,
    /// In the factory, a certificate of ten years: four certificates.
    Factory,
}

/// Where the attested key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In secure hardware.
    Generated,
    /// Elsewhere, so others may have it.
    Imported,
}

/// What the attested key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signing.
    Sign,
    /// Verifying.
    Verify,
    /// Signing other attestations, and nothing else on a real phone.
    AttestKey,
}

impl Purpose {
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Sign => 2,
            Self::Verify => 3,
            Self::AttestKey => 7,
        }
    }
}

/// The app and the phone that an attestation speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the app's package.
    pub package_name: String,
    /// Its version code.
    pub package_version: u64,
    /// SHA-256 of the certificate that signs it.
    pub signing_certificate_sha256: [u8; 32],
    /// Where keys live.
    pub security_level: SecurityLevel,
    /// What booted.
    pub boot: Boot,
    /// How the attestation key arrived.
    pub provisioning: Provisioning,
    /// Version of the attestation format; 300 is KeyMint 3.
    pub attestation_version: u64,
    /// `MMmmss`, e.g. 150000.
    pub os_version: u64,
    /// `YYYYMM`.
    pub os_patch_level: u64,
    /// `YYYYMMDD`.
    pub vendor_patch_level: u64,
    /// `YYYYMMDD`.
    pub boot_patch_level: u64,
    /// Where keys are made.
    pub origin: Origin,
    /// What keys are for.
    pub purposes: Vec<Purpose>,
    /// Whether every use of a key needs the user's fingerprint, face or password.
    pub user_authentication: bool,
    /// For how many seconds one such authentication opens keys; `None`: for one use.
    pub authentication_timeout: Option<u64>,
}

impl Options {
    /// A well-kept phone at `now`: TEE, locked, verified, remotely provisioned, patched last month.
    #[must_use]
    pub fn well_kept(package_name: &str, signing_sha256: [u8; 32], now: Timestamp) -> Self {
        let month = month_before(now);
        Self {
            package_name: package_name.to_owned(),
            package_version: 1,
            signing_certificate_sha256: signing_sha256,
            security_level: SecurityLevel::TrustedEnvironment,
            boot: Boot::Verified,
            provisioning: Provisioning::Remote,
            attestation_version: 300,
            os_version: 150_000,
            os_patch_level: month,
            vendor_patch_level: month * 100 + 5,
            boot_patch_level: month * 100 + 5,
            origin: Origin::Generated,
            purposes: vec![Purpose::Sign, Purpose::Verify],
            user_authentication: false,
            authentication_timeout: None,
        }
    }
}

/// `YYYYMM` of the month before `now`.
fn month_before(now: Timestamp) -> u64 {
    let at =
        OffsetDateTime::from_unix_timestamp(now.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let year = u64::try_from(at.year()).unwrap_or(1970);
    match u64::from(u8::from(at.month())) {
        1 => (year - 1) * 100 + 12,
        month => year * 100 + month - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_before_january_is_in_the_year_before() {
        let at = |text| month_before(Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(at("2027-01-31T00:00:00Z"), 202_612);
        assert_eq!(at("2026-11-01T00:00:00Z"), 202_610);
    }
}
