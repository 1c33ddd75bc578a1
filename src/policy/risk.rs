//! What speaks of a thief, how much each of it weighs, and what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $variant:ident $word:literal $points:literal;)+) => {
        /// Something about a session or its device that speaks of a thief. Its word is its name in the
        /// configuration, in events and as metric label, and is as stable as a reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Signal {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Signal {
            /// Every signal, in the order of `docs/policy.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it weighs where nothing else is said, in points.
            #[must_use]
            pub const fn usual_points(self) -> u32 {
                match self { $(Self::$variant => $points),+ }
            }
        }
    };
}

signals! {
    /// A refresh token was rotated sooner after the last rotation than the policy expects.
    RefreshTooFast "refresh_too_fast" 5;
    /// The phone's network is another one than at the last refresh. Phones move; it weighs little.
    NetworkChanged "network_changed" 1;
    /// The phone's language is another one than at the last refresh.
    LocaleChanged "locale_changed" 10;
    /// A proof had a counter from before the window, or from before the last one under strict order.
    CounterRegression "counter_regression" 30;
    /// A proof was sent a second time.
    ProofReplayed "proof_replayed" 20;
    /// A proof by the right key was for something else: another target, token or body.
    ProofFailed "proof_failed" 5;
    /// The device attested again with less than before, or was found below policy.
    PostureDowngraded "posture_downgraded" 40;
    /// Its attestation key registers more devices than the policy expects.
    CrowdedAttestationKey "crowded_attestation_key" 40;
}

impl Signal {
    /// Whether only the holder of the device's key, or the device itself, can bring it about. The
    /// others take no more than a request that was overheard: they never cost a session its scopes or a
    /// device its standing, or whoever listens could log honest users out.
    #[must_use]
    pub const fn takes_the_key(self) -> bool {
        match self {
            Self::RefreshTooFast
            | Self::NetworkChanged
            | Self::LocaleChanged
            | Self::PostureDowngraded
            | Self::CrowdedAttestationKey => true,
            Self::CounterRegression | Self::ProofReplayed | Self::ProofFailed => false,
        }
    }

    /// The signal of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|signal| signal.as_str() == word)
    }
}

/// Whether what follows from a score happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// It is told and counted, nothing else.
    Monitor,
    /// It happens.
    Enforce,
}

/// How an app weighs signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskPolicy {
    /// Whether what follows happens.
    pub enforcement: Enforcement,
    /// A signal weighs half as much after this long.
    pub half_life: Duration,
    /// Rotations that follow each other sooner are [`Signal::RefreshTooFast`].
    pub refresh_interval_min: Duration,
    /// Points of each signal; one that is not here weighs nothing.
    pub points: BTreeMap<Signal, u32>,
    /// From this score on the user has to show more (ElevateSession).
    pub step_up_at: Option<u32>,
    /// From this score on the session loses [`RiskPolicy::dropped_scopes`].
    pub drop_scopes_at: Option<u32>,
    /// What it loses.
    pub dropped_scopes: BTreeSet<String>,
    /// From this score on the device is suspended.
    pub suspend_at: Option<u32>,
}

/// The points of what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Of every signal.
    pub all: u32,
    /// Of those that take the key ([`Signal::takes_the_key`]).
    pub keyed: u32,
}

/// What follows from a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consequences {
    /// The user has to show more.
    pub step_up: bool,
    /// Scopes are lost.
    pub drop_scopes: bool,
    /// The device is suspended.
    pub suspend: bool,
}

impl RiskPolicy {
    /// What holds where risk is weighed and nothing else is said: everything is told, nothing follows.
    #[must_use]
    pub fn usual() -> Self {
        let points = Signal::ALL.iter();
        Self {
            enforcement: Enforcement::Monitor,
            half_life: Duration::from_secs(24 * 60 * 60),
            refresh_interval_min: Duration::from_secs(5),
            points: points
                .map(|signal| (*signal, signal.usual_points()))
                .collect(),
            step_up_at: None,
            drop_scopes_at: None,
            dropped_scopes: BTreeSet::new(),
            suspend_at: None,
        }
    }

    /// Nothing is weighed, and so nothing is kept: what holds for an app that says nothing of risk.
    #[must_use]
    pub fn none() -> Self {
        Self {
            refresh_interval_min: Duration::ZERO,
            points: BTreeMap::new(),
            ..Self::usual()
        }
    }

    /// Whether a signal weighs anything; one that does not is neither kept nor told.
    #[must_use]
    pub fn weighs(&self, signal: Signal) -> bool {
        self.points.get(&signal).is_some_and(|points| *points > 0)
    }

    /// Whether what follows happens.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.enforcement == Enforcement::Enforce
    }

    /// What follows from a score, were it enforced. A step-up is something an honest user can do, so
    /// everything counts for it; for what takes something away, only what takes the key.
    #[must_use]
    pub fn consequences(&self, score: Score) -> Consequences {
        let reached = |at: Option<u32>, score| at.is_some_and(|at| score >= at);
        Consequences {
            step_up: reached(self.step_up_at, score.all),
            drop_scopes: reached(self.drop_scopes_at, score.keyed),
            suspend: reached(self.suspend_at, score.keyed),
        }
    }
}

impl Consequences {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The words of all of them, in the order of [`Consequences::words`].
    pub const WORDS: [&str; 3] = ["step-up", "drop-scopes", "suspend"];

    /// Each of them as a word, the lightest first.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let each = [self.step_up, self.drop_scopes, self.suspend];
        let words = Self::WORDS.into_iter().zip(each);
        words.filter_map(|(word, follows)| follows.then_some(word))
    }
}
