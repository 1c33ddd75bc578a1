//! What a device is, in the facts that are kept and shown. Policy looks at these and at nothing else,
//! so a registered device can be held against a later policy as a new one is.

use std::time::Duration;

use crate::attestation::Facts;
use crate::attestation::android::{
    self, AuthorizationList, Provisioning, RootOfTrust, SecurityLevel, VerifiedBootState,
};
use crate::attestation::apple::receipt::ReceiptEvidence;
use crate::attestation::apple::{self, Environment};

/// Longest verified boot key or hash that is kept: SHA-512. Genuine ones have 32 bytes.
pub const BOOT_DIGEST_BYTES_MAX: usize = 64;

/// Bits of `userAuthType` (hardware/interfaces, HardwareAuthenticatorType.aidl).
const AUTHENTICATOR_PASSWORD: u64 = 1;
const AUTHENTICATOR_BIOMETRIC: u64 = 2;
/// `HardwareAuthenticatorType::ANY`.
const AUTHENTICATOR_ANY: u64 = 0xffff_ffff;

/// What the evidence said of a device, as kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posture {
    /// From Android Key Attestation.
    Android(AndroidPosture),
    /// From Apple App Attest.
    Apple(ApplePosture),
}

/// What an Android attestation said, in what the hardware enforces. `None`: not stated, or a number
/// that no genuine device states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidPosture {
    /// `attestationVersion`.
    pub attestation_version: u32,
    /// `keyMintVersion`.
    pub keymint_version: u32,
    /// What holds the key: the lower of what was attested and what its certificates are issued for.
    pub security_level: SecurityLevel,
    /// What the device booted.
    pub boot: Option<Boot>,
    /// `osVersion`, MMmmss; pre-releases state 0.
    pub os_version: Option<u32>,
    /// `osPatchLevel`, YYYYMM.
    pub os_patch_level: Option<u32>,
    /// `vendorPatchLevel`, YYYYMMDD.
    pub vendor_patch_level: Option<u32>,
    /// `bootPatchLevel`, YYYYMMDD.
    pub boot_patch_level: Option<u32>,
    /// How the attestation key came to be on the device.
    pub provisioning: ProvisioningKind,
    /// What the key wants of the user.
    pub user: UserAuthentication,
    /// Whether a key of the device itself attested this one.
    pub attest_key: bool,
}

/// What a device booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Whether the boot loader is locked.
    pub device_locked: bool,
    /// How verification ended.
    pub state: VerifiedBootState,
    /// The key the system was verified with; empty when none of a possible length is stated.
    pub key: Vec<u8>,
    /// Digest of what was verified.
    pub hash: Option<Vec<u8>>,
}

/// How an attestation key came to be on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningKind {
    /// In the factory.
    Factory,
    /// Over the air.
    Remote,
    /// Neither is recognised.
    Other,
}

impl ProvisioningKind {
    /// The word it is known by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Factory => "FACTORY",
            Self::Remote => "REMOTE",
            Self::Other => "OTHER",
        }
    }
}

/// What a key wants of the user, as far as the hardware enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserAuthentication {
    /// `noAuthRequired`: usable without the user.
    pub none_required: bool,
    /// `userAuthType`: the authenticators of which one is enough.
    pub authenticators: Option<Authenticators>,
    /// `authTimeout`: how long one authentication lasts; `None`: for one use.
    pub timeout: Option<Duration>,
    /// `unlockedDeviceRequired`
    pub unlocked_device: bool,
    /// `trustedUserPresenceRequired`
    pub presence: bool,
    /// `trustedConfirmationRequired`
    pub confirmation: bool,
}

/// A set of authenticators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Authenticators {
    /// PIN, pattern or password.
    pub password: bool,
    /// A strong biometric one.
    pub biometric: bool,
    /// One that has no name here.
    pub other: bool,
}

impl Authenticators {
    /// From the bits of `userAuthType`.
    const fn from_bits(bits: u64) -> Self {
        let any = bits == AUTHENTICATOR_ANY;
        Self {
            password: bits & AUTHENTICATOR_PASSWORD != 0,
            biometric: bits & AUTHENTICATOR_BIOMETRIC != 0,
            other: !any && bits & !(AUTHENTICATOR_PASSWORD | AUTHENTICATOR_BIOMETRIC) != 0,
        }
    }

    /// Whether every authenticator of this set is in the other.
    #[must_use]
    pub const fn within(self, allowed: Self) -> bool {
        (allowed.password || !self.password)
            && (allowed.biometric || !self.biometric)
            && (allowed.other || !self.other)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !self.password && !self.biometric && !self.other
    }
}

