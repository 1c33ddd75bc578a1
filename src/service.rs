//! The whole service as one thing that starts and stops: engine, gRPC port, side port, readiness, and
//! the files that are looked at again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assemble::{self, AssembleError, Certificates};
use crate::attestation::lists::{Standing, Versions};
use crate::config::{Config, ConfigFile};
use crate::flow::Engine;
use crate::grpc::Services;
use crate::grpc::server::{Running, StartError};
use crate::reappraisal::Reappraisal;
use crate::receipts::Receipts;
use crate::reload::Reload;
use crate::revocations::Revocations;
use crate::status_feed::Feed;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::side::{self, Readiness, Side};
use crate::time::Clock;

/// The wait between two looks at the store for readiness: an orchestrator probes less often.
const READINESS_EVERY: Duration = Duration::from_secs(1);

/// The wait between two looks at the certificate files: three small files.
const RENEWAL_EVERY: Duration = Duration::from_secs(2);

/// What the side port has to finish its answers after the drain: they come from memory.
const SIDE_CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Something the configuration names.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The gRPC port.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The side port.
    #[error("cannot listen on {address} (side): {cause}")]
    Side {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    grpc: Arc<Running>,
    side: SocketAddr,
    engine: Arc<Engine>,
    drain_for: Duration,
    draining: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    probe: JoinHandle<()>,
    renewing: Option<JoinHandle<()>>,
    reloading: Option<JoinHandle<()>>,
    policy_changes: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    feed: Feed,
    reappraisal: Reappraisal,
    receipts: Receipts,
    revocations: Revocations,
    serving_side: JoinHandle<()>,
}

impl Service {
    /// Starts everything the configuration describes.
    ///
    /// # Errors
    /// [`ServiceError`], in words for the person who starts it.
    pub async fn start(
        config: &Config,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ServiceError> {
        let engine = Arc::new(assemble::engine(config, clock, &metrics)?);
        assemble::developer_keys(config)?;
        let (settings, certificates) = assemble::settings(config)?;
        let outbound = assemble::outbound(config)?;
        let exchange = outbound.clone().filter(|_| config.exchanges_receipts());
        let services = Services::new(Arc::clone(&engine), Arc::clone(&metrics));
        let address = config.side.listen;
        let failed = |cause| ServiceError::Side { address, cause };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let side = socket.local_addr().map_err(failed)?;
        let grpc = Arc::new(Running::start(&services, settings, Arc::clone(&metrics)).await?);
        let (draining, drains) = watch::channel(false);
        let (closing, closes) = watch::channel(false);
        let ready = Arc::new(Ready::default());
        let revocations = Revocations::start(&engine, &metrics);
        let receipts = Receipts::start(&engine, &metrics, exchange);
        let feed = Feed::start(&config.attestation, &engine, &metrics, outbound);
        let policy_changes = watch::Sender::new(0);
        let reappraisal = Reappraisal::start(
            &engine,
            &metrics,
            feed.changes(),
            policy_changes.subscribe(),
        );
        let shown = shown(&engine, Arc::clone(&metrics), Arc::clone(&ready));
        let probe = probe(Arc::clone(&engine), Arc::clone(&grpc), ready, drains);
        Ok(Self {
            grpc,
            side,
            engine,
            drain_for: config.server.drain_for,
            draining,
            closing,
            probe: tokio::spawn(probe),
            renewing: certificates.map(|certificates| tokio::spawn(renew(certificates))),
            reloading: None,
            policy_changes,
            metrics,
            feed,
            reappraisal,
            receipts,
            revocations,
            serving_side: tokio::spawn(async move {
                if let Err(error) = side::serve(socket, shown, until(closes)).await {
                    tracing::error!(error = %error.kind(), "the side port is gone");
                }
            }),
        })
    }

    /// From now on looks at the file the configuration was read from, and uses the apps it has.
    #[must_use]
    pub fn following(mut self, file: ConfigFile, config: Config) -> Self {
        let reload = Reload::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.metrics),
            config,
            self.policy_changes.clone(),
        );
        if let Some(before) = self.reloading.replace(tokio::spawn(reload.follow(file))) {
            before.abort();
        }
        self
    }

    /// Counts the changes of policies, for those who have to look at registered devices again.
    #[must_use]
    pub fn policy_changes(&self) -> watch::Receiver<u64> {
        self.policy_changes.subscribe()
    }

    /// Where gRPC is served.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.local_addr()
    }

    /// Where metrics, health and the key set are served.
    #[must_use]
    pub const fn side_addr(&self) -> SocketAddr {
        self.side
    }

    /// What the flows work with.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Which lists evidence is held against, and a signal each time that changes.
    #[must_use]
    pub fn list_changes(&self) -> watch::Receiver<Versions> {
        self.feed.changes()
    }

    /// Drains and stops. Whether every request under way was answered.
    ///
    /// Not ready from the beginning; metrics and probes are answered until the drain is over. When
    /// everything was answered the store is closed behind this, so that another can open its file.
    pub async fn stop(self) -> bool {
        let _ = self.draining.send(true);
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
        if let Some(reloading) = self.reloading {
            reloading.abort();
            // It holds the engine until it is gone.
            let _ = reloading.await;
        }
        // The probe first: it must not call the service ready again.
        let _ = self.probe.await;
        self.reappraisal.stop().await;
        self.feed.stop().await;
        self.receipts.stop().await;
        let drained = self.grpc.stop(self.drain_for).await;
        // Last: what is revoked while the others finish is followed, too.
        self.revocations.stop().await;
        let _ = self.closing.send(true);
        let mut side = self.serving_side;
        if tokio::time::timeout(SIDE_CLOSES_WITHIN, &mut side)
            .await
            .is_err()
        {
            side.abort();
        }
        drained
    }
}

