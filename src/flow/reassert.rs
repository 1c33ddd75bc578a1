//! Writing known revocations into a store that does not have them: because it lost them, or because it
//! could not be told.
//!
//! Look, listen, write. The records are loaded first; then everything that happened until now is heard
//! ([`Board::tell`](super::Board::tell) of every event in the outboxes); what is still missing then is
//! written over the very records that were loaded. So nothing that came in between is undone, the
//! resumption of a device least of all, and of instances that write the same at once one wins and the
//! others hear of it. What is written only moves on: an epoch forward, a session to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::laid::Laid;
use super::revoke_subject::NOBODY_KEPT_FOR;
use super::state::{Changes, Loaded, keep_for};
use super::{Engine, Failure};
use crate::id::{BUCKETS, Bucket};
use crate::session::{Device, DeviceState, Event, Fact, Fleet, Known, Session, SubjectRecord};
use crate::store::{Admission, Durability, EVENTS_MAX, Item, Key, keys};

/// Most facts looked at in one round: as many records fit into one trip.
const LOOKED_MAX: usize = 512;

/// Commits under way at once, as in a batch of revocations.
const AT_ONCE: usize = 16;

/// What is to be written, and the records it is about as they were before the outboxes were read.
#[derive(Debug, Default)]
pub(super) struct Looked {
    missing: Vec<Known>,
    devices: Records<Device>,
    sessions: Records<Session>,
    subjects: Records<SubjectRecord>,
    fleets: Records<Fleet>,
}

/// Records by name. One that cannot be read is not among them: it opens no door, either.
type Records<T> = BTreeMap<Key, Loaded<T>>;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Revocations that the store has now.
    pub written: u64,
    /// Those of records that cannot be read: there is nothing to revoke.
    pub unreadable: u64,
}

/// Loads the records behind what the store is not known to have. No trip when there is nothing, three
/// at most.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub(super) async fn look(engine: &Engine) -> Result<Looked, Failure> {
    let missing = engine.board.overlay().waiting(LOOKED_MAX);
    let named = |name: fn(&Fact) -> Option<Key>| -> BTreeSet<Key> {
        missing
            .iter()
            .filter_map(|known| name(&known.fact))
            .collect()
    };
    let devices: Records<Device> = load(engine, named(device_of)).await?;
    let sessions = load(engine, named(session_of)).await?;
    let subjects = missing.iter().filter_map(|known| {
        let tag = subject_of(engine, &known.fact, &devices)?;
        Some(keys::subject(&tag))
    });
    let subjects = load(engine, subjects.collect()).await?;
    let everywhere = missing
        .iter()
        .any(|known| matches!(known.fact, Fact::NotBefore(_)));
    let buckets = (0..BUCKETS).filter_map(Bucket::new).filter(|_| everywhere);
    let fleets = load(engine, buckets.map(keys::fleet).collect()).await?;
    Ok(Looked {
        missing,
        devices,
        sessions,
        subjects,
        fleets,
    })
}

fn device_of(fact: &Fact) -> Option<Key> {
    match fact {
        Fact::Revoked(id) | Fact::Suspension(id) | Fact::SubjectOf(id, _) => Some(keys::device(id)),
        Fact::Ended(_) | Fact::Cut(_) | Fact::Subject(..) | Fact::NotBefore(_) => None,
    }
}

fn session_of(fact: &Fact) -> Option<Key> {
    match fact {
        Fact::Ended(id) | Fact::Cut(id) => Some(keys::session(id)),
        Fact::Revoked(_)
        | Fact::Suspension(_)
        | Fact::SubjectOf(..)
        | Fact::Subject(..)
        | Fact::NotBefore(_) => None,
    }
}

fn subject_of(engine: &Engine, fact: &Fact, devices: &Records<Device>) -> Option<[u8; 32]> {
    match fact {
        Fact::Subject(tag, _) => Some(*tag),
        Fact::SubjectOf(id, _) => {
            let device = devices.get(&keys::device(id))?.value.as_ref()?;
            Some(engine.keyring.subject_tag(&device.subject))
        }
        Fact::Ended(_)
        | Fact::Cut(_)
        | Fact::Revoked(_)
        | Fact::Suspension(_)
        | Fact::NotBefore(_) => None,
    }
}

async fn load<T: Laid>(engine: &Engine, names: BTreeSet<Key>) -> Result<Records<T>, Failure> {
    if names.is_empty() {
        return Ok(Records::new());
    }
    let ask = Admission {
        load: names.iter().cloned().collect(),
        ..Admission::default()
    };
    let records = engine.store.admit(ask).await?.records;
    let opened = names.into_iter().zip(records).filter_map(|(key, record)| {
        let loaded = Loaded::as_kept(engine, key.clone(), record).ok()?;
        Some((key, loaded))
    });
    Ok(opened.collect())
}

