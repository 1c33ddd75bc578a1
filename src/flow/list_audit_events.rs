//! ListAuditEvents: what happened to a device, oldest first.

use super::follower::open;
use super::{Engine, Failure, Page, PageRequest};
use crate::id::DeviceId;
use crate::session::Event;
use crate::store::{Cursor, FOLLOW_MAX, OutboxRange};

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

/// A page of what happened to a device. One trip to the store for every thousand events in the
/// bucket, at most four.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, request: ListAuditEvents) -> Result<AuditEvents, Failure> {
    let bucket = request.device.bucket();
    let mut at = request.page.after.unwrap_or_default();
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
                Some(event) if event.device == Some(request.device) => {
                    if seen.page.entries.len() >= request.page.size {
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
