//! The services: each RPC parses, runs its flow and renders. No rule lives here.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::proto::attestation_service_server::{AttestationService, AttestationServiceServer};
use super::proto::device_service_server::{DeviceService, DeviceServiceServer};
use super::proto::session_service_server::{SessionService, SessionServiceServer};
use super::proto::verification_service_server::{VerificationService, VerificationServiceServer};
use super::{proto, status, wire};
use crate::flow::refresh_session::Refreshed;
use crate::flow::{
    Engine, Failure, appraise_evidence, create_challenge, end_session, get_device,
    introspect_token, issue_session, list_devices, list_sessions, refresh_session, register_device,
    revoke_device, verify_request,
};
use crate::reason::{Action, Reason};
use crate::session;
use crate::telemetry::metrics::{Metrics, Platform, RefreshOutcome};

/// How long the key set may be cached: a new signing key is published this long before it is used.
const JWKS_CACHE_FOR: Duration = Duration::from_secs(300);

/// The services over one engine.
#[derive(Debug, Clone)]
pub struct Services {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
}

impl Services {
    /// Over this engine.
    #[must_use]
    pub const fn new(engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        Self { engine, metrics }
    }

    /// All services as routes, taking messages of at most `message_bytes_max`.
    #[must_use]
    pub fn routes(&self, message_bytes_max: usize) -> tonic::service::Routes {
        let limit = message_bytes_max;
        tonic::service::Routes::new(
            AttestationServiceServer::new(self.clone()).max_decoding_message_size(limit),
        )
        .add_service(DeviceServiceServer::new(self.clone()).max_decoding_message_size(limit))
        .add_service(SessionServiceServer::new(self.clone()).max_decoding_message_size(limit))
        .add_service(VerificationServiceServer::new(self.clone()).max_decoding_message_size(limit))
    }

    /// A refusal on the wire. Where a new proof can help it brings the nonce for it along
    /// (RFC 9449, 8).
    fn refuse(&self, failure: &Failure) -> Status {
        if let Some(detail) = &failure.detail {
            tracing::info!(reason = failure.reason.as_str(), detail, "refused");
        }
        let violations = failure
            .violations
            .iter()
            .map(|v| (v.field.clone(), v.description.clone()));
        let mut refused = if failure.violations.is_empty() {
            status::status(failure.reason)
        } else {
            status::bad_request(violations)
        };
        if failure.reason.action() == Action::RetryWithNonce
            && let Ok(nonce) = MetadataValue::try_from(self.engine.next_nonce())
        {
            refused.metadata_mut().insert("dpop-nonce", nonce);
        }
        refused
    }

    /// Lets those who count and log know what an answer with a verdict in it says.
    fn with_verdict<T>(mut answer: Response<T>, refused: Option<Reason>) -> Response<T> {
        if let Some(reason) = refused {
            answer.extensions_mut().insert(reason);
        }
        answer
    }

    /// An answer, with the nonce for the phone's next proof beside it.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Ok(nonce) = MetadataValue::try_from(self.engine.next_nonce()) {
            response.metadata_mut().insert("dpop-nonce", nonce);
        }
        response
    }
}

/// The label of evidence; `None` when there is none.
fn platform(evidence: Option<&proto::Evidence>) -> Option<Platform> {
    match evidence?.kind.as_ref()? {
        proto::evidence::Kind::Android(_) => Some(Platform::Android),
        proto::evidence::Kind::Apple(_) => Some(Platform::Apple),
    }
}

/// The label of how a refresh ended.
fn refresh_outcome(refreshed: &Result<Refreshed, Failure>) -> RefreshOutcome {
    match refreshed.as_ref().map(|refreshed| refreshed.outcome) {
        Ok(session::RefreshOutcome::Rotated) => RefreshOutcome::Rotated,
        Ok(session::RefreshOutcome::Retry) => RefreshOutcome::Retry,
        Ok(session::RefreshOutcome::Healed) => RefreshOutcome::Healed,
        Err(_) => RefreshOutcome::Refused,
    }
}

#[tonic::async_trait]
impl AttestationService for Services {
    async fn appraise_evidence(
        &self,
        request: Request<proto::AppraiseEvidenceRequest>,
    ) -> Result<Response<proto::AppraiseEvidenceResponse>, Status> {
        let appraisal = wire::appraise_evidence(request.into_inner())
            .and_then(|request| appraise_evidence::run(&self.engine, request))
            .map_err(|failure| self.refuse(&failure))?;
        let refused = appraisal.verdict.as_ref().err();
        let refused = refused.map(|rejection| rejection.reason);
        let appraisal = Some(wire::appraisal(&appraisal));
        let answer = Response::new(proto::AppraiseEvidenceResponse { appraisal });
        Ok(Self::with_verdict(answer, refused))
    }
}

