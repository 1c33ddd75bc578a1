//! Access tokens: RFC 9068 JWTs signed with ES256, bound to the device key by `cnf.jkt`.
//!
//! Signed with a key prepared once; read by the strict reader that proofs are read by, so one token
//! has one meaning. No leeway on `exp`: the instance that minted it and the one that checks it share
//! a time service, and a resource server that wants leeway has its own verifier.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jws::{self, Unverified};
use super::keyring::{Keyring, SigningFailed};
use super::{INSTANCE_SKEW_MAX, TokenRefusal};
use crate::id::{AppId, DeviceId, SessionId, Subject};
use crate::key::Thumbprint;
use crate::policy::{TrustLevel, UserPresence};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Media type of an access token (RFC 9068, 2.1).
const TYP: &str = "at+jwt";

/// Largest access token, in bytes: half of the 8 KiB that common proxies allow for all headers.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// What kind of phone a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Android.
    Android,
    /// One of Apple's systems.
    Apple,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessClaims {
    /// `iss`.
    pub issuer: String,
    /// `aud`: one audience.
    pub audience: String,
    /// `sub`.
    pub subject: Subject,
    /// `client_id`: the app.
    pub app: AppId,
    /// `jti`: random bytes, hex in the token.
    pub token_id: [u8; 16],
    /// `iat`, whole seconds.
    pub issued_at: Timestamp,
    /// `exp`, whole seconds: from then on it is refused.
    pub expires_at: Timestamp,
    /// `auth_time`: when the user authenticated.
    pub authenticated_at: Option<Timestamp>,
    /// `acr`: how strongly (RFC 9068, 2.2.1).
    pub acr: Option<String>,
    /// `amr`: by which methods (RFC 8176).
    pub amr: Vec<String>,
    /// `scope`.
    pub scopes: BTreeSet<String>,
    /// `roles` (RFC 9068, 2.2.3.1).
    pub roles: Vec<String>,
    /// `cnf.jkt`: thumbprint of the key that proofs have to be made with.
    pub key: Thumbprint,
    /// `sid`.
    pub session: SessionId,
    /// `did`.
    pub device: DeviceId,
    /// `device.trust_level`.
    pub trust_level: TrustLevel,
    /// `device.platform`.
    pub platform: Platform,
    /// `device.user_presence`: how it was shown that the user was there when it was issued. Never what
    /// a caller says.
    pub user_presence: UserPresence,
    /// `gen`: the generation of the session it was issued under, so that a cut of the session makes the
    /// tokens from before it void, and those only. A token without one is of the first.
    pub generation: u32,
}

/// Why no token could be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// A scope is not a scope token (RFC 6749, 3.3).
    #[error("a scope has characters that scopes cannot have")]
    Scope,
    /// It would end before it begins, in whole seconds.
    #[error("the token would expire when it is issued")]
    Lifetime,
    /// The claims need more than [`TOKEN_BYTES_MAX`].
    #[error("the claims need more than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// The claims cannot be written.
    #[error("the claims cannot be written as JSON")]
    Json,
    /// The library could not sign.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
}

/// Signs `claims` with the key in use.
///
/// # Errors
/// [`MintError`]; what is minted always verifies here.
pub fn mint(keyring: &Keyring, claims: &AccessClaims) -> Result<Secret<String>, MintError> {
    if !claims.scopes.iter().all(|scope| is_scope_token(scope)) {
        return Err(MintError::Scope);
    }
    if claims.issued_at.as_secs() >= claims.expires_at.as_secs() {
        return Err(MintError::Lifetime);
    }
    let payload = serde_json::to_vec(&Wire::from(claims)).map_err(|_| MintError::Json)?;
    let text = jws::sign(keyring, TYP, &payload)?;
    if text.len() > TOKEN_BYTES_MAX {
        return Err(MintError::TooLarge);
    }
    Ok(Secret::new(text))
}

/// Checks a token: its form, type, signature, issuer, audience (where one is wanted) and times, in
/// this order.
///
/// # Errors
/// [`TokenRefusal`]; nothing but a genuine token is told that it has expired.
pub fn verify(
    keyring: &Keyring,
    token: &str,
    issuer: &str,
    audience: Option<&str>,
    now: Timestamp,
) -> Result<VerifiedClaims, TokenRefusal> {
    let jws = Unverified::parse(token, TOKEN_BYTES_MAX).map_err(|_| TokenRefusal::Malformed)?;
    if !jws.is_of_type(TYP) {
        return Err(TokenRefusal::WrongType);
    }
    let key = jws
        .header("kid")
        .and_then(|kid| keyring.verifying_key(kid))
        .ok_or(TokenRefusal::UnknownKey)?;
    let payload = jws.verify(key).map_err(|_| TokenRefusal::Forged)?;
    let (claims, not_before) = read(payload).ok_or(TokenRefusal::Malformed)?;
    if claims.issuer != issuer || audience.is_some_and(|wanted| claims.audience != wanted) {
        return Err(TokenRefusal::WrongParty);
    }
    let latest_start = now.after(INSTANCE_SKEW_MAX);
    if claims.issued_at > latest_start
        || not_before.is_some_and(|start| start > latest_start)
        || claims.issued_at >= claims.expires_at
    {
        return Err(TokenRefusal::Untimely);
    }
    if now >= claims.expires_at {
        return Err(TokenRefusal::Expired);
    }
    Ok(VerifiedClaims(claims))
}

