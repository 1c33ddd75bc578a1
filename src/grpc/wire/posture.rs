//! What a device is, for those who look at it.

use super::render::duration;
use crate::grpc::proto;
use crate::policy::{
    AndroidPosture, ApplePosture, Authenticators, Environment, Posture, ProvisioningKind,
    SecurityLevel, UserAuthentication, VerifiedBootState,
};

pub(super) const fn platform(posture: &Posture) -> proto::Platform {
    match posture {
        Posture::Android(_) => proto::Platform::Android,
        Posture::Apple(_) => proto::Platform::Apple,
    }
}

pub(super) fn posture(posture: &Posture) -> proto::Posture {
    let kind = match posture {
        Posture::Android(seen) => proto::posture::Kind::Android(android(seen)),
        Posture::Apple(seen) => proto::posture::Kind::Apple(apple(seen)),
    };
    proto::Posture { kind: Some(kind) }
}

fn android(seen: &AndroidPosture) -> proto::AndroidPosture {
    let boot = seen.boot.as_ref();
    proto::AndroidPosture {
        attestation_version: seen.attestation_version,
        security_level: match seen.security_level {
            SecurityLevel::Software => "Software",
            SecurityLevel::TrustedEnvironment => "TrustedEnvironment",
            SecurityLevel::StrongBox => "StrongBox",
        }
        .to_owned(),
        os_version: seen.os_version,
        os_patch_level: seen.os_patch_level,
        vendor_patch_level: seen.vendor_patch_level,
        boot_patch_level: seen.boot_patch_level,
        verified_boot_state: boot
            .map_or("", |boot| match boot.state {
                VerifiedBootState::Verified => "Verified",
                VerifiedBootState::SelfSigned => "SelfSigned",
                VerifiedBootState::Unverified => "Unverified",
                VerifiedBootState::Failed => "Failed",
            })
            .to_owned(),
        remotely_provisioned: seen.provisioning == ProvisioningKind::Remote,
        keymint_version: seen.keymint_version,
        device_locked: boot.map(|boot| boot.device_locked),
        verified_boot_key: boot.map(|boot| boot.key.clone()).unwrap_or_default(),
        verified_boot_hash: boot.and_then(|boot| boot.hash.clone()).unwrap_or_default(),
        provisioning: seen.provisioning.as_str().to_owned(),
        attest_key_used: seen.attest_key,
        user_authentication: Some(user(&seen.user)),
    }
}

fn user(user: &UserAuthentication) -> proto::UserAuthentication {
    proto::UserAuthentication {
        none_required: user.none_required,
        authenticators: user.authenticators.map(authenticators).unwrap_or_default(),
        timeout: user.timeout.map(duration),
        unlocked_device_required: user.unlocked_device,
        user_presence_required: user.presence,
        confirmation_required: user.confirmation,
    }
}

fn authenticators(set: Authenticators) -> Vec<String> {
    let words = [
        (set.password, "password"),
        (set.biometric, "biometric"),
        (set.other, "other"),
    ];
    let held = words.iter().filter(|(held, _)| *held);
    held.map(|(_, word)| (*word).to_owned()).collect()
}

fn apple(seen: &ApplePosture) -> proto::ApplePosture {
    let environment = seen.environment.map_or("", Environment::as_str);
    proto::ApplePosture {
        environment: environment.to_owned(),
        os_version: seen.os_version.clone().unwrap_or_default(),
        os_build: seen.os_build.clone().unwrap_or_default(),
        validation_category: seen.validation_category,
        bundle_version: seen.bundle_version.clone().unwrap_or_default(),
        os_platform: seen.platform.clone().unwrap_or_default(),
        boot_rules: seen.boot_rules,
        cd_hash: seen.cd_hash.clone().unwrap_or_default(),
        receipt: seen.receipt.as_str().to_owned(),
    }
}
