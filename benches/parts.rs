//! What single parts cost over a Redis server: what claims, counters and limits take up, the commit with and
//! without them, decisions with and without the store, the requests of many phones at once, hearing of
//! nothing, and cutting all sessions.
//!
//! `cargo bench --bench parts -- redis://127.0.0.1:6379`, over a server that has nothing in it and is used
//! for nothing else.

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

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use assay::flow::register_device::{self, Registered};
use assay::flow::set_not_before::{self, NotBefore, SetNotBefore};
use assay::flow::verify_request::{self, Consistency};
use assay::flow::{Engine, Follower, issue_session, refresh_session};
use assay::id::{BUCKETS, Bucket};
use assay::key::{Thumbprint, sha256};
use assay::policy::{Action, CounterOrder};
use assay::session::{Actor, Reach};
use assay::simulator::Authorities;
use assay::store::{
    Admission, Change, ChangeSet, Claim, Claimed, Committed, CounterUse, Durability, IndexChange,
    Item, Key, Limit, OperationId, Presence, keys,
};
use assay::time::Clock;
use futures_util::{StreamExt as _, stream};

use phone::{Phone, opening, registration};
use support::{Used, engine, info, store};

/// Claims, counters and limits that are written to see what they take up.
const WRITTEN: u32 = 100_000;
/// Of them in one trip.
const AT_ONCE: usize = 50;
/// Commits of each kind, over and over the same records.
const COMMITS: u32 = 20_000;
const RECORDS: u32 = 1000;
/// A sealed session is about as long.
const VALUE_BYTES: usize = 400;
/// Phones that make requests, and the rounds in which each makes one of each kind.
const PHONES: usize = 4000;
const ROUNDS: usize = 4;
/// Requests under way at once.
const IN_FLIGHT: usize = 16;
/// Rounds in which nothing has happened.
const IDLE_ROUNDS: u32 = 200;
/// Cuts of all sessions.
const CUTS: u32 = 10;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let redis = args.next().unwrap();
    let authorities = Authorities::generate(Clock::system().now()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(engine(dir.path(), &store(Some(&redis)), &authorities));
    sizes(&engine, &redis).await;
    requests(&engine, &redis, &authorities).await;
    idle(&engine, &redis).await;
    cuts(&engine, &redis).await;
    // Last: their events cannot be opened, so nothing is decided without the store any more.
    commits(&engine, &redis).await;
}

/// What claims, counters and limits take up.
async fn sizes(engine: &Engine, redis: &str) {
    for (what, ask) in [
        (
            "claim of a key, for ever",
            key_claim as fn(u32) -> Admission,
        ),
        ("claim of a proof", proof_claim),
        ("counter", counter),
        ("limit", limit),
    ] {
        let before = Used::now(Some(redis));
        let numbers: Vec<u32> = (0..WRITTEN).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let mut all = Admission::default();
            for mut one in numbers.iter().map(|number| ask(*number)) {
                all.claim.append(&mut one.claim);
                all.window.append(&mut one.window);
                all.limit.append(&mut one.limit);
            }
            let admitted = engine.store.admit(all).await.unwrap();
            assert!(admitted.claims.iter().all(|said| *said == Claimed::Granted));
        }
        let used = Used::now(Some(redis)).since(&before);
        let each = used.redis_bytes / u64::from(WRITTEN);
        println!("{what}: {each} bytes of Redis");
    }
}

fn digest(number: u32) -> [u8; 32] {
    sha256(&number.to_be_bytes())
}

fn bucket(number: u32) -> Bucket {
    Bucket::of_digest(&digest(number))
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    *digest.first_chunk().unwrap()
}

fn key_claim(number: u32) -> Admission {
    Admission {
        claim: vec![Claim {
            key: keys::key_owner(&Thumbprint::from_bytes(digest(number))),
            // A device's id.
            owner: digest(number)[..18].to_vec(),
            live_for: None,
        }],
        ..Admission::default()
    }
}

fn proof_claim(number: u32) -> Admission {
    Admission {
        claim: vec![Claim {
            key: keys::proof(bucket(number), &digest(number)),
            owner: first_half(digest(number)).to_vec(),
            live_for: Some(Duration::from_secs(3600)),
        }],
        ..Admission::default()
    }
}

