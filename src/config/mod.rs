//! The configuration of the service: one TOML file.
//!
//! [`Config::parse`] is a pure function of the text; [`Config::load`] also reads the file and looks
//! at every file it names. Both find every problem at once, each with its place and, where that can
//! be told, a hint. Nothing unknown is skipped: a misspelt key would otherwise be a rule that is not
//! applied. Secrets are never in the file, only the paths of the files that hold them, and what
//! looks like one all the same is never repeated in a report.
//!
//! `example.toml` (`assay config example`) explains every key.

mod android;
mod apple;
mod apps;
mod example;
mod files;
mod lifetimes;
mod listeners;
mod lists;
mod parse;
mod rates;
mod reader;
mod report;
mod risk;
mod sections;
mod spelling;
mod step_up;
mod store;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::flow::{App, ReceiptExchange};
pub use crate::grpc::caller::Role;
pub use example::{DEVELOPMENT, EXAMPLE};
pub use files::{ConfigFile, Look, SecretFileError, read_private_key, read_secret};
pub use report::{ConfigReport, Problem};

use crate::id::AppId;
use crate::policy::ServiceRates;

/// Largest configuration file. A thousand apps fit into it.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// A configuration in which every value is within its bounds and every rule between values holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether concessions for development are made.
    pub mode: Mode,
    /// The gRPC listener.
    pub server: Server,
    /// The HTTP listener for metrics, JWKS and health.
    pub side: SideServer,
    /// What is written in tokens.
    pub token: Tokens,
    /// Where the keys are.
    pub keys: Keys,
    /// Where the state is.
    pub store: StoreConfig,
    /// Whom attestations are believed.
    pub attestation: AttestationConfig,
    /// How services outside are called.
    pub outbound: OutboundConfig,
    /// The apps.
    pub apps: BTreeMap<AppId, App>,
    /// Who may call what. Empty on a plaintext listener.
    pub callers: Vec<Caller>,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// How often the service may be asked.
    pub rates: ServiceRates,
}

/// What the service is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Real phones and real users: no concession can be configured.
    Production,
    /// Test authorities, generated keys, a store that forgets, `http` on this machine itself.
    Development,
}

/// The gRPC listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The URL phones aim their proofs at, without a slash at the end: a proof's `htu` is this,
    /// `/`, and `package.Service/Method`.
    pub public_url: String,
    /// How callers come in.
    pub transport: Transport,
    /// After SIGTERM, how long requests under way may take.
    pub drain_for: Duration,
    /// Limits.
    pub limits: Limits,
}

/// How callers come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Mutual TLS; [`Config::callers`] says who is who.
    Tls(TlsFiles),
    /// Without TLS, on a loopback address only: every caller has these roles.
    Plaintext(BTreeSet<Role>),
}

/// PEM files of the TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate chain, its own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign callers' certificates.
    pub client_ca: PathBuf,
}

/// Limits of the gRPC listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request message, in bytes.
    pub message_bytes_max: usize,
    /// Most requests under way at once, over all connections.
    pub concurrent_requests_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// How long a request may take.
    pub request_for: Duration,
    /// How long a TLS handshake may take.
    pub handshake_for: Duration,
}

/// The HTTP listener for metrics, JWKS and health. It has no TLS and shows nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideServer {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// What is written in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `iss` of access tokens.
    pub issuer: String,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The directory of the keyring's PEM files.
    pub directory: PathBuf,
    /// Whether an empty directory is filled at the first start.
    pub generate: KeyGeneration,
}

/// Whether keys are made by the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyGeneration {
    /// The keys have to be there.
    Never,
    /// Made at the first start where there are none. In development only.
    FirstStart,
}

/// Where the state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process; forgotten at its end. In development only.
    Memory,
    /// In a directory of this machine, for one instance.
    Disk {
        /// The directory.
        directory: PathBuf,
    },
    /// In Redis or Valkey, shared by all instances.
    Redis(Box<RedisConfig>),
}

/// How Redis is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Which servers.
    pub servers: RedisServers,
    /// The ACL user; the default user where there is none.
    pub username: Option<String>,
    /// The file that holds the password; read it with [`read_secret`].
    pub password_file: Option<PathBuf>,
    /// Authorities of the server's certificate; the system's where there is none.
    pub tls_ca: Option<PathBuf>,
    /// Connections to each server.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_for: Duration,
    /// How long one command may take.
    pub request_for: Duration,
    /// How many replicas must have a revocation before it is answered.
    pub replicas_wanted: u32,
    /// How long they are waited for.
    pub replicas_within: Duration,
    /// Whether a revocation must be on disk before it is answered.
    pub revocation_fsync: bool,
}

/// Which Redis servers, each `redis://HOST:PORT` or `rediss://…`, without a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisServers {
    /// One, with the number of a database behind a slash.
    One(String),
    /// The one that these Sentinels call the primary.
    Sentinels {
        /// The Sentinels.
        urls: Vec<String>,
        /// What they call it.
        master: String,
        /// The ACL user of the Sentinels; the default user where there is none.
        username: Option<String>,
        /// The file that holds its password; read it with [`read_secret`].
        password_file: Option<PathBuf>,
    },
    /// Nodes of a cluster.
    Cluster(Vec<String>),
}

