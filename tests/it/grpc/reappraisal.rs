//! Registered devices held against a newer list: by the service itself, and by ReappraiseDevices.

use std::collections::BTreeSet;

use assay::flow::reappraise_devices::job;
use assay::grpc::proto;
use assay::grpc::proto::operations_service_client::OperationsServiceClient;
use assay::session::{Basis, Look};
use tonic::Status;

use super::harness::{MEMORY, Phone, Server, World, eventually, http_get};
use super::refusal::assert_refused;

type Answers = Vec<proto::ReappraiseDevicesResponse>;

async fn reappraise(
    server: &Server,
    request: proto::ReappraiseDevicesRequest,
) -> Result<Answers, Status> {
    let mut client = OperationsServiceClient::new(server.clients.0.clone());
    let mut stream = client.reappraise_devices(request).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

/// Puts serials on the list the service follows.
fn list(world: &World, serials: &[&str]) {
    let entries = serials
        .iter()
        .map(|serial| format!("\"{serial}\":{{\"status\":\"REVOKED\"}}"));
    let entries: Vec<_> = entries.collect();
    let list = format!("{{\"entries\":{{{}}}}}", entries.join(","));
    std::fs::write(world.path().join("status.json"), list).unwrap();
}

fn with_list(world: &World) -> String {
    list(world, &["ff"]);
    world.config(MEMORY).replace(
        "status_list_missing = \"allow\"",
        "status_list = \"status.json\"",
    )
}

/// The serial number of the certificate with the attestation key.
fn serial(phone: &mut Phone) -> String {
    let Some(proto::evidence::Kind::Android(chain)) = phone.evidence(b"any").kind else {
        panic!("an Android phone");
    };
    let certificate = &chain.certificate_chain[1];
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    format!("{:x}", parsed.tbs_certificate.serial)
}

async fn trust(server: &Server) -> proto::GetTrustStatusResponse {
    let request = proto::GetTrustStatusRequest {};
    let answer = server.attestation().get_trust_status(request).await;
    answer.unwrap().into_inner()
}

/// Waits until the service has looked at all devices there were at its start.
async fn first_run(server: &Server) -> proto::ReappraisalInfo {
    eventually("the first run", || async {
        let run = trust(server).await.reappraisal?;
        run.end_time.is_some().then_some(run)
    })
    .await
}

/// From now on the service waits for a newer list, which another instance has and works by: whatever
/// changes, nobody but the test looks at its devices again.
async fn leave_the_runs_to_another(server: &Server) {
    first_run(server).await;
    let engine = server.service.engine();
    let now = engine.clock.now();
    let basis = Basis {
        google: Some([1; 32]),
        google_as_of: Some(now),
        ..engine.basis(&engine.lists.load_full())
    };
    let look = Look {
        me: [1; 16],
        basis,
        changed: true,
        now,
    };
    eventually("the run of another instance", || async {
        job::take(engine, &look).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_entry_of_the_list_cuts_a_registered_device_and_no_other() {
    let world = World::new();
    let server = world.start_from(&with_list(&world)).await;
    let (mut eve, mut rosa) = (world.android(), world.android());
    // Before it registers: each piece of evidence is for a new key.
    let attested_by = serial(&mut eve);
    let device = eve.join(&server, "eve@mail.test").await;
    let grant = eve.issue(&server, &device).await.unwrap();
    let other = rosa.join(&server, "rosa@mail.test").await;
    let kept = rosa.issue(&server, &other).await.unwrap();
    let run = first_run(&server).await;
    assert_eq!((run.cause.as_str(), run.done_permille), ("schedule", 1000));
    list(&world, &["ff", &attested_by]);
    eventually("the device is revoked", || async {
        let request = proto::GetDeviceRequest {
            device_id: device.device_id.clone(),
        };
        let answer = server.devices().get_device(request).await.unwrap();
        let device = answer.into_inner().device.unwrap();
        (device.state() == proto::DeviceState::Revoked).then_some(())
    })
    .await;
    let decision = eve.decide(&server, &grant.access_token).await;
    assert_eq!(decision.reason, "DEVICE_REVOKED");
    let refused = eve.refresh(&server, &grant.refresh_token).await;
    assert_refused(&refused.unwrap_err(), "DEVICE_REVOKED");
    let decision = rosa.decide(&server, &kept.access_token).await;
    assert_eq!(decision.reason, "");
    // It is counted after it is done.
    eventually("the count of it", || async {
        let (_, metrics) = http_get(&server, "/metrics").await;
        let line = "assay_reappraisal_effects_total{effect=\"revoked\"} 1\n";
        metrics.contains(line).then_some(())
    })
    .await;
    server.stop().await;
}

fn found(answers: &[proto::ReappraiseDevicesResponse]) -> BTreeSet<String> {
    let findings = answers.iter().flat_map(|answer| &answer.findings);
    findings.map(|finding| finding.device_id.clone()).collect()
}

async fn goes_on_behind_each(
    server: &Server,
    (trial, answers): (&proto::ReappraiseDevicesRequest, &Answers),
    registered: &BTreeSet<String>,
) {
    // Going on behind each message gives what came after it.
    let mut seen = BTreeSet::new();
    for answer in answers {
        seen.extend(found(std::slice::from_ref(answer)));
        let rest = proto::ReappraiseDevicesRequest {
            resume_token: answer.resume_token.clone(),
            ..trial.clone()
        };
        let rest = found(&reappraise(server, rest).await.unwrap());
        assert_eq!(&(&seen | &rest), registered);
    }
}

async fn refuses_what_is_no_request(server: &Server, trial: &proto::ReappraiseDevicesRequest) {
    for request in [
        proto::ReappraiseDevicesRequest {
            resume_token: "AQ".to_owned(),
            ..trial.clone()
        },
        proto::ReappraiseDevicesRequest {
            app_id: "No app".to_owned(),
            ..trial.clone()
        },
    ] {
        let refused = reappraise(server, request).await.unwrap_err();
        assert_refused(&refused, "MALFORMED_REQUEST");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_tells_what_a_run_would_do_and_resumes_where_it_was_told_to() {
    const PHONES: usize = 130;
    let world = World::new();
    let config = world.config(MEMORY);
    let server = world.start_from(&config).await;
    leave_the_runs_to_another(&server).await;
    let mut registered = BTreeSet::new();
    for number in 0..PHONES {
        let subject = format!("user-{number}@mail.test");
        registered.insert(world.android().join(&server, &subject).await.device_id);
    }
    // What the configuration file says from now on.
    let engine = server.service.engine();
    let mut apps = assay::flow::Apps::clone(&engine.apps.load());
    for app in apps.values_mut() {
        std::sync::Arc::make_mut(app).policy.android.os_version_min = 990_000;
    }
    engine.apps.store(std::sync::Arc::new(apps));
    let trial = proto::ReappraiseDevicesRequest {
        app_id: "demo".to_owned(),
        validate_only: true,
        ..proto::ReappraiseDevicesRequest::default()
    };
    let answers = reappraise(&server, trial.clone()).await.unwrap();
    assert_eq!(found(&answers), registered);
    let (last, before) = answers.split_last().unwrap();
    assert_eq!((last.done_permille, last.suspended), (1000, PHONES as u64));
    for answer in before {
        assert!(answer.done_permille < 1000 && answer.findings.len() <= 100);
    }
    goes_on_behind_each(&server, (&trial, &answers), &registered).await;
    refuses_what_is_no_request(&server, &trial).await;
    let real = proto::ReappraiseDevicesRequest {
        validate_only: false,
        ..trial
    };
    let answers = reappraise(&server, real.clone()).await.unwrap();
    assert_eq!(answers.last().unwrap().suspended, PHONES as u64);
    let again = reappraise(&server, real).await.unwrap();
    assert_eq!(
        (found(&again).len(), again.last().unwrap().suspended),
        (0, 0)
    );
    server.stop().await;
}
