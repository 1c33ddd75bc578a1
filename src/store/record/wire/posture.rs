//! What a device's record keeps of its evidence.

use std::time::Duration;

use prost::{Enumeration, Message, Oneof};

use crate::policy::{self, Environment, SecurityLevel, VerifiedBootState};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Level {
    Unknown = 0,
    Software = 1,
    TrustedEnvironment = 2,
    StrongBox = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum BootState {
    Unknown = 0,
    Verified = 1,
    SelfSigned = 2,
    Unverified = 3,
    Failed = 4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Provisioning {
    Unknown = 0,
    Factory = 1,
    Remote = 2,
    Other = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum AppEnvironment {
    Unknown = 0,
    Production = 1,
    Development = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Receipt {
    Unknown = 0,
    Absent = 1,
    Unverified = 2,
    Verified = 3,
}

#[derive(Clone, PartialEq, Oneof)]
#[prost(skip_debug)]
pub(super) enum Posture {
    #[prost(message, tag = "11")]
    Android(AndroidPosture),
    #[prost(message, tag = "12")]
    Apple(ApplePosture),
}

/// Tags 2, 7 and 8 were flags that told less and are not used again.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct AndroidPosture {
    #[prost(uint32, tag = "1")]
    attestation_version: u32,
    #[prost(uint32, optional, tag = "3")]
    os_version: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    os_patch_level: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    vendor_patch_level: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    boot_patch_level: Option<u32>,
    #[prost(enumeration = "Level", tag = "9")]
    security_level: i32,
    #[prost(uint32, tag = "10")]
    keymint_version: u32,
    #[prost(message, optional, tag = "11")]
    boot: Option<Boot>,
    #[prost(message, optional, tag = "12")]
    user: Option<UserAuthentication>,
    #[prost(bool, tag = "13")]
    attest_key: bool,
    #[prost(enumeration = "Provisioning", tag = "14")]
    provisioning: i32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Boot {
    #[prost(bool, tag = "1")]
    device_locked: bool,
    #[prost(enumeration = "BootState", tag = "2")]
    state: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "4")]
    hash: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct UserAuthentication {
    #[prost(bool, tag = "1")]
    none_required: bool,
    /// Bit 0 password, bit 1 biometric, bit 2 another one.
    #[prost(uint32, optional, tag = "2")]
    authenticators: Option<u32>,
    #[prost(uint64, optional, tag = "3")]
    timeout_secs: Option<u64>,
    #[prost(bool, tag = "4")]
    unlocked_device: bool,
    #[prost(bool, tag = "5")]
    presence: bool,
    #[prost(bool, tag = "6")]
    confirmation: bool,
}

/// Tag 1 was a flag that told less and is not used again.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct ApplePosture {
    #[prost(string, optional, tag = "2")]
    os_version: Option<String>,
    #[prost(string, optional, tag = "3")]
    os_build: Option<String>,
    #[prost(uint32, optional, tag = "4")]
    validation_category: Option<u32>,
    #[prost(string, optional, tag = "5")]
    bundle_version: Option<String>,
    #[prost(enumeration = "AppEnvironment", tag = "6")]
    environment: i32,
    #[prost(string, optional, tag = "7")]
    platform: Option<String>,
    #[prost(bool, tag = "8")]
    boot_rules: bool,
    #[prost(bytes = "vec", optional, tag = "9")]
    cd_hash: Option<Vec<u8>>,
    #[prost(enumeration = "Receipt", tag = "10")]
    receipt: i32,
}

impl From<&policy::Posture> for Posture {
    fn from(posture: &policy::Posture) -> Self {
        match posture {
            policy::Posture::Android(android) => Self::Android(android.into()),
            policy::Posture::Apple(apple) => Self::Apple(apple.into()),
        }
    }
}

impl Posture {
    pub(super) fn into_domain(self) -> Option<policy::Posture> {
        Some(match self {
            Self::Android(android) => policy::Posture::Android(android.into_domain()?),
            Self::Apple(apple) => policy::Posture::Apple(apple.into_domain()?),
        })
    }
}

impl From<&policy::AndroidPosture> for AndroidPosture {
    fn from(android: &policy::AndroidPosture) -> Self {
        let security_level = match android.security_level {
            SecurityLevel::Software => Level::Software,
            SecurityLevel::TrustedEnvironment => Level::TrustedEnvironment,
            SecurityLevel::StrongBox => Level::StrongBox,
        };
        let provisioning = match android.provisioning {
            policy::ProvisioningKind::Factory => Provisioning::Factory,
            policy::ProvisioningKind::Remote => Provisioning::Remote,
            policy::ProvisioningKind::Other => Provisioning::Other,
        };
        Self {
            attestation_version: android.attestation_version,
            os_version: android.os_version,
            os_patch_level: android.os_patch_level,
            vendor_patch_level: android.vendor_patch_level,
            boot_patch_level: android.boot_patch_level,
            provisioning: provisioning.into(),
            security_level: security_level.into(),
            keymint_version: android.keymint_version,
            boot: android.boot.as_ref().map(Boot::from),
            user: Some(android.user.into()),
            attest_key: android.attest_key,
        }
    }
}

impl AndroidPosture {
    fn into_domain(self) -> Option<policy::AndroidPosture> {
        Some(policy::AndroidPosture {
            attestation_version: self.attestation_version,
            keymint_version: self.keymint_version,
            security_level: match self.security_level() {
                Level::Unknown => return None,
                Level::Software => SecurityLevel::Software,
                Level::TrustedEnvironment => SecurityLevel::TrustedEnvironment,
                Level::StrongBox => SecurityLevel::StrongBox,
            },
            provisioning: match self.provisioning() {
                Provisioning::Unknown => return None,
                Provisioning::Factory => policy::ProvisioningKind::Factory,
                Provisioning::Remote => policy::ProvisioningKind::Remote,
                Provisioning::Other => policy::ProvisioningKind::Other,
            },
            os_version: self.os_version,
            os_patch_level: self.os_patch_level,
            vendor_patch_level: self.vendor_patch_level,
            boot_patch_level: self.boot_patch_level,
            user: self.user?.into_domain(),
            attest_key: self.attest_key,
            boot: match self.boot {
                None => None,
                Some(boot) => Some(boot.into_domain()?),
            },
        })
    }
}

impl From<&policy::Boot> for Boot {
    fn from(boot: &policy::Boot) -> Self {
        let state = match boot.state {
            VerifiedBootState::Verified => BootState::Verified,
            VerifiedBootState::SelfSigned => BootState::SelfSigned,
            VerifiedBootState::Unverified => BootState::Unverified,
            VerifiedBootState::Failed => BootState::Failed,
        };
        Self {
            device_locked: boot.device_locked,
            state: state.into(),
            key: boot.key.clone(),
            hash: boot.hash.clone(),
        }
    }
}

impl Boot {
    fn into_domain(self) -> Option<policy::Boot> {
        Some(policy::Boot {
            state: match self.state() {
                BootState::Unknown => return None,
                BootState::Verified => VerifiedBootState::Verified,
                BootState::SelfSigned => VerifiedBootState::SelfSigned,
                BootState::Unverified => VerifiedBootState::Unverified,
                BootState::Failed => VerifiedBootState::Failed,
            },
            device_locked: self.device_locked,
            key: self.key,
            hash: self.hash,
        })
    }
}

impl From<policy::UserAuthentication> for UserAuthentication {
    fn from(user: policy::UserAuthentication) -> Self {
        let bits = |set: policy::Authenticators| {
            u32::from(set.password) | u32::from(set.biometric) << 1 | u32::from(set.other) << 2
        };
        Self {
            none_required: user.none_required,
            authenticators: user.authenticators.map(bits),
            timeout_secs: user.timeout.map(|timeout| timeout.as_secs()),
            unlocked_device: user.unlocked_device,
            presence: user.presence,
            confirmation: user.confirmation,
        }
    }
}

impl UserAuthentication {
    fn into_domain(self) -> policy::UserAuthentication {
        let set = |bits: u32| policy::Authenticators {
            password: bits & 1 != 0,
            biometric: bits & 2 != 0,
            other: bits & 4 != 0,
        };
        policy::UserAuthentication {
            none_required: self.none_required,
            authenticators: self.authenticators.map(set),
            timeout: self.timeout_secs.map(Duration::from_secs),
            unlocked_device: self.unlocked_device,
            presence: self.presence,
            confirmation: self.confirmation,
        }
    }
}

impl From<&policy::ApplePosture> for ApplePosture {
    fn from(apple: &policy::ApplePosture) -> Self {
        let environment = match apple.environment {
            None => AppEnvironment::Unknown,
            Some(Environment::Production) => AppEnvironment::Production,
            Some(Environment::Development) => AppEnvironment::Development,
        };
        let receipt = match apple.receipt {
            policy::ReceiptStanding::Absent => Receipt::Absent,
            policy::ReceiptStanding::Unverified => Receipt::Unverified,
            policy::ReceiptStanding::Verified => Receipt::Verified,
        };
        Self {
            os_version: apple.os_version.clone(),
            os_build: apple.os_build.clone(),
            validation_category: apple.validation_category,
            bundle_version: apple.bundle_version.clone(),
            environment: environment.into(),
            platform: apple.platform.clone(),
            boot_rules: apple.boot_rules,
            cd_hash: apple.cd_hash.clone(),
            receipt: receipt.into(),
        }
    }
}

impl ApplePosture {
    fn into_domain(self) -> Option<policy::ApplePosture> {
        Some(policy::ApplePosture {
            environment: match self.environment() {
                AppEnvironment::Unknown => None,
                AppEnvironment::Production => Some(Environment::Production),
                AppEnvironment::Development => Some(Environment::Development),
            },
            receipt: match self.receipt() {
                Receipt::Unknown => return None,
                Receipt::Absent => policy::ReceiptStanding::Absent,
                Receipt::Unverified => policy::ReceiptStanding::Unverified,
                Receipt::Verified => policy::ReceiptStanding::Verified,
            },
            platform: self.platform,
            os_version: self.os_version,
            os_build: self.os_build,
            validation_category: self.validation_category,
            bundle_version: self.bundle_version,
            boot_rules: self.boot_rules,
            cd_hash: self.cd_hash,
        })
    }
}
