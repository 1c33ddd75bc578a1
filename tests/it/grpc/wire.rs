//! Requests as no honest client sends them: raw bytes on the wire, and every field wrong at once.

use assay::grpc::codec::DESCRIPTORS;
use assay::grpc::proto;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_types::FileDescriptorSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::harness::{MEMORY, Server, World};
use super::refusal::{assert_refused, wrong_fields};

/// Bytes as they are.
#[derive(Clone, Copy)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, bytes: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Calls any path with any bytes.
pub(crate) async fn send(channel: &Channel, path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = path.parse().unwrap();
    let answer = client.unary(Request::new(bytes), path, Raw).await?;
    Ok(answer.into_inner())
}

/// Every RPC of the compiled protos, as (path, full name of its request).
pub(crate) fn rpcs() -> Vec<(String, String)> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut found = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let input = method.input_type().trim_start_matches('.').to_owned();
                found.push((path, input));
            }
        }
    }
    found
}

async fn world() -> (World, Server) {
    let world = World::new();
    let server = world.start(MEMORY).await;
    (world, server)
}

const REGISTER: &str = "/assay.v1.DeviceService/RegisterDevice";
const CHALLENGE: &str = "/assay.v1.DeviceService/CreateChallenge";
const VERIFY: &str = "/assay.v1.VerificationService/VerifyRequest";
const ISSUE: &str = "/assay.v1.SessionService/IssueSession";

