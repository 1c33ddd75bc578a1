//! A TCP proxy that breaks the network on command.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Stands between a client and a server; gone when dropped, with its connections.
pub(crate) struct Proxy {
    port: u16,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

struct Faults {
    /// Answers of the server are thrown away.
    swallow: AtomicBool,
    /// Connections so far, and how many of the first of them say nothing more.
    opened: AtomicU64,
    closed: AtomicU64,
    silent: AtomicU64,
    /// Where new connections lead.
    server_port: AtomicU16,
    /// New connections are closed at once.
    refuse: AtomicBool,
    /// Answers of the server come so much later.
    delay_millis: AtomicU64,
    /// Connections opened before the newest number are closed.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Faults {
            swallow: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            server_port: AtomicU16::new(server_port),
            refuse: AtomicBool::new(false),
            delay_millis: AtomicU64::new(0),
            cuts: watch::Sender::new(0),
        });
        let shared = Arc::clone(&faults);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let server_port = shared.server_port.load(Ordering::SeqCst);
                let server = SocketAddr::from(([127, 0, 0, 1], server_port));
                if let Ok(server) = TcpStream::connect(server).await {
                    tokio::spawn(carry(client, server, Arc::clone(&shared)));
                }
            }
        });
        Self {
            port,
            faults,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were.
    pub(crate) fn opened(&self) -> u64 {
        self.faults.opened.load(Ordering::SeqCst)
    }

    /// How many of them nobody has closed.
    pub(crate) fn open(&self) -> u64 {
        self.opened() - self.faults.closed.load(Ordering::SeqCst)
    }

    /// Leads new connections to another server; those there are stay.
    pub(crate) fn redirect(&self, server_port: u16) {
        self.faults.server_port.store(server_port, Ordering::SeqCst);
    }

    /// Closes every connection there is; new ones are let through.
    pub(crate) fn cut(&self) {
        self.faults.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whatever is answered on the connections there are is thrown away for ever; they stay open, and
    /// new ones work.
    pub(crate) fn silence(&self) {
        let opened = self.faults.opened.load(Ordering::SeqCst);
        self.faults.silent.store(opened, Ordering::SeqCst);
    }

    /// Whether new connections are closed at once.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.faults.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Whether what the server answers is thrown away.
    pub(crate) fn swallow_answers(&self, swallow: bool) {
        self.faults.swallow.store(swallow, Ordering::SeqCst);
    }

    /// Makes answers late.
    pub(crate) fn delay_answers(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.faults.delay_millis.store(millis, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let number = faults.opened.fetch_add(1, Ordering::SeqCst);
    let mut cuts = faults.cuts.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = questions(from_client, to_server) => {}
        () = answers(from_server, to_client, &faults, number) => {}
        _ = cuts.changed() => {}
    }
    faults.closed.fetch_add(1, Ordering::SeqCst);
}

async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, number: u64) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let delay = faults.delay_millis.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let is_silent = number < faults.silent.load(Ordering::SeqCst);
        if is_silent || faults.swallow.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
