//! Attacks and mishaps that cross the borders of the areas.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay::config::Config;
use assay::id::Bucket;
use assay::key_directory::generate_files;
use assay::session::Fleet;
use assay::store::record::{seal, unseal};
use assay::store::redis::{Redis, RedisOptions, Servers};
use assay::store::{
    Admission, Change, ChangeSet, Committed, Durability, Item, Key, OperationId, Record, Store,
};
use assay::time::Timestamp;
use assay::token::Purpose;
use assay::token::keyring::Keyring;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::support::redis_server::RedisServer;

fn key(name: &str) -> Key {
    Key::new(Bucket::new(1).unwrap(), name.to_owned())
}

/// Everybody who revokes while the replicas are gone gets an answer that says "done here, and on no
/// replica", and none of the revocations is left out.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_wait_in_vain_for_their_turn_with_the_replicas_are_applied() {
    // More than have their turn within the time that is waited for one.
    const COMMITS: u8 = 12;
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(
        Redis::connect(&RedisOptions {
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(4),
            ..RedisOptions::new(Servers::One(server.url()))
        })
        .unwrap(),
    );
    let commits: Vec<_> = (0..COMMITS)
        .map(|number| {
            let store = Arc::clone(&store);
            let change = ChangeSet {
                operation: OperationId([number + 1; 16]),
                bucket: Bucket::new(1).unwrap(),
                items: vec![Item {
                    key: key(&format!("d:{number}")),
                    expected: None,
                    change: Change::Put {
                        value: vec![number],
                        live_for: None,
                    },
                }],
                claims: Vec::new(),
                index: Vec::new(),
                events: Vec::new(),
                durability: Durability::Replicated {
                    replicas: 1,
                    within: Duration::from_millis(700),
                },
                limits: Vec::new(),
                windows: Vec::new(),
            };
            tokio::spawn(async move { store.commit(change).await })
        })
        .collect();
    for commit in commits {
        let done = Committed::Done { replicas_acked: 0 };
        assert_eq!(commit.await.unwrap(), Ok(done));
    }
    let load = (0..COMMITS).map(|number| key(&format!("d:{number}")));
    let ask = Admission {
        load: load.collect(),
        ..Admission::default()
    };
    let records = store.admit(ask).await.unwrap().records;
    assert!(records.iter().all(Option::is_some), "{records:?}");
}

#[test]
fn every_record_has_a_sealing_key_of_its_own() {
    let keyring = Keyring::from_pem(&generate_files(Timestamp::EPOCH).unwrap()).unwrap();
    let (here, there) = (key("f"), key("g"));
    let sealed = seal(&keyring, &here, &Fleet::default()).unwrap();
    let record = Record {
        version: OperationId([1; 16]),
        value: sealed.clone(),
    };
    assert_eq!(unseal(&keyring, &here, &record), Ok(Fleet::default()));
    assert!(unseal::<Fleet>(&keyring, &there, &record).is_err());
    // What two records are sealed with must not be one key: the random nonces would run out.
    let (_, subkey) = keyring.secret(Purpose::Seal);
    let shared = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, subkey.bytes()).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&sealed[5..17]).unwrap();
    let mut body = sealed[17..].to_vec();
    let opened = shared.open_in_place(nonce, Aad::from(here.to_string()), &mut body);
    assert!(opened.is_err());
}

/// A configuration that is good but for `lines` in `[apps.bank.…]` and below.
fn problems(public_url: &str, lines: &str) -> Vec<String> {
    let text = format!(
        r#"
mode = "development"
[server]
plaintext = true
public_url = "{public_url}"
[store]
kind = "memory"
[attestation]
status_list_missing = "allow"
[apps.bank]
audiences = ["api"]
[apps.bank.apple]
team_id = "A1B2C3D4E5"
bundle_id = "com.example.bank"
{lines}"#
    );
    match Config::parse(&text, Path::new("/etc/assay")) {
        Ok(_) => Vec::new(),
        Err(report) => {
            let all = report.problems().iter();
            all.map(|problem| problem.message.clone()).collect()
        }
    }
}

