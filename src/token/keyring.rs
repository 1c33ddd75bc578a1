//! The service's keys: what it signs, derives and indexes with.
//!
//! | file | label | what for | how it rotates |
//! |---|---|---|---|
//! | `signing-*.pem` | `PRIVATE KEY` (PKCS#8, P-256) | signs access tokens | the greatest name signs, all are published and verify |
//! | `secret-*.pem` | `ASSAY SECRET KEY` (32 bytes) | MACs of refresh tokens, challenges and nonces; seals records | the greatest name makes new ones, all are accepted |
//! | `index.pem` | `ASSAY INDEX KEY` (32 bytes) | subject tags, buckets, device ids, ids of requests | never: it is where everything is found |
//!
//! A record in the store is sealed anew only when it is written, and some never are: without the secret
//! that sealed it, it is lost. So an old secret stays where what it sealed is still wanted.
//!
//! A name that ends in `.next.pem` is known but not yet used. So a key can be given to every instance
//! first, and be put to use (by renaming it) only when all of them would accept what it makes.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::key_file::{KeyFile, Kind, Use, of_kind};
use super::subkey::{Derived, KeyTag, Purpose, Root, Subkey};
use crate::client::Network;
use crate::id::{AppId, Bucket, DeviceId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::secret::{Secret, signing_rng};

pub use super::key_file::{
    INDEX_FILE, INDEX_LABEL, KEYS_OF_A_KIND_MAX, KeyringError, SECRET_LABEL, SIGNING_LABEL,
    STANDBY_SUFFIX,
};

/// Bytes of an ES256 signature (RFC 7518, 3.4).
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// The library could not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signing failed")]
pub struct SigningFailed;

/// A signing key's public half.
struct Published {
    file: String,
    kid: Thumbprint,
    key: PublicKey,
}

struct NamedSecret {
    file: String,
    keys: Derived,
}

/// The service's keys, parsed and derived once.
pub struct Keyring {
    signer: EcdsaKeyPair,
    signer_kid: Thumbprint,
    published: Vec<Published>,
    active: NamedSecret,
    others: Vec<NamedSecret>,
    subject_index: Subkey,
    device_index: Subkey,
    network_index: Subkey,
    request_index: Subkey,
    jwks: String,
}

impl Keyring {
    /// From the key files of a directory: names and PEM texts, in any order.
    ///
    /// # Errors
    /// [`KeyringError`]: every file has to be a key file and to hold the key its name says, and each
    /// kind has to have a key in use.
    pub fn from_pem(files: &[(String, Secret<String>)]) -> Result<Self, KeyringError> {
        let mut files: Vec<KeyFile<'_>> = files
            .iter()
            .map(|(name, text)| KeyFile::new(name, text))
            .collect::<Result<_, _>>()?;
        // The greatest name first: the first that is in use is the active one.
        files.sort_by(|a, b| b.name.cmp(a.name));
        for (later, earlier) in files.iter().zip(files.iter().skip(1)) {
            if later.name == earlier.name {
                let file = later.name.to_owned();
                return Err(KeyringError::NameTwice { file });
            }
        }
        let (signer, published) = signing_keys(&files)?;
        let (active, others) = secrets(&files)?;
        let index =
            of_kind(&files, Kind::Index)?
                .first()
                .copied()
                .ok_or(KeyringError::Missing {
                    wanted: "index key (index.pem)",
                })?;
        let root = Root::new(index.secret(INDEX_LABEL)?.expose());
        let derive = |info| root.subkey(info).ok_or_else(|| index.underivable());
        Ok(Self {
            signer_kid: signer.1,
            signer: signer.0,
            jwks: jwks(&published),
            published,
            active,
            others,
            subject_index: derive(b"subject index")?,
            device_index: derive(b"device index")?,
            network_index: derive(b"network index")?,
            request_index: derive(b"request index")?,
        })
    }

    /// The key that MACs or seals new things for a purpose, and its tag.
    #[must_use]
    pub const fn secret(&self, purpose: Purpose) -> (KeyTag, &Subkey) {
        (self.active.keys.tag, self.active.keys.subkey(purpose))
    }

    /// The key of a purpose that has this tag; `None` when the secret is not (or no longer) ours.
    #[must_use]
    pub fn find(&self, purpose: Purpose, tag: KeyTag) -> Option<&Subkey> {
        std::iter::once(&self.active)
            .chain(&self.others)
            .find(|secret| secret.keys.tag == tag)
            .map(|secret| secret.keys.subkey(purpose))
    }

    /// The id of the key that signs (RFC 7638 thumbprint).
    #[must_use]
    pub const fn signing_kid(&self) -> Thumbprint {
        self.signer_kid
    }

    /// ES256 over `message`, in the fixed form of JWS.
    ///
    /// # Errors
    /// [`SigningFailed`] when the library does.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SigningFailed> {
        let signature = self
            .signer
            .sign(&signing_rng(), message)
            .map_err(|_| SigningFailed)?;
        signature.as_ref().try_into().map_err(|_| SigningFailed)
    }

    /// The public key with this `kid`, of all that are published.
    #[must_use]
    pub fn verifying_key(&self, kid: &str) -> Option<&PublicKey> {
        let kid: Thumbprint = kid.parse().ok()?;
        let found = self.published.iter().find(|entry| entry.kid == kid)?;
        Some(&found.key)
    }

    /// The JWK Set (RFC 7517) of all signing keys, the one in use first. Public members only.
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// The name a subject's records are kept under: it says nothing of the subject.
    #[must_use]
    pub fn subject_tag(&self, subject: &Subject) -> [u8; 32] {
        self.subject_index.mac(&[subject.expose().as_bytes()])
    }

    /// The name a network is counted under: it says nothing of the network.
    #[must_use]
    pub fn network_tag(&self, network: &Network) -> [u8; 32] {
        self.network_index.mac(&[network.as_bytes()])
    }

    /// Where the state of a subject lives.
    #[must_use]
    pub fn bucket(&self, subject: &Subject) -> Bucket {
        Bucket::of_digest(&self.subject_tag(subject))
    }

    /// The id of a device key registered for a subject in an app: always the same, so registering
    /// twice finds the first.
    #[must_use]
    pub fn device_id(&self, app: &AppId, subject: &Subject, key: &Thumbprint) -> DeviceId {
        let mac = self.device_index.mac(&[
            app.as_str().as_bytes(),
            subject.expose().as_bytes(),
            key.as_bytes(),
        ]);
        let mut unique = [0; 16];
        for (to, from) in unique.iter_mut().zip(mac) {
            *to = from;
        }
        DeviceId::new(self.bucket(subject), unique)
    }

    /// A digest over these parts that nobody else can make: what a request id of a caller is known by.
    /// Which part a byte is in counts.
    #[must_use]
    pub fn request_digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut framed = Vec::new();
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(part);
        }
        self.request_index.mac(&[&framed])
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let published = self.published.iter().map(|entry| (&entry.file, entry.kid));
        let secrets = std::iter::once(&self.active)
            .chain(&self.others)
            .map(|secret| (&secret.file, secret.keys.tag));
        f.debug_struct("Keyring")
            .field("signing_kid", &self.signer_kid)
            .field("published", &published.collect::<Vec<_>>())
            .field("secrets", &secrets.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

type Signer = (EcdsaKeyPair, Thumbprint);

/// The key in use, and the public halves of all: a retired private key is not kept.
fn signing_keys(files: &[KeyFile<'_>]) -> Result<(Signer, Vec<Published>), KeyringError> {
    let mut signer = None;
    let mut published: Vec<Published> = Vec::new();
    for file in of_kind(files, Kind::Signing)? {
        let wrong = || KeyringError::NotP256 {
            file: file.name.to_owned(),
        };
        let der = file.decode(SIGNING_LABEL)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose())
            .map_err(|_| wrong())?;
        let key = PublicKey::from_sec1(pair.public_key().as_ref()).map_err(|_| wrong())?;
        let kid = key.thumbprint();
        if let Some(twin) = published.iter().find(|entry| entry.kid == kid) {
            return Err(file.same_key_as(&twin.file));
        }
        let entry = Published {
            file: file.name.to_owned(),
            kid,
            key,
        };
        if signer.is_none() && file.usage == Use::Ready {
            signer = Some((pair, kid));
            published.insert(0, entry);
        } else {
            published.push(entry);
        }
    }
    let signer = signer.ok_or(KeyringError::Missing {
        wanted: "signing key in use (signing-NAME.pem)",
    })?;
    Ok((signer, published))
}

fn secrets(files: &[KeyFile<'_>]) -> Result<(NamedSecret, Vec<NamedSecret>), KeyringError> {
    let mut active: Option<NamedSecret> = None;
    let mut others: Vec<NamedSecret> = Vec::new();
    for file in of_kind(files, Kind::Secret)? {
        let bytes = file.secret(SECRET_LABEL)?;
        let keys = Derived::new(bytes.expose()).ok_or_else(|| file.underivable())?;
        let mut known = active.iter().chain(&others);
        if let Some(twin) = known.find(|secret| secret.keys.tag == keys.tag) {
            return Err(file.same_key_as(&twin.file));
        }
        let named = NamedSecret {
            file: file.name.to_owned(),
            keys,
        };
        if active.is_none() && file.usage == Use::Ready {
            active = Some(named);
        } else {
            others.push(named);
        }
    }
    let active = active.ok_or(KeyringError::Missing {
        wanted: "secret in use (secret-NAME.pem)",
    })?;
    Ok((active, others))
}

fn jwks(published: &[Published]) -> String {
    let keys: Vec<_> = published
        .iter()
        .map(|entry| {
            let (x, y) = entry.key.jwk_coordinates();
            json!({
                "kty": "EC", "crv": "P-256", "x": x, "y": y,
                "use": "sig", "alg": "ES256", "kid": entry.kid.to_string(),
            })
        })
        .collect();
    json!({ "keys": keys }).to_string()
}