async fn until(mut said: watch::Receiver<bool>) {
    let _ = said.wait_for(|said| *said).await;
}

/// Looks at the certificate files again and again. Polling sees every kind of replacement, the swapped
/// symbolic links of mounted secrets included.
async fn renew(mut certificates: Certificates) {
    let mut said = None;
    loop {
        tokio::time::sleep(RENEWAL_EVERY).await;
        let why = match certificates.renew() {
            Ok(true) => {
                tracing::info!("new certificates are in use");
                None
            }
            Ok(false) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why.as_ref().filter(|why| said.as_ref() != Some(*why)) {
            tracing::warn!(
                detail = why.as_str(),
                "the certificate files cannot be used, the old ones stay"
            );
        }
        said = why;
    }
}

/// What a service needs before it is sent traffic.
#[derive(Debug, Default)]
struct Ready {
    store: AtomicBool,
    status_list: AtomicBool,
    draining: AtomicBool,
    /// What is wrong, in words.
    why: Mutex<String>,
}

impl Ready {
    /// As probes are told.
    fn told(&self) -> Readiness {
        if self.draining.load(Ordering::Relaxed) {
            return Readiness::Draining;
        }
        let parts: Vec<_> = [("store", &self.store), ("status_list", &self.status_list)]
            .into_iter()
            .filter(|(_, there)| !there.load(Ordering::Relaxed))
            .map(|(part, _)| part)
            .collect();
        if parts.is_empty() {
            return Readiness::Ready;
        }
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        Readiness::WaitingFor {
            parts,
            why: why.clone(),
        }
    }

    /// Takes note of what is wrong.
    fn say(&self, why: Option<&str>) {
        let mut said = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.unwrap_or_default().clone_into(&mut said);
    }
}

/// Whether there is a status list where an app needs one. A list that has become too old is one: the
/// devices that are registered need none, and would be turned away with the others.
fn has_status_list(engine: &Engine) -> bool {
    let standing = engine.lists.load().standing(engine.clock.reading());
    let apps = engine.apps.load();
    standing != Standing::Absent || apps.values().all(|app| app.identity.android.is_none())
}

/// Looks at the store again and again, so that the probes answer from memory.
async fn probe(
    engine: Arc<Engine>,
    grpc: Arc<Running>,
    ready: Arc<Ready>,
    drains: watch::Receiver<bool>,
) {
    let mut said = None;
    let look = async {
        loop {
            let answer = engine.store.ping().await;
            let listed = has_status_list(&engine);
            ready.store.store(answer.is_ok(), Ordering::Relaxed);
            // Once ready for that, always: an app that needs a list and comes later must not turn away
            // the phones of all others, on every instance at once.
            let listed = ready.status_list.fetch_or(listed, Ordering::Relaxed) || listed;
            grpc.set_ready(answer.is_ok() && listed).await;
            let why = match answer {
                Err(error) => Some(error.to_string()),
                Ok(_) if !listed => Some("there is no status list yet".to_owned()),
                Ok(_) => None,
            };
            if said.as_ref() != Some(&why) {
                ready.say(why.as_deref());
                match &why {
                    None => tracing::info!("ready"),
                    Some(why) => tracing::warn!(detail = why.as_str(), "not ready"),
                }
                said = Some(why);
            }
            tokio::time::sleep(READINESS_EVERY).await;
        }
    };
    tokio::select! {
        () = look => {}
        () = until(drains) => {}
    }
    ready.draining.store(true, Ordering::Relaxed);
    grpc.set_ready(false).await;
}

fn shown(engine: &Engine, metrics: Arc<Metrics>, ready: Arc<Ready>) -> Side {
    // A copy: a connection that stays open must not keep the engine, and with it the store, open.
    let jwks = engine.keyring.jwks().to_owned();
    Side {
        metrics,
        jwks: Arc::new(move || jwks.clone()),
        readiness: Arc::new(move || ready.told()),
    }
}
