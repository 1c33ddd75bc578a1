//! What operators see: logs, metrics, traces and the HTTP side port.

mod labels;
pub mod log;
pub mod metrics;
pub mod side;
pub mod store;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::time::Clock;
use log::{Format, Log, Sink};
use metrics::Metrics;

/// The longest the last spans are waited for when the service stops.
const FLUSH_FOR_MAX: Duration = Duration::from_secs(3);

/// What telemetry needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How log lines look.
    pub format: Format,
    /// The least level logged.
    pub level: LevelFilter,
    /// The OTLP/gRPC collector (`http://host:port`); `None`: no traces are exported.
    pub otlp_endpoint: Option<String>,
    /// The part of traces kept where the caller has not decided, from 0 to 1.
    pub sample_ratio: f64,
    /// `service.name` of the traces.
    pub service_name: &'static str,
    /// `service.version` of the traces.
    pub service_version: &'static str,
}

/// Why telemetry cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// Another scheme than the one that works.
    #[error("the OTLP endpoint has to be http://host:port, a collector beside the service")]
    EndpointScheme,
    /// Not a part of a whole.
    #[error("the sample ratio has to be from 0 to 1")]
    SampleRatio,
    /// The exporter cannot be made.
    #[error("the OTLP exporter cannot be set up: {0}")]
    Exporter(String),
    /// Somebody else has set up tracing in this process.
    #[error("telemetry is already set up in this process")]
    AlreadySet,
}

/// Keeps the trace pipeline; flushes it when dropped.
#[derive(Debug)]
#[must_use = "the last spans are lost without it"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Flushes what waits, for a few seconds at most, without blocking the runtime.
    pub async fn shutdown(mut self) {
        if let Some(provider) = self.provider.take() {
            // The outcome is of no use any more: there is nobody left to tell.
            let _ = tokio::task::spawn_blocking(move || flush(&provider)).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            flush(&provider);
        }
    }
}

fn flush(provider: &SdkTracerProvider) {
    // A collector that does not answer costs the spans, never the exit.
    let _ = provider.shutdown_with_timeout(FLUSH_FOR_MAX);
}

/// Sets up the log to standard error and the traces, for the whole process. Has to be called within
/// a tokio runtime when traces are exported.
///
/// # Errors
/// [`TelemetryError`], in words for the person who configures it.
pub fn init(settings: &Settings, metrics: Arc<Metrics>) -> Result<Guard, TelemetryError> {
    let sink = Box::new(std::io::stderr());
    let (subscriber, guard) = subscriber(settings, metrics, sink)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    Ok(guard)
}

/// The subscriber that [`init`] makes global, with the log going to `sink`.
///
/// # Errors
/// [`TelemetryError`], in words for the person who configures it.
pub fn subscriber(
    settings: &Settings,
    metrics: Arc<Metrics>,
    sink: Sink,
) -> Result<(impl Subscriber + Send + Sync + use<>, Guard), TelemetryError> {
    let provider = settings
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| trace::pipeline(settings, endpoint))
        .transpose()?;
    let level = settings.level;
    let shown = filter_fn(move |metadata| {
        log::ours(metadata) && (metadata.is_span() || *metadata.level() <= level)
    });
    // Spans carry the fields of the lines within them, so they are followed at any level.
    let shown = shown.with_max_level_hint(level.max(LevelFilter::INFO));
    let log = Log::new(settings.format, Clock::system(), sink, metrics).with_filter(shown);
    let traces = provider.as_ref().map(trace::layer);
    let subscriber = Registry::default().with(traces).with(log);
    Ok((subscriber, Guard { provider }))
}
