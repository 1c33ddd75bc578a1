//! WatchRevocations, AckRevocations and ConfirmRevocations.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use super::fields::Fields;
use super::render::{duration, timestamp};
use crate::flow::Failure;
use crate::flow::ack_revocations::AckRevocations;
use crate::flow::confirm_revocations::{Heard, WAIT_FOR, WAIT_FOR_MAX};
use crate::flow::watch_revocations::{Told, WatchCursor, WatchRevocations};
use crate::grpc::proto;
use crate::session::{Actor, Notice, RoundId, Target, Watcher, WatcherId};
use crate::time::Timestamp;

/// The first byte of a cursor.
const CURSOR_VERSION: u8 = 1;

/// Longest cursor looked at, in characters; ours have 12 or 34.
const CURSOR_CHARS_MAX: usize = 64;

pub(crate) fn watch_revocations(
    sent: &proto::WatchRevocationsRequest,
    by: &Actor,
) -> Result<WatchRevocations, Failure> {
    let mut fields = Fields::default();
    let cursor = match sent.cursor.as_str() {
        "" => Some(None),
        text => fields.cursor(text).map(Some),
    };
    let watcher = match sent.watcher_id.as_str() {
        "" => Some(None),
        name => fields.watcher(by, name).map(Some),
    };
    let (cursor, watcher) = fields.finish(cursor.zip(watcher))?;
    Ok(WatchRevocations { cursor, watcher })
}

pub(crate) fn ack_revocations(
    sent: &proto::AckRevocationsRequest,
    by: &Actor,
) -> Result<AckRevocations, Failure> {
    let mut fields = Fields::default();
    let watcher = fields.watcher(by, &sent.watcher_id);
    let cursor = fields.cursor(&sent.cursor);
    let (watcher, cursor) = fields.finish(watcher.zip(cursor))?;
    Ok(AckRevocations { watcher, cursor })
}

/// How long to wait for watchers.
pub(crate) fn confirm_revocations(
    sent: &proto::ConfirmRevocationsRequest,
) -> Result<Duration, Failure> {
    let mut fields = Fields::default();
    let wait_for = fields.wait_for(sent.wait_for);
    fields.finish(wait_for)
}

impl Fields {
    fn cursor(&mut self, text: &str) -> Option<WatchCursor> {
        self.take("cursor", read(text), "a cursor of WatchRevocations")
    }

    fn watcher(&mut self, by: &Actor, name: &str) -> Option<WatcherId> {
        let watcher = WatcherId::new(by.as_str(), name).ok();
        let wanted = "1 to 64 visible ASCII characters, of a caller whose identity has at most 256";
        self.take("watcher_id", watcher, wanted)
    }

    pub(super) fn wait_for(&mut self, sent: Option<prost_types::Duration>) -> Option<Duration> {
        if sent.is_none() {
            return Some(WAIT_FOR);
        }
        let span = self.duration("wait_for", sent)?;
        let fits = (span <= WAIT_FOR_MAX).then_some(span);
        self.take("wait_for", fits, "at most 30 seconds")
    }
}

/// `version ‖ milliseconds (8)`, and `‖ round (16)` where one was passed. It is not authenticated: one
/// that was made up only makes its own watcher be told less, or say of itself what is not so.
fn written(cursor: &WatchCursor) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend(cursor.complete_until.as_millis().to_be_bytes());
    bytes.extend(cursor.passed.iter().flat_map(|round| round.0));
    BASE64URL_NOPAD.encode(&bytes)
}

/// `None`: not one of ours.
fn read(text: &str) -> Option<WatchCursor> {
    if text.len() > CURSOR_CHARS_MAX {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let rest = bytes.strip_prefix(&[CURSOR_VERSION])?;
    let (millis, round) = rest.split_first_chunk::<8>()?;
    let millis = i64::from_be_bytes(*millis);
    Some(WatchCursor {
        complete_until: (millis >= 0).then(|| Timestamp::from_millis(millis))?,
        passed: match round {
            [] => None,
            round => Some(RoundId(round.try_into().ok()?)),
        },
    })
}

pub(crate) fn told(told: Told) -> proto::WatchRevocationsResponse {
    use proto::watch_revocations_response::Told as Kind;
    let kind = match told {
        Told::SnapshotBegin => Kind::SnapshotBegin(proto::SnapshotBegin {}),
        Told::SnapshotEnd => Kind::SnapshotEnd(proto::SnapshotEnd {}),
        Told::Notices(notices) => Kind::Revocations(proto::RevocationNotices {
            notices: notices.into_iter().map(notice).collect(),
        }),
        Told::Checkpoint { cursor, age } => Kind::Checkpoint(proto::RevocationCheckpoint {
            complete_until_time: Some(timestamp(cursor.complete_until)),
            age: Some(duration(age)),
            cursor: written(&cursor),
        }),
        Told::Incomplete { age } => Kind::Incomplete(proto::RevocationsIncomplete {
            age: age.map(duration),
        }),
    };
    proto::WatchRevocationsResponse { told: Some(kind) }
}

fn notice(notice: Notice) -> proto::RevocationNotice {
    use proto::revocation_notice::Target as Kind;
    let target = match notice.target {
        Target::Session(id) => Kind::SessionId(id.to_string()),
        Target::Device(id) => Kind::DeviceId(id.to_string()),
        Target::App(id) => Kind::AppId(id.as_str().to_owned()),
        Target::Everything => Kind::Everything(proto::Everything {}),
    };
    proto::RevocationNotice {
        target: Some(target),
        issued_until_time: Some(timestamp(notice.issued_until)),
    }
}

pub(super) fn watchers(
    watchers: &[(WatcherId, Watcher, bool)],
    as_of: Timestamp,
) -> Vec<proto::RevocationWatcher> {
    let watcher = |(id, watcher, heard): &(WatcherId, Watcher, bool)| proto::RevocationWatcher {
        caller: id.caller().to_owned(),
        watcher_id: id.name().to_owned(),
        heard: *heard,
        acked_until_time: watcher.acked_until.map(timestamp),
        seen_time: Some(timestamp(watcher.seen_at)),
        lag: watcher
            .acked_until
            .map(|until| duration(as_of.since(until))),
    };
    watchers.iter().map(watcher).collect()
}

pub(crate) fn heard(heard: &Heard, done: bool) -> proto::ConfirmRevocationsResponse {
    proto::ConfirmRevocationsResponse {
        all_heard: heard.all(),
        watchers: watchers(&heard.watchers, heard.as_of),
        incomplete: heard.incomplete,
        done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_where_it_was() {
        for passed in [None, Some(RoundId([7; 16]))] {
            let cursor = WatchCursor {
                complete_until: Timestamp::from_millis(1_700_000_000_123),
                passed,
            };
            assert_eq!(read(&written(&cursor)), Some(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_leads_nowhere() {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let before_1970 = encode(&[&[1][..], &[0xff; 8]].concat());
        let version = encode(&[&[2][..], &[0; 8]].concat());
        let short = encode(&[1; 8]);
        let between = encode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        let long = encode(&[&[1][..], &[0; 25]].concat());
        let huge = "A".repeat(100_000);
        for wrong in [
            "A",
            "AQ",
            "AQAA=",
            " ",
            &before_1970,
            &version,
            &short,
            &between,
            &long,
            &huge,
        ] {
            assert_eq!(read(wrong), None, "{wrong:.40}");
        }
    }
}
