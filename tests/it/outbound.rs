//! The client for outgoing calls: what it sends, and every way in which a peer may misbehave.

use std::sync::Arc;
use std::time::Duration;

use assay::outbound::{Answer, Call, CallError, Outbound};
use http::{HeaderMap, Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::http_server::{HttpServer, Reply};

/// An authority, and a server of this machine with a certificate of it.
struct Tls {
    authority_pem: String,
    acceptor: TlsAcceptor,
}

fn tls(names: &[&str]) -> Tls {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&server_key, &issuer).unwrap();
    let server_key = PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], server_key)
        .unwrap();
    Tls {
        authority_pem,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

fn client() -> Outbound {
    let pem = tls(&["unused.test"]).authority_pem;
    Outbound::new(Some(pem.as_bytes()), None).unwrap()
}

fn get(url: &str) -> Call {
    Call {
        method: Method::GET,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        answer_bytes_max: 1000,
        within: Duration::from_secs(20),
    }
}

async fn reply(reply: Reply) -> Result<Answer, CallError> {
    let server = HttpServer::start(None).await;
    server.give(reply);
    client().call(get(&server.url("/"))).await
}

#[tokio::test]
async fn sends_what_it_is_given_and_gives_what_came_back() {
    let server = HttpServer::start(None).await;
    server.give(Reply::of(201, &[("etag", "\"x\"")], b"hello"));
    let mut call = get(&server.url("/a/b?c=d"));
    call.method = Method::POST;
    call.body = b"question".to_vec();
    call.headers.insert("x-word", "yes".parse().unwrap());
    let answer = client().call(call).await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["etag"], "\"x\"");
    assert_eq!(answer.body, b"hello");
    assert_eq!(format!("{answer:?}"), "Answer(201 Created, 5 bytes)");
    let seen = server.seen().remove(0).to_ascii_lowercase();
    assert!(seen.starts_with("post /a/b?c=d http/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-word: yes\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nquestion"), "{seen}");
}

#[tokio::test]
async fn follows_no_redirect_and_keeps_no_cookie() {
    let server = HttpServer::start(None).await;
    let location = server.url("/elsewhere");
    let headers = [("location", location.as_str()), ("set-cookie", "a=b")];
    server.give(Reply::of(302, &headers, b""));
    let client = client();
    for _ in 0..2 {
        let answer = client.call(get(&server.url("/"))).await.unwrap();
        assert_eq!(answer.status, StatusCode::FOUND);
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|request| request.starts_with("GET / ")));
    assert!(!seen[1].to_ascii_lowercase().contains("cookie"));
}

