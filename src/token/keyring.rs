//! The service's keys: what it signs, derives and indexes with.
//!
//! | file | label | what for | how it rotates |
//! |---|---|---|---|
//! | `signing-*.pem` | `PRIVATE KEY` (PKCS#8, P-256) | signs access tokens | the greatest name signs, all are published and verify |
//! | `secret-*.pem` | `ASSAY SECRET KEY` (32 bytes) | MACs of refresh tokens, challenges and nonces; seals records | the greatest name makes new ones, all are accepted |
//! | `index.pem` | `ASSAY INDEX KEY` (32 bytes) | subject tags, buckets, device ids | never: it is where everything is found |
//!
//! A name that ends in `.next.pem` is known but not yet used. So a key can be given to every instance
//! first, and be put to use (by renaming it) only when all of them would accept what it makes.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::pem::{self, PemProblem};
use super::subkey::{Derived, KEY_BYTES, KeyTag, Purpose, Root, Subkey};
use crate::id::{AppId, Bucket, DeviceId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::secret::{Secret, signing_rng};

/// PEM label of a signing key (RFC 7468, 10).
pub const SIGNING_LABEL: &str = "PRIVATE KEY";
/// PEM label of a secret.
pub const SECRET_LABEL: &str = "ASSAY SECRET KEY";
/// PEM label of the index key.
pub const INDEX_LABEL: &str = "ASSAY INDEX KEY";
/// File name of the index key.
pub const INDEX_FILE: &str = "index.pem";
/// Ends the name of a key that is known but not yet used.
pub const STANDBY_SUFFIX: &str = ".next.pem";

/// Most files of one kind: keeps the published key set small, and nobody needs more at once.
pub const KEYS_OF_A_KIND_MAX: usize = 16;

/// Longest file name.
const NAME_BYTES_MAX: usize = 128;

/// Bytes of an ES256 signature (RFC 7518, 3.4).
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// Why key files make no keyring. It names files, never what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not a name of a key file: a typing error must not make a key disappear.
    #[error(
        "{file}: no key file is called this; use signing-NAME.pem, secret-NAME.pem or index.pem"
    )]
    UnknownName {
        /// The file.
        file: String,
    },
    /// Two files have the same name.
    #[error("{file}: given twice")]
    NameTwice {
        /// The file.
        file: String,
    },
    /// Not the wanted PEM block.
    #[error("{file}: {problem} (label `{label}`)")]
    Pem {
        /// The file.
        file: String,
        /// The label it should have.
        label: &'static str,
        /// What is wrong.
        problem: PemProblem,
    },
    /// A secret of another length.
    #[error("{file}: holds {found} bytes, not {KEY_BYTES}")]
    Length {
        /// The file.
        file: String,
        /// How many it holds.
        found: usize,
    },
    /// A secret that is one byte over and over: a placeholder, not a key.
    #[error("{file}: every byte is the same; this is a placeholder, not a secret")]
    Placeholder {
        /// The file.
        file: String,
    },
    /// Not a PKCS#8 P-256 private key.
    #[error("{file}: not an unencrypted PKCS#8 private key on the curve P-256")]
    NotP256 {
        /// The file.
        file: String,
    },
    /// Two files hold the same key, or keys that cannot be told apart.
    #[error("{file}: the same key as in {other}")]
    SameKey {
        /// The file.
        file: String,
        /// The other file.
        other: String,
    },
    /// A kind of key is missing.
    #[error("there is no {wanted}")]
    Missing {
        /// What there should be.
        wanted: &'static str,
    },
    /// Too many keys of one kind.
    #[error("{file}: more than {KEYS_OF_A_KIND_MAX} keys of its kind; remove the oldest")]
    TooMany {
        /// The file that is one too many.
        file: String,
    },
    /// The cryptographic library refused; not the file's fault.
    #[error("{file}: the key derivation failed")]
    Derivation {
        /// The file.
        file: String,
    },
}

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signing,
    Secret,
    Index,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Ready,
    Standby,
}

#[derive(Clone, Copy)]
struct KeyFile<'a> {
    name: &'a str,
    text: &'a Secret<String>,
    kind: Kind,
    usage: Use,
}

impl<'a> KeyFile<'a> {
    fn new(name: &'a str, text: &'a Secret<String>) -> Result<Self, KeyringError> {
        let unknown = || KeyringError::UnknownName {
            file: name.chars().take(NAME_BYTES_MAX).collect(),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(unknown());
        }
        let (stem, usage) = match name.strip_suffix(STANDBY_SUFFIX) {
            Some(stem) => (stem, Use::Standby),
            None => (name.strip_suffix(".pem").ok_or_else(unknown)?, Use::Ready),
        };
        let called = |prefix| {
            stem.strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty())
        };
        let kind = if name == INDEX_FILE {
            Kind::Index
        } else if called("signing-") {
            Kind::Signing
        } else if called("secret-") {
            Kind::Secret
        } else {
            return Err(unknown());
        };
        Ok(Self {
            name,
            text,
            kind,
            usage,
        })
    }

    fn decode(&self, label: &'static str) -> Result<Secret<Vec<u8>>, KeyringError> {
        pem::decode(self.text.expose(), label).map_err(|problem| KeyringError::Pem {
            file: self.name.to_owned(),
            label,
            problem,
        })
    }

    fn secret(&self, label: &'static str) -> Result<Secret<[u8; KEY_BYTES]>, KeyringError> {
        let file = || self.name.to_owned();
        let bytes = self.decode(label)?;
        let bytes: &[u8; KEY_BYTES] =
            bytes
                .expose()
                .as_slice()
                .try_into()
                .map_err(|_| KeyringError::Length {
                    file: file(),
                    found: bytes.expose().len(),
                })?;
        if bytes.iter().all(|b| Some(b) == bytes.first()) {
            return Err(KeyringError::Placeholder { file: file() });
        }
        Ok(Secret::new(*bytes))
    }

    fn underivable(&self) -> KeyringError {
        KeyringError::Derivation {
            file: self.name.to_owned(),
        }
    }
}

/// The files of one kind, in order, no more than [`KEYS_OF_A_KIND_MAX`].
fn of_kind<'a, 'b>(
    files: &'b [KeyFile<'a>],
    kind: Kind,
) -> Result<Vec<&'b KeyFile<'a>>, KeyringError> {
    let found: Vec<_> = files.iter().filter(|file| file.kind == kind).collect();
    match found.get(KEYS_OF_A_KIND_MAX) {
        None => Ok(found),
        Some(surplus) => Err(KeyringError::TooMany {
            file: surplus.name.to_owned(),
        }),
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
            return Err(same_key(file, &twin.file));
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
            return Err(same_key(file, &twin.file));
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

fn same_key(file: &KeyFile<'_>, other: &str) -> KeyringError {
    KeyringError::SameKey {
        file: file.name.to_owned(),
        other: other.to_owned(),
    }
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