/// Writes what is still missing now that everything was heard. What meets another change waits for the
/// next round.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`: the rest is still missing.
pub(super) async fn write(engine: &Engine, looked: Looked) -> Result<Written, Failure> {
    let lagging = AtomicBool::new(false);
    let (looked, lagging) = (&looked, &lagging);
    let missing: Vec<Known> = {
        let overlay = engine.board.overlay();
        let still = |known: &&Known| overlay.is_waiting(known);
        looked.missing.iter().filter(still).cloned().collect()
    };
    let mut everywhere = Vec::new();
    let mut unreadable = 0;
    let mut writes: BTreeMap<Key, Write> = BTreeMap::new();
    for known in missing {
        match plan(engine, looked, &known)? {
            Plan::Write(item, events) => {
                let write = writes.entry(item.key.clone());
                let write = write.or_insert_with(|| Write::of(item));
                write.add(known, events);
            }
            Plan::Everywhere => everywhere.push(known),
            Plan::NoUse => engine.board.settle(&known),
            Plan::Unreadable => {
                engine.board.settle(&known);
                unreadable += 1;
            }
        }
    }
    let mut written = write_everywhere(engine, looked, &everywhere, lagging).await?;
    written.unreadable += unreadable;
    let commit = |write: Write| async move {
        let done = commit(engine, write.item, write.events, lagging).await?;
        Ok::<_, Failure>(if done { write.because_of } else { Vec::new() })
    };
    let writes = stream::iter(writes.into_values());
    let mut each = writes.map(commit).buffer_unordered(AT_ONCE);
    while let Some(done) = each.next().await {
        for known in done? {
            engine.board.settle(&known);
            written.written += 1;
        }
    }
    Ok(written)
}

/// What a fact asks for.
#[derive(Debug)]
enum Plan {
    /// A record as it has to be by all that is known, and what is told with it.
    Write(Item, Vec<Event>),
    /// A record in every bucket.
    Everywhere,
    /// Nothing: the record has something that goes further.
    NoUse,
    Unreadable,
}

/// One write of a record, for every fact that is about it: a subject is cut once, however many of its
/// devices have to be told.
#[derive(Debug)]
struct Write {
    item: Item,
    events: Vec<Event>,
    because_of: Vec<Known>,
}

impl Write {
    const fn of(item: Item) -> Self {
        Self {
            item,
            events: Vec::new(),
            because_of: Vec::new(),
        }
    }

    /// Adds a fact while there is room for its events; one that has none waits for the next round.
    fn add(&mut self, known: Known, events: Vec<Event>) {
        if self.events.len() + events.len() <= EVENTS_MAX {
            self.events.extend(events);
            self.because_of.push(known);
        }
    }
}

fn plan(engine: &Engine, looked: &Looked, known: &Known) -> Result<Plan, Failure> {
    let now = engine.clock.now();
    let mut event = known.event.clone();
    let planned = match &known.fact {
        Fact::Ended(id) | Fact::Cut(id) => {
            let loaded = looked.sessions.get(&keys::session(id));
            // Who could not ask for the record did not know of whom to tell.
            if let Some(session) = loaded.and_then(|loaded| loaded.value.as_ref()) {
                event.device = Some(session.device);
                event.app = Some(session.app.clone());
            }
            let item = item(engine, loaded, |session| Some(keep_for(session, now)))?;
            item.map(|item| (item, vec![event]))
        }
        Fact::Suspension(id) | Fact::Revoked(id) => {
            let loaded = looked.devices.get(&keys::device(id));
            if let Some(device) = loaded.and_then(|loaded| loaded.value.as_ref()) {
                let out = matches!(device.state, DeviceState::Revoked { .. });
                if out && matches!(known.fact, Fact::Suspension(_)) {
                    return Ok(Plan::NoUse);
                }
                event.app = Some(device.app.clone());
            }
            item(engine, loaded, |_| None)?.map(|item| (item, vec![event]))
        }
        Fact::SubjectOf(..) | Fact::Subject(..) => plan_subject(engine, looked, known)?,
        Fact::NotBefore(_) => return Ok(Plan::Everywhere),
    };
    Ok(match planned {
        Some((item, events)) => Plan::Write(item, events),
        None => Plan::Unreadable,
    })
}

