//! The App Attest receipts of devices: kept with the registration, then exchanged for newer ones.
//!
//! A receipt is a record of its own, because the device's is loaded with every request, and is written
//! in the commit that writes the device. While there is something to ask for it stands in the index of
//! its app, by the time at which it is due: a page from the beginning is what is due. Record and index
//! are changed in one commit, which names the version of the record, so of two answers that come at
//! once one is kept.
//!
//! Instances share the work without talking to each other: whoever exchanges a receipt first makes a
//! claim for the very version of its record. The claim ends by itself, and a new version needs a new
//! one, so nothing has to be given back.

use std::time::Duration;

use super::state::{Changes, Loaded};
use super::{App, Engine, Failure};
use crate::attestation::Facts;
use crate::attestation::apple::receipt::ReceiptEvidence;
use crate::attestation::apple::receipt::refresh::{Jitter, ReceiptRecord};
use crate::id::{AppId, BUCKETS, Bucket, DeviceId};
use crate::reason::Reason;
use crate::secret::random;
use crate::session::{Device, DeviceState};
use crate::store::{
    Admission, Claim, Claimed, Durability, IndexChange, IndexRange, Item, Presence, keys,
};
use crate::time::Timestamp;

/// Members looked at in each bucket: those after them are due later, and come when these are done.
const LOOKED_AT_PER_BUCKET: usize = 64;

/// How long a receipt is one instance's to exchange: longer than an exchange takes with all its
/// time-outs.
pub const RECEIPT_LEASE_FOR: Duration = Duration::from_secs(120);

/// 32 random bits for the due times.
///
/// # Errors
/// `INTERNAL` without randomness.
pub fn receipt_jitter() -> Result<Jitter, Failure> {
    Ok(Jitter::from_bits(u32::from_be_bytes(random()?)))
}

/// The receipt that came with accepted evidence, where the app exchanges receipts and it was believed.
pub(super) fn brought(app: &App, facts: Option<&Facts>) -> Result<Option<ReceiptRecord>, Failure> {
    let (Some(_), Some(Facts::Apple(facts))) = (&app.receipts, facts) else {
        return Ok(None);
    };
    let ReceiptEvidence::Verified { facts, bytes } = &facts.receipt else {
        return Ok(None);
    };
    Ok(Some(ReceiptRecord::new(
        bytes.clone(),
        facts,
        receipt_jitter()?,
    )))
}

/// What becomes of a receipt when its device is written.
#[derive(Debug, PartialEq, Eq)]
enum Keeping {
    AsItIs,
    Replaced(ReceiptRecord),
    /// It is for a key that is not the device's any more.
    Dropped,
}

/// The newer one is kept, and the metric that was told for this key until there is another.
fn decide(old: Option<&ReceiptRecord>, same_key: bool, brought: Option<ReceiptRecord>) -> Keeping {
    match (old.filter(|_| same_key), brought) {
        (Some(old), Some(new)) if old.created_at >= new.created_at => Keeping::AsItIs,
        (kept, Some(new)) => Keeping::Replaced(ReceiptRecord {
            risk_metric: new.risk_metric.or(kept.and_then(|kept| kept.risk_metric)),
            ..new
        }),
        (None, None) if old.is_some() => Keeping::Dropped,
        (_, None) => Keeping::AsItIs,
    }
}

/// Adds to the changes that write a device what becomes of its receipt.
pub(super) fn keep_with(
    engine: &Engine,
    changes: &mut Changes,
    loaded: &Loaded<ReceiptRecord>,
    (before, now): (Option<&Device>, &Device),
    brought: Option<ReceiptRecord>,
) -> Result<(), Failure> {
    let same_key = before.is_some_and(|before| before.key == now.key);
    let old = loaded.value.as_ref();
    let (item, new) = match decide(old, same_key, brought) {
        Keeping::AsItIs => return Ok(()),
        Keeping::Replaced(new) => (loaded.put(engine, &new, None)?, Some(new)),
        Keeping::Dropped => (loaded.delete(), None),
    };
    changes.items.push(item);
    changes
        .index
        .extend(moved((now.id, &now.app), old, new.as_ref()));
    Ok(())
}

/// The place of a device in the index of its app: when it is due, then who.
fn member(at: Timestamp, device: &DeviceId) -> Vec<u8> {
    let at = u64::try_from(at.as_millis()).unwrap_or(0);
    [&at.to_be_bytes()[..], device.as_bytes()].concat()
}

fn change(device: DeviceId, app: &AppId, at: Timestamp, presence: Presence) -> IndexChange {
    IndexChange {
        key: keys::receipts_due(device.bucket(), app),
        member: member(at, &device),
        presence,
    }
}

/// The changes of the index that go with a receipt's record.
fn moved(
    (device, app): (DeviceId, &AppId),
    old: Option<&ReceiptRecord>,
    new: Option<&ReceiptRecord>,
) -> Vec<IndexChange> {
    let left = old.and_then(ReceiptRecord::due_at);
    let stays = new.and_then(ReceiptRecord::due_at);
    let left = left.filter(|left| Some(*left) != stays);
    let left = left.map(|at| change(device, app, at, Presence::Absent));
    let stays = stays.map(|at| change(device, app, at, Presence::Present));
    left.into_iter().chain(stays).collect()
}

/// The changes of the index that go with the removal of a receipt.
pub(super) fn leaving(device: &Device, record: &ReceiptRecord) -> Vec<IndexChange> {
    moved((device.id, &device.app), Some(record), None)
}

