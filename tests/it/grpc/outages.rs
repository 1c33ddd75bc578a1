//! Health, readiness and reflection, and what is answered while the store is not there.

use std::time::Duration;

use assay::grpc::proto;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::harness::{
    Clients, MEMORY, Phone, Server, World, devices_of, end_by_token, events_of, eventually,
    find_by_key, http_get, introspect, link, resume, revoke, suspend, verify,
};
use super::refusal::{assert_refused, assert_says_none_of};
use super::story::on;
use crate::support::redis_server::RedisServer;

/// The health of the server as a whole, and of one of its services by name: `None` while one of them has
/// changed and the other is about to.
async fn health(clients: &Clients) -> Option<ServingStatus> {
    let mut client = HealthClient::new(clients.0.clone());
    let mut told = Vec::new();
    for service in ["", "assay.v1.VerificationService"] {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await.unwrap();
        told.push(answer.into_inner().status());
    }
    told.dedup();
    told.pop().filter(|_| told.is_empty())
}

async fn is_ready(server: &Server) -> bool {
    http_get(server, "/readyz").await.0.contains("200")
}

/// Waits until health and readiness both say so.
async fn becomes(server: &Server, ready: bool) {
    let wanted = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    eventually("health and readiness", || async {
        (health(server).await == Some(wanted) && is_ready(server).await == ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_redis_means_not_ready_unavailable_and_never_yes_until_it_is_back() {
    let mut redis = RedisServer::start();
    let world = World::new();
    let server = world.start(&on(&redis)).await;
    becomes(&server, true).await;
    let mut phone = world.android();
    let subject = "outage@mail.test";
    let device = phone.join(&server, subject).await;
    let grant = phone.issue(&server, &device).await.unwrap();
    let registration = phone.registration(&server, subject).await;
    // Evidence is made with a new key; the story goes on with another phone.
    let mut phone = world.android();
    let device_too = phone.join(&server, subject).await;
    let live = phone.issue(&server, &device_too).await.unwrap();
    let call = phone.call(&live.access_token);
    assert!(verify(&server, call).await.unwrap().allow);

    redis.kill();
    becomes(&server, false).await;
    let refresh = phone.refreshment(&live.refresh_token);
    let answers = [
        server.devices().register_device(registration).await.err(),
        phone.issue(&server, &device_too).await.err(),
        server
            .sessions()
            .refresh_session(refresh.clone())
            .await
            .err(),
        end_by_token(&server, &grant.refresh_token).await.err(),
        verify(&server, phone.call(&live.access_token)).await.err(),
        introspect(&server, &live.access_token).await.err(),
        get(&server, &device.device_id).await.err(),
        list(&server, subject).await.err(),
        list_sessions(&server, subject).await.err(),
        resume(&server, &device.device_id).await.err(),
        link(&server, &device.device_id, &device_too.device_id)
            .await
            .err(),
        find_by_key(&server, &device.key_thumbprint).await.err(),
        events_of(&server, &device.device_id).await.err(),
    ];
    for (number, status) in answers.into_iter().enumerate() {
        let status = status.unwrap_or_else(|| panic!("answer {number} is a yes"));
        assert_refused(&status, "STATE_STORE_UNAVAILABLE");
        assert_says_none_of(&status, &world.secrets());
    }
    hold(&server, &world, &device.device_id).await;
    // What needs no store still works, and what is refused without one still is.
    world.android().challenge(&server, subject).await;
    let keys = server
        .verification()
        .get_jwks(proto::GetJwksRequest {})
        .await;
    keys.unwrap();
    let status = end_by_token(&server, "").await.unwrap_err();
    assert_refused(&status, "MALFORMED_REQUEST");
    let forged = phone.refresh(&server, "asr1.x.y").await.unwrap_err();
    assert_refused(&forged, "TOKEN_INVALID");
    let forged = verify(&server, phone.call("no token")).await.unwrap();
    assert!(!forged.allow);

    redis.restart();
    becomes(&server, true).await;
    lands(&server).await;
    // Nothing was half-done: the very same refresh, proof and all, goes through once.
    after(&server, &mut phone, refresh, &device_too).await;
    server.stop().await;
}

/// A revocation holds here at once, and waits.
async fn hold(server: &Server, world: &World, device: &str) {
    for status in [
        suspend(server, device).await.unwrap_err(),
        revoke(server, device).await.unwrap_err(),
    ] {
        assert_refused(&status, "REVOCATION_NOT_DURABLE");
        assert_says_none_of(&status, &world.secrets());
    }
}

/// Waits until what was revoked while the store was away is there.
async fn lands(server: &Server) {
    eventually("what was revoked meanwhile in the store", || async {
        let (_, metrics) = http_get(server, "/metrics").await;
        let landed = metrics.contains("assay_revocations_waiting 0");
        let written = !metrics.contains("assay_revocations_rewritten_total 0");
        (landed && written).then_some(())
    })
    .await;
}

async fn after(
    server: &Server,
    phone: &mut Phone,
    refresh: proto::RefreshSessionRequest,
    device: &proto::Device,
) {
    let answer = server.sessions().refresh_session(refresh).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.outcome(), proto::RefreshOutcome::Rotated);
    let token = answer.grant.unwrap().access_token;
    assert!(phone.decide(server, &token).await.allow);
    revoke(server, &device.device_id).await.unwrap();
    assert!(!phone.decide(server, &token).await.allow);
}

async fn get(server: &Server, id: &str) -> Result<(), Status> {
    let request = proto::GetDeviceRequest {
        device_id: id.to_owned(),
    };
    server.devices().get_device(request).await.map(|_| ())
}

async fn list(server: &Server, subject: &str) -> Result<(), Status> {
    let request = proto::ListDevicesRequest {
        subject: subject.to_owned(),
        ..proto::ListDevicesRequest::default()
    };
    server.devices().list_devices(request).await.map(|_| ())
}

async fn list_sessions(server: &Server, subject: &str) -> Result<(), Status> {
    let request = proto::ListSessionsRequest {
        subject: subject.to_owned(),
        ..proto::ListSessionsRequest::default()
    };
    server.sessions().list_sessions(request).await.map(|_| ())
}

#[tokio::test]
async fn a_redis_that_hangs_means_not_ready_as_well() {
    let redis = RedisServer::start();
    let world = World::new();
    let store = format!(
        "kind = \"redis\"\nurl = \"{}\"\nrequest = \"1s\"",
        redis.url()
    );
    let server = world.start(&store).await;
    becomes(&server, true).await;
    redis.pause();
    becomes(&server, false).await;
    let status = list(&server, "hang@mail.test").await.unwrap_err();
    assert_refused(&status, "STATE_STORE_UNAVAILABLE");
    redis.resume();
    becomes(&server, true).await;
    eventually("a list", || async {
        list(&server, "hang@mail.test").await.ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_revocation_on_fewer_replicas_than_wanted_is_applied_and_said_to_be_not_durable() {
    let redis = RedisServer::start();
    let world = World::new();
    let store = on(&redis) + "\nreplicas_wanted = 1\nreplicas_within = \"50ms\"";
    let server = world.start(&store).await;
    let mut phone = world.iphone();
    let device = phone.join(&server, "replica@mail.test").await;
    let grant = phone.issue(&server, &device).await.unwrap();
    for _ in 0..2 {
        let status = revoke(&server, &device.device_id).await.unwrap_err();
        assert_refused(&status, "REVOCATION_NOT_DURABLE");
        assert_says_none_of(&status, &world.secrets());
    }
    assert!(!phone.decide(&server, &grant.access_token).await.allow);
    let listed = devices_of(&server, "replica@mail.test").await;
    assert_eq!(listed[0].state(), proto::DeviceState::Revoked);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_is_announced_and_not_held_up_by_a_health_watch() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    becomes(&server, true).await;
    let clients = server.clients.clone();
    let mut client = HealthClient::new(clients.0.clone());
    let watch = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    // A watch that holds the drain up to its deadline makes it end unanswered.
    let stopping = tokio::spawn(server.stop());
    let rest = async {
        loop {
            match watch.message().await {
                Ok(next) => assert_eq!(next.unwrap().status(), ServingStatus::NotServing),
                Err(ended) => return ended,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), rest).await;
    assert_eq!(ended.unwrap().code(), Code::Unavailable);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_drain_is_not_held_up_by_an_open_reflection() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let world = World::new();
    let server = world.start(MEMORY).await;
    let (hold, held) = tokio::sync::mpsc::channel(1);
    let mut client = ServerReflectionClient::new(server.clients.0.clone());
    let asked = tokio_stream::wrappers::ReceiverStream::new(held);
    let mut answers = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    hold.send(list_services_v1()).await.unwrap();
    answers.message().await.unwrap().unwrap();
    server.stop().await;
    drop(hold);
}

fn list_services_v1() -> tonic_reflection::pb::v1::ServerReflectionRequest {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    }
}

const SERVED: &[&str] = &[
    "assay.v1.AttestationService",
    "assay.v1.DeviceService",
    "assay.v1.OperationsService",
    "assay.v1.SessionService",
    "assay.v1.VerificationService",
    "grpc.health.v1.Health",
];

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_of_its_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let world = World::new();
    let server = world.start(MEMORY).await;
    let channel = server.clients.0.clone();
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let asked = tokio_stream::iter([list_services_v1()]);
    let answer = client.server_reflection_info(asked).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("a list");
    };
    let names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    for service in SERVED {
        assert!(
            names.iter().any(|name| name == service),
            "{service} in {names:?}"
        );
    }

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "assay.v1.SessionService".to_owned(),
            ),
        ),
    };
    let answer = client
        .server_reflection_info(tokio_stream::iter([asked]))
        .await;
    let answer = answer
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        answer.message_response
    else {
        panic!("a file");
    };
    assert!(!files.file_descriptor_proto.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn health_of_a_service_nobody_knows_is_not_found() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut client = HealthClient::new(server.clients.0.clone());
    let request = HealthCheckRequest {
        service: "other.Service".to_owned(),
    };
    let status = client.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    drop(client);
    server.stop().await;
}
