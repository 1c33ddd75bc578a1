//! What a request costs where a thousand devices are known and where a million are, side by side in one
//! run, and what a device and a session take up.
//!
//! `cargo bench --bench cost -- 1000,100000` over stores in memory,
//! `cargo bench --bench cost -- 1000,100000,1000000 redis://127.0.0.1:6379` over databases 0, 1, 2 of a
//! Redis server that has nothing in it and is used for nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement, not the service"
)]
#![allow(
    dead_code,
    reason = "what the measurements share is not all for this one"
)]

#[path = "support/phone.rs"]
mod phone;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use assay::flow::Engine;
use assay::flow::refresh_session;
use assay::flow::verify_request::{self, Consistency};
use assay::id::SessionId;
use assay::key::{PublicKey, sha256};
use assay::session::{DeviceEntry, Session, SessionEntry, SubjectRecord};
use assay::simulator::{Authorities, Curve, SoftKey};
use assay::store::record::{Stored, seal};
use assay::store::{Change, ChangeSet, Durability, Item, Key, OperationId, keys};
use assay::time::Clock;

use phone::Phone;
use support::{Used, WRITTEN_AT_ONCE, device, engine, store, write};

/// Phones that make requests, of each fleet.
const PHONES: usize = 100;
/// Requests of each phone, of each kind.
const ROUNDS: usize = 20;

struct Fleet {
    devices: u32,
    engine: Engine,
    phones: Vec<Phone>,
    refreshes: Spent,
    verdicts: Spent,
}

/// Time for all requests of a kind.
#[derive(Default, Clone, Copy)]
struct Spent {
    wall: Duration,
    cpu: Duration,
    redis_cpu: Duration,
}

impl Spent {
    fn add(&mut self, used: &Used) {
        self.wall += used.wall;
        self.cpu += used.cpu;
        self.redis_cpu += used.redis_cpu;
    }

    /// For one request, in microseconds.
    fn each(&self) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
        let requests = (PHONES * ROUNDS) as f64;
        [self.wall, self.cpu, self.redis_cpu].map(|span| span.as_secs_f64() * 1e6 / requests)
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let sizes = args.next().unwrap_or_else(|| "1000,10000".to_owned());
    let sizes: Vec<u32> = sizes.split(',').map(|size| size.parse().unwrap()).collect();
    let redis = args.next();
    let redis = redis.as_deref();
    let authorities = Authorities::generate(Clock::system().now()).unwrap();
    let mut fleets = Vec::new();
    let dirs: Vec<_> = sizes.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    for (number, (devices, dir)) in sizes.iter().zip(&dirs).enumerate() {
        let url = redis.map(|url| format!("{url}/{number}"));
        let engine = engine(dir.path(), &store(url.as_deref()), &authorities);
        fleets.push(fleet(engine, *devices, redis, &authorities).await);
    }
    if redis.is_none() {
        on_disk(&authorities).await;
    }
    for _ in 0..ROUNDS {
        for fleet in &mut fleets {
            refresh(fleet, redis).await;
            verify(fleet, redis).await;
        }
    }
    table(&fleets);
}

fn table(fleets: &[Fleet]) {
    println!(
        "\n| request | devices | µs | times | µs of CPU | times | µs of CPU in Redis | times |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (what, spent) in [
        ("RefreshSession", Fleet::refreshed as fn(&Fleet) -> Spent),
        ("VerifyRequest", Fleet::verified),
    ] {
        let first = fleets.first().map(spent).unwrap_or_default().each();
        for fleet in fleets {
            let cells = spent(fleet)
                .each()
                .into_iter()
                .zip(first)
                .map(|(each, first)| {
                    let times = if first > 0.0 { each / first } else { 1.0 };
                    format!("{each:.1} | {times:.2}")
                });
            let cells: Vec<String> = cells.collect();
            println!("| {what} | {} | {} |", fleet.devices, cells.join(" | "));
        }
    }
}

impl Fleet {
    const fn refreshed(&self) -> Spent {
        self.refreshes
    }

    const fn verified(&self) -> Spent {
        self.verdicts
    }
}

/// So many devices, each with a subject and a session, and phones among them.
async fn fleet(
    engine: Engine,
    devices: u32,
    redis: Option<&str>,
    authorities: &Authorities,
) -> Fleet {
    let mut phones = Vec::new();
    let mut template = None;
    for number in 0..PHONES {
        let (phone, grant) = Phone::join(&engine, authorities, number).await;
        phones.push(phone);
        template = Some(grant.session);
    }
    let template = template.unwrap();
    let bytes = |used: Used| used.redis_bytes / u64::from(devices);
    let mut before = Used::now(redis);
    let mut took = || {
        let now = Used::now(redis);
        let used = now.since(&before);
        before = now;
        bytes(used)
    };
    write(&engine, devices).await;
    let of_device = took();
    rest(&engine, devices, subject_of(&template)).await;
    let of_subject = took();
    rest(&engine, devices, session_of(&template)).await;
    let of_session = took();
    if redis.is_some() {
        println!(
            "{devices} devices: bytes of Redis for a device with its indexes {of_device}, \
             its subject {of_subject}, a session {of_session}"
        );
    }
    Fleet {
        devices,
        engine,
        phones,
        refreshes: Spent::default(),
        verdicts: Spent::default(),
    }
}

