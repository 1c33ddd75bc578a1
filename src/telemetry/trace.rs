//! Traces: spans to an OTLP collector, as children of the caller's span.
//!
//! A span is exported only when every field it declares is on the log's list. Finished spans wait in
//! a bounded queue that a thread of its own empties; when the collector is slow or gone, spans are
//! dropped and RPCs go on.

use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::{Settings, TelemetryError, log};

/// Spans waiting for export: some seconds of a busy service at one percent, about 2 MiB.
const QUEUE_MAX: usize = 2048;

/// Spans in one export.
const BATCH_MAX: usize = 512;

/// The longest a span waits for company.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// The longest one export takes; a collector next door answers in milliseconds.
const EXPORT_FOR_MAX: Duration = Duration::from_secs(5);

/// The longest `tracestate` passed on: W3C asks for at least 512 characters.
const TRACESTATE_BYTES_MAX: usize = 512;

/// Fields that steer the export and are no data.
const STEERING: &[&str] = &["otel.name", "otel.kind", "otel.status_code"];

/// The pipeline to the collector.
///
/// # Errors
/// When the endpoint cannot be one, or the exporter cannot be made of it.
pub(super) fn pipeline(
    settings: &Settings,
    endpoint: &str,
) -> Result<SdkTracerProvider, TelemetryError> {
    if !endpoint.starts_with("http://") {
        return Err(TelemetryError::EndpointScheme);
    }
    if !(0.0..=1.0).contains(&settings.sample_ratio) {
        return Err(TelemetryError::SampleRatio);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_FOR_MAX)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(BATCH_WAIT)
        .build();
    let resource = Resource::builder_empty()
        .with_service_name(settings.service_name)
        .with_attribute(KeyValue::new("service.version", settings.service_version))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(
            BatchSpanProcessor::builder(exporter)
                .with_batch_config(batches)
                .build(),
        )
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            settings.sample_ratio,
        ))))
        .with_resource(resource)
        .build())
}

/// The layer that hands spans to the pipeline.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("assay"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(exported).with_max_level_hint(LevelFilter::INFO))
}

/// Spans of ours, whole or not at all; no events: they are the log's.
fn exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && log::ours(metadata)
        && metadata
            .fields()
            .iter()
            .all(|field| log::allowed(field.name()) || STEERING.contains(&field.name()))
}

/// The span of the caller, from its `traceparent` and `tracestate` headers.
#[derive(Clone, Debug)]
pub struct Parent(Context);

impl Parent {
    /// Reads the headers; nothing, or what is not well formed, is no parent.
    #[must_use]
    pub fn of(headers: &http::HeaderMap) -> Self {
        let none = Context::new();
        Self(TraceContextPropagator::new().extract_with_context(&none, &Headers(headers)))
    }

    /// Makes the span a child of the caller's span and tells the trace both belong to: the caller's,
    /// or a new one when spans are exported, or none.
    pub fn adopt(self, span: &Span) -> Option<String> {
        let given = self.0.span().span_context().clone();
        // Fails where no spans are exported; then there is nothing to adopt.
        let _ = span.set_parent(self.0);
        let context = span.context();
        let own = context.span().span_context().clone();
        [own, given]
            .into_iter()
            .find(opentelemetry::trace::SpanContext::is_valid)
            .map(|known| known.trace_id().to_string())
    }
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .and_then(|value| value.to_str().ok())
            .filter(|text| text.len() <= TRACESTATE_BYTES_MAX)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_id(traceparent: &str) -> Option<String> {
        let mut headers = http::HeaderMap::new();
        headers.insert("traceparent", traceparent.parse().unwrap());
        Parent::of(&headers).adopt(&Span::none())
    }

    #[test]
    fn a_well_formed_parent_is_read() {
        assert_eq!(
            trace_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
    }

    #[test]
    fn a_malformed_parent_is_none() {
        for odd in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(odd), None, "{odd}");
        }
    }
}
