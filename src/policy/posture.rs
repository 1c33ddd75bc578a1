//! What a device is, in the few facts that are kept and shown.

/// What the evidence said of a device, as kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posture {
    /// From Android Key Attestation.
    Android(AndroidPosture),
    /// From Apple App Attest.
    Apple(ApplePosture),
}

/// What an Android attestation said; numbers are 0 when absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AndroidPosture {
    /// `attestationVersion`.
    pub attestation_version: u32,
    /// Whether the key is in a secure element.
    pub strongbox: bool,
    /// `osVersion`, MMmmss.
    pub os_version: u32,
    /// `osPatchLevel`, YYYYMM.
    pub os_patch_level: u32,
    /// `vendorPatchLevel`, YYYYMMDD.
    pub vendor_patch_level: u32,
    /// `bootPatchLevel`, YYYYMMDD.
    pub boot_patch_level: u32,
    /// Whether the boot was `SelfSigned` with an allowed key rather than `Verified`.
    pub self_signed_boot: bool,
    /// Whether the attestation key was provisioned remotely.
    pub remotely_provisioned: bool,
}

/// What an App Attest attestation said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplePosture {
    /// Whether the key is from the development environment.
    pub development: bool,
    /// E.g. `17.5.1`.
    pub os_version: Option<String>,
    /// E.g. `21F90`.
    pub os_build: Option<String>,
    /// `apple_validation_category_01`.
    pub validation_category: Option<u32>,
    /// `apple_bundle_version_01`.
    pub bundle_version: Option<String>,
}
