//! The limits of HTTP/2 on the gRPC port, all in one place.

use std::time::Duration;

use tonic::transport::Server;

/// RPCs at a time on one connection. A busy gateway keeps tens in flight; more connections are the
/// way to more.
const STREAMS_MAX: u32 = 256;

/// All headers of a request: the limit of common proxies. Proofs and tokens travel in messages.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// A silent connection is asked this often whether somebody is there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);

/// How long the answer to that may take before the connection is closed.
const KEEPALIVE_FOR_MAX: Duration = Duration::from_secs(10);

/// The age at which a connection is asked to end. Certificates are looked at in handshakes only, so
/// this is also for how long a client lives on after its certificate or authority is taken away; and
/// new instances get their share of the traffic.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(15 * 60);

/// What RPCs under way on such a connection still get.
const CONNECTION_GRACE: Duration = Duration::from_secs(60);

/// Streams a client may open and reset before it has to wait (the "rapid reset" attack); the
/// library's own default, held here so that it does not change unnoticed.
const PENDING_RESETS_MAX: usize = 20;

/// A server with these limits. How long an RPC may take is [`super::guard::Guard`]'s to say.
pub fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_FOR_MAX))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .max_connection_age(CONNECTION_AGE_MAX)
        .max_connection_age_grace(CONNECTION_GRACE)
}
