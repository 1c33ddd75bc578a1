//! Every refusal that can be reached from outside: its code, details and silence.

use std::collections::BTreeSet;
use std::time::Duration;

use assay::grpc::proto;
use assay::simulator::{android, apple};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::harness::{
    API, Clients, MEMORY, Phone, Server, World, end_by_token, eventually, get_session, http_get,
    link, own_uri, resume, revoke, revoke_session, revoke_subject, sessions_of, suspend, verify,
};
use super::refusal::{assert_refused, assert_says_none_of};
use super::story::assert_no;

/// Reasons that nothing outside can bring about yet, or only a fault: each with why.
const NOT_REACHED_HERE: &[(&str, &str)] = &[
    ("CALLER_UNAUTHENTICATED", "needs TLS; see the callers"),
    ("CALLER_NOT_ALLOWED", "needs roles; see the callers"),
    ("CONFLICT", "needs eight lost races in a row"),
    (
        "STATE_STORE_UNAVAILABLE",
        "needs an outage; see the outages",
    ),
    ("REVOCATION_NOT_DURABLE", "needs replicas; see the outages"),
    (
        "TRUST_LIST_STALE",
        "no service starts without a list it needs",
    ),
    ("INTERNAL", "a fault of ours"),
    ("ACCESS_TOKEN_VOID", "see the step-ups"),
    ("REFRESH_TOKEN_VOID", "see the step-ups"),
    ("REQUEST_ID_REUSED", "see the step-ups"),
    (
        "USER_PRESENCE_REQUIRED",
        "needs a policy of its own; see the flows",
    ),
];

/// Refusals seen so far; each was held against everything that is promised.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    #[track_caller]
    fn refused<T: std::fmt::Debug>(&mut self, world: &World, reason: &str, got: Result<T, Status>) {
        let status = got.expect_err(reason);
        assert_refused(&status, reason);
        assert_says_none_of(&status, &world.secrets());
        self.0.insert(reason.to_owned());
    }

    #[track_caller]
    fn no(&mut self, decision: &proto::Decision, reason: &str) {
        assert_no(decision, reason);
        self.0.insert(reason.to_owned());
    }
}

#[tokio::test]
async fn every_refusal_reachable_from_outside_has_its_promised_form() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut seen = Seen::default();
    phone_refusals(&world, &server, &mut seen).await;
    evidence_refusals(&world, &server, &mut seen).await;
    status_list_refusals(&world, &mut seen).await;
    registration_refusals(&world, &server, &mut seen).await;
    proof_refusals(&world, &server, &mut seen).await;
    replay_refusals(&world, &server, &mut seen).await;
    session_refusals(&world, &server, &mut seen).await;
    expiry_refusals(&world, &server, &mut seen).await;
    decision_refusals(&world, &server, &mut seen).await;
    rate_refusals(&world, &mut seen).await;
    overload(&world, &mut seen).await;
    seen.0.insert("MALFORMED_REQUEST".to_owned()); // with the wire
    seen.0.insert("UNKNOWN_FIELD".to_owned());
    server.stop().await;

    let all: BTreeSet<_> = assay::reason::Reason::ALL
        .iter()
        .map(|reason| reason.as_str().to_owned())
        .collect();
    let excused = NOT_REACHED_HERE.iter().map(|(r, _)| (*r).to_owned());
    let excused: BTreeSet<_> = excused.collect();
    let accounted = &seen.0 | &excused;
    let missing: Vec<_> = all.difference(&accounted).collect();
    assert!(missing.is_empty(), "not seen and not excused: {missing:?}");
    let stale: Vec<_> = seen.0.intersection(&excused).collect();
    assert!(stale.is_empty(), "excused without need: {stale:?}");
}

