//! The gRPC server: listener, layers, services, health and reflection; start and drain.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTORS;
use tonic_health::server::{HealthReporter, health_reporter};
use tonic_reflection::server::Builder as Reflection;
use tonic_types::pb::FILE_DESCRIPTOR_SET as ERROR_DESCRIPTORS;

use super::Services;
use super::caller::{Authorize, Callers, TABLE};
use super::codec::DESCRIPTORS;
use super::guard::Guard;
use super::http2;
use super::listener::{BindError, Limits, Listener, Security};
use super::observe::Observe;
use crate::secret::NoRandomness;
use crate::telemetry::metrics::Metrics;

/// How the server is reached and bounded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How the port is secured.
    pub security: Security,
    /// Who may call as what.
    pub callers: Callers,
    /// Bounds on connections.
    pub limits: Limits,
    /// Largest request, in bytes.
    pub message_bytes_max: usize,
    /// Most requests under way.
    pub requests_max: usize,
    /// Longest a request may take.
    pub request_for: Duration,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Request ids need randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The compiled descriptors cannot be served.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    local: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Mutex<JoinHandle<Result<(), tonic::transport::Error>>>,
    health: HealthReporter,
}

impl Running {
    /// Starts serving.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(
        services: &Services,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let (health, health_service) = health_reporter();
        report(&health, ServingStatus::NotServing).await;
        let routes = services
            .routes(settings.message_bytes_max)
            .add_service(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let observe = Observe::new(Arc::clone(&metrics))?;
        let Settings {
            listen,
            security,
            callers,
            limits,
            requests_max,
            request_for,
            ..
        } = settings;
        let listener = Listener::bind(listen, security, limits, metrics).await?;
        let local = listener.local_addr();
        let (stop, stopped) = watch::channel(false);
        let layers = (
            observe,
            Authorize::new(Arc::new(callers)),
            Guard::new(requests_max, request_for, stopped.clone()),
        );
        let serving = tokio::spawn(serve(listener, routes, layers, stopped));
        Ok(Self {
            local,
            stop,
            serving: Mutex::new(serving),
            health,
        })
    }

    /// Where it listens, with the port the system chose when 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Says in `grpc.health.v1` whether requests will be answered.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        report(&self.health, status).await;
    }

    /// Takes no new connections and requests, waits for those under way, at most `drain_for`.
    /// Whether all were answered.
    pub async fn stop(&self, drain_for: Duration) -> bool {
        self.set_ready(false).await;
        let _ = self.stop.send(true);
        let mut serving = self.serving.lock().await;
        let drained = tokio::time::timeout(drain_for, &mut *serving).await.is_ok();
        serving.abort();
        drained
    }
}

async fn serve(
    listener: Listener,
    routes: Routes,
    (observe, authorize, guard): (Observe, Authorize, Guard),
    mut stopped: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    http2::builder()
        .layer(observe)
        .layer(authorize)
        .layer(guard)
        .add_routes(routes)
        .serve_with_incoming_shutdown(listener, async move {
            // A dropped sender means the owner is gone, which is as good a reason to stop.
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await
}

/// Says in `grpc.health.v1` how the server is, and by name each of our services: some clients ask for
/// the one they use.
async fn report(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    for service in OWN_SERVICES.iter() {
        health.set_service_status(service, status).await;
    }
}

/// The names of our services, from the table of RPCs.
static OWN_SERVICES: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let paths = TABLE.iter().map(|(path, _)| path.trim_start_matches('/'));
    let services = paths.filter_map(|path| path.split('/').next());
    services
        .filter(|service| service.starts_with("assay."))
        .collect()
});

fn reflection() -> Reflection<'static> {
    Reflection::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(HEALTH_DESCRIPTORS)
        // So that a client that learns the API here can also read the details of our errors.
        .register_encoded_file_descriptor_set(ERROR_DESCRIPTORS)
}
