//! Whether a proof is one that the key of a device makes.

use super::{Device, Refusal};
use crate::policy::{CounterOrder, Posture};
use crate::proof::window::Window;
use crate::proof::{Form, VerifiedProof};
use crate::reason::Reason;

impl Device {
    /// Whether its proofs are assertions: it has no key but that of App Attest.
    #[must_use]
    pub fn proves_by_assertions(&self) -> bool {
        matches!(self.posture, Posture::Apple(_)) && self.session_key == self.key.thumbprint()
    }

    /// Whether a proof by the key that signs proofs for this device is in the form of that key, and
    /// its counter none that a voucher of the same key is known to be ahead of. A proof by another
    /// key passes: whether that may be is for others to say.
    ///
    /// A key in software can sign what looks like an assertion, with any counter; and the counter is
    /// what makes an assertion good once. So only a key that App Attest attested makes assertions.
    ///
    /// # Errors
    /// [`Reason::ProofInvalid`], [`Reason::ProofReplayed`].
    pub fn check_form(&self, proof: &VerifiedProof, order: CounterOrder) -> Result<(), Refusal> {
        if *proof.thumbprint() != self.session_key {
            return Ok(());
        }
        match (proof.form(), self.proves_by_assertions()) {
            (Form::Dpop, false) => Ok(()),
            (Form::AppAttest { counter }, true) => {
                // What vouched for a key was seen as well, even where the store has forgotten it.
                let vouched = Window::from_parts(Some(self.assertion_counter), 0);
                match vouched.admit_by(order, counter) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(Reason::ProofReplayed.into()),
                }
            }
            (Form::Dpop, true) | (Form::AppAttest { .. }, false) => {
                Err(Reason::ProofInvalid.into())
            }
        }
    }
}
