//! The names of records and claims: one table, so that no two kinds can meet.

use data_encoding::HEXLOWER;

use super::rules::{INDEX_PREFIX, LIMIT_PREFIX, OUTBOX_NAME, WINDOW_PREFIX};
use super::{Key, OperationId};
use crate::id::{AppId, Bucket, DeviceId, SessionId};
use crate::key::{Thumbprint, sha256};
use crate::policy::Action;

/// The bucket of what there is once.
const FIRST: Bucket = Bucket::of_digest(&[0; 32]);

/// `{bN}:d:<id>`: a device.
#[must_use]
pub fn device(id: &DeviceId) -> Key {
    Key::new(id.bucket(), format!("d:{}", HEXLOWER.encode(id.as_bytes())))
}

/// `{bN}:r:<id>`: the App Attest receipt of a device.
#[must_use]
pub fn receipt(id: &DeviceId) -> Key {
    Key::new(id.bucket(), format!("r:{}", HEXLOWER.encode(id.as_bytes())))
}

/// `{bN}:s:<id>`: a session.
#[must_use]
pub fn session(id: &SessionId) -> Key {
    Key::new(id.bucket(), format!("s:{}", HEXLOWER.encode(id.as_bytes())))
}

/// `{bN}:u:<tag>`: a subject, by its tag; the subject itself is only inside sealed records.
#[must_use]
pub fn subject(tag: &[u8; 32]) -> Key {
    Key::new(
        Bucket::of_digest(tag),
        format!("u:{}", HEXLOWER.encode(tag)),
    )
}

