//! A world with its own authorities, keys and clock, in which services start and phones live.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay::config::{Config, ConfigFile};
use assay::grpc::proto;
use assay::grpc::proto::attestation_service_client::AttestationServiceClient;
use assay::grpc::proto::device_service_client::DeviceServiceClient;
use assay::grpc::proto::operations_service_client::OperationsServiceClient;
use assay::grpc::proto::revocation_service_client::RevocationServiceClient;
use assay::grpc::proto::session_service_client::SessionServiceClient;
use assay::grpc::proto::verification_service_client::VerificationServiceClient;
use assay::service::{Service, ServiceError};
use assay::simulator::proof::Dpop;
use assay::simulator::{self, Authorities, android, apple};
use assay::telemetry::metrics::Metrics;
use assay::time::Clock;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// What phones believe the service is called.
pub(crate) const PUBLIC_URL: &str = "https://assay.test";
pub(crate) const AUDIENCE: &str = "https://api.test";
/// The API that resource servers guard.
pub(crate) const API: &str = "https://api.test/v1/accounts";
pub(crate) const PACKAGE: &str = "com.example.demo";
pub(crate) const TEAM: &str = "A1B2C3D4E5";
pub(crate) const SIGNING_DIGEST: [u8; 32] = [0x5a; 32];
/// The longest any one call may take, on a machine that does much else.
const CALL_FOR_MAX: Duration = Duration::from_secs(120);

const CONFIG_FILE: &str = "assay.toml";

pub(crate) const MEMORY: &str = "kind = \"memory\"";

