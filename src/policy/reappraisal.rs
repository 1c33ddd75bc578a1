//! What follows when something is found out about a registered device later on.

use std::time::Duration;

use super::patch::PatchLevel;
use super::rates::Rate;
use super::version::OsBuild;
use super::{AndroidPosture, ApplePosture, DottedVersion, Posture};
use crate::attestation::android::VerifiedBootState;

/// What a finding does to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// It is out for ever, and its sessions with it.
    Revoke,
    /// It is out until it is resumed.
    Suspend,
    /// It keeps its sessions and falls to [`super::TrustLevel::Provisional`].
    Degrade,
    /// Nothing but a note.
    Report,
}

/// Whether a device may attest again with an older system than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DowngradeRule {
    /// It may not.
    Refuse,
    /// It may.
    Allow,
}

/// What follows when something is found out about a registered device later on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reappraisal {
    /// A certificate of its chain came to stand on the status list.
    pub revoked_certificate: Consequence,
    /// It is below the policy that holds now.
    pub below_policy: Consequence,
    /// It attests again with an older system.
    pub downgrade: DowngradeRule,
}

impl Reappraisal {
    /// What holds where nothing else is said.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            revoked_certificate: Consequence::Revoke,
            below_policy: Consequence::Suspend,
            downgrade: DowngradeRule::Refuse,
        }
    }
}

/// How many devices may be registered under one attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRates {
    /// Under one that was provisioned remotely.
    pub remote: Rate,
    /// Under one of another kind.
    pub factory: Rate,
    /// What happens above the rate.
    pub outcome: RateOutcome,
}

impl KeyRates {
    /// What holds where nothing else is said. A remotely provisioned key belongs to one device, a
    /// factory key to a batch of at least 100,000 (Android CDD, 9.11), so the one says more than the
    /// other.
    #[must_use]
    pub const fn usual() -> Self {
        Self {
            remote: Rate {
                count: 20,
                per: Duration::from_secs(24 * 60 * 60),
            },
            factory: Rate {
                count: 1000,
                per: Duration::from_secs(60 * 60),
            },
            outcome: RateOutcome::Report,
        }
    }
}

/// What happens when more devices than the rate are registered under one attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOutcome {
    /// It is counted.
    Report,
    /// The device is refused with `RATE_LIMITED_ATTESTATION_KEY`.
    Refuse,
}

/// What went back between two attestations of one device: the first of platform, level, boot state,
/// versions and patch levels that is lower than it was or, on Android, no longer stated.
#[must_use]
pub fn is_downgrade(old: &Posture, new: &Posture) -> Option<&'static str> {
    match (old, new) {
        (Posture::Android(old), Posture::Android(new)) => android(old, new),
        (Posture::Apple(old), Posture::Apple(new)) => apple(old, new),
        (Posture::Android(_), Posture::Apple(_)) | (Posture::Apple(_), Posture::Android(_)) => {
            Some("platform")
        }
    }
}

/// What was comparable and is lower, or not comparable any more.
fn lower<T: PartialOrd>(old: Option<T>, new: Option<T>) -> bool {
    old.is_some_and(|old| new.is_none_or(|new| new < old))
}

fn android(old: &AndroidPosture, new: &AndroidPosture) -> Option<&'static str> {
    let month = |level: Option<u32>| level.and_then(PatchLevel::by_month);
    let day = |level: Option<u32>| level.and_then(PatchLevel::by_day);
    let verified = |posture: &AndroidPosture| {
        let boot = posture.boot.as_ref();
        boot.map(|boot| boot.state == VerifiedBootState::Verified)
    };
    let rows = [
        ("security_level", new.security_level < old.security_level),
        ("verified_boot_state", lower(verified(old), verified(new))),
        ("os_version", lower(old.os_version, new.os_version)),
        (
            "os_patch_level",
            lower(month(old.os_patch_level), month(new.os_patch_level)),
        ),
        (
            "vendor_patch_level",
            lower(day(old.vendor_patch_level), day(new.vendor_patch_level)),
        ),
        (
            "boot_patch_level",
            lower(day(old.boot_patch_level), day(new.boot_patch_level)),
        ),
    ];
    first(&rows)
}

fn apple(old: &ApplePosture, new: &ApplePosture) -> Option<&'static str> {
    let version = |text: &Option<String>| text.as_deref()?.parse::<DottedVersion>().ok();
    let build = |text: &Option<String>| OsBuild::parse(text.as_deref()?);
    // Neither is documented: what Apple stops to state is unknown, not older.
    let both = version(&old.os_version).zip(version(&new.os_version));
    let version_back = both.is_some_and(|(old, new)| new < old);
    let both = build(&old.os_build).zip(build(&new.os_build));
    let build_back = both.is_some_and(|(old, new)| OsBuild::goes_back(old, new));
    let rows = [("os_version", version_back), ("os_build", build_back)];
    first(&rows)
}

fn first(rows: &[(&'static str, bool)]) -> Option<&'static str> {
    rows.iter().find(|(_, back)| *back).map(|(what, _)| *what)
}