async fn phone_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let android = world.android_options();
    let bent = |change: &dyn Fn(&mut android::Options)| {
        let mut options = android.clone();
        change(&mut options);
        world.android_with(options)
    };
    let odd_phones = [
        (
            bent(&|o| o.boot = android::Boot::Unlocked),
            "demo",
            "BOOT_STATE_REJECTED",
        ),
        (
            bent(&|o| o.security_level = android::SecurityLevel::Software),
            "demo",
            "SECURITY_LEVEL_TOO_LOW",
        ),
        (
            bent(&|o| o.security_level = android::SecurityLevel::StrongBox),
            "strict",
            "POSTURE_BELOW_POLICY",
        ),
        (
            bent(&|o| o.package_name = "com.example.other".to_owned()),
            "demo",
            "ATTESTATION_APP_MISMATCH",
        ),
        (
            bent(&|o| o.origin = android::Origin::Imported),
            "demo",
            "ATTESTATION_KEY_REJECTED",
        ),
        (
            World::new().android(),
            "demo",
            "ATTESTATION_CHAIN_UNTRUSTED",
        ),
        (World::new().iphone(), "demo", "ATTESTATION_CHAIN_UNTRUSTED"),
        (world.iphone(), "store", "ATTESTATION_ENVIRONMENT_MISMATCH"),
        (world.iphone(), "strict", "UNSUPPORTED_PLATFORM"),
        (world.android(), "store", "UNSUPPORTED_PLATFORM"),
    ];
    for (phone, app, reason) in odd_phones {
        let mut phone = phone.with_app(app);
        let got = phone.register(server, "eve@mail.test").await;
        seen.refused(world, reason, got);
    }
    let other_app = apple::Options::well_kept(
        "ZZZZZZZZZZ",
        "com.example.demo",
        apple::Environment::Development,
    );
    let got = world
        .iphone_with(other_app)
        .register(server, "eve@mail.test")
        .await;
    seen.refused(world, "ATTESTATION_APP_MISMATCH", got);
}

async fn evidence_refusals(world: &World, server: &Server, seen: &mut Seen) {
    for mut phone in [world.android(), world.iphone()] {
        let mut request = phone.registration(server, "eve@mail.test").await;
        request.challenge = phone.challenge(server, "eve@mail.test").await;
        let got = server.devices().register_device(request).await;
        seen.refused(world, "ATTESTATION_CHALLENGE_MISMATCH", got);
    }
    let challenge = world.android().challenge(server, "eve@mail.test").await;
    for (kind, reason) in bad_evidence() {
        let request = proto::RegisterDeviceRequest {
            request_id: String::new(),
            subject: "eve@mail.test".to_owned(),
            app_id: "demo".to_owned(),
            challenge: challenge.clone(),
            evidence: Some(proto::Evidence { kind: Some(kind) }),
            validate_only: false,
            client: None,
        };
        let got = server.devices().register_device(request).await;
        seen.refused(world, reason, got);
    }
}

fn bad_evidence() -> Vec<(proto::evidence::Kind, &'static str)> {
    use proto::evidence::Kind::{Android, Apple};
    let chain = |certificate_chain| Android(proto::AndroidEvidence { certificate_chain });
    let object = |length: usize, client_data: usize| {
        Apple(proto::AppleEvidence {
            attestation_object: vec![0xa0; length],
            key_id: vec![7; 32],
            client_data: vec![b' '; client_data],
        })
    };
    vec![
        (chain(vec![]), "EVIDENCE_MALFORMED"),
        (chain(vec![vec![]]), "EVIDENCE_MALFORMED"),
        (
            chain(vec![b"no certificate".to_vec(); 3]),
            "EVIDENCE_MALFORMED",
        ),
        (chain(vec![vec![0x30; 100]; 7]), "EVIDENCE_TOO_LARGE"),
        (chain(vec![vec![0x30; 9000]]), "EVIDENCE_TOO_LARGE"),
        (object(50, 10), "EVIDENCE_MALFORMED"),
        (object(17 * 1024, 10), "EVIDENCE_TOO_LARGE"),
        (object(50, 1025), "EVIDENCE_TOO_LARGE"),
    ]
}

/// What the status list refuses.
async fn status_list_refusals(world: &World, seen: &mut Seen) {
    let mut phone = world.android();
    let evidence = phone.evidence(b"any");
    let Some(proto::evidence::Kind::Android(chain)) = evidence.kind else {
        panic!("an Android phone");
    };
    let certificate = &chain.certificate_chain[1];
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let serial = format!("{:x}", parsed.tbs_certificate.serial);
    let list = format!("{{\"entries\":{{\"{serial}\":{{\"status\":\"REVOKED\"}}}}}}");
    std::fs::write(world.path().join("status.json"), list).unwrap();
    let with_list = world.config(MEMORY).replace(
        "status_list_missing = \"allow\"",
        "status_list = \"status.json\"",
    );
    let server = world.start_from(&with_list).await;
    let got = phone.register(&server, "eve@mail.test").await;
    seen.refused(world, "ATTESTATION_CERT_REVOKED", got);
    server.stop().await;
}

