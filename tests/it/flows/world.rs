//! An engine with two apps over a store, and callers that do what good callers do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use assay::attestation::lists::{Google, Lists};
use assay::attestation::roots::{AndroidRoots, AppleRoots, Roots};
use assay::attestation::status_list::StatusList;
use assay::attestation::{AndroidApp, AppIdentity, AppleApp, apple};
use assay::client::ClientContext;
use assay::flow::{
    App, Apps, Board, Engine, Failure, Grant, PageRequest, UsedProofs, Watchers, create_challenge,
    end_session, get_device, introspect_token, issue_session, link_device_successor,
    list_audit_events, list_devices, list_sessions, refresh_session, register_device,
    resume_device, revoke_device, suspend_device, verify_request,
};
use assay::id::{AppId, DeviceId, SessionId, Subject};
use assay::key_directory::generate_files;
use assay::policy::{
    AndroidPolicy, AppPolicy, ApplePolicy, BodyRule, CounterOrder, DeviceLimitRule, Lifetimes,
    NonceRule, ProofPolicy, Rates, Reappraisal, ReplayRule, ReuseRule, RiskPolicy, ScopeRule,
    ServiceRates, SessionLimitRule, StepUpPolicy, TrustLevel,
};
use assay::reason::Reason;
use assay::secret::Secret;
use assay::session::{
    Actor, Device, Event, EventKind, Requirements, RevocationReason, Session, Standing,
    SuspensionReason,
};
use assay::simulator::Authorities;
use assay::simulator::proof::Dpop;
use assay::simulator::receipt::Receipt;
use assay::store::embedded::Embedded;
use assay::store::redis::{Redis, RedisOptions, Servers};
use assay::store::{Durability, Store, keys};
use assay::time::{Clock, Timestamp};
use assay::token::challenge::ChallengePurpose;
use assay::token::keyring::Keyring;

use super::phone::{Kind, Phone};
use super::watched::{Trips, Watched};
use crate::support::records;
use crate::support::redis_server::RedisServer;

pub(super) const BANK: &str = "bank";
pub(super) const SHOP: &str = "shop";
pub(super) const PACKAGE: &str = "com.example.bank";
pub(super) const SIGNER: [u8; 32] = [0x5a; 32];
pub(super) const TEAM: &str = "ABCDE12345";
pub(super) const BUNDLE: &str = "com.example.bank";
/// Where the backend's own API is.
pub(super) const API: &str = "https://api.example/v1/accounts";
pub(super) const GRACE: Duration = Duration::from_secs(600);
pub(super) const IDLE: Duration = Duration::from_secs(7 * 86_400);
pub(super) const ABSOLUTE: Duration = Duration::from_secs(30 * 86_400);
pub(super) const ACCESS: Duration = Duration::from_secs(300);
pub(super) const CHALLENGE: Duration = Duration::from_secs(300);

const PUBLIC_URL: &str = "https://assay.example";

/// Who asks for everything here.
pub(super) fn caller() -> Actor {
    Actor::caller("spiffe://example/tests".into())
}

pub(super) fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T04:00:00.123Z").unwrap()
}

static AUTHORITIES: LazyLock<Authorities> =
    LazyLock::new(|| Authorities::generate(start()).unwrap());
static KEY_FILES: LazyLock<Vec<(String, Secret<String>)>> =
    LazyLock::new(|| generate_files(start()).unwrap());

