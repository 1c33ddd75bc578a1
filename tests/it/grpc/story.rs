//! The whole story over gRPC, on every store, across restarts and instances.

use std::slice::from_ref;

use super::harness::{
    Clients, MEMORY, Phone, World, devices_of, end_by_token, events_of, eventually, find_by_key,
    http_get, introspect, resume, revoke, sessions_of, suspend, verify,
};
use super::refusal::{action, assert_refused};
use crate::support::redis_server::RedisServer;
use assay::grpc::proto;
use assay::grpc::proto::RefreshOutcome::{Retry, Rotated};
use assay::key::{Thumbprint, sha256};
use assay::simulator::Device;

fn phones(world: &World) -> Vec<(&'static str, Phone)> {
    vec![
        ("anna@mail.test", world.android()),
        ("ines@mail.test", world.iphone()),
    ]
}

/// Every RPC in the order of a phone's life.
pub(crate) async fn whole_story(world: &World, server: &Clients, phone: &mut Phone, subject: &str) {
    let registered = phone.register(server, subject).await.unwrap();
    let appraisal = registered.appraisal.unwrap();
    assert!(appraisal.accepted && appraisal.reason.is_empty());
    assert!(appraisal.checks.len() > 5);
    let device = registered.device.unwrap();
    assert_eq!(device.subject, subject);
    assert_eq!(device.state(), proto::DeviceState::Active);
    assert_eq!(appraised(server, world, phone).await.reason, "");

    let found = proto::GetDeviceRequest {
        device_id: device.device_id.clone(),
    };
    let found = server.devices().get_device(found).await.unwrap();
    assert_eq!(found.into_inner().device.unwrap(), device);
    assert_eq!(devices_of(server, subject).await, from_ref(&device));

    let first = phone.issue(server, &device).await.unwrap();
    let session = first.session.clone().unwrap();
    assert_eq!(session.device_id, device.device_id);
    assert_eq!(sessions_of(server, subject).await, from_ref(&session));

    allowed(server, phone, &first, subject).await;
    let active = introspect(server, &first.access_token).await.unwrap();
    assert!(active.active);
    assert_eq!(
        (active.sub, active.sid),
        (subject.to_owned(), session.session_id)
    );

    let (outcome, second) = phone.refresh(server, &first.refresh_token).await.unwrap();
    assert_eq!(outcome, Rotated);
    let (outcome, again) = phone.refresh(server, &first.refresh_token).await.unwrap();
    assert_eq!(outcome, Retry);
    assert_eq!(again.refresh_token, second.refresh_token);
    let (outcome, third) = phone.refresh(server, &second.refresh_token).await.unwrap();
    assert_eq!(outcome, Rotated);
    allowed(server, phone, &third, subject).await;

    let other = phone.issue(server, &device).await.unwrap();
    assert_eq!(sessions_of(server, subject).await.len(), 2);
    end_by_token(server, &other.refresh_token).await.unwrap();
    end_by_token(server, "asr1.nothing").await.unwrap();
    refused(server, phone, &other, "SESSION_REVOKED").await;

    let third = suspended_and_resumed(server, phone, &device, third).await;
    let revoked = revoke(server, &device.device_id).await.unwrap();
    let now = revoked.device.unwrap();
    assert_eq!(now.state(), proto::DeviceState::Revoked);
    assert_eq!(now.revocation_reason(), proto::RevocationReason::Stolen);
    refused(server, phone, &third, "DEVICE_REVOKED").await;
    assert_eq!(sessions_of(server, subject).await, []);
    let status = phone.issue(server, &device).await.unwrap_err();
    assert_refused(&status, "DEVICE_REVOKED");
    keys_are_published(server).await;
}

