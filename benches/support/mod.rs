//! What the measurements share: an engine over a store, many devices that are written directly, and what
//! was used up.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay::assemble;
use assay::config::Config;
use assay::flow::Engine;
use assay::id::{BUCKETS, Bucket, DeviceId};
use assay::key::{PublicKey, sha256};
use assay::policy::{
    AndroidPosture, Boot, Posture, ProvisioningKind, SecurityLevel, TrustLevel, UserAuthentication,
    VerifiedBootState,
};
use assay::session::{Device, DeviceState, Lineage, Risk};
use assay::simulator::{Authorities, Curve, SoftKey};
use assay::store::record::seal;
use assay::store::{Change, ChangeSet, Durability, IndexChange, Item, OperationId, Presence, keys};
use assay::telemetry::metrics::Metrics;
use assay::time::{Clock, Timestamp, monotonic_now};

/// Of so many devices one has an old system.
pub(crate) const OLD_EVERY: u32 = 100;
/// Devices of one certificate that was made in a factory.
const BATCH: u32 = 1000;
/// Devices written by one commit.
pub(crate) const WRITTEN_AT_ONCE: u32 = 40;

/// A `[store]` in memory or on that Redis server.
pub(crate) fn store(redis: Option<&str>) -> String {
    redis.map_or_else(
        || "kind = \"memory\"".to_owned(),
        |url| format!("kind = \"redis\"\nurl = \"{url}\"\nrequest = \"5s\""),
    )
}

/// An engine over such a store, which trusts these authorities.
pub(crate) fn engine(dir: &Path, store: &str, authorities: &Authorities) -> Engine {
    std::fs::write(dir.join("root.pem"), authorities.android_root_pem()).unwrap();
    let digest = "5a".repeat(32);
    let text = format!(
        "mode = \"development\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
         public_url = \"https://assay.test\"\nplaintext = true\n\
         [side]\nlisten = \"127.0.0.1:0\"\n[keys]\ndirectory = \"keys\"\ngenerate = true\n\
         [attestation]\nstatus_list_missing = \"allow\"\nandroid_roots = [\"root.pem\"]\n\
         [store]\n{store}\n[apps.demo]\naudiences = [\"https://api.test\"]\n\
         [apps.demo.android]\npackage = \"com.example.demo\"\n\
         signing_certificate_sha256 = [\"{digest}\"]\n\
         [[apps.demo.scopes]]\nscopes = [\"read\"]\n"
    );
    let config = Config::parse(&text, dir).unwrap();
    let metrics = Arc::new(Metrics::new("bench"));
    assemble::engine(&config, Clock::system(), &metrics).unwrap()
}

/// The certificate of a key that was provisioned for one device.
pub(crate) fn unique(number: u32) -> String {
    data_encoding::HEXLOWER.encode(&sha256(&number.to_be_bytes())[..16])
}

/// The certificate of a key that a batch of devices shares.
pub(crate) fn batch(number: u32) -> String {
    format!("b{:015x}", number / BATCH)
}

pub(crate) fn device(number: u32, key: PublicKey, now: Timestamp) -> Device {
    let digest = sha256(&number.to_le_bytes());
    let bucket = Bucket::new(u16::try_from(number / WRITTEN_AT_ONCE % u32::from(BUCKETS)).unwrap());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    let old = number.is_multiple_of(OLD_EVERY);
    Device {
        id: DeviceId::new(bucket.unwrap(), id),
        app: "demo".parse().unwrap(),
        subject: format!("user-{number}@mail.example").parse().unwrap(),
        key,
        session_key: key.thumbprint(),
        state: DeviceState::Active,
        epoch: 0,
        trust_level: TrustLevel::Tee,
        registered_at: now,
        attested_at: now,
        posture: Posture::Android(posture(if old { 202_503 } else { 202_609 })),
        chain_serials: vec![
            "1".to_owned(),
            if number.is_multiple_of(2) {
                unique(number)
            } else {
                batch(number)
            },
            "5e12a9f07c3b".to_owned(),
            "f1c172a699eaf51d".to_owned(),
        ],
        issuer_keys: vec![digest, [2; 32], [3; 32]],
        attestation_key: Some(digest),
        moved_from: None,
        assertion_counter: 0,
        doubt: None,
        presence: None,
        risk: Risk::default(),
        lineage: Lineage {
            since: now,
            predecessor: None,
            successor: None,
        },
    }
}

