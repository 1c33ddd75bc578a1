//! Every metric of the service, with its help text and its labels. Label values come from closed
//! sets: nothing a client sends becomes a label. `docs/telemetry.md` lists them for operators.

mod lists;
mod reappraisals;
mod receipts;
mod revocations;
mod risk;

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

pub use super::labels::{
    Code, ConnectionOutcome, ListFetch, ListStanding, Method, Platform, ReappraisalEffect,
    ReceiptExchange, RefreshOutcome, ReloadOutcome, RiskMode, StoreOperation, StoreOutcome,
};

pub use lists::ListShown;
use lists::Lists;
pub use reappraisals::ReappraisalShown;
use reappraisals::Reappraisals;
use receipts::Receipts;
pub use receipts::ReceiptsShown;
use revocations::Revocations;
pub use revocations::RevocationsShown;

use crate::policy::Rule;
use crate::reason::Reason;

/// Bounds of the duration histograms, in seconds. From a cached answer (a tenth of a millisecond)
/// to the deadlines callers set (seconds); the steps are dense where the objectives lie.
const SECONDS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    4.096,
];

/// A reason as a label: its word, or `NONE` when nothing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Why(Option<Reason>);

impl EncodeLabelValue for Why {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.map_or("NONE", Reason::as_str), encoder)
    }
}

/// A rule of policy as a label: its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RuleWord(Rule);

impl EncodeLabelValue for RuleWord {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
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
struct RuleLabels {
    rule: RuleWord,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: ReloadOutcome,
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
    monitored: Family<RuleLabels, Counter>,
    key_rate_exceeded: Counter,
    refreshes: Family<RefreshLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    config_current: Gauge,
    config_time: Gauge,
    store_operations: Family<StoreLabels, Counter>,
    store_duration: Family<StoreDurationLabels, Histogram, fn() -> Histogram>,
    connections: Family<ConnectionLabels, Counter>,
    connections_open: Gauge,
    lists: Lists,
    reappraisals: Reappraisals,
    receipts: Receipts,
    revocations: Revocations,
    risk: risk::Risk,
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
            monitored: Family::default(),
            key_rate_exceeded: Counter::default(),
            refreshes: Family::default(),
            reloads: Family::default(),
            config_current: Gauge::default(),
            config_time: Gauge::default(),
            store_operations: Family::default(),
            store_duration: Family::new_with_constructor(histogram),
            connections: Family::default(),
            connections_open: Gauge::default(),
            lists: Lists::default(),
            reappraisals: Reappraisals::default(),
            receipts: Receipts::new(),
            revocations: Revocations::default(),
            risk: risk::Risk::default(),
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
            "Registrations with evidence, by platform and how they ended",
            self.verdicts.clone(),
        );
        self.add(
            "policy_monitored",
            "Devices accepted that a monitored rule would have refused, by rule",
            self.monitored.clone(),
        );
        self.add(
            "attestation_key_rate_exceeded",
            "Devices that came in above the rate of their attestation key",
            self.key_rate_exceeded.clone(),
        );
        self.add(
            "refresh_outcomes",
            "Refreshes, by how they ended",
            self.refreshes.clone(),
        );
        self.register_config();
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
        self.register_lists();
        self.register_reappraisal();
        self.register_receipts();
        self.register_revocations();
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

    fn register_config(&mut self) {
        self.add(
            "config_reloads",
            "Changes of the configuration file, by what became of them",
            self.reloads.clone(),
        );
        self.add(
            "config_current",
            "1 when everything in the configuration file is in use, 0 when something is not",
            self.config_current.clone(),
        );
        self.add(
            "config_time_seconds",
            "Unix time the apps in use were read from the configuration file",
            self.config_time.clone(),
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

    /// A device was accepted that a monitored rule would have refused.
    pub fn monitored(&self, rule: Rule) {
        let rule = RuleWord(rule);
        self.monitored.get_or_create(&RuleLabels { rule }).inc();
    }

    /// The configuration file changed.
    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    /// Whether everything in the configuration file is in use.
    pub fn config_current(&self, current: bool) {
        self.config_current.set(i64::from(current));
    }

    /// The apps in use were read at this Unix time.
    pub fn config_read(&self, unix_seconds: i64) {
        self.config_time.set(unix_seconds);
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

    /// A device came in above the rate of its attestation key.
    pub fn attestation_key_rate_exceeded(&self) {
        self.key_rate_exceeded.inc();
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
