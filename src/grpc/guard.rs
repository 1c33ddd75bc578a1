//! The layer between authorisation and the services: a bound on requests under way, a deadline for
//! each, and our own form for the errors the framework answers itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::status::{bad_request, status};
use crate::reason::Reason;

/// The layer.
#[derive(Clone, Debug)]
pub struct Guard {
    slots: Arc<Semaphore>,
    request_for: Duration,
}

impl Guard {
    /// At most `requests_max` requests under way, each answered within `request_for`.
    #[must_use]
    pub fn new(requests_max: usize, request_for: Duration) -> Self {
        let slots = requests_max.min(Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            request_for,
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

/// A guarded service.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let overloaded = || Ok(status(Reason::Overloaded).into_http());
        let Ok(slot) = Arc::clone(&self.guard.slots).try_acquire_owned() else {
            return Box::pin(std::future::ready(overloaded()));
        };
        let answer = self.inner.call(request);
        let request_for = self.guard.request_for;
        Box::pin(async move {
            let answer = tokio::time::timeout(request_for, answer).await;
            drop(slot);
            match answer {
                Ok(answer) => answer.map(|answer| match own_form(answer.headers()) {
                    Some(refused) => refused.into_http(),
                    None => answer,
                }),
                Err(_) => overloaded(),
            }
        })
    }
}

/// The framework refuses by itself what it cannot frame or unpack: too large a message, an unknown
/// compression, a cut body. Those statuses have no details; ours all do.
fn own_form(headers: &HeaderMap) -> Option<Status> {
    if headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let code = Status::from_header_map(headers)?.code();
    let unframed = [Code::Internal, Code::Unknown, Code::Cancelled];
    if code == Code::OutOfRange {
        Some(bad_request([("", "a message of fewer bytes")]))
    } else if unframed.contains(&code) {
        Some(bad_request([("", "a message of this RPC")]))
    } else {
        // What does not exist is said as it is.
        None
    }
}
