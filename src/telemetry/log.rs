//! The log: one line per event, and on it only fields that are on the list below.
//!
//! A field that is not on the list is dropped, from events and from the spans around them, so a
//! secret cannot reach the log by a name nobody thought of. Events of libraries are not written at
//! all: their text is not ours to judge. Messages are fixed sentences; a test reads the sources and
//! fails on a message with a placeholder and on a field that is not on the list.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::metrics::Metrics;
use crate::time::Clock;

/// Every field a log line can have beside `time`, `level`, `target` and `message`, and what it
/// says. Never on this list: tokens, proofs, keys, nonces, challenges, evidence, request bodies,
/// subjects, anything a phone sent as free text.
pub const FIELDS: &[(&str, &str)] = &[
    ("address", "address the service listens on"),
    ("app_id", "configured name of the app"),
    ("caller", "certificate identity of the caller"),
    ("cause", "what began a re-appraisal, from a closed set"),
    (
        "certificate_index",
        "place of the refused certificate in its chain, leaf first",
    ),
    ("code", "gRPC status code"),
    ("count", "how many of what the message names"),
    ("degraded", "devices degraded"),
    (
        "detail",
        "what the reason leaves open, in fixed words of our own",
    ),
    ("device_id", "device"),
    ("devices", "devices looked at"),
    (
        "drained",
        "whether every request under way was answered before the end",
    ),
    ("duration_us", "time the RPC took, in microseconds"),
    (
        "endpoint",
        "configured address of another service, without credentials",
    ),
    ("error", "word for an error of our own, from a closed set"),
    (
        "event",
        "what happened to a device, a word of docs/events.md",
    ),
    ("kid", "id of a signing key"),
    ("method", "RPC, from a closed set"),
    ("operation", "operation of the state store"),
    ("outcome", "how it ended, from a closed set"),
    ("overdue", "devices that have to attest again by now"),
    ("platform", "android or apple"),
    ("reason", "reason code"),
    ("remote", "IP address of the calling service"),
    ("reported", "devices that are only reported"),
    (
        "request_id",
        "id of this RPC, also in the answer's assay-request-id",
    ),
    ("revoked", "devices revoked"),
    ("session_id", "session"),
    ("setting", "name of a setting in the configuration"),
    ("sha256", "SHA-256 of a list"),
    ("side_address", "address of the HTTP side port"),
    ("suspended", "devices suspended"),
    (
        "trace_id",
        "W3C trace id, when the caller or the sampler gave one",
    ),
    ("version", "version of this build"),
    ("wait_ms", "time until it is tried again, in milliseconds"),
];

/// Longest value of a field or message; longer ones end in `…`.
const VALUE_BYTES_MAX: usize = 256;

/// Whether a field may be logged.
#[must_use]
pub fn allowed(field: &str) -> bool {
    FIELDS.iter().any(|(name, _)| *name == field)
}

/// Whether an event or span is ours.
pub(super) fn ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "assay" || target.starts_with("assay::")
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for machines.
    Json,
    /// `time LEVEL target: message key=value …`, for people.
    Text,
}

/// Where lines go.
pub type Sink = Box<dyn Write + Send>;

/// The layer that writes the log.
pub struct Log {
    format: Format,
    clock: Clock,
    sink: Mutex<Sink>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({:?})", self.format)
    }
}

impl Log {
    /// Writes lines of this format to the sink. A line that cannot be written is counted and
    /// otherwise forgotten: the log never stops the service.
    #[must_use]
    pub const fn new(format: Format, clock: Clock, sink: Sink, metrics: Arc<Metrics>) -> Self {
        Self {
            format,
            clock,
            sink: Mutex::new(sink),
            metrics,
        }
    }

    fn write(&self, metadata: &Metadata<'_>, fields: &Fields) {
        let time = self.clock.now().to_rfc3339();
        let mut line = match self.format {
            Format::Json => json_line(&time, metadata, fields),
            Format::Text => text_line(&time, metadata, fields),
        };
        line.push('\n');
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if sink.write_all(line.as_bytes()).is_err() {
            self.metrics.log_line_lost();
        }
    }
}

impl<S> Layer<S> for Log
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.values {
                    fields.set(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        self.write(event.metadata(), &fields);
    }
}

/// The allowed fields of a span or event, in the order they came, the last value of each.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, Value)>,
}

#[derive(Clone)]
enum Value {
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
    Float(f64),
    Text(String),
}

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        if let Some(place) = self.values.iter_mut().find(|(known, _)| *known == name) {
            place.1 = value;
        } else {
            self.values.push((name, value));
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        if allowed(field.name()) {
            self.set(field.name(), value);
        }
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, Value::Bool(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = bounded(value);
        } else if allowed(field.name()) {
            self.set(field.name(), Value::Text(bounded(value)));
        }
    }
}

/// Formats no more than [`VALUE_BYTES_MAX`], whatever the value would print.
fn bounded(value: &dyn fmt::Debug) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = VALUE_BYTES_MAX.saturating_sub(self.0.len());
            let mut end = left.min(text.len());
            while !text.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            self.0.push_str(text.get(..end).unwrap_or_default());
            if end < text.len() {
                self.0.push('…');
                return Err(fmt::Error);
            }
            Ok(())
        }
    }
    let mut out = Bounded(String::new());
    // An error here means the limit was reached, and the text says so.
    let _ = write!(out, "{value:?}");
    out.0
}

fn json_line(time: &str, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut line = format!(
        r#"{{"time":"{time}","level":"{}","target":{},"message":{}"#,
        metadata.level(),
        json_text(metadata.target()),
        json_text(&fields.message),
    );
    for (name, value) in &fields.values {
        let _ = write!(line, r#","{name}":"#);
        let _ = match value {
            Value::Signed(n) => write!(line, "{n}"),
            Value::Unsigned(n) => write!(line, "{n}"),
            Value::Bool(b) => write!(line, "{b}"),
            Value::Float(n) if n.is_finite() => write!(line, "{n}"),
            Value::Float(_) => write!(line, "null"),
            Value::Text(text) => write!(line, "{}", json_text(text)),
        };
    }
    line.push('}');
    line
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text_line(time: &str, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut line = format!(
        "{time} {:5} {}: {}",
        metadata.level().as_str(),
        metadata.target(),
        fields.message.escape_debug(),
    );
    for (name, value) in &fields.values {
        let _ = write!(line, " {name}=");
        let _ = match value {
            Value::Signed(n) => write!(line, "{n}"),
            Value::Unsigned(n) => write!(line, "{n}"),
            Value::Bool(b) => write!(line, "{b}"),
            Value::Float(n) => write!(line, "{n}"),
            Value::Text(text) if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"') => {
                write!(line, "{text}")
            }
            Value::Text(text) => write!(line, "{text:?}"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_every_field_is_explained() {
        assert!(FIELDS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(FIELDS.iter().all(|(_, says)| !says.is_empty()));
    }

    #[test]
    fn names_of_secrets_are_not_on_the_list() {
        for name in [
            "subject",
            "token",
            "access_token",
            "refresh_token",
            "proof",
            "secret",
            "key",
            "nonce",
            "challenge",
            "evidence",
            "body",
            "authorization",
            "password",
            "jwt",
            "request",
        ] {
            assert!(!allowed(name), "{name}");
        }
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let cut = bounded(&format_args!("{}", "ä".repeat(1000)));
        assert!(cut.len() <= VALUE_BYTES_MAX + '…'.len_utf8());
        assert!(cut.ends_with('…'));
        assert_eq!(bounded(&format_args!("short")), "short");
    }
}
