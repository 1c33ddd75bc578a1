//! Makes proofs (RFC 9449) with a software key, or for an App Attest key to assert.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use super::Error;
use super::key::SoftKey;
use crate::secret::random;
use crate::time::Timestamp;

/// `alg` of a proof that is signed as RFC 9449 has it, and of one that is an App Attest assertion.
const ES256: &str = "ES256";
const APP_ATTEST: &str = "assay.v1.app-attest";

/// What a proof is about.
#[derive(Clone)]
pub struct Dpop<'a> {
    /// `htm`, e.g. `POST`.
    pub method: &'a str,
    /// `htu`, without query and fragment.
    pub uri: &'a str,
    /// The last nonce the server gave.
    pub nonce: Option<&'a str>,
    /// The access token the proof goes with; only its hash (`ath`) is in the proof.
    pub access_token: Option<&'a str>,
    /// When the phone believes it makes the proof.
    pub iat: Timestamp,
    /// Unique name of the proof.
    pub jti: String,
    /// SHA-256 of the request's body (`bsh`).
    pub body_sha256: Option<[u8; 32]>,
    /// Position in the anti-replay window (`ctr`).
    pub ctr: Option<u64>,
    /// Thumbprint of the key that shall take this one's place (`nkt`).
    pub new_key: Option<String>,
    /// The session it is for (`sid`).
    pub session: Option<String>,
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    jwk: Jwk<'a>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'a str,
    crv: &'a str,
    x: String,
    y: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bsh: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctr: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
}

impl<'a> Dpop<'a> {
    /// A proof for this request with a random `jti` and nothing optional.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the generator fails.
    pub fn new(method: &'a str, uri: &'a str, iat: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            method,
            uri,
            nonce: None,
            access_token: None,
            iat,
            jti: BASE64URL_NOPAD.encode(&random::<16>()?),
            body_sha256: None,
            ctr: None,
            new_key: None,
            session: None,
        })
    }

    /// With a nonce.
    #[must_use]
    pub const fn with_nonce(mut self, nonce: &'a str) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// Bound to an access token.
    #[must_use]
    pub const fn with_access_token(mut self, token: &'a str) -> Self {
        self.access_token = Some(token);
        self
    }

    /// Counted, for the anti-replay window.
    #[must_use]
    pub const fn with_counter(mut self, ctr: u64) -> Self {
        self.ctr = Some(ctr);
        self
    }

    /// Covering a body.
    #[must_use]
    pub const fn with_body(mut self, sha256: [u8; 32]) -> Self {
        self.body_sha256 = Some(sha256);
        self
    }

    /// Vouching for the key with this thumbprint.
    #[must_use]
    pub fn with_new_key(mut self, thumbprint: String) -> Self {
        self.new_key = Some(thumbprint);
        self
    }

    /// For this session.
    #[must_use]
    pub fn with_session(mut self, id: String) -> Self {
        self.session = Some(id);
        self
    }

    /// The bytes that an App Attest assertion is made over for the other form of a proof,
    /// `base64url(header).base64url(payload)`.
    ///
    /// # Errors
    /// [`Error::Json`] never in practice.
    pub fn asserted_input(&self, key: &SoftKey) -> Result<String, Error> {
        self.input(APP_ATTEST, key)
    }

    /// The bytes to be signed, `base64url(header).base64url(payload)`.
    ///
    /// # Errors
    /// [`Error::Json`] never in practice.
    pub fn signing_input(&self, key: &SoftKey) -> Result<String, Error> {
        self.input(ES256, key)
    }

    fn input(&self, alg: &str, key: &SoftKey) -> Result<String, Error> {
        let (x, y) = key.jwk_coordinates();
        let header = Header {
            typ: "dpop+jwt",
            alg,
            jwk: Jwk {
                kty: "EC",
                crv: "P-256",
                x,
                y,
            },
        };
        let hash = |token: &str| BASE64URL_NOPAD.encode(digest(&SHA256, token.as_bytes()).as_ref());
        let claims = Claims {
            jti: &self.jti,
            htm: self.method,
            htu: self.uri,
            iat: self.iat.as_secs(),
            ath: self.access_token.map(hash),
            nonce: self.nonce,
            bsh: self.body_sha256.map(|sha| BASE64URL_NOPAD.encode(&sha)),
            ctr: self.ctr,
            nkt: self.new_key.as_deref(),
            sid: self.session.as_deref(),
        };
        let header = serde_json::to_vec(&header).map_err(|_| Error::Json)?;
        let claims = serde_json::to_vec(&claims).map_err(|_| Error::Json)?;
        Ok(format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(&header),
            BASE64URL_NOPAD.encode(&claims)
        ))
    }

    /// The proof as a compact JWS.
    ///
    /// # Errors
    /// [`Error::Cryptography`] for a key that is not P-256.
    pub fn sign(&self, key: &SoftKey) -> Result<String, Error> {
        let input = self.signing_input(key)?;
        let signature = key.sign_fixed(input.as_bytes())?;
        Ok(format!("{input}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

impl fmt::Debug for Dpop<'_> {
    /// Without the access token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("jti", &self.jti)
            .finish_non_exhaustive()
    }
}
