//! Who may call what, over mutual TLS: every role on every RPC.

use std::collections::BTreeMap;

use assay::grpc::caller::{Access, Role, TABLE};
use assay::grpc::proto;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::harness::{Clients, MEMORY, Server, World, revoke};
use super::refusal::assert_refused;
use super::story::assert_no;
use super::wire::{rpcs, send};

/// "Callers" of the API: which role calls which RPC.
const CALLERS: &[(&str, &str)] = &[
    (
        "auth-server",
        "CreateChallenge RegisterDevice ReattestDevice LinkDeviceSuccessor IssueSession EndSession \
         RevokeSession RevokeSubject RevokeConsent ConfirmRevocations EnrolPresenceKey \
         ElevateSession RotateSession",
    ),
    (
        "mobile-backend",
        "CreateChallenge RegisterDevice ReattestDevice RotateDeviceKey RefreshSession EndSession",
    ),
    (
        "resource-server",
        "VerifyRequest IntrospectToken WatchRevocations AckRevocations",
    ),
    (
        "on-call",
        "AppraiseEvidence GetTrustStatus GetDevice ListDevices FindDevices SuspendDevice ResumeDevice \
         RevokeDevice BatchRevokeDevices LinkDeviceSuccessor ListSessions GetSession \
         RevokeSession RevokeSubject ListAuditEvents RevokeConsent PreviewRevocation \
         WatchRevocations AckRevocations ConfirmRevocations RunDrill",
    ),
    (
        "security-admin",
        "GetTrustStatus ReappraiseDevices ListAuditEvents SetNotBefore PreviewRevocation \
         ExportSubject EraseSubject",
    ),
];

/// Open to whoever has a certificate of the authority.
const OPEN: &str = "GetJwks";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn issue(&self, name: SanType, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A service behind mutual TLS, and certificates of its callers.
struct Guarded {
    world: World,
    server: Server,
    authority: Authority,
}

async fn guarded() -> Guarded {
    let world = World::new();
    let authority = Authority::new();
    let localhost = SanType::DnsName("localhost".try_into().unwrap());
    let (certificate, key) = authority.issue(localhost, ExtendedKeyUsagePurpose::ServerAuth);
    for (name, text) in [
        ("server.pem", &certificate),
        ("server-key.pem", &key),
        ("callers-ca.pem", &authority.pem),
    ] {
        std::fs::write(world.path().join(name), text).unwrap();
    }
    let callers = Role::ALL
        .iter()
        .map(|role| {
            let role = role.as_str();
            format!("[[callers]]\nidentity = \"spiffe://test/{role}\"\nroles = [\"{role}\"]\n")
        })
        .collect::<String>()
        + "[[callers]]\nidentity = \"spiffe://test/second-admin\"\nroles = [\"security-admin\"]\n";
    let tls = "[server.tls]\ncertificate = \"server.pem\"\nkey = \"server-key.pem\"\n\
               client_ca = \"callers-ca.pem\"\n";
    let config = world.config(MEMORY).replace("plaintext = true\n", "") + tls + &callers;
    let server = world.start_from(&config).await;
    Guarded {
        world,
        server,
        authority,
    }
}

impl Guarded {
    fn channel(&self, name: SanType) -> Channel {
        let (certificate, key) = self
            .authority
            .issue(name, ExtendedKeyUsagePurpose::ClientAuth);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority.pem))
            .domain_name("localhost")
            .identity(Identity::from_pem(certificate, key));
        let address = format!("https://{}", self.server.service.grpc_addr());
        let endpoint = Endpoint::from_shared(address).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    fn role(&self, role: &str) -> Channel {
        let uri = format!("spiffe://test/{role}");
        self.channel(SanType::URI(uri.as_str().try_into().unwrap()))
    }
}

fn documented(role: &str, path: &str) -> bool {
    let (_, method) = path.rsplit_once('/').unwrap();
    let (_, allowed) = CALLERS.iter().find(|(known, _)| *known == role).unwrap();
    method == OPEN || allowed.split(' ').any(|known| known == method)
}

/// Garbage to those who may call, PERMISSION_DENIED to those who may not: the role comes before
/// anything that is sent is looked at.
#[tokio::test]
async fn each_role_calls_its_rpcs_and_is_kept_from_all_others_before_anything_is_read() {
    let guarded = guarded().await;
    assert_eq!(Role::ALL.len(), CALLERS.len());
    for role in Role::ALL {
        let channel = guarded.role(role.as_str());
        for (path, _) in rpcs() {
            let got = send(&channel, &path, vec![0xff; 30]).await;
            let status = got.expect_err("garbage");
            let wanted = if documented(role.as_str(), &path) {
                "MALFORMED_REQUEST"
            } else {
                "CALLER_NOT_ALLOWED"
            };
            assert_refused(&status, wanted);
        }
    }
    guarded.server.stop().await;
}

