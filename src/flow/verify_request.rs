//! VerifyRequest: whether an API call may pass.

use super::limits::Gate;
use super::once::Once;
use super::state::Place;
use super::{App, Engine, Failure};
use crate::policy::{BodyRule, ProofPolicy};
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, TargetUri, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Requirements, admit};
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
    /// Who asks.
    pub by: Actor,
}

/// A decision on a call.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Who calls, or why the call may not pass.
    pub verdict: Result<Box<VerifiedClaims>, Reason>,
    /// The instant it is true for.
    pub as_of: Timestamp,
}

/// Verifies a call. One trip to the store, none for a forged token or proof.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`, faults of ours, `RATE_LIMITED_CALLER`, which says nothing about the call,
/// and `MALFORMED_REQUEST` without a digest of the body where the app requires it. "No" is an answer.
pub async fn run(engine: &Engine, request: VerifyRequest) -> Result<Decision, Failure> {
    let as_of = engine.clock.now();
    let verdict = match check(engine, &request, as_of).await {
        Ok(claims) => Ok(Box::new(claims)),
        Err(failure) if failure.is_verdict() => Err(failure.reason),
        Err(failure) => return Err(failure),
    };
    Ok(Decision { verdict, as_of })
}

async fn check(
    engine: &Engine,
    request: &VerifyRequest,
    now: Timestamp,
) -> Result<VerifiedClaims, Failure> {
    let proof = dpop::parse(request.proof.expose())?;
    let token = request.access_token.expose();
    let claims = access::verify(&engine.keyring, token, &engine.issuer, None, now)?;
    let app = engine.app(&claims.claims().app)?;
    check_body(request, &app.policy.proof)?;
    let proof = check_proof(engine, &app, (request, &claims), proof, now)?;
    let session = claims.claims().session;
    let place = Place::of(engine, &claims);
    let once = Once::of(&app, &proof, session.bucket(), now)?;
    let gate = Gate::of_caller(engine, &request.by);
    let answered = engine
        .load_once(place, session, &once, gate.to_count())
        .await?;
    gate.heard(&answered.limits);
    gate.check()?;
    once.check(&answered.claims)?;
    let (state, record) = (answered.state, answered.session);
    let record = record
        .and_then(|record| record.value)
        .ok_or(Reason::SessionRevoked)?;
    let surroundings = state.surroundings(app.standing);
    admit(&claims, &record, surroundings, &request.required, now)?;
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    device.check_form(&proof, app.policy.proof.counter)?;
    Ok(claims)
}

/// Where proofs have to cover bodies, whoever asks has to say what the body is: it is no fault of the
/// phone that the digest is missing.
fn check_body(request: &VerifyRequest, rules: &ProofPolicy) -> Result<(), Failure> {
    match (rules.body, request.body_sha256) {
        (BodyRule::Required, None) => Err(Failure::field(
            "body_sha256",
            "the SHA-256 of the body, of no bytes where there is none: the app requires it",
        )),
        (BodyRule::Required, Some(_)) | (BodyRule::WhenSent, _) => Ok(()),
    }
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
        app_attest: app.identity.apple.as_ref(),
    };
    Ok(proof.verify(&expected, now)?)
}
