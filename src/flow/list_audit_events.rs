//! ListAuditEvents: what happened to a device, oldest first.

use std::collections::BTreeSet;

use super::follower::open;
use super::{Engine, Failure, Page, PageRequest};
use crate::id::{AppId, Bucket, DeviceId};
use crate::session::{Device, Event};
use crate::store::{Cursor, FOLLOW_MAX, OutboxRange, keys};

/// Most trips to the store for one page. A device shares its outbox with all devices of its bucket,
/// so a page may have to be searched for; what was not reached by then is for the next call.
const TRIPS_MAX: usize = 4;

/// The request.
#[derive(Debug, Clone)]
pub struct ListAuditEvents {
    /// Of which device.
    pub device: DeviceId,
    /// Which page; `after` is the last event that was looked at.
    pub page: PageRequest<Cursor>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct AuditEvents {
    /// The page: it may be empty and still have one behind it.
    pub page: Page<Event, Cursor>,
    /// Events on the way that cannot be read, of this device or of others in its bucket: a newer
    /// version wrote them, or their key is gone.
    pub unreadable: u32,
}

/// A page of what happened to a device, and to every device of its app at once. One trip to the store for
/// every thousand events in the bucket, at most four; one more when something happened to all devices of
/// an app.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, request: ListAuditEvents) -> Result<AuditEvents, Failure> {
    let mut whose = Whose {
        devices: [request.device].into(),
        apps: None,
    };
    search(engine, request.device.bucket(), &mut whose, request.page).await
}

/// Whose events are looked for.
#[derive(Debug)]
pub(super) struct Whose {
    /// These devices'.
    pub(super) devices: BTreeSet<DeviceId>,
    /// And what happened to all devices of these apps; looked up when something has.
    pub(super) apps: Option<BTreeSet<AppId>>,
}

impl Whose {
    async fn concerns(&mut self, engine: &Engine, event: &Event) -> Result<bool, Failure> {
        if let Some(device) = event.device {
            return Ok(self.devices.contains(&device));
        }
        let apps = match self.apps.take() {
            Some(apps) => apps,
            None => self.look_up(engine).await?,
        };
        let about = |app: &AppId| event.app.as_ref().is_none_or(|about| about == app);
        let concerns = apps.iter().any(about);
        self.apps = Some(apps);
        Ok(concerns)
    }

    /// The apps of the devices; one that nobody knows, or that cannot be read, has none.
    async fn look_up(&self, engine: &Engine) -> Result<BTreeSet<AppId>, Failure> {
        let names = self.devices.iter().map(keys::device).collect();
        let loaded = engine.load_each::<Device>(names).await?;
        let known = loaded.into_iter().filter_map(|device| device.ok()?.value);
        Ok(known.map(|device| device.app).collect())
    }
}

/// A page of the events of a bucket that are somebody's.
pub(super) async fn search(
    engine: &Engine,
    bucket: Bucket,
    whose: &mut Whose,
    page: PageRequest<Cursor>,
) -> Result<AuditEvents, Failure> {
    let mut at = page.after.unwrap_or_default();
    let mut seen = AuditEvents {
        page: Page {
            entries: Vec::new(),
            next: None,
        },
        unreadable: 0,
    };
    for _ in 0..TRIPS_MAX {
        let part = engine
            .store
            .follow(vec![OutboxRange {
                bucket,
                after: at.clone(),
                limit: FOLLOW_MAX,
            }])
            .await?
            .pop()
            .unwrap_or_default();
        let last = part.len() < FOLLOW_MAX;
        for (cursor, sealed) in part {
            match open(engine, bucket, sealed) {
                Some(event) if whose.concerns(engine, &event).await? => {
                    if seen.page.entries.len() >= page.size {
                        seen.page.next = Some(at);
                        return Ok(seen);
                    }
                    seen.page.entries.push(event);
                }
                Some(_) => {}
                None => seen.unreadable = seen.unreadable.saturating_add(1),
            }
            at = cursor;
        }
        if last {
            return Ok(seen);
        }
    }
    seen.page.next = Some(at);
    Ok(seen)
}
