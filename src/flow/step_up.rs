//! What ElevateSession, RotateSession and EnrolPresenceKey share: proofs by a device's session key for
//! one session or key, and by its presence key for the other proof.

use super::state::{Loaded, Place, State};
use super::{App, Engine, Failure};
use crate::id::{DeviceId, SessionId, Subject};
use crate::proof::dpop::UnverifiedProof;
use crate::proof::{Body, Form, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::session::Session;
use crate::time::Timestamp;

/// A session as its holder's sign-in server names it.
#[derive(Debug, Clone)]
pub struct SessionName {
    /// Whose.
    pub subject: Subject,
    /// On which device.
    pub device: DeviceId,
    /// Which.
    pub session: SessionId,
}

impl SessionName {
    /// Where its records are.
    pub(super) fn place(&self, engine: &Engine) -> Place {
        Place {
            device: self.device,
            subject: engine.keyring.subject_tag(&self.subject),
        }
    }

    /// The session, when it is this device's and subject's: one that does not exist and one of somebody
    /// else look the same.
    pub(super) fn found<'a>(
        &self,
        state: &State,
        record: &'a Loaded<Session>,
    ) -> Result<&'a Session, Failure> {
        let own = |session: &&Session| {
            session.device == self.device
                && session.subject == self.subject
                && state.device.value.is_some()
        };
        let session = record.value.as_ref().filter(own);
        session.ok_or_else(|| Reason::ResourceNotFound.into())
    }
}

/// A proof by the key of a session, for this RPC and this session. Whose key it is, the rules compare.
///
/// # Errors
/// The reasons of proofs; `PROOF_TARGET_MISMATCH` also when it is not for this session.
pub(super) fn session_proof(
    engine: &Engine,
    (app, method): (&App, &str),
    proof: UnverifiedProof,
    session: SessionId,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let proof = verified(engine, (app, method), proof, None, now)?;
    if proof.session() == Some(session) {
        Ok(proof)
    } else {
        Err(Reason::ProofTargetMismatch.into())
    }
}

/// A proof by a presence key for this RPC and for the other proof of the same request, the text of which
/// it covers as it would an access token's: so neither is of use with another.
///
/// # Errors
/// The reasons of proofs.
pub(super) fn presence_proof(
    engine: &Engine,
    (app, method): (&App, &str),
    proof: UnverifiedProof,
    other: &str,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let proof = verified(engine, (app, method), proof, Some(other), now)?;
    // A key in software can sign what looks like an assertion.
    match proof.form() {
        Form::Dpop => Ok(proof),
        Form::AppAttest { .. } => Err(Reason::ProofInvalid.into()),
    }
}

/// A proof for this RPC, whosever.
pub(super) fn verified(
    engine: &Engine,
    (app, method): (&App, &str),
    proof: UnverifiedProof,
    covers: Option<&str>,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let uris = engine.proof_uris(app, method);
    let expected = ProofExpectation {
        method: "POST",
        uris: &uris,
        key: None,
        access_token: covers,
        body: Body::Unknown,
        freshness: engine.freshness(app),
        app_attest: app.identity.apple.as_ref(),
    };
    Ok(proof.verify(&expected, now)?)
}
