//! The form of a proof that an App Attest key makes.

use super::ProofRefusal;
use crate::attestation::AppleApp;
use crate::attestation::apple::assertion::{self, Signer};
use crate::key::{PublicKey, sha256};

/// Checks an assertion over what a proof signs, and gives its counter. That the counter was not seen
/// before is the store's to say; it is never 0.
///
/// # Errors
/// [`ProofRefusal::BadAssertion`] with the name of the check that failed.
pub(super) fn verify(
    object: &[u8],
    signed: &[u8],
    (key, app): (&PublicKey, &AppleApp),
) -> Result<u32, ProofRefusal> {
    let signer = Signer {
        key,
        app,
        counter_after: Some(0),
    };
    let examination = assertion::verify(object, &sha256(signed), &signer);
    match examination.into_verified() {
        Ok(verified) => Ok(verified.counter()),
        Err(rejection) => Err(ProofRefusal::BadAssertion(rejection.name)),
    }
}
