//! App Attest receipts: what Apple signs beside an attestation, and later in exchange for it.
//!
//! A receipt of the kind `ATTEST` comes with an attestation, outside of everything the attestation's
//! signatures cover. Sent to Apple it brings one of the kind `RECEIPT`, which holds the risk metric:
//! about how many keys were attested for this app on this device in the last 30 days. The metric is
//! a signal. It stands for no verdict: a reset phone, a family's tablet and a farm all count up.
//!
//! Receipts are signed under a PKI of their own, that of the pinned Apple Root CA - G3. Apple issues
//! certificates of many purposes under that root, so the signer has to carry the mark of its own.
//! Receipts name nothing by their hash: unsigned bytes of the envelope can be changed by anyone.

mod payload;
pub mod refresh;
mod signed_data;

use std::time::Duration;

use x509_parser::asn1_rs::{Oid, oid};

use super::ber::BerError;
use super::certificate::Certificate;
use super::{Environment, Facts, chain};
use crate::attestation::AttestedKey;
use crate::attestation::roots::AppleRoots;
use crate::key::PublicKey;
use crate::time::Timestamp;
use payload::Payload;
use signed_data::SignedData;

/// Largest receipt. Genuine ones measure 3678 to 3929 bytes.
pub const RECEIPT_BYTES_MAX: usize = 16 * 1024;

/// How far from now the receipt of a new attestation may have been made, as Apple advises.
pub const ATTEST_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// How far ahead of ours the clock may be that dates a receipt.
const CLOCK_SKEW_MAX: Duration = ATTEST_AGE_MAX;

/// What every signer of genuine receipts carries (seen in all from 2020 to 2027): the mark of
/// attestation receipts. Its value is NULL.
const SIGNER_MARK: Oid<'static> = oid!(1.2.840.113635.100.12.15);

/// What the authority above them carries: the mark of Apple's application integration. Its value is
/// NULL as well.
const ISSUER_MARK: Oid<'static> = oid!(1.2.840.113635.100.6.2.3);

/// NULL, the value of both marks.
const MARK: &[u8] = &[5, 0];

/// What a receipt is for (field 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Came with an attestation; has no risk metric.
    Attest,
    /// Came from Apple in exchange for another receipt.
    Receipt,
}

/// When a receipt has to have been made, and for which time its signer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Within this span of now on either side, by a signer valid now: for new evidence from a phone.
    /// A signer that has expired proves nothing of new evidence: who got hold of its key could date
    /// back what it signs.
    Within(Duration),
    /// At this instant or later, and not ahead of now, by a signer valid now: for what Apple's
    /// server answers, which is never older than what it was sent.
    Since(Timestamp),
    /// Before now, at a time at which its signer was valid: for a receipt that was verified when it
    /// came and has been kept since. Signers live for 13 months.
    Kept,
}

/// What a receipt has to be.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptExpectation<'a> {
    /// `TEAM.bundle`.
    pub app_id: &'a str,
    /// The attested key.
    pub key: &'a PublicKey,
    /// The hash the key was attested with. `None` leaves the field uncompared: for receipts that
    /// Apple's server gave in exchange.
    pub client_data_hash: Option<&'a [u8]>,
    /// Which environment the key comes from. The field is undocumented, so a receipt without it is
    /// taken for any.
    pub environment: Environment,
    /// Which kind.
    pub kind: Kind,
    /// When it has to have been made.
    pub age: Age,
}