async fn registration_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let mut phone = world.android();
    let used = phone.registration(server, "rosa@mail.test").await;
    let devices = || server.devices();
    devices().register_device(used.clone()).await.unwrap();
    devices().register_device(used.clone()).await.unwrap();

    let other_key = proto::RegisterDeviceRequest {
        evidence: Some(world.android().evidence(&used.challenge)),
        ..used.clone()
    };
    let got = devices().register_device(other_key).await;
    seen.refused(world, "CHALLENGE_ALREADY_USED", got);
    let other_subject = proto::RegisterDeviceRequest {
        subject: "eve@mail.test".to_owned(),
        ..used.clone()
    };
    let got = devices().register_device(other_subject).await;
    seen.refused(world, "CHALLENGE_INVALID", got);

    // An iPhone attests the key it has, so it can ask for two subjects.
    let mut iphone = world.iphone();
    let device = iphone.join(server, "rosa@mail.test").await;
    let got = iphone.register(server, "eve@mail.test").await;
    seen.refused(world, "DEVICE_EXISTS", got);
    revoke(server, &device.device_id).await.unwrap();
    let got = iphone.register(server, "rosa@mail.test").await;
    seen.refused(world, "DEVICE_KEY_BANNED", got);

    let mut crowd = world.android().with_app("small");
    crowd.join(server, "mia@mail.test").await;
    let got = crowd.register(server, "mia@mail.test").await;
    seen.refused(world, "DEVICE_LIMIT", got);
    let got = crowd.register(server, "tom@mail.test").await;
    let status = got.as_ref().unwrap_err();
    let wait = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!(Duration::from_secs(3600) < wait && wait <= Duration::from_secs(86_400));
    seen.refused(world, "RATE_LIMITED_ATTESTATION_KEY", got);

    for app in ["closed", "unheard-of"] {
        let request = proto::CreateChallengeRequest {
            app_id: app.to_owned(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: String::new(),
            client: None,
        };
        let got = devices().create_challenge(request).await;
        seen.refused(world, "APP_DISABLED", got);
    }
    let nobody = "dev_000000000000000000000000000000000000".to_owned();
    let request = proto::GetDeviceRequest {
        device_id: nobody.clone(),
    };
    seen.refused(
        world,
        "RESOURCE_NOT_FOUND",
        devices().get_device(request).await,
    );
    seen.refused(world, "RESOURCE_NOT_FOUND", revoke(server, &nobody).await);
}

async fn proof_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let mut phone = world.android();
    let device = phone.join(server, "pia@mail.test").await;
    let mut stranger = world.android();
    let other = stranger.join(server, "eve@mail.test").await;
    let good = own_uri("IssueSession");
    let post = ("POST", good.as_str());
    let mut proofs = vec![
        (stranger.proof("IssueSession"), "PROOF_KEY_MISMATCH"),
        (
            phone.proof_with(post, None, |d| d.nonce = None),
            "PROOF_NONCE_REQUIRED",
        ),
        (
            phone.proof_with(post, None, |d| d.nonce = Some("n")),
            "PROOF_NONCE_STALE",
        ),
        (
            phone.proof_with(("GET", &good), None, |_| {}),
            "PROOF_TARGET_MISMATCH",
        ),
        (phone.proof("RefreshSession"), "PROOF_TARGET_MISMATCH"),
        (
            phone.proof_with(("POST", API), None, |_| {}),
            "PROOF_TARGET_MISMATCH",
        ),
        (
            phone.proof_with(post, Some("token"), |_| {}),
            "PROOF_TARGET_MISMATCH",
        ),
        ("no proof".to_owned(), "PROOF_INVALID"),
    ];
    let signed = phone.proof("IssueSession");
    let (input, _) = signed.rsplit_once('.').unwrap();
    let forged = format!(
        "{input}.{}",
        data_encoding::BASE64URL_NOPAD.encode(&[1; 64])
    );
    proofs.push((forged, "PROOF_INVALID"));
    for (proof, reason) in proofs {
        world.keep_secret(&proof);
        let request = proto::IssueSessionRequest {
            proof,
            ..phone.issuance(&device)
        };
        seen.refused(
            world,
            reason,
            server.sessions().issue_session(request).await,
        );
    }
    let foreign = proto::IssueSessionRequest {
        device_id: other.device_id,
        ..phone.issuance(&device)
    };
    let got = server.sessions().issue_session(foreign).await;
    seen.refused(world, "DEVICE_KEY_UNKNOWN", got);
}

