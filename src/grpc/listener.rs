//! The gRPC port: accepts connections, does the TLS handshake under a deadline and hands finished
//! connections to tonic, each with what is known of its peer.
//!
//! Nothing a client does stops the listener. A failed, stalled or plaintext handshake costs its
//! own slot until the deadline; errors of `accept` (too many open files) are waited out. When all
//! handshake slots are taken, new connections wait in the kernel's queue; when the cap on open
//! connections is reached, new ones are closed at once, so that a client tries another replica.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;

pub use super::connection::{ConnectInfo, Connection, Peer};
use super::connection::{Io, Open};
use super::tls::{ALPN_H2, identities};
use crate::telemetry::metrics::{ConnectionOutcome, Metrics};
use crate::time::monotonic_now;

/// Finished connections that wait for tonic to take them; it does so at once.
const READY_QUEUE: usize = 16;

/// The first wait after a failed `accept`, doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(5);

/// The longest wait after a failed `accept`: files are given back within seconds, and a port that
/// is silent for longer looks dead to load balancers.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How the port is secured.
#[derive(Clone, Debug)]
pub enum Security {
    /// No TLS: only on loopback, only where the configuration says so.
    Plaintext,
    /// TLS 1.3 with a client certificate. Every new connection uses the latest configuration sent,
    /// so certificates and authorities change without a restart.
    MutualTls(watch::Receiver<Arc<rustls::ServerConfig>>),
}

/// What the listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From accept to the end of the handshake.
    pub handshake_for_max: Duration,
    /// Handshakes at a time.
    pub handshakes_max: usize,
    /// Open connections, those in handshake included.
    pub connections_max: usize,
}

impl Default for Limits {
    /// A handshake costs a millisecond of CPU and a round trip or two: five seconds is patient.
    /// 128 of them keep every core busy. 4096 connections at about 50 KiB are 200 MiB.
    fn default() -> Self {
        Self {
            handshake_for_max: Duration::from_secs(5),
            handshakes_max: 128,
            connections_max: 4096,
        }
    }
}

/// An open port: a stream of connections for `serve_with_incoming`. Dropping it closes the port
/// and every unfinished handshake; connections already handed out live on.
#[derive(Debug)]
pub struct Listener {
    local: SocketAddr,
    ready: mpsc::Receiver<Connection>,
    accepting: JoinHandle<()>,
}

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Plaintext would be open to the network.
    #[error("{0} is not a loopback address: without TLS only 127.0.0.0/8 and ::1 are served")]
    PlaintextBeyondLoopback(SocketAddr),
    /// A limit that would serve nobody.
    #[error("the limits on handshakes and connections have to be at least 1")]
    ZeroLimit,
    /// The system says no.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Listener {
    /// Opens the port. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] when the address cannot be had, or would be plaintext beyond loopback.
    pub async fn bind(
        address: SocketAddr,
        security: Security,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        if matches!(security, Security::Plaintext) && !address.ip().is_loopback() {
            return Err(BindError::PlaintextBeyondLoopback(address));
        }
        if limits.handshakes_max == 0 || limits.connections_max == 0 {
            return Err(BindError::ZeroLimit);
        }
        let io = |source| BindError::Io { address, source };
        let socket = TcpListener::bind(address).await.map_err(io)?;
        let local = socket.local_addr().map_err(io)?;
        let (done, ready) = mpsc::channel(READY_QUEUE);
        let door = Door {
            security,
            handshake_for_max: limits.handshake_for_max,
            handshakes: Arc::new(Semaphore::new(capped(limits.handshakes_max))),
            connections: Arc::new(Semaphore::new(capped(limits.connections_max))),
            metrics,
            refusals: Arc::new(Refusals::new()),
            done,
        };
        let accepting = tokio::spawn(door.accept(socket));
        Ok(Self {
            local,
            ready,
            accepting,
        })
    }

    /// The address it listens on, with the port the system chose when 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn capped(permits: usize) -> usize {
    permits.min(Semaphore::MAX_PERMITS)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

/// The accepting side.
struct Door {
    security: Security,
    handshake_for_max: Duration,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    done: mpsc::Sender<Connection>,
}

