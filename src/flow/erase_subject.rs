//! EraseSubject: nothing is kept of a subject any more, but for what is said here.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::holdings::{Held, Holdings};
use super::settle::insist;
use super::state::{Changes, Done};
use super::{Engine, Failure, Receipt, index, receipt};
use crate::id::{AppId, Bucket, Subject};
use crate::session::{Actor, EventKind, revoke_subject};
use crate::store::{CLAIMS_MAX, Claim, Durability, INDEX_CHANGES_MAX, ITEMS_MAX, keys};
use crate::time::Timestamp;

/// The owner of every mark of an erased device.
const ERASED: &[u8] = b"erased";

/// The request.
#[derive(Debug, Clone)]
pub struct EraseSubject {
    /// Whose.
    pub subject: Subject,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Devices whose records were erased.
    pub devices: u32,
    /// Sessions whose records were erased.
    pub sessions: u32,
    /// What is true of it.
    pub receipt: Receipt,
}

/// Erases the records of a subject: its own, those of its devices, their receipts and places in indexes,
/// and those of its sessions. Its sessions are dead with the first commit, because what is not found is
/// dead. Trips to the store as for ExportSubject without events, and one commit; where there is more than
/// one has room for, the first of several cuts all sessions, and each is told by what is left.
///
/// What stays: the claims of keys, and for each device a mark, so that no key of an erased device can be
/// registered again, revoked or not; events, sealed, until their time is over, which name device and
/// session ids; and the records of sessions that had left the subject's list before, because they were
/// cut or over, until a day after their time. Safe to be sent again: what is erased already is confirmed.
///
/// # Errors
/// `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than configured; `INTERNAL` when a record of
/// the subject cannot be read; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: EraseSubject) -> Result<Erased, Failure> {
    let now = engine.clock.now();
    let tally = Tally::default();
    let done = insist(|| async {
        let held = Holdings::load(engine, &request.subject).await?;
        if request.validate_only {
            tally.add(&held.devices, held.sessions.len());
            return Ok(Some(None));
        }
        round(engine, &request, held, &tally, now).await
    })
    .await?;
    let sum = tally.sum();
    let apps = sum.apps.iter().map(Some);
    Ok(Erased {
        devices: sum.devices,
        sessions: sum.sessions,
        receipt: Receipt::new(engine, now, apps, done, now)?,
    })
}

/// What was erased until now, over all rounds.
#[derive(Default)]
struct Tally(Mutex<Sum>);

#[derive(Default)]
struct Sum {
    devices: u32,
    sessions: u32,
    apps: BTreeSet<AppId>,
}

impl Tally {
    fn add(&self, devices: &[Held], sessions: usize) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let mut sum = self.sum();
        sum.devices = sum.devices.saturating_add(count(devices.len()));
        sum.sessions = sum.sessions.saturating_add(count(sessions));
        let apps = devices.iter().map(|held| held.device.app.clone());
        sum.apps.extend(apps);
    }

    fn sum(&self) -> MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Erases what one commit has room for; `None`: there is more, or something came in between.
async fn round(
    engine: &Engine,
    request: &EraseSubject,
    held: Holdings,
    tally: &Tally,
    now: Timestamp,
) -> Result<Option<Option<Done>>, Failure> {
    let mut changes = Changes::default();
    // One item is the subject's own record.
    let mut sessions = 0;
    for session in held.sessions.iter().take(ITEMS_MAX / 2) {
        changes.items.push(session.delete());
        sessions += 1;
    }
    let mut devices = 0;
    for device in &held.devices {
        let more = erasing(device, &request.by, now);
        if !fits(&changes, &more) {
            break;
        }
        devices += 1;
        join(&mut changes, more);
    }
    let last = sessions == held.sessions.len() && devices == held.devices.len();
    let (subject, durability) = match &held.subject.value {
        _ if last => (held.subject.delete(), engine.revocation_durability),
        Some(subject) => {
            let mut cut = revoke_subject(Some(subject), now);
            // Still to be erased.
            cut.sessions.clone_from(&subject.sessions);
            (held.subject.put(engine, &cut, None)?, Durability::Local)
        }
        None => (held.subject.keep(), Durability::Local),
    };
    changes.items.push(subject);
    let bucket = Bucket::of_digest(&engine.keyring.subject_tag(&request.subject));
    let Some(done) = engine.commit(bucket, changes, durability).await? else {
        return Ok(None);
    };
    let (erased, _) = held.devices.split_at_checked(devices).unwrap_or_default();
    tally.add(erased, sessions);
    Ok(last.then_some(Some(done)))
}

/// What erases a device: its record and receipt, its places in indexes; a mark stays, and it is told.
fn erasing(held: &Held, by: &Actor, now: Timestamp) -> Changes {
    let device = &held.device;
    let mut changes = Changes {
        items: vec![held.record.delete()],
        claims: vec![Claim {
            key: keys::erased_device(&device.id),
            owner: ERASED.to_vec(),
            live_for: None,
        }],
        index: index::leaving(device),
        events: vec![device.event(EventKind::SubjectErased, String::new(), by, now)],
        ..Changes::default()
    };
    if let Some(record) = &held.receipt.value {
        changes.items.push(held.receipt.delete());
        changes.index.extend(receipt::leaving(device, record));
    }
    changes
}

fn fits(changes: &Changes, more: &Changes) -> bool {
    // And one item for the subject.
    changes.items.len() + more.items.len() < ITEMS_MAX
        && changes.claims.len() + more.claims.len() <= CLAIMS_MAX
        && changes.index.len() + more.index.len() <= INDEX_CHANGES_MAX
}

fn join(changes: &mut Changes, more: Changes) {
    changes.items.extend(more.items);
    changes.claims.extend(more.claims);
    changes.index.extend(more.index);
    changes.events.extend(more.events);
}