/// The tag in the name of a subject.
#[must_use]
pub fn subject_tag(key: &Key) -> Option<[u8; 32]> {
    let hex = key.name().strip_prefix("u:")?;
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// `{bN}:f`: what holds for the whole fleet, once in every bucket.
#[must_use]
pub fn fleet(bucket: Bucket) -> Key {
    Key::new(bucket, "f".to_owned())
}

/// `{bN}:o`: the outbox of a bucket, the store's own name for it. Events are sealed for this name.
#[must_use]
pub fn outbox(bucket: Bucket) -> Key {
    Key::new(bucket, OUTBOX_NAME.to_owned())
}

/// `{bN}:i:a`: every device of a bucket, by id.
#[must_use]
pub fn devices(bucket: Bucket) -> Key {
    Key::new(bucket, format!("{INDEX_PREFIX}a"))
}

/// `{bN}:i:n:<serial>`: the devices of a bucket whose attestation names this certificate above the
/// leaf, by id. `serial` is minimal lowercase hex.
#[must_use]
pub fn devices_by_serial(bucket: Bucket, serial: &str) -> Key {
    Key::new(bucket, format!("{INDEX_PREFIX}n:{serial}"))
}

/// `{bN}:i:k:<digest>`: the devices of a bucket attested by this key, by id.
#[must_use]
pub fn devices_by_attestation_key(bucket: Bucket, key_sha256: &[u8; 32]) -> Key {
    let digest = HEXLOWER.encode(key_sha256);
    Key::new(bucket, format!("{INDEX_PREFIX}k:{digest}"))
}

/// `{bN}:i:r:<app>`: the devices of an app in a bucket whose receipts are to be exchanged, by when.
#[must_use]
pub fn receipts_due(bucket: Bucket, app: &AppId) -> Key {
    Key::new(bucket, format!("{INDEX_PREFIX}r:{}", app.as_str()))
}

/// `{bN}:l:k:<digest>`: how fast devices register under an attestation key, in the bucket of the key.
#[must_use]
pub fn attestation_key_rate(key_sha256: &[u8; 32]) -> Key {
    let bucket = Bucket::of_digest(key_sha256);
    let digest = HEXLOWER.encode(key_sha256);
    Key::new(bucket, format!("{LIMIT_PREFIX}k:{digest}"))
}

/// `{bN}:l:s:<action>:<app>:<tag>`: how often a subject does something in an app.
#[must_use]
pub fn subject_rate(action: Action, app: &AppId, tag: &[u8; 32]) -> Key {
    let (app, subject) = (HEXLOWER.encode(&app.tag()), HEXLOWER.encode(tag));
    let name = format!("{LIMIT_PREFIX}s:{}:{app}:{subject}", letter(action));
    Key::new(Bucket::of_digest(tag), name)
}

/// `{bN}:l:d:<action>:<id>`: how often something is done on a device.
#[must_use]
pub fn device_rate(action: Action, id: &DeviceId) -> Key {
    let device = HEXLOWER.encode(id.as_bytes());
    let name = format!("{LIMIT_PREFIX}d:{}:{device}", letter(action));
    Key::new(id.bucket(), name)
}

/// `{bN}:l:g:<id>:<generation>`: how often one refresh token of a session was presented.
#[must_use]
pub fn refresh_tries(id: &SessionId, generation: u32) -> Key {
    let session = HEXLOWER.encode(id.as_bytes());
    let name = format!("{LIMIT_PREFIX}g:{session}:{generation}");
    Key::new(id.bucket(), name)
}

/// `{bN}:l:i:<action>:<tag>`: how often something is asked for from a network, in the bucket of the
/// network's tag, which says nothing of the network.
#[must_use]
pub fn network_rate(action: Action, tag: &[u8; 32]) -> Key {
    let network = HEXLOWER.encode(tag);
    let name = format!("{LIMIT_PREFIX}i:{}:{network}", letter(action));
    Key::new(Bucket::of_digest(tag), name)
}

/// `{bN}:l:c:<digest>`: how often a calling service asks, in the bucket of the digest of its name.
#[must_use]
pub fn caller_rate(identity: &str) -> Key {
    let digest = sha256(identity.as_bytes());
    let name = format!("{LIMIT_PREFIX}c:{}", HEXLOWER.encode(&digest));
    Key::new(Bucket::of_digest(&digest), name)
}

const fn letter(action: Action) -> char {
    match action {
        Action::Register => 'n',
        Action::Issue => 'o',
        Action::Refresh => 'r',
    }
}

/// `{b0}:t:s`: where the kept copy of the attestation status list is from. Not about any subject, so
/// it lies in the first bucket.
#[must_use]
pub fn status_list() -> Key {
    Key::new(FIRST, "t:s".to_owned())
}

/// `{b0}:t:s:<n>`: a part of that copy.
#[must_use]
pub fn status_list_part(number: usize) -> Key {
    Key::new(FIRST, format!("t:s:{number}"))
}

/// `{b0}:t:r`: the re-appraisal of all devices, as the instances share it.
#[must_use]
pub fn reappraisal() -> Key {
    Key::new(FIRST, "t:r".to_owned())
}

/// `{b0}:t:w`: who follows revocations, and who has heard of them.
#[must_use]
pub fn watchers() -> Key {
    Key::new(FIRST, "t:w".to_owned())
}

/// `{bN}:c:k:<digest>`: the one owner of an attested or session key, in the bucket of the key.
#[must_use]
pub fn key_owner(key: &Thumbprint) -> Key {
    claim('k', &sha256(key.as_bytes()))
}

/// `{bN}:c:e:<id>`: a device that was erased with its subject: its key does not come back.
#[must_use]
pub fn erased_device(id: &DeviceId) -> Key {
    let device = HEXLOWER.encode(id.as_bytes());
    Key::new(id.bucket(), format!("c:e:{device}"))
}

/// `{bN}:c:h:<digest>`: a challenge that was used, in the bucket of the challenge.
#[must_use]
pub fn challenge(id: &[u8; 32]) -> Key {
    claim('h', id)
}

/// `{bN}:c:j:<digest>`: a proof that was used, in the bucket of the session or device it is for.
#[must_use]
pub fn proof(bucket: Bucket, id: &[u8; 32]) -> Key {
    Key::new(bucket, format!("c:j:{}", HEXLOWER.encode(id)))
}

/// `{bN}:w:<digest>`: the counter of a key that signs proofs, in the bucket of the session or device
/// they are for.
#[must_use]
pub fn proof_counter(bucket: Bucket, key: &Thumbprint) -> Key {
    let digest = HEXLOWER.encode(&sha256(key.as_bytes()));
    Key::new(bucket, format!("{WINDOW_PREFIX}{digest}"))
}

/// `{bN}:c:q:<digest>`: what a request id of a caller was used for, in the bucket of the digest.
#[must_use]
pub fn request(digest: &[u8; 32]) -> Key {
    claim('q', digest)
}

/// `{bN}:c:r:<id>:<version>`: who exchanges a receipt, as it was written by this operation.
#[must_use]
pub fn receipt_lease(id: &DeviceId, version: OperationId) -> Key {
    let device = HEXLOWER.encode(id.as_bytes());
    Key::new(id.bucket(), format!("c:r:{device}:{version:?}"))
}

fn claim(kind: char, digest: &[u8; 32]) -> Key {
    Key::new(
        Bucket::of_digest(digest),
        format!("c:{kind}:{}", HEXLOWER.encode(digest)),
    )
}