fn counter(number: u32) -> Admission {
    Admission {
        window: vec![counter_use(bucket(number), number, 1)],
        ..Admission::default()
    }
}

fn counter_use(bucket: Bucket, number: u32, counter: u32) -> CounterUse {
    CounterUse {
        key: keys::proof_counter(bucket, &Thumbprint::from_bytes(digest(number))),
        counter,
        order: CounterOrder::Window,
        operation: OperationId(assay::secret::random().unwrap()),
        live_for: Some(Duration::from_secs(3600)),
    }
}

fn limit(number: u32) -> Admission {
    let app = "demo".parse().unwrap();
    Admission {
        limit: vec![Limit {
            key: keys::subject_rate(Action::Issue, &app, &digest(number)),
            every: Duration::from_secs(600),
            burst: 1000,
        }],
        ..Admission::default()
    }
}

/// What is in a commit beside its record.
#[derive(Clone, Copy, Default)]
struct Parts {
    claim: bool,
    event: bool,
    index: bool,
    counter: bool,
    limits: usize,
}

const ONE_RECORD: Parts = Parts {
    claim: false,
    event: false,
    index: false,
    counter: false,
    limits: 0,
};

/// What the server spends on a commit.
async fn commits(engine: &Engine, redis: &str) {
    let with = |change: fn(&mut Parts)| {
        let mut parts = ONE_RECORD;
        change(&mut parts);
        parts
    };
    let kinds = [
        ("one record", ONE_RECORD),
        ("and a claim", with(|parts| parts.claim = true)),
        ("and an event", with(|parts| parts.event = true)),
        ("and a member of an index", with(|parts| parts.index = true)),
        ("and a use of a counter", with(|parts| parts.counter = true)),
        ("and one limit", with(|parts| parts.limits = 1)),
        ("and two limits", with(|parts| parts.limits = 2)),
        (
            "and a use of a counter and two limits",
            with(|parts| {
                parts.counter = true;
                parts.limits = 2;
            }),
        ),
        (
            "all of these",
            Parts {
                claim: true,
                event: true,
                index: true,
                counter: true,
                limits: 2,
            },
        ),
    ];
    let mut versions = vec![None; RECORDS as usize];
    spent(engine, redis, (0, ONE_RECORD), &mut versions).await;
    println!("\n| commit | µs in the script | times | µs of CPU in Redis | times |");
    println!("|---|---|---|---|---|");
    let mut first = None;
    for (kind, (what, parts)) in (1..).zip(kinds) {
        let [script, cpu] = spent(engine, redis, (kind, parts), &mut versions).await;
        let [first_script, first_cpu] = *first.get_or_insert([script, cpu]);
        let (times, cpu_times) = (script / first_script, cpu / first_cpu);
        println!("| {what} | {script:.1} | {times:.2} | {cpu:.1} | {cpu_times:.2} |");
    }
}

/// The time of the script and the server's CPU for a commit, in microseconds.
async fn spent(
    engine: &Engine,
    redis: &str,
    (kind, parts): (u32, Parts),
    versions: &mut [Option<OperationId>],
) -> [f64; 2] {
    let (before, (calls_before, script_before)) =
        (Used::now(Some(redis)), commands(redis, "evalsha"));
    for number in kind * COMMITS..(kind + 1) * COMMITS {
        let expected = &mut versions[(number % RECORDS) as usize];
        let change = change(number, *expected, parts);
        *expected = Some(change.operation);
        let committed = engine.store.commit(change).await.unwrap();
        assert!(matches!(committed, Committed::Done { .. }));
    }
    let (used, (calls, script)) = (
        Used::now(Some(redis)).since(&before),
        commands(redis, "evalsha"),
    );
    let calls = calls - calls_before;
    [script - script_before, used.redis_cpu].map(|span| span.as_secs_f64() * 1e6 / calls)
}

/// How often the server was sent a command since it was started, and how long it took in all.
fn commands(url: &str, command: &str) -> (f64, Duration) {
    let info = info(url);
    let prefix = format!("cmdstat_{command}:");
    let line = info.lines().find_map(|line| line.strip_prefix(&prefix));
    let field = |name: &str| -> f64 {
        let mut fields = line.unwrap_or_default().split(',');
        let value = fields.find_map(|field| field.strip_prefix(name));
        value.map_or(0.0, |value| value.parse().unwrap())
    };
    let spent = Duration::from_secs_f64(field("usec=") / 1e6);
    (field("calls="), spent)
}

