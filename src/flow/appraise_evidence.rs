//! AppraiseEvidence: verify evidence, register nothing, say everything.

use super::appraisal::{Appraisal, EvidenceInput, appraise};
use super::{Engine, Failure};
use crate::attestation::client_data::{Expected, Purpose};
use crate::id::AppId;

/// The request.
#[derive(Debug, Clone)]
pub struct AppraiseEvidence {
    /// The app the evidence has to be for.
    pub app: AppId,
    /// The evidence.
    pub evidence: EvidenceInput,
    /// The challenge it has to be made for.
    pub challenge: Vec<u8>,
}

/// Appraises evidence. No trip to the store.
///
/// # Errors
/// `APP_DISABLED`. Evidence that is refused is an answer.
pub fn run(engine: &Engine, request: AppraiseEvidence) -> Result<Appraisal, Failure> {
    let app = engine.app(&request.app)?;
    let now = engine.clock.now();
    let expected = Expected {
        purpose: Purpose::Register,
        challenge: &request.challenge,
        app: &request.app,
        session_key: app.policy.apple.session_key,
    };
    Ok(appraise(engine, &app, request.evidence, expected, now))
}
