//! What an Android device must be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::patch::PatchLevel;
use super::rule::{Ledger, Rule, require};
use super::{AndroidPosture, Authenticators, KeyRates, ProvisioningKind, TrustLevel};
use crate::attestation::android::{SecurityLevel, VerifiedBootState};
use crate::attestation::{AttestKeys, Checks};
use crate::reason::Reason;
use crate::time::Timestamp;

/// What an Android device must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidPolicy {
    /// The lowest level that holds the key: [`TrustLevel::Tee`] or [`TrustLevel::StrongBox`].
    pub security_level_min: TrustLevel,
    /// `verifiedBootKey`s accepted with `SelfSigned` boot on a locked device (custom OS fleets).
    pub self_signed_boot_keys: Vec<Vec<u8>>,
    /// `verifiedBootKey`s accepted with `Verified` boot; empty: any.
    pub verified_boot_keys: Vec<Vec<u8>>,
    /// Lowest `osVersion` as Android writes it (`MMmmss`, e.g. 130000); 0: any.
    pub os_version_min: u32,
    /// Lowest `osPatchLevel` (`YYYYMM`); 0: any.
    pub os_patch_level_min: u32,
    /// Lowest `vendorPatchLevel` (`YYYYMMDD`); 0: any.
    pub vendor_patch_level_min: u32,
    /// Lowest `bootPatchLevel` (`YYYYMMDD`); 0: any.
    pub boot_patch_level_min: u32,
    /// How long ago the month of `osPatchLevel` may have begun; `None`: any time.
    pub patch_age_max: Option<Duration>,
    /// Whether only remotely provisioned attestation keys are accepted.
    pub provisioning: ProvisioningRule,
    /// Whether a key of the device itself may have attested the device key.
    pub attest_keys: AttestKeyRule,
    /// What the key has to want of the user.
    pub user_authentication: UserAuthenticationRule,
    /// What becomes of evidence while the status list is too old to tell good keys from bad.
    pub stale_list: StaleListRule,
    /// How many devices may be registered under one attestation key.
    pub attestation_key_rate: KeyRates,
    /// Rules that are looked at and do not refuse.
    pub monitor: BTreeSet<Rule>,
}

impl AndroidPolicy {
    /// What holds where nothing else is said: a key in hardware of a locked device that booted a
    /// verified system, of any age and any provisioning.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            security_level_min: TrustLevel::Tee,
            self_signed_boot_keys: Vec::new(),
            verified_boot_keys: Vec::new(),
            os_version_min: 0,
            os_patch_level_min: 0,
            vendor_patch_level_min: 0,
            boot_patch_level_min: 0,
            patch_age_max: None,
            provisioning: ProvisioningRule::Any,
            attest_keys: AttestKeyRule::Refuse,
            user_authentication: UserAuthenticationRule::Any,
            stale_list: StaleListRule::Refuse,
            attestation_key_rate: KeyRates::usual(),
            monitor: BTreeSet::new(),
        }
    }
}

/// Which attestation keys are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningRule {
    /// Factory or remote.
    Any,
    /// Remotely provisioned only.
    RemoteOnly,
}

/// Whether a key of the device itself (`PURPOSE_ATTEST_KEY`) may stand in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttestKeyRule {
    /// It may not: the attested key is certified by the maker's keys directly.
    Refuse,
    /// One may.
    Allow,
}

impl AttestKeyRule {
    /// What chains are examined by.
    #[must_use]
    pub const fn in_chains(self) -> AttestKeys {
        match self {
            Self::Refuse => AttestKeys::Refuse,
            Self::Allow => AttestKeys::Allow,
        }
    }
}

/// What a key has to want of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAuthenticationRule {
    /// Whatever the app chose.
    Any,
    /// The hardware has to have seen the user.
    Required {
        /// The authenticators of which one may be enough.
        authenticators: Authenticators,
        /// How long one authentication may last; zero: for one use.
        timeout_max: Duration,
    },
}

/// What becomes of Android evidence while the status list is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleListRule {
    /// It is refused with `TRUST_LIST_STALE`.
    Refuse,
    /// It is accepted, and gives [`TrustLevel::Provisional`] and no more.
    Provisional,
}