/// What an App Attest attestation said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplePosture {
    /// Which App Attest environment the key is from; `None`: an unknown one.
    pub environment: Option<Environment>,
    /// E.g. `iphoneos`, `macosx`.
    pub platform: Option<String>,
    /// E.g. `17.5.1`.
    pub os_version: Option<String>,
    /// E.g. `21F90`.
    pub os_build: Option<String>,
    /// `apple_validation_category_01`.
    pub validation_category: Option<u32>,
    /// `apple_bundle_version_01`.
    pub bundle_version: Option<String>,
    /// Whether the key is bound to the boot state that Apple documents for the Mac.
    pub boot_rules: bool,
    /// `apple_cd_hash_hash_01`.
    pub cd_hash: Option<Vec<u8>>,
    /// What is known of Apple's receipt.
    pub receipt: ReceiptStanding,
}

/// What is known of Apple's receipt for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStanding {
    /// None was sent.
    Absent,
    /// One was sent, and nothing vouches for it.
    Unverified,
    /// Apple signed it for this key.
    Verified,
}

impl ReceiptStanding {
    /// The word it is known by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
        }
    }
}

impl ApplePosture {
    /// Whether the system is macOS. What states no platform is taken for another one, as the
    /// attestation's own check of the boot state takes it.
    #[must_use]
    pub fn is_mac(&self) -> bool {
        self.platform
            .as_deref()
            .is_some_and(|platform| platform.starts_with("macos"))
    }
}

impl Posture {
    /// The facts that are kept: the only way from evidence to a posture.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        match facts {
            Facts::Android(facts) => Self::Android(android(facts)),
            Facts::Apple(facts) => Self::Apple(apple(facts)),
        }
    }
}

fn android(facts: &android::Facts) -> AndroidPosture {
    let hardware = &facts.key_description.hardware_enforced;
    AndroidPosture {
        attestation_version: small(facts.key_description.attestation_version).unwrap_or(0),
        keymint_version: small(facts.key_description.keymint_version).unwrap_or(0),
        security_level: facts.security_level,
        boot: hardware.root_of_trust.as_ref().map(boot),
        os_version: hardware.os_version.and_then(small),
        os_patch_level: hardware.os_patch_level.and_then(small),
        vendor_patch_level: hardware.vendor_patch_level.and_then(small),
        boot_patch_level: hardware.boot_patch_level.and_then(small),
        provisioning: match facts.provisioning {
            Provisioning::Factory => ProvisioningKind::Factory,
            Provisioning::Remote { .. } => ProvisioningKind::Remote,
            Provisioning::Other => ProvisioningKind::Other,
        },
        user: user(hardware),
        attest_key: facts.attest_key,
    }
}

fn small(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn boot(root: &RootOfTrust) -> Boot {
    let bounded = |bytes: &Vec<u8>| match bytes.len() {
        ..=BOOT_DIGEST_BYTES_MAX => bytes.clone(),
        _ => Vec::new(),
    };
    Boot {
        device_locked: root.device_locked,
        state: root.verified_boot_state,
        key: bounded(&root.verified_boot_key),
        hash: root.verified_boot_hash.as_ref().map(bounded),
    }
}

fn user(hardware: &AuthorizationList) -> UserAuthentication {
    UserAuthentication {
        none_required: hardware.no_auth_required,
        authenticators: hardware.user_auth_type.map(Authenticators::from_bits),
        timeout: hardware.auth_timeout.map(Duration::from_secs),
        unlocked_device: hardware.unlocked_device_required,
        presence: hardware.trusted_user_presence_required,
        confirmation: hardware.trusted_confirmation_required,
    }
}

fn apple(facts: &apple::Facts) -> ApplePosture {
    let said = by_the_system(facts).then_some(&facts.extensions);
    ApplePosture {
        environment: facts.environment,
        platform: facts.platform.clone(),
        os_version: facts.os_version.clone(),
        os_build: facts.os_build.clone(),
        validation_category: said.and_then(|said| said.validation_category),
        bundle_version: said.and_then(|said| said.bundle_version.clone()),
        boot_rules: facts.states_mac_boot_rules(),
        cd_hash: said.and_then(|said| said.cd_hash.clone()),
        receipt: receipt_standing(facts),
    }
}

const fn receipt_standing(facts: &apple::Facts) -> ReceiptStanding {
    match facts.receipt {
        ReceiptEvidence::Absent => ReceiptStanding::Absent,
        ReceiptEvidence::Unverified { .. } => ReceiptStanding::Unverified,
        ReceiptEvidence::Verified { .. } => ReceiptStanding::Verified,
    }
}

/// Whether the system wrote the extension map. On systems that write none, an app can have its own
/// signed behind the authenticator data, but not announced in the flags in front of it. Macs do not
/// announce theirs, and every macOS with App Attest writes one.
fn by_the_system(facts: &apple::Facts) -> bool {
    facts.extensions.announced || facts.platform.as_deref() == Some("macosx")
}