pub(crate) fn posture(patch_level: u32) -> AndroidPosture {
    AndroidPosture {
        attestation_version: 300,
        keymint_version: 300,
        security_level: SecurityLevel::TrustedEnvironment,
        boot: Some(Boot {
            device_locked: true,
            state: VerifiedBootState::Verified,
            key: vec![7; 32],
            hash: Some(vec![8; 32]),
        }),
        os_version: Some(150_000),
        os_patch_level: Some(patch_level),
        vendor_patch_level: Some(patch_level * 100 + 5),
        boot_patch_level: Some(patch_level * 100 + 5),
        provisioning: ProvisioningKind::Remote,
        user: UserAuthentication {
            none_required: true,
            ..UserAuthentication::default()
        },
        attest_key: false,
    }
}

pub(crate) async fn write(engine: &Engine, count: u32) {
    let soft = SoftKey::generate(Curve::P256).unwrap();
    let key = PublicKey::from_sec1(soft.public_point()).unwrap();
    let now = engine.clock.now();
    let numbers: Vec<u32> = (0..count).collect();
    for numbers in numbers.chunks(WRITTEN_AT_ONCE as usize) {
        let devices: Vec<Device> = numbers.iter().map(|n| device(*n, key, now)).collect();
        let bucket = devices[0].id.bucket();
        let item = |device: &Device| {
            let name = keys::device(&device.id);
            let value = seal(&engine.keyring, &name, device).unwrap();
            Item {
                key: name,
                expected: None,
                change: Change::Put {
                    value,
                    live_for: None,
                },
            }
        };
        let change = ChangeSet {
            operation: OperationId(assay::secret::random().unwrap()),
            bucket,
            items: devices.iter().map(item).collect(),
            claims: Vec::new(),
            index: devices.iter().flat_map(members).collect(),
            events: Vec::new(),
            durability: Durability::Local,
            limits: Vec::new(),
            windows: Vec::new(),
        };
        engine.store.commit(change).await.unwrap();
    }
}

/// The indexes of a device, as a registration writes them.
pub(crate) fn members(device: &Device) -> Vec<IndexChange> {
    let bucket = device.id.bucket();
    let mut names = vec![
        keys::devices(bucket),
        keys::devices_by_attestation_key(bucket, &device.issuer_keys[0]),
    ];
    let serials = device.chain_serials.iter().skip(1);
    names.extend(serials.map(|serial| keys::devices_by_serial(bucket, serial)));
    let member = |key| IndexChange {
        key,
        member: device.id.as_bytes().to_vec(),
        presence: Presence::Present,
    };
    names.into_iter().map(member).collect()
}

/// What was used up.
#[derive(Clone)]
pub(crate) struct Used {
    pub(crate) began: std::time::Instant,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) redis_cpu: Duration,
    pub(crate) redis_bytes: u64,
}

impl Used {
    pub(crate) fn now(redis: Option<&str>) -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let info = redis.map(info).unwrap_or_default();
        let number = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0.0, |value| value.trim().parse().unwrap())
        };
        let redis_cpu = number("used_cpu_sys:") + number("used_cpu_user:");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of bytes"
        )]
        let redis_bytes = number("used_memory:") as u64;
        Self {
            began: monotonic_now(),
            wall: Duration::ZERO,
            // A tick is a hundredth of a second.
            cpu: Duration::from_millis(ticks * 10),
            redis_cpu: Duration::from_secs_f64(redis_cpu),
            redis_bytes,
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            began: self.began,
            wall: self.began - before.began,
            cpu: self.cpu - before.cpu,
            redis_cpu: self.redis_cpu.saturating_sub(before.redis_cpu),
            redis_bytes: self.redis_bytes.saturating_sub(before.redis_bytes),
        }
    }
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (wall, cpu, redis) = (self.wall, self.cpu, self.redis_cpu);
        write!(
            f,
            "{wall:.2?}, {cpu:.2?} of CPU, {redis:.2?} of CPU in Redis"
        )
    }
}

pub(crate) fn info(url: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    stream.write_all(b"INFO EVERYTHING\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
