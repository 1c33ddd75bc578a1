//! Phones that live through sessions whatever happens, and write down what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay::grpc::proto;
use assay::grpc::proto::device_service_client::DeviceServiceClient;
use assay::grpc::proto::revocation_service_client::RevocationServiceClient;
use assay::grpc::proto::session_service_client::SessionServiceClient;
use assay::grpc::proto::verification_service_client::VerificationServiceClient;
use assay::reason::Reason;
use assay::simulator;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

use super::history::{Answer, Deed, Name, Outcome, Recorder, Target};
use super::network::{Line, Network};
use super::scale::Dice;
use crate::grpc::harness::{Clients, Phone, World};

/// The pause of a phone that got no answer.
const PAUSE: Duration = Duration::from_millis(5);
/// Time that passes with each use of a session.
const USE_FOR: Duration = Duration::from_millis(400);
/// Uses after an acknowledged revocation.
const USES_AFTER: u32 = 3;

/// Where the phones of a round live.
pub(super) struct Place {
    pub(super) world: World,
    /// Instances of the service.
    pub(super) instances: Vec<Clients>,
    pub(super) network: Arc<Network>,
    pub(super) history: Recorder,
    /// Whether an acknowledged revocation of a device is one that no crash undoes. Of a session or a user
    /// it always is.
    pub(super) devices_durable: bool,
    /// The same of a logout, which waits for no replica.
    pub(super) logouts_durable: bool,
    over: AtomicBool,
}

impl Place {
    pub(super) fn new(world: World, instances: Vec<Clients>, network: Arc<Network>) -> Self {
        Self {
            world,
            instances,
            network,
            history: Recorder::new(),
            devices_durable: true,
            logouts_durable: true,
            over: AtomicBool::new(false),
        }
    }

    /// Tells the phones to come to an end.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn line(&self, dice: &mut Dice) -> Line {
        let instance = dice.below(self.instances.len() as u64);
        Line {
            channel: self.instances[usize::try_from(instance).unwrap()].0.clone(),
            network: Arc::clone(&self.network),
        }
    }

    pub(super) fn time(&self) -> i64 {
        self.world.clock.now().as_secs()
    }

    /// Does it and writes it down.
    async fn note<T>(
        &self,
        deed: Deed,
        call: impl Future<Output = Result<Response<T>, Status>>,
        read: impl FnOnce(T) -> Answer,
    ) -> (Answer, Option<String>) {
        let begun = self.history.begin();
        let (answer, nonce) = match call.await {
            Ok(answer) => (read(answer.into_inner()), None),
            Err(status) => (refusal(&status), nonce(&status)),
        };
        self.history.end(begun, self.time(), deed, answer);
        (answer, nonce)
    }

    /// Writes down a fault after which what was acknowledged behind `since` may be gone.
    pub(super) fn may_lose(&self, since: u64) {
        let begun = self.history.begin();
        let deed = Deed::MayLose { since };
        self.history.end(begun, self.time(), deed, Answer::Lost);
    }
}

fn nonce(status: &Status) -> Option<String> {
    let nonce = status.metadata().get("dpop-nonce")?;
    nonce.to_str().ok().map(str::to_owned)
}

/// What a refusal means to a phone.
fn refusal(status: &Status) -> Answer {
    let Some(info) = status.get_details_error_info() else {
        return Answer::Lost;
    };
    let reason = Reason::parse(&info.reason).unwrap_or_else(|| panic!("{status:?}"));
    refused(reason)
}

fn refused(reason: Reason) -> Answer {
    let not_now = matches!(
        reason,
        Reason::StateStoreUnavailable
            | Reason::RevocationNotDurable
            | Reason::Conflict
            | Reason::Overloaded
            | Reason::ProofNonceRequired
            | Reason::ProofNonceStale
            | Reason::ProofStale
            | Reason::TokenExpired
    );
    if not_now {
        Answer::NotNow(reason)
    } else {
        Answer::Refused(reason)
    }
}

/// A phone that is registered.
pub(super) struct Owner {
    pub(super) phone: Phone,
    pub(super) subject: String,
    pub(super) device_id: String,
    pub(super) device: Name,
    pub(super) user: Name,
    registration: proto::RegisterDeviceRequest,
}

/// A session as its phone knows it.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) name: Name,
    pub(super) refresh_token: String,
    pub(super) access_token: String,
}