/// The apps' policy: two devices, three sessions of a subject, two of a device.
fn policy() -> AppPolicy {
    let rule = |scope: &str, trust_level_min| ScopeRule {
        scopes: [scope.to_owned()].into(),
        trust_level_min,
    };
    AppPolicy {
        android: AndroidPolicy {
            os_version_min: 130_000,
            os_patch_level_min: 202_601,
            ..AndroidPolicy::strict()
        },
        apple: ApplePolicy::open(),
        scopes: vec![
            rule("accounts", TrustLevel::AppAttest),
            rule("transfer", TrustLevel::Tee),
            rule("vault", TrustLevel::StrongBox),
        ],
        audiences: vec!["https://api.example".to_owned()],
        lifetimes: Lifetimes {
            access_for: ACCESS,
            idle_for: IDLE,
            absolute_for: ABSOLUTE,
            refresh_grace_for: GRACE,
            challenge_for: CHALLENGE,
            reattest_after: None,
        },
        level_lifetimes: BTreeMap::new(),
        reappraisal: Reappraisal::strict(),
        proof: ProofPolicy {
            nonce: NonceRule::Optional,
            iat_window: Duration::from_secs(60),
            accepted_uris: vec!["https://backend.example/session".to_owned()],
            replay: ReplayRule::Jti,
            counter: CounterOrder::Window,
            body: BodyRule::WhenSent,
        },
        on_refresh_reuse: ReuseRule::RevokeSession,
        devices_per_subject_max: 2,
        sessions_per_subject_max: 3,
        sessions_per_device_max: 2,
        on_session_limit: SessionLimitRule::Refuse,
        risk: RiskPolicy::none(),
        rates: Rates::none(),
        on_device_limit: DeviceLimitRule::Refuse,
        step_up: StepUpPolicy::plain(),
    }
}

fn an_app() -> App {
    App {
        identity: AppIdentity {
            android: Some(AndroidApp {
                package_name: PACKAGE.to_owned(),
                signing_certificate_sha256: vec![SIGNER],
                shared_uid_packages: Vec::new(),
            }),
            apple: Some(AppleApp {
                team_id: TEAM.to_owned(),
                bundle_id: BUNDLE.to_owned(),
                environment: apple::Environment::Production,
            }),
        },
        policy: policy(),
        standing: Standing::Enabled,
        receipts: None,
    }
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) store: Arc<Watched>,
    /// Where phones say that they are.
    pub(super) client: ClientContext,
}

fn reason<T>(answer: Result<T, Failure>) -> Result<T, Reason> {
    answer.map_err(|failure| failure.reason)
}