#[tokio::test]
async fn a_name_nobody_configured_is_nobody() {
    let guarded = guarded().await;
    let names = [
        SanType::URI("spiffe://test/auth-server2".try_into().unwrap()),
        SanType::URI("spiffe://other/auth-server".try_into().unwrap()),
        SanType::DnsName("auth-server".try_into().unwrap()),
    ];
    for name in names {
        let channel = guarded.channel(name);
        for (path, _) in rpcs() {
            let got = send(&channel, &path, Vec::new()).await;
            if path.ends_with(OPEN) {
                got.unwrap();
            } else {
                assert_refused(&got.unwrap_err(), "CALLER_UNAUTHENTICATED");
            }
        }
        let status = send(&channel, "/assay.v1.DeviceService/Nothing", Vec::new()).await;
        assert_refused(&status.unwrap_err(), "CALLER_UNAUTHENTICATED");
    }
    guarded.server.stop().await;
}

#[tokio::test]
async fn the_story_goes_through_with_each_caller_in_its_role() {
    let guarded = guarded().await;
    let with = |role: &str| Clients(guarded.role(role));
    let (auth, backend) = (with("auth-server"), with("mobile-backend"));
    let (resource, on_call) = (with("resource-server"), with("on-call"));
    let mut phone = guarded.world.android();
    let device = phone.join(&backend, "tls@mail.test").await;
    let grant = phone.issue(&auth, &device).await.unwrap();
    let (_, grant) = phone.refresh(&backend, &grant.refresh_token).await.unwrap();
    assert!(phone.decide(&resource, &grant.access_token).await.allow);
    revoke(&on_call, &device.device_id).await.unwrap();
    let no = phone.decide(&resource, &grant.access_token).await;
    assert_no(&no, "DEVICE_REVOKED");
    // Who may not ask is told the same of what exists and of what does not.
    let missing = proto::GetDeviceRequest {
        device_id: "dev_000000000000000000000000000000000000".to_owned(),
    };
    let there = proto::GetDeviceRequest {
        device_id: device.device_id,
    };
    let statuses: Vec<Status> = [
        auth.devices().get_device(missing).await.unwrap_err(),
        auth.devices().get_device(there).await.unwrap_err(),
    ]
    .into();
    for status in &statuses {
        assert_refused(status, "CALLER_NOT_ALLOWED");
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    assert_eq!(statuses[0].details(), statuses[1].details());
}

#[tokio::test]
async fn a_cut_of_all_sessions_takes_two_certificates() {
    use proto::set_not_before_request::Target;
    let guarded = guarded().await;
    let with = |role: &str| Clients(guarded.role(role));
    let (auth, backend) = (with("auth-server"), with("mobile-backend"));
    let (one, two) = (with("security-admin"), with("second-admin"));
    let mut phone = guarded.world.android();
    let device = phone.join(&backend, "cut@mail.test").await;
    let grant = phone.issue(&auth, &device).await.unwrap();
    let everything = proto::preview_revocation_request::Target::Everything(proto::Everything {});
    let preview = proto::PreviewRevocationRequest {
        target: Some(everything),
        not_before: None,
    };
    let seen = one.revocation().preview_revocation(preview.clone()).await;
    let seen = seen.unwrap().into_inner();
    assert_eq!((seen.devices, seen.sessions, seen.exact), (1, 1, true));
    assert_eq!(seen.sample_session_ids, [grant.session.unwrap().session_id]);
    let request = |confirm_token: &str| proto::SetNotBeforeRequest {
        target: Some(Target::Everything(proto::Everything {})),
        not_before: None,
        confirm_token: confirm_token.to_owned(),
    };
    let proposed = one.revocation().set_not_before(request("")).await;
    let token = proposed.unwrap().into_inner().confirm_token;
    let alone = one.revocation().set_not_before(request(&token)).await;
    assert_refused(&alone.unwrap_err(), "TWO_PERSON_REQUIRED");
    let done = two.revocation().set_not_before(request(&token)).await;
    let done = done.unwrap().into_inner();
    assert_eq!((done.buckets_done, done.buckets), (1024, 1024));
    assert!(done.receipt.is_some() && done.confirm_token.is_empty());
    let refused = phone.refresh(&backend, &grant.refresh_token).await;
    assert_refused(&refused.unwrap_err(), "SESSION_REVOKED");
    let seen = two.revocation().preview_revocation(preview).await;
    assert_eq!(seen.unwrap().into_inner().sessions, 0);
    let events = proto::ListAuditEventsRequest {
        device_id: device.device_id,
        ..proto::ListAuditEventsRequest::default()
    };
    let told = two.operations().list_audit_events(events).await;
    let last = told.unwrap().into_inner().events.pop().unwrap();
    assert_eq!(last.kind, "not-before-set");
    assert_eq!(
        last.actor,
        "spiffe://test/security-admin spiffe://test/second-admin"
    );
    // And the subject is shown, and erased.
    let export = proto::ExportSubjectRequest {
        subject: "cut@mail.test".to_owned(),
        ..proto::ExportSubjectRequest::default()
    };
    let kept = one.operations().export_subject(export.clone()).await;
    let kept = kept.unwrap().into_inner();
    assert_eq!((kept.devices.len(), kept.sessions.len()), (1, 1));
    let erase = proto::EraseSubjectRequest {
        subject: "cut@mail.test".to_owned(),
        validate_only: false,
    };
    let erased = one.operations().erase_subject(erase).await.unwrap();
    let erased = erased.into_inner();
    assert_eq!((erased.devices, erased.sessions), (1, 1));
    let kept = one.operations().export_subject(export).await;
    assert_eq!(
        kept.unwrap().into_inner(),
        proto::ExportSubjectResponse::default()
    );
    guarded.server.stop().await;
}

#[test]
fn the_table_decides_every_rpc_of_the_protos_and_no_other_of_ours() {
    let served: Vec<String> = rpcs().into_iter().map(|(path, _)| path).collect();
    assert!(assay::grpc::caller::undecided(served.iter().map(String::as_str)).is_empty());
    for (path, _) in TABLE {
        let foreign = path.starts_with("/grpc.");
        assert!(
            foreign || served.iter().any(|s| s == path),
            "{path} is not served"
        );
    }
}

/// The words after "Callers:" in the comment of each RPC, from the proto files themselves.
fn commented() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/assay/v1");
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let (mut service, mut comment) = (String::new(), String::new());
        for line in text.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("//") {
                comment.push_str(words);
                continue;
            }
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split(' ').next().unwrap().to_owned();
            }
            if let Some(rest) = line.strip_prefix("rpc ") {
                let method = rest.split('(').next().unwrap();
                found.insert(format!("/assay.v1.{service}/{method}"), comment.clone());
            }
            comment.clear();
        }
    }
    found
}