#[test]
fn what_passes_the_check_of_the_configuration_does_not_fail_later() {
    const GOOD: &str = "https://assay.example";
    assert_eq!(problems(GOOD, ""), [""; 0]);
    // Proofs are compared with normal forms: a URL without one would refuse them all.
    let astray = ["proofs cannot be aimed at this URL"];
    assert_eq!(problems("https://assay.example/a/../b", ""), astray);
    assert_eq!(problems("https://assay.example/a|b", ""), astray);
    let uris = "[apps.bank.proof]\naccepted_uris = [\"https://a.example/./b\"]";
    assert_eq!(problems(GOOD, uris), astray);
    // The exporter has no TLS and would stop the start.
    let collector = "[telemetry]\notlp_endpoint = \"https://collector.example:4317\"";
    assert_eq!(problems(GOOD, collector), ["has to begin with http://"]);
    // The index of devices has 128 places whatever the configuration promises.
    let devices = "[apps.bank.limits]\ndevices_per_subject = 129";
    assert_eq!(problems(GOOD, devices), ["has to be from 1 to 128"]);
    let most = "[apps.bank.limits]\ndevices_per_subject = 128\nsessions_per_subject = 1000";
    assert_eq!(problems(GOOD, most), [""; 0]);
}

/// A field marked `debug_redact` is in no text that a log or a failed test could show.
#[test]
fn messages_do_not_print_what_is_marked() {
    use assay::grpc::proto::{
        Device, EndSessionRequest, Grant, IssueSessionRequest, IssueSessionResponse,
        RefreshSessionRequest, VerifyRequestRequest, end_session_request,
    };
    const MARKED: &str = "asr1.marked";
    let marked = || MARKED.to_owned();
    let grant = Grant {
        access_token: marked(),
        refresh_token: marked(),
        ..Grant::default()
    };
    let by_token = end_session_request::Session::RefreshToken(marked());
    let printed = [
        format!("{grant:?}"),
        format!("{:?}", IssueSessionResponse { grant: Some(grant) }),
        format!("{by_token:?}"),
        format!(
            "{:?}",
            EndSessionRequest {
                session: Some(by_token)
            }
        ),
        format!(
            "{:?}",
            Device {
                subject: marked(),
                ..Device::default()
            }
        ),
        format!(
            "{:?}",
            IssueSessionRequest {
                request_id: String::new(),
                proof: marked(),
                ..IssueSessionRequest::default()
            }
        ),
        format!(
            "{:?}",
            RefreshSessionRequest {
                refresh_token: marked(),
                ..RefreshSessionRequest::default()
            }
        ),
        format!(
            "{:?}",
            VerifyRequestRequest {
                access_token: marked(),
                ..VerifyRequestRequest::default()
            }
        ),
    ];
    for text in printed {
        assert!(text.contains("[redacted]"), "{text}");
        assert!(!text.contains(MARKED), "{text}");
    }
}

async fn serve(dir: &Path) -> assay::service::Service {
    let text = r#"
mode = "development"
[server]
listen = "127.0.0.1:0"
plaintext = true
public_url = "https://assay.example"
drain = "2s"
[side]
listen = "127.0.0.1:0"
[keys]
directory = "keys"
generate = true
[store]
kind = "memory"
[attestation]
status_list_missing = "allow"
[apps.bank]
audiences = ["api"]
[apps.bank.apple]
team_id = "A1B2C3D4E5"
bundle_id = "com.example.bank"
"#;
    let file = dir.join("assay.toml");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&file).unwrap();
    let metrics = Arc::new(assay::telemetry::metrics::Metrics::new("0"));
    let clock = assay::time::Clock::system();
    assay::service::Service::start(&config, clock, metrics)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_watches_the_health_does_not_hold_up_the_end() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let dir = tempfile::tempdir().unwrap();
    let service = serve(dir.path()).await;
    let url = format!("http://{}", service.grpc_addr());
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut watched = client.watch(request).await.unwrap().into_inner();
    assert!(watched.message().await.unwrap().is_some());
    assert!(service.stop().await, "not drained");
    let mut last = None;
    while let Ok(Some(status)) = watched.message().await {
        last = Some(status.status());
    }
    assert_eq!(last, Some(ServingStatus::NotServing));
}
