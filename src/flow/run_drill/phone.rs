//! The key of a drill, and the requests it signs.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use crate::flow::Failure;
use crate::flow::verify_request::{Consistency, VerifyRequest};
use crate::key::{PublicKey, sha256};
use crate::reason::Reason;
use crate::secret::{Secret, random, signing_rng};
use crate::session::{Actor, Requirements};
use crate::time::Timestamp;
use crate::token::jws;
use crate::token::keyring::SigningFailed;

/// What the requests are for; `invalid` is a name that nobody has (RFC 2606, 2).
const METHOD: &str = "GET";
const URI: &str = "https://drill.invalid/";

/// A key in memory.
pub(super) struct Phone {
    pair: EcdsaKeyPair,
    key: PublicKey,
    requests: AtomicU32,
}

impl Phone {
    pub(super) fn new() -> Result<Self, Failure> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = pair.map_err(|_| Reason::Internal)?;
        let key = PublicKey::from_sec1(pair.public_key().as_ref());
        let key = key.map_err(|_| Reason::Internal)?;
        Ok(Self {
            pair,
            key,
            requests: AtomicU32::new(0),
        })
    }

    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// One more request with this token. Its proof has everything that a policy may ask for.
    pub(super) fn request(
        &self,
        access_token: &Secret<String>,
        nonce: &str,
        now: Timestamp,
    ) -> Result<VerifyRequest, Failure> {
        let (x, y) = self.key.jwk_coordinates();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        let header = json!({"typ": "dpop+jwt", "alg": jws::ALGORITHM, "jwk": jwk});
        let token_sha256 = sha256(access_token.expose().as_bytes());
        let body_sha256 = sha256(b"");
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let claims = json!({
            "jti": BASE64URL_NOPAD.encode(&random::<16>()?),
            "htm": METHOD,
            "htu": URI,
            "iat": now.as_secs(),
            "nonce": nonce,
            "ath": BASE64URL_NOPAD.encode(&token_sha256),
            "bsh": BASE64URL_NOPAD.encode(&body_sha256),
            "ctr": number.saturating_add(1),
        });
        let sign = |message: &[u8]| {
            let signature = self.pair.sign(&signing_rng(), message);
            let signature = signature.map_err(|_| SigningFailed)?;
            signature.as_ref().try_into().map_err(|_| SigningFailed)
        };
        let proof = jws::compact(&header.to_string(), claims.to_string().as_bytes(), sign);
        Ok(VerifyRequest {
            access_token: access_token.clone(),
            proof: Secret::new(proof.map_err(|_| Reason::Internal)?),
            method: METHOD.to_owned(),
            uri: URI.to_owned(),
            body_sha256: Some(body_sha256),
            required: Requirements::default(),
            consistency: Consistency::Fresh,
            by: Actor::service(),
        })
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone")
    }
}