/// Roots, keys and time, shared by every service started in it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) authorities: Authorities,
    pub(crate) clock: Clock,
    secrets: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Clock::manual(Clock::system().now());
        let authorities = Authorities::generate(clock.now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("android-root.pem", authorities.android_root_pem());
        write("apple-root.pem", authorities.apple_root_pem());
        Self {
            dir,
            authorities,
            clock,
            secrets: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration of a service on free ports with this `[store]`.
    pub(crate) fn config(&self, store: &str) -> String {
        let digest = data_encoding::HEXLOWER.encode(&SIGNING_DIGEST);
        let apple = |environment: &str| {
            format!(
                "team_id = \"{TEAM}\"\nbundle_id = \"{PACKAGE}\"\nenvironment = \"{environment}\""
            )
        };
        let android =
            format!("package = \"{PACKAGE}\"\nsigning_certificate_sha256 = [\"{digest}\"]");
        let app = |name: &str, more: &str| {
            format!("[apps.{name}]\naudiences = [\"{AUDIENCE}\", \"https://other.test\"]\n{more}")
        };
        let scopes = |name: &str| {
            format!(
                "[[apps.{name}.scopes]]\nscopes = [\"read\", \"list\"]\n\
                 [[apps.{name}.scopes]]\nscopes = [\"pay\"]\ntrust_level_min = \"tee\"\n"
            )
        };
        let both = |name: &str| {
            let development = apple("development");
            format!("[apps.{name}.android]\n{android}\n[apps.{name}.apple]\n{development}\n")
        };
        [
            format!(
                "mode = \"development\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
                 public_url = \"{PUBLIC_URL}\"\nplaintext = true\n[side]\nlisten = \"127.0.0.1:0\"\n\
                 [keys]\ndirectory = \"keys\"\ngenerate = true\n\
                 [attestation]\nstatus_list_missing = \"allow\"\n\
                 android_roots = [\"android-root.pem\"]\napple_roots = [\"apple-root.pem\"]\n\
                 [store]\n{store}\n"
            ),
            app("demo", &both("demo")) + &scopes("demo"),
            app("closed", "enabled = false\n") + &both("closed") + &scopes("closed"),
            app("small", &both("small"))
                + "[apps.small.limits]\ndevices_per_subject = 1\nsessions_per_subject = 1\n\
                   sessions_per_device = 1\nsessions_at_limit = \"refuse\"\n\
                   [apps.small.android.attestation_key_rate]\n\
                   remote = \"1/1d\"\nfactory = \"1/1d\"\noutcome = \"refuse\"\n"
                + &scopes("small"),
            app("lax", &both("lax"))
                + "[apps.lax.proof]\nnonce = \"optional\"\n\
                   accepted_uris = [\"https://backend.test/refresh\"]\n\
                   [apps.lax.lifetimes]\nreattest_after = \"2h\"\nidle = \"90m\"\nabsolute = \"3h\"\n"
                + &scopes("lax"),
            app("strict", &format!("[apps.strict.android]\n{android}\n"))
                + "security_level_min = \"strongbox\"\nos_version_min = 160000\n"
                + &scopes("strict"),
            app("store", &format!("[apps.store.apple]\n{}\n", apple("production")))
                + &scopes("store"),
        ]
        .join("\n")
    }

    pub(crate) async fn start(&self, store: &str) -> Server {
        self.start_from(&self.config(store)).await
    }

    pub(crate) async fn start_from(&self, config: &str) -> Server {
        self.try_start(config)
            .await
            .unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) async fn try_start(&self, config: &str) -> Result<Server, ServiceError> {
        let config = Config::parse(config, self.path()).unwrap_or_else(|r| panic!("{r}"));
        let metrics = Arc::new(Metrics::new("test"));
        let service = Service::start(&config, self.clock.clone(), metrics).await?;
        Ok(Server::of(service))
    }

    /// A service that looks at its configuration file again and again.
    pub(crate) async fn start_following(&self, config: &str) -> Server {
        self.write_config(config);
        let path = self.path().join(CONFIG_FILE);
        let (file, config) = ConfigFile::open(&path).unwrap_or_else(|r| panic!("{r}"));
        let metrics = Arc::new(Metrics::new("test"));
        let service = Service::start(&config, self.clock.clone(), metrics).await;
        Server::of(service.unwrap().following(file, config))
    }

    /// Replaces the file of such a service as a whole.
    pub(crate) fn write_config(&self, config: &str) {
        let new = self.path().join("new.toml");
        std::fs::write(&new, config).unwrap();
        std::fs::rename(new, self.path().join(CONFIG_FILE)).unwrap();
    }

    pub(crate) fn android_options(&self) -> android::Options {
        android::Options::well_kept(PACKAGE, SIGNING_DIGEST, self.clock.now())
    }

    pub(crate) fn android(&self) -> Phone {
        self.android_with(self.android_options())
    }

    pub(crate) fn android_with(&self, options: android::Options) -> Phone {
        let phone = android::Phone::new(&self.authorities, options, self.clock.now()).unwrap();
        self.phone(simulator::Device::android(phone))
    }

    pub(crate) fn iphone(&self) -> Phone {
        self.iphone_with(apple::Options::well_kept(
            TEAM,
            PACKAGE,
            apple::Environment::Development,
        ))
    }

    pub(crate) fn iphone_with(&self, options: apple::Options) -> Phone {
        let phone = apple::Phone::new(&self.authorities, options).unwrap();
        self.phone(simulator::Device::apple(phone))
    }

    fn phone(&self, device: simulator::Device) -> Phone {
        Phone {
            device,
            app: "demo".to_owned(),
            clock: self.clock.clone(),
            nonce: None,
            secrets: Arc::clone(&self.secrets),
        }
    }

    /// Notes a word that must never be in an error or a log line.
    pub(crate) fn keep_secret(&self, word: &str) {
        self.secrets.lock().unwrap().push(word.to_owned());
    }

    /// Every token, proof, nonce, challenge and subject that was used.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap().clone()
    }
}

/// A running service and a connection to it.
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) clients: Clients,
}

impl std::ops::Deref for Server {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
}

/// One caller's connection.
#[derive(Clone)]
pub(crate) struct Clients(pub(crate) Channel);

impl Clients {
    pub(crate) fn attestation(&self) -> AttestationServiceClient<Channel> {
        AttestationServiceClient::new(self.0.clone())
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.0.clone())
    }

    pub(crate) fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.0.clone())
    }

    pub(crate) fn revocation(&self) -> RevocationServiceClient<Channel> {
        RevocationServiceClient::new(self.0.clone())
    }

    pub(crate) fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.0.clone())
    }

    pub(crate) fn verification(&self) -> VerificationServiceClient<Channel> {
        VerificationServiceClient::new(self.0.clone())
    }
}

impl Server {
    fn of(service: Service) -> Self {
        let address = format!("http://{}", service.grpc_addr());
        let endpoint = Endpoint::from_shared(address)
            .unwrap()
            .timeout(CALL_FOR_MAX);
        let clients = Clients(endpoint.connect_lazy());
        Self { service, clients }
    }

