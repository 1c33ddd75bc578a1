//! A server that exchanges receipts as Apple's does, and says what it is told to.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay::simulator::receipt::Receipt;
use assay::simulator::{Curve, SoftKey};
use assay::time::{Clock, Timestamp};
use data_encoding::BASE64;
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::flows::phone::Kind;
use crate::flows::world::{TEAM, World};

pub(super) const KEY_ID: &str = "F6G7H8I9J0";

/// What the server says to the next requests.
#[derive(Clone, Copy)]
pub(super) enum Says {
    Renewed,
    Changed(fn(&mut Receipt)),
    OfAnotherKey,
    /// The receipt that was sent.
    TheSame,
    Status(u16),
    Text(u16, &'static str),
    /// 429 with this many seconds.
    SlowDown(u32),
    /// A status, and then a body without an end.
    Endless(u16),
    HangsUp,
    Nothing,
}

/// A request as it came.
#[derive(Clone)]
pub(super) struct Seen {
    head: String,
    pub(super) receipt: Vec<u8>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

impl Seen {
    fn token(&self) -> &str {
        let mut lines = self.head.lines();
        let line = lines.find_map(|line| line.strip_prefix("authorization: "));
        line.unwrap()
    }

    fn claims(&self, key: &SoftKey) -> Claims {
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        let key = jsonwebtoken::DecodingKey::from_ec_der(key.public_point());
        jsonwebtoken::decode(self.token(), &key, &rules)
            .unwrap()
            .claims
    }

    pub(super) fn check_token(&self, apple: &Apple, now: Timestamp) {
        assert!(
            self.head
                .starts_with("POST /v1/attestationData HTTP/1.1\r\n")
        );
        let header = jsonwebtoken::decode_header(self.token()).unwrap();
        assert_eq!(header.kid.as_deref(), Some(KEY_ID));
        let claims = self.claims(&apple.key);
        assert_eq!((claims.iss.as_str(), claims.iat), (TEAM, now.as_secs()));
    }

    pub(super) fn team_id(&self) -> String {
        let payload = self.token().split('.').nth(1).unwrap();
        let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes());
        let claims: Claims = serde_json::from_slice(&payload.unwrap()).unwrap();
        claims.iss
    }
}

/// The running server.
pub(super) struct Apple {
    address: SocketAddr,
    key: SoftKey,
    key_file: NamedTempFile,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    says: Mutex<Says>,
    seen: Mutex<Vec<Seen>>,
    told: Notify,
    /// The leaf of a key that is nobody's.
    other_leaf: Vec<u8>,
}

impl Apple {
    /// A server that renews every receipt, and a developer key it takes.
    pub(super) async fn start(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = SoftKey::generate(Curve::P256).unwrap();
        let mut key_file = NamedTempFile::new().unwrap();
        let pkcs8 = BASE64.encode(key.to_pkcs8().unwrap().expose());
        writeln!(key_file, "-----BEGIN PRIVATE KEY-----").unwrap();
        for line in pkcs8.as_bytes().chunks(64) {
            writeln!(key_file, "{}", std::str::from_utf8(line).unwrap()).unwrap();
        }
        write!(key_file, "-----END PRIVATE KEY-----").unwrap();
        key_file.flush().unwrap();
        let shared = Arc::new(Shared {
            clock: world.engine.clock.clone(),
            says: Mutex::new(Says::Renewed),
            seen: Mutex::default(),
            told: Notify::new(),
            other_leaf: other_leaf(world),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            key,
            key_file,
            shared,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1/attestationData", self.address)
    }

    pub(super) fn key_file(&self) -> &Path {
        self.key_file.path()
    }

    pub(super) fn say(&self, says: Says) {
        *self.shared.says.lock().unwrap() = says;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits for so many requests in all.
    pub(super) async fn asked(&self, count: usize) {
        while self.seen().len() < count {
            self.shared.told.notified().await;
        }
    }
}

fn other_leaf(world: &World) -> Vec<u8> {
    let mut phone = world.phone(Kind::Apple, "nobody");
    let now = world.now();
    let object = phone.apple().attest(b"client data", now).unwrap();
    let receipt = &object[crate::apple_support::receipt_range(&object)];
    Receipt::read(receipt).unwrap().leaf
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, Arc::clone(&shared)));
    }
}

async fn answer(mut socket: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let seen = request(&mut socket).await?;
    let said = *shared.says.lock().unwrap();
    shared.seen.lock().unwrap().push(seen.clone());
    shared.told.notify_one();
    let renewed = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = Receipt::read(&seen.receipt).unwrap();
        receipt.risk_metric = Some(3);
        receipt.created_at = shared.clock.now();
        change(&mut receipt);
        (200, BASE64.encode(&World::receipt(&receipt)), String::new())
    };
    let (status, body, header) = match said {
        Says::Renewed => renewed(&|_| ()),
        Says::Changed(change) => renewed(&change),
        Says::OfAnotherKey => renewed(&|new| new.leaf.clone_from(&shared.other_leaf)),
        Says::TheSame => (200, BASE64.encode(&seen.receipt), String::new()),
        Says::Status(status) => (status, String::new(), String::new()),
        Says::Text(status, text) => (status, text.to_owned(), String::new()),
        Says::SlowDown(seconds) => (429, String::new(), format!("retry-after: {seconds}\r\n")),
        Says::Endless(status) => {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 99999999\r\n\r\n");
            socket.write_all(head.as_bytes()).await.ok()?;
            while socket.write_all(&[b'A'; 4096]).await.is_ok() {}
            return None;
        }
        Says::HangsUp => return None,
        Says::Nothing => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            return None;
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{header}content-length: {length}\r\n\r\n{body}");
    socket.write_all(head.as_bytes()).await.ok()
}

async fn request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length?.parse::<usize>().ok()? {
            return Some(Seen {
                receipt: BASE64.decode(body.as_bytes()).ok()?,
                head: format!("{head}\r\n"),
            });
        }
    }
}
