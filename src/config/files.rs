//! The second step: reads the configuration file and looks at every file it names.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use super::parse::{Outcome, parse};
use super::reader::{FileKind, FileReference};
use super::report::{Finding, Show};
use super::{CONFIG_BYTES_MAX, Config, ConfigReport};
use crate::attestation::own_list::OwnList;
use crate::attestation::status_list::{LIST_BYTES_MAX, StatusList};
use crate::key::sha256;
use crate::secret::Secret;

/// Largest PEM file: a bundle of all public authorities has a quarter of it.
const PEM_BYTES_MAX: usize = 1024 * 1024;
/// Largest list that is read: as large as the parsers take.
const STATUS_LIST_BYTES_MAX: usize = LIST_BYTES_MAX;
/// Largest secret file.
const SECRET_BYTES_MAX: usize = 4096;

/// What users that are neither owner nor of the group may do with a file. A group is how an orchestrator
/// lets a service read what it mounts.
const OPEN_TO_OTHERS: u32 = 0o007;

/// Why a secret could not be read from its file. It names neither the secret nor the path: the
/// "path" may be the secret itself, written in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// Nothing is in it, more than one line, or something other than printable UTF-8.
    #[error("the file has to hold one line of text")]
    NotOneLine,
    /// Not a text.
    #[error("the file is not a text")]
    NotText,
}

/// The secret in a file: one line of text; a line end behind it is not part of it.
///
/// # Errors
/// [`SecretFileError`]
pub fn read_secret(path: &Path) -> Result<Secret<String>, SecretFileError> {
    let mut bytes = read(path, SECRET_BYTES_MAX).map_err(SecretFileError::Unreadable)?;
    let line = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let plain = !text.is_empty() && !text.chars().any(char::is_control);
        plain.then(|| Secret::new(text.to_owned()))
    });
    bytes.zeroize();
    line.ok_or(SecretFileError::NotOneLine)
}

/// The text of a PEM file with a private key. What is in it is not looked at.
///
/// # Errors
/// [`SecretFileError`]
pub fn read_private_key(path: &Path) -> Result<Secret<String>, SecretFileError> {
    let bytes = read(path, SECRET_BYTES_MAX).map_err(SecretFileError::Unreadable)?;
    String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        error.into_bytes().zeroize();
        SecretFileError::NotText
    })
}

/// A configuration file that is looked at again and again. Whoever changes the configuration writes
/// the file and restarts nothing, as far as it can be changed so.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    good: [u8; 32],
}

/// What a look at a configuration file found.
#[derive(Debug)]
pub enum Look {
    /// What was last found good.
    Same,
    /// Another good configuration.
    New(Box<Config>),
    /// Something that is none.
    Wrong(ConfigReport),
}

impl ConfigFile {
    /// Reads the file for the first time, as [`Config::load`] does.
    ///
    /// # Errors
    /// [`ConfigReport`] with every problem, or saying that the file itself cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Config), ConfigReport> {
        let bytes = read_whole(path)?;
        let config = load(path, &bytes)?;
        let (path, good) = (path.to_owned(), sha256(&bytes));
        Ok((Self { path, good }, config))
    }

    /// Looks at the file again. What is wrong is read anew at every look, because what is wrong with it
    /// may be a file it names.
    pub fn look(&mut self) -> Look {
        let loaded = read_whole(&self.path).and_then(|bytes| {
            let digest = sha256(&bytes);
            if digest == self.good {
                return Ok(None);
            }
            load(&self.path, &bytes).map(|config| Some((digest, config)))
        });
        match loaded {
            Ok(None) => Look::Same,
            Ok(Some((digest, config))) => {
                self.good = digest;
                Look::New(Box::new(config))
            }
            Err(report) => Look::Wrong(report),
        }
    }
}

pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>, ConfigReport> {
    let name = path.display().to_string();
    read(path, CONFIG_BYTES_MAX).map_err(|why| ConfigReport::unreadable(&name, &why))
}

pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<Config, ConfigReport> {
    let name = path.display().to_string();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(bytes, error.valid_up_to()).named(&name)),
    };
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let Outcome {
        config,
        mut findings,
        files,
        ..
    } = parse(text, base);
    findings.extend(files.iter().filter_map(look_at));
    if let Some(Err(finding)) = config.as_ref().map(|config| tls_pair(config, &files)) {
        findings.push(finding);
    }
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(ConfigReport::of_findings(text, findings).named(&name)),
    }
}

/// The place is told in the part that can be read.
fn not_utf8(bytes: &[u8], valid: usize) -> ConfigReport {
    let text = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let finding = Finding {
        span: valid..valid,
        message: "the file is not UTF-8 from here on".to_owned(),
        hint: Some("save it as UTF-8".to_owned()),
        show: Show::Nothing,
    };
    ConfigReport::of_findings(&text, vec![finding])
}

