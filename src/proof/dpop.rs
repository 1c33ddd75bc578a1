//! DPoP proofs (RFC 9449): compact JWS with the public key in the header.

use std::fmt;

use serde_json::{Map, Value};

use super::claims::ProofClaims;
use super::{ProofExpectation, ProofRefusal, VerifiedProof};
use crate::key::{PublicKey, Thumbprint};
use crate::time::Timestamp;
use crate::token::jws::Unverified;

/// Largest proof, in bytes: the one claim of any size, `htu`, is below half of it.
pub const PROOF_BYTES_MAX: usize = 4096;

/// RFC 9449, 4.2.
const TYP: &str = "dpop+jwt";

/// Members that only private or symmetric JWKs have (RFC 7518, 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads a proof without believing it.
///
/// # Errors
/// [`ProofRefusal::Malformed`] unless it is a compact JWS of this type, with ES256, a public P-256
/// key and the claims RFC 9449 wants, no JSON member twice.
pub fn parse(text: &str) -> Result<UnverifiedProof, ProofRefusal> {
    let malformed = ProofRefusal::Malformed;
    let jws = Unverified::parse(text, PROOF_BYTES_MAX).map_err(|_| malformed("compact JWS"))?;
    if !jws.is_of_type(TYP) {
        return Err(malformed("typ or alg"));
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
    jws: Unverified,
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
        self.jws
            .verify(&self.key)
            .map_err(|_| ProofRefusal::BadSignature)?;
        Ok(VerifiedProof {
            key: self.key,
            thumbprint: self.thumbprint,
            jti: self.claims.jti,
            issued_at: self.claims.issued_at,
            counter: self.claims.counter,
            new_key: self.claims.new_key,
            session: self.claims.session,
            acceptable_until,
        })
    }
}

impl fmt::Debug for UnverifiedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole text could be replayed from a log.
        write!(f, "UnverifiedProof({})", self.thumbprint)
    }
}
