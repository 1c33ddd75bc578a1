//! Keeps software phones and their authorities in a directory between runs.
//!
//! ```text
//! DIR/phone.json             which phone it is
//! DIR/session-key.pem        signs proofs; there since the last registration
//! DIR/authorities/           android-root.pem, apple-root.pem and their keys
//! ```
//! Private keys are readable by their owner only.

use std::fs;
use std::io::{self, Read as _, Write as _};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};

use super::pem;
use super::{Authorities, Curve, Device, Error, SoftKey, StoredRoots};
use super::{android, apple};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Largest file read back; the ones written here are far smaller.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const PHONE: &str = "phone.json";
const SESSION_KEY: &str = "session-key.pem";
const ANDROID_ROOT: &str = "android-root.pem";
const ANDROID_ROOT_KEY: &str = "android-root-key.pem";
const APPLE_ROOT: &str = "apple-root.pem";
const APPLE_ROOT_KEY: &str = "apple-root-key.pem";

/// Why something kept could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system said no.
    #[error("{}: {cause}", .path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What was said.
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A directory that already holds a phone.
    #[error("there is a phone in {} already; name another directory", .0.display())]
    PhoneExists(PathBuf),
    /// A signing digest that is none.
    #[error("the signing digest is not a SHA-256 digest in hex (64 digits)")]
    Digest,
    /// A device could not be made from what was read.
    #[error(transparent)]
    Device(#[from] Error),
}

/// Which phone a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "platform", rename_all = "lowercase", deny_unknown_fields)]
pub enum Profile {
    /// An Android phone.
    Android {
        /// The app's package.
        package: String,
        /// SHA-256 of its signing certificate, hex.
        signing_digest: String,
        /// Where its authorities are kept.
        authorities: PathBuf,
    },
    /// An iPhone.
    Ios {
        /// The app's team.
        team_id: String,
        /// The app's bundle.
        bundle_id: String,
        /// What the app was built for.
        environment: apple::Environment,
        /// Where its authorities are kept.
        authorities: PathBuf,
    },
}

impl Profile {
    /// Where the phone's authorities are kept.
    #[must_use]
    pub fn authorities(&self) -> &Path {
        match self {
            Self::Android { authorities, .. } | Self::Ios { authorities, .. } => authorities,
        }
    }
}

/// The certificates of the two roots in a directory of authorities.
#[must_use]
pub fn root_paths(authorities: &Path) -> (PathBuf, PathBuf) {
    (authorities.join(ANDROID_ROOT), authorities.join(APPLE_ROOT))
}

/// Makes authorities in a directory, unless there are some already.
fn ensure_authorities(dir: &Path, now: Timestamp) -> Result<(), StorageError> {
    if dir.join(ANDROID_ROOT).exists() {
        return load_authorities(dir, now).map(drop);
    }
    make_dir(dir)?;
    let stored = Authorities::generate(now)?.to_stored()?;
    // The certificate that marks the directory as complete comes last.
    for (name, text) in [
        (APPLE_ROOT_KEY, stored.apple_key.expose()),
        (APPLE_ROOT, &stored.apple_certificate),
        (ANDROID_ROOT_KEY, stored.android_key.expose()),
        (ANDROID_ROOT, &stored.android_certificate),
    ] {
        write(&dir.join(name), text)?;
    }
    Ok(())
}

/// Reads authorities back, with intermediates made for `now`.
///
/// # Errors
/// [`StorageError`]
pub fn load_authorities(dir: &Path, now: Timestamp) -> Result<Authorities, StorageError> {
    let stored = StoredRoots {
        android_certificate: read(&dir.join(ANDROID_ROOT))?,
        android_key: Secret::new(read(&dir.join(ANDROID_ROOT_KEY))?),
        apple_certificate: read(&dir.join(APPLE_ROOT))?,
        apple_key: Secret::new(read(&dir.join(APPLE_ROOT_KEY))?),
    };
    Authorities::from_stored(&stored, now).map_err(|error| StorageError::Content {
        path: dir.to_owned(),
        what: error.to_string(),
    })
}