/// A whole file of at most so many bytes. Only a regular file is opened, so that a pipe cannot hold
/// up the start.
fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let about = fs::metadata(path).map_err(|error| plain(&error))?;
    if !about.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| plain(&error))?;
    if bytes.len() > bytes_max {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such file".to_owned();
    }
    // `error.kind()` leaves out the number of the operating system.
    error.kind().to_string()
}

fn look_at(file: &FileReference) -> Option<Finding> {
    let path = file.path.as_path();
    let outcome = match file.kind {
        FileKind::Certificates => certificates(path),
        FileKind::PrivateKey => private_key(path),
        FileKind::DeveloperKey => developer_key(path),
        FileKind::Secret => read_secret(path)
            .map(drop)
            .map_err(|error| error.to_string()),
        FileKind::StatusList => status_list(path),
        FileKind::OwnList => own_list(path),
        FileKind::NewFile => new_file(path),
        FileKind::Directory => directory(path),
        FileKind::NewDirectory => new_directory(path),
    };
    let why = outcome.err()?;
    // What stands in place of a secret's path may be the secret.
    let secret = file.kind == FileKind::Secret;
    let message = if secret {
        why
    } else {
        let shown: String = path.display().to_string().escape_debug().collect();
        format!("{shown}: {why}")
    };
    Some(Finding {
        span: file.span.clone(),
        message,
        hint: secret.then(|| "write the path of a file that holds the secret".to_owned()),
        show: if secret { Show::KeyOnly } else { Show::Line },
    })
}

fn certificates(path: &Path) -> Result<(), String> {
    let bytes = read(path, PEM_BYTES_MAX)?;
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_| "it is not well-formed PEM".to_owned())?;
        match x509_parser::parse_x509_certificate(&certificate) {
            Ok(([], _)) => count += 1,
            Ok(_) | Err(_) => return Err("it holds something that is no certificate".to_owned()),
        }
    }
    if count == 0 {
        return Err("it holds no PEM certificate".to_owned());
    }
    Ok(())
}

fn private_key(path: &Path) -> Result<(), String> {
    let bytes = Zeroizing::new(read(path, PEM_BYTES_MAX)?);
    PrivateKeyDer::from_pem_slice(&bytes)
        .map(drop)
        .map_err(|_| "it holds no PEM private key".to_owned())
}

/// A key that is worth something outside of this service has to be closed to the others on the machine.
fn developer_key(path: &Path) -> Result<(), String> {
    private_key(path)?;
    let about = fs::metadata(path).map_err(|error| plain(&error))?;
    if about.permissions().mode() & OPEN_TO_OTHERS == 0 {
        Ok(())
    } else {
        Err("it can be read by others; take their permissions away (chmod o=)".to_owned())
    }
}

fn status_list(path: &Path) -> Result<(), String> {
    let bytes = read(path, STATUS_LIST_BYTES_MAX)?;
    StatusList::parse(&bytes)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn own_list(path: &Path) -> Result<(), String> {
    let bytes = read(path, STATUS_LIST_BYTES_MAX)?;
    OwnList::parse(&bytes)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A file that is there, or can be made in its directory.
fn new_file(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => Ok(()),
        Ok(_) => Err("it is not a file".to_owned()),
        Err(_) => directory(parent(path)).map_err(|_| "its directory is not there".to_owned()),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn directory(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("there is no such directory".to_owned())
        }
        Err(error) => Err(plain(&error)),
    }
}

/// A directory that is there, or whose parent is.
fn new_directory(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            directory(parent(path)).map_err(|_| "it is not there and cannot be made".to_owned())
        }
        Ok(_) | Err(_) => directory(path),
    }
}

/// Whether the TLS certificate and key belong together.
fn tls_pair(config: &Config, files: &[FileReference]) -> Result<(), Finding> {
    let super::Transport::Tls(tls) = &config.server.transport else {
        return Ok(());
    };
    let pair = read(&tls.certificate, PEM_BYTES_MAX)
        .ok()
        .zip(read(&tls.key, PEM_BYTES_MAX).ok().map(Zeroizing::new));
    let Some((chain, key)) = pair else {
        return Ok(());
    };
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    // What is no PEM at all was reported before.
    let (Ok(chain), Ok(key)) = (chain, PrivateKeyDer::from_pem_slice(&key)) else {
        return Ok(());
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let message = match rustls::sign::CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => return Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => "the key is not the certificate's".to_owned(),
        Err(_) => "the certificate and key cannot be used for TLS".to_owned(),
    };
    let key = files.iter().find(|f| f.kind == FileKind::PrivateKey);
    Err(Finding {
        span: key.map_or(0..0, |file| file.span.clone()),
        message,
        hint: None,
        show: Show::Line,
    })
}