/// What a verified receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptFacts {
    /// What it is for.
    pub kind: Kind,
    /// `TEAM.bundle`.
    pub app_id: String,
    /// Where the key comes from, if the receipt says it.
    pub environment: Option<Environment>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Before when Apple will not exchange it; kind `RECEIPT` only, a day after it was made.
    pub not_before: Option<Timestamp>,
    /// From when Apple will not exchange it: 90 days after it was made.
    pub expires_at: Timestamp,
    /// About how many keys were attested on the device in 30 days; kind `RECEIPT` only.
    pub risk_metric: Option<u32>,
    /// Numbers of fields without a known meaning. They are signed like the rest and say nothing.
    pub unknown_fields: Vec<u32>,
}

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefusal {
    /// Larger than [`RECEIPT_BYTES_MAX`].
    #[error("it has {0} bytes, more than {RECEIPT_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the one form of a receipt.
    #[error("it cannot be read: {0}")]
    Malformed(&'static str),
    /// Not signed once.
    #[error("it has {0} signers")]
    Signers(usize),
    /// A field that every receipt has is missing.
    #[error("field {0} is missing")]
    FieldMissing(u32),
    /// A field stands twice.
    #[error("field {0} stands twice")]
    FieldTwice(u32),
    /// A field has an unexpected form.
    #[error("field {0} has an unexpected form")]
    Field(u32),
    /// Of the other kind.
    #[error("it is of another kind")]
    OtherKind,
    /// For another app.
    #[error("it is for another app")]
    OtherApp,
    /// For another key.
    #[error("it is for another key")]
    OtherKey,
    /// For another client data hash.
    #[error("it is for other client data")]
    OtherClientData,
    /// For the other environment.
    #[error("it is for another environment")]
    OtherEnvironment,
    /// Made at another time than it has to be.
    #[error("it was made at {0}")]
    NotFresh(Timestamp),
    /// No longer good for anything, or dated to end before it began.
    #[error("it expires at {0}")]
    Expired(Timestamp),
    /// The certificate the signature is said to belong to is not there, or is there twice.
    #[error("it does not bring the certificate of its signer")]
    SignerMissing,
    /// The signer is not one of attestation receipts.
    #[error("its signer is not a signer of receipts")]
    SignerUnfit,
    /// The signer is not certified by the authority of such signers.
    #[error("its signer is not certified by the authority of such signers")]
    IssuerUnfit,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    Signature,
    /// There is no path from the signer to a trusted root at the time it is judged for.
    #[error("its signer is not trusted: {0}")]
    Untrusted(String),
    /// The attestation it came with leaves nothing to compare it with.
    #[error("there is nothing to compare it with")]
    NotCompared,
}

impl From<BerError> for ReceiptRefusal {
    fn from(error: BerError) -> Self {
        Self::Malformed(error.0)
    }
}

/// The receipt of an attestation, with what became of its verification. It decides nothing by
/// itself: whether a receipt is wanted is a matter of policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptEvidence {
    /// There is none.
    Absent,
    /// There is one that is not believed.
    Unverified {
        /// Why.
        why: ReceiptRefusal,
        /// As sent.
        bytes: Vec<u8>,
    },
    /// There is one of the kind `ATTEST` for this very attestation.
    Verified {
        /// What it says.
        facts: ReceiptFacts,
        /// As sent, to be exchanged for one with a risk metric.
        bytes: Vec<u8>,
    },
}

impl ReceiptEvidence {
    /// The receipt as sent, believed or not.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::Unverified { bytes, .. } | Self::Verified { bytes, .. } => Some(bytes),
        }
    }

    /// What it says, if it is believed.
    #[must_use]
    pub const fn facts(&self) -> Option<&ReceiptFacts> {
        match self {
            Self::Absent | Self::Unverified { .. } => None,
            Self::Verified { facts, .. } => Some(facts),
        }
    }

    /// What became of it, for people.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Absent => "none".to_owned(),
            Self::Unverified { why, bytes } => {
                format!("{} bytes, not believed: {why}", bytes.len())
            }
            Self::Verified { facts, bytes } => {
                format!(
                    "{} bytes, verified, made at {}",
                    bytes.len(),
                    facts.created_at
                )
            }
        }
    }
}

/// The attestation that a receipt came with.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) facts: &'a Facts,
    pub(super) key: Option<&'a AttestedKey>,
    pub(super) client_data_hash: Option<&'a [u8]>,
}

/// Holds the receipt of an attestation against the attestation, as it has to be at registration.
pub(super) fn examine(
    receipt: Option<&[u8]>,
    beside: Beside<'_>,
    roots: &AppleRoots,
    now: Timestamp,
) -> ReceiptEvidence {
    let Some(receipt) = receipt else {
        return ReceiptEvidence::Absent;
    };
    let bytes = receipt.to_vec();
    let verified = beside
        .expectation()
        .ok_or(ReceiptRefusal::NotCompared)
        .and_then(|expectation| verify(receipt, expectation, roots, now));
    match verified {
        Ok(facts) => ReceiptEvidence::Verified { facts, bytes },
        Err(why) => ReceiptEvidence::Unverified { why, bytes },
    }
}

impl<'a> Beside<'a> {
    fn expectation(&self) -> Option<ReceiptExpectation<'a>> {
        let Some(AttestedKey::P256(key)) = self.key else {
            return None;
        };
        Some(ReceiptExpectation {
            app_id: self.facts.app_id.as_deref()?,
            key,
            client_data_hash: Some(self.client_data_hash?),
            environment: self.facts.environment?,
            kind: Kind::Attest,
            age: Age::Within(ATTEST_AGE_MAX),
        })
    }
}

