//! An HTTP server that answers as a test tells it, also in ways that no library would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What is sent for a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then one more now and then, for ever.
    Drip(Vec<u8>),
    /// Nothing at all.
    Close,
}

impl Reply {
    /// A whole answer.
    pub(crate) fn of(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        if status == 304 {
            head = format!("HTTP/1.1 {status} X\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }
}

type Script = Box<dyn Fn(&str) -> Reply + Send>;

/// A server on a free port of this machine; it ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct HttpServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl HttpServer {
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script: Script = Box::new(|_| Reply::Close);
        let server = Self {
            address: socket.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script)),
            seen: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (serving, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serving.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// From now on every request gets this.
    pub(crate) fn give(&self, reply: Reply) {
        self.answer(move |_| reply.clone());
    }

    /// From now on this decides, by the head of the request.
    pub(crate) fn answer(&self, script: impl Fn(&str) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far: heads, with the body behind them.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        loop {
            if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if request.len() >= end + 4 + length {
                    break;
                }
            }
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => request.extend_from_slice(&piece[..length]),
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let reply = (self.script.lock().unwrap())(&request);
        self.seen.lock().unwrap().push(request);
        match reply {
            Reply::Bytes(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
            Reply::Drip(bytes) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(b" ").await.is_ok() {
                    let _ = stream.flush().await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Reply::Close => {}
        }
    }
}