pub(super) const fn level(level: SecurityLevel) -> Option<TrustLevel> {
    match level {
        SecurityLevel::Software => None,
        SecurityLevel::TrustedEnvironment => Some(TrustLevel::Tee),
        SecurityLevel::StrongBox => Some(TrustLevel::StrongBox),
    }
}

pub(super) fn checks(posture: &AndroidPosture, policy: &AndroidPolicy, now: Timestamp) -> Checks {
    let mut ledger = Ledger::new(&policy.monitor);
    security_level(&mut ledger, posture, policy);
    boot(&mut ledger, posture, policy);
    versions(&mut ledger, posture, policy);
    patch_age(&mut ledger, posture, policy, now);
    if policy.provisioning == ProvisioningRule::RemoteOnly {
        let remote = posture.provisioning == ProvisioningKind::Remote;
        let passed = require(remote, Reason::SecurityLevelTooLow);
        let facts = (posture.provisioning.as_str(), "remote");
        ledger.hold(Rule::Provisioning, None, passed, facts);
    }
    if policy.attest_keys == AttestKeyRule::Refuse {
        let (seen, wanted) = if posture.attest_key {
            ("an attest key of the device", "none")
        } else {
            ("none", "none")
        };
        let passed = require(!posture.attest_key, Reason::AttestationChainUntrusted);
        ledger.hold(Rule::AttestKeys, None, passed, (seen, wanted));
    }
    user_authentication(&mut ledger, posture, policy);
    ledger.checks
}

fn security_level(ledger: &mut Ledger<'_>, posture: &AndroidPosture, policy: &AndroidPolicy) {
    let held = level(posture.security_level);
    let passed = require(
        held >= Some(policy.security_level_min),
        Reason::SecurityLevelTooLow,
    );
    let seen = posture.security_level.as_str();
    let wanted = format!("at least {}", policy.security_level_min.as_str());
    if held.is_some() {
        ledger.hold(Rule::SecurityLevelMin, 0, passed, (seen, wanted));
    } else {
        // A key outside of hardware proves nothing, so this is never only monitored.
        let name = Rule::SecurityLevelMin.as_str();
        ledger.checks.note(name, 0, passed, (seen, wanted));
    }
}

fn boot(ledger: &mut Ledger<'_>, posture: &AndroidPosture, policy: &AndroidPolicy) {
    let boot = posture.boot.as_ref();
    let seen = match boot.map(|boot| boot.device_locked) {
        None => "absent",
        Some(true) => "locked",
        Some(false) => "unlocked",
    };
    let locked = boot.is_some_and(|boot| boot.device_locked);
    let passed = require(locked, Reason::BootStateRejected);
    ledger.hold(Rule::DeviceLocked, 0, passed, (seen, "locked"));

    let accepted = boot.is_some_and(|boot| match boot.state {
        VerifiedBootState::Verified => true,
        VerifiedBootState::SelfSigned => policy.self_signed_boot_keys.contains(&boot.key),
        VerifiedBootState::Unverified | VerifiedBootState::Failed => false,
    });
    let seen = boot.map_or("absent".to_owned(), |boot| format!("{:?}", boot.state));
    let wanted = if policy.self_signed_boot_keys.is_empty() {
        "Verified"
    } else {
        "Verified, or SelfSigned with an allowed boot key"
    };
    let passed = require(accepted, Reason::BootStateRejected);
    ledger.hold(Rule::VerifiedBootState, 0, passed, (seen, wanted));

    let Some(boot) = boot.filter(|boot| boot.state == VerifiedBootState::Verified) else {
        return;
    };
    if !policy.verified_boot_keys.is_empty() {
        let listed = policy.verified_boot_keys.contains(&boot.key);
        let passed = require(listed, Reason::BootStateRejected);
        let seen = data_encoding::HEXLOWER.encode(&boot.key);
        let facts = (seen, "an allowed boot key");
        ledger.hold(Rule::VerifiedBootKey, 0, passed, facts);
    }
}