    /// One more connection.
    pub(crate) fn connect_again(&self) -> Clients {
        let address = format!("http://{}", self.service.grpc_addr());
        Clients(Endpoint::from_shared(address).unwrap().connect_lazy())
    }

    pub(crate) async fn stop(self) {
        let Self { service, clients } = self;
        drop(clients);
        assert!(service.stop().await, "every request was answered");
    }
}

/// A software phone with an app on it.
pub(crate) struct Phone {
    pub(crate) device: simulator::Device,
    pub(crate) app: String,
    pub(crate) clock: Clock,
    /// The last nonce the service gave.
    pub(crate) nonce: Option<String>,
    secrets: Arc<Mutex<Vec<String>>>,
}

impl Phone {
    pub(crate) fn with_app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    pub(crate) fn hide(&self, word: &str) {
        self.secrets.lock().unwrap().push(word.to_owned());
    }

    pub(crate) async fn challenge(&mut self, server: &Clients, subject: &str) -> Vec<u8> {
        let request = proto::CreateChallengeRequest {
            app_id: self.app.clone(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: subject.to_owned(),
            client: None,
        };
        let answer = server.devices().create_challenge(request).await.unwrap();
        let answer = answer.into_inner();
        for text in [
            data_encoding::BASE64.encode(&answer.challenge),
            data_encoding::BASE64URL_NOPAD.encode(&answer.challenge),
            data_encoding::HEXLOWER.encode(&answer.challenge),
            subject.to_owned(),
        ] {
            if !text.is_empty() {
                self.hide(&text);
            }
        }
        self.learn(answer.next_nonce);
        answer.challenge
    }

    fn learn(&mut self, nonce: String) {
        self.hide(&nonce);
        self.nonce = Some(nonce);
    }

    pub(crate) fn evidence(&mut self, challenge: &[u8]) -> proto::Evidence {
        let made = self
            .device
            .evidence(challenge, &self.app, self.clock.now())
            .unwrap();
        let kind = match made {
            simulator::Evidence::Android { certificate_chain } => {
                proto::evidence::Kind::Android(proto::AndroidEvidence { certificate_chain })
            }
            simulator::Evidence::Apple {
                attestation_object,
                key_id,
                client_data,
            } => proto::evidence::Kind::Apple(proto::AppleEvidence {
                attestation_object,
                key_id,
                client_data,
            }),
        };
        proto::Evidence { kind: Some(kind) }
    }

    /// A registration request with a fresh challenge and evidence for it.
    pub(crate) async fn registration(
        &mut self,
        server: &Clients,
        subject: &str,
    ) -> proto::RegisterDeviceRequest {
        let challenge = self.challenge(server, subject).await;
        proto::RegisterDeviceRequest {
            request_id: String::new(),
            subject: subject.to_owned(),
            app_id: self.app.clone(),
            evidence: Some(self.evidence(&challenge)),
            challenge,
            validate_only: false,
            client: None,
        }
    }

    pub(crate) async fn register(
        &mut self,
        server: &Clients,
        subject: &str,
    ) -> Result<proto::RegisterDeviceResponse, Status> {
        let request = self.registration(server, subject).await;
        let answer = server
            .devices()
            .register_device(request)
            .await?
            .into_inner();
        self.learn(answer.next_nonce.clone());
        Ok(answer)
    }

    /// Registers a phone that is known to be good.
    pub(crate) async fn join(&mut self, server: &Clients, subject: &str) -> proto::Device {
        self.register(server, subject)
            .await
            .unwrap()
            .device
            .unwrap()
    }

    /// A proof as the phone makes it; `change` bends it.
    pub(crate) fn proof_with(
        &self,
        (method, uri): (&str, &str),
        token: Option<&str>,
        change: impl FnOnce(&mut Dpop<'_>),
    ) -> String {
        let mut dpop = Dpop::new(method, uri, self.clock.now()).unwrap();
        dpop.nonce = self.nonce.as_deref();
        dpop.access_token = token;
        change(&mut dpop);
        let proof = self.device.proof(&dpop).unwrap();
        self.hide(&proof);
        proof
    }

    /// A proof for one of the service's own RPCs.
    pub(crate) fn proof(&self, rpc: &str) -> String {
        self.proof_with(("POST", &own_uri(rpc)), None, |_| {})
    }

    pub(crate) fn issuance(&self, device: &proto::Device) -> proto::IssueSessionRequest {
        proto::IssueSessionRequest {
            request_id: String::new(),
            subject: device.subject.clone(),
            device_id: device.device_id.clone(),
            proof: self.proof("IssueSession"),
            scopes: vec!["read".to_owned()],
            ..proto::IssueSessionRequest::default()
        }
    }

    pub(crate) async fn issue(
        &mut self,
        server: &Clients,
        device: &proto::Device,
    ) -> Result<proto::Grant, Status> {
        self.send_issuance(server, self.issuance(device)).await
    }

    pub(crate) async fn send_issuance(
        &mut self,
        server: &Clients,
        request: proto::IssueSessionRequest,
    ) -> Result<proto::Grant, Status> {
        let answer = server.sessions().issue_session(request).await?;
        let grant = answer.into_inner().grant.unwrap();
        self.take(&grant);
        Ok(grant)
    }

    fn take(&mut self, grant: &proto::Grant) {
        self.hide(&grant.access_token);
        self.hide(&grant.refresh_token);
        self.learn(grant.next_nonce.clone());
    }

    pub(crate) fn refreshment(&self, refresh_token: &str) -> proto::RefreshSessionRequest {
        proto::RefreshSessionRequest {
            refresh_token: refresh_token.to_owned(),
            proof: self.proof("RefreshSession"),
            scopes: Vec::new(),
            client: None,
        }
    }

    pub(crate) async fn refresh(
        &mut self,
        server: &Clients,
        refresh_token: &str,
    ) -> Result<(proto::RefreshOutcome, proto::Grant), Status> {
        let request = self.refreshment(refresh_token);
        let answer = server
            .sessions()
            .refresh_session(request)
            .await?
            .into_inner();
        let outcome = answer.outcome();
        let grant = answer.grant.unwrap();
        self.take(&grant);
        Ok((outcome, grant))
    }

    /// An API call as a resource server has it verified.
    pub(crate) fn call(&self, access_token: &str) -> proto::VerifyRequestRequest {
        proto::VerifyRequestRequest {
            access_token: access_token.to_owned(),
            proof: self.proof_with(("GET", API), Some(access_token), |_| {}),
            method: "GET".to_owned(),
            uri: API.to_owned(),
            ..proto::VerifyRequestRequest::default()
        }
    }

    pub(crate) async fn decide(&mut self, server: &Clients, access_token: &str) -> proto::Decision {
        let decision = verify(server, self.call(access_token)).await.unwrap();
        self.learn(decision.next_nonce.clone());
        decision
    }
}

/// `htu` of one of the service's own RPCs.
pub(crate) fn own_uri(rpc: &str) -> String {
    format!("{PUBLIC_URL}/assay.v1.SessionService/{rpc}")
}

pub(crate) async fn verify(
    server: &Clients,
    request: proto::VerifyRequestRequest,
) -> Result<proto::Decision, Status> {
    let answer = server.verification().verify_request(request).await?;
    Ok(answer.into_inner().decision.unwrap())
}

pub(crate) async fn introspect(
    server: &Clients,
    token: &str,
) -> Result<proto::IntrospectTokenResponse, Status> {
    let request = proto::IntrospectTokenRequest {
        token: token.to_owned(),
    };
    let answer = server.verification().introspect_token(request).await?;
    Ok(answer.into_inner())
}

pub(crate) async fn revoke(
    server: &Clients,
    device_id: &str,
) -> Result<proto::RevokeDeviceResponse, Status> {
    let request = proto::RevokeDeviceRequest {
        device_id: device_id.to_owned(),
        reason: proto::RevocationReason::Stolen.into(),
        validate_only: false,
    };
    Ok(server.devices().revoke_device(request).await?.into_inner())
}

pub(crate) async fn get_session(
    server: &Clients,
    session_id: &str,
) -> Result<proto::GetSessionResponse, Status> {
    let request = proto::GetSessionRequest {
        session_id: session_id.to_owned(),
    };
    Ok(server.sessions().get_session(request).await?.into_inner())
}

pub(crate) async fn revoke_session(
    server: &Clients,
    session_id: &str,
) -> Result<proto::RevokeSessionResponse, Status> {
    let request = proto::RevokeSessionRequest {
        session_id: session_id.to_owned(),
        reason: proto::RevocationReason::Stolen.into(),
        validate_only: false,
    };
    let answer = server.sessions().revoke_session(request).await?;
    Ok(answer.into_inner())
}

pub(crate) async fn revoke_subject(
    server: &Clients,
    subject: &str,
) -> Result<proto::RevocationReceipt, Status> {
    let request = proto::RevokeSubjectRequest {
        subject: subject.to_owned(),
        reason: proto::RevocationReason::Compromised.into(),
        validate_only: false,
    };
    let answer = server.revocation().revoke_subject(request).await?;
    Ok(answer.into_inner().receipt.unwrap())
}

pub(crate) async fn suspend(
    server: &Clients,
    device_id: &str,
) -> Result<proto::SuspendDeviceResponse, Status> {
    let request = proto::SuspendDeviceRequest {
        device_id: device_id.to_owned(),
        reason: proto::SuspensionReason::Mislaid.into(),
        validate_only: false,
    };
    Ok(server.devices().suspend_device(request).await?.into_inner())
}

pub(crate) async fn resume(server: &Clients, device_id: &str) -> Result<proto::Device, Status> {
    let request = proto::ResumeDeviceRequest {
        device_id: device_id.to_owned(),
        validate_only: false,
    };
    let answer = server.devices().resume_device(request).await?;
    Ok(answer.into_inner().device.unwrap())
}

pub(crate) async fn link(
    server: &Clients,
    old: &str,
    new: &str,
) -> Result<proto::LinkDeviceSuccessorResponse, Status> {
    let request = proto::LinkDeviceSuccessorRequest {
        device_id: old.to_owned(),
        successor_device_id: new.to_owned(),
        validate_only: false,
    };
    let answer = server.devices().link_device_successor(request).await?;
    Ok(answer.into_inner())
}

pub(crate) async fn find_by_key(
    server: &Clients,
    key_thumbprint: &str,
) -> Result<Vec<proto::Device>, Status> {
    let by = proto::find_devices_request::By::KeyThumbprint(key_thumbprint.to_owned());
    let request = proto::FindDevicesRequest {
        by: Some(by),
        ..proto::FindDevicesRequest::default()
    };
    Ok(server
        .devices()
        .find_devices(request)
        .await?
        .into_inner()
        .devices)
}

pub(crate) async fn events_of(
    server: &Clients,
    device_id: &str,
) -> Result<Vec<proto::AuditEvent>, Status> {
    let request = proto::ListAuditEventsRequest {
        device_id: device_id.to_owned(),
        ..proto::ListAuditEventsRequest::default()
    };
    let answer = server.operations().list_audit_events(request).await?;
    Ok(answer.into_inner().events)
}

pub(crate) async fn end_by_token(server: &Clients, token: &str) -> Result<(), Status> {
    let session = proto::end_session_request::Session::RefreshToken(token.to_owned());
    let request = proto::EndSessionRequest {
        session: Some(session),
    };
    server.sessions().end_session(request).await.map(|_| ())
}

pub(crate) async fn sessions_of(server: &Clients, subject: &str) -> Vec<proto::Session> {
    let request = proto::ListSessionsRequest {
        subject: subject.to_owned(),
        ..proto::ListSessionsRequest::default()
    };
    let answer = server.sessions().list_sessions(request).await.unwrap();
    answer.into_inner().sessions
}

pub(crate) async fn devices_of(server: &Clients, subject: &str) -> Vec<proto::Device> {
    let request = proto::ListDevicesRequest {
        subject: subject.to_owned(),
        ..proto::ListDevicesRequest::default()
    };
    let answer = server.devices().list_devices(request).await.unwrap();
    answer.into_inner().devices
}

/// Asks until the answer is as wanted; a bounded number of times, which only a test that fails needs.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    for _ in 0..2400 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("in vain: {what}");
}

/// One GET on the side port: status line and body.
pub(crate) async fn http_get(server: &Server, path: &str) -> (String, String) {
    http_get_at(server.service.side_addr(), path).await
}

pub(crate) async fn http_get_at(address: std::net::SocketAddr, path: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: side\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(CALL_FOR_MAX, read)
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let first = head.lines().next().unwrap();
    (first.to_owned(), body.to_owned())
}