#[tokio::test]
async fn calls_without_tls_only_this_machine() {
    for url in [
        "http://192.0.2.1/",
        "http://localhost.example/",
        "ftp://127.0.0.1/",
        "/no/host",
    ] {
        assert_eq!(
            client().call(get(url)).await.unwrap_err(),
            CallError::Url,
            "{url}"
        );
    }
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_not_read() {
    let whole = reply(Reply::of(200, &[], &[b'x'; 1000])).await.unwrap();
    assert_eq!(whole.body.len(), 1000);
    let larger = reply(Reply::of(200, &[], &[b'x'; 1001])).await;
    assert_eq!(larger.unwrap_err(), CallError::TooLarge);
    let mut endless = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    endless.extend_from_slice(
        &b"3e8\r\n"
            .iter()
            .chain(&[b'x'; 1000])
            .chain(b"\r\n")
            .copied()
            .collect::<Vec<u8>>()
            .repeat(50),
    );
    assert_eq!(
        reply(Reply::Bytes(endless)).await.unwrap_err(),
        CallError::TooLarge
    );
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_not_whole_is_broken() {
    let head = "HTTP/1.1 200 X\r\nContent-Length: 10\r\n";
    let many = "a: b\r\n".repeat(100);
    let long = format!("a: {}\r\n", "x".repeat(100_000));
    for bytes in [
        format!("{head}\r\n12345"),
        format!("{head}Content-Length: 11\r\n\r\n0123456789"),
        format!("{head}{many}\r\n0123456789"),
        format!("{head}{long}\r\n0123456789"),
        "hello\r\n\r\n".to_owned(),
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let said = bytes.get(..60).unwrap_or(&bytes).to_owned();
        let got = reply(Reply::Bytes(bytes.into_bytes())).await;
        assert_eq!(got.unwrap_err(), CallError::Broken, "{said}");
    }
    assert_eq!(reply(Reply::Close).await.unwrap_err(), CallError::Broken);
}

#[tokio::test]
async fn nobody_there_is_said() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let got = client().call(get(&format!("http://{address}/"))).await;
    assert_eq!(got.unwrap_err(), CallError::Unreachable);
}

#[tokio::test]
async fn a_peer_that_trickles_is_left_at_the_deadline() {
    for bytes in [
        &b"HTTP/1.1 200 X\r\nContent-Length: 900\r\n\r\n"[..],
        b"HTTP/1.1 200 X\r\nA: ",
    ] {
        let server = HttpServer::start(None).await;
        server.give(Reply::Drip(bytes.to_vec()));
        let mut call = get(&server.url("/"));
        call.within = Duration::from_millis(300);
        assert_eq!(client().call(call).await.unwrap_err(), CallError::Timeout);
    }
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_name() {
    let own = tls(&["localhost"]);
    let server = HttpServer::start(Some(own.acceptor.clone())).await;
    server.give(Reply::of(200, &[], b"hello"));
    let port = server.address().port();
    let trusting = Outbound::new(Some(own.authority_pem.as_bytes()), None).unwrap();
    let at = |host: &str| get(&format!("https://{host}:{port}/"));
    assert_eq!(trusting.call(at("localhost")).await.unwrap().body, b"hello");
    // Another name than the certificate's, and another authority.
    assert_eq!(
        trusting.call(at("127.0.0.1")).await.unwrap_err(),
        CallError::Tls
    );
    assert_eq!(
        client().call(at("localhost")).await.unwrap_err(),
        CallError::Tls
    );
    // A port that speaks no TLS.
    let plain = HttpServer::start(None).await;
    let url = plain.url("/").replace("http://", "https://");
    let got = trusting.call(get(&url)).await.unwrap_err();
    assert!(
        [CallError::Tls, CallError::Unreachable, CallError::Timeout].contains(&got),
        "{got}"
    );
}

/// A proxy that connects every tunnel to one address, and notes where each was meant to lead.
async fn proxy(to: std::net::SocketAddr) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let (told, meant) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut inner, _)) = socket.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(inner.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            told.send(head.lines().next().unwrap().to_owned())
                .await
                .unwrap();
            let mut outer = TcpStream::connect(to).await.unwrap();
            inner.write_all(b"HTTP/1.1 200 X\r\n\r\n").await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    (url, meant)
}

#[tokio::test]
async fn a_configured_proxy_tunnels_everything_but_this_machine() {
    let own = tls(&["elsewhere.test"]);
    let server = HttpServer::start(Some(own.acceptor.clone())).await;
    server.give(Reply::of(200, &[], b"far"));
    let (url, mut meant) = proxy(server.address()).await;
    let client = Outbound::new(Some(own.authority_pem.as_bytes()), Some(&url)).unwrap();
    let far = client.call(get("https://elsewhere.test/x")).await.unwrap();
    assert_eq!(far.body, b"far");
    assert_eq!(
        meant.recv().await.unwrap(),
        "CONNECT elsewhere.test:443 HTTP/1.1"
    );
    // The tunnel leads to another host than was asked for: the certificate tells.
    let other = client.call(get("https://other.test/x")).await;
    assert_eq!(other.unwrap_err(), CallError::Tls);
    assert_eq!(
        meant.recv().await.unwrap(),
        "CONNECT other.test:443 HTTP/1.1"
    );

    let near = HttpServer::start(None).await;
    near.give(Reply::of(200, &[], b"near"));
    assert_eq!(
        client.call(get(&near.url("/"))).await.unwrap().body,
        b"near"
    );
    assert!(meant.try_recv().is_err(), "not by the proxy");
}