/// What they take up in a file.
async fn on_disk(authorities: &Authorities) {
    const DEVICES: u32 = 50_000;
    let dir = tempfile::tempdir().unwrap();
    let disk = "kind = \"disk\"\ndirectory = \"state\"";
    let engine = engine(dir.path(), disk, authorities);
    let (_, grant) = Phone::join(&engine, authorities, 0).await;
    let template = grant.session;
    let state = dir.path().join("state");
    let before = file_bytes(&state);
    write(&engine, DEVICES).await;
    rest(&engine, DEVICES, subject_of(&template)).await;
    rest(&engine, DEVICES, session_of(&template)).await;
    // The file grows by leaps, so each kind for itself would say nothing.
    let each = (file_bytes(&state) - before) / u64::from(DEVICES);
    println!(
        "{DEVICES} devices: bytes of the file for a device with its indexes, its subject and a session \
         {each}"
    );
}

fn file_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

fn subject_of(template: &Session) -> impl Fn(&assay::session::Device) -> (Key, SubjectRecord) {
    let expires_at = template.expires_at;
    move |device| {
        let tag = sha256(device.id.as_bytes());
        let name = keys::subject(&tag).name().to_owned();
        let record = SubjectRecord {
            epoch: 1,
            devices: vec![DeviceEntry {
                id: device.id,
                app: device.app.clone(),
            }],
            sessions: vec![SessionEntry {
                id: session_id(device),
                device: device.id,
                expires_at,
            }],
            consents: BTreeMap::new(),
        };
        (Key::new(device.id.bucket(), name), record)
    }
}

fn session_of(template: &Session) -> impl Fn(&assay::session::Device) -> (Key, Session) {
    let template = template.clone();
    move |device| {
        let session = Session {
            id: session_id(device),
            device: device.id,
            subject: device.subject.clone(),
            ..template.clone()
        };
        (keys::session(&session.id), session)
    }
}

fn session_id(device: &assay::session::Device) -> SessionId {
    let digest = sha256(device.id.as_bytes());
    let (mixed, _) = digest.split_first_chunk::<16>().unwrap();
    SessionId::new(device.id.bucket(), *mixed)
}

/// Writes one more record for each device.
async fn rest<T: Stored>(
    engine: &Engine,
    devices: u32,
    record: impl Fn(&assay::session::Device) -> (Key, T),
) {
    let soft = SoftKey::generate(Curve::P256).unwrap();
    let key = PublicKey::from_sec1(soft.public_point()).unwrap();
    let now = engine.clock.now();
    let numbers: Vec<u32> = (0..devices).collect();
    for numbers in numbers.chunks(WRITTEN_AT_ONCE as usize) {
        let items: Vec<Item> = numbers
            .iter()
            .map(|number| {
                let (name, record) = record(&device(*number, key, now));
                let value = seal(&engine.keyring, &name, &record).unwrap();
                Item {
                    key: name,
                    expected: None,
                    change: Change::Put {
                        value,
                        live_for: Some(Duration::from_secs(86_400)),
                    },
                }
            })
            .collect();
        let change = ChangeSet {
            operation: OperationId(assay::secret::random().unwrap()),
            bucket: items.first().unwrap().key.bucket(),
            items,
            claims: Vec::new(),
            index: Vec::new(),
            events: Vec::new(),
            durability: Durability::Local,
            limits: Vec::new(),
            windows: Vec::new(),
        };
        engine.store.commit(change).await.unwrap();
    }
}

async fn refresh(fleet: &mut Fleet, redis: Option<&str>) {
    let engine = &fleet.engine;
    let request = |phone: &Phone| phone.refresh(engine);
    let requests: Vec<_> = fleet.phones.iter().map(request).collect();
    let mut grants = Vec::with_capacity(PHONES);
    let before = Used::now(redis);
    for request in requests {
        grants.push(refresh_session::run(engine, request).await.unwrap().grant);
    }
    fleet.refreshes.add(&Used::now(redis).since(&before));
    for (phone, grant) in fleet.phones.iter_mut().zip(grants) {
        phone.take(grant);
    }
}

async fn verify(fleet: &mut Fleet, redis: Option<&str>) {
    let engine = &fleet.engine;
    let request = |phone: &Phone| phone.call(engine, Consistency::Fresh);
    let requests: Vec<_> = fleet.phones.iter().map(request).collect();
    let before = Used::now(redis);
    for request in requests {
        let decision = verify_request::run(engine, request).await.unwrap();
        assert!(decision.verdict.is_ok());
    }
    fleet.verdicts.add(&Used::now(redis).since(&before));
}
