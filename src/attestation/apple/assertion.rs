//! App Attest assertions: signatures of an attested key over data of the app.
//!
//! An assertion is no replay key: from one valid signature anyone can compute a second (`s` and
//! `n − s`). What makes it good once is the counter, and a challenge inside the client data.

use super::auth_data::{self, Extensions};
use super::examination::note_app;
use super::object;
use crate::attestation::{AppleApp, Checks, Rejection};
use crate::key::{PublicKey, sha256};
use crate::reason::Reason;

/// Largest assertion. Genuine ones measure 140 to 258 bytes.
pub const ASSERTION_BYTES_MAX: usize = 4 * 1024;

/// All that can be said about an assertion.
#[derive(Debug, Clone)]
pub struct AssertionExamination {
    /// Every check, in order.
    pub checks: Checks,
    /// What it says, where it could be read. Not to be believed unless all checks passed.
    pub facts: Option<AssertionFacts>,
}

/// What an assertion says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionFacts {
    /// How often the key has signed, this time included; any value of 32 bits.
    pub counter: u32,
    /// What systems of 2026 and later say of the running app. Judged by policy, not here.
    pub extensions: Extensions,
}

/// An assertion that passed every check. Only [`AssertionExamination::into_verified`] makes one.
///
/// Its counter was compared with the one handed in. Whoever stores it has to do so only if the
/// stored one is still lower, in one step: two copies of one assertion may be under way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion(AssertionFacts);

impl VerifiedAssertion {
    /// The counter, to be stored with the key.
    #[must_use]
    pub const fn counter(&self) -> u32 {
        self.0.counter
    }

    /// What the system said of the running app.
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
}

/// Runs every check of an assertion. `key` is the attested key it has to be made with, `app` the
/// key's app, `counter_after` the counter last seen of this key (0 after its attestation).
///
/// Without `counter_after` the comparison is listed as not made, and the examination never becomes
/// a [`VerifiedAssertion`]. A counter of 0 is refused in any case.
///
/// `client_data_hash` is SHA-256 of the client data, byte for byte as received. The environment is
/// not in an assertion: it is a property of the key, known from its attestation.
#[must_use]
pub fn verify(
    object: &[u8],
    client_data_hash: &[u8],
    key: &PublicKey,
    app: &AppleApp,
    counter_after: Option<u32>,
) -> AssertionExamination {
    let mut checks = Checks::default();
    let Some((signature, auth_data)) = read_object(&mut checks, object) else {
        return AssertionExamination {
            checks,
            facts: None,
        };
    };
    check_signature(&mut checks, signature, &[auth_data, client_data_hash], key);
    let facts = match auth_data::asserted(auth_data) {
        Ok(data) => {
            let seen = format!("{} bytes", auth_data.len());
            checks.note("authenticator_data", None, Ok(()), (seen, AUTH_DATA_WANTED));
            note_app(&mut checks, &data.header.rp_id_hash, Some(Some(app)));
            check_counter(&mut checks, data.header.counter, counter_after);
            Some(AssertionFacts {
                counter: data.header.counter,
                extensions: data.extensions,
            })
        }
        Err(error) => {
            let failed = Err(Reason::EvidenceMalformed);
            let facts = (error.to_string(), AUTH_DATA_WANTED);
            checks.note("authenticator_data", None, failed, facts);
            None
        }
    };
    AssertionExamination { checks, facts }
}

impl AssertionExamination {
    /// Turns an examination in which everything was compared and nothing failed into the type that
    /// says so.
    ///
    /// # Errors
    /// [`Rejection`] for the first check that failed or could not be made.
    pub fn into_verified(self) -> Result<VerifiedAssertion, Box<Rejection>> {
        if let Some(rejection) = self.checks.rejection() {
            return Err(Box::new(rejection));
        }
        match (self.checks.all_passed(), self.facts) {
            (true, Some(facts)) => Ok(VerifiedAssertion(facts)),
            _ => Err(Box::new(self.checks.incomplete())),
        }
    }
}

const AUTH_DATA_WANTED: &str = "header, then nothing or one extension map";

fn read_object<'a>(checks: &mut Checks, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    const WANTED: &str = "strict CBOR with signature and authenticatorData";
    let seen = format!("{} bytes", bytes.len());
    if bytes.len() > ASSERTION_BYTES_MAX {
        let facts = (seen, format!("at most {ASSERTION_BYTES_MAX} bytes"));
        checks.note("object", None, Err(Reason::EvidenceTooLarge), facts);
        return None;
    }
    match object::assertion(bytes) {
        Ok(parts) => {
            checks.note("object", None, Ok(()), (seen, WANTED));
            Some(parts)
        }
        Err(error) => {
            let failed = Err(Reason::EvidenceMalformed);
            checks.note("object", None, failed, (error.to_string(), WANTED));
            None
        }
    }
}

/// The signed message is the nonce, itself a SHA-256: the data is hashed twice in all.
fn check_signature(checks: &mut Checks, signature: &[u8], signed: &[&[u8]], key: &PublicKey) {
    let nonce = sha256(&signed.concat());
    let verified = key.verify_der(&nonce, signature);
    let seen = match verified {
        Ok(()) => "verifies",
        Err(_) => "does not verify",
    };
    let passed = verified.map_err(|_| Reason::ProofInvalid);
    let wanted = format!("a signature of the key {}", key.thumbprint());
    checks.note("signature", None, passed, (seen, wanted));
}

fn check_counter(checks: &mut Checks, counter: u32, after: Option<u32>) {
    const NAME: &str = "counter";
    let (passed, wanted) = match after {
        _ if counter == 0 => (Err(Reason::ProofInvalid), "more than 0".to_owned()),
        None => return checks.not_checked(NAME, counter.to_string()),
        Some(last) if counter > last => (Ok(()), format!("more than {last}")),
        Some(last) => (Err(Reason::ProofReplayed), format!("more than {last}")),
    };
    checks.note(NAME, None, passed, (counter.to_string(), wanted));
}
