//! Key files: their names, what they may hold, and what is wrong with them.

use super::pem::{self, PemProblem};
use super::subkey::KEY_BYTES;
use crate::secret::Secret;

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
    #[error("{file}: more than {KEYS_OF_A_KIND_MAX} keys of its kind")]
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Signing,
    Secret,
    Index,
}

/// Whether a key may make new things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Ready,
    Standby,
}

#[derive(Clone, Copy)]
pub(super) struct KeyFile<'a> {
    pub(super) name: &'a str,
    text: &'a Secret<String>,
    kind: Kind,
    pub(super) usage: Use,
}

impl<'a> KeyFile<'a> {
    pub(super) fn new(name: &'a str, text: &'a Secret<String>) -> Result<Self, KeyringError> {
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

    /// The bytes of the file's one block.
    pub(super) fn decode(&self, label: &'static str) -> Result<Secret<Vec<u8>>, KeyringError> {
        pem::decode(self.text.expose(), label).map_err(|problem| KeyringError::Pem {
            file: self.name.to_owned(),
            label,
            problem,
        })
    }

    /// The 32 bytes of a symmetric key.
    pub(super) fn secret(
        &self,
        label: &'static str,
    ) -> Result<Secret<[u8; KEY_BYTES]>, KeyringError> {
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

    pub(super) fn underivable(&self) -> KeyringError {
        KeyringError::Derivation {
            file: self.name.to_owned(),
        }
    }

    pub(super) fn same_key_as(&self, other: &str) -> KeyringError {
        KeyringError::SameKey {
            file: self.name.to_owned(),
            other: other.to_owned(),
        }
    }
}

/// The files of one kind, in order, no more than [`KEYS_OF_A_KIND_MAX`].
pub(super) fn of_kind<'a, 'b>(
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