/// The record as it has to be by all that is known. It is written even where it is so already: so of
/// instances that tell the same event one wins.
fn item<T: Laid + Clone>(
    engine: &Engine,
    loaded: Option<&Loaded<T>>,
    kept_for: impl Fn(&T) -> Option<Duration>,
) -> Result<Option<Item>, Failure> {
    let Some(loaded) = loaded else {
        return Ok(None);
    };
    let mut value = loaded.value.clone();
    T::lay(&engine.board.overlay(), loaded.key(), &mut value);
    let item = match value {
        Some(value) => loaded.put_known(engine, &value, kept_for(&value))?,
        // What is not there is dead; that it was revoked is told nevertheless.
        None => loaded.keep(),
    };
    Ok(Some(item))
}

/// The record of a subject, and what is told of it; nothing is told where the record goes further.
fn plan_subject(
    engine: &Engine,
    looked: &Looked,
    known: &Known,
) -> Result<Option<(Item, Vec<Event>)>, Failure> {
    let event = &known.event;
    if let Fact::SubjectOf(id, _) = &known.fact
        && let Some(device) = looked.devices.get(&keys::device(id))
        && device.value.is_none()
    {
        return Ok(Some((device.keep(), vec![event.clone()])));
    }
    let tag = subject_of(engine, &known.fact, &looked.devices);
    let loaded = tag.and_then(|tag| looked.subjects.get(&keys::subject(&tag)));
    let kept_for = |subject: &SubjectRecord| {
        let nobody = subject.devices.is_empty();
        nobody.then_some(NOBODY_KEPT_FOR)
    };
    let Some((item, loaded)) = item(engine, loaded, kept_for)?.zip(loaded) else {
        return Ok(None);
    };
    if let Fact::SubjectOf(..) = known.fact {
        return Ok(Some((item, vec![event.clone()])));
    }
    let epoch = event.epoch.unwrap_or(0);
    let consent = event.consent.as_ref();
    let behind = loaded.value.as_ref().filter(|subject| {
        let reached = consent.map_or(subject.epoch, |consent| subject.consent_epoch(consent));
        // Where it is just that, something else was written with this laid over it, and told nobody.
        reached <= epoch
    });
    let Some(subject) = behind else {
        return Ok(Some((item, Vec::new())));
    };
    let mut cut = subject.clone();
    match consent {
        None => cut.epoch = epoch,
        Some(consent) => drop(cut.consents.insert(consent.clone(), epoch)),
    }
    let told = (event.why.as_str(), &event.by);
    Ok(Some((item, cut.cut_events(consent, told, event.at))))
}

/// What holds for a whole app, or all, stands in every bucket: only who has looked at each knows that none
/// lacks it. A bucket gets everything it lacks at once, and tells of just that.
async fn write_everywhere(
    engine: &Engine,
    looked: &Looked,
    missing: &[Known],
    lagging: &AtomicBool,
) -> Result<Written, Failure> {
    let mut met = false;
    let mut lacked = BTreeSet::new();
    for loaded in looked.fleets.values() {
        let kept = loaded.value.clone().unwrap_or_default();
        let mut fleet = kept.clone();
        let mut told = Vec::new();
        for (place, known) in missing.iter().enumerate() {
            let with = known.over_fleet(&fleet);
            if with != fleet {
                fleet = with;
                told.push(known.event.clone());
                lacked.insert(place);
            }
        }
        if !told.is_empty() {
            let item = loaded.put_known(engine, &fleet, None)?;
            met |= !commit(engine, item, told, lagging).await?;
        }
    }
    if met {
        return Ok(Written::default());
    }
    for known in missing {
        engine.board.settle(known);
    }
    Ok(Written {
        written: u64::try_from(lacked.len()).unwrap_or(u64::MAX),
        unreadable: 0,
    })
}

/// As durable as a revocation; once replicas did not confirm in time, the rest is not kept waiting for
/// them.
async fn commit(
    engine: &Engine,
    item: Item,
    events: Vec<Event>,
    lagging: &AtomicBool,
) -> Result<bool, Failure> {
    let (durability, wanted) = match engine.revocation_durability {
        Durability::Replicated { replicas, within } if !lagging.load(Ordering::Relaxed) => {
            (Durability::Replicated { replicas, within }, replicas)
        }
        Durability::Replicated { .. } | Durability::Local => (Durability::Local, 0),
    };
    let bucket = item.key.bucket();
    let changes = Changes {
        items: vec![item],
        events,
        ..Changes::default()
    };
    let done = engine.commit(bucket, changes, durability).await?;
    if done.is_some_and(|done| done.replicas_acked < wanted) {
        lagging.store(true, Ordering::Relaxed);
    }
    Ok(done.is_some())
}