/// The claims of a token that verified. Only [`verify`] makes one, and scopes never come to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedClaims(AccessClaims);

impl VerifiedClaims {
    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &AccessClaims {
        &self.0
    }

    /// The same token by what holds now: without scopes that were taken away since, and with the trust
    /// in its device as it is.
    #[must_use]
    pub fn as_of_now(&self, keeps: impl Fn(&str) -> bool, trust_level: TrustLevel) -> Self {
        let mut claims = self.0.clone();
        claims.scopes.retain(|scope| keeps(scope));
        claims.trust_level = trust_level;
        Self(claims)
    }
}

/// The claims as JSON has them. Members this version does not know are passed over, so that a newer
/// instance beside this one may add some; all of them are signed by us.
#[derive(Serialize, Deserialize)]
struct Wire {
    iss: String,
    aud: String,
    sub: String,
    client_id: String,
    jti: String,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    amr: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    cnf: Confirmation,
    sid: String,
    did: String,
    device: Device,
    #[serde(default, skip_serializing_if = "is_first")]
    r#gen: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_first(generation: &u32) -> bool {
    *generation == 0
}

#[derive(Serialize, Deserialize)]
struct Confirmation {
    jkt: String,
}

#[derive(Serialize, Deserialize)]
struct Device {
    trust_level: Level,
    platform: Platform,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_presence: Option<Presence>,
}

/// [`UserPresence`] in the token's words; none where there was none.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Presence {
    Declared,
    Proved,
}

impl Presence {
    const fn of(presence: UserPresence) -> Option<Self> {
        match presence {
            UserPresence::None => None,
            UserPresence::Declared => Some(Self::Declared),
            UserPresence::Proved => Some(Self::Proved),
        }
    }
}

impl From<Presence> for UserPresence {
    fn from(presence: Presence) -> Self {
        match presence {
            Presence::Declared => Self::Declared,
            Presence::Proved => Self::Proved,
        }
    }
}

/// [`TrustLevel`] in the token's words.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Provisional,
    AppAttest,
    Tee,
    #[serde(rename = "strongbox")]
    StrongBox,
}

impl From<TrustLevel> for Level {
    fn from(level: TrustLevel) -> Self {
        match level {
            TrustLevel::Provisional => Self::Provisional,
            TrustLevel::AppAttest => Self::AppAttest,
            TrustLevel::Tee => Self::Tee,
            TrustLevel::StrongBox => Self::StrongBox,
        }
    }
}

impl From<Level> for TrustLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Provisional => Self::Provisional,
            Level::AppAttest => Self::AppAttest,
            Level::Tee => Self::Tee,
            Level::StrongBox => Self::StrongBox,
        }
    }
}

impl From<&AccessClaims> for Wire {
    fn from(claims: &AccessClaims) -> Self {
        let scopes: Vec<&str> = claims.scopes.iter().map(String::as_str).collect();
        Self {
            iss: claims.issuer.clone(),
            aud: claims.audience.clone(),
            sub: claims.subject.expose().to_owned(),
            client_id: claims.app.to_string(),
            jti: HEXLOWER.encode(&claims.token_id),
            iat: claims.issued_at.as_secs(),
            exp: claims.expires_at.as_secs(),
            nbf: None,
            auth_time: claims.authenticated_at.map(Timestamp::as_secs),
            acr: claims.acr.clone(),
            amr: claims.amr.clone(),
            scope: scopes.join(" "),
            roles: claims.roles.clone(),
            cnf: Confirmation {
                jkt: claims.key.to_string(),
            },
            sid: claims.session.to_string(),
            did: claims.device.to_string(),
            device: Device {
                trust_level: claims.trust_level.into(),
                platform: claims.platform,
                user_presence: Presence::of(claims.user_presence),
            },
            r#gen: claims.generation,
        }
    }
}

/// The claims and `nbf`; `None` when one of them is not what it should be.
fn read(payload: Map<String, Value>) -> Option<(AccessClaims, Option<Timestamp>)> {
    let wire: Wire = serde_json::from_value(Value::Object(payload)).ok()?;
    let scopes: BTreeSet<String> = match wire.scope.as_str() {
        "" => BTreeSet::new(),
        list => list.split(' ').map(str::to_owned).collect(),
    };
    if !scopes.iter().all(|scope| is_scope_token(scope)) {
        return None;
    }
    let claims = AccessClaims {
        subject: wire.sub.parse().ok()?,
        app: wire.client_id.parse().ok()?,
        token_id: HEXLOWER.decode(wire.jti.as_bytes()).ok()?.try_into().ok()?,
        issued_at: Timestamp::from_secs(wire.iat),
        expires_at: Timestamp::from_secs(wire.exp),
        authenticated_at: wire.auth_time.map(Timestamp::from_secs),
        acr: wire.acr,
        amr: wire.amr,
        scopes,
        roles: wire.roles,
        key: wire.cnf.jkt.parse().ok()?,
        session: wire.sid.parse().ok()?,
        device: wire.did.parse().ok()?,
        trust_level: wire.device.trust_level.into(),
        platform: wire.device.platform,
        user_presence: wire
            .device
            .user_presence
            .map(Into::into)
            .unwrap_or_default(),
        generation: wire.r#gen,
        issuer: wire.iss,
        audience: wire.aud,
    };
    Some((claims, wire.nbf.map(Timestamp::from_secs)))
}

/// `scope-token` of RFC 6749, 3.3.
fn is_scope_token(text: &str) -> bool {
    let plain = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.bytes().all(plain)
}
