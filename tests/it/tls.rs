//! The gRPC port as its clients find it: who is let in over TLS, who is not, and that nobody who is
//! not let in gets in the way of the others. The clients are the real stack (rustls, tonic).
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use assay::grpc::caller::{Access, Authorize, Caller, Callers, Role, TABLE};
use assay::grpc::http2::builder;
use assay::grpc::listener::{BindError, Limits, Listener, Security};
use assay::grpc::observe::Observe;
use assay::grpc::tls::{IdentityError, TlsError, TlsMaterial, identities, server_config};
use assay::secret::Secret;
use assay::telemetry::metrics::Metrics;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const AUTH: &str = "spiffe://assay.test/auth-server";

/// Ends a test that would wait for ever; no outcome depends on it otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// An authority of the tests.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate with these names, as (certificate, key) PEM.
    fn issue(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn client(&self, names: &[&str]) -> (String, String) {
        let names = names
            .iter()
            .map(|name| match name.strip_prefix("dns:") {
                Some(dns) => SanType::DnsName(dns.try_into().unwrap()),
                None => SanType::URI((*name).try_into().unwrap()),
            })
            .collect();
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A running port with the health service behind the role table.
struct Port {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    authority: Authority,
    config: watch::Sender<Arc<rustls::ServerConfig>>,
    callers_seen: mpsc::UnboundedReceiver<Option<Caller>>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

fn material(authority: &Authority) -> TlsMaterial {
    let names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let (certificate, key) = authority.issue(names, ExtendedKeyUsagePurpose::ServerAuth);
    TlsMaterial {
        certificate_pem: certificate.into_bytes(),
        key_pem: Secret::new(key.into_bytes()),
        client_ca_pem: authority.pem.clone().into_bytes(),
    }
}

async fn port(limits: Limits) -> Port {
    slow_port(limits, Duration::ZERO).await
}

/// A port whose RPCs take at least this long.
async fn slow_port(limits: Limits, span: Duration) -> Port {
    let authority = Authority::new();
    let (config, latest) = watch::channel(server_config(&material(&authority)).unwrap());
    let metrics = Arc::new(Metrics::new("test"));
    let listener = Listener::bind(
        "127.0.0.1:0".parse().unwrap(),
        Security::MutualTls(latest),
        limits,
        Arc::clone(&metrics),
    )
    .await
    .unwrap();
    let address = listener.local_addr();
    let callers = Callers::new([(AUTH.to_owned(), vec![Role::AuthServer])], &[]);
    let (seen, callers_seen) = mpsc::unbounded_channel();
    let (_, health) = tonic_health::server::health_reporter();
    let see = tower::util::MapRequestLayer::new(move |request: http::Request<Body>| {
        let _ = seen.send(request.extensions().get::<Caller>().cloned());
        request
    });
    let slow = tower::util::MapFutureLayer::new(move |answer| async move {
        tokio::time::sleep(span).await;
        answer.await
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()
        .unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = builder()
        .layer(Observe::new(Arc::clone(&metrics)).unwrap())
        .layer(Authorize::new(Arc::new(callers)))
        .layer(see)
        .layer(slow)
        .add_service(health)
        .add_service(reflection);
    let serving = tokio::spawn(server.serve_with_incoming_shutdown(listener, async {
        let _ = stopped.await;
    }));
    Port {
        address,
        metrics,
        authority,
        config,
        callers_seen,
        stop,
        serving,
    }
}

impl Port {
    async fn channel(&self, identity: Option<(String, String)>) -> Result<Channel, String> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority.pem))
            .domain_name("localhost");
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Channel::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .timeout(PATIENCE)
            .connect()
            .await
            .map_err(|error| error.to_string())
    }

    /// The status of one health check by a client with this certificate, or why there was none. In
    /// TLS 1.3 a client learns of the refusal of its certificate only when it reads.
    async fn check(&self, identity: Option<(String, String)>) -> Result<(), String> {
        let channel = self.channel(identity).await?;
        HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .map(|_| ())
            .map_err(|status| status.to_string())
    }

    fn count(&self, line: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        text.lines()
            .find_map(|shown| shown.strip_prefix(line))
            .map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a counter has the value: it is counted after the client has its answer.
    async fn wait_for(&self, line: &str, value: u64) {
        for _ in 0..12_000 {
            if self.count(line) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{line} is {}, not {value}", self.count(line));
    }
}

fn refused(outcome: &str) -> String {
    format!(r#"assay_connections_total{{outcome="{outcome}"}}"#)
}

/// A TLS client with a certificate, as bare as possible.
fn client_config(
    port: &Port,
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: Vec<Vec<u8>>,
) -> Arc<rustls::ClientConfig> {
    let (certificate, key) = port.authority.client(&[AUTH]);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(port.authority.pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols;
    Arc::new(config)
}

/// Connects until the server has said its first word, and tells how the handshake was.
async fn raw_handshake(
    port: &Port,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<rustls::HandshakeKind> {
    let stream = TcpStream::connect(port.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await?;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await?;
    // The server's SETTINGS: the connection is taken.
    tls.read_exact(&mut [0; 9]).await?;
    Ok(tls.get_ref().1.handshake_kind().unwrap())
}

#[tokio::test]
async fn lets_a_client_of_the_authority_in_and_sees_who_it_is() {
    let mut port = port(Limits::default()).await;
    let certificate = port.authority.client(&["dns:x.test", AUTH]);
    port.check(Some(certificate)).await.unwrap();
    let caller = port.callers_seen.recv().await.unwrap().unwrap();
    assert_eq!(&*caller.identity, AUTH);
    assert_eq!(&*caller.roles, [Role::AuthServer]);
}

#[tokio::test]
async fn an_unconfigured_name_is_let_in_as_nobody() {
    let mut port = port(Limits::default()).await;
    let certificate = port.authority.client(&["spiffe://assay.test/other"]);
    port.check(Some(certificate.clone())).await.unwrap();
    assert_eq!(port.callers_seen.recv().await.unwrap(), None);

    let channel = port.channel(Some(certificate)).await.unwrap();
    let status = call(channel, "/assay.v1.SessionService/IssueSession").await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason(&status), "CALLER_UNAUTHENTICATED");
}

#[tokio::test]
async fn a_role_is_refused_before_the_message_is_read() {
    let port = port(Limits::default()).await;
    let certificate = port.authority.client(&[AUTH]);
    let channel = port.channel(Some(certificate)).await.unwrap();
    let status = call(channel.clone(), "/assay.v1.DeviceService/RevokeDevice").await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason(&status), "CALLER_NOT_ALLOWED");
    // An RPC that is not in the table does not exist.
    let status = call(channel, "/assay.v1.DeviceService/Nothing").await;
    assert_eq!(status.code(), Code::Unimplemented);
    let line = "assay_rpc_requests_total{method=\"assay.v1.DeviceService/RevokeDevice\",\
                code=\"PERMISSION_DENIED\",reason=\"CALLER_NOT_ALLOWED\"}";
    port.wait_for(line, 1).await;
}

/// Calls any path with a message that no RPC could read.
async fn call(channel: Channel, path: &'static str) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let message = tonic::Request::new(HealthCheckRequest {
        service: "\u{1}".repeat(100),
    });
    client
        .unary(message, http::uri::PathAndQuery::from_static(path), codec)
        .await
        .unwrap_err()
}

fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn refuses_a_client_without_a_certificate() {
    let port = port(Limits::default()).await;
    port.check(None).await.unwrap_err();
    port.wait_for(&refused("handshake_failed"), 1).await;
}

#[tokio::test]
async fn refuses_a_certificate_of_a_foreign_authority() {
    let port = port(Limits::default()).await;
    let foreign = Authority::new().client(&[AUTH]);
    port.check(Some(foreign)).await.unwrap_err();
    port.wait_for(&refused("handshake_failed"), 1).await;
}

#[tokio::test]
async fn refuses_a_server_certificate_as_a_client_certificate() {
    let port = port(Limits::default()).await;
    let names = vec![SanType::URI(AUTH.try_into().unwrap())];
    let certificate = port
        .authority
        .issue(names, ExtendedKeyUsagePurpose::ServerAuth);
    port.check(Some(certificate)).await.unwrap_err();
    port.wait_for(&refused("handshake_failed"), 1).await;
}

#[tokio::test]
async fn refuses_a_certificate_with_two_spiffe_ids() {
    let port = port(Limits::default()).await;
    let certificate = port
        .authority
        .client(&[AUTH, "spiffe://assay.test/on-call"]);
    port.check(Some(certificate)).await.unwrap_err();
    port.wait_for(&refused("certificate_odd"), 1).await;
}

#[tokio::test]
async fn refuses_tls_1_2() {
    let port = port(Limits::default()).await;
    let h2 = || vec![b"h2".to_vec()];
    raw_handshake(
        &port,
        client_config(&port, &[&rustls::version::TLS12], h2()),
    )
    .await
    .unwrap_err();
    port.wait_for(&refused("handshake_failed"), 1).await;
    raw_handshake(
        &port,
        client_config(&port, &[&rustls::version::TLS13], h2()),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn refuses_a_client_that_does_not_ask_for_http_2() {
    let port = port(Limits::default()).await;
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        raw_handshake(
            &port,
            client_config(&port, &[&rustls::version::TLS13], protocols),
        )
        .await
        .unwrap_err();
    }
    port.wait_for(&refused("handshake_failed"), 2).await;
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let port = port(Limits::default()).await;
    // The same configuration, so that the client would resume if it could.
    let config = client_config(&port, &[&rustls::version::TLS13], vec![b"h2".to_vec()]);
    for _ in 0..3 {
        let kind = raw_handshake(&port, Arc::clone(&config)).await.unwrap();
        assert_ne!(kind, rustls::HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn plaintext_bytes_end_their_own_connection_only() {
    let port = port(Limits::default()).await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0",
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        // Answers nothing but a TLS alert, if that, and closes.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() <= 7, "{answer:?}");
    }
    port.wait_for(&refused("handshake_failed"), 3).await;
    port.check(Some(port.authority.client(&[AUTH])))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stalled_handshake_does_not_block_others_and_ends() {
    let limits = Limits {
        handshake_for_max: Duration::from_secs(3),
        ..Limits::default()
    };
    let port = port(limits).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(port.address).await.unwrap());
    }
    port.check(Some(port.authority.client(&[AUTH])))
        .await
        .unwrap();
    for mut stream in stalled {
        let ended = tokio::time::timeout(PATIENCE, async { stream.read(&mut [0; 16]).await }).await;
        assert_eq!(ended.expect("a stalled handshake is ended").unwrap_or(0), 0);
    }
    port.wait_for(&refused("handshake_timeout"), 20).await;
    port.wait_for("assay_connections_open", 0).await;
}

#[tokio::test]
async fn stalled_handshakes_that_fill_every_slot_are_outlived() {
    let limits = Limits {
        handshake_for_max: Duration::from_secs(3),
        handshakes_max: 2,
        ..Limits::default()
    };
    let port = port(limits).await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(TcpStream::connect(port.address).await.unwrap());
    }
    port.check(Some(port.authority.client(&[AUTH])))
        .await
        .unwrap();
}

#[tokio::test]
async fn connections_above_the_cap_are_closed_at_once_and_a_place_is_given_back() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let port = port(limits).await;
    let certificate = port.authority.client(&[AUTH]);
    let first = port.channel(Some(certificate.clone())).await.unwrap();
    HealthClient::new(first.clone())
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let mut second = TcpStream::connect(port.address).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    port.wait_for(&refused("too_many_open"), 1).await;
    drop(first);
    port.wait_for("assay_connections_open", 0).await;
    port.check(Some(certificate)).await.unwrap();
}

#[tokio::test]
async fn new_connections_use_the_latest_certificates_and_authorities() {
    let port = port(Limits::default()).await;
    let certificate = port.authority.client(&[AUTH]);
    port.check(Some(certificate.clone())).await.unwrap();
    let mut changed = material(&port.authority);
    let other = Authority::new();
    changed.client_ca_pem = other.pem.clone().into_bytes();
    port.config.send(server_config(&changed).unwrap()).unwrap();
    port.check(Some(certificate)).await.unwrap_err();
    port.check(Some(other.client(&[AUTH]))).await.unwrap();
}

#[tokio::test]
async fn plaintext_is_served_on_loopback_only() {
    let bind = |address: &str| {
        Listener::bind(
            address.parse().unwrap(),
            Security::Plaintext,
            Limits::default(),
            Arc::new(Metrics::new("test")),
        )
    };
    assert!(bind("127.0.0.1:0").await.is_ok());
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = bind(address).await.unwrap_err();
        assert!(
            matches!(refused, BindError::PlaintextBeyondLoopback(_)),
            "{refused}"
        );
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new();
    let mut wrong = material(&authority);
    wrong.key_pem = material(&authority).key_pem;
    assert!(matches!(server_config(&wrong), Err(TlsError::BadPair(_))));
    wrong.key_pem = Secret::new(b"no key".to_vec());
    assert_eq!(server_config(&wrong).unwrap_err(), TlsError::NoKey);
}

#[tokio::test]
async fn when_it_stops_rpcs_under_way_end_and_no_connection_is_taken() {
    let mut port = slow_port(Limits::default(), Duration::from_millis(500)).await;
    let certificate = port.authority.client(&[AUTH]);
    let channel = port.channel(Some(certificate)).await.unwrap();
    let mut health = HealthClient::new(channel);
    let running = tokio::spawn(async move { health.check(HealthCheckRequest::default()).await });
    port.callers_seen.recv().await.unwrap();
    port.stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    port.serving.await.unwrap().unwrap();
    TcpStream::connect(port.address).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_make_is_served() {
    let mut port = port(Limits::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = port.authority.client(&[AUTH]);
    let mut grpcurl = super::helm::tool("grpcurl");
    grpcurl
        .arg("-cacert")
        .arg(file("ca.pem", &port.authority.pem))
        .arg("-cert")
        .arg(file("client.pem", &certificate))
        .arg("-key")
        .arg(file("key.pem", &key))
        .args(["-authority", "localhost"])
        .arg(port.address.to_string())
        .arg("grpc.health.v1.Health/Check");
    let output = tokio::task::spawn_blocking(move || grpcurl.output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("SERVING"),
        "{said}"
    );
    let caller = port.callers_seen.recv().await.unwrap().unwrap();
    assert_eq!(&*caller.identity, AUTH);
}

#[test]
fn names_of_damaged_certificates_are_refused_or_read_but_never_a_panic() {
    let (pem, _) = Authority::new().client(&["dns:x.test", AUTH]);
    let good = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(identities(&good).unwrap(), ["dns:x.test", AUTH]);
    for end in 0..good.len() {
        assert_eq!(
            identities(&good[..end]),
            Err(IdentityError::Unreadable),
            "{end}"
        );
    }
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.to_vec();
            damaged[place] ^= 1 << bit;
            let _ = identities(&damaged);
        }
    }
    let many: Vec<String> = (0..17).map(|n| format!("dns:h{n}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (pem, _) = Authority::new().client(&many);
    let many = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(identities(&many), Err(IdentityError::TooMany));
}

#[test]
fn the_page_of_callers_shows_the_table() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/callers.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<_> = TABLE
        .iter()
        .map(|(path, access)| {
            let who = match access {
                Access::Open => "every peer".to_owned(),
                Access::Roles(roles) => {
                    let words: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                    words.join(", ")
                }
            };
            format!("| `{}` | {who} |", &path[1..])
        })
        .collect();
    assert_eq!(shown, expected);
}
