//! Where the devices of a run come from: all of them, bucket by bucket, or the indexes.

use std::collections::VecDeque;

use super::STEP_DEVICES_MAX;
use crate::flow::{Engine, Failure};
use crate::id::{BUCKETS, Bucket, DeviceId};
use crate::session::Position;
use crate::store::{IndexRange, Key, PAGE_MEMBERS_MAX, RANGE_MEMBERS_MAX, keys};

/// Buckets read at once while they have few devices or none.
const STEP_BUCKETS_MAX: usize = 64;

/// Something by which devices are found at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The serial number of a certificate above the leaf.
    Serial(String),
    /// The SHA-256 of the attestation key.
    Key([u8; 32]),
}

/// Where the devices come from.
#[derive(Debug)]
pub(super) enum Source {
    /// All of them; so many buckets are read at once.
    All { position: Position, width: usize },
    /// Those behind marks.
    Marked {
        marks: Vec<Mark>,
        ranges: Vec<IndexRange>,
        found: VecDeque<DeviceId>,
        total: usize,
    },
}

/// The next devices of all, and the position behind them. Buckets with few devices are read many at
/// a time.
pub(super) async fn scan(
    engine: &Engine,
    position: Position,
    width: &mut usize,
) -> Result<(Vec<DeviceId>, Position), Failure> {
    let limit = STEP_DEVICES_MAX / (*width).clamp(1, STEP_BUCKETS_MAX);
    let buckets = (position.number()..BUCKETS).take(*width);
    let buckets: Vec<Bucket> = buckets.filter_map(Bucket::new).collect();
    let after = position.after().map(|id| id.as_bytes().to_vec());
    let after = std::iter::once(after.unwrap_or_default()).chain(std::iter::repeat(Vec::new()));
    let ranges = buckets.iter().zip(after).map(|(bucket, after)| IndexRange {
        key: keys::devices(*bucket),
        after,
        limit,
    });
    let pages = engine.store.page(ranges.collect()).await?;
    let mut devices = Vec::new();
    for (bucket, members) in buckets.iter().zip(pages) {
        let full = members.len() >= limit;
        devices.extend(ids(&members));
        if full {
            *width = 1;
            let last = devices.last().filter(|id| id.bucket() == *bucket);
            // An index of which no member is an id leads nowhere.
            let next = last.map_or(Position::at(bucket.number() + 1), |id| {
                Position::behind(*id)
            });
            return Ok((devices, next));
        }
    }
    if devices.len() < STEP_DEVICES_MAX / 2 {
        *width = (*width * 2).min(STEP_BUCKETS_MAX);
    }
    let last = buckets.last().map_or(BUCKETS, |bucket| bucket.number() + 1);
    Ok((devices, Position::at(last)))
}

fn ids(members: &[Vec<u8>]) -> impl Iterator<Item = DeviceId> + '_ {
    let ids = members.iter().map(|member| DeviceId::from_bytes(member));
    ids.filter_map(Result::ok)
}

/// One trip: what is behind the next mark in every bucket, or more of what is behind the last one.
pub(super) async fn look_up(
    engine: &Engine,
    marks: &mut Vec<Mark>,
    ranges: &mut Vec<IndexRange>,
    found: &mut VecDeque<DeviceId>,
) -> Result<(), Failure> {
    let named;
    let asked: &[IndexRange] = match (ranges.is_empty(), marks.last()) {
        (false, _) => ranges,
        (true, None) => return Ok(()),
        (true, Some(mark)) => {
            let all = (0..BUCKETS).filter_map(Bucket::new);
            let all = all.map(|bucket| IndexRange {
                key: mark.index(bucket),
                after: Vec::new(),
                limit: PAGE_MEMBERS_MAX / usize::from(BUCKETS),
            });
            named = all.collect::<Vec<_>>();
            &named
        }
    };
    let pages = engine.store.page(asked.to_vec()).await?;
    let mut more = Vec::new();
    for (range, members) in asked.iter().zip(&pages) {
        found.extend(ids(members));
        if let Some(last) = members.last().filter(|_| members.len() >= range.limit) {
            more.push(IndexRange {
                after: last.clone(),
                ..range.clone()
            });
        }
    }
    if ranges.is_empty() {
        marks.pop();
    }
    let limit = PAGE_MEMBERS_MAX / more.len().max(1);
    for range in &mut more {
        range.limit = limit.min(RANGE_MEMBERS_MAX);
    }
    *ranges = more;
    Ok(())
}

impl Mark {
    fn index(&self, bucket: Bucket) -> Key {
        match self {
            Self::Serial(serial) => keys::devices_by_serial(bucket, serial),
            Self::Key(key) => keys::devices_by_attestation_key(bucket, key),
        }
    }
}