async fn replay_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let mut phone = world.android();
    let device = phone.join(server, "rita@mail.test").await;
    let good = own_uri("IssueSession");
    let post = ("POST", good.as_str());
    // The nonce of a refusal makes the next proof good.
    let stale = proto::IssueSessionRequest {
        proof: phone.proof_with(post, None, |d| d.nonce = None),
        ..phone.issuance(&device)
    };
    let status = server.sessions().issue_session(stale).await.unwrap_err();
    let nonce = status
        .metadata()
        .get("dpop-nonce")
        .unwrap()
        .to_str()
        .unwrap();
    phone.nonce = Some(nonce.to_owned());
    let used = phone.issuance(&device);
    phone.send_issuance(server, used.clone()).await.unwrap();
    seen.refused(
        world,
        "PROOF_REPLAYED",
        phone.send_issuance(server, used).await,
    );

    // Where a nonce is optional the phone's clock has to be right.
    let mut lax = world.android().with_app("lax");
    let device = lax.join(server, "lea@mail.test").await;
    let late = world.clock.now().before(Duration::from_secs(600));
    let request = proto::IssueSessionRequest {
        proof: lax.proof_with(post, None, |d| (d.nonce, d.iat) = (None, late)),
        ..lax.issuance(&device)
    };
    let got = server.sessions().issue_session(request).await;
    seen.refused(world, "PROOF_STALE", got);
}

async fn session_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let mut phone = world.android();
    let device = phone.join(server, "sara@mail.test").await;
    for scopes in [vec!["write"], vec!["read", "write"]] {
        let request = proto::IssueSessionRequest {
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            ..phone.issuance(&device)
        };
        let got = server.sessions().issue_session(request).await;
        seen.refused(world, "SCOPE_NOT_ALLOWED", got);
    }
    let grant = phone.issue(server, &device).await.unwrap();
    let wide = proto::RefreshSessionRequest {
        scopes: vec!["list".to_owned()],
        ..phone.refreshment(&grant.refresh_token)
    };
    let got = server.sessions().refresh_session(wide).await;
    seen.refused(world, "SCOPE_NOT_ALLOWED", got);

    // Unknown, forged, foreign: the same answer.
    let mut thief = world.android();
    thief.join(server, "eve@mail.test").await;
    let mut forged = grant.refresh_token.clone();
    let other = if &forged[10..11] == "A" { "B" } else { "A" };
    forged.replace_range(10..11, other);
    for token in ["asr1.x.y", "x", forged.as_str()] {
        let got = phone.refresh(server, token).await;
        seen.refused(world, "TOKEN_INVALID", got);
    }
    let got = thief.refresh(server, &grant.refresh_token).await;
    seen.refused(world, "TOKEN_INVALID", got);
    assert_eq!(
        sessions_of(server, "sara@mail.test").await.len(),
        1,
        "unharmed"
    );

    let (_, second) = phone.refresh(server, &grant.refresh_token).await.unwrap();
    phone.refresh(server, &second.refresh_token).await.unwrap();
    let got = phone.refresh(server, &grant.refresh_token).await;
    seen.refused(world, "REFRESH_TOKEN_REUSED", got);
    let got = phone.refresh(server, &second.refresh_token).await;
    seen.refused(world, "SESSION_REVOKED", got);

    revocation_refusals(world, server, seen, (&mut phone, &device)).await;
    wide_revocation_refusals(world, server, seen, (&mut phone, &device)).await;
    let last = phone.issue(server, &device).await.unwrap();
    suspend(server, &device.device_id).await.unwrap();
    let got = phone.refresh(server, &last.refresh_token).await;
    seen.refused(world, "DEVICE_SUSPENDED", got);
    let got = phone.issue(server, &device).await;
    seen.refused(world, "DEVICE_SUSPENDED", got);
    let decision = phone.decide(server, &last.access_token).await;
    seen.no(&decision, "DEVICE_SUSPENDED");
    let got = link(server, &device.device_id, &device.device_id).await;
    seen.refused(world, "ILLEGAL_STATE_TRANSITION", got);
    revoke(server, &device.device_id).await.unwrap();
    let got = resume(server, &device.device_id).await;
    seen.refused(world, "DEVICE_REVOKED", got);
    let got = phone.refresh(server, &last.refresh_token).await;
    seen.refused(world, "DEVICE_REVOKED", got);

    let mut small = world.iphone().with_app("small");
    let device = small.join(server, "lin@mail.test").await;
    let only = small.issue(server, &device).await.unwrap();
    let got = small.issue(server, &device).await;
    seen.refused(world, "SESSION_LIMIT", got);
    end_by_token(server, &only.refresh_token).await.unwrap();
    small.issue(server, &device).await.unwrap();
}