#[tokio::test]
async fn an_unknown_field_is_refused_on_every_rpc_with_its_number() {
    let (_world, server) = world().await;
    assert_eq!(rpcs().len(), 38);
    for (path, _) in rpcs() {
        for (bytes, number) in [
            (vec![0xf8, 0x07, 1], "127"),
            (vec![0xfa, 0xff, 0xff, 0xff, 0x0f, 0], "536870911"),
        ] {
            let status = send(&server.clients.0, &path, bytes).await.unwrap_err();
            assert_refused(&status, "UNKNOWN_FIELD");
            let facts = status.get_details_error_info().unwrap().metadata;
            assert_eq!(facts["field_number"], number, "{path}");
            assert_eq!(facts["message"], "", "{path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_field_inside_another_is_refused_with_the_path_to_it() {
    let (_world, server) = world().await;
    for (path, bytes, message, number) in [
        // evidence { apple { 15: "" } }
        (
            REGISTER,
            &[0x22, 4, 0x12, 2, 0x7a, 0][..],
            "evidence.apple",
            "15",
        ),
        // evidence { 3: {} }: a kind of evidence this version does not know
        (REGISTER, &[0x22, 2, 0x1a, 0], "evidence", "3"),
        // required { 9: 1 }
        (VERIFY, &[0x32, 2, 0x48, 1], "required", "9"),
        // required { max_age { 3: 1 } }
        (
            VERIFY,
            &[0x32, 4, 0x1a, 2, 0x18, 1],
            "required.max_age",
            "3",
        ),
        // auth_time { 4: 1 }
        (ISSUE, &[0x4a, 2, 0x20, 1], "auth_time", "4"),
    ] {
        let status = send(&server.clients.0, path, bytes.to_vec())
            .await
            .unwrap_err();
        assert_refused(&status, "UNKNOWN_FIELD");
        let facts = status.get_details_error_info().unwrap().metadata;
        assert_eq!(
            (facts["message"].as_str(), facts["field_number"].as_str()),
            (message, number)
        );
    }
}

#[tokio::test]
async fn a_field_given_twice_is_refused_by_its_path() {
    let (_world, server) = world().await;
    for (path, bytes, field) in [
        (CHALLENGE, &[0x0a, 1, b'a', 0x0a, 1, b'b'][..], "app_id"),
        // The same value twice is no better.
        (CHALLENGE, &[0x10, 1, 0x10, 1], "purpose"),
        (REGISTER, &[0x22, 4, 0x0a, 0, 0x12, 0], "evidence.apple"),
        (REGISTER, &[0x22, 0, 0x22, 0], "evidence"),
        (
            VERIFY,
            &[0x32, 4, 0x20, 1, 0x20, 2],
            "required.min_trust_level",
        ),
        (
            "/assay.v1.SessionService/EndSession",
            &[0x0a, 1, b'a', 0x12, 1, b'b'],
            "session_id",
        ),
    ] {
        let status = send(&server.clients.0, path, bytes.to_vec())
            .await
            .unwrap_err();
        assert_eq!(wrong_fields(&status), [field.to_owned()].into(), "{path}");
    }
}

#[tokio::test]
async fn a_string_that_is_no_text_is_refused_by_its_path() {
    let (_world, server) = world().await;
    for (path, bytes, field) in [
        (CHALLENGE, &[0x0a, 2, 0xc3, 0x28][..], "app_id"),
        (ISSUE, &[0x22, 1, 0xff], "scopes"),
        (VERIFY, &[0x32, 3, 0x12, 1, 0x80], "required.acr_values"),
    ] {
        let status = send(&server.clients.0, path, bytes.to_vec())
            .await
            .unwrap_err();
        assert_eq!(wrong_fields(&status), [field.to_owned()].into(), "{path}");
    }
}

/// A decoder that cuts numbers to their field's size would read these as something harmless: 2^32 as
/// an enum is 0, which is "no requirement".
#[tokio::test]
async fn a_number_too_large_for_its_field_is_refused_rather_than_cut() {
    let (_world, server) = world().await;
    let huge = [0x80, 0x80, 0x80, 0x80, 0x10]; // 2^32
    let nested = [&[0x32, 6, 0x20][..], &huge].concat();
    let purpose = [&[0x10][..], &[0x81, 0x80, 0x80, 0x80, 0x10]].concat();
    let page = [&[0x10][..], &huge].concat();
    let flag = vec![0x28, 2];
    for (path, bytes, field) in [
        (VERIFY, nested, "required.min_trust_level"),
        (CHALLENGE, purpose, "purpose"),
        ("/assay.v1.DeviceService/ListDevices", page, "page_size"),
        (REGISTER, flag, "validate_only"),
    ] {
        let status = send(&server.clients.0, path, bytes).await.unwrap_err();
        assert_eq!(wrong_fields(&status), [field.to_owned()].into(), "{path}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_on_every_rpc() {
    let (_world, server) = world().await;
    let bad: &[&[u8]] = &[
        &[0x0a],
        &[0x0a, 5, b'a'],
        &[
            0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ],
        &[0x00],
        &[0x0b],
        &[0xff; 20],
        &[0x80; 11],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for (path, _) in rpcs() {
        for bytes in bad {
            let status = send(&server.clients.0, &path, bytes.to_vec())
                .await
                .unwrap_err();
            let info = status.get_details_error_info().unwrap();
            assert!(
                ["MALFORMED_REQUEST", "UNKNOWN_FIELD"].contains(&info.reason.as_str()),
                "{path} {bytes:02x?}: {status:?}"
            );
            assert_refused(&status, &info.reason);
        }
    }
}

#[tokio::test]
async fn a_message_cut_anywhere_is_refused_and_never_believed() {
    let (world, server) = world().await;
    let request = world.android().registration(&server, "cut@mail.test").await;
    let bytes = request.encode_to_vec();
    for end in (1..bytes.len()).step_by(37) {
        let got = send(&server.clients.0, REGISTER, bytes[..end].to_vec()).await;
        let status = got.expect_err("a cut message");
        assert_eq!(status.code(), Code::InvalidArgument, "{end}");
    }
    send(&server.clients.0, REGISTER, bytes).await.unwrap();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_the_connection_lives_on() {
    let (_world, server) = world().await;
    let field = |length: usize| {
        let mut bytes = vec![0x1a];
        prost::encoding::encode_varint(length as u64, &mut bytes);
        bytes.resize(bytes.len() + length, 7);
        bytes
    };
    for length in [300_000, 4 << 20, 9 << 20] {
        let got = send(&server.clients.0, REGISTER, field(length)).await;
        assert_refused(&got.unwrap_err(), "MALFORMED_REQUEST");
    }
    let jwks = "/assay.v1.VerificationService/GetJwks";
    send(&server.clients.0, jwks, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn an_empty_request_names_every_field_it_lacks() {
    let (_world, server) = world().await;
    for (path, fields) in [
        (
            "AttestationService/AppraiseEvidence",
            "app_id challenge evidence",
        ),
        ("DeviceService/CreateChallenge", "app_id purpose"),
        (
            "DeviceService/RegisterDevice",
            "subject app_id challenge evidence",
        ),
        ("DeviceService/GetDevice", "device_id"),
        ("DeviceService/ListDevices", "subject"),
        ("DeviceService/RevokeDevice", "device_id reason"),
        ("DeviceService/BatchRevokeDevices", "device_ids reason"),
        ("DeviceService/SuspendDevice", "device_id reason"),
        ("DeviceService/ResumeDevice", "device_id"),
        ("DeviceService/FindDevices", "by"),
        (
            "DeviceService/LinkDeviceSuccessor",
            "device_id successor_device_id",
        ),
        ("OperationsService/ListAuditEvents", "device_id"),
        ("OperationsService/RunDrill", "app_id"),
        ("RevocationService/AckRevocations", "watcher_id cursor"),
        (
            "SessionService/IssueSession",
            "subject device_id proof scopes",
        ),
        ("SessionService/RefreshSession", "refresh_token proof"),
        ("SessionService/EndSession", "session"),
        ("SessionService/ListSessions", "subject"),
        ("SessionService/GetSession", "session_id"),
        ("SessionService/RevokeSession", "session_id reason"),
        ("RevocationService/RevokeSubject", "subject reason"),
        (
            "RevocationService/RevokeConsent",
            "subject consent_id reason",
        ),
        ("RevocationService/SetNotBefore", "target"),
        ("RevocationService/PreviewRevocation", "target"),
        ("OperationsService/ExportSubject", "subject"),
        ("OperationsService/EraseSubject", "subject"),
        (
            "VerificationService/VerifyRequest",
            "access_token proof method uri",
        ),
        ("VerificationService/IntrospectToken", "token"),
        ("VerificationService/GetJwks", ""),
    ] {
        let path = format!("/assay.v1.{path}");
        match send(&server.clients.0, &path, Vec::new()).await {
            Ok(_) => assert_eq!(fields, "", "{path}"),
            Err(status) => {
                let wanted = fields.split(' ').map(str::to_owned).collect();
                assert_eq!(wrong_fields(&status), wanted, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let (_world, server) = world().await;
    let long = |n: usize| "x".repeat(n);
    let request = proto::IssueSessionRequest {
        request_id: String::new(),
        subject: "a\u{7}b".to_owned(),
        device_id: "dev_1".to_owned(),
        proof: long(8193),
        scopes: vec!["a b".to_owned()],
        audience: long(129),
        roles: vec!["r".to_owned(); 65],
        acr: "\n".to_owned(),
        consent_id: "a b".to_owned(),
        amr: vec![String::new()],
        auth_time: Some(prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        }),
        client: Some(proto::ClientContext {
            ip: "localhost".to_owned(),
            locale: "en_GB".to_owned(),
        }),
    };
    let status = server.sessions().issue_session(request).await.unwrap_err();
    let all = "subject device_id proof scopes audience roles acr amr auth_time client.ip \
               client.locale consent_id";
    assert_eq!(
        wrong_fields(&status),
        all.split(' ').map(str::to_owned).collect()
    );

    let request = proto::VerifyRequestRequest {
        access_token: String::new(),
        proof: String::new(),
        method: long(33),
        uri: long(2049),
        body_sha256: vec![1; 31],
        required: Some(proto::Requirements {
            scopes: (0..65).map(|n| n.to_string()).collect(),
            acr_values: vec!["a\"b c".to_owned()],
            max_age: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            min_trust_level: 77,
            audience: "\u{0}".to_owned(),
        }),
        consistency: 77,
    };
    let status = server
        .verification()
        .verify_request(request)
        .await
        .unwrap_err();
    let all = "access_token proof method uri body_sha256 required.scopes required.acr_values \
               required.max_age required.min_trust_level required.audience consistency";
    assert_eq!(
        wrong_fields(&status),
        all.split(' ').map(str::to_owned).collect()
    );

    let request = proto::ListSessionsRequest {
        subject: String::new(),
        page_size: -1,
        page_token: "nothing of ours".to_owned(),
    };
    let status = server.sessions().list_sessions(request).await.unwrap_err();
    let all = "subject page_size page_token";
    assert_eq!(
        wrong_fields(&status),
        all.split(' ').map(str::to_owned).collect()
    );
}

#[tokio::test]
async fn the_address_and_language_of_a_phone_have_their_form() {
    let (_world, server) = world().await;
    let send = async |ip: &str, locale: &str| {
        let request = proto::CreateChallengeRequest {
            app_id: "demo".to_owned(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: String::new(),
            client: Some(proto::ClientContext {
                ip: ip.to_owned(),
                locale: locale.to_owned(),
            }),
        };
        server.devices().create_challenge(request).await
    };
    for good in ["", "192.0.2.1", "2001:db8::1", "::1", "::ffff:192.0.2.1"] {
        assert!(send(good, "de-CH").await.is_ok(), "{good}");
    }
    let long = "1".repeat(5000);
    for bad in [
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "192.0.2.01",
        "192.0.2.1:80",
        "192.0.2.0/24",
        "192.0.2",
        "[2001:db8::1]",
        "fe80::1%eth0",
        " 192.0.2.1",
        "0x7f.1",
        "unknown",
        &long,
    ] {
        let status = send(bad, "").await.unwrap_err();
        assert_eq!(wrong_fields(&status), ["client.ip".to_owned()].into());
    }
    for bad in ["e", "en_GB", "en-", "*", &long] {
        let status = send("", bad).await.unwrap_err();
        assert_eq!(wrong_fields(&status), ["client.locale".to_owned()].into());
    }
}

#[tokio::test]
async fn unknown_enum_values_are_refused() {
    let (_world, server) = world().await;
    for value in [-1, 5, 99, i32::MIN, i32::MAX] {
        let request = proto::CreateChallengeRequest {
            app_id: "demo".to_owned(),
            purpose: value,
            subject: String::new(),
            client: None,
        };
        let status = server
            .devices()
            .create_challenge(request)
            .await
            .unwrap_err();
        assert_eq!(
            wrong_fields(&status),
            ["purpose".to_owned()].into(),
            "{value}"
        );
    }
}

fn signed_in_at(seconds: i64, nanos: i32) -> proto::IssueSessionRequest {
    proto::IssueSessionRequest {
        subject: "a".to_owned(),
        device_id: "dev_000000000000000000000000000000000000".to_owned(),
        proof: "p".to_owned(),
        scopes: vec!["read".to_owned()],
        auth_time: Some(prost_types::Timestamp { seconds, nanos }),
        ..proto::IssueSessionRequest::default()
    }
}

#[tokio::test]
async fn absurd_times_and_spans_are_refused() {
    let (_world, server) = world().await;
    for (seconds, nanos) in [
        (i64::MIN, 0),
        (i64::MAX, 0),
        (253_402_300_800, 0),
        (0, -1),
        (0, 1_000_000_000),
    ] {
        let got = server
            .sessions()
            .issue_session(signed_in_at(seconds, nanos))
            .await;
        assert_eq!(
            wrong_fields(&got.unwrap_err()),
            ["auth_time".to_owned()].into()
        );
    }
    for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MAX, 0), (0, i32::MAX), (-1, -1)] {
        let request = proto::VerifyRequestRequest {
            access_token: "t".to_owned(),
            proof: "p".to_owned(),
            method: "GET".to_owned(),
            uri: "https://a.test/".to_owned(),
            required: Some(proto::Requirements {
                max_age: Some(prost_types::Duration { seconds, nanos }),
                ..proto::Requirements::default()
            }),
            ..proto::VerifyRequestRequest::default()
        };
        let got = server.verification().verify_request(request).await;
        assert_eq!(
            wrong_fields(&got.unwrap_err()),
            ["required.max_age".to_owned()].into()
        );
    }
}

#[tokio::test]
async fn huge_lists_are_refused() {
    let (_world, server) = world().await;
    let mut request = signed_in_at(1, 0);
    request.scopes = (0..5_000).map(|n| format!("scope{n}")).collect();
    request.roles = vec![String::new(); 5_000];
    let got = server.sessions().issue_session(request).await;
    let wrong = wrong_fields(&got.unwrap_err());
    assert_eq!(wrong, ["scopes".to_owned(), "roles".to_owned()].into());
    let request = proto::RegisterDeviceRequest {
        request_id: String::new(),
        subject: "a".to_owned(),
        app_id: "demo".to_owned(),
        challenge: vec![1],
        evidence: Some(proto::Evidence {
            kind: Some(proto::evidence::Kind::Android(proto::AndroidEvidence {
                certificate_chain: vec![Vec::new(); 100_000],
            })),
        }),
        validate_only: false,
        client: None,
    };
    let got = server.devices().register_device(request).await;
    assert_refused(&got.unwrap_err(), "EVIDENCE_TOO_LARGE");
}

#[tokio::test]
async fn an_rpc_that_does_not_exist_is_unimplemented() {
    let (_world, server) = world().await;
    for path in [
        "/assay.v1.DeviceService/Nothing",
        "/other.Service/Method",
        "/",
    ] {
        let status = send(&server.clients.0, path, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

fn nobody(number: u8) -> String {
    format!("dev_0001{}", format!("{number:02x}").repeat(16))
}

#[tokio::test]
async fn a_batch_names_each_faulty_id_by_its_place() {
    let (_world, server) = world().await;
    let batch = |device_ids: Vec<String>| proto::BatchRevokeDevicesRequest {
        device_ids,
        reason: proto::RevocationReason::Stolen.into(),
        validate_only: false,
    };
    let ids = vec![
        nobody(1),
        "dev_1".to_owned(),
        nobody(2),
        nobody(1),
        nobody(3).to_uppercase(),
    ];
    let got = server.devices().batch_revoke_devices(batch(ids)).await;
    let wanted = ["device_ids[1]", "device_ids[3]", "device_ids[4]"];
    assert_eq!(
        wrong_fields(&got.unwrap_err()),
        wanted.map(str::to_owned).into()
    );
    let many = (0..1001).map(|_| nobody(1)).collect();
    let got = server.devices().batch_revoke_devices(batch(many)).await;
    let wrong = wrong_fields(&got.unwrap_err());
    assert_eq!(wrong, ["device_ids".to_owned()].into());
}

/// What only the service may say, and what no version knows.
#[tokio::test]
async fn the_reasons_of_the_service_itself_are_refused_in_requests() {
    let (_world, server) = world().await;
    let wrong = [String::from("reason")].into();
    let mut devices = server.devices();
    for reason in [0, 6, 7, 8, -1] {
        let revoke = proto::RevokeDeviceRequest {
            device_id: nobody(1),
            reason,
            validate_only: true,
        };
        let status = devices.revoke_device(revoke).await.unwrap_err();
        assert_eq!(wrong_fields(&status), wrong, "{reason}");
        let session = proto::RevokeSessionRequest {
            session_id: nobody(1).replace("dev_", "ses_"),
            reason,
            validate_only: true,
        };
        let status = server.sessions().revoke_session(session).await.unwrap_err();
        assert_eq!(wrong_fields(&status), wrong, "{reason}");
        let subject = proto::RevokeSubjectRequest {
            subject: "a".to_owned(),
            reason,
            validate_only: true,
        };
        let status = server
            .revocation()
            .revoke_subject(subject)
            .await
            .unwrap_err();
        assert_eq!(wrong_fields(&status), wrong, "{reason}");
        let batch = proto::BatchRevokeDevicesRequest {
            device_ids: vec![nobody(1)],
            reason,
            validate_only: true,
        };
        let status = devices.batch_revoke_devices(batch).await.unwrap_err();
        assert_eq!(wrong_fields(&status), wrong, "{reason}");
    }
    for reason in [0, 4, 5, -1] {
        let suspend = proto::SuspendDeviceRequest {
            device_id: nobody(1),
            reason,
            validate_only: true,
        };
        let status = devices.suspend_device(suspend).await.unwrap_err();
        assert_eq!(wrong_fields(&status), wrong, "{reason}");
    }
}

#[tokio::test]
async fn a_preview_names_what_is_wrong_for_its_target() {
    use proto::preview_revocation_request::Target;
    let (_world, server) = world().await;
    let instant = Some(prost_types::Timestamp::default());
    let consent = proto::ConsentOfSubject {
        subject: String::new(),
        consent_id: "a b".to_owned(),
    };
    let device = Target::DeviceId(nobody(1));
    for (target, not_before, wrong) in [
        (
            Target::Consent(consent),
            None,
            &["consent.subject", "consent.consent_id"][..],
        ),
        (device, instant, &["not_before"]),
        (Target::AppId("A".to_owned()), instant, &["app_id"]),
    ] {
        let request = proto::PreviewRevocationRequest {
            target: Some(target),
            not_before,
        };
        let got = server.revocation().preview_revocation(request).await;
        let wanted = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(wrong_fields(&got.unwrap_err()), wanted);
    }
}

#[tokio::test]
async fn what_devices_are_found_by_has_its_form_and_so_have_page_tokens() {
    use proto::find_devices_request::By;
    let (_world, server) = world().await;
    let bad = |text: &str| text.to_owned();
    for (by, field) in [
        (By::DeviceId(bad("dev_1")), "device_id"),
        (By::KeyThumbprint(bad("")), "key_thumbprint"),
        (By::KeyThumbprint("A".repeat(44)), "key_thumbprint"),
        (By::AttestationSerial(bad("")), "attestation_serial"),
        (By::AttestationSerial(bad("0x1")), "attestation_serial"),
        (By::AttestationSerial("1".repeat(43)), "attestation_serial"),
        (
            By::AttestationKeySha256("a".repeat(63)),
            "attestation_key_sha256",
        ),
    ] {
        let request = proto::FindDevicesRequest {
            by: Some(by),
            page_size: 101,
            page_token: "dev_2".to_owned(),
        };
        let status = server.devices().find_devices(request).await.unwrap_err();
        let wanted = [field, "page_size", "page_token"].map(str::to_owned);
        assert_eq!(wrong_fields(&status), wanted.into());
    }
    for token in ["1-1", "-", " ", &"0".repeat(41)] {
        let request = proto::ListAuditEventsRequest {
            device_id: nobody(1),
            page_size: 0,
            page_token: token.to_owned(),
        };
        let got = server.operations().list_audit_events(request).await;
        let wrong = wrong_fields(&got.unwrap_err());
        assert_eq!(wrong, ["page_token".to_owned()].into(), "{token:?}");
    }
}
