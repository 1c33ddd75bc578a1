//! The layer between authorisation and the services: a bound on requests under way, a deadline for
//! each, an end for streams when the server drains, and our own form for the errors the framework
//! answers itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::status::{bad_request, status};
use crate::reason::Reason;

/// Begins the paths of the one service whose requests are streams.
const REFLECTION: &str = "/grpc.reflection.";

/// The layer.
#[derive(Clone, Debug)]
pub struct Guard {
    slots: Arc<Semaphore>,
    request_for: Duration,
    drains: watch::Receiver<bool>,
}

impl Guard {
    /// At most `requests_max` requests under way, each answered within `request_for`; streams end
    /// when `drains` says so.
    #[must_use]
    pub fn new(requests_max: usize, request_for: Duration, drains: watch::Receiver<bool>) -> Self {
        let slots = requests_max.min(Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            request_for,
            drains,
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

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let overloaded = || Ok(status(Reason::Overloaded).into_http());
        let Ok(slot) = Arc::clone(&self.guard.slots).try_acquire_owned() else {
            return Box::pin(std::future::ready(overloaded()));
        };
        let drains = self.guard.drains.clone();
        let request = if request.uri().path().starts_with(REFLECTION) {
            let ending = |body| Body::new(Ending::new(body, drains.clone(), None));
            request.map(ending)
        } else {
            request
        };
        let answer = self.inner.call(request);
        let request_for = self.guard.request_for;
        Box::pin(async move {
            let answer = tokio::time::timeout(request_for, answer).await;
            drop(slot);
            match answer {
                Ok(answer) => answer.map(|answer| match own_form(answer.headers()) {
                    Some(refused) => refused.into_http(),
                    None => answer.map(|body| {
                        let says = Status::unavailable("The service is stopping.");
                        Body::new(Ending::new(body, drains, Some(says)))
                    }),
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
    if code == Code::OutOfRange {
        return Some(bad_request([("", "a message of fewer bytes")]));
    }
    // What does not exist is said as it is.
    matches!(code, Code::Internal | Code::Unknown | Code::Cancelled)
        .then(|| bad_request([("", "a message of this RPC")]))
}

/// A body that ends when the server drains: a watch of health has no end of its own, nor has what a
/// client of reflection sends, and both would hold every drain up to its deadline. What is ready is
/// still passed on, and the one message of a unary answer always is.
struct Ending {
    body: Body,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What an answer ends with; a request just ends.
    says: Option<Status>,
    ended: bool,
}

impl Ending {
    fn new(body: Body, mut drains: watch::Receiver<bool>, says: Option<Status>) -> Self {
        let drained = async move {
            // A dropped sender means that the owner of the server is gone.
            let _ = drains.wait_for(|drains| *drains).await;
        };
        Self {
            body,
            drained: Box::pin(drained),
            says,
            ended: false,
        }
    }
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending if self.drained.as_mut().poll(cx).is_ready() => {
                self.ended = true;
                Poll::Ready(self.says.take().map(|status| {
                    let mut trailers = HeaderMap::new();
                    let added = status.add_header(&mut trailers);
                    added.map(|()| Frame::trailers(trailers))
                }))
            }
            polled @ (Poll::Ready(_) | Poll::Pending) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