/// A device whose receipt is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueReceipt {
    /// Since when.
    pub at: Timestamp,
    /// Which.
    pub device: DeviceId,
}

/// What is due of an app, the longest overdue first. One trip, which asks every bucket for a bounded
/// part.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn due_receipts(
    engine: &Engine,
    app: &AppId,
    now: Timestamp,
) -> Result<Vec<DueReceipt>, Failure> {
    let ranges = (0..BUCKETS)
        .filter_map(Bucket::new)
        .map(|bucket| IndexRange {
            key: keys::receipts_due(bucket, app),
            after: Vec::new(),
            limit: LOOKED_AT_PER_BUCKET,
        });
    let pages = engine.store.page(ranges.collect()).await?;
    let members = pages.iter().flatten().filter_map(|member| {
        let (at, device) = member.split_first_chunk::<8>()?;
        let at = i64::try_from(u64::from_be_bytes(*at)).ok()?;
        Some(DueReceipt {
            at: Timestamp::from_millis(at),
            device: DeviceId::from_bytes(device).ok()?,
        })
    });
    let mut due: Vec<DueReceipt> = members.filter(|due| due.at <= now).collect();
    due.sort_unstable();
    Ok(due)
}

/// A device with its receipt as they are now.
#[derive(Debug)]
pub struct HeldReceipt {
    /// The device.
    pub device: Device,
    /// Its receipt.
    pub record: ReceiptRecord,
    loaded: Loaded<ReceiptRecord>,
}

/// Loads what is due. One trip, and one more for each that has nothing to wait for any more and
/// leaves the index: the devices that are revoked or not there, and members that their records do not
/// have.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`, `INTERNAL`
pub async fn load_receipts(
    engine: &Engine,
    app: &AppId,
    due: &[DueReceipt],
) -> Result<Vec<HeldReceipt>, Failure> {
    let names = due
        .iter()
        .flat_map(|due| [keys::device(&due.device), keys::receipt(&due.device)]);
    let ask = Admission {
        load: names.collect(),
        ..Admission::default()
    };
    let mut records = engine.store.admit(ask).await?.records.into_iter();
    let mut held = Vec::new();
    for due in due {
        let mut next = || records.next().flatten();
        let device = Loaded::<Device>::open(engine, keys::device(&due.device), next())?;
        let loaded = Loaded::<ReceiptRecord>::open(engine, keys::receipt(&due.device), next())?;
        let record = loaded.value.clone();
        let record = record.filter(|record| record.due_at() == Some(due.at));
        let alive = |device: &Device| !matches!(device.state, DeviceState::Revoked { .. });
        match device.value.clone().filter(alive).zip(record) {
            Some((device, record)) => held.push(HeldReceipt {
                device,
                record,
                loaded,
            }),
            None => {
                let leaves = change(due.device, app, due.at, Presence::Absent);
                let items = vec![device.keep(), loaded.keep()];
                write(engine, due.device, items, vec![leaves]).await?;
            }
        }
    }
    Ok(held)
}

/// Which of these are ours to exchange now: the others are exchanged by another instance already. One
/// trip.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`, `INTERNAL`
pub async fn lease_receipts(
    engine: &Engine,
    held: Vec<HeldReceipt>,
) -> Result<Vec<HeldReceipt>, Failure> {
    let owner = random::<16>()?.to_vec();
    let claim = held.iter().filter_map(|held| {
        Some(Claim {
            key: keys::receipt_lease(&held.device.id, held.loaded.version()?),
            owner: owner.clone(),
            live_for: Some(RECEIPT_LEASE_FOR),
        })
    });
    let ask = Admission {
        claim: claim.collect(),
        ..Admission::default()
    };
    let claims = engine.store.admit(ask).await?.claims;
    let granted = held.into_iter().zip(claims);
    let granted = granted.filter(|(_, claim)| *claim == Claimed::Granted);
    Ok(granted.map(|(held, _)| held).collect())
}

/// Keeps what became of a receipt. Whether it was kept: when the record was changed meanwhile, by a
/// new registration, that one stays. One trip.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`, `INTERNAL`
pub async fn keep_receipt(
    engine: &Engine,
    held: &HeldReceipt,
    new: &ReceiptRecord,
) -> Result<bool, Failure> {
    let items = vec![held.loaded.put(engine, new, None)?];
    let device = (held.device.id, &held.device.app);
    let index = moved(device, Some(&held.record), Some(new));
    write(engine, held.device.id, items, index).await
}

async fn write(
    engine: &Engine,
    device: DeviceId,
    items: Vec<Item>,
    index: Vec<IndexChange>,
) -> Result<bool, Failure> {
    let changes = Changes {
        items,
        index,
        ..Changes::default()
    };
    let bucket = device.bucket();
    let done = engine.commit(bucket, changes, Durability::Local).await?;
    Ok(done.is_some())
}

/// A device with its receipt, if it has one. One trip.
pub(super) async fn of_device(
    engine: &Engine,
    id: &DeviceId,
) -> Result<(Device, Option<ReceiptRecord>), Failure> {
    let (device, receipt) = (keys::device(id), keys::receipt(id));
    let ask = Admission {
        load: vec![device.clone(), receipt.clone()],
        ..Admission::default()
    };
    let mut records = engine.store.admit(ask).await?.records.into_iter();
    let mut next = || records.next().flatten();
    let device = Loaded::<Device>::open(engine, device, next())?.value;
    let receipt = Loaded::open(engine, receipt, next())?.value;
    Ok((device.ok_or(Reason::ResourceNotFound)?, receipt))
}