#[test]
fn the_comments_in_the_protos_name_the_callers_of_the_table() {
    let commented = commented();
    assert_eq!(commented.len(), rpcs().len());
    for (path, comment) in commented {
        match assay::grpc::caller::access(&path).unwrap() {
            Access::Open => assert!(comment.contains("Open to every caller."), "{path}"),
            Access::Roles(roles) => {
                let said = comment.split_once("Callers: ").unwrap().1;
                let said: Vec<&str> = said.split('.').next().unwrap().split(", ").collect();
                let known: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
                assert_eq!(said, known, "{path}");
            }
        }
    }
}

impl Guarded {
    fn write(&self, authority: &Authority) {
        let localhost = SanType::DnsName("localhost".try_into().unwrap());
        let (certificate, key) = authority.issue(localhost, ExtendedKeyUsagePurpose::ServerAuth);
        let files = [
            ("server.pem", &certificate),
            ("server-key.pem", &key),
            ("callers-ca.pem", &authority.pem),
        ];
        for (name, text) in files {
            std::fs::write(self.world.path().join(name), text).unwrap();
        }
    }

    /// Whether a new connection of the authority's `on-call` gets an answer.
    async fn lets_in(&self) -> bool {
        let channel = self.role("on-call");
        let path = "/assay.v1.VerificationService/GetJwks";
        send(&channel, path, Vec::new()).await.is_ok()
    }
}

#[tokio::test]
async fn certificates_are_renewed_without_a_restart_and_unusable_ones_change_nothing() {
    let mut guarded = guarded().await;
    assert!(guarded.lets_in().await);
    std::fs::write(guarded.world.path().join("server.pem"), "half writ").unwrap();
    // Longer than the wait between two looks.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(guarded.lets_in().await);

    let old = std::mem::replace(&mut guarded.authority, Authority::new());
    assert!(!guarded.lets_in().await);
    guarded.write(&guarded.authority);
    let mut tries = 0;
    while !guarded.lets_in().await {
        tries += 1;
        assert!(tries < 1200, "the new certificates never came into use");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    guarded.authority = old;
    assert!(
        !guarded.lets_in().await,
        "the old authority is still let in"
    );
    guarded.server.stop().await;
}
