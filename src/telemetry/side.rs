//! The HTTP side port: metrics for the scraper, the public keys for resource servers, and two
//! probes. It answers from memory, without TLS, to whoever can reach it; nothing on it is secret
//! and nothing on it changes state. The gRPC port says the same in `GetJwks` and `grpc.health.v1`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::metrics::Metrics;

/// Connections at a time: probes, a scraper or two, and gateways that fetch the keys now and then.
const CONNECTIONS_MAX: usize = 64;

/// The longest a connection lives. It ends idle and trickling ones alike; HTTP clients connect
/// again.
const CONNECTION_FOR_MAX: Duration = Duration::from_secs(120);

/// The wait after a failed `accept`.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// For how long caches may keep the public keys: a new key is published for longer than this before
/// it signs.
const JWKS_MAX_AGE: &str = "public, max-age=300";

/// What the probe of readiness says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Send traffic.
    Ready,
    /// Send none: these parts are not there.
    WaitingFor {
        /// Fixed words, from the code.
        parts: Vec<&'static str>,
        /// What is wrong, as the log line `not ready` says it; nothing where nobody has looked yet.
        why: String,
    },
    /// Send none: the service is about to stop.
    Draining,
}

/// What the side port shows.
#[derive(Clone)]
pub struct Side {
    /// Shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The JWK set at `/.well-known/jwks.json`; has to answer from memory.
    pub jwks: Arc<dyn Fn() -> String + Send + Sync>,
    /// Asked at `/readyz`; has to answer from memory.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Side")
    }
}

/// Serves until `stop` is done; answers under way are finished.
///
/// # Errors
/// When the socket has no address any more; errors of connections end that connection only.
pub async fn serve(
    socket: TcpListener,
    side: Side,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let door = Door {
        socket,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    axum::serve(door, router(side))
        .with_graceful_shutdown(stop)
        .await
}

fn router(side: Side) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(side)
}

async fn metrics(State(side): State<Side>) -> Response {
    side.metrics.encode().map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |text| {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        },
    )
}

async fn jwks(State(side): State<Side>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, JWKS_MAX_AGE),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, (side.jwks)()).into_response()
}

async fn readyz(State(side): State<Side>) -> Response {
    match (side.readiness)() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::WaitingFor { parts, why } => {
            let why = if why.is_empty() { why } else { why + "\n" };
            let text = format!("waiting for: {}\n{why}", parts.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

/// Accepts connections into a bounded number of places.
struct Door {
    socket: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // Never closed; were it, nobody would be let in.
                std::future::pending::<()>().await;
                continue;
            };
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    let guest = Guest {
                        stream,
                        leaves: Box::pin(tokio::time::sleep(CONNECTION_FOR_MAX)),
                        _place: place,
                    };
                    return (guest, remote);
                }
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection that ends in time.
struct Guest {
    stream: TcpStream,
    leaves: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.leaves.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
