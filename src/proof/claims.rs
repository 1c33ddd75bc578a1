//! The claims of a proof and what they are compared with, whatever form they are signed in.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::target::TargetUri;
use super::{ProofRefusal, nonce};
use crate::attestation::AppleApp;
use crate::id::SessionId;
use crate::key::{Thumbprint, sha256};
use crate::policy::NonceRule;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;
use crate::token::keyring::Keyring;

/// Longest `jti`, in bytes. Random ones need 22; UUIDs have 36.
pub const JTI_BYTES_MAX: usize = 128;

/// Longest `htm`, in bytes: the longest registered HTTP method has 17.
const METHOD_BYTES_MAX: usize = 32;

/// Longest `nonce` looked at, in bytes; ours are shorter.
const NONCE_BYTES_MAX: usize = 128;

/// Length of a session's id: `ses_` and 36 digits.
const SESSION_ID_BYTES: usize = 40;

/// Latest `iat`: the last second of the year 9999.
const IAT_MAX: i64 = 253_402_300_799;

/// RFC 9449, 4.2, with private claims: `ctr` for the anti-replay window, `bsh` for the body, `nkt` for
/// the key that the signing key vouches for, `sid` for the session that something is asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProofClaims {
    pub(super) jti: String,
    pub(super) counter: Option<u32>,
    pub(super) new_key: Option<Thumbprint>,
    pub(super) session: Option<SessionId>,
    pub(super) issued_at: Timestamp,
    method: String,
    uri: TargetUri,
    token_sha256: Option<[u8; 32]>,
    body_sha256: Option<[u8; 32]>,
    nonce: Option<String>,
}

impl ProofClaims {
    /// Reads them strictly; claims not known here are passed over (RFC 9449, 4.2 allows them).
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, ProofRefusal> {
        let text = |name, bytes_max| optional_text(payload, name, bytes_max);
        let required = |name| ProofRefusal::Malformed(name);
        Ok(Self {
            jti: text("jti", JTI_BYTES_MAX)?.ok_or(required("jti"))?,
            method: text("htm", METHOD_BYTES_MAX)?.ok_or(required("htm"))?,
            uri: payload
                .get("htu")
                .and_then(Value::as_str)
                .and_then(|htu| htu.parse().ok())
                .ok_or(required("htu"))?,
            issued_at: payload
                .get("iat")
                .and_then(Value::as_i64)
                .filter(|iat| (0..=IAT_MAX).contains(iat))
                .map(Timestamp::from_secs)
                .ok_or(required("iat"))?,
            token_sha256: optional_digest(payload, "ath")?,
            body_sha256: optional_digest(payload, "bsh")?,
            nonce: text("nonce", NONCE_BYTES_MAX)?,
            new_key: optional_digest(payload, "nkt")?.map(Thumbprint::from_bytes),
            session: match text("sid", SESSION_ID_BYTES)? {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| required("sid"))?),
            },
            counter: match payload.get("ctr") {
                None => None,
                Some(value) => Some(
                    value
                        .as_u64()
                        .and_then(|counter| u32::try_from(counter).ok())
                        .ok_or(required("ctr"))?,
                ),
            },
        })
    }

    /// Compares them with the request, and tells until when the same claims would pass again.
    pub(super) fn check(
        &self,
        expect: &ProofExpectation<'_>,
        now: Timestamp,
    ) -> Result<Timestamp, ProofRefusal> {
        if self.method != expect.method {
            return Err(ProofRefusal::OtherMethod);
        }
        if !expect.uris.contains(&self.uri) {
            return Err(ProofRefusal::OtherUri);
        }
        let until = expect.freshness.check(self, now)?;
        let wanted_token = expect.access_token.map(|token| sha256(token.as_bytes()));
        if !same_digest(wanted_token, self.token_sha256) {
            return Err(ProofRefusal::OtherToken);
        }
        if !expect.body.admits(self.body_sha256) {
            return Err(ProofRefusal::OtherBody);
        }
        Ok(until)
    }
}