/// The session waits until its device is resumed; what happened to the device can be read.
async fn suspended_and_resumed(
    server: &Clients,
    phone: &mut Phone,
    device: &proto::Device,
    grant: proto::Grant,
) -> proto::Grant {
    let suspended = suspend(server, &device.device_id).await.unwrap();
    assert!(!suspended.receipt.unwrap().revision.is_empty());
    let now = suspended.device.unwrap();
    assert_eq!(now.state(), proto::DeviceState::Suspended);
    assert_eq!(now.suspension_reason(), proto::SuspensionReason::Mislaid);
    assert!(now.suspend_time.is_some());
    refused(server, phone, &grant, "DEVICE_SUSPENDED").await;
    let key = &device.session_key_thumbprint;
    let jwk = sha256(device.key_jwk.as_bytes());
    assert_eq!(
        Thumbprint::from_bytes(jwk).to_string(),
        device.key_thumbprint
    );
    assert_eq!(find_by_key(server, key).await.unwrap(), [now]);
    let now = resume(server, &device.device_id).await.unwrap();
    assert_eq!(now, *device);
    let (_, grant) = phone.refresh(server, &grant.refresh_token).await.unwrap();
    let told = events_of(server, &device.device_id).await.unwrap();
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    let wanted = [
        "device-registered",
        "session-opened",
        "session-opened",
        "session-ended",
        "device-suspended",
        "device-resumed",
    ];
    assert_eq!(kinds, wanted);
    assert_eq!(told[0].session_id, "");
    assert_eq!(told[3].session_id, told[2].session_id);
    assert_eq!(told[3].reason, "logged-out");
    let session = grant.session.as_ref().unwrap();
    assert_eq!(told[1].session_id, session.session_id);
    assert_eq!(told[4].reason, "mislaid");
    assert_eq!(told[4].actor, "plaintext");
    assert_eq!(told[4].device_id, device.device_id);
    grant
}

/// AppraiseEvidence gives the same verdict as a registration, and stores nothing.
async fn appraised(server: &Clients, world: &World, phone: &Phone) -> proto::Appraisal {
    // The evidence of another phone of the kind, so that this one keeps its key.
    let mut other = match phone.device {
        Device::Android { .. } => world.android(),
        Device::Apple(_) => world.iphone(),
    };
    let request = proto::AppraiseEvidenceRequest {
        app_id: phone.app.clone(),
        evidence: Some(other.evidence(b"any challenge will do")),
        challenge: b"any challenge will do".to_vec(),
    };
    let answer = server.attestation().appraise_evidence(request).await;
    answer.unwrap().into_inner().appraisal.unwrap()
}

async fn keys_are_published(server: &Clients) {
    let keys = server
        .verification()
        .get_jwks(proto::GetJwksRequest {})
        .await
        .unwrap()
        .into_inner();
    let keys: serde_json::Value = serde_json::from_str(&keys.jwks_json).unwrap();
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert!(keys["keys"][0].get("d").is_none());
}

async fn allowed(server: &Clients, phone: &mut Phone, grant: &proto::Grant, subject: &str) {
    let call = phone.call(&grant.access_token);
    let yes = verify(server, call.clone()).await.unwrap();
    assert!(yes.allow, "{}", yes.reason);
    assert_eq!(yes.subject, subject);
    assert_eq!(yes.scopes, grant.scopes);
    let replayed = verify(server, call).await.unwrap();
    assert_no(&replayed, "PROOF_REPLAYED");
}

/// The session is dead everywhere.
async fn refused(server: &Clients, phone: &mut Phone, grant: &proto::Grant, reason: &str) {
    assert_no(&phone.decide(server, &grant.access_token).await, reason);
    let inactive = introspect(server, &grant.access_token).await.unwrap();
    assert_eq!(inactive, proto::IntrospectTokenResponse::default());
    let status = phone
        .refresh(server, &grant.refresh_token)
        .await
        .unwrap_err();
    assert_refused(&status, reason);
}

/// A "no" that says its reason and nothing of the caller.
#[track_caller]
pub(crate) fn assert_no(decision: &proto::Decision, reason: &str) {
    assert!(!decision.allow);
    assert_eq!(decision.reason, reason);
    let bare = proto::Decision {
        reason: reason.to_owned(),
        action: action(reason).to_owned(),
        as_of: decision.as_of,
        next_nonce: decision.next_nonce.clone(),
        www_authenticate: decision.www_authenticate.clone(),
        ..proto::Decision::default()
    };
    assert_eq!(*decision, bare);
    assert!(!decision.next_nonce.is_empty());
}

