//! Lists that are files: read at the start, and again when they change.
//!
//! Polling sees every kind of replacement. A version that cannot be used changes nothing; it is said
//! in the log and by GetTrustStatus. Whoever writes a list writes it beside and renames it: half of an
//! own list may look like a shorter one.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::plan::lacks_most;
use crate::attestation::lists::{Held, Origin, Own};
use crate::attestation::own_list::OwnList;
use crate::attestation::status_list::StatusList;
use crate::key::sha256;
use crate::time::{Reading, Timestamp};

/// Largest file that is read: the parsers of both lists take less.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    bytes: u64,
    modified_at: Timestamp,
    modified_nanos: i64,
}

/// A file that is looked at again and again.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    seen: Option<Version>,
}

/// A file as it was read.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// When it was written.
    pub(super) modified_at: Timestamp,
}

/// Why a file cannot be used, in plain words: its path and its content are in none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

impl FileError {
    fn because(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl Watched {
    /// A file that was not looked at yet.
    #[must_use]
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at it next time as if for the first time.
    pub(super) const fn forget(&mut self) {
        self.seen = None;
    }

    /// The content, when it is not the version that was looked at last.
    ///
    /// # Errors
    /// [`FileError`], each time while it cannot be read.
    pub(super) fn look(&mut self) -> Result<Option<Content>, FileError> {
        let opened = open(&self.path).map_err(|error| {
            // Back again it is read again, even as the version that was seen before.
            self.seen = None;
            FileError::because(error.kind())
        })?;
        let Some((file, about)) = opened else {
            self.seen = None;
            return Err(FileError::because("it is not a file"));
        };
        let version = version(&about);
        if self.seen == Some(version) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| FileError::because(error.kind()))?;
        self.seen = Some(version);
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
            return Err(FileError::because("it is too large"));
        }
        Ok(Some(Content {
            bytes,
            modified_at: version.modified_at,
        }))
    }
}

/// The file, and what is to know about it; `None` when it is something else.
fn open(path: &Path) -> std::io::Result<Option<(File, fs::Metadata)>> {
    // Opening a pipe would wait for whoever writes into it.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    Ok(Some((file, about)))
}

fn version(about: &fs::Metadata) -> Version {
    let modified = about.modified().ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Version {
        inode: about.ino(),
        bytes: about.len(),
        modified_at: Timestamp::EPOCH.after(since.unwrap_or(Duration::ZERO)),
        modified_nanos: about.mtime_nsec(),
    }
}

/// Google's list from a file: known to be the newest when it was written. A file from the future is
/// of unknown age: as old as can be.
///
/// # Errors
/// [`FileError`]
pub(super) fn status_list(content: &Content, at: Reading) -> Result<Held, FileError> {
    let list = StatusList::parse(&content.bytes).map_err(FileError::because)?;
    let mut origin = Origin {
        sha256: sha256(&content.bytes),
        validated_at: content.modified_at,
        refetch_at: content.modified_at,
        modified_at: Some(content.modified_at),
        etag: None,
        last_modified: None,
    };
    let steady = origin.steady(at).unwrap_or_else(|| {
        origin.validated_at = Timestamp::EPOCH;
        at.steady
    });
    Ok(Held {
        list: Arc::new(list),
        origin,
        steady,
    })
}

/// A newer version of Google's list, unless it lacks most of what is known and the operator does not
/// name it.
///
/// # Errors
/// [`FileError`]
pub(super) fn newer_status_list(
    content: &Content,
    held: Option<&Held>,
    accept_sha256: Option<[u8; 32]>,
    at: Reading,
) -> Result<Held, FileError> {
    let newer = status_list(content, at)?;
    let known = held.filter(|held| held.origin.sha256 != newer.origin.sha256);
    if accept_sha256 != Some(newer.origin.sha256)
        && known.is_some_and(|held| lacks_most(&held.list, &newer.list))
    {
        return Err(FileError::because(
            "it lacks most of what was on the list: restart, or name it in status_list_accept",
        ));
    }
    Ok(newer)
}

/// The operator's own list from a file.
///
/// # Errors
/// [`FileError`]
pub(super) fn own_list(content: &Content, now: Timestamp) -> Result<Own, FileError> {
    let list = OwnList::parse(&content.bytes).map_err(FileError::because)?;
    Ok(Own {
        list: Arc::new(list),
        sha256: sha256(&content.bytes),
        read_at: now,
        last_error: None,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_pipe_is_no_file_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let (tell, told) = mpsc::channel();
        let mut file = Watched::new(path.clone());
        std::thread::spawn(move || {
            let looked = file.look().map(drop);
            let _ = tell.send((file, looked));
        });
        let (mut file, looked) = told.recv_timeout(Duration::from_secs(120)).unwrap();
        assert_eq!(looked, Err(FileError::because("it is not a file")));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert_eq!(file.look().unwrap().unwrap().bytes, b"x");
    }
}
