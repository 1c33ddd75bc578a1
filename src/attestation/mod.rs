//! Attestation: from the bytes a phone sends to facts that hardware vouches for.
//!
//! [`verify`] is the only way to an [`Attested`]. It is a pure function: roots, status list,
//! expectation and the time are arguments. [`examine`] runs the very same checks and keeps them all,
//! for explaining evidence to a person; what is not given to it is listed as not checked, and an
//! examination with an unchecked item never becomes an [`Attested`].

pub mod android;
pub mod apple;
mod check;
pub mod client_data;
pub mod lists;
pub mod own_list;
mod pem;
pub mod roots;
pub mod status_list;
pub(crate) mod text;

pub use check::{Check, Checks, Outcome, Rejection};

use crate::key::PublicKey;
use crate::time::Timestamp;
use own_list::OwnList;
use roots::Roots;
use status_list::StatusList;

/// What a phone sends to prove what it is. Bounded: the constructors refuse larger input.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// Android Key Attestation: DER certificates, leaf first.
    Android(android::Chain),
    /// Apple App Attest: an attestation object and the key id the app names it by.
    Apple(apple::Attestation),
}

/// Which app the evidence has to be for. From configuration, never from the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppIdentity {
    /// The app on Android, where it exists there.
    pub android: Option<AndroidApp>,
    /// The app on Apple's systems, where it exists there.
    pub apple: Option<AppleApp>,
}

/// An Android app: its package and who signs it, bound together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidApp {
    /// `applicationId`, e.g. `com.example.bank`.
    pub package_name: String,
    /// SHA-256 of the signing certificates; one of them has to be in the attestation.
    pub signing_certificate_sha256: Vec<[u8; 32]>,
    /// Other packages that may stand beside it because they share its UID; normally none.
    pub shared_uid_packages: Vec<String>,
}

/// An app on Apple's systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppleApp {
    /// Ten characters, e.g. `9CYHJNG644`.
    pub team_id: String,
    /// E.g. `com.example.bank`.
    pub bundle_id: String,
    /// Which App Attest environment its keys come from.
    pub environment: apple::Environment,
}

/// Whether an Android app may have its keys attested by an attest key of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AttestKeys {
    /// One attestation in a chain, in the first certificate.
    #[default]
    Refuse,
    /// The second certificate may be that of an attest key: of the same app, hardware and system as
    /// the key it attests, and good for nothing else.
    Allow,
}

/// What evidence must be for, all of it: the input of [`verify`].
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// Android: the `attestationChallenge`. Apple: the `clientDataHash`.
    pub binding: &'a [u8],
    /// The app.
    pub app: &'a AppIdentity,
    /// Android: whether an attest key may stand between.
    pub attest_keys: AttestKeys,
}

/// What a person has to compare evidence with: the input of [`examine`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// As [`Expectation::binding`].
    pub binding: Option<&'a [u8]>,
    /// As [`Expectation::app`].
    pub app: Option<&'a AppIdentity>,
    /// As [`Expectation::attest_keys`].
    pub attest_keys: AttestKeys,
}

/// Whom we believe: pinned roots and what is revoked.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The pinned roots.
    pub roots: &'a Roots,
    /// Google's status list; without one the check is listed as not made (and [`verify`] refuses).
    pub status_list: Option<&'a StatusList>,
    /// The operator's own list, where there is one. It is about Android's certificates and keys.
    pub own_list: Option<&'a OwnList>,
}

/// What the attestation says of the device and its key, by platform.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    /// From Android Key Attestation.
    Android(Box<android::Facts>),
    /// From Apple App Attest.
    Apple(Box<apple::Facts>),
}

/// The key the evidence is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestedKey {
    /// A P-256 key, the only kind that can be a device key here.
    P256(PublicKey),
    /// Another kind, described for people, e.g. `RSA 2048`.
    Other(String),
}

/// One certificate of the evidence, described for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// RFC 4514-like text, e.g. `CN=Android Keystore Key`.
    pub subject: String,
    /// As `subject`.
    pub issuer: String,
    /// Minimal lowercase hex of the serial number.
    pub serial: String,
    /// E.g. `EC P-256`, `RSA 4096`, `ML-DSA-65`.
    pub key: String,
    /// E.g. `ecdsa-with-SHA256`.
    pub signature: String,
    /// Start of validity; `None` when the field cannot be read.
    pub not_before: Option<Timestamp>,
    /// End of validity; `None` when the field cannot be read.
    pub not_after: Option<Timestamp>,
}

/// All that can be said about a piece of evidence.
#[derive(Debug, Clone)]
pub struct Examination {
    /// Every check, in order.
    pub checks: Checks,
    /// The certificates, leaf first, as far as they could be read.
    pub certificates: Vec<CertificateSummary>,
    /// The attested key, where it could be read.
    pub key: Option<AttestedKey>,
    /// What it says, where it could be read. Not to be believed unless all checks passed.
    pub facts: Option<Facts>,
    /// The time the checks were made for.
    pub at: Timestamp,
    made_by: Examiner,
}

/// Only the examiners below this module can name it, so only they make an [`Examination`].
#[derive(Debug, Clone)]
struct Examiner;

/// Evidence that passed every check. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Attested {
    key: AttestedKey,
    facts: Facts,
    checks: Checks,
    at: Timestamp,
}

#[cfg(test)]
impl Attested {
    /// What an examiner would have made, for tests of what is built on it.
    pub(crate) fn of(key: AttestedKey, facts: Facts) -> Self {
        let (checks, at) = (Checks::default(), Timestamp::EPOCH);
        Self {
            key,
            facts,
            checks,
            at,
        }
    }
}

impl Attested {
    /// The attested key.
    #[must_use]
    pub const fn key(&self) -> &AttestedKey {
        &self.key
    }

    /// What hardware vouches for.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Every check that was made.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// When it was verified. It is never verified again: the chain may be dead in two weeks.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// Verifies evidence against everything it has to be.
///
/// # Errors
/// [`Rejection`]: the first check that failed, with its stable reason, the certificate concerned and
/// the facts.
pub fn verify(
    evidence: &Evidence,
    expectation: Expectation<'_>,
    trust: Trust<'_>,
    now: Timestamp,
) -> Result<Attested, Box<Rejection>> {
    let given = Given {
        binding: Some(expectation.binding),
        app: Some(expectation.app),
        attest_keys: expectation.attest_keys,
    };
    examine(evidence, given, trust, now).into_attested()
}

/// Runs every check that can be made with what is given and keeps them all.
#[must_use]
pub fn examine(
    evidence: &Evidence,
    given: Given<'_>,
    trust: Trust<'_>,
    now: Timestamp,
) -> Examination {
    match evidence {
        Evidence::Android(chain) => android::examine(chain, given, trust, now),
        Evidence::Apple(attestation) => apple::examine(attestation, given, trust, now),
    }
}

impl Examination {
    /// Turns an examination in which everything was compared and nothing failed into the type that
    /// says so.
    ///
    /// # Errors
    /// [`Rejection`] for the first check that failed or could not be made.
    pub fn into_attested(self) -> Result<Attested, Box<Rejection>> {
        let Examiner = self.made_by;
        if let Some(rejection) = self.checks.rejection() {
            return Err(Box::new(rejection));
        }
        match (self.checks.all_passed(), self.key, self.facts) {
            (true, Some(key), Some(facts)) => Ok(Attested {
                key,
                facts,
                checks: self.checks,
                at: self.at,
            }),
            _ => Err(Box::new(self.checks.incomplete())),
        }
    }
}
