//! Every metric of the service, with its help text and its labels. Label values come from closed
//! sets: nothing a client sends becomes a label. `docs/telemetry.md` lists them for operators.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{self, Registry};

use crate::reason::Reason;

/// Bounds of the duration histograms, in seconds. From a cached answer (a tenth of a millisecond)
/// to the deadlines callers set (seconds); the steps are dense where the objectives lie.
const SECONDS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    4.096,
];

/// Declares a closed set of label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

labels! {
    /// The platform of a piece of evidence.
    Platform {
        /// Android Key Attestation.
        Android = "android",
        /// Apple App Attest.
        Apple = "apple",
    }
}

labels! {
    /// How a refresh ended.
    RefreshOutcome {
        /// A new generation.
        Rotated = "rotated",
        /// The same answer again: the first one was lost on the way.
        Retry = "retry",
        /// A lost answer, healed from the generation before.
        Healed = "healed",
        /// Refused; the reason is in `assay_rpc_requests_total`.
        Refused = "refused",
    }
}

labels! {
    /// An operation of the store port.
    StoreOperation {
        /// Load records and make claims.
        Admit = "admit",
        /// Compare and set.
        Commit = "commit",
        /// Read the outbox.
        Follow = "follow",
        /// Look whether the store is there.
        Ping = "ping",
    }
}

labels! {
    /// How an operation of the store ended.
    StoreOutcome {
        /// As asked.
        Ok = "ok",
        /// Another commit or claim came first.
        Conflict = "conflict",
        /// The store could not be reached; nothing happened.
        Unavailable = "unavailable",
        /// The answer was lost: it may or may not have happened.
        Unknown = "unknown",
    }
}

labels! {
    /// How a new connection ended up.
    ConnectionOutcome {
        /// Handed to the server.
        Accepted = "accepted",
        /// No TLS 1.3, no client certificate, a foreign one, another protocol, or broken.
        HandshakeFailed = "handshake_failed",
        /// Not finished in time.
        HandshakeTimeout = "handshake_timeout",
        /// A verified client certificate whose names cannot be understood.
        CertificateOdd = "certificate_odd",
        /// Closed at once: the cap on open connections is reached.
        TooManyOpen = "too_many_open",
        /// Gone before anything was said.
        PeerGone = "peer_gone",
        /// The system refused to accept.
        AcceptFailed = "accept_failed",
    }
}

