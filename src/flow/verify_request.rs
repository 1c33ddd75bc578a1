//! VerifyRequest: whether an API call may pass.

use std::time::Duration;

use super::state::{Place, check_unused, proof_claim};
use super::used_proofs::Use;
use super::{App, CURRENT_FOR, Engine, Failure};
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, TargetUri, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Requirements, admit, admit_unasked};
use crate::time::Timestamp;
use crate::token::access::{self, VerifiedClaims};

/// The request.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The access token.
    pub access_token: Secret<String>,
    /// The proof.
    pub proof: Secret<String>,
    /// The call's HTTP method.
    pub method: String,
    /// The call's absolute URI.
    pub uri: String,
    /// SHA-256 of its body, where the proof has to cover it.
    pub body_sha256: Option<[u8; 32]>,
    /// What the call needs.
    pub required: Requirements,
    /// What the decision may be taken by.
    pub consistency: Consistency,
}

/// What a decision is taken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// By the store.
    #[default]
    Fresh,
    /// By the token and what this instance knows of revocations, where that is complete up to
    /// [`CURRENT_FOR`] ago and says nothing of the token; else by the store.
    Local,
}

/// A decision on a call.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Who calls, or why the call may not pass.
    pub verdict: Result<Box<VerifiedClaims>, Reason>,
    /// The instant it is true for.
    pub as_of: Timestamp,
    /// What it was taken by.
    pub by: Consistency,
}

impl Decision {
    /// How long whoever asked may take it that the session, the device and all else behind the access
    /// token stand as they did, without asking again. It says nothing of a proof.
    #[must_use]
    pub fn cache_for(&self, now: Timestamp) -> Duration {
        let Ok(verified) = &self.verdict else {
            return Duration::ZERO;
        };
        let left = verified.claims().expires_at.since(now);
        left.min(self.as_of.after(CURRENT_FOR).since(now))
    }
}

/// Verifies a call. One trip to the store, none for a forged token or proof, and none where the
/// decision is taken here.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE` and faults of ours. "No" is an answer.
pub async fn run(engine: &Engine, request: VerifyRequest) -> Result<Decision, Failure> {
    let now = engine.clock.now();
    let (verdict, as_of, by) = match check(engine, &request, now).await {
        Ok((claims, as_of, by)) => (Ok(Box::new(claims)), as_of, by),
        Err(failure) if failure.is_verdict() => (Err(failure.reason), now, request.consistency),
        Err(failure) => return Err(failure),
    };
    Ok(Decision { verdict, as_of, by })
}

async fn check(
    engine: &Engine,
    request: &VerifyRequest,
    now: Timestamp,
) -> Result<(VerifiedClaims, Timestamp, Consistency), Failure> {
    let proof = dpop::parse(request.proof.expose())?;
    let token = request.access_token.expose();
    let claims = access::verify(&engine.keyring, token, &engine.issuer, None, now)?;
    let app = engine.app(&claims.claims().app)?;
    let proof = check_proof(engine, &app, (request, &claims), proof, now)?;
    let place = Place::of(engine, &claims);
    if request.consistency == Consistency::Local
        && let Some(as_of) = known_until(engine, &claims, place, now)
    {
        match engine.used_proofs.note(&proof, now) {
            Use::First => {
                admit_unasked(&claims, &request.required, now)?;
                return Ok((claims, as_of, Consistency::Local));
            }
            Use::Again => return Err(Reason::ProofReplayed.into()),
            Use::Unknown => {}
        }
    }
    // The store knows nothing of those that were taken without it.
    if engine.used_proofs.has(&proof) {
        return Err(Reason::ProofReplayed.into());
    }
    let session = claims.claims().session;
    let claim = proof_claim(&proof, session.bucket(), now)?;
    let (state, record, claimed) = engine.load(place, Some(session), vec![claim]).await?;
    check_unused(&claimed)?;
    // Nor may one the store knows of be taken without it.
    engine.used_proofs.note(&proof, now);
    let record = record
        .and_then(|record| record.value)
        .ok_or(Reason::SessionRevoked)?;
    let surroundings = state.surroundings(app.standing);
    admit(&claims, &record, surroundings, &request.required, now)?;
    Ok((claims, now, Consistency::Fresh))
}

/// Up to when it is known that nothing behind this access token was revoked; `None`: the store has to be
/// asked.
fn known_until(
    engine: &Engine,
    claims: &VerifiedClaims,
    place: Place,
    now: Timestamp,
) -> Option<Timestamp> {
    let until = engine.board.current(now)?;
    let doubtful = engine.board.covers(claims) || engine.board.overlay().has_subject(place.subject);
    (!doubtful).then_some(until)
}

fn check_proof(
    engine: &Engine,
    app: &App,
    (request, claims): (&VerifyRequest, &VerifiedClaims),
    proof: UnverifiedProof,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let uri = request
        .uri
        .parse::<TargetUri>()
        .map_err(|_| Reason::ProofTargetMismatch)?;
    let expected = ProofExpectation {
        method: &request.method,
        uris: std::slice::from_ref(&uri),
        key: Some(claims.claims().key),
        access_token: Some(request.access_token.expose()),
        body: request.body_sha256.map_or(Body::Unknown, Body::Bound),
        freshness: engine.freshness(app),
    };
    Ok(proof.verify(&expected, now)?)
}
