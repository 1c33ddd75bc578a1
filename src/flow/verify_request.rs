//! VerifyRequest: whether an API call may pass.

use std::time::Duration;

use super::limits::Gate;
use super::once::Once;
use super::risk::{self, Suspect};
use super::state::Place;
use super::used_proofs::Use;
use super::{App, CURRENT_FOR, Engine, Failure};
use crate::policy::{BodyRule, ProofPolicy, Signal};
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, Form, ProofExpectation, TargetUri, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Requirements, admit, admit_unasked};
use crate::time::{Reading, Timestamp};
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
/// `STATE_STORE_UNAVAILABLE`, faults of ours, `RATE_LIMITED_CALLER`, which says nothing about the call,
/// and `MALFORMED_REQUEST` without a digest of the body where the app requires it. "No" is an answer.
pub async fn run(engine: &Engine, request: VerifyRequest) -> Result<Decision, Failure> {
    let read = engine.clock.reading();
    let (verdict, as_of, by) = match check(engine, &request, read).await {
        Ok((claims, as_of, by)) => (Ok(Box::new(claims)), as_of, by),
        Err(failure) if failure.is_verdict() => {
            (Err(failure.reason), read.now, request.consistency)
        }
        Err(failure) => return Err(failure),
    };
    Ok(Decision { verdict, as_of, by })
}

async fn check(
    engine: &Engine,
    request: &VerifyRequest,
    read: Reading,
) -> Result<(VerifiedClaims, Timestamp, Consistency), Failure> {
    let now = read.now;
    let proof = dpop::parse(request.proof.expose())?;
    let token = request.access_token.expose();
    let claims = access::verify(&engine.keyring, token, &engine.issuer, None, now)?;
    let app = engine.app(&claims.claims().app)?;
    check_body(request, &app.policy.proof)?;
    let suspect = Suspect {
        app: &app,
        place: Place::of(engine, &claims),
        session: claims.claims().session,
        now,
    };
    let decided = decide(engine, request, &suspect, (claims, proof), read).await;
    if let Err(failure) = &decided {
        engine.note_refusal(&suspect, failure, Vec::new()).await;
    }
    decided
}

/// Decides on a call with an authentic access token.
async fn decide(
    engine: &Engine,
    request: &VerifyRequest,
    &Suspect {
        app,
        place,
        session,
        now,
    }: &Suspect<'_>,
    (claims, proof): (VerifiedClaims, UnverifiedProof),
    read: Reading,
) -> Result<(VerifiedClaims, Timestamp, Consistency), Failure> {
    let own = claims.claims().key == *proof.thumbprint();
    let proof = check_proof(engine, app, (request, &claims), proof, now).map_err(|failure| {
        if own {
            risk::misdirected(failure, app, &request.proof)
        } else {
            failure
        }
    })?;
    let replayed = || Failure::from(Reason::ProofReplayed).with_signal(Signal::ProofReplayed);
    // Before either decision: a proof that has to be counted and is not is no proof.
    let once = Once::of(app, &proof, session.bucket(), now)?;
    if request.consistency == Consistency::Local
        && let Some(as_of) = known_until(engine, (&claims, &proof), place, read)
    {
        match engine.used_proofs.note(&proof, now) {
            Use::First => {
                admit_unasked(&claims, &request.required, now)?;
                return Ok((claims, as_of, Consistency::Local));
            }
            Use::Again => return Err(replayed()),
            Use::Unknown => {}
        }
    }
    // The store knows nothing of those that were taken without it.
    if engine.used_proofs.has(&proof) {
        return Err(replayed());
    }
    let gate = Gate::of_caller(engine, &request.by);
    let answered = engine
        .load_once(place, session, &once, gate.to_count())
        .await?;
    gate.heard(&answered.limits);
    gate.check()?;
    once.check(&answered.claims)?;
    // Nor may one the store knows of be taken without it, or have been while the store was asked.
    if engine.used_proofs.note(&proof, now) == Use::Again {
        return Err(replayed());
    }
    let (state, record) = (answered.state, answered.session);
    let record = record
        .and_then(|record| record.value)
        .ok_or(Reason::SessionRevoked)?;
    let surroundings = state.surroundings(app.standing);
    let (session, required) = ((&record, surroundings), &request.required);
    let claims = admit(&claims, session, &app.policy, required, now)?;
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    device.check_form(&proof, app.policy.proof.counter)?;
    Ok((claims, now, Consistency::Fresh))
}

/// Up to when it is known that nothing behind this access token was revoked; `None`: the store has to be
/// asked. So it has to be about an assertion: what makes it good once is its counter, and that only the
/// device's own key made it stands in the device's record.
fn known_until(
    engine: &Engine,
    (claims, proof): (&VerifiedClaims, &VerifiedProof),
    place: Place,
    read: Reading,
) -> Option<Timestamp> {
    let until = engine.board.current(read)?;
    let doubtful = proof.form() != Form::Dpop
        || engine.board.covers(claims)
        || engine.board.overlay().has_subject(place.subject);
    (!doubtful).then_some(until)
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