/// Verifies a receipt. What costs least comes first, so that one for something else costs no
/// signature check.
///
/// # Errors
/// [`ReceiptRefusal`]: the first thing that is not as it has to be.
pub fn verify(
    receipt: &[u8],
    expectation: ReceiptExpectation<'_>,
    roots: &AppleRoots,
    now: Timestamp,
) -> Result<ReceiptFacts, ReceiptRefusal> {
    if receipt.len() > RECEIPT_BYTES_MAX {
        return Err(ReceiptRefusal::TooLarge(receipt.len()));
    }
    let envelope = signed_data::parse(receipt)?;
    let payload = payload::parse(&envelope.content)?;
    compare(&payload, expectation)?;
    let judged_at = check_dates(&payload, expectation.age, now)?;
    check_signer(&envelope, roots, judged_at)?;
    Ok(ReceiptFacts {
        kind: payload.kind,
        app_id: payload.app_id,
        environment: payload.environment,
        created_at: payload.created_at,
        not_before: payload.not_before,
        expires_at: payload.expires_at,
        risk_metric: payload.risk_metric,
        unknown_fields: payload.unknown,
    })
}

fn compare(payload: &Payload, wanted: ReceiptExpectation<'_>) -> Result<(), ReceiptRefusal> {
    let environment = payload.environment.unwrap_or(wanted.environment);
    let hash = payload.client_data_hash.as_slice();
    if payload.kind != wanted.kind {
        Err(ReceiptRefusal::OtherKind)
    } else if payload.app_id != wanted.app_id {
        Err(ReceiptRefusal::OtherApp)
    } else if payload.key != *wanted.key {
        Err(ReceiptRefusal::OtherKey)
    } else if wanted.client_data_hash.is_some_and(|wanted| wanted != hash) {
        Err(ReceiptRefusal::OtherClientData)
    } else if environment != wanted.environment {
        Err(ReceiptRefusal::OtherEnvironment)
    } else {
        Ok(())
    }
}

/// Compares the dates, and says for which time the signer is judged.
fn check_dates(payload: &Payload, age: Age, now: Timestamp) -> Result<Timestamp, ReceiptRefusal> {
    let made_at = payload.created_at;
    let (earliest, latest) = match age {
        Age::Within(span) => (now.before(span), now.after(span)),
        Age::Since(earliest) => (earliest, now.after(CLOCK_SKEW_MAX)),
        Age::Kept => (Timestamp::EPOCH, now.after(CLOCK_SKEW_MAX)),
    };
    if made_at < earliest || made_at > latest {
        return Err(ReceiptRefusal::NotFresh(made_at));
    }
    let judged_at = match age {
        Age::Within(_) | Age::Since(_) => now,
        Age::Kept => made_at,
    };
    if payload.expires_at <= judged_at || payload.expires_at <= made_at {
        return Err(ReceiptRefusal::Expired(payload.expires_at));
    }
    Ok(judged_at)
}

fn check_signer(
    envelope: &SignedData<'_>,
    roots: &AppleRoots,
    judged_at: Timestamp,
) -> Result<(), ReceiptRefusal> {
    let (signer, above) = split_signer(envelope)?;
    let certificate = Certificate::parse(signer).ok_or(ReceiptRefusal::SignerMissing)?;
    if !certificate.is_marked(SIGNER_MARK, MARK) || !certificate.is_signing_leaf() {
        return Err(ReceiptRefusal::SignerUnfit);
    }
    let AttestedKey::P256(key) = certificate.key() else {
        return Err(ReceiptRefusal::SignerUnfit);
    };
    key.verify_der(&envelope.content, envelope.signer.signature)
        .map_err(|_| ReceiptRefusal::Signature)?;
    let issuer = chain::through_one(signer, &above, roots.receipt_anchors(), judged_at)
        .map_err(|error| ReceiptRefusal::Untrusted(error.to_string()))?;
    let issuer = Certificate::parse(issuer).ok_or(ReceiptRefusal::IssuerUnfit)?;
    if issuer.is_marked(ISSUER_MARK, MARK) && issuer.may_sign_certificates() {
        Ok(())
    } else {
        Err(ReceiptRefusal::IssuerUnfit)
    }
}

/// The one certificate the envelope names as its signer's, and the others.
fn split_signer<'a>(
    envelope: &SignedData<'a>,
) -> Result<(&'a [u8], Vec<&'a [u8]>), ReceiptRefusal> {
    let is_signer = |der: &&[u8]| {
        Certificate::parse(der)
            .is_some_and(|found| found.is_named(envelope.signer.issuer, envelope.signer.serial))
    };
    let certificates = envelope.certificates.iter().copied();
    let (signers, others): (Vec<_>, Vec<_>) = certificates.partition(is_signer);
    match signers.as_slice() {
        [signer] => Ok((signer, others)),
        _ => Err(ReceiptRefusal::SignerMissing),
    }
}
