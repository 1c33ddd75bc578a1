//! From a configuration to the things it describes: keys, roots, store, engine, server settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::attestation::lists::Lists;
use crate::attestation::roots::{AndroidRoots, AppleRoots, Roots};
use crate::config::{
    AttestationConfig, CallerIdentity, Config, KeyGeneration, Keys, RedisConfig, RedisServers,
    StatusListConfig, StoreConfig, TlsFiles, Transport, read_secret,
};
use crate::flow::{Apps, Board, Engine, UsedProofs, Watchers};
use crate::grpc::caller::{Callers, Role};
use crate::grpc::listener::{Limits, Security};
use crate::grpc::server::Settings;
use crate::grpc::tls::{TlsMaterial, server_config};
use crate::key::sha256;
use crate::key_directory::{self, KeysError};
use crate::outbound::Outbound;
use crate::receipts;
use crate::secret::Secret;
use crate::status_feed::{self, FileError};
use crate::store::embedded::Embedded;
use crate::store::redis::{Redis, RedisOptions, Servers};
use crate::store::{Durability, Store};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::store::Observed;
use crate::time::Clock;
use crate::token::keyring::Keyring;

/// Why the service cannot be put together, in words for the person who starts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AssembleError(String);

fn because(what: impl std::fmt::Display) -> impl FnOnce(&dyn std::fmt::Display) -> AssembleError {
    let what = what.to_string();
    move |why| AssembleError(format!("{what}: {why}"))
}

/// Everything the flows work with.
///
/// # Errors
/// [`AssembleError`]
pub fn engine(
    config: &Config,
    clock: Clock,
    metrics: &Arc<Metrics>,
) -> Result<Engine, AssembleError> {
    Ok(Engine {
        apps: ArcSwap::from_pointee(apps(config)),
        keyring: keyring(&config.keys, &clock)?,
        store: store(&config.store, &clock, metrics)?,
        lists: ArcSwap::from_pointee(lists(&config.attestation, &clock)?),
        clock,
        roots: roots(&config.attestation)?,
        issuer: config.token.issuer.clone(),
        public_url: config.server.public_url.clone(),
        revocation_durability: durability(&config.store),
        board: Board::default(),
        rates: config.rates,
        watchers: Watchers::default(),
        used_proofs: UsedProofs::default(),
        listener: Arc::<Metrics>::clone(metrics),
    })
}

/// The apps as the flows have them.
pub(crate) fn apps(config: &Config) -> Apps {
    let apps = config.apps.iter();
    apps.map(|(id, app)| (id.clone(), Arc::new(app.clone())))
        .collect()
}

fn keyring(keys: &Keys, clock: &Clock) -> Result<Keyring, AssembleError> {
    let dir = &keys.directory;
    let failed = |why: KeysError| because("keys")(&why);
    let absent = !dir.exists() || key_directory::read_keys(dir).map_err(failed)?.is_empty();
    if absent && keys.generate == KeyGeneration::FirstStart {
        key_directory::generate(dir, false, clock.now(), &mut std::io::sink()).map_err(failed)?;
    }
    let files = key_directory::read_keys(dir).map_err(failed)?;
    Keyring::from_pem(&files).map_err(|why| because(format!("keys in {}", dir.display()))(&why))
}

fn roots(config: &AttestationConfig) -> Result<Roots, AssembleError> {
    let mut roots = Roots {
        android: AndroidRoots::google(),
        apple: AppleRoots::apple(),
    };
    for path in &config.android_roots {
        let more = AndroidRoots::from_pem(&read(path)?);
        roots.android = roots
            .android
            .and(more.map_err(|why| because(path.display())(&why))?);
    }
    for path in &config.apple_roots {
        let more = AppleRoots::from_pem(&read(path)?);
        roots.apple = roots
            .apple
            .and(more.map_err(|why| because(path.display())(&why))?);
    }
    Ok(roots)
}

fn lists(config: &AttestationConfig, clock: &Clock) -> Result<Lists, AssembleError> {
    let failed = |(path, why): (PathBuf, FileError)| because(path.display())(&why);
    status_feed::at_start(config, clock).map_err(failed)
}

/// The client for calls to services outside, where something is fetched.
///
/// # Errors
/// [`AssembleError`]
pub fn outbound(config: &Config) -> Result<Option<Outbound>, AssembleError> {
    let fetched = matches!(config.attestation.status_list, StatusListConfig::Feed(_));
    if !fetched && !config.exchanges_receipts() {
        return Ok(None);
    }
    let ca = config.outbound.ca.as_deref().map(read).transpose()?;
    let pem = ca.as_ref().map(String::as_bytes);
    Outbound::new(pem, config.outbound.proxy.as_deref())
        .map(Some)
        .map_err(|why| because("outbound")(&why))
}

/// Whether the developer keys of the apps can be used: better known at the start than a day later.
///
/// # Errors
/// [`AssembleError`]
pub fn developer_keys(config: &Config) -> Result<(), AssembleError> {
    for (id, app) in &config.apps {
        receipts::developer_key(app)
            .map_err(|why| because(format!("apps.{}.apple.receipts", id.as_str()))(&why))?;
    }
    Ok(())
}