/// Whom attestations are believed, beyond the built-in roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationConfig {
    /// PEM files of test authorities for Android. Empty in production.
    pub android_roots: Vec<PathBuf>,
    /// PEM files of test authorities for Apple. Empty in production.
    pub apple_roots: Vec<PathBuf>,
    /// Where Google's attestation status list is from.
    pub status_list: StatusListConfig,
    /// The operator's own list of revoked keys.
    pub own_list: Option<PathBuf>,
}

/// Where Google's attestation status list is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusListConfig {
    /// There is none.
    Missing(MissingStatusList),
    /// It is a file that somebody else keeps fresh.
    File(ListFile),
    /// It is fetched.
    Feed(ListFeed),
}

/// A status list that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFile {
    /// The file, JSON.
    pub path: PathBuf,
    /// The age up to which it is believed, from when it was written; `None`: any.
    pub age_max: Option<Duration>,
    /// A version to be taken however much it lacks.
    pub accept_sha256: Option<[u8; 32]>,
}

/// A status list that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFeed {
    /// From where.
    pub url: String,
    /// The longest wait between two fetches.
    pub every: Duration,
    /// The age up to which it is believed, from when it was last known to be the newest.
    pub age_max: Duration,
    /// Where the last good one is kept on disk.
    pub cache: Option<PathBuf>,
    /// A version to be taken however much it lacks.
    pub accept_sha256: Option<[u8; 32]>,
}

/// How services outside are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundConfig {
    /// `http://HOST:PORT` of a proxy; none where there is none, whatever the environment says.
    pub proxy: Option<String>,
    /// Authorities of the servers; the system's where there is none.
    pub ca: Option<PathBuf>,
}

/// What to do about Android evidence when there is no status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingStatusList {
    /// Refuse it: a leaked attestation key could not be told from a good one.
    Refuse,
    /// Accept it. In development only.
    Allow,
}

/// A caller and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What its certificate says.
    pub identity: CallerIdentity,
    /// Its roles.
    pub roles: BTreeSet<Role>,
}

/// A subject alternative name of a caller's certificate. Compared byte by byte, never by pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerIdentity {
    /// A SPIFFE id: `spiffe://TRUST-DOMAIN/PATH`.
    Spiffe(String),
    /// A DNS name in lower case.
    Dns(String),
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important lines written.
    pub log_level: LogLevel,
    /// Where traces are sent by OTLP over gRPC; nowhere when `None`.
    pub otlp_endpoint: Option<String>,
    /// The share of traces begun here that is sent, 0 to 1.
    pub trace_ratio: f64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something may break.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// The parts beside the apps in which another configuration differs: those that hold for as long
    /// as the service runs.
    #[must_use]
    pub fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            mode,
            server,
            side,
            token,
            keys,
            store,
            attestation,
            outbound,
            apps,
            callers,
            telemetry,
            rates,
        } = self;
        let parts = [
            ("mode", *mode != other.mode),
            ("server", *server != other.server),
            ("side", *side != other.side),
            ("token", *token != other.token),
            ("keys", *keys != other.keys),
            ("store", *store != other.store),
            ("attestation", *attestation != other.attestation),
            ("outbound", *outbound != other.outbound),
            ("callers", *callers != other.callers),
            ("telemetry", *telemetry != other.telemetry),
            ("rates", *rates != other.rates),
            (
                "apps.*.apple.receipts",
                exchanges_receipts(apps) && !exchanges_receipts(&other.apps),
            ),
        ];
        let changed = parts.iter().filter(|(_, differs)| *differs);
        changed.map(|(part, _)| *part).collect()
    }

    /// Whether an app's receipts are exchanged.
    #[must_use]
    pub fn exchanges_receipts(&self) -> bool {
        exchanges_receipts(&self.apps)
    }

    /// Reads a configuration from its text. Relative paths are seen from `base_dir`; no file is
    /// looked at.
    ///
    /// # Errors
    /// [`ConfigReport`] with every problem.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigReport> {
        let outcome = parse::parse(text, base_dir);
        match outcome.config {
            Some(config) if outcome.findings.is_empty() => Ok(config),
            _ => Err(ConfigReport::of_findings(text, outcome.findings)),
        }
    }

    /// Reads a configuration file and looks at every file it names: that it is there, can be read
    /// and is what it has to be. Relative paths are seen from the file's own directory.
    ///
    /// # Errors
    /// [`ConfigReport`] with every problem, or saying that the file itself cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigReport> {
        files::load(path, &files::read_whole(path)?)
    }
}

fn exchanges_receipts(apps: &BTreeMap<AppId, App>) -> bool {
    apps.values().any(|app| app.receipts.is_some())
}