pub(super) fn scopes(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

pub(super) fn app_id(name: &str) -> AppId {
    name.parse().unwrap()
}

impl World {
    pub(super) fn in_memory() -> Self {
        let clock = Clock::manual(start());
        let store = Arc::new(Embedded::in_memory(clock.clone()).unwrap());
        Self::new(store, clock)
    }

    pub(super) fn on_disk(dir: &Path) -> Self {
        let clock = Clock::manual(start());
        let store = Arc::new(Embedded::open(dir, clock.clone()).unwrap());
        Self::new(store, clock)
    }

    pub(super) fn over_redis(server: &RedisServer) -> Self {
        Self::over_redis_at(server.url())
    }

    pub(super) fn over_redis_at(url: String) -> Self {
        let options = RedisOptions {
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(10),
            ..RedisOptions::new(Servers::One(url))
        };
        let store = Arc::new(Redis::connect(&options).unwrap());
        Self::new(store, Clock::manual(start()))
    }

    fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let store = Arc::new(Watched::new(store));
        let roots = Roots {
            android: AndroidRoots::from_pem(&AUTHORITIES.android_root_pem()).unwrap(),
            apple: AppleRoots::from_pem(&AUTHORITIES.apple_root_pem()).unwrap(),
        };
        let engine = Engine {
            apps: ArcSwap::from_pointee(
                [BANK, SHOP]
                    .map(|name| (app_id(name), Arc::new(an_app())))
                    .into(),
            ),
            keyring: Keyring::from_pem(&KEY_FILES).unwrap(),
            store: Arc::<Watched>::clone(&store),
            clock,
            roots,
            lists: ArcSwap::from_pointee(Lists {
                google: Google::NotUsed(StatusList::empty()),
                own: None,
            }),
            issuer: PUBLIC_URL.to_owned(),
            public_url: format!("{PUBLIC_URL}/"),
            revocation_durability: Durability::Local,
            board: Board::default(),
            rates: ServiceRates::default(),
            watchers: Watchers::default(),
            used_proofs: UsedProofs::default(),
            listener: Arc::new(()),
        };
        Self {
            engine,
            store,
            client: ClientContext::default(),
        }
    }

    /// Another instance of the same service: its own memory, the same store and time.
    pub(super) fn instance(&self) -> Arc<Engine> {
        Arc::new(Engine {
            apps: ArcSwap::new(self.engine.apps.load_full()),
            keyring: Keyring::from_pem(&KEY_FILES).unwrap(),
            store: Arc::<Watched>::clone(&self.store),
            clock: self.engine.clock.clone(),
            roots: self.engine.roots.clone(),
            lists: ArcSwap::new(self.engine.lists.load_full()),
            issuer: self.engine.issuer.clone(),
            public_url: self.engine.public_url.clone(),
            revocation_durability: Durability::Local,
            board: Board::default(),
            rates: self.engine.rates,
            watchers: Watchers::default(),
            used_proofs: UsedProofs::default(),
            listener: Arc::new(()),
        })
    }

    /// Signs a receipt as Apple does.
    pub(super) fn receipt(receipt: &Receipt) -> Vec<u8> {
        AUTHORITIES.receipt(receipt).unwrap()
    }

    /// The same service with one more secret, which is now the one in use.
    pub(super) fn rotate_secret(&mut self) {
        let later = start().after(Duration::from_secs(86_400));
        let new = generate_files(later).unwrap().into_iter();
        let new = new.filter(|(name, _)| name.starts_with("secret"));
        let files: Vec<_> = KEY_FILES.iter().cloned().chain(new).collect();
        self.engine.keyring = Keyring::from_pem(&files).unwrap();
    }

    /// Changes an app, as a new configuration does.
    pub(super) fn change_app(&self, app: &str, change: impl FnOnce(&mut App)) {
        let mut apps = Apps::clone(&self.engine.apps.load());
        change(Arc::make_mut(apps.get_mut(&app_id(app)).unwrap()));
        self.engine.apps.store(Arc::new(apps));
    }

    pub(super) fn change_policy(&self, app: &str, change: impl FnOnce(&mut AppPolicy)) {
        self.change_app(app, |app| change(&mut app.policy));
    }

    pub(super) fn disable(&mut self, app: &str) {
        self.change_app(app, |app| app.standing = Standing::Disabled);
    }

    pub(super) fn enable(&mut self, app: &str) {
        self.change_app(app, |app| app.standing = Standing::Enabled);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    /// The whole seconds that are left, from now, of a span that ends with a whole second, as tokens do.
    pub(super) fn whole(&self, span: Duration) -> Duration {
        let end = Timestamp::from_secs(self.now().after(span).as_secs());
        Duration::from_secs(end.since(self.now()).as_secs())
    }

    pub(super) fn advance(&self, span: Duration) {
        self.engine.clock.advance(span);
    }

    pub(super) fn trips(&self) -> Trips {
        self.store.trips()
    }

    pub(super) fn phone(&self, kind: Kind, subject: &str) -> Phone {
        Phone::new(kind, &AUTHORITIES, subject, self.now())
    }

    /// A phone that is registered in the bank's app.
    pub(super) async fn registered(&self, kind: Kind, subject: &str) -> Phone {
        let mut phone = self.phone(kind, subject);
        self.register(&mut phone).await.unwrap();
        phone
    }

    pub(super) fn challenge(&self, app: &str, subject: Option<&Subject>) -> Vec<u8> {
        self.challenge_to(ChallengePurpose::Register, app, subject)
    }

    pub(super) fn challenge_to(
        &self,
        purpose: ChallengePurpose,
        app: &str,
        subject: Option<&Subject>,
    ) -> Vec<u8> {
        let request = create_challenge::CreateChallenge {
            app: app_id(app),
            purpose,
            subject: subject.cloned(),
        };
        create_challenge::run(&self.engine, &request).unwrap().bytes
    }

    /// A registration in the bank's app with a fresh challenge, ready to be sent.
    pub(super) fn registration(&self, phone: &mut Phone) -> register_device::RegisterDevice {
        let challenge = self.challenge(BANK, Some(&phone.subject));
        self.registration_for(phone, BANK, challenge)
    }

    pub(super) fn registration_for(
        &self,
        phone: &mut Phone,
        app: &str,
        challenge: Vec<u8>,
    ) -> register_device::RegisterDevice {
        register_device::RegisterDevice {
            subject: phone.subject.clone(),
            app: app_id(app),
            evidence: phone.evidence(&challenge, app, self.now()),
            challenge,
            validate_only: false,
            client: self.client.clone(),
            by: caller(),
            request_id: None,
        }
    }

    pub(super) async fn send(
        &self,
        registration: &register_device::RegisterDevice,
    ) -> Result<Device, Reason> {
        let answer = register_device::run(&self.engine, registration.clone()).await;
        reason(answer).map(|registered| registered.device)
    }

    pub(super) async fn register(&self, phone: &mut Phone) -> Result<Device, Reason> {
        let registration = self.registration(phone);
        let device = self.send(&registration).await?;
        phone.id = Some(device.id);
        Ok(device)
    }

    /// A proof for one of the service's own methods, with the newest nonce.
    pub(super) fn proof(&self, phone: &Phone, method: &str) -> String {
        let uri = format!("{PUBLIC_URL}/assay.v1.SessionService/{method}");
        let nonce = self.engine.next_nonce();
        let dpop = Dpop::new("POST", &uri, self.now()).unwrap();
        phone.sign(&dpop.with_nonce(&nonce))
    }

    pub(super) fn opening(&self, phone: &Phone, wanted: &[&str]) -> issue_session::IssueSession {
        issue_session::IssueSession {
            subject: phone.subject.clone(),
            device: phone.id(),
            proof: Secret::new(self.proof(phone, "IssueSession")),
            scopes: scopes(wanted),
            audience: None,
            roles: vec!["customer".to_owned()],
            acr: "urn:acr:2".to_owned(),
            amr: vec!["pwd".to_owned()],
            auth_time: None,
            client: self.client.clone(),
            consent: None,
            by: caller(),
            request_id: None,
        }
    }

    pub(super) async fn open(&self, opening: issue_session::IssueSession) -> Result<Grant, Reason> {
        reason(issue_session::run(&self.engine, opening).await)
    }

    pub(super) async fn issue(&self, phone: &Phone) -> Result<Grant, Reason> {
        self.open(self.opening(phone, &["accounts"])).await
    }

    pub(super) async fn refresh(
        &self,
        phone: &Phone,
        token: &Secret<String>,
    ) -> Result<refresh_session::Refreshed, Reason> {
        let proof = self.proof(phone, "RefreshSession");
        self.refresh_with(proof, token, &[]).await
    }

    pub(super) async fn refresh_with(
        &self,
        proof: String,
        token: &Secret<String>,
        wanted: &[&str],
    ) -> Result<refresh_session::Refreshed, Reason> {
        let request = refresh_session::RefreshSession {
            refresh_token: token.clone(),
            proof: Secret::new(proof),
            scopes: scopes(wanted),
            client: self.client.clone(),
            by: caller(),
        };
        reason(refresh_session::run(&self.engine, request).await)
    }

    /// A proof for a call of the backend's API.
    pub(super) fn call_proof(&self, phone: &Phone, access_token: &str) -> String {
        let nonce = self.engine.next_nonce();
        let dpop = Dpop::new("GET", API, self.now()).unwrap();
        phone.sign(&dpop.with_nonce(&nonce).with_access_token(access_token))
    }

    pub(super) fn call(
        &self,
        phone: &Phone,
        token: &Secret<String>,
    ) -> verify_request::VerifyRequest {
        verify_request::VerifyRequest {
            access_token: token.clone(),
            proof: Secret::new(self.call_proof(phone, token.expose())),
            method: "GET".to_owned(),
            uri: format!("{API}?page=2"),
            body_sha256: None,
            required: Requirements::default(),
            by: caller(),
            consistency: verify_request::Consistency::Fresh,
        }
    }

    /// The verdict; the outer error says that none could be found.
    pub(super) async fn decide(
        &self,
        call: verify_request::VerifyRequest,
    ) -> Result<Result<(), Reason>, Reason> {
        let decision = reason(verify_request::run(&self.engine, call).await)?;
        Ok(decision.verdict.map(|_| ()))
    }

    pub(super) async fn verify(&self, phone: &Phone, token: &Secret<String>) -> Result<(), Reason> {
        self.decide(self.call(phone, token)).await.unwrap()
    }

    pub(super) async fn active(&self, token: &Secret<String>) -> Result<bool, Reason> {
        let claims = reason(introspect_token::run(&self.engine, token, &caller()).await)?;
        Ok(claims.is_some())
    }

    pub(super) async fn end(&self, request: end_session::EndSession) -> Result<(), Reason> {
        reason(end_session::run(&self.engine, request, &caller()).await)
    }

    pub(super) async fn revoke(&self, device: DeviceId) -> Result<revoke_device::Revoked, Reason> {
        let request = revoke_device::RevokeDevice {
            device,
            why: RevocationReason::Stolen,
            validate_only: false,
            by: caller(),
        };
        reason(revoke_device::run(&self.engine, request).await)
    }

    pub(super) async fn suspend(
        &self,
        device: DeviceId,
        why: SuspensionReason,
    ) -> Result<suspend_device::Suspended, Reason> {
        let request = suspend_device::SuspendDevice {
            device,
            why,
            validate_only: false,
            by: caller(),
        };
        reason(suspend_device::run(&self.engine, request).await)
    }

    pub(super) async fn resume(&self, device: DeviceId) -> Result<Device, Reason> {
        let request = resume_device::ResumeDevice {
            device,
            validate_only: false,
            by: caller(),
        };
        reason(resume_device::run(&self.engine, request).await)
    }

    pub(super) async fn link(
        &self,
        old: DeviceId,
        new: DeviceId,
    ) -> Result<link_device_successor::Linked, Reason> {
        let request = link_device_successor::LinkDeviceSuccessor {
            old,
            new,
            validate_only: false,
            by: caller(),
        };
        reason(link_device_successor::run(&self.engine, request).await)
    }

    pub(super) async fn device(&self, id: DeviceId) -> Device {
        get_device::run(&self.engine, &id).await.unwrap().device
    }

    /// Everything that happened to a device, in pages of three.
    pub(super) async fn events(&self, device: DeviceId) -> Vec<Event> {
        let mut page = PageRequest {
            size: 3,
            after: None,
        };
        let mut all = Vec::new();
        loop {
            let request = list_audit_events::ListAuditEvents {
                device,
                page: page.clone(),
            };
            let found = list_audit_events::run(&self.engine, request).await.unwrap();
            assert_eq!(found.unreadable, 0);
            all.extend(found.page.entries);
            page.after = found.page.next;
            if page.after.is_none() {
                return all;
            }
        }
    }

    /// What happened to a device, and why, without its registration and its sessions.
    pub(super) async fn history(&self, device: DeviceId) -> Vec<(EventKind, String)> {
        let mut events = self.events(device).await.into_iter();
        assert_eq!(events.next().unwrap().kind, EventKind::DeviceRegistered);
        let own = events.filter(|event| event.session.is_none());
        own.map(|event| (event.kind, event.why)).collect()
    }

    /// What happened to a device's sessions: which, what, why, and who did it.
    pub(super) async fn session_events(
        &self,
        device: DeviceId,
    ) -> Vec<(SessionId, EventKind, String, String)> {
        let events = self.events(device).await.into_iter();
        let told = |event: Event| {
            let by = event.by.to_string();
            Some((event.session?, event.kind, event.why, by))
        };
        events.filter_map(told).collect()
    }

    pub(super) async fn sessions(&self, subject: &Subject) -> Vec<Session> {
        let mut page = PageRequest {
            size: 2,
            after: None::<SessionId>,
        };
        let mut all = Vec::new();
        loop {
            let answer = list_sessions::run(&self.engine, subject, page)
                .await
                .unwrap();
            all.extend(answer.entries);
            page.after = answer.next;
            if page.after.is_none() {
                return all;
            }
        }
    }

    pub(super) async fn devices(&self, subject: &Subject) -> Vec<Device> {
        let page = PageRequest {
            size: 100,
            after: None,
        };
        let answer = list_devices::run(&self.engine, subject, page).await;
        answer.unwrap().page.entries
    }

    /// Makes the record of a device one that cannot be read.
    pub(super) async fn spoil(&self, device: DeviceId) {
        records::spoil(&*self.store, &keys::device(&device)).await;
    }
}
