//! PreviewRevocation: what a revocation would cut, before somebody does it.

use std::collections::{BTreeMap, BTreeSet};

use super::list_sessions::sessions_of;
use super::{Engine, Failure, get_session};
use crate::id::{BUCKETS, Bucket, ConsentId, DeviceId, SessionId, Subject};
use crate::reason::Reason;
use crate::session::{Device, DeviceState, Fleet, Reach, Session, SubjectRecord, Surroundings};
use crate::store::{IndexRange, LOADS_MAX, keys};
use crate::time::Timestamp;

/// Sessions that an answer names.
pub const SAMPLE_MAX: usize = 20;

/// Devices that are read of each bucket's list, and by which the number of the others is told: 16,384 in
/// all, which tell it to within a hundredth.
const LISTED_PER_BUCKET: usize = 16;

/// Devices whose sessions are looked at where those of an app, or all, would be cut: one of each bucket
/// where there are many.
const LOOKED_AT_MAX: usize = 1024;

/// What would be revoked.
#[derive(Debug, Clone)]
pub enum Scope {
    /// A device.
    Device(DeviceId),
    /// A session.
    Session(SessionId),
    /// The sessions of a subject.
    Subject(Subject),
    /// Those that were opened under a consent.
    Consent(Subject, ConsentId),
    /// Those of an app or all, opened until an instant; `None`: until now.
    Fleet(Reach, Option<Timestamp>),
}

/// What would be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Devices with sessions that would be cut; where a device would be revoked, itself.
    pub devices: u64,
    /// Sessions that would be cut: those that may be used, or may again once their device is resumed or
    /// their app enabled.
    pub sessions: u64,
    /// Some of the sessions, at most [`SAMPLE_MAX`].
    pub sample: Vec<SessionId>,
    /// Whether the numbers were counted; otherwise they are told from a part of the devices.
    pub exact: bool,
}

/// Looks at what would be cut, and changes nothing. At most five trips to the store, however many devices
/// there are.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` when there is no such device or session; `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, scope: Scope) -> Result<Preview, Failure> {
    let now = engine.clock.now();
    match scope {
        Scope::Session(id) => {
            let found = get_session::run(engine, &id).await?;
            let cut = found.may_come_back.then_some(found.session);
            Ok(Preview::counted(cut))
        }
        Scope::Device(id) => {
            let device = engine.load_one::<Device>(keys::device(&id)).await?.value;
            let device = device.ok_or(Reason::ResourceNotFound)?;
            let cut = sessions(engine, &device.subject, now, |session| session.device == id);
            let out = matches!(device.state, DeviceState::Revoked { .. });
            Ok(Preview {
                devices: u64::from(!out),
                ..Preview::counted(cut.await?)
            })
        }
        Scope::Subject(subject) => {
            let cut = sessions(engine, &subject, now, |_| true).await?;
            Ok(Preview::counted(cut))
        }
        Scope::Consent(subject, consent) => {
            let under = |session: &Session| {
                let opened = session.consent.as_ref();
                opened.is_some_and(|opened| opened.id == consent)
            };
            Ok(Preview::counted(
                sessions(engine, &subject, now, under).await?,
            ))
        }
        Scope::Fleet(reach, not_before) => {
            let not_before = not_before.unwrap_or(now);
            let cut = Fleet::default().cut(&reach, not_before, now);
            estimate(engine, &reach, &cut, now).await
        }
    }
}

impl Preview {
    fn counted(cut: impl IntoIterator<Item = Session>) -> Self {
        let mut preview = Self {
            devices: 0,
            sessions: 0,
            sample: Vec::new(),
            exact: true,
        };
        let mut devices = BTreeSet::new();
        for session in cut {
            devices.insert(session.device);
            preview.count(session.id);
        }
        preview.devices = number(devices.len());
        preview
    }

    fn count(&mut self, session: SessionId) {
        self.sessions = self.sessions.saturating_add(1);
        if self.sample.len() < SAMPLE_MAX {
            self.sample.push(session);
        }
    }
}

/// The sessions of a subject that would be cut.
async fn sessions(
    engine: &Engine,
    subject: &Subject,
    now: Timestamp,
    concerned: impl Fn(&Session) -> bool,
) -> Result<Vec<Session>, Failure> {
    let tag = engine.keyring.subject_tag(subject);
    let index = engine
        .load_one::<SubjectRecord>(keys::subject(&tag))
        .await?
        .value;
    let Some(index) = index else {
        return Ok(Vec::new());
    };
    let fleet = engine
        .load_one::<Fleet>(keys::fleet(Bucket::of_digest(&tag)))
        .await?
        .value;
    let listed = sessions_of(engine, &index, fleet.as_ref(), now).await?;
    let live = listed
        .into_iter()
        .filter(|listed| listed.may_come_back)
        .map(|listed| listed.session);
    Ok(live.filter(concerned).collect())
}