async fn story_on(store: &str) {
    let world = World::new();
    let server = world.start(store).await;
    for (subject, mut phone) in phones(&world) {
        whole_story(&world, &server, &mut phone, subject).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn the_whole_story_in_memory() {
    story_on(MEMORY).await;
}

#[tokio::test]
async fn the_whole_story_on_disk() {
    story_on("kind = \"disk\"\ndirectory = \"state\"").await;
}

#[tokio::test]
async fn the_whole_story_on_redis() {
    let redis = RedisServer::start();
    story_on(&on(&redis)).await;
}

/// The `[store]` of a Redis server; patient, because the machine may be busy.
pub(crate) fn on(redis: &RedisServer) -> String {
    format!(
        "kind = \"redis\"\nurl = \"{}\"\nconnect = \"10s\"\nrequest = \"10s\"",
        redis.url()
    )
}

#[tokio::test]
async fn a_restart_on_disk_loses_nothing() {
    let world = World::new();
    let store = "kind = \"disk\"\ndirectory = \"state\"";
    let server = world.start(store).await;
    let mut kept = Vec::new();
    for (subject, mut phone) in phones(&world) {
        let used = phone.registration(&server, subject).await;
        let answer = server.devices().register_device(used.clone()).await;
        let device = answer.unwrap().into_inner().device.unwrap();
        let live = phone.issue(&server, &device).await.unwrap();
        let (_, next) = phone.refresh(&server, &live.refresh_token).await.unwrap();
        let ended = phone.issue(&server, &device).await.unwrap();
        end_by_token(&server, &ended.refresh_token).await.unwrap();
        let call = phone.call(&next.access_token);
        assert!(verify(&server, call.clone()).await.unwrap().allow);
        let mut stolen = world.android();
        let lost = stolen.join(&server, subject).await;
        let cut = stolen.issue(&server, &lost).await.unwrap();
        revoke(&server, &lost.device_id).await.unwrap();
        kept.push((
            subject,
            phone,
            stolen,
            (used, device, live, next, call),
            (ended, cut),
        ));
    }
    server.stop().await;

    let server = world.start(store).await;
    for (subject, mut phone, mut stolen, (used, device, live, next, call), (ended, cut)) in kept {
        let listed = devices_of(&server, subject).await;
        assert_eq!(listed.len(), 2);
        assert!(listed.contains(&device));
        assert_eq!(sessions_of(&server, subject).await.len(), 1);
        assert_no(&verify(&server, call).await.unwrap(), "PROOF_REPLAYED");
        assert!(phone.decide(&server, &next.access_token).await.allow);

        refused(&server, &mut phone, &ended, "SESSION_REVOKED").await;
        refused(&server, &mut stolen, &cut, "DEVICE_REVOKED").await;

        // The rotation is remembered: the old token is a retry, and used up once the new one was used.
        let (outcome, again) = phone.refresh(&server, &live.refresh_token).await.unwrap();
        assert_eq!(
            (outcome, &again.refresh_token),
            (Retry, &next.refresh_token)
        );
        let (outcome, _) = phone.refresh(&server, &next.refresh_token).await.unwrap();
        assert_eq!(outcome, Rotated);
        let status = phone
            .refresh(&server, &live.refresh_token)
            .await
            .unwrap_err();
        assert_refused(&status, "REFRESH_TOKEN_REUSED");

        // The used challenge is remembered, too: evidence of another key for it is refused.
        let mut thief = match used.evidence.as_ref().unwrap().kind.as_ref().unwrap() {
            proto::evidence::Kind::Android(_) => world.android(),
            proto::evidence::Kind::Apple(_) => world.iphone(),
        };
        let again = proto::RegisterDeviceRequest {
            evidence: Some(thief.evidence(&used.challenge)),
            ..used
        };
        let status = server.devices().register_device(again).await.unwrap_err();
        assert_refused(&status, "CHALLENGE_ALREADY_USED");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_second_instance_on_the_same_redis_sees_everything_at_once() {
    let redis = RedisServer::start();
    let world = World::new();
    let (one, two) = (
        world.start(&on(&redis)).await,
        world.start(&on(&redis)).await,
    );
    for (subject, mut phone) in phones(&world) {
        // The challenge of one instance registers at the other.
        let request = phone.registration(&one, subject).await;
        let device = two.devices().register_device(request).await.unwrap();
        let device = device.into_inner().device.unwrap();
        assert_eq!(devices_of(&one, subject).await, from_ref(&device));

        let first = phone.issue(&one, &device).await.unwrap();
        let call = phone.call(&first.access_token);
        assert!(verify(&two, call.clone()).await.unwrap().allow);
        assert_no(&verify(&one, call).await.unwrap(), "PROOF_REPLAYED");

        let (outcome, second) = phone.refresh(&two, &first.refresh_token).await.unwrap();
        assert_eq!(outcome, Rotated);
        let (outcome, again) = phone.refresh(&one, &first.refresh_token).await.unwrap();
        assert_eq!(
            (outcome, &again.refresh_token),
            (Retry, &second.refresh_token)
        );

        revoke(&one, &device.device_id).await.unwrap();
        refused(&two, &mut phone, &second, "DEVICE_REVOKED").await;
        refused(&one, &mut phone, &second, "DEVICE_REVOKED").await;
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_no_that_is_an_answer_is_counted_with_its_reason() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let phone = world.android();
    let call = proto::VerifyRequestRequest {
        access_token: "no token".to_owned(),
        proof: "no proof".to_owned(),
        method: "GET".to_owned(),
        uri: "https://api.example.com/accounts".to_owned(),
        ..proto::VerifyRequestRequest::default()
    };
    assert_no(&verify(&server, call).await.unwrap(), "PROOF_INVALID");
    let request = proto::AppraiseEvidenceRequest {
        app_id: phone.app.clone(),
        evidence: Some(world.android().evidence(b"one challenge")),
        challenge: b"another".to_vec(),
    };
    let answer = server.attestation().appraise_evidence(request).await;
    assert!(!answer.unwrap().into_inner().appraisal.unwrap().accepted);
    for (method, reason) in [
        ("VerificationService/VerifyRequest", "PROOF_INVALID"),
        (
            "AttestationService/AppraiseEvidence",
            "ATTESTATION_CHALLENGE_MISMATCH",
        ),
    ] {
        let line = format!(
            "assay_rpc_requests_total{{method=\"assay.v1.{method}\",code=\"OK\",reason=\"{reason}\"}} 1"
        );
        eventually("a count with the reason", || async {
            let (_, metrics) = http_get(&server, "/metrics").await;
            metrics.contains(&line).then_some(())
        })
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_tells_how_each_revocation_ended() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let device = world.android().join(&server, "bea@mail.test").await;
    let nobody = "dev_000000000000000000000000000000000000";
    let request = proto::BatchRevokeDevicesRequest {
        device_ids: vec![nobody.to_owned(), device.device_id.clone()],
        reason: proto::RevocationReason::Compromised.into(),
        validate_only: false,
    };
    let answer = server.devices().batch_revoke_devices(request).await;
    let each = answer.unwrap().into_inner().revocations;
    let ids: Vec<&str> = each.iter().map(|one| one.device_id.as_str()).collect();
    assert_eq!(ids, [nobody, &device.device_id]);
    use proto::device_revocation::Outcome;
    let Some(Outcome::Refusal(refusal)) = &each[0].outcome else {
        panic!("nobody has that id");
    };
    assert_eq!(refusal.code, i32::from(tonic::Code::NotFound));
    assert_eq!(refusal.reason, "RESOURCE_NOT_FOUND");
    assert_eq!(refusal.action, "NONE");
    assert_eq!(refusal.message, "There is no such resource.");
    let Some(Outcome::Receipt(receipt)) = &each[1].outcome else {
        panic!("it is revoked");
    };
    assert!(!receipt.revision.is_empty());
    let found = find_by_key(&server, &device.key_thumbprint).await.unwrap();
    assert_eq!(
        found[0].revocation_reason(),
        proto::RevocationReason::Compromised
    );
    server.stop().await;
}

#[tokio::test]
async fn a_device_says_when_it_has_to_attest_again() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let never = world.android().join(&server, "nora@mail.test").await;
    assert_eq!(never.reattest_by_time, None);
    let mut lax = world.android().with_app("lax");
    let device = lax.join(&server, "nora@mail.test").await;
    let attested = device.attest_time.unwrap();
    let by = prost_types::Timestamp {
        seconds: attested.seconds + 2 * 3600,
        nanos: attested.nanos,
    };
    assert_eq!(device.reattest_by_time, Some(by));
    let suspended = suspend(&server, &device.device_id).await.unwrap();
    assert_eq!(suspended.device.unwrap().reattest_by_time, Some(by));
    let revoked = revoke(&server, &device.device_id).await.unwrap();
    assert_eq!(revoked.device.unwrap().reattest_by_time, None);
    server.stop().await;
}