impl Door {
    async fn accept(self, socket: TcpListener) {
        let mut handshakes = JoinSet::new();
        let mut backoff = BACKOFF_MIN;
        loop {
            while handshakes.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&self.handshakes).acquire_owned().await else {
                return;
            };
            let (stream, remote) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if wears_off(&error) {
                        tracing::warn!(wait_ms = millis(backoff), "accepting connections fails");
                        self.metrics.connection(ConnectionOutcome::AcceptFailed);
                        tokio::time::sleep(backoff).await;
                        backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
                    }
                    continue;
                }
            };
            backoff = BACKOFF_MIN;
            let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.metrics.connection(ConnectionOutcome::TooManyOpen);
                continue;
            };
            // gRPC frames are small and answered at once; waiting to fill packets only adds delay.
            if stream.set_nodelay(true).is_err() {
                self.metrics.connection(ConnectionOutcome::PeerGone);
                continue;
            }
            let open = Open::new(place, Arc::clone(&self.metrics));
            self.welcome(&mut handshakes, stream, remote, (slot, open));
        }
    }

    fn welcome(
        &self,
        handshakes: &mut JoinSet<()>,
        stream: TcpStream,
        remote: SocketAddr,
        (slot, open): (OwnedSemaphorePermit, Open),
    ) {
        let config = match &self.security {
            Security::Plaintext => None,
            Security::MutualTls(latest) => Some(Arc::clone(&latest.borrow())),
        };
        let deadline = self.handshake_for_max;
        let metrics = Arc::clone(&self.metrics);
        let refusals = Arc::clone(&self.refusals);
        let done = self.done.clone();
        handshakes.spawn(async move {
            let greeted = match config {
                None => Ok((Io::Plain(stream), Peer::Plaintext)),
                Some(config) => tokio::time::timeout(deadline, handshake(stream, config))
                    .await
                    .unwrap_or(Err((ConnectionOutcome::HandshakeTimeout, "timeout"))),
            };
            drop(slot);
            match greeted {
                Ok((io, peer)) => {
                    metrics.connection(ConnectionOutcome::Accepted);
                    let info = ConnectInfo { remote, peer };
                    // Fails only when the server is gone, and the connection with it.
                    let _ = done.send(Connection::new(io, info, open)).await;
                }
                Err((outcome, error)) => {
                    metrics.connection(outcome);
                    if refusals.one_more() {
                        tracing::info!(remote = %remote.ip(), error, "connection refused");
                    }
                }
            }
        });
    }
}

/// Keeps anybody who can reach the port from filling the log; the metrics count every refusal.
struct Refusals(Mutex<(Instant, u32)>);

impl Refusals {
    /// Lines a second: enough to see who has a wrong certificate.
    const LINES_MAX: u32 = 10;

    fn new() -> Self {
        Self(Mutex::new((monotonic_now(), 0)))
    }

    /// Whether one more line is fine now.
    fn one_more(&self) -> bool {
        let now = monotonic_now();
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(second.0) >= Duration::from_secs(1) {
            *second = (now, 0);
        }
        second.1 = second.1.saturating_add(1);
        second.1 <= Self::LINES_MAX
    }
}

/// An error of the one connection that was accepted and is already gone again says nothing of the
/// port; every other error (no files, no memory) comes again at once and is waited out.
fn wears_off(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A refused connection: for the metrics, and in a word for the log.
type Refused = (ConnectionOutcome, &'static str);

async fn handshake(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
) -> Result<(Io, Peer), Refused> {
    let failed = |word| (ConnectionOutcome::HandshakeFailed, word);
    let tls = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(|error| failed(word(&error)))?;
    let session = tls.get_ref().1;
    // rustls refuses a client whose protocols all differ, but not one that offers none.
    if session.alpn_protocol() != Some(ALPN_H2) {
        return Err(failed("protocol"));
    }
    let leaf = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(failed("no_certificate"))?;
    let identities =
        identities(leaf).map_err(|_| (ConnectionOutcome::CertificateOdd, "certificate_names"))?;
    let peer = Peer::Tls {
        identities: identities.into(),
    };
    Ok((Io::Tls(Box::new(tls)), peer))
}

/// Why a handshake failed, as a word for the person who looks for a wrong or expired certificate.
fn word(error: &io::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return "closed";
    };
    if let Error::InvalidCertificate(certificate) = error {
        if matches!(certificate, Certificate::UnknownIssuer) {
            "unknown_authority"
        } else if matches!(
            certificate,
            Certificate::Expired | Certificate::ExpiredContext { .. }
        ) {
            "expired"
        } else {
            "certificate"
        }
    } else if matches!(error, Error::NoCertificatesPresented) {
        "no_certificate"
    } else if matches!(error, Error::PeerIncompatible(_)) {
        "incompatible"
    } else if matches!(error, Error::AlertReceived(_)) {
        "client_refused"
    } else {
        "not_tls"
    }
}