/// What a cut of many would end, told from a part of the devices where there are more than can be looked
/// at.
async fn estimate(
    engine: &Engine,
    reach: &Reach,
    cut: &Fleet,
    now: Timestamp,
) -> Result<Preview, Failure> {
    let listed = Listed::load(engine).await?;
    let names = listed.looked_at.iter().map(keys::device).collect();
    let devices = engine.load_each::<Device>(names).await?;
    let readable = devices.iter().all(Result::is_ok);
    let devices: Vec<Device> = devices
        .into_iter()
        .filter_map(|device| device.ok()?.value)
        .collect();
    let concerned = |device: &&Device| reach.app().is_none_or(|app| *app == device.app);
    let of_app: Vec<&Device> = devices.iter().filter(concerned).collect();
    let around = Around::load(engine, &of_app).await?;
    let entries = around.entries(engine, &of_app, now);
    let whole = entries.len() <= LOADS_MAX;
    let names = entries.iter().take(LOADS_MAX);
    let names = names.map(|(id, _)| keys::session(id)).collect();
    let loaded = if entries.is_empty() {
        Vec::new()
    } else {
        engine.load_each::<Session>(names).await?
    };
    let readable = readable && around.readable && loaded.iter().all(Result::is_ok);
    let mut preview = Preview::counted(Vec::new());
    let mut with_sessions = BTreeSet::new();
    for (session, (_, device)) in loaded.into_iter().zip(&entries) {
        let Some(session) = session.ok().and_then(|session| session.value) else {
            continue;
        };
        let lives = around
            .surroundings(engine, device)
            .may_come_back(&session, now);
        let opened_before = cut.cut_until(&session.app) >= Some(session.opened_at);
        if opened_before && lives {
            with_sessions.insert(session.device);
            preview.count(session.id);
        }
    }
    preview.devices = number(with_sessions.len());
    preview.exact = listed.all && whole && readable;
    if !preview.exact {
        let part = (listed.looked_at.len(), listed.total);
        // Of sessions that were not looked at there are as many again as of those that were.
        let sessions = (entries.len().min(LOADS_MAX), number(entries.len()));
        preview.devices = scaled(scaled(preview.devices, sessions), part);
        preview.sessions = scaled(scaled(preview.sessions, sessions), part);
    }
    Ok(preview)
}

/// Devices as the lists of all buckets have them.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    /// How many there are, or about as many.
    total: u64,
    /// Some of them, spread over the buckets.
    looked_at: Vec<DeviceId>,
    /// Whether those are all.
    all: bool,
}

impl Listed {
    /// One trip.
    async fn load(engine: &Engine) -> Result<Self, Failure> {
        let ranges = (0..BUCKETS)
            .filter_map(Bucket::new)
            .map(|bucket| IndexRange {
                key: keys::devices(bucket),
                after: Vec::new(),
                limit: LISTED_PER_BUCKET,
            });
        let pages = engine.store.page(ranges.collect()).await?;
        let read = |page: &Vec<Vec<u8>>| -> Vec<DeviceId> {
            let ids = page.iter().map(|id| DeviceId::from_bytes(id));
            ids.filter_map(Result::ok).collect()
        };
        Ok(Self::of(&pages.iter().map(read).collect::<Vec<_>>()))
    }

    fn of(pages: &[Vec<DeviceId>]) -> Self {
        let total = pages.iter().map(|page| about(page)).sum();
        // The first of each bucket, then the second of each, and so on.
        let turns = (0..LISTED_PER_BUCKET)
            .flat_map(|turn| pages.iter().filter_map(move |page| page.get(turn).copied()));
        let looked_at: Vec<DeviceId> = turns.take(LOOKED_AT_MAX).collect();
        let all = number(looked_at.len()) == total;
        Self {
            total,
            looked_at,
            all,
        }
    }
}

/// How many devices there are in a bucket whose list begins with these. Ids are digests, so they lie
/// evenly: where a full page ends says how many pages there are.
fn about(page: &[DeviceId]) -> u64 {
    let known = number(page.len());
    if page.len() < LISTED_PER_BUCKET {
        return known;
    }
    let last = page.last().and_then(|id| {
        let (_, unique) = id.as_bytes().split_first_chunk::<2>()?;
        unique.first_chunk::<8>().copied()
    });
    let reached = u128::from(last.map_or(u64::MAX, u64::from_be_bytes)).max(1);
    let before = u128::from(known.saturating_sub(1));
    u64::try_from((before << 64) / reached)
        .unwrap_or(u64::MAX)
        .max(known)
}

