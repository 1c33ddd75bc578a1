//! The text of a proof: RFC 9449's compact JWS with the public key in the header, in two forms.
//!
//! A DPoP proof is signed with ES256. A key of App Attest cannot make such a signature: what it makes
//! is an assertion, which signs data of the system together with a digest of the app's. So in the
//! other form the third part is an assertion over SHA-256 of the first two, as they are sent, point
//! included. The header's `alg` alone says which form a text has, and it is among what is signed. No
//! text is good in both: the 64 bytes of an ES256 signature have no room for an assertion, and what an
//! assertion signs is a digest of 32 bytes, never such a text. Nor is an assertion that vouches for a
//! key ever a proof: client data begins with `{` and a proof with base64url.

use std::fmt;

use serde_json::{Map, Value};

use super::claims::ProofClaims;
use super::{Form, ProofExpectation, ProofRefusal, VerifiedProof, assertion};
use crate::attestation::AppleApp;
use crate::key::{PublicKey, Thumbprint};
use crate::time::Timestamp;
use crate::token::jws::{ALGORITHM, Unverified};

/// Largest proof, in bytes: the one claim of any size, `htu`, is below half of it, and a genuine
/// assertion is an eighth.
pub const PROOF_BYTES_MAX: usize = 4096;

/// RFC 9449, 4.2.
const TYP: &str = "dpop+jwt";

/// The `alg` of a proof whose third part is an App Attest assertion. Nobody has registered a name for
/// that. Registered names have no point, and this one stands below the package of this API, so it
/// meets no other (RFC 7515, 4.1.1); no library of JWS knows it, so none takes such a text for signed.
pub const APP_ATTEST_ALG: &str = "assay.v1.app-attest";

/// Bytes of an ES256 signature (RFC 7518, 3.4).
const ES256_BYTES: usize = 64;

/// Members that only private or symmetric JWKs have (RFC 7518, 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads a proof without believing it.
///
/// # Errors
/// [`ProofRefusal::Malformed`] unless it is a compact JWS of this type, in one of the two forms, with a
/// public P-256 key and the claims RFC 9449 wants, no JSON member twice.
pub fn parse(text: &str) -> Result<UnverifiedProof, ProofRefusal> {
    let malformed = ProofRefusal::Malformed;
    let jws = Unverified::<Vec<u8>>::parse(text, PROOF_BYTES_MAX);
    let jws = jws.map_err(|_| malformed("compact JWS"))?;
    let is_assertion = match (jws.header("typ"), jws.header("alg")) {
        (Some(TYP), Some(ALGORITHM)) => false,
        (Some(TYP), Some(APP_ATTEST_ALG)) => true,
        _ => return Err(malformed("typ or alg")),
    };
    if !is_assertion && jws.signature().len() != ES256_BYTES {
        return Err(malformed("compact JWS"));
    }
    let key = jws
        .header_object("jwk")
        .and_then(public_key)
        .ok_or(malformed("jwk"))?;
    Ok(UnverifiedProof {
        claims: ProofClaims::read(jws.payload())?,
        thumbprint: key.thumbprint(),
        key,
        jws,
        is_assertion,
    })
}

fn public_key(jwk: &Map<String, Value>) -> Option<PublicKey> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return None;
    }
    if text("kty") != Some("EC") || text("crv") != Some("P-256") {
        return None;
    }
    PublicKey::from_jwk_coordinates(text("x")?, text("y")?).ok()
}

/// A proof that can be read but is not believed.
#[derive(Clone)]
pub struct UnverifiedProof {
    jws: Unverified<Vec<u8>>,
    is_assertion: bool,
    key: PublicKey,
    thumbprint: Thumbprint,
    claims: ProofClaims,
}

impl UnverifiedProof {
    /// The thumbprint of the key it says it is made with, for checking first what is cheap to check
    /// (a refresh token's MAC covers it).
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Checks method, URI, freshness, access token, body, key and, last, the signature.
    ///
    /// # Errors
    /// [`ProofRefusal`]: the first that is not as it should be.
    pub fn verify(
        self,
        expect: &ProofExpectation<'_>,
        now: Timestamp,
    ) -> Result<VerifiedProof, ProofRefusal> {
        let acceptable_until = self.claims.check(expect, now)?;
        if expect.key.is_some_and(|wanted| wanted != self.thumbprint) {
            return Err(ProofRefusal::OtherKey);
        }
        let form = self.check_signature(expect.app_attest)?;
        Ok(VerifiedProof {
            key: self.key,
            thumbprint: self.thumbprint,
            jti: self.claims.jti,
            issued_at: self.claims.issued_at,
            counter: self.claims.counter,
            form,
            new_key: self.claims.new_key,
            session: self.claims.session,
            acceptable_until,
        })
    }

    /// Whether the key it names has signed it, whatever it was signed for. That alone lets nobody in.
    #[must_use]
    pub fn is_signed(&self, app_attest: Option<&AppleApp>) -> bool {
        self.check_signature(app_attest).is_ok()
    }

    fn check_signature(&self, app_attest: Option<&AppleApp>) -> Result<Form, ProofRefusal> {
        let (signed, signature) = (self.jws.signed().as_bytes(), self.jws.signature());
        if self.is_assertion {
            let app = app_attest.ok_or(ProofRefusal::OtherForm)?;
            let counter = assertion::verify(signature, signed, (&self.key, app))?;
            return Ok(Form::AppAttest { counter });
        }
        match self.key.verify_fixed(signed, signature) {
            Ok(()) => Ok(Form::Dpop),
            Err(_) => Err(ProofRefusal::BadSignature),
        }
    }
}

impl fmt::Debug for UnverifiedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole text could be replayed from a log.
        write!(f, "UnverifiedProof({})", self.thumbprint)
    }
}