fn versions(ledger: &mut Ledger<'_>, posture: &AndroidPosture, policy: &AndroidPolicy) {
    let not_older = |read: fn(u32) -> Option<PatchLevel>, seen: Option<u32>, least: u32| {
        // A level that is wanted and is none is met by nobody.
        let seen = seen.and_then(read).zip(read(least));
        seen.is_some_and(|(seen, least)| seen >= least)
    };
    let (month, day) = (PatchLevel::by_month, PatchLevel::by_day);
    let (os, least) = (posture.os_version, policy.os_version_min);
    let (os_patch, os_least) = (posture.os_patch_level, policy.os_patch_level_min);
    let (vendor, vendor_least) = (posture.vendor_patch_level, policy.vendor_patch_level_min);
    let (boot, boot_least) = (posture.boot_patch_level, policy.boot_patch_level_min);
    let new_enough = os.is_some_and(|os| os >= least);
    let rows = [
        (Rule::OsVersion, os, least, new_enough),
        (
            Rule::OsPatchLevel,
            os_patch,
            os_least,
            not_older(month, os_patch, os_least),
        ),
        (
            Rule::VendorPatchLevel,
            vendor,
            vendor_least,
            not_older(day, vendor, vendor_least),
        ),
        (
            Rule::BootPatchLevel,
            boot,
            boot_least,
            not_older(day, boot, boot_least),
        ),
    ];
    for (rule, seen, least, new_enough) in rows {
        if least == 0 {
            continue;
        }
        let passed = require(new_enough, Reason::PostureBelowPolicy);
        let facts = (stated(seen), format!("at least {least}"));
        ledger.hold(rule, 0, passed, facts);
    }
}

fn stated(number: Option<u32>) -> String {
    number.map_or("absent".to_owned(), |number| number.to_string())
}

fn patch_age(
    ledger: &mut Ledger<'_>,
    posture: &AndroidPosture,
    policy: &AndroidPolicy,
    now: Timestamp,
) {
    let Some(most) = policy.patch_age_max else {
        return;
    };
    let level = posture.os_patch_level.and_then(PatchLevel::by_month);
    let age = level.and_then(|level| level.age(now));
    let young = age.is_some_and(|age| age <= most);
    let passed = require(young, Reason::PostureBelowPolicy);
    let wanted = format!("begun at most {} days ago", days(most));
    let facts = (stated(posture.os_patch_level), wanted);
    ledger.hold(Rule::MaxPatchAge, 0, passed, facts);
}

const fn days(span: Duration) -> u64 {
    span.as_secs() / (24 * 60 * 60)
}

fn user_authentication(ledger: &mut Ledger<'_>, posture: &AndroidPosture, policy: &AndroidPolicy) {
    let UserAuthenticationRule::Required {
        authenticators,
        timeout_max,
    } = policy.user_authentication
    else {
        return;
    };
    let user = posture.user;
    let held = user.authenticators.filter(|stated| !stated.is_empty());
    let accepted = !user.none_required
        && held.is_some_and(|stated| stated.within(authenticators))
        && user.timeout.unwrap_or_default() <= timeout_max;
    let seen = match held {
        _ if user.none_required => "not required".to_owned(),
        None => "absent".to_owned(),
        Some(stated) => format!("{} for {}", words(stated), span(user.timeout)),
    };
    let wanted = format!("{} for {}", words(authenticators), span(Some(timeout_max)));
    let passed = require(accepted, Reason::AttestationKeyRejected);
    ledger.hold(Rule::UserAuthentication, 0, passed, (seen, wanted));
}

fn words(set: Authenticators) -> String {
    let words = [
        (set.password, "password"),
        (set.biometric, "biometric"),
        (set.other, "another authenticator"),
    ];
    let words: Vec<&str> = words.iter().filter(|row| row.0).map(|row| row.1).collect();
    words.join(" or ")
}

fn span(timeout: Option<Duration>) -> String {
    match timeout {
        None | Some(Duration::ZERO) => "one use".to_owned(),
        Some(span) => format!("{} seconds", span.as_secs()),
    }
}
