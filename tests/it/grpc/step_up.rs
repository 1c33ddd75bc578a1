//! ElevateSession, RotateSession, EnrolPresenceKey and request ids over the wire.

use assay::grpc::proto;
use assay::simulator::proof::Dpop;
use assay::simulator::{Curve, Device, SoftKey};

use super::harness::{Clients, MEMORY, Phone, World, own_uri, verify};
use super::refusal::assert_refused;
use super::story::assert_no;

fn for_session(phone: &Phone, rpc: &str, session: &proto::Session) -> String {
    phone.proof_with(("POST", &own_uri(rpc)), None, |dpop| {
        dpop.session = Some(session.session_id.clone());
    })
}

/// Has an iPhone make its second key, and an app vouch for it.
async fn enrolled(
    server: &Clients,
    phone: &mut Phone,
    device: &proto::Device,
) -> (SoftKey, proto::Device) {
    let request = proto::CreateChallengeRequest {
        app_id: device.app_id.clone(),
        purpose: proto::ChallengePurpose::Presence.into(),
        subject: device.subject.clone(),
        client: None,
    };
    let answer = server.devices().create_challenge(request).await;
    let challenge = answer.unwrap().into_inner().challenge;
    let key = SoftKey::generate(Curve::P256).unwrap();
    let Device::Apple(iphone) = &mut phone.device else {
        panic!("an iPhone");
    };
    let own = iphone.replace_session_key().unwrap().unwrap();
    iphone.set_session_key(copy(&key));
    let client_data = iphone.client_data_for("presence-key", &challenge, &device.app_id);
    iphone.set_session_key(own);
    let client_data = client_data.unwrap();
    let voucher = proto::AppleAssertion {
        assertion: iphone.assert(&client_data).unwrap(),
        client_data,
    };
    let uri = own_uri("EnrolPresenceKey").replace("SessionService", "DeviceService");
    let proof = phone.proof_with(("POST", &uri), None, |dpop| {
        dpop.new_key = Some(key.thumbprint());
    });
    let request = proto::EnrolPresenceKeyRequest {
        device_id: device.device_id.clone(),
        challenge,
        voucher: Some(proto::enrol_presence_key_request::Voucher::Apple(voucher)),
        presence_proof: presence(phone, &key, &uri, &proof),
        proof,
    };
    let answer = server.devices().enrol_presence_key(request).await;
    (key, answer.unwrap().into_inner().device.unwrap())
}

/// A proof by the second key for another proof.
fn presence(phone: &Phone, key: &SoftKey, uri: &str, other: &str) -> String {
    let mut dpop = Dpop::new("POST", uri, phone.clock.now()).unwrap();
    dpop.nonce = phone.nonce.as_deref();
    dpop.access_token = Some(other);
    dpop.sign(key).unwrap()
}

#[tokio::test]
async fn the_user_shows_more_and_the_call_passes() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut phone = world.iphone();
    let device = phone.join(&server, "elevated@mail.test").await;
    let grant = phone.issue(&server, &device).await.unwrap();
    let session = grant.session.clone().unwrap();
    let (key, enrolled) = enrolled(&server, &mut phone, &device).await;
    assert_eq!(enrolled.presence_key_thumbprint, key.thumbprint());
    let declared = proto::UserPresence::Declared;
    assert_eq!(enrolled.presence_key_shows(), declared);

    let proof = for_session(&phone, "ElevateSession", &session);
    let request = proto::ElevateSessionRequest {
        subject: device.subject.clone(),
        device_id: device.device_id.clone(),
        session_id: session.session_id.clone(),
        presence_proof: presence(&phone, &key, &own_uri("ElevateSession"), &proof),
        proof,
        acr: "urn:example:gold".to_owned(),
        ..proto::ElevateSessionRequest::default()
    };
    let elevated = server.sessions().elevate_session(request).await;
    let elevated = elevated.unwrap().into_inner();
    assert_eq!(elevated.user_presence(), declared);
    // It ends with a whole second.
    let expires_in = elevated.access_expires_in.unwrap();
    assert!(matches!(expires_in.seconds, 119..=120));
    let header = "DPoP error=\"insufficient_user_authentication\", \
                  error_description=\"STEP_UP_REQUIRED\", acr_values=\"urn:example:gold\", \
                  algs=\"ES256\"";
    let nobody = proto::UserPresence::Unspecified;
    for (token, allow, shown, header) in [
        (&grant.access_token, false, nobody, header),
        (&elevated.access_token, true, declared, ""),
    ] {
        let mut call = phone.call(token);
        call.required = Some(proto::Requirements {
            acr_values: vec!["urn:example:gold".to_owned()],
            ..proto::Requirements::default()
        });
        let decision = verify(&server, call).await.unwrap();
        assert_eq!((decision.allow, decision.user_presence()), (allow, shown));
        assert_eq!(decision.www_authenticate, header);
    }
    server.stop().await;
}

fn copy(key: &SoftKey) -> SoftKey {
    SoftKey::from_pkcs8(Curve::P256, key.to_pkcs8().unwrap().expose()).unwrap()
}

#[tokio::test]
async fn a_rotation_gives_new_tokens_for_old_ones() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut phone = world.android();
    let device = phone.join(&server, "rotated@mail.test").await;
    // Sent twice under one id, it is one session.
    let request = proto::IssueSessionRequest {
        request_id: "5f0c".to_owned(),
        ..phone.issuance(&device)
    };
    let first = phone.send_issuance(&server, request.clone()).await.unwrap();
    let grant = phone.send_issuance(&server, request.clone()).await.unwrap();
    assert_eq!(grant.session, first.session);
    let session = grant.session.clone().unwrap();
    let other = proto::IssueSessionRequest {
        acr: "urn:example:gold".to_owned(),
        ..request
    };
    let refused = phone.send_issuance(&server, other).await.unwrap_err();
    assert_refused(&refused, "REQUEST_ID_REUSED");

    let request = proto::RotateSessionRequest {
        subject: device.subject.clone(),
        device_id: device.device_id.clone(),
        session_id: session.session_id.clone(),
        proof: for_session(&phone, "RotateSession", &session),
    };
    let rotated = server.sessions().rotate_session(request).await;
    let rotated = rotated.unwrap().into_inner();
    assert!(!rotated.receipt.unwrap().revision.is_empty());
    let new = rotated.grant.unwrap();
    let refused = phone
        .refresh(&server, &grant.refresh_token)
        .await
        .unwrap_err();
    assert_refused(&refused, "REFRESH_TOKEN_VOID");
    let decision = phone.decide(&server, &grant.access_token).await;
    assert_no(&decision, "ACCESS_TOKEN_VOID");
    assert!(phone.decide(&server, &new.access_token).await.allow);
    assert!(phone.refresh(&server, &new.refresh_token).await.is_ok());
    server.stop().await;
}
