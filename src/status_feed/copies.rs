//! The copies of the last good list: in the store, where all instances find it, and on disk.
//!
//! Both are sealed as records are, so that nobody without the keys can make one. A copy is never
//! needed: what cannot be read is as good as not there, and the next fetch replaces it. In the store
//! the list is in parts, because the largest one is larger than a value may be; each part says of
//! which list it is, and one commit writes all of them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::attestation::lists::{Held, Origin};
use crate::attestation::status_list::{PACKED_BYTES_MAX, StatusList};
use crate::flow::Engine;
use crate::secret::random;
use crate::store::record::{ListPart, Stored, seal, unseal};
use crate::store::{
    Admission, Change, ChangeSet, Durability, Item, Key, OperationId, Record, VALUE_BYTES_MAX, keys,
};
use crate::time::Reading;
use crate::token::keyring::Keyring;

/// Parts of the copy in the store.
const PARTS: usize = 2;

/// Bytes of a part.
const PART_BYTES: usize = PACKED_BYTES_MAX / PARTS;

/// What a seal, a digest and lengths add to a part, at most.
const OVERHEAD_BYTES_MAX: usize = 1024;

const _: () = assert!(PART_BYTES * PARTS >= PACKED_BYTES_MAX);
const _: () = assert!(PART_BYTES + OVERHEAD_BYTES_MAX <= VALUE_BYTES_MAX);

/// Largest file.
const FILE_BYTES_MAX: u64 = (PACKED_BYTES_MAX + 2 * OVERHEAD_BYTES_MAX) as u64;

/// A copy could not be read or written. That is worth a line in the log and stops nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CopyError {
    /// The store did not answer, or another instance wrote at the same time.
    #[error("the state store does not take or give the copy")]
    Store,
    /// The file cannot be read or written.
    #[error("the file of the copy cannot be read or written")]
    File,
    /// It cannot be opened with the keys at hand, or is not whole.
    #[error("the copy is damaged, or sealed with other keys")]
    Damaged,
}

/// Where the copy in the store is from. One trip.
///
/// # Errors
/// [`CopyError`]
pub(super) async fn stored_origin(engine: &Engine) -> Result<Option<Origin>, CopyError> {
    let record = load(engine, vec![keys::status_list()]).await?.pop();
    let record = record.flatten();
    record
        .map(|record| open(&engine.keyring, &keys::status_list(), &record))
        .transpose()
}

/// The list of the copy in the store. One trip.
///
/// # Errors
/// [`CopyError`], also when it is another list by now.
pub(super) async fn stored_list(engine: &Engine, origin: &Origin) -> Result<StatusList, CopyError> {
    let names: Vec<Key> = (0..PARTS).map(keys::status_list_part).collect();
    let records = load(engine, names.clone()).await?;
    let mut packed = Vec::new();
    for (name, record) in names.iter().zip(records) {
        let record = record.ok_or(CopyError::Damaged)?;
        let part: ListPart = open(&engine.keyring, name, &record)?;
        if part.sha256 != origin.sha256 {
            return Err(CopyError::Damaged);
        }
        packed.extend_from_slice(&part.packed);
    }
    StatusList::unpack(&packed).ok_or(CopyError::Damaged)
}

