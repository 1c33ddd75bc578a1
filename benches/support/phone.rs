//! Phones that register, open sessions and make requests by the flows.

use std::collections::BTreeSet;

use assay::attestation::android;
use assay::client::ClientContext;
use assay::flow::create_challenge::{self, CreateChallenge};
use assay::flow::issue_session::{self, IssueSession};
use assay::flow::refresh_session::RefreshSession;
use assay::flow::register_device::{self, RegisterDevice};
use assay::flow::verify_request::{Consistency, VerifyRequest};
use assay::flow::{Engine, EvidenceInput, Grant};
use assay::id::{DeviceId, Subject};
use assay::secret::Secret;
use assay::session::{Actor, Requirements};
use assay::simulator::proof::Dpop;
use assay::simulator::{self, Authorities, Evidence};
use assay::token::challenge::ChallengePurpose;

const API: &str = "https://api.test/v1/accounts";

/// A phone with a session.
pub(crate) struct Phone {
    pub(crate) device: simulator::Device,
    pub(crate) refresh_token: Secret<String>,
    pub(crate) access_token: Secret<String>,
}

impl Phone {
    /// A phone that is registered and has a session.
    pub(crate) async fn join(
        engine: &Engine,
        authorities: &Authorities,
        number: usize,
    ) -> (Self, Grant) {
        let (device, request) = registration(engine, authorities, number);
        let registered = register_device::run(engine, request).await.unwrap();
        let request = opening(engine, &device, registered.device.id, number);
        let grant = issue_session::run(engine, request).await.unwrap();
        (Self::new(device, &grant), grant)
    }

    pub(crate) fn new(device: simulator::Device, grant: &Grant) -> Self {
        Self {
            device,
            refresh_token: grant.refresh_token.clone(),
            access_token: grant.access_token.clone(),
        }
    }

    pub(crate) fn take(&mut self, grant: Grant) {
        self.refresh_token = grant.refresh_token;
        self.access_token = grant.access_token;
    }

    pub(crate) fn refresh(&self, engine: &Engine) -> RefreshSession {
        RefreshSession {
            refresh_token: self.refresh_token.clone(),
            proof: proof(engine, &self.device, "RefreshSession"),
            scopes: BTreeSet::new(),
            client: ClientContext::default(),
            by: caller(),
        }
    }

    pub(crate) fn call(&self, engine: &Engine, consistency: Consistency) -> VerifyRequest {
        let nonce = engine.next_nonce();
        let dpop = Dpop::new("GET", API, engine.clock.now()).unwrap();
        let dpop = dpop
            .with_nonce(&nonce)
            .with_access_token(self.access_token.expose());
        VerifyRequest {
            access_token: self.access_token.clone(),
            proof: Secret::new(self.device.proof(&dpop).unwrap()),
            method: "GET".to_owned(),
            uri: API.to_owned(),
            body_sha256: None,
            required: Requirements::default(),
            consistency,
            by: caller(),
        }
    }
}

/// A new phone, and what registers it.
pub(crate) fn registration(
    engine: &Engine,
    authorities: &Authorities,
    number: usize,
) -> (simulator::Device, RegisterDevice) {
    let now = engine.clock.now();
    let app: assay::id::AppId = "demo".parse().unwrap();
    let options = simulator::android::Options::well_kept("com.example.demo", [0x5a; 32], now);
    let phone = simulator::android::Phone::new(authorities, options, now).unwrap();
    let mut device = simulator::Device::android(phone);
    let request = CreateChallenge {
        app: app.clone(),
        purpose: ChallengePurpose::Register,
        subject: Some(subject(number)),
    };
    let challenge = create_challenge::run(engine, &request).unwrap().bytes;
    let evidence = device.evidence(&challenge, "demo", now).unwrap();
    let Evidence::Android { certificate_chain } = evidence else {
        panic!("an Android phone");
    };
    let chain = android::Chain::from_der(certificate_chain).unwrap();
    let request = RegisterDevice {
        subject: subject(number),
        app,
        evidence: EvidenceInput::Android(chain),
        challenge,
        validate_only: false,
        client: ClientContext::default(),
        by: caller(),
        request_id: None,
    };
    (device, request)
}

/// What opens a session on a registered phone.
pub(crate) fn opening(
    engine: &Engine,
    device: &simulator::Device,
    id: DeviceId,
    number: usize,
) -> IssueSession {
    IssueSession {
        subject: subject(number),
        device: id,
        proof: proof(engine, device, "IssueSession"),
        scopes: BTreeSet::from(["read".to_owned()]),
        audience: None,
        roles: vec!["customer".to_owned()],
        acr: "urn:acr:2".to_owned(),
        amr: vec!["pwd".to_owned()],
        auth_time: None,
        consent: None,
        client: ClientContext::default(),
        by: caller(),
        request_id: None,
    }
}

fn subject(number: usize) -> Subject {
    format!("phone-{number}@mail.example").parse().unwrap()
}

fn caller() -> Actor {
    Actor::caller("spiffe://example/bench".into())
}

fn proof(engine: &Engine, device: &simulator::Device, method: &str) -> Secret<String> {
    let uri = format!("https://assay.test/assay.v1.SessionService/{method}");
    let nonce = engine.next_nonce();
    let dpop = Dpop::new("POST", &uri, engine.clock.now()).unwrap();
    Secret::new(device.proof(&dpop.with_nonce(&nonce)).unwrap())
}
