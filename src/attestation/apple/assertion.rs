//! App Attest assertions: signatures of an attested key over data of the app.
//!
//! An assertion is no replay key: from one valid signature anyone can compute a second (`s` and
//! `n − s`). What makes it good once is the counter, and a challenge inside the client data.

use super::auth_data::{self, Extensions};
use super::examination::note_app;
use super::object;
use crate::attestation::client_data::{ClientData, Expected, SessionKey};
use crate::attestation::{AppleApp, Checks, Examiner, Rejection};
use crate::key::{PublicKey, Thumbprint, sha256};
use crate::reason::Reason;

/// Largest assertion. Genuine ones measure 140 to 258 bytes.
pub const ASSERTION_BYTES_MAX: usize = 4 * 1024;

/// Whose assertion it has to be.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// The attested key.
    pub key: &'a PublicKey,
    /// The key's app.
    pub app: &'a AppleApp,
    /// The counter has to be larger than this one: the one last seen of this key, 0 after its
    /// attestation. Whoever lets assertions come in out of order and remembers the newest counters
    /// one by one gives the largest that is no longer remembered.
    ///
    /// `None` where it is not known: then the comparison is listed as not made, and the examination
    /// never becomes a [`VerifiedAssertion`]. A counter of 0 is refused in any case.
    pub counter_after: Option<u32>,
}

/// All that can be said about an assertion.
#[derive(Debug, Clone)]
pub struct AssertionExamination {
    /// Every check, in order.
    pub checks: Checks,
    /// What it says, where it could be read. Not to be believed unless all checks passed.
    pub facts: Option<AssertionFacts>,
    made_by: Examiner,
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

/// Runs every check of an assertion over data of the app.
///
/// `client_data_hash` is SHA-256 of that data, byte for byte as received. The environment is not in
/// an assertion: it is a property of the key, known from its attestation.
#[must_use]
pub fn verify(object: &[u8], client_data_hash: &[u8], signer: &Signer<'_>) -> AssertionExamination {
    let mut checks = Checks::default();
    let Some((signature, auth_data)) = read_object(&mut checks, object) else {
        return AssertionExamination {
            checks,
            facts: None,
            made_by: Examiner,
        };
    };
    let signed = [auth_data, client_data_hash];
    check_signature(&mut checks, signature, &signed, signer.key);
    let facts = match auth_data::asserted(auth_data) {
        Ok(data) => {
            let seen = format!("{} bytes", auth_data.len());
            checks.note("authenticator_data", None, Ok(()), (seen, AUTH_DATA_WANTED));
            note_app(&mut checks, &data.header.rp_id_hash, Some(Some(signer.app)));
            check_counter(&mut checks, data.header.counter, signer.counter_after);
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
    AssertionExamination {
        checks,
        facts,
        made_by: Examiner,
    }
}

/// A session key that the attested key vouched for. Only [`vouch`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    assertion: VerifiedAssertion,
    session_key: Thumbprint,
}

impl Vouched {
    /// The assertion it was said with; its counter is to be stored with the key.
    #[must_use]
    pub const fn assertion(&self) -> &VerifiedAssertion {
        &self.assertion
    }

    /// The key that signs proofs from now on. That the phone holds it has to be shown by a proof.
    #[must_use]
    pub const fn session_key(&self) -> Thumbprint {
        self.session_key
    }
}

/// Runs every check of an assertion over client data that names a session key: those of
/// [`verify`], then those of [`ClientData::check`] and [`ClientData::check_other`].
///
/// # Errors
/// The second half is a [`Rejection`] for the first check that failed or could not be made.
pub fn vouch(
    object: &[u8],
    client_data: &[u8],
    signer: &Signer<'_>,
    expected: Expected<'_>,
) -> (Checks, Result<Vouched, Box<Rejection>>) {
    let examination = verify(object, &sha256(client_data), signer);
    let mut checks = examination.checks.clone();
    let mut said = Checks::default();
    let parsed = ClientData::parse(client_data);
    let session_key = ClientData::check(parsed, expected, &mut said);
    ClientData::check_other(session_key, &signer.key.thumbprint(), &mut said);
    let verdict =
        examination
            .into_verified()
            .and_then(|assertion| match (said.rejection(), session_key) {
                (None, Some(SessionKey::Named(session_key))) => Ok(Vouched {
                    assertion,
                    session_key,
                }),
                (Some(rejection), _) => Err(Box::new(rejection)),
                // Who vouches for a key has to name it.
                (None, Some(SessionKey::AppAttest) | None) => Err(Box::new(said.incomplete())),
            });
    checks.extend(said);
    (checks, verdict)
}

impl AssertionExamination {
    /// Turns an examination in which everything was compared and nothing failed into the type that
    /// says so.
    ///
    /// # Errors
    /// [`Rejection`] for the first check that failed or could not be made.
    pub fn into_verified(self) -> Result<VerifiedAssertion, Box<Rejection>> {
        let Examiner = self.made_by;
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