/// One session is revoked, then all of the subject.
async fn revocation_refusals(
    world: &World,
    server: &Server,
    seen: &mut Seen,
    (phone, device): (&mut Phone, &proto::Device),
) {
    let cut = phone.issue(server, device).await.unwrap();
    let id = cut.session.as_ref().unwrap().session_id.clone();
    let nobody = format!("ses_{}", "0".repeat(36));
    let got = revoke_session(server, &nobody).await;
    seen.refused(world, "RESOURCE_NOT_FOUND", got);
    let revoked = revoke_session(server, &id).await.unwrap();
    let session = revoked.session.unwrap();
    assert!(session.end_time.is_some() && session.end_reason == "stolen");
    assert!(!revoked.receipt.unwrap().revision.is_empty());
    let found = get_session(server, &id).await.unwrap();
    assert_eq!(found.refusal, "SESSION_REVOKED");
    assert_eq!(found.session.unwrap(), session);
    seen.refused(
        world,
        "RESOURCE_NOT_FOUND",
        get_session(server, &nobody).await,
    );
    let got = phone.refresh(server, &cut.refresh_token).await;
    seen.refused(world, "SESSION_REVOKED", got);

    let all = phone.issue(server, device).await.unwrap();
    let id = all.session.as_ref().unwrap().session_id.clone();
    let found = get_session(server, &id).await.unwrap();
    assert_eq!(
        (found.session, found.refusal),
        (all.session.clone(), String::new())
    );
    let receipt = revoke_subject(server, "sara@mail.test").await.unwrap();
    assert!(!receipt.revision.is_empty());
    let got = phone.refresh(server, &all.refresh_token).await;
    seen.refused(world, "SUBJECT_REVOKED", got);
    let decision = phone.decide(server, &all.access_token).await;
    seen.no(&decision, "SUBJECT_REVOKED");
    let found = get_session(server, &id).await.unwrap();
    assert_eq!(found.refusal, "SUBJECT_REVOKED");
}

/// A consent is revoked until no more fit; a cut of all sessions wants two callers, and on a plaintext
/// port there is but one.
async fn wide_revocation_refusals(
    world: &World,
    server: &Server,
    seen: &mut Seen,
    (phone, device): (&mut Phone, &proto::Device),
) {
    let mut revocation = server.revocation();
    let consent = |name: String| proto::RevokeConsentRequest {
        subject: "sara@mail.test".to_owned(),
        consent_id: name,
        reason: proto::RevocationReason::UserRequest.into(),
        validate_only: false,
    };
    let opening = proto::IssueSessionRequest {
        consent_id: "loan".to_owned(),
        ..phone.issuance(device)
    };
    let grant = phone.send_issuance(server, opening).await.unwrap();
    let session = grant.session.unwrap();
    assert_eq!(session.consent_id, "loan");
    let told = revocation.revoke_consent(consent("loan".to_owned())).await;
    assert!(
        !told
            .unwrap()
            .into_inner()
            .receipt
            .unwrap()
            .revision
            .is_empty()
    );
    let got = phone.refresh(server, &grant.refresh_token).await;
    seen.refused(world, "SESSION_REVOKED", got);
    let found = get_session(server, &session.session_id).await.unwrap();
    assert_eq!(found.refusal, "SESSION_REVOKED");
    for number in 1..assay::session::REVOKED_CONSENTS_MAX {
        let told = revocation
            .revoke_consent(consent(format!("c{number}")))
            .await;
        told.unwrap();
    }
    let got = revocation.revoke_consent(consent("more".to_owned())).await;
    seen.refused(world, "CONSENT_LIMIT", got);

    let everything = || {
        use proto::set_not_before_request::Target;
        Some(Target::Everything(proto::Everything {}))
    };
    let proposal = proto::SetNotBeforeRequest {
        target: everything(),
        ..proto::SetNotBeforeRequest::default()
    };
    let proposed = revocation.set_not_before(proposal).await.unwrap();
    let proposed = proposed.into_inner();
    assert_eq!((proposed.buckets_done, proposed.buckets), (0, 1024));
    assert!(proposed.receipt.is_none());
    let confirmation = proto::SetNotBeforeRequest {
        target: everything(),
        not_before: proposed.not_before,
        confirm_token: proposed.confirm_token,
    };
    let got = revocation.set_not_before(confirmation).await;
    seen.refused(world, "TWO_PERSON_REQUIRED", got);
}