fn change(number: u32, expected: Option<OperationId>, parts: Parts) -> ChangeSet {
    let record = number % RECORDS;
    let bucket = bucket(record);
    let one = |present: bool| usize::from(present);
    // A claim and a member of an index are made once, as those of sessions are.
    let unique: [u8; 32] = assay::secret::random().unwrap();
    let limit = |action| Limit {
        key: keys::subject_rate(action, &"demo".parse().unwrap(), &digest(record)),
        every: Duration::from_millis(10),
        burst: 1000,
    };
    let actions = [Action::Refresh, Action::Register];
    ChangeSet {
        operation: OperationId(assay::secret::random().unwrap()),
        bucket,
        items: vec![Item {
            key: Key::new(bucket, format!("s:{record}")),
            expected,
            change: Change::Put {
                value: vec![0x5a; VALUE_BYTES],
                live_for: Some(Duration::from_secs(3600)),
            },
        }],
        claims: vec![
            Claim {
                key: keys::proof(bucket, &unique),
                owner: first_half(unique).to_vec(),
                live_for: Some(Duration::from_secs(300)),
            };
            one(parts.claim)
        ],
        index: vec![
            IndexChange {
                key: keys::devices(bucket),
                member: first_half(unique).to_vec(),
                presence: Presence::Present,
            };
            one(parts.index)
        ],
        events: vec![vec![0x5a; VALUE_BYTES / 2]; one(parts.event)],
        durability: Durability::Local,
        limits: actions.into_iter().take(parts.limits).map(limit).collect(),
        windows: vec![counter_use(bucket, WRITTEN + record, number); one(parts.counter)],
    }
}

/// What many requests of one kind used up.
struct Kind {
    what: &'static str,
    requests: u32,
    wall: Duration,
    cpu: Duration,
    redis_cpu: Duration,
    redis_bytes: u64,
}

impl Kind {
    const fn new(what: &'static str) -> Self {
        Self {
            what,
            requests: 0,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            redis_cpu: Duration::ZERO,
            redis_bytes: 0,
        }
    }

    /// Makes these requests, so many at once.
    async fn make<F>(&mut self, redis: &str, requests: Vec<F>) -> Vec<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.requests += u32::try_from(requests.len()).unwrap();
        let before = Used::now(Some(redis));
        let answers = stream::iter(requests.into_iter().map(tokio::spawn));
        let answers: Vec<_> = answers.buffered(IN_FLIGHT).collect().await;
        let used = Used::now(Some(redis)).since(&before);
        self.wall += used.wall;
        self.cpu += used.cpu;
        self.redis_cpu += used.redis_cpu;
        self.redis_bytes += used.redis_bytes;
        answers.into_iter().map(Result::unwrap).collect()
    }

    fn row(&self, one: &Self) {
        let each = |span: Duration| span.as_secs_f64() * 1e6 / f64::from(self.requests);
        let per_second = |kind: &Self| f64::from(kind.requests) / kind.wall.as_secs_f64();
        println!(
            "| {} | {:.0} | {:.2} | {:.1} | {:.1} | {} |",
            self.what,
            per_second(self),
            per_second(self) / per_second(one),
            each(self.cpu),
            each(self.redis_cpu),
            self.redis_bytes / u64::from(self.requests),
        );
    }
}

/// Many phones at once, by the flows: without gRPC and TLS.
async fn requests(engine: &Arc<Engine>, redis: &str, authorities: &Authorities) {
    let [mut registers, mut opens] = ["RegisterDevice", "IssueSession"].map(Kind::new);
    let mut phones = join(engine, redis, authorities, (&mut registers, &mut opens)).await;
    let mut refreshes = Kind::new("RefreshSession");
    let mut fresh = Kind::new("VerifyRequest, FRESH");
    let mut local = Kind::new("VerifyRequest, LOCAL");
    let mut follower = Follower::new(engine.clock.now());
    for _ in 0..ROUNDS {
        let requests = phones.iter().map(|phone| {
            let (engine, request) = (Arc::clone(engine), phone.refresh(engine));
            async move { refresh_session::run(&engine, request).await.unwrap().grant }
        });
        let grants = refreshes.make(redis, requests.collect()).await;
        for (phone, grant) in phones.iter_mut().zip(grants) {
            phone.take(grant);
        }
        verify(engine, redis, &phones, Consistency::Fresh, &mut fresh).await;
        // Few at a time: what is known has to be newer than five seconds, on any machine.
        for phones in phones.chunks(PHONES / 16) {
            while !follower.round(engine).await.unwrap().complete {}
            verify(engine, redis, phones, Consistency::Local, &mut local).await;
        }
    }
    println!(
        "\n| request, {IN_FLIGHT} at once | a second | times | µs of CPU | µs of CPU in Redis | \
         bytes it leaves |"
    );
    println!("|---|---|---|---|---|---|");
    for kind in [&registers, &opens, &refreshes, &fresh, &local] {
        kind.row(&fresh);
    }
}