impl Place {
    /// Registers a new phone; `None`: the round was over before.
    pub(super) async fn join(&self, dice: &mut Dice, subject: &str) -> Option<Owner> {
        let mut phone = if dice.percent(50) {
            self.world.android()
        } else {
            self.world.iphone()
        };
        let challenge = loop {
            if self.is_over() {
                return None;
            }
            let request = proto::CreateChallengeRequest {
                app_id: phone.app.clone(),
                purpose: proto::ChallengePurpose::Register.into(),
                subject: subject.to_owned(),
                client: None,
            };
            let mut client = DeviceServiceClient::new(self.line(dice));
            match client.create_challenge(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    phone.nonce = Some(answer.next_nonce);
                    break answer.challenge;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let registration = proto::RegisterDeviceRequest {
            subject: subject.to_owned(),
            app_id: phone.app.clone(),
            evidence: Some(phone.evidence(&challenge)),
            challenge,
            validate_only: false,
            client: None,
            request_id: String::new(),
        };
        let key = match &phone.device {
            simulator::Device::Android { .. } | simulator::Device::Apple(_) => {
                phone.device.session_key().unwrap().public_point().to_vec()
            }
        };
        let mut owner = Owner {
            phone,
            subject: subject.to_owned(),
            device_id: String::new(),
            device: self.history.name(&data_encoding::HEXLOWER.encode(&key)),
            user: self.history.name(subject),
            registration,
        };
        while !self.is_over() {
            if self.register(&mut owner, dice).await == Answer::Registered {
                return Some(owner);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Sends the very same registration (again).
    pub(super) async fn register(&self, owner: &mut Owner, dice: &mut Dice) -> Answer {
        let deed = Deed::Register {
            device: owner.device,
        };
        let mut client = DeviceServiceClient::new(self.line(dice));
        let call = client.register_device(owner.registration.clone());
        let device_id = &mut owner.device_id;
        let read = |answer: proto::RegisterDeviceResponse| {
            *device_id = answer.device.unwrap().device_id;
            Answer::Registered
        };
        self.note(deed, call, read).await.0
    }

    /// Opens a session, asked for until it is there; `None`: it is refused, or the round is over.
    pub(super) async fn open(&self, owner: &mut Owner, dice: &mut Dice) -> Option<Held> {
        while !self.is_over() {
            let deed = Deed::Issue {
                device: owner.device,
                subject: owner.user,
            };
            let request = proto::IssueSessionRequest {
                subject: owner.subject.clone(),
                device_id: owner.device_id.clone(),
                proof: owner.phone.proof("IssueSession"),
                scopes: vec!["read".to_owned()],
                ..proto::IssueSessionRequest::default()
            };
            let mut client = SessionServiceClient::new(self.line(dice));
            let mut held = None;
            let read = |answer: proto::IssueSessionResponse| {
                let grant = answer.grant.unwrap();
                let id = grant.session.unwrap().session_id;
                let token = self.history.token(&id, &grant.refresh_token);
                owner.phone.nonce = Some(grant.next_nonce);
                held = Some(Held {
                    id,
                    name: token.session,
                    refresh_token: grant.refresh_token,
                    access_token: grant.access_token,
                });
                Answer::Issued(token)
            };
            let (answer, nonce) = self.note(deed, client.issue_session(request), read).await;
            owner.phone.nonce = nonce.or(owner.phone.nonce.take());
            if held.is_some() || matches!(answer, Answer::Refused(_)) {
                return held;
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Presents the session's token once; a phone takes the new one only when it heard of it.
    pub(super) async fn refresh(
        &self,
        owner: &mut Owner,
        held: &mut Held,
        dice: &mut Dice,
    ) -> Answer {
        let token = self.history.token(&held.id, &held.refresh_token);
        let request = owner.phone.refreshment(&held.refresh_token);
        let mut client = SessionServiceClient::new(self.line(dice));
        let read = |answer: proto::RefreshSessionResponse| {
            let outcome = outcome(answer.outcome());
            let grant = answer.grant.unwrap();
            let id = grant.session.unwrap().session_id;
            let given = self.history.token(&id, &grant.refresh_token);
            held.refresh_token = grant.refresh_token;
            held.access_token = grant.access_token;
            owner.phone.nonce = Some(grant.next_nonce);
            Answer::Refreshed(outcome, given)
        };
        let call = client.refresh_session(request);
        let (answer, nonce) = self.note(Deed::Refresh(token), call, read).await;
        owner.phone.nonce = nonce.or(owner.phone.nonce.take());
        answer
    }

    /// Presents the session's token so often at once, each time with a proof of its own.
    pub(super) async fn refresh_at_once(
        self: &Arc<Self>,
        (owner, held): (&mut Owner, &mut Held),
        times: usize,
        dice: &mut Dice,
    ) {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..times {
            let (place, line, held) = (Arc::clone(self), self.line(dice), held.clone());
            let request = owner.phone.refreshment(&held.refresh_token);
            tasks.spawn(async move {
                let token = place.history.token(&held.id, &held.refresh_token);
                let mut client = SessionServiceClient::new(line);
                let mut given = None;
                let read = |answer: proto::RefreshSessionResponse| {
                    let outcome = outcome(answer.outcome());
                    let grant = answer.grant.unwrap();
                    let next = place.history.token(&held.id, &grant.refresh_token);
                    given = Some(grant);
                    Answer::Refreshed(outcome, next)
                };
                let call = client.refresh_session(request);
                place.note(Deed::Refresh(token), call, read).await;
                given
            });
        }
        if let Some(grant) = tasks.join_all().await.into_iter().flatten().next() {
            held.refresh_token = grant.refresh_token;
            held.access_token = grant.access_token;
            owner.phone.nonce = Some(grant.next_nonce);
        }
    }

    async fn verify(&self, owner: &mut Owner, held: &Held, dice: &mut Dice) -> Answer {
        let deed = Deed::Verify { session: held.name };
        let request = owner.phone.call(&held.access_token);
        let mut client = VerificationServiceClient::new(self.line(dice));
        let read = |answer: proto::VerifyRequestResponse| {
            let decision = answer.decision.unwrap();
            owner.phone.nonce = Some(decision.next_nonce);
            if decision.allow {
                return Answer::Allowed;
            }
            refused(Reason::parse(&decision.reason).unwrap())
        };
        self.note(deed, client.verify_request(request), read)
            .await
            .0
    }

    async fn introspect(&self, held: &Held, dice: &mut Dice) -> Answer {
        let deed = Deed::Introspect { session: held.name };
        let request = proto::IntrospectTokenRequest {
            token: held.access_token.clone(),
        };
        let mut client = VerificationServiceClient::new(self.line(dice));
        let read = |answer: proto::IntrospectTokenResponse| {
            if answer.active {
                Answer::Allowed
            } else {
                Answer::Inactive
            }
        };
        self.note(deed, client.introspect_token(request), read)
            .await
            .0
    }

    /// Some use of a session.
    async fn using(&self, owner: &mut Owner, held: &mut Held, dice: &mut Dice) -> Answer {
        self.world.clock.advance(USE_FOR);
        let answer = match dice.below(10) {
            0..6 => self.refresh(owner, held, dice).await,
            6..9 => self.verify(owner, held, dice).await,
            _ => self.introspect(held, dice).await,
        };
        if matches!(answer, Answer::Lost | Answer::NotNow(_)) {
            tokio::time::sleep(PAUSE).await;
        }
        answer
    }

    /// Asks for a revocation until it is acknowledged.
    pub(super) async fn revoke(&self, what: &Aim, dice: &mut Dice) -> Answer {
        while !self.is_over() {
            let answer = self.revoke_once(what, dice).await;
            if matches!(answer, Answer::Done { .. }) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Answer::Lost
    }

    pub(super) async fn revoke_once(&self, what: &Aim, dice: &mut Dice) -> Answer {
        let line = self.line(dice);
        let deed = Deed::Revoke(what.target());
        let done = Answer::Done { durable: true };
        let why = proto::RevocationReason::Stolen.into();
        match what {
            Aim::End(_, token) => {
                let by = proto::end_session_request::Session::RefreshToken(token.clone());
                let request = proto::EndSessionRequest { session: Some(by) };
                let mut client = SessionServiceClient::new(line);
                let done = Answer::Done {
                    durable: self.logouts_durable,
                };
                self.note(deed, client.end_session(request), |_| done)
                    .await
                    .0
            }
            Aim::Session(_, session_id) => {
                let request = proto::RevokeSessionRequest {
                    session_id: session_id.clone(),
                    reason: why,
                    validate_only: false,
                };
                let mut client = SessionServiceClient::new(line);
                self.note(deed, client.revoke_session(request), |_| done)
                    .await
                    .0
            }
            Aim::Device(_, device_id) => {
                let request = proto::RevokeDeviceRequest {
                    device_id: device_id.clone(),
                    reason: why,
                    validate_only: false,
                };
                let mut client = DeviceServiceClient::new(line);
                let done = Answer::Done {
                    durable: self.devices_durable,
                };
                self.note(deed, client.revoke_device(request), |_| done)
                    .await
                    .0
            }
            Aim::Subject(_, subject) => {
                let request = proto::RevokeSubjectRequest {
                    subject: subject.clone(),
                    reason: why,
                    validate_only: false,
                };
                let mut client = RevocationServiceClient::new(line);
                self.note(deed, client.revoke_subject(request), |_| done)
                    .await
                    .0
            }
        }
    }
}

/// What somebody wants revoked: its name in the history, and what it is called on the wire.
#[derive(Debug, Clone)]
pub(super) enum Aim {
    /// A logout, with the refresh token.
    End(Name, String),
    Session(Name, String),
    Device(Name, String),
    Subject(Name, String),
}

impl Aim {
    const fn target(&self) -> Target {
        match self {
            Self::End(name, _) | Self::Session(name, _) => Target::Session(*name),
            Self::Device(name, _) => Target::Device(*name),
            Self::Subject(name, _) => Target::Subject(*name),
        }
    }

    fn some(owner: &Owner, held: &Held, dice: &mut Dice) -> Self {
        match dice.below(6) {
            0 => Self::End(held.name, held.refresh_token.clone()),
            1 | 2 => Self::Session(held.name, held.id.clone()),
            3 | 4 => Self::Subject(owner.user, owner.subject.clone()),
            _ => Self::Device(owner.device, owner.device_id.clone()),
        }
    }
}

fn outcome(outcome: proto::RefreshOutcome) -> Outcome {
    use proto::RefreshOutcome as Said;
    match outcome {
        Said::Rotated => Outcome::Rotated,
        Said::Retry => Outcome::Retry,
        Said::Healed => Outcome::Healed,
        Said::Unspecified => panic!("no outcome"),
    }
}

/// So many phones, each with its own dice, until they have lived so many sessions or the place closes.
pub(super) async fn live(place: &Arc<Place>, dice: &mut Dice, phones: u32, sessions: u32) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..phones {
        let (place, dice) = (Arc::clone(place), dice.split());
        tasks.spawn(async move { life(&place, dice, number, sessions).await });
    }
    tasks.join_all().await;
}

async fn life(place: &Place, mut dice: Dice, number: u32, sessions: u32) {
    let mut lived = 0;
    let mut users = 0;
    while lived < sessions && !place.is_over() {
        users += 1;
        let subject = format!("user-{number}-{}@chaos.test", users / 3);
        let Some(mut owner) = place.join(&mut dice, &subject).await else {
            return;
        };
        loop {
            let Some(mut held) = place.open(&mut owner, &mut dice).await else {
                break;
            };
            let revoked = session(place, &mut owner, &mut held, &mut dice).await;
            lived += 1;
            if lived >= sessions || place.is_over() || matches!(revoked, Some(Aim::Device(..))) {
                break;
            }
        }
        if lived < sessions && !place.is_over() {
            // Who has evidence of a revoked key may send it again.
            place.register(&mut owner, &mut dice).await;
        }
    }
}

/// Uses a session for a while, then has it revoked while it is used, and uses it after that.
async fn session(
    place: &Place,
    owner: &mut Owner,
    held: &mut Held,
    dice: &mut Dice,
) -> Option<Aim> {
    for _ in 0..2 + dice.below(10) {
        if let Answer::Refused(_) | Answer::Inactive = place.using(owner, held, dice).await {
            return None;
        }
    }
    let aim = Aim::some(owner, held, dice);
    let acknowledged = AtomicBool::new(false);
    let mut other = dice.split();
    let revoking = async {
        place.revoke(&aim, &mut other).await;
        acknowledged.store(true, Ordering::SeqCst);
    };
    let going_on = async {
        while !acknowledged.load(Ordering::SeqCst) {
            place.using(owner, held, dice).await;
            tokio::task::yield_now().await;
        }
        for _ in 0..USES_AFTER {
            place.using(owner, held, dice).await;
        }
    };
    tokio::join!(revoking, going_on);
    Some(aim)
}