/// Time passes: nonces, access tokens, idle and absolute ends, attestations.
async fn expiry_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let pass = |minutes: u64| world.clock.advance(Duration::from_secs(60 * minutes));
    let mut phone = world.android().with_app("lax");
    let old = phone.challenge(server, "olga@mail.test").await;
    let device = phone.join(server, "olga@mail.test").await;
    let idle = phone.issue(server, &device).await.unwrap();
    let kept = phone.issue(server, &device).await.unwrap();
    pass(10);
    let got = phone.issue(server, &device).await;
    seen.refused(world, "PROOF_NONCE_STALE", got);
    phone.nonce = None;
    let decision = phone.decide(server, &kept.access_token).await;
    seen.no(&decision, "TOKEN_EXPIRED");
    let expired = proto::RegisterDeviceRequest {
        request_id: String::new(),
        subject: "olga@mail.test".to_owned(),
        app_id: "lax".to_owned(),
        evidence: Some(phone.evidence(&old)),
        challenge: old,
        validate_only: false,
        client: None,
    };
    let got = server.devices().register_device(expired).await;
    seen.refused(world, "CHALLENGE_INVALID", got);

    // The evidence above was made with a new key; the old one is gone with it.
    let mut phone = world.iphone().with_app("lax");
    let device = phone.join(server, "olga@mail.test").await;
    let idle_too = phone.issue(server, &device).await.unwrap();
    let mut kept = phone.issue(server, &device).await.unwrap();
    pass(60);
    phone.nonce = None;
    (_, kept) = phone.refresh(server, &kept.refresh_token).await.unwrap();
    pass(40);
    phone.nonce = None;
    let got = phone.refresh(server, &idle_too.refresh_token).await;
    seen.refused(world, "SESSION_EXPIRED_IDLE", got);
    pass(30);
    phone.nonce = None;
    let got = phone.issue(server, &device).await;
    seen.refused(world, "REATTESTATION_REQUIRED", got);
    phone.nonce = None;
    let got = phone.refresh(server, &kept.refresh_token).await;
    seen.refused(world, "REATTESTATION_REQUIRED", got);
    // The same key attested again opens the same device.
    let again = phone.join(server, "olga@mail.test").await;
    assert_eq!(again.device_id, device.device_id);
    (_, kept) = phone.refresh(server, &kept.refresh_token).await.unwrap();
    pass(60);
    phone.nonce = None;
    let got = phone.refresh(server, &kept.refresh_token).await;
    seen.refused(world, "SESSION_EXPIRED_ABSOLUTE", got);
    drop(idle);
}

/// What a refusal says is limited.
#[track_caller]
fn quota<T: std::fmt::Debug>(got: &Result<T, Status>) -> String {
    let quota = got.as_ref().unwrap_err().get_details_quota_failure();
    let mut violations = quota.unwrap().violations;
    assert_eq!(violations.len(), 1);
    let violation = violations.remove(0);
    assert!(!violation.description.is_empty());
    violation.subject
}