/// What a number in a part is in the whole.
fn scaled(number: u64, (part, whole): (usize, u64)) -> u64 {
    let part = u128::try_from(part).unwrap_or(u128::MAX).max(1);
    let scaled = u128::from(number).saturating_mul(u128::from(whole)) / part;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What the sessions of some devices depend on.
struct Around {
    subjects: BTreeMap<[u8; 32], SubjectRecord>,
    fleets: BTreeMap<Bucket, Fleet>,
    readable: bool,
}

impl Around {
    /// Two trips.
    async fn load(engine: &Engine, devices: &[&Device]) -> Result<Self, Failure> {
        let mut around = Self {
            subjects: BTreeMap::new(),
            fleets: BTreeMap::new(),
            readable: true,
        };
        if devices.is_empty() {
            return Ok(around);
        }
        let tags = devices
            .iter()
            .map(|device| engine.keyring.subject_tag(&device.subject));
        let tags: BTreeSet<[u8; 32]> = tags.collect();
        let subjects = engine.load_each::<SubjectRecord>(tags.iter().map(keys::subject).collect());
        for (tag, subject) in tags.iter().zip(subjects.await?) {
            around.readable &= subject.is_ok();
            if let Some(subject) = subject.ok().and_then(|subject| subject.value) {
                around.subjects.insert(*tag, subject);
            }
        }
        let buckets: BTreeSet<Bucket> = devices.iter().map(|device| device.id.bucket()).collect();
        let names = buckets.iter().map(|bucket| keys::fleet(*bucket)).collect();
        let fleets = engine.load_each::<Fleet>(names).await?;
        for (bucket, fleet) in buckets.iter().zip(fleets) {
            around.readable &= fleet.is_ok();
            if let Some(fleet) = fleet.ok().and_then(|fleet| fleet.value) {
                around.fleets.insert(*bucket, fleet);
            }
        }
        Ok(around)
    }

    fn subject(&self, engine: &Engine, device: &Device) -> Option<&SubjectRecord> {
        self.subjects
            .get(&engine.keyring.subject_tag(&device.subject))
    }

    /// The sessions on these devices that may not be over, each with its device.
    fn entries<'a>(
        &self,
        engine: &Engine,
        devices: &[&'a Device],
        now: Timestamp,
    ) -> Vec<(SessionId, &'a Device)> {
        let mut found = Vec::new();
        for device in devices {
            let index = self.subject(engine, device);
            let on_it = index.into_iter().flat_map(|subject| &subject.sessions);
            let on_it = on_it.filter(|entry| entry.device == device.id && entry.expires_at > now);
            found.extend(on_it.map(|entry| (entry.id, *device)));
        }
        found
    }

    fn surroundings<'a>(&'a self, engine: &Engine, device: &'a Device) -> Surroundings<'a> {
        Surroundings {
            app: engine.standing(&device.app),
            device: Some(device),
            subject: self.subject(engine, device),
            fleet: self.fleets.get(&device.id.bucket()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bucket: u16, unique: u128) -> DeviceId {
        DeviceId::new(Bucket::new(bucket).unwrap(), unique.to_be_bytes())
    }

    /// Ids as a digest gives them (SplitMix64).
    fn bucket_of(bucket: u16, devices: u64) -> Vec<DeviceId> {
        let mix = |seed: u64| {
            let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let seeds = (0..devices).map(|n| u64::from(bucket) * 1_000_000 + n + 1);
        let ids = seeds.map(|seed| id(bucket, u128::from(mix(seed)) << 64));
        let ids: BTreeSet<DeviceId> = ids.collect();
        ids.into_iter().take(LISTED_PER_BUCKET).collect()
    }

    #[test]
    fn few_devices_are_counted_and_all_looked_at() {
        let pages: Vec<_> = (0..BUCKETS).map(|n| bucket_of(n, 1)).collect();
        let listed = Listed::of(&pages);
        assert_eq!((listed.total, listed.all), (1024, true));
        assert_eq!(listed.looked_at.len(), 1024);
        assert_eq!(Listed::of(&[]).total, 0);
        assert!(Listed::of(&[]).all);
    }

    #[test]
    fn many_devices_are_told_from_where_the_pages_end() {
        for devices in [15_u64, 100, 1000] {
            let pages: Vec<_> = (0..BUCKETS).map(|n| bucket_of(n, devices)).collect();
            let listed = Listed::of(&pages);
            let truth = 1024 * devices;
            assert!(
                listed.total.abs_diff(truth) * 50 < truth,
                "{} for {truth}",
                listed.total
            );
            assert!(!listed.all);
            assert_eq!(listed.looked_at.len(), LOOKED_AT_MAX);
            let buckets: BTreeSet<_> = listed.looked_at.iter().map(|id| id.bucket()).collect();
            assert_eq!(buckets.len(), usize::from(BUCKETS));
        }
    }

    #[test]
    fn a_part_is_scaled_to_the_whole_without_overflow() {
        assert_eq!(scaled(3, (10, 100)), 30);
        assert_eq!(scaled(u64::MAX, (1, u64::MAX)), u64::MAX);
        assert_eq!(scaled(7, (0, 7)), 49);
        assert_eq!(about(&[id(1, 0); LISTED_PER_BUCKET]), u64::MAX);
    }
}
