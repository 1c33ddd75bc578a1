//! `assay serve` as an operator runs it: its exit codes, its words when it does not start, its drain
//! and its log.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use assay::grpc::proto;
use tonic::Request;
use tonic::transport::Endpoint;

use super::harness::{Clients, PUBLIC_URL, SIGNING_DIGEST, World, eventually, http_get_at, verify};
use super::refusal::assert_refused;
use super::story::whole_story;
use crate::support::redis_server::free_port;

const ASSAY: &str = env!("CARGO_BIN_EXE_assay");

/// The starter of `assay config example --development`, on free ports and for the phones of a world.
fn starter() -> (String, SocketAddr) {
    let printed = Command::new(ASSAY)
        .args(["config", "example", "--development"])
        .output()
        .unwrap();
    assert!(printed.status.success());
    let mut text = String::from_utf8(printed.stdout).unwrap();
    let side = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let digest = data_encoding::HEXLOWER.encode(&SIGNING_DIGEST);
    for (old, new) in [
        ("\"127.0.0.1:8443\"", "\"127.0.0.1:0\"".to_owned()),
        ("\"127.0.0.1:9464\"", format!("\"{side}\"")),
        ("\"http://127.0.0.1:8443\"", format!("\"{PUBLIC_URL}\"")),
        (
            "#android_roots = []",
            "android_roots = [\"android-root.pem\"]".to_owned(),
        ),
        (
            "#apple_roots = []",
            "apple_roots = [\"apple-root.pem\"]".to_owned(),
        ),
        (
            "log_format = \"text\"",
            "log_format = \"json\"\nlog_level = \"trace\"".to_owned(),
        ),
        (
            "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
            digest,
        ),
    ] {
        assert!(text.contains(old), "{old} is not in the starter");
        text = text.replace(old, &new);
    }
    (text, side)
}

/// A running `assay serve`; killed when dropped.
struct Served {
    child: Child,
    log: PathBuf,
    side: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let log = self.log();
        log.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    async fn clients(&self) -> Clients {
        let serving = || async {
            let log = self.log();
            // The last line may be half written.
            let mut lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let line = lines.find(|line| line.contains("\"serving\""))?;
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["address"].as_str().map(str::to_owned)
        };
        let address = eventually("the line that it serves", serving).await;
        let address = format!("http://{address}");
        Clients(
            Endpoint::from_shared(address)
                .unwrap()
                .connect()
                .await
                .unwrap(),
        )
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        for _ in 0..2400 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end");
    }
}

