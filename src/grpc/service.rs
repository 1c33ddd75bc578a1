//! The services: each RPC parses, runs its flow and renders. No rule lives here.

mod attestation;
mod device;
mod operations;
mod revocation;
mod session;
mod verification;
mod watching;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::proto::attestation_service_server::AttestationServiceServer;
use super::proto::device_service_server::DeviceServiceServer;
use super::proto::operations_service_server::OperationsServiceServer;
use super::proto::revocation_service_server::RevocationServiceServer;
use super::proto::session_service_server::SessionServiceServer;
use super::proto::verification_service_server::VerificationServiceServer;
use super::{proto, status};
use crate::attestation::Checks;
use crate::flow::refresh_session::Refreshed;
use crate::flow::{DevicePage, Engine, Failure};
use crate::policy::{Rule, monitored_rules};
use crate::reason::{Action, Reason};
use crate::session::{self as domain, Actor};
use crate::telemetry::metrics::{Metrics, Platform, RefreshOutcome};

/// The services over one engine.
#[derive(Debug, Clone)]
pub struct Services {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    reappraisals: Arc<Semaphore>,
    drills: Arc<Semaphore>,
    streams: Arc<watching::Streams>,
}

/// Re-appraisals that callers have under way at once, of one instance: each reads all devices.
const REAPPRAISALS_MAX: usize = 2;

/// Drills under way at once, of one instance: two would wait for the same watchers.
const DRILLS_MAX: usize = 1;

impl Services {
    /// Over this engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        Self {
            engine,
            metrics,
            reappraisals: Arc::new(Semaphore::new(REAPPRAISALS_MAX)),
            drills: Arc::new(Semaphore::new(DRILLS_MAX)),
            streams: Arc::default(),
        }
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
        .add_service(OperationsServiceServer::new(self.clone()).max_decoding_message_size(limit))
        .add_service(RevocationServiceServer::new(self.clone()).max_decoding_message_size(limit))
    }

    /// The facts behind a refusal, for the log.
    fn note(failure: &Failure) {
        if let Some(detail) = &failure.detail {
            tracing::info!(reason = failure.reason.as_str(), detail, "refused");
        }
    }

    /// A refusal on the wire. Where a new proof can help it brings the nonce for it along
    /// (RFC 9449, 8).
    fn refuse(&self, failure: &Failure) -> Status {
        Self::note(failure);
        let violations = failure
            .violations
            .iter()
            .map(|v| (v.field.clone(), v.description.clone()));
        let mut refused = match failure.retry_after {
            Some(wait) => status::status_after(failure.reason, wait),
            None if failure.violations.is_empty() => status::status(failure.reason),
            None => status::bad_request(violations),
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

    /// Counts the rules that would have refused an accepted device, and says so once.
    fn note_monitored(&self, checks: &Checks) {
        let rules: Vec<Rule> = monitored_rules(checks).collect();
        if rules.is_empty() {
            return;
        }
        for rule in &rules {
            self.metrics.monitored(*rule);
        }
        let words: Vec<&str> = rules.iter().map(|rule| rule.as_str()).collect();
        let words = words.join(", ");
        tracing::info!(
            detail = words.as_str(),
            "monitored rules would have refused"
        );
    }

    /// Counts devices whose records cannot be read, and says so once.
    fn note_unreadable(&self, page: &DevicePage) {
        let count = page.unreadable.len();
        if count > 0 {
            self.metrics.device_records_unreadable(count);
            tracing::error!(count, "records of devices cannot be read");
        }
    }

    /// Counts a device that came in above the rate of its attestation key, and says so.
    fn note_key_rate(&self, device: &domain::Device, above_rate: Option<&str>) {
        let Some(key) = above_rate else {
            return;
        };
        self.metrics.attestation_key_rate_exceeded();
        tracing::warn!(
            app_id = device.app.as_str(),
            device_id = %device.id,
            detail = key,
            "more devices than usual register under one attestation key"
        );
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
        Ok(domain::RefreshOutcome::Rotated) => RefreshOutcome::Rotated,
        Ok(domain::RefreshOutcome::Retry) => RefreshOutcome::Retry,
        Ok(domain::RefreshOutcome::Healed) => RefreshOutcome::Healed,
        Err(_) => RefreshOutcome::Refused,
    }
}

/// Who asks, for the events. Only known callers get this far, except for open RPCs, which change
/// nothing.
fn actor<T>(request: &Request<T>) -> Actor {
    let caller = request.extensions().get::<Caller>();
    Actor::caller(caller.map_or_else(|| "unknown".into(), |caller| Arc::clone(&caller.identity)))
}
