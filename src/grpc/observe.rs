//! The layer that watches every RPC: a span, a count, a duration and one log line.
//!
//! The outcome is read from the answer itself, status and reason, so what is counted is what the
//! caller saw. An RPC whose caller went away before the end counts as `CANCELLED`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::caller::TABLE;
use super::listener::ConnectInfo;
use super::status::reason_of;
use crate::reason::Reason;
use crate::secret::{self, NoRandomness};
use crate::telemetry::metrics::{Code, Method, Metrics};
use crate::telemetry::trace::Parent;
use crate::time::monotonic_now;

/// The answer's header with the id under which the log knows the RPC.
pub const REQUEST_ID_HEADER: &str = "assay-request-id";

/// The id of an RPC; found in the extensions of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// The layer: to be put outermost.
#[derive(Clone, Debug)]
pub struct Observe {
    metrics: Arc<Metrics>,
    ids: Arc<Ids>,
}

impl Observe {
    /// Counts into these metrics.
    ///
    /// # Errors
    /// Without randomness the ids of this process could be those of another.
    pub fn new(metrics: Arc<Metrics>) -> Result<Self, NoRandomness> {
        let ids = Arc::new(Ids {
            process: u64::from_be_bytes(secret::random()?),
            next: AtomicU64::new(0),
        });
        Ok(Self { metrics, ids })
    }
}

/// Request ids: random for the process, then counted. Unique, not secret.
#[derive(Debug)]
struct Ids {
    process: u64,
    next: AtomicU64,
}

impl Ids {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:08x}", self.process)
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            observe: self.clone(),
            inner,
        }
    }
}

/// A service that is watched.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    observe: Observe,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Observed<S>
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

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let id = self.observe.ids.next();
        let watch = Watch::begin(&self.observe.metrics, &id, &request);
        let shown = HeaderValue::from_str(&id).ok();
        request.extensions_mut().insert(RequestId(id.into()));
        let answer = watch.span.in_scope(|| self.inner.call(request));
        Box::pin(async move {
            let mut watch = watch;
            let response = answer.instrument(watch.span.clone()).await?;
            watch.saw(response.headers());
            if let Some(reason) = response.extensions().get::<Reason>() {
                watch.reason = Some(*reason);
            }
            let (mut head, body) = response.into_parts();
            if let Some(shown) = shown {
                head.headers.insert(REQUEST_ID_HEADER, shown);
            }
            let body = Body::new(ObservedBody { body, watch });
            Ok(http::Response::from_parts(head, body))
        })
    }
}

/// One RPC, from its head to the end of its answer; tells the outcome when dropped.
struct Watch {
    metrics: Arc<Metrics>,
    method: Method,
    span: Span,
    began: Instant,
    code: Option<Code>,
    reason: Option<Reason>,
}

impl Watch {
    fn begin<B>(metrics: &Arc<Metrics>, id: &str, request: &http::Request<B>) -> Self {
        let paths = TABLE.iter().map(|(path, _)| *path);
        let method = Method::of(request.uri().path(), paths);
        let span = tracing::info_span!(
            "rpc",
            otel.name = method.as_str(),
            otel.kind = "server",
            otel.status_code = Empty,
            method = method.as_str(),
            request_id = id,
            remote = Empty,
            caller = Empty,
            trace_id = Empty,
            code = Empty,
            reason = Empty,
        );
        if let Some(trace_id) = Parent::of(request.headers()).adopt(&span) {
            span.record("trace_id", trace_id);
        }
        if let Some(info) = request.extensions().get::<ConnectInfo>() {
            span.record("remote", tracing::field::display(info.remote.ip()));
        }
        metrics.rpc_began(method);
        Self {
            metrics: Arc::clone(metrics),
            method,
            span,
            began: monotonic_now(),
            code: None,
            reason: None,
        }
    }

    /// Looks for the status in the head or the trailers of the answer.
    fn saw(&mut self, headers: &HeaderMap) {
        let Some(number) = headers.get("grpc-status") else {
            return;
        };
        let number = number.to_str().ok().and_then(|text| text.parse().ok());
        let code = number.map_or(Code::Unknown, Code::from_number);
        self.code = Some(code);
        if code != Code::Ok
            && let Some(status) = Status::from_header_map(headers)
        {
            self.reason = reason_of(&status);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let took = monotonic_now().saturating_duration_since(self.began);
        let code = self.code.unwrap_or(Code::Cancelled);
        self.metrics.rpc_ended(self.method, code, self.reason, took);
        self.span.record("code", code.as_str());
        if let Some(reason) = self.reason {
            self.span.record("reason", reason.as_str());
        }
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let fault = matches!(
            code,
            Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable
        );
        self.span.in_scope(|| {
            if fault {
                Span::current().record("otel.status_code", "ERROR");
                tracing::error!(duration_us, "rpc failed");
            } else if self.method.as_str().starts_with("grpc.") {
                tracing::debug!(duration_us, "rpc done");
            } else {
                tracing::info!(duration_us, "rpc done");
            }
        });
    }
}

/// The body of an answer, watched to its end.
struct ObservedBody {
    body: Body,
    watch: Watch,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.watch.saw(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                self.watch.code = Some(Code::from_number(status.code().into()));
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
