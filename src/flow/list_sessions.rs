//! ListSessions: a subject's live sessions, newest first.

use std::collections::BTreeMap;

use super::{Engine, Failure, Page, PageRequest};
use crate::id::{Bucket, DeviceId, SessionId, Subject};
use crate::session::{Device, Fleet, Session, SubjectRecord, Surroundings};
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
    let index = index.unwrap_or_default();
    let fleet = engine
        .load_one::<Fleet>(keys::fleet(Bucket::of_digest(&tag)))
        .await?
        .value;
    let live = live_sessions(engine, &index, fleet.as_ref(), now).await?;
    let (ids, next) = page.cut(live.iter().rev().map(|session| session.id));
    let entries = live
        .iter()
        .rev()
        .filter(|session| ids.contains(&session.id))
        .cloned()
        .collect();
    Ok(Page { entries, next })
}

/// The sessions of an index that may still be used, in its order.
pub(super) async fn live_sessions(
    engine: &Engine,
    index: &SubjectRecord,
    fleet: Option<&Fleet>,
    now: Timestamp,
) -> Result<Vec<Session>, Failure> {
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
    let live = |session: &Session| {
        let surroundings = Surroundings {
            app: engine.standing(&session.app),
            device: devices.get(&session.device),
            subject: Some(index),
            fleet,
        };
        surroundings.check(session, now).is_ok()
    };
    Ok(sessions
        .into_iter()
        .filter_map(|session| session.value)
        .filter(live)
        .collect())
}
