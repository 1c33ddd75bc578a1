//! Messages of the API.

use assay::grpc::codec;
use assay::grpc::proto::{
    AndroidEvidence, AppraiseEvidenceRequest, CreateChallengeRequest, EndSessionRequest, Evidence,
    GetDeviceRequest, GetJwksRequest, IntrospectTokenRequest, IssueSessionRequest,
    ListDevicesRequest, ListSessionsRequest, RefreshSessionRequest, RegisterDeviceRequest,
    RevokeDeviceRequest, VerifyRequestRequest, evidence,
};
use prost::{Message, Name};

/// What passes the scan is the message that is decoded, and nothing of it is lost.
fn held<M: Message + Name + Default + PartialEq>(bytes: &[u8]) -> bool {
    let name = M::full_name();
    let verdict = codec::scan(&name, bytes);
    assert_eq!(verdict, codec::scan(&name, bytes));
    match verdict {
        Err(refusal) => {
            let status = tonic_status(refusal);
            super::make::readable(&status);
            false
        }
        Ok(()) => {
            let message = M::decode(bytes).expect("what is scanned can be decoded");
            let written = message.encode_to_vec();
            assert!(written.len() <= bytes.len(), "more than was sent");
            assert_eq!(codec::scan(&name, &written), Ok(()));
            assert!(M::decode(&written[..]).expect("our own") == message);
            true
        }
    }
}

fn tonic_status(refusal: codec::WireRefusal) -> String {
    format!("{refusal:?}")
}

/// The first byte says which message it is.
pub(crate) fn scan(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    match which % 13 {
        0 => held::<RegisterDeviceRequest>(bytes),
        1 => held::<AppraiseEvidenceRequest>(bytes),
        2 => held::<CreateChallengeRequest>(bytes),
        3 => held::<IssueSessionRequest>(bytes),
        4 => held::<RefreshSessionRequest>(bytes),
        5 => held::<VerifyRequestRequest>(bytes),
        6 => held::<EndSessionRequest>(bytes),
        7 => held::<ListSessionsRequest>(bytes),
        8 => held::<ListDevicesRequest>(bytes),
        9 => held::<GetDeviceRequest>(bytes),
        10 => held::<RevokeDeviceRequest>(bytes),
        11 => held::<IntrospectTokenRequest>(bytes),
        _ => held::<GetJwksRequest>(bytes),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let android = AndroidEvidence {
        certificate_chain: vec![vec![1; 20], vec![2; 20]],
    };
    let register = RegisterDeviceRequest {
        request_id: String::new(),
        subject: "user".to_owned(),
        app_id: "bank".to_owned(),
        challenge: vec![3; 63],
        evidence: Some(Evidence {
            kind: Some(evidence::Kind::Android(android)),
        }),
        validate_only: true,
        client: None,
    };
    let list = ListDevicesRequest {
        page_size: -1,
        ..ListDevicesRequest::default()
    };
    let mut seeds = vec![
        [vec![0], register.encode_to_vec()].concat(),
        [vec![8], list.encode_to_vec()].concat(),
        vec![0, 0x22, 4, 0x0a, 0, 0x12, 0],
    ];
    // One field of each number and form, for every message.
    for which in 0..13 {
        for number in 1..10_u8 {
            seeds.push(vec![which, number << 3 | 2, 2, 8, 1]);
            seeds.push(vec![which, number << 3, 1]);
        }
    }
    seeds
}
