//! Calls to services outside: one request, one answer, everything bounded.
//!
//! HTTPS with TLS 1.2 or newer; plain HTTP only to this machine itself. No redirect is followed, no
//! cookie kept, no connection shared between calls, and no environment variable chooses a proxy. The
//! whole call has one deadline, so a peer that sends a byte now and then gains nothing, and the body
//! is counted while it is read. An answer of any status is an answer: what it means is the caller's
//! to say.

use std::error::Error;
use std::fmt;
use std::io::Cursor;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// How long a TCP connection may take. Of several addresses the next one is tried meanwhile.
const CONNECT_FOR_MAX: Duration = Duration::from_secs(5);

/// Largest head of an answer: Google's and Apple's have less than two kilobytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Most header fields of an answer.
const HEADERS_MAX: usize = 64;

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// An absolute URL.
    pub url: Uri,
    /// Headers; those of the connection are not among them.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// Largest body of an answer that is read.
    pub answer_bytes_max: usize,
    /// How long all of it may take, from the name to the last byte.
    pub within: Duration,
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    /// The status, redirects and errors included.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer. None of the peer's words is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Neither `https` nor `http` to this machine.
    #[error("the URL cannot be called")]
    Url,
    /// No address, or nobody there.
    #[error("no connection")]
    Unreachable,
    /// The peer is not who it should be, or speaks no TLS that is good enough.
    #[error("no TLS connection")]
    Tls,
    /// The deadline passed.
    #[error("not answered in time")]
    Timeout,
    /// The body is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// Cut off in the middle, not HTTP, or with a head beyond all measure.
    #[error("the answer cannot be read")]
    Broken,
}

/// Why no calls can be made at all, in words for the person who configures it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No authority to tell a server by.
    #[error("no authority to verify servers with: {0}")]
    Authorities(String),
    /// Not `http://HOST:PORT`.
    #[error("the proxy has to be http://HOST:PORT")]
    Proxy,
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

type Body = Full<Cursor<Vec<u8>>>;

/// Makes calls. Clones share their settings.
#[derive(Clone)]
pub struct Outbound {
    direct: Client<HttpsConnector<HttpConnector>, Body>,
    tunnelled: Option<Client<HttpsConnector<Tunnel<HttpConnector>>, Body>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outbound {
    /// With the authorities in a PEM text, or those of the system, and through a proxy
    /// (`http://HOST:PORT`, by `CONNECT`) where there is one. This machine itself is called directly.
    ///
    /// # Errors
    /// [`OutboundError`]
    pub fn new(authorities_pem: Option<&[u8]>, proxy: Option<&str>) -> Result<Self, OutboundError> {
        let roots = match authorities_pem {
            Some(pem) => configured(pem)?,
            None => system()?,
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|_| OutboundError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = || HttpsConnectorBuilder::new().with_tls_config(tls.clone());
        let direct = https()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector());
        let tunnelled = proxy.map(|proxy| {
            let proxy = proxy.parse::<Uri>().map_err(|_| OutboundError::Proxy)?;
            if proxy.scheme_str() != Some("http") || proxy.port_u16().is_none() {
                return Err(OutboundError::Proxy);
            }
            let tunnel = Tunnel::new(proxy, connector());
            Ok(client(
                https().https_only().enable_http1().wrap_connector(tunnel),
            ))
        });
        Ok(Self {
            direct: client(direct),
            tunnelled: tunnelled.transpose()?,
        })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        tokio::time::timeout(call.within, self.exchange(call))
            .await
            .unwrap_or(Err(CallError::Timeout))
    }

    async fn exchange(&self, call: Call) -> Result<Answer, CallError> {
        let here = is_loopback(&call.url);
        match call.url.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            Some(_) | None => return Err(CallError::Url),
        }
        let mut request = Request::new(Full::new(Cursor::new(call.body)));
        *request.method_mut() = call.method;
        *request.uri_mut() = call.url;
        *request.headers_mut() = call.headers;
        let answer = match &self.tunnelled {
            Some(client) if !here => client.request(request).await,
            Some(_) | None => self.direct.request(request).await,
        };
        let (head, body) = answer.map_err(|error| fault(&error))?.into_parts();
        let body = Limited::new(body, call.answer_bytes_max).collect().await;
        let body = body.map_err(|error| fault(error.as_ref()))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes().into(),
        })
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_FOR_MAX));
    connector
}

fn client<C>(connector: C) -> Client<C, Body>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http1_max_headers(HEADERS_MAX)
        .build(connector)
}

fn configured(pem: &[u8]) -> Result<RootCertStore, OutboundError> {
    let unusable = |why: &str| OutboundError::Authorities(why.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| unusable("the file is not PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| unusable("a certificate cannot be used"))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in the file"));
    }
    Ok(roots)
}

/// Single authorities of the system that cannot be used are no reason to trust none of the others.
fn system() -> Result<RootCertStore, OutboundError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let why = "the system has none";
        return Err(OutboundError::Authorities(why.to_owned()));
    }
    Ok(roots)
}

/// Whether a URL names this machine itself.
fn is_loopback(url: &Uri) -> bool {
    url.host().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
    })
}

/// What went wrong, by the causes behind an error.
fn fault(error: &(dyn Error + 'static)) -> CallError {
    let mut connecting = false;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return CallError::TooLarge;
        }
        if error.is::<rustls::Error>() {
            return CallError::Tls;
        }
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            connecting = error.is_connect();
        }
        // The source of an I/O error is that of the error within, not the error within.
        let within = error.downcast_ref::<std::io::Error>();
        cause = match within.and_then(std::io::Error::get_ref) {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    if connecting {
        CallError::Unreachable
    } else {
        CallError::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_name_and_addresses() {
        for (url, here) in [
            ("http://127.0.0.1:80/x", true),
            ("http://[::1]/x", true),
            ("http://localhost:8080", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://127.0.0.2", true),
            ("http://[::2]", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), here, "{url}");
        }
    }

    #[test]
    fn a_client_needs_authorities_and_a_proxy_that_can_be_reached() {
        let authority = {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::default();
            params.self_signed(&key).unwrap().pem()
        };
        let new = |pem: &str, proxy| Outbound::new(Some(pem.as_bytes()), proxy).map(drop);
        assert_eq!(new(&authority, None), Ok(()));
        assert_eq!(new(&authority, Some("http://proxy.example:3128")), Ok(()));
        for proxy in ["https://p:1", "http://p", "p:1", "socks5://p:1", ""] {
            assert_eq!(new(&authority, Some(proxy)), Err(OutboundError::Proxy));
        }
        for pem in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        ] {
            assert!(matches!(new(pem, None), Err(OutboundError::Authorities(_))));
        }
    }
}