labels! {
    /// A gRPC status code.
    Code {
        /// 0
        Ok = "OK",
        /// 1
        Cancelled = "CANCELLED",
        /// 2
        Unknown = "UNKNOWN",
        /// 3
        InvalidArgument = "INVALID_ARGUMENT",
        /// 4
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// 5
        NotFound = "NOT_FOUND",
        /// 6
        AlreadyExists = "ALREADY_EXISTS",
        /// 7
        PermissionDenied = "PERMISSION_DENIED",
        /// 8
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// 9
        FailedPrecondition = "FAILED_PRECONDITION",
        /// 10
        Aborted = "ABORTED",
        /// 11
        OutOfRange = "OUT_OF_RANGE",
        /// 12
        Unimplemented = "UNIMPLEMENTED",
        /// 13
        Internal = "INTERNAL",
        /// 14
        Unavailable = "UNAVAILABLE",
        /// 15
        DataLoss = "DATA_LOSS",
        /// 16
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl Code {
    /// By its number on the wire; [`Code::Unknown`] for a number gRPC does not define.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| Self::ALL.get(n))
            .copied()
            .unwrap_or(Self::Unknown)
    }
}

/// The name of an RPC as a label: one of a closed set handed over at start, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(&'static str);

impl Method {
    /// Any path outside the set.
    pub const OTHER: Self = Self("other");

    /// The method of a request path (`/package.Service/Method`) within the closed set `known`.
    #[must_use]
    pub fn of(path: &str, known: impl IntoIterator<Item = &'static str>) -> Self {
        known
            .into_iter()
            .find(|name| *name == path)
            .map_or(Self::OTHER, |name| {
                Self(name.strip_prefix('/').unwrap_or(name))
            })
    }

    /// The label value, e.g. `assay.v1.DeviceService/RegisterDevice`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

/// A reason as a label: its word, or `NONE` when nothing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Why(Option<Reason>);

impl EncodeLabelValue for Why {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.map_or("NONE", Reason::as_str), encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    method: Method,
    code: Code,
    reason: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: Method,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    platform: Platform,
    reason: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    outcome: RefreshOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    operation: StoreOperation,
    outcome: StoreOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreDurationLabels {
    operation: StoreOperation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    outcome: ConnectionOutcome,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// All metrics. Made once per process and shared.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    described: Vec<(&'static str, &'static str)>,
    rpc_requests: Family<RpcLabels, Counter>,
    rpc_duration: Family<MethodLabels, Histogram, fn() -> Histogram>,
    rpc_in_flight: Family<MethodLabels, Gauge>,
    verdicts: Family<VerdictLabels, Counter>,
    refreshes: Family<RefreshLabels, Counter>,
    store_operations: Family<StoreLabels, Counter>,
    store_duration: Family<StoreDurationLabels, Histogram, fn() -> Histogram>,
    connections: Family<ConnectionLabels, Counter>,
    connections_open: Gauge,
    status_list_time: Gauge,
    log_lines_lost: Counter,
}

impl Metrics {
    /// All at zero, with the version of this build.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("assay"),
            described: Vec::new(),
            rpc_requests: Family::default(),
            rpc_duration: Family::new_with_constructor(histogram),
            rpc_in_flight: Family::default(),
            verdicts: Family::default(),
            refreshes: Family::default(),
            store_operations: Family::default(),
            store_duration: Family::new_with_constructor(histogram),
            connections: Family::default(),
            connections_open: Gauge::default(),
            status_list_time: Gauge::default(),
            log_lines_lost: Counter::default(),
        };
        metrics.register(version);
        metrics
    }

    /// Every metric as (name, help); counters are shown with `_total`, the build with `_info`.
    #[must_use]
    pub fn described(&self) -> &[(&'static str, &'static str)] {
        &self.described
    }

    fn add(&mut self, name: &'static str, help: &'static str, metric: impl registry::Metric) {
        self.described.push((name, help));
        self.registry.register(name, help, metric);
    }

    fn register(&mut self, version: &'static str) {
        self.add(
            "rpc_requests",
            "RPCs answered, by method, gRPC code and reason",
            self.rpc_requests.clone(),
        );
        self.add(
            "rpc_duration_seconds",
            "Time from the head of a request to the end of its answer",
            self.rpc_duration.clone(),
        );
        self.add(
            "rpc_in_flight",
            "RPCs being answered",
            self.rpc_in_flight.clone(),
        );
        self.add(
            "attestation_verdicts",
            "Evidence verified and held against the app's policy, by platform and reason",
            self.verdicts.clone(),
        );
        self.add(
            "refresh_outcomes",
            "Refreshes, by how they ended",
            self.refreshes.clone(),
        );
        self.add(
            "store_operations",
            "Operations of the state store, by kind and outcome",
            self.store_operations.clone(),
        );
        self.add(
            "store_duration_seconds",
            "Time an operation of the state store took",
            self.store_duration.clone(),
        );
        self.add(
            "connections",
            "Connections to the gRPC port, by how they ended up",
            self.connections.clone(),
        );
        self.add(
            "connections_open",
            "Open connections to the gRPC port, handshakes included",
            self.connections_open.clone(),
        );
        self.add(
            "status_list_time_seconds",
            "Unix time of the attestation status list in use, 0 without one",
            self.status_list_time.clone(),
        );
        self.add(
            "log_lines_lost",
            "Log lines that could not be written",
            self.log_lines_lost.clone(),
        );
        self.add(
            "build",
            "The version that runs",
            Info::new([("version", version)]),
        );
    }

    /// An RPC begins.
    pub fn rpc_began(&self, method: Method) {
        self.rpc_in_flight
            .get_or_create(&MethodLabels { method })
            .inc();
    }

    /// An RPC that began has ended.
    pub fn rpc_ended(&self, method: Method, code: Code, reason: Option<Reason>, took: Duration) {
        self.rpc_in_flight
            .get_or_create(&MethodLabels { method })
            .dec();
        self.rpc_duration
            .get_or_create(&MethodLabels { method })
            .observe(took.as_secs_f64());
        let reason = Why(reason);
        self.rpc_requests
            .get_or_create(&RpcLabels {
                method,
                code,
                reason,
            })
            .inc();
    }

    /// Evidence was verified and held against policy; `None`: accepted.
    pub fn verdict(&self, platform: Platform, refused: Option<Reason>) {
        let reason = Why(refused);
        self.verdicts
            .get_or_create(&VerdictLabels { platform, reason })
            .inc();
    }

    /// A refresh ended.
    pub fn refresh(&self, outcome: RefreshOutcome) {
        self.refreshes
            .get_or_create(&RefreshLabels { outcome })
            .inc();
    }

    /// An operation of the store ended.
    pub fn store_operation(
        &self,
        operation: StoreOperation,
        outcome: StoreOutcome,
        took: Duration,
    ) {
        self.store_operations
            .get_or_create(&StoreLabels { operation, outcome })
            .inc();
        self.store_duration
            .get_or_create(&StoreDurationLabels { operation })
            .observe(took.as_secs_f64());
    }

    /// How a new connection ended up.
    pub fn connection(&self, outcome: ConnectionOutcome) {
        self.connections
            .get_or_create(&ConnectionLabels { outcome })
            .inc();
    }

    /// A connection opened.
    pub fn connection_opened(&self) {
        self.connections_open.inc();
    }

    /// A connection closed.
    pub fn connection_closed(&self) {
        self.connections_open.dec();
    }

    /// The status list in use is of this Unix time.
    pub fn status_list(&self, unix_seconds: i64) {
        self.status_list_time.set(unix_seconds);
    }

    /// A log line was lost.
    pub fn log_line_lost(&self) {
        self.log_lines_lost.inc();
    }

    /// All metrics in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// Only when formatting itself fails.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_its_number() {
        assert_eq!(Code::from_number(0), Code::Ok);
        assert_eq!(Code::from_number(16), Code::Unauthenticated);
        for odd in [-1, 17, i32::MAX] {
            assert_eq!(Code::from_number(odd), Code::Unknown);
        }
    }

    #[test]
    fn a_path_outside_the_set_is_other() {
        let known = ["/a.B/C"];
        assert_eq!(Method::of("/a.B/C", known).as_str(), "a.B/C");
        assert_eq!(Method::of("/a.B/D", known), Method::OTHER);
        assert_eq!(Method::of("", known), Method::OTHER);
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new("1.2.3");
        let method = Method::of("/a.B/C", ["/a.B/C"]);
        metrics.rpc_began(method);
        metrics.rpc_ended(
            method,
            Code::PermissionDenied,
            Some(Reason::DeviceRevoked),
            Duration::from_millis(3),
        );
        metrics.verdict(Platform::Android, None);
        let text = metrics.encode().unwrap();
        for line in [
            r#"assay_rpc_requests_total{method="a.B/C",code="PERMISSION_DENIED",reason="DEVICE_REVOKED"} 1"#,
            r#"assay_rpc_in_flight{method="a.B/C"} 0"#,
            r#"assay_rpc_duration_seconds_bucket{le="0.004",method="a.B/C"} 1"#,
            r#"assay_rpc_duration_seconds_bucket{le="0.002",method="a.B/C"} 0"#,
            r#"assay_attestation_verdicts_total{platform="android",reason="NONE"} 1"#,
            r#"assay_build_info{version="1.2.3"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