fn store(
    config: &StoreConfig,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Store>, AssembleError> {
    let failed = |why: &dyn std::fmt::Display| because("store")(why);
    let metrics = Arc::clone(metrics);
    Ok(match config {
        StoreConfig::Memory => {
            let store = Embedded::in_memory(clock.clone()).map_err(|why| failed(&why))?;
            Arc::new(Observed::new(store, metrics))
        }
        StoreConfig::Disk { directory } => {
            let store = Embedded::open(directory, clock.clone()).map_err(|why| failed(&why))?;
            Arc::new(Observed::new(store, metrics))
        }
        StoreConfig::Redis(redis) => {
            let store =
                Redis::connect(&redis_options(redis, clock)?).map_err(|why| failed(&why))?;
            Arc::new(Observed::new(store, metrics))
        }
    })
}

fn redis_options(config: &RedisConfig, clock: &Clock) -> Result<RedisOptions, AssembleError> {
    let tls_ca = config
        .tls_ca
        .as_deref()
        .map(|path| Ok(read(path)?.into_bytes()));
    Ok(RedisOptions {
        username: config.username.clone(),
        password: password(config.password_file.as_deref())?,
        tls_ca: tls_ca.transpose()?,
        connections: config.connections,
        connect_timeout: config.connect_for,
        response_timeout: config.request_for,
        fsync: config.revocation_fsync,
        clock: clock.clone(),
        ..RedisOptions::new(redis_servers(&config.servers)?)
    })
}

fn redis_servers(servers: &RedisServers) -> Result<Servers, AssembleError> {
    Ok(match servers {
        RedisServers::One(url) => Servers::One(url.clone()),
        RedisServers::Cluster(urls) => Servers::Cluster(urls.clone()),
        RedisServers::Sentinels {
            urls,
            master,
            username,
            password_file,
        } => Servers::Sentinels {
            urls: urls.clone(),
            master: master.clone(),
            username: username.clone(),
            password: password(password_file.as_deref())?,
        },
    })
}

fn password(file: Option<&Path>) -> Result<Option<Secret<String>>, AssembleError> {
    file.map(|path| read_secret(path).map_err(|why| because(path.display())(&why)))
        .transpose()
}

const fn durability(config: &StoreConfig) -> Durability {
    match config {
        StoreConfig::Redis(redis) if redis.replicas_wanted > 0 || redis.revocation_fsync => {
            Durability::Replicated {
                replicas: redis.replicas_wanted,
                within: redis.replicas_within,
            }
        }
        StoreConfig::Redis(_) | StoreConfig::Memory | StoreConfig::Disk { .. } => Durability::Local,
    }
}

/// How the gRPC server is reached.
///
/// # Errors
/// [`AssembleError`]
pub fn settings(config: &Config) -> Result<(Settings, Option<Certificates>), AssembleError> {
    let server = &config.server;
    let (security, plaintext, certificates) = match &server.transport {
        Transport::Plaintext(roles) => {
            let roles = roles.iter().copied().collect();
            (Security::Plaintext, roles, None)
        }
        Transport::Tls(files) => {
            let (certificates, latest) = Certificates::load(files)?;
            (Security::MutualTls(latest), Vec::new(), Some(certificates))
        }
    };
    let callers = config.callers.iter().map(|caller| {
        let identity = match &caller.identity {
            CallerIdentity::Spiffe(uri) => uri.clone(),
            CallerIdentity::Dns(name) => format!("dns:{name}"),
        };
        (
            identity,
            caller.roles.iter().copied().collect::<Vec<Role>>(),
        )
    });
    let settings = Settings {
        listen: server.listen,
        security,
        callers: Callers::new(callers, &plaintext),
        limits: Limits {
            handshake_for_max: server.limits.handshake_for,
            connections_max: server.limits.connections_max,
            ..Limits::default()
        },
        message_bytes_max: server.limits.message_bytes_max,
        requests_max: server.limits.concurrent_requests_max,
        request_for: server.limits.request_for,
    };
    Ok((settings, certificates))
}

/// The certificates of the gRPC port and the files they come from. Whoever renews certificates writes
/// new files and restarts nothing.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    read: [u8; 32],
    latest: watch::Sender<Arc<rustls::ServerConfig>>,
}

impl Certificates {
    fn load(
        files: &TlsFiles,
    ) -> Result<(Self, watch::Receiver<Arc<rustls::ServerConfig>>), AssembleError> {
        let (read, material) = material(files)?;
        let config = server_config(&material).map_err(|why| because("server.tls")(&why))?;
        let (latest, seen) = watch::channel(config);
        let files = files.clone();
        Ok((
            Self {
                files,
                read,
                latest,
            },
            seen,
        ))
    }

    /// Looks at the files again. Whether they have changed and new connections get what is in them
    /// now.
    ///
    /// # Errors
    /// [`AssembleError`] when they cannot be used as they are, half written perhaps; what was in use
    /// stays in use.
    pub fn renew(&mut self) -> Result<bool, AssembleError> {
        let (read, material) = material(&self.files)?;
        if read == self.read {
            return Ok(false);
        }
        let config = server_config(&material).map_err(|why| because("server.tls")(&why))?;
        self.read = read;
        self.latest.send_replace(config);
        Ok(true)
    }
}

/// What is in the files, with a digest to tell whether it has changed.
fn material(files: &TlsFiles) -> Result<([u8; 32], TlsMaterial), AssembleError> {
    let material = TlsMaterial {
        certificate_pem: read(&files.certificate)?.into_bytes(),
        key_pem: Secret::new(read(&files.key)?.into_bytes()),
        client_ca_pem: read(&files.client_ca)?.into_bytes(),
    };
    let parts = [
        &material.certificate_pem,
        material.key_pem.expose(),
        &material.client_ca_pem,
    ];
    let digests: Vec<u8> = parts.iter().flat_map(|part| sha256(part)).collect();
    Ok((sha256(&digests), material))
}

fn read(path: &Path) -> Result<String, AssembleError> {
    fs::read_to_string(path).map_err(|why| because(path.display())(&why))
}
