//! What an elevation of a session needs and gives.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ScopeRule, TrustLevel, UserAuthentication};

/// How it was shown that the user was there; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum UserPresence {
    /// It was not.
    #[default]
    None,
    /// By a key of which the app says that it signs only when the user is there.
    Declared,
    /// By a key of which hardware says so.
    Proved,
}

impl UserPresence {
    /// Every degree, lowest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Declared, Self::Proved];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Declared => "declared",
            Self::Proved => "proved",
        }
    }
}

/// What an elevation of a session needs and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUpPolicy {
    /// Life of an elevated access token; an ordinary one's where that is shorter.
    pub access_for: Duration,
    /// Scopes that only elevated access tokens have.
    pub scopes: ScopeRule,
    /// How it has to be shown that the user is there.
    pub user_presence: UserPresence,
}

impl StepUpPolicy {
    /// Two minutes, no further scopes, and what the sign-in server says of the user is enough.
    #[must_use]
    pub const fn plain() -> Self {
        Self {
            access_for: Duration::from_secs(120),
            scopes: ScopeRule {
                scopes: BTreeSet::new(),
                trust_level_min: TrustLevel::Provisional,
            },
            user_presence: UserPresence::None,
        }
    }

    /// Whether an elevated token on a device of this level may have the scope.
    #[must_use]
    pub fn grants(&self, scope: &str, level: TrustLevel) -> bool {
        self.scopes.trust_level_min <= level && self.scopes.scopes.contains(scope)
    }
}

impl UserAuthentication {
    /// Whether hardware lets the key sign only after the user has authenticated, each time anew. A
    /// key that one authentication opens for a while signs without the user for that while.
    #[must_use]
    pub fn is_for_every_use(&self) -> bool {
        let by_somebody = self.authenticators.is_some_and(|any| !any.is_empty());
        by_somebody && !self.none_required && self.timeout.is_none()
    }
}