#[tonic::async_trait]
impl DeviceService for Services {
    async fn create_challenge(
        &self,
        request: Request<proto::CreateChallengeRequest>,
    ) -> Result<Response<proto::CreateChallengeResponse>, Status> {
        let challenge = wire::create_challenge(request.into_inner())
            .and_then(|request| create_challenge::run(&self.engine, &request))
            .map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::challenge(challenge, self.engine.next_nonce())))
    }

    async fn register_device(
        &self,
        request: Request<proto::RegisterDeviceRequest>,
    ) -> Result<Response<proto::RegisterDeviceResponse>, Status> {
        let sent = request.into_inner();
        let platform = platform(sent.evidence.as_ref());
        let registered =
            async { register_device::run(&self.engine, wire::register_device(sent)?).await };
        let registered = registered.await;
        if let Some(platform) = platform {
            let refused = registered.as_ref().err().map(|failure| failure.reason);
            self.metrics.verdict(platform, refused);
        }
        let registered = registered.map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::registered(&registered, self.engine.next_nonce())))
    }

    async fn get_device(
        &self,
        request: Request<proto::GetDeviceRequest>,
    ) -> Result<Response<proto::GetDeviceResponse>, Status> {
        let device =
            async { get_device::run(&self.engine, &wire::get_device(request.get_ref())?).await };
        let device = device.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(proto::GetDeviceResponse {
            device: Some(wire::device(&device)),
        }))
    }

    async fn list_devices(
        &self,
        request: Request<proto::ListDevicesRequest>,
    ) -> Result<Response<proto::ListDevicesResponse>, Status> {
        let sent = request.get_ref();
        let page = async {
            let page = (sent.page_size, sent.page_token.as_str());
            let (subject, page) = wire::listing(&sent.subject, page)?;
            list_devices::run(&self.engine, &subject, page).await
        };
        let page = page.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::devices(&page)))
    }

    async fn revoke_device(
        &self,
        request: Request<proto::RevokeDeviceRequest>,
    ) -> Result<Response<proto::RevokeDeviceResponse>, Status> {
        let revoked = async {
            revoke_device::run(&self.engine, wire::revoke_device(request.get_ref())?).await
        };
        let revoked = revoked.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::revoked(&revoked)))
    }
}

#[tonic::async_trait]
impl SessionService for Services {
    async fn issue_session(
        &self,
        request: Request<proto::IssueSessionRequest>,
    ) -> Result<Response<proto::IssueSessionResponse>, Status> {
        let grant = async {
            issue_session::run(&self.engine, wire::issue_session(request.into_inner())?).await
        };
        let grant = grant.await.map_err(|failure| self.refuse(&failure))?;
        let grant = Some(wire::grant(&grant, self.engine.next_nonce()));
        Ok(self.answer(proto::IssueSessionResponse { grant }))
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Result<Response<proto::RefreshSessionResponse>, Status> {
        let refreshed = async {
            refresh_session::run(&self.engine, wire::refresh_session(request.into_inner())?).await
        };
        let refreshed = refreshed.await;
        self.metrics.refresh(refresh_outcome(&refreshed));
        let refreshed = refreshed.map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::refreshed(&refreshed, self.engine.next_nonce())))
    }

    async fn end_session(
        &self,
        request: Request<proto::EndSessionRequest>,
    ) -> Result<Response<proto::EndSessionResponse>, Status> {
        let ended = async {
            end_session::run(&self.engine, wire::end_session(request.into_inner())?).await
        };
        ended.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(proto::EndSessionResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let sent = request.get_ref();
        let page = async {
            let page = (sent.page_size, sent.page_token.as_str());
            let (subject, page) = wire::listing(&sent.subject, page)?;
            list_sessions::run(&self.engine, &subject, page).await
        };
        let page = page.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::sessions(&page)))
    }
}

#[tonic::async_trait]
impl VerificationService for Services {
    async fn verify_request(
        &self,
        request: Request<proto::VerifyRequestRequest>,
    ) -> Result<Response<proto::VerifyRequestResponse>, Status> {
        let decided = async {
            let request = wire::verify_request(request.into_inner())?;
            let required = request.required.clone();
            let decision = verify_request::run(&self.engine, request).await?;
            Ok::<_, Failure>((decision, required))
        };
        let (decision, required) = decided.await.map_err(|failure| self.refuse(&failure))?;
        let refused = decision.verdict.as_ref().err().copied();
        let decision = Some(wire::decision(
            &decision,
            &required,
            self.engine.next_nonce(),
        ));
        let answer = self.answer(proto::VerifyRequestResponse { decision });
        Ok(Self::with_verdict(answer, refused))
    }

    async fn introspect_token(
        &self,
        request: Request<proto::IntrospectTokenRequest>,
    ) -> Result<Response<proto::IntrospectTokenResponse>, Status> {
        let claims = async {
            introspect_token::run(&self.engine, &wire::introspect_token(request.into_inner())?)
                .await
        };
        let claims = claims.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::introspection(claims.as_ref())))
    }

    async fn get_jwks(
        &self,
        _: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        Ok(Response::new(proto::GetJwksResponse {
            jwks_json: self.engine.keyring.jwks().to_owned(),
            cache_for: Some(wire::duration(JWKS_CACHE_FOR)),
        }))
    }
}