fn serve(world: &World, config: &str, side: SocketAddr) -> Served {
    let (path, log) = (world.path().join("assay.toml"), world.path().join("log"));
    fs::write(&path, config).unwrap();
    let child = Command::new(ASSAY)
        .args(["serve", "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(fs::File::create(world.path().join("out")).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    Served { child, log, side }
}

/// Runs `assay serve` where it is not going to start.
fn refuses_to_serve(world: &World, config: &str) -> String {
    let path = world.path().join("refused.toml");
    fs::write(&path, config).unwrap();
    let child = Command::new("timeout")
        .args(["300", ASSAY, "serve", "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .output();
    let Output { status, stderr, .. } = child.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[tokio::test]
async fn a_whole_story_leaves_no_secret_in_the_log_and_every_line_is_json() {
    let world = World::new();
    let (config, side) = starter();
    let mut served = serve(&world, &config, side);
    let clients = served.clients().await;
    assert!(
        world.path().join("keys").is_dir(),
        "made at the first start"
    );
    eventually("readiness", || async {
        http_get_at(served.side, "/readyz")
            .await
            .0
            .contains("200")
            .then_some(())
    })
    .await;
    for (subject, mut phone) in [
        ("anna.log@mail.test", world.android()),
        ("ines.log@mail.test", world.iphone()),
    ] {
        whole_story(&world, &clients, &mut phone, subject).await;
        // Refusals have more to say than answers.
        let device = phone_of(&clients, &mut phone, subject).await;
        let mut stranger = world.android();
        stranger.join(&clients, "stranger.log@mail.test").await;
        let request = proto::IssueSessionRequest {
            proof: stranger.proof("IssueSession"),
            ..phone.issuance(&device)
        };
        let status = clients.sessions().issue_session(request).await.unwrap_err();
        assert_refused(&status, "PROOF_KEY_MISMATCH");
        let no = verify(&clients, phone.call("secret.of.mine"))
            .await
            .unwrap();
        assert!(!no.allow);
        let status = phone.refresh(&clients, "asr1.my.secret").await.unwrap_err();
        assert_refused(&status, "TOKEN_INVALID");
    }
    drop(clients);
    served.signal("-TERM");
    assert_eq!(served.ended().await.code(), Some(0));
    let (log, lines) = (served.log(), served.lines());
    assert!(lines.len() > 30, "{log}");
    for line in &lines {
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let rpcs = lines.iter().filter(|line| line["method"].is_string());
    assert!(rpcs.clone().count() > 30);
    for line in rpcs {
        assert!(line["request_id"].is_string(), "{line}");
    }
    let mut secrets = world.secrets();
    secrets.extend(["secret.of.mine", "my.secret", "mail.test", "any challenge"].map(String::from));
    assert!(secrets.len() > 60);
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
    assert_eq!(fs::read(world.path().join("out")).unwrap(), b"");
}

async fn phone_of(
    clients: &Clients,
    phone: &mut super::harness::Phone,
    subject: &str,
) -> proto::Device {
    match phone.register(clients, subject).await {
        Ok(registered) => registered.device.unwrap(),
        Err(status) => {
            // An iPhone's key was revoked and does not come back; its record is still there.
            assert_refused(&status, "DEVICE_KEY_BANNED");
            super::harness::devices_of(clients, subject).await.remove(0)
        }
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_sigterm_and_the_exit_code_is_0() {
    let world = World::new();
    let (config, side) = starter();
    let mut served = serve(&world, &config, side);
    let clients = served.clients().await;
    let (hold, held) = tokio::sync::mpsc::channel::<proto::GetJwksRequest>(1);
    let channel = clients.0.clone();
    let slow = tokio::spawn(async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/assay.v1.VerificationService/GetJwks");
        let codec =
            tonic_prost::ProstCodec::<proto::GetJwksRequest, proto::GetJwksResponse>::default();
        let message = tokio_stream::wrappers::ReceiverStream::new(held);
        client
            .client_streaming(Request::new(message), path, codec)
            .await
    });
    let under_way = "assay_rpc_in_flight{method=\"assay.v1.VerificationService/GetJwks\"} 1";
    eventually("the request under way", || async {
        let (_, metrics) = http_get_at(served.side, "/metrics").await;
        metrics.contains(under_way).then_some(())
    })
    .await;
    served.signal("-TERM");
    eventually("the drain", || async {
        let (head, _) = http_get_at(served.side, "/readyz").await;
        head.contains("503").then_some(())
    })
    .await;
    assert!(served.child.try_wait().unwrap().is_none(), "it waits");
    hold.send(proto::GetJwksRequest {}).await.unwrap();
    drop(hold);
    let answer = slow.await.unwrap().unwrap().into_inner();
    assert!(answer.jwks_json.contains("ES256"));
    drop(clients);
    assert_eq!(served.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigint_and_an_idle_connection_end_with_0_at_once() {
    let world = World::new();
    let (config, side) = starter();
    let mut served = serve(&world, &config, side);
    let clients = served.clients().await;
    served.signal("-INT");
    assert_eq!(served.ended().await.code(), Some(0));
    drop(clients);
}

#[tokio::test]
async fn a_bad_configuration_is_reported_as_a_whole_with_exit_code_1() {
    let world = World::new();
    let (config, _) = starter();
    let bad = config
        .replace("kind = \"memory\"", "kind = \"memry\"")
        .replace("[apps.demo]", "[apps.demo]\nuknown = 1");
    let said = refuses_to_serve(&world, &bad);
    assert!(said.contains("memry") && said.contains("uknown"), "{said}");
    assert!(
        said.contains("refused.toml:") && said.contains("2 problems"),
        "{said}"
    );
    assert!(!world.path().join("keys").exists(), "nothing is made");
    let missing = Command::new(ASSAY)
        .args(["serve", "--config", "/nowhere/assay.toml"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/assay.toml"));
}

#[tokio::test]
async fn an_address_or_a_store_in_use_is_said_in_words() {
    let world = World::new();
    let (config, side) = starter();
    let config = config.replace(
        "kind = \"memory\"",
        "kind = \"disk\"\ndirectory = \"state\"",
    );
    let mut served = serve(&world, &config, side);
    drop(served.clients().await);
    let elsewhere = |text: &str| text.replace(&side.to_string(), "127.0.0.1:0");
    let said = refuses_to_serve(&world, &elsewhere(&config));
    assert!(said.contains("in use by another process"), "{said}");

    let memory = config.replace(
        "kind = \"disk\"\ndirectory = \"state\"",
        "kind = \"memory\"",
    );
    let said = refuses_to_serve(&world, &memory);
    assert!(said.contains(&format!("cannot listen on {side}")), "{said}");
    let address = served.lines().iter().find_map(|line| {
        let serving = line["message"] == "serving";
        serving.then(|| line["address"].as_str().unwrap().to_owned())
    });
    let address = address.unwrap();
    let said = refuses_to_serve(
        &world,
        &elsewhere(&memory).replace(
            "listen = \"127.0.0.1:0\"\npublic",
            &format!("listen = \"{address}\"\npublic"),
        ),
    );
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    served.signal("-TERM");
    assert_eq!(served.ended().await.code(), Some(0));
}

#[tokio::test]
async fn keys_are_made_at_the_first_start_only_where_the_configuration_says_so_and_kept() {
    let world = World::new();
    let (config, side) = starter();
    let said = refuses_to_serve(&world, &config.replace("generate = true", ""));
    assert!(said.contains("keys"), "{said}");
    assert!(!world.path().join("keys").exists());
    let production = config.replace("mode = \"development\"", "mode = \"production\"");
    let said = refuses_to_serve(&world, &production);
    assert!(said.contains("generate"), "{said}");
    assert!(!world.path().join("keys").exists());

    let mut sets = Vec::new();
    for _ in 0..2 {
        let mut served = serve(&world, &config, side);
        let clients = served.clients().await;
        let keys = clients
            .verification()
            .get_jwks(proto::GetJwksRequest {})
            .await;
        sets.push(keys.unwrap().into_inner().jwks_json);
        drop(clients);
        served.signal("-TERM");
        assert_eq!(served.ended().await.code(), Some(0));
    }
    assert_eq!(sets[0], sets[1]);
}