/// Puts a copy into the store, unless a newer one is there. Two trips.
///
/// # Errors
/// [`CopyError`]
pub(super) async fn store(engine: &Engine, held: &Held, at: Reading) -> Result<(), CopyError> {
    let head = load(engine, vec![keys::status_list()]).await?.pop();
    let head = head.flatten();
    let known: Option<Origin> = head
        .as_ref()
        .and_then(|record| open(&engine.keyring, &keys::status_list(), record).ok());
    let newer = |known: &Origin| {
        known.validated_at >= held.origin.validated_at && known.steady(at).is_some()
    };
    if known.as_ref().is_some_and(newer) {
        return Ok(());
    }
    let mut items = vec![put(engine, keys::status_list(), head, &held.origin)?];
    if known.is_none_or(|known| known.sha256 != held.origin.sha256) {
        let packed = held.list.pack();
        let names: Vec<Key> = (0..PARTS).map(keys::status_list_part).collect();
        let records = load(engine, names.clone()).await?;
        let mut pieces = packed.chunks(PART_BYTES);
        for (name, record) in names.into_iter().zip(records) {
            let part = ListPart {
                sha256: held.origin.sha256,
                packed: pieces.next().unwrap_or_default().to_vec(),
            };
            items.push(put(engine, name, record, &part)?);
        }
    }
    let change = ChangeSet {
        operation: OperationId(random().map_err(|_| CopyError::Store)?),
        bucket: keys::status_list().bucket(),
        items,
        claims: Vec::new(),
        index: Vec::new(),
        events: Vec::new(),
        durability: Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    // When another instance was quicker, its copy is as good.
    let committed = engine.store.commit(change).await;
    committed.map(drop).map_err(|_| CopyError::Store)
}

async fn load(engine: &Engine, load: Vec<Key>) -> Result<Vec<Option<Record>>, CopyError> {
    let ask = Admission {
        load,
        ..Admission::default()
    };
    let answer = engine.store.admit(ask).await;
    Ok(answer.map_err(|_| CopyError::Store)?.records)
}

fn open<T: Stored>(keyring: &Keyring, name: &Key, record: &Record) -> Result<T, CopyError> {
    unseal(keyring, name, record).map_err(|_| CopyError::Damaged)
}

fn put<T: Stored>(
    engine: &Engine,
    key: Key,
    old: Option<Record>,
    value: &T,
) -> Result<Item, CopyError> {
    let value = seal(&engine.keyring, &key, value).map_err(|_| CopyError::Store)?;
    Ok(Item {
        key,
        expected: old.map(|record| record.version),
        change: Change::Put {
            value,
            live_for: None,
        },
    })
}

/// The copy on disk. Nothing is held but the path while it is read: an instance that stops leaves
/// nothing behind that keeps its store open.
///
/// # Errors
/// [`CopyError`]; a file that is not there is no error.
pub(super) async fn read(
    keyring: &Keyring,
    path: &Path,
) -> Result<Option<(StatusList, Origin)>, CopyError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
    let bytes = read.unwrap_or(Err(CopyError::File))?;
    bytes.map(|bytes| decode(keyring, &bytes)).transpose()
}

/// Writes the copy on disk: beside the file and then in its place, so that nobody sees half of it.
///
/// # Errors
/// [`CopyError`]
pub(super) async fn write(keyring: &Keyring, path: &Path, held: &Held) -> Result<(), CopyError> {
    let bytes = encode(keyring, held)?;
    let path = path.to_owned();
    let write = move || write_file(&path, &bytes).map_err(|_| CopyError::File);
    let written = tokio::task::spawn_blocking(write).await;
    written.unwrap_or(Err(CopyError::File))
}

/// Both records of the copy, the first behind its length.
fn encode(keyring: &Keyring, held: &Held) -> Result<Vec<u8>, CopyError> {
    let damaged = |_| CopyError::Damaged;
    let origin = seal(keyring, &keys::status_list(), &held.origin).map_err(damaged)?;
    let part = ListPart {
        sha256: held.origin.sha256,
        packed: held.list.pack(),
    };
    let part = seal(keyring, &keys::status_list_part(0), &part).map_err(damaged)?;
    let length = u32::try_from(origin.len()).map_err(|_| CopyError::Damaged)?;
    Ok([&length.to_be_bytes()[..], &origin, &part].concat())
}

fn decode(keyring: &Keyring, bytes: &[u8]) -> Result<(StatusList, Origin), CopyError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(CopyError::Damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (origin, part) = rest.split_at_checked(length).ok_or(CopyError::Damaged)?;
    let record = |value: &[u8]| Record {
        version: OperationId([0; 16]),
        value: value.to_vec(),
    };
    let origin: Origin = open(keyring, &keys::status_list(), &record(origin))?;
    let part: ListPart = open(keyring, &keys::status_list_part(0), &record(part))?;
    let list = StatusList::unpack(&part.packed).filter(|_| part.sha256 == origin.sha256);
    Ok((list.ok_or(CopyError::Damaged)?, origin))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, CopyError> {
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(CopyError::File),
        Ok(about) => about,
    };
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(CopyError::Damaged);
    }
    fs::read(path).map(Some).map_err(|_| CopyError::File)
}

fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