async fn rate_refusals(world: &World, seen: &mut Seen) {
    let rates = "[rates]\nrefresh_per_ip = \"2/1h\"\n\
                 [apps.demo.rates]\nissue_per_device = \"1/1h\"\nrefresh_per_subject = \"1/1h\"\n";
    let server = world.start_from(&(world.config(MEMORY) + rates)).await;
    let mut phone = world.android();
    let device = phone.join(&server, "rita@mail.test").await;
    let grant = phone.issue(&server, &device).await.unwrap();
    let got = phone.issue(&server, &device).await;
    assert_eq!(quota(&got), "requests of the device");
    seen.refused(world, "RATE_LIMITED_DEVICE", got);
    let (_, grant) = phone.refresh(&server, &grant.refresh_token).await.unwrap();
    let got = phone.refresh(&server, &grant.refresh_token).await;
    assert_eq!(quota(&got), "requests of the subject");
    seen.refused(world, "RATE_LIMITED_SUBJECT", got);
    for (host, reason, limited) in [
        (1, "RATE_LIMITED_SUBJECT", "requests of the subject"),
        (2, "RATE_LIMITED_SUBJECT", "requests of the subject"),
        (3, "RATE_LIMITED_IP", "requests from the network"),
    ] {
        let ip = format!("2001:db8:77:1::{host}");
        phone.hide(&ip);
        let mut request = phone.refreshment(&grant.refresh_token);
        request.client = Some(proto::ClientContext {
            ip,
            locale: "en-GB".to_owned(),
        });
        let got = server.sessions().refresh_session(request).await;
        assert_eq!(quota(&got), limited);
        seen.refused(world, reason, got);
    }
    server.stop().await;

    let server = world
        .start_from(&(world.config(MEMORY) + "[rates]\ncaller = \"3/1h\"\n"))
        .await;
    let mut phone = world.android();
    let device = phone.join(&server, "rita@mail.test").await;
    let grant = phone.issue(&server, &device).await.unwrap();
    assert!(phone.decide(&server, &grant.access_token).await.allow);
    // An error and no decision: it says nothing about the call.
    let call = proto::IntrospectTokenRequest {
        token: grant.access_token,
    };
    let got = server.verification().introspect_token(call).await;
    assert_eq!(quota(&got), "requests of the calling service");
    seen.refused(world, "RATE_LIMITED_CALLER", got);
    server.stop().await;
}

async fn decision_refusals(world: &World, server: &Server, seen: &mut Seen) {
    let mut phone = world.iphone();
    let device = phone.join(server, "dora@mail.test").await;
    let grant = phone.issue(server, &device).await.unwrap();
    let required = proto::Requirements {
        min_trust_level: proto::TrustLevel::Tee.into(),
        ..proto::Requirements::default()
    };
    seen.no(
        &ask(server, &phone, &grant, required).await,
        "TRUST_LEVEL_TOO_LOW",
    );
    let required = proto::Requirements {
        acr_values: vec!["gold".to_owned()],
        ..proto::Requirements::default()
    };
    let no = ask(server, &phone, &grant, required).await;
    seen.no(&no, "STEP_UP_REQUIRED");
}

pub(crate) async fn ask(
    server: &Clients,
    phone: &Phone,
    grant: &proto::Grant,
    required: proto::Requirements,
) -> proto::Decision {
    let request = proto::VerifyRequestRequest {
        required: Some(required),
        ..phone.call(&grant.access_token)
    };
    verify(server, request).await.unwrap()
}

/// One request at a time: while one is under way the next is turned away.
async fn overload(world: &World, seen: &mut Seen) {
    let config = world.config(MEMORY) + "\n[server.limits]\nconcurrent_requests = 1\n";
    let server = world.start_from(&config).await;
    // The message of this request never comes.
    let (hold, held) = tokio::sync::mpsc::channel::<proto::GetJwksRequest>(1);
    let channel = server.clients.0.clone();
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
    eventually("a request under way", || async {
        let (_, metrics) = http_get(&server, "/metrics").await;
        let line = "assay_rpc_in_flight{method=\"assay.v1.VerificationService/GetJwks\"} 1";
        metrics.contains(line).then_some(())
    })
    .await;
    let mut client = server.verification();
    let got = client.get_jwks(proto::GetJwksRequest {}).await;
    seen.refused(world, "OVERLOADED", got);
    hold.send(proto::GetJwksRequest {}).await.unwrap();
    drop(hold);
    slow.await.unwrap().unwrap();
    client.get_jwks(proto::GetJwksRequest {}).await.unwrap();
    drop(client);
    server.stop().await;
}