/// What a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct ProofExpectation<'a> {
    /// `htm`: the request's method, in the letters it was sent with (`POST` for gRPC).
    pub method: &'a str,
    /// `htu`: one of these.
    pub uris: &'a [TargetUri],
    /// The key it has to be made with; `None`: any, and the caller compares
    /// [`super::VerifiedProof::thumbprint`] itself.
    pub key: Option<Thumbprint>,
    /// The access token sent with it: `ath` has to be its digest. `None`: `ath` has to be absent.
    pub access_token: Option<&'a str>,
    /// The body sent with it.
    pub body: Body,
    /// How recent it has to be.
    pub freshness: Freshness<'a>,
    /// The app whose App Attest keys may make it; `None`: no such key may.
    pub app_attest: Option<&'a AppleApp>,
}

/// What is known of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing: `bsh` is not looked at.
    Unknown,
    /// Its SHA-256: a `bsh` has to be equal where there is one.
    Digest([u8; 32]),
    /// Its SHA-256, and there has to be an equal `bsh`.
    Bound([u8; 32]),
}

impl Body {
    fn admits(self, claimed: Option<[u8; 32]>) -> bool {
        match self {
            Self::Unknown => true,
            Self::Digest(body) => claimed.is_none() || same_digest(Some(body), claimed),
            Self::Bound(body) => same_digest(Some(body), claimed),
        }
    }
}

/// How recent a proof has to be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness<'a> {
    /// Whether a nonce is needed.
    pub rule: NonceRule,
    /// Whose nonces are good.
    pub keyring: &'a Keyring,
    /// How far `iat` may lie from now either way, where there is no nonce.
    pub iat_window: Duration,
}

impl Freshness<'_> {
    /// A good nonce supersedes `iat`, because clocks of phones are wrong; a bad one is never made
    /// good by `iat`, or the nonce would prove nothing.
    fn check(&self, claims: &ProofClaims, now: Timestamp) -> Result<Timestamp, ProofRefusal> {
        let until = match (&claims.nonce, self.rule) {
            (Some(text), NonceRule::Required | NonceRule::Optional) => {
                nonce::verify(self.keyring, text, now).map_err(|_| ProofRefusal::NonceStale)?
            }
            (None, NonceRule::Required) => return Err(ProofRefusal::NonceMissing),
            (None, NonceRule::Optional) => {
                let latest = claims.issued_at.after(self.iat_window);
                let earliest = claims.issued_at.before(self.iat_window);
                if now < earliest || now > latest {
                    return Err(ProofRefusal::Stale);
                }
                // Still good at `latest` itself.
                latest.after(Duration::from_millis(1))
            }
        };
        Ok(until.after(INSTANCE_SKEW_MAX))
    }
}

/// Both absent, or both there and equal.
fn same_digest(wanted: Option<[u8; 32]>, claimed: Option<[u8; 32]>) -> bool {
    match (wanted, claimed) {
        (None, None) => true,
        (Some(wanted), Some(claimed)) => verify_slices_are_equal(&wanted, &claimed).is_ok(),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// A claim of visible ASCII, 1 to `bytes_max`.
fn optional_text(
    payload: &Map<String, Value>,
    name: &'static str,
    bytes_max: usize,
) -> Result<Option<String>, ProofRefusal> {
    let Some(value) = payload.get(name) else {
        return Ok(None);
    };
    let text = value.as_str().filter(|text| {
        (1..=bytes_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    match text {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(ProofRefusal::Malformed(name)),
    }
}

/// A claim that is the base64url of a SHA-256.
fn optional_digest(
    payload: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<[u8; 32]>, ProofRefusal> {
    let Some(value) = payload.get(name) else {
        return Ok(None);
    };
    let digest = value
        .as_str()
        .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        .and_then(|bytes| bytes.try_into().ok());
    match digest {
        Some(digest) => Ok(Some(digest)),
        None => Err(ProofRefusal::Malformed(name)),
    }
}
