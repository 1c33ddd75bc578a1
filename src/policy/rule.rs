//! The rules a device is held against: a closed set, so that a configuration, a metric and a page can
//! name each of them.

use std::collections::BTreeSet;

use crate::attestation::Checks;
use crate::reason::Reason;

/// Which kind of evidence a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Android Key Attestation.
    Android,
    /// Apple App Attest.
    Apple,
}

/// Whether an app may look at a rule without enforcing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It may.
    Monitorable,
    /// What the other facts are worth depends on it.
    Enforced,
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident $word:literal $platform:ident $kind:ident [$($reason:ident),+];)+) => {
        /// A rule of policy. Its word is the name of its check, of its entry in `monitor` and of its
        /// metric label, and is as stable as a reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// Every rule, in the order the checks are made.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Which evidence it is for.
            #[must_use]
            pub const fn platform(self) -> Platform {
                match self { $(Self::$variant => Platform::$platform),+ }
            }

            /// What it refuses for.
            #[must_use]
            pub const fn reasons(self) -> &'static [Reason] {
                match self { $(Self::$variant => &[$(Reason::$reason),+]),+ }
            }

            const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }
        }
    };
}

rules! {
    /// What holds the key.
    SecurityLevelMin "security_level_min" Android Monitorable [SecurityLevelTooLow];
    /// The boot loader is locked.
    DeviceLocked "device_locked" Android Enforced [BootStateRejected];
    /// The system was verified, or is one the fleet signs itself.
    VerifiedBootState "verified_boot_state" Android Enforced [BootStateRejected];
    /// The system was verified with one of the listed keys.
    VerifiedBootKey "verified_boot_key" Android Monitorable [BootStateRejected];
    /// The version of the system.
    OsVersion "os_version" Android Monitorable [PostureBelowPolicy];
    /// The patch level of the system.
    OsPatchLevel "os_patch_level" Android Monitorable [PostureBelowPolicy];
    /// The patch level of the maker's part.
    VendorPatchLevel "vendor_patch_level" Android Monitorable [PostureBelowPolicy];
    /// The patch level of the boot image.
    BootPatchLevel "boot_patch_level" Android Monitorable [PostureBelowPolicy];
    /// The age of the system's patch level.
    MaxPatchAge "max_patch_age" Android Monitorable [PostureBelowPolicy];
    /// How the attestation key came to be on the device.
    Provisioning "provisioning" Android Monitorable [SecurityLevelTooLow];
    /// No key of the device stands between the attested key and its maker's.
    AttestKeys "attest_keys" Android Enforced [AttestationChainUntrusted];
    /// The key is usable only with the user.
    UserAuthentication "user_authentication" Android Monitorable [AttestationKeyRejected];
    /// The key is from the app's App Attest environment.
    AppEnvironment "app_environment" Apple Enforced [AttestationEnvironmentMismatch];
    /// The system is one the app runs on.
    OsPlatform "os_platform" Apple Monitorable [UnsupportedPlatform];
    /// On a Mac: the key is bound to the documented boot state.
    BootRules "boot_rules" Apple Enforced [BootStateRejected];
    /// How the running app was signed.
    ValidationCategory "validation_category" Apple Monitorable [AttestationAppMismatch, PostureBelowPolicy];
    /// The version of the running app.
    BundleVersion "bundle_version" Apple Monitorable [PostureBelowPolicy];
    /// Apple's receipt for the key.
    Receipt "receipt" Apple Monitorable [AttestationChainUntrusted];
}

impl Rule {
    /// Whether an app may look at it without enforcing it. Boot state, attest keys, environment and
    /// boot rules are not among these: the names of app and signer, patch levels and everything else
    /// a device says is only worth what these four say of it.
    #[must_use]
    pub const fn may_be_monitored(self) -> bool {
        matches!(self.kind(), Kind::Monitorable)
    }

    /// The rule whose check has this name.
    #[must_use]
    pub fn of_check(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.as_str() == name)
    }
}

/// Notes checks by rule: as failed where the rule is enforced, as monitored where it is not.
pub(super) struct Ledger<'a> {
    pub(super) checks: Checks,
    monitor: &'a BTreeSet<Rule>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(monitor: &'a BTreeSet<Rule>) -> Self {
        Self {
            checks: Checks::default(),
            monitor,
        }
    }

    pub(super) fn hold(
        &mut self,
        rule: Rule,
        index: impl Into<Option<usize>>,
        passed: Result<(), Reason>,
        facts: (impl Into<String>, impl Into<String>),
    ) {
        if rule.may_be_monitored() && self.monitor.contains(&rule) {
            self.checks.monitor(rule.as_str(), index, passed, facts);
        } else {
            self.checks.note(rule.as_str(), index, passed, facts);
        }
    }
}

pub(super) const fn require(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}
