//! ListSessions: a subject's live sessions, newest first.

use std::collections::BTreeMap;

use super::state::Loaded;
use super::{Engine, Failure, Page, PageRequest};
use crate::id::{Bucket, DeviceId, SessionId, Subject};
use crate::session::{Device, Fleet, Refusal, Session, SubjectRecord, Surroundings};
use crate::store::keys;
use crate::time::Timestamp;

/// A page of a subject's live sessions. Up to four trips to the store.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(
    engine: &Engine,
    subject: &Subject,
    page: PageRequest<SessionId>,
) -> Result<Page<Session, SessionId>, Failure> {
    let now = engine.clock.now();
    let tag = engine.keyring.subject_tag(subject);
    let index = engine
        .load_one::<SubjectRecord>(keys::subject(&tag))
        .await?
        .value;
    let Some(index) = index else {
        return Ok(Page {
            entries: Vec::new(),
            next: None,
        });
    };
    let fleet = engine
        .load_one::<Fleet>(keys::fleet(Bucket::of_digest(&tag)))
        .await?
        .value;
    let sessions = sessions_of(engine, &index, fleet.as_ref(), now).await?;
    let live: BTreeMap<SessionId, Session> = sessions
        .into_iter()
        .filter(|listed| listed.standing.is_ok())
        .map(|listed| (listed.session.id, listed.session))
        .collect();
    let listed = index.sessions.iter().rev().map(|entry| entry.id);
    let (ids, next) = page.cut(listed, |id| live.contains_key(id));
    let entries = ids.iter().filter_map(|id| live.get(id)).cloned().collect();
    Ok(Page { entries, next })
}

/// A session of an index that there still is.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its record, to be replaced.
    pub(super) record: Loaded<Session>,
    pub(super) session: Session,
    /// Whether it may be used.
    pub(super) standing: Result<(), Refusal>,
    /// Whether nothing has cut it: it may be used, or may again.
    pub(super) may_come_back: bool,
}

/// The sessions of an index that there still are, in its order.
pub(super) async fn sessions_of(
    engine: &Engine,
    index: &SubjectRecord,
    fleet: Option<&Fleet>,
    now: Timestamp,
) -> Result<Vec<Listed>, Failure> {
    if index.sessions.is_empty() {
        return Ok(Vec::new());
    }
    let names = index
        .sessions
        .iter()
        .map(|entry| keys::session(&entry.id))
        .collect();
    let sessions = engine.load_all::<Session>(names).await?;
    let mut ids: Vec<DeviceId> = index.sessions.iter().map(|entry| entry.device).collect();
    ids.sort_unstable();
    ids.dedup();
    let devices = engine
        .load_all::<Device>(ids.iter().map(keys::device).collect())
        .await?;
    let devices: BTreeMap<DeviceId, Device> = devices
        .into_iter()
        .filter_map(|device| Some((device.value.as_ref()?.id, device.value?)))
        .collect();
    let surroundings = |session: &Session| Surroundings {
        app: engine.standing(&session.app),
        device: devices.get(&session.device),
        subject: Some(index),
        fleet,
    };
    let listed = sessions.into_iter().filter_map(|mut record| {
        let session = record.value.take()?;
        let around = surroundings(&session);
        Some(Listed {
            record,
            standing: around.check(&session, now),
            may_come_back: around.may_come_back(&session, now),
            session,
        })
    });
    Ok(listed.collect())
}
