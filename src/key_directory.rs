//! The directory of the service's keys: files are made in it once, read from it, never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use crate::secret::{NoRandomness, Secret, random};
use crate::time::Timestamp;
use crate::token::keyring::{
    INDEX_FILE, INDEX_LABEL, Keyring, KeyringError, SECRET_LABEL, SIGNING_LABEL, STANDBY_SUFFIX,
};
use crate::token::{Purpose, pem};

/// Only the owner reads key files.
const FILE_MODE: u32 = 0o600;
/// Only the owner enters their directory.
const DIRECTORY_MODE: u32 = 0o700;

/// A file's name and what it holds.
pub type NamedFile = (String, Secret<String>);

/// Why no keys were made.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There are key files already.
    #[error("{0} already holds key files; --rotate adds to them")]
    NotEmpty(PathBuf),
    /// There is nothing to add to.
    #[error("{0} holds no keys to rotate; leave --rotate away to make the first ones")]
    Empty(PathBuf),
    /// Others than the owner may enter the directory.
    #[error("{0} is open to other users; `chmod 700` it first")]
    OpenToOthers(PathBuf),
    /// A file could not be read or written.
    #[error("{path}: {cause}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The existing keys, or they together with the new ones, are no keyring.
    #[error("{dir}: {cause}")]
    Keyring {
        /// The directory.
        dir: PathBuf,
        /// Why.
        cause: KeyringError,
    },
    /// No key could be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// No key could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The cryptographic library refused.
    #[error("the key pair could not be generated")]
    KeyPair,
}

/// The key files a new service needs, named by `now` so that the newest sorts last.
///
/// # Errors
/// [`GenerateError`]
pub fn generate_files(now: Timestamp) -> Result<Vec<NamedFile>, GenerateError> {
    let mut files = rotating_files(now, ".pem")?;
    files.push((INDEX_FILE.to_owned(), symmetric(INDEX_LABEL)?));
    Ok(files)
}

fn rotating_files(now: Timestamp, suffix: &str) -> Result<Vec<NamedFile>, GenerateError> {
    let at = compact_time(now);
    Ok(vec![
        (format!("signing-{at}{suffix}"), signing_key()?),
        (format!("secret-{at}{suffix}"), symmetric(SECRET_LABEL)?),
    ])
}

fn signing_key() -> Result<Secret<String>, GenerateError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| GenerateError::KeyPair)?;
    let document = pair.to_pkcs8v1().map_err(|_| GenerateError::KeyPair)?;
    Ok(pem::encode(document.as_ref(), SIGNING_LABEL))
}

fn symmetric(label: &str) -> Result<Secret<String>, GenerateError> {
    let key = Secret::new(random::<32>()?);
    Ok(pem::encode(key.expose(), label))
}

/// `20261122T035400123Z`: sorts as time does.
fn compact_time(at: Timestamp) -> String {
    // RFC 3339 drops trailing zeros of the fraction, which would not sort.
    let seconds: String = Timestamp::from_secs(at.as_secs())
        .to_rfc3339()
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == 'T')
        .collect();
    format!("{seconds}{:03}Z", at.as_millis().rem_euclid(1000))
}

/// Makes key files in a directory, new or existing.
///
/// # Errors
/// [`KeysError`]; no file is overwritten, and none of the new ones is left behind.
pub fn generate(
    dir: &Path,
    rotate: bool,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeysError> {
    prepare(dir)?;
    let existing = read_keys(dir)?;
    let made = if rotate {
        if existing.is_empty() {
            return Err(KeysError::Empty(dir.to_owned()));
        }
        rotating_files(now, STANDBY_SUFFIX)?
    } else {
        if !existing.is_empty() {
            return Err(KeysError::NotEmpty(dir.to_owned()));
        }
        generate_files(now)?
    };
    // Before anything is written: the service has to be able to start with what will be there.
    let all: Vec<NamedFile> = existing.into_iter().chain(made.clone()).collect();
    let keyring = Keyring::from_pem(&all).map_err(|cause| KeysError::Keyring {
        dir: dir.to_owned(),
        cause,
    })?;
    write_all(dir, &made)?;
    report(dir, &made, &keyring, out).map_err(|cause| KeysError::Io {
        path: PathBuf::from("standard output"),
        cause,
    })
}

fn prepare(dir: &Path) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(dir)
        .map_err(io_error(dir))?;
    let mode = fs::metadata(dir).map_err(io_error(dir))?.permissions();
    if mode.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeysError::OpenToOthers(dir.to_owned()))
    }
}

/// Every `.pem` file of the directory.
///
/// # Errors
/// [`KeysError::Io`]
pub fn read_keys(dir: &Path) -> Result<Vec<NamedFile>, KeysError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let path = entry.map_err(io_error(dir))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".pem") {
            let text = read_bounded(&path).map_err(io_error(&path))?;
            files.push((name.to_owned(), text));
        }
    }
    Ok(files)
}

/// One byte more than the largest key file, so that a larger one is refused, not cut.
fn read_bounded(path: &Path) -> io::Result<Secret<String>> {
    use io::Read as _;
    let mut text = String::with_capacity(pem::PEM_BYTES_MAX + 1);
    let limit = pem::PEM_BYTES_MAX as u64 + 1;
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}

fn write_all(dir: &Path, files: &[NamedFile]) -> Result<(), KeysError> {
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        if let Err(cause) = write_new(&path, text, &mut written) {
            for path in written {
                // Best effort: the first failure is the one to tell.
                let _ = fs::remove_file(path);
            }
            return Err(KeysError::Io { path, cause });
        }
    }
    // The names as well have to survive a crash.
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error(dir))
}

fn write_new(path: &Path, text: &Secret<String>, written: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    written.push(path.to_owned());
    file.write_all(text.expose().as_bytes())?;
    file.sync_all()
}

fn report(
    dir: &Path,
    made: &[NamedFile],
    keyring: &Keyring,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "made in {}:", dir.display())?;
    for (name, _) in made {
        writeln!(out, "  {name}")?;
    }
    writeln!(out, "signs with kid {}", keyring.signing_kid())?;
    let (tag, _) = keyring.secret(Purpose::Seal);
    writeln!(out, "makes new MACs and seals with secret {tag}")?;
    if made.iter().any(|(name, _)| name.ends_with(STANDBY_SUFFIX)) {
        writeln!(
            out,
            "The new keys are known but not used yet. Give them to every instance, then rename \
             them from {STANDBY_SUFFIX} to .pem to put them to use."
        )?;
    } else {
        writeln!(
            out,
            "Back up {INDEX_FILE}: without it no record is found again."
        )?;
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |cause| KeysError::Io { path, cause }
}