async fn join(
    engine: &Arc<Engine>,
    redis: &str,
    authorities: &Authorities,
    (registers, opens): (&mut Kind, &mut Kind),
) -> Vec<Phone> {
    let (devices, requests): (Vec<_>, Vec<_>) = (0..PHONES)
        .map(|number| {
            let (device, request) = registration(engine, authorities, number);
            let engine = Arc::clone(engine);
            (device, async move {
                register_device::run(&engine, request).await.unwrap()
            })
        })
        .unzip();
    let registered: Vec<Registered> = registers.make(redis, requests).await;
    let requests = devices.iter().zip(registered).enumerate();
    let requests = requests.map(|(number, (device, registered))| {
        let request = opening(engine, device, registered.device.id, number);
        let engine = Arc::clone(engine);
        async move { issue_session::run(&engine, request).await.unwrap() }
    });
    let grants = opens.make(redis, requests.collect()).await;
    let phones = devices.into_iter().zip(&grants);
    phones
        .map(|(device, grant)| Phone::new(device, grant))
        .collect()
}

async fn verify(
    engine: &Arc<Engine>,
    redis: &str,
    phones: &[Phone],
    consistency: Consistency,
    kind: &mut Kind,
) {
    let requests = phones.iter().map(|phone| {
        let (engine, request) = (Arc::clone(engine), phone.call(engine, consistency));
        async move { verify_request::run(&engine, request).await.unwrap() }
    });
    for decision in kind.make(redis, requests.collect()).await {
        assert!(decision.verdict.is_ok());
        assert_eq!(decision.by, consistency);
    }
}

/// Rounds of the feed in which nothing has happened.
async fn idle(engine: &Engine, redis: &str) {
    let mut follower = Follower::new(engine.clock.now());
    while !follower.round(engine).await.unwrap().complete {}
    let before = Used::now(Some(redis));
    for _ in 0..IDLE_ROUNDS {
        assert_eq!(follower.round(engine).await.unwrap().events, 0);
    }
    let used = Used::now(Some(redis)).since(&before);
    let [wall, cpu, in_redis] =
        [used.wall, used.cpu, used.redis_cpu].map(|span| span / IDLE_ROUNDS);
    println!(
        "\nhearing of nothing from {BUCKETS} outboxes: {wall:.2?}, {cpu:.2?} of CPU, {in_redis:.2?} of \
         CPU in Redis"
    );
}

/// Cuts of all sessions, in every bucket.
async fn cuts(engine: &Engine, redis: &str) {
    let ask = |by: &str, confirm| SetNotBefore {
        reach: Reach::Everything,
        not_before: None,
        confirm,
        by: Actor::caller(by.into()),
    };
    let before = Used::now(Some(redis));
    for _ in 0..CUTS {
        let proposed = set_not_before::run(engine, ask("spiffe://example/one", None)).await;
        let NotBefore::Proposed { confirm_token, .. } = proposed.unwrap() else {
            panic!("a proposal");
        };
        let confirm = ask("spiffe://example/other", Some(confirm_token));
        let NotBefore::Confirmed(cut) = set_not_before::run(engine, confirm).await.unwrap() else {
            panic!("a cut");
        };
        assert_eq!(cut.buckets_done, BUCKETS);
        let _ = cut.outcome.unwrap();
    }
    let used = Used::now(Some(redis)).since(&before);
    let [wall, cpu, in_redis] = [used.wall, used.cpu, used.redis_cpu].map(|span| span / CUTS);
    println!("SetNotBefore: {wall:.2?}, {cpu:.2?} of CPU, {in_redis:.2?} of CPU in Redis");
}