/// Makes a phone's directory, and its authorities at `now` where there are none.
///
/// # Errors
/// [`StorageError::PhoneExists`] when the directory holds a phone already.
pub fn create_phone(dir: &Path, profile: &Profile, now: Timestamp) -> Result<(), StorageError> {
    let path = dir.join(PHONE);
    if path.exists() {
        return Err(StorageError::PhoneExists(dir.to_owned()));
    }
    ensure_authorities(profile.authorities(), now)?;
    make_dir(dir)?;
    let text = serde_json::to_string_pretty(profile).map_err(|_| Error::Json)?;
    write(&path, &(text + "\n"))
}

/// Which phone a directory holds.
///
/// # Errors
/// [`StorageError`]
pub fn load_profile(dir: &Path) -> Result<Profile, StorageError> {
    let path = dir.join(PHONE);
    serde_json::from_str(&read(&path)?).map_err(|error| StorageError::Content {
        path,
        what: error.to_string(),
    })
}

/// The phone a profile speaks of, with fresh keys, its authorities certifying it at `now`.
///
/// # Errors
/// [`StorageError`]
pub fn fresh_device(profile: &Profile, now: Timestamp) -> Result<Device, StorageError> {
    let authorities = load_authorities(profile.authorities(), now)?;
    Ok(match profile {
        Profile::Android {
            package,
            signing_digest,
            ..
        } => {
            let digest = parse_digest(signing_digest).ok_or(StorageError::Digest)?;
            let options = android::Options::well_kept(package, digest, now);
            Device::android(android::Phone::new(&authorities, options, now)?)
        }
        Profile::Ios {
            team_id,
            bundle_id,
            environment,
            ..
        } => {
            let options = apple::Options::well_kept(team_id, bundle_id, *environment);
            Device::apple(apple::Phone::new(&authorities, options)?)
        }
    })
}

/// A SHA-256 digest in hex, in either case, with or without the colons that `keytool` writes.
#[must_use]
pub fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let hex = text.replace(':', "");
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// Keeps the key that signs proofs from now on, in place of an earlier one.
///
/// # Errors
/// [`StorageError`]
pub fn keep_session_key(dir: &Path, key: &SoftKey) -> Result<(), StorageError> {
    let pkcs8 = key.to_pkcs8()?;
    let text = Secret::new(pem::encode(pem::PRIVATE_KEY, pkcs8.expose()));
    write(&dir.join(SESSION_KEY), text.expose())
}

/// The key that signs proofs.
///
/// # Errors
/// [`Error::NoKey`] before the first registration.
pub fn load_session_key(dir: &Path) -> Result<SoftKey, StorageError> {
    let path = dir.join(SESSION_KEY);
    if !path.exists() {
        return Err(Error::NoKey.into());
    }
    let text = Secret::new(read(&path)?);
    pem::decode(pem::PRIVATE_KEY, text.expose())
        .map(Secret::new)
        .and_then(|pkcs8| SoftKey::from_pkcs8(Curve::P256, pkcs8.expose()))
        .map_err(|error| StorageError::Content {
            path,
            what: error.to_string(),
        })
}

/// Reads a small text file.
///
/// # Errors
/// [`StorageError`] when it is too large, not text or not there.
pub fn read(path: &Path) -> Result<String, StorageError> {
    let failed = |cause| StorageError::File {
        path: path.to_owned(),
        cause,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    let read = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if u64::try_from(read).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(StorageError::Content {
            path: path.to_owned(),
            what: format!("larger than {FILE_BYTES_MAX} bytes"),
        })
    }
}

/// Writes beside the file and renames, so that nobody sees half of it, with nobody else allowed to
/// read it at any moment.
fn write(path: &Path, text: &str) -> Result<(), StorageError> {
    let failed = |cause| StorageError::File {
        path: path.to_owned(),
        cause,
    };
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn make_dir(path: &Path) -> Result<(), StorageError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path).map_err(|cause| StorageError::File {
        path: path.to_owned(),
        cause,
    })
}
