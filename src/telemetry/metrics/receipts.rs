//! The metrics of App Attest receipts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, ReceiptExchange};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiptLabels {
    outcome: ReceiptExchange,
}

/// How the exchange of receipts stands, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptsShown {
    /// Receipts that are due.
    pub due: i64,
    /// How long ago the first of them was due, in seconds.
    pub overdue: i64,
    /// Apps that wait because Apple does not take their key, or because it cannot be read.
    pub refused_apps: i64,
}

/// Bounds of the histogram of risk metrics. Genuine receipts were seen with 1 to 15.
const RISK: [f64; 9] = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0];

#[derive(Debug)]
pub(super) struct Receipts {
    exchanges: Family<ReceiptLabels, Counter>,
    risk: Histogram,
    due: Gauge,
    overdue: Gauge,
    refused: Gauge,
}

impl Receipts {
    pub(super) fn new() -> Self {
        Self {
            exchanges: Family::default(),
            risk: Histogram::new(RISK),
            due: Gauge::default(),
            overdue: Gauge::default(),
            refused: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register_receipts(&mut self) {
        self.add(
            "receipt_exchanges",
            "Exchanges of App Attest receipts at Apple, by how they ended",
            self.receipts.exchanges.clone(),
        );
        self.add(
            "receipt_risk_metric",
            "Risk metrics that Apple told, a signal and no verdict",
            self.receipts.risk.clone(),
        );
        self.add(
            "receipts_due",
            "Receipts that are due and not exchanged yet, up to a bound",
            self.receipts.due.clone(),
        );
        self.add(
            "receipts_overdue_seconds",
            "How long ago the first of them was due, 0 when none is",
            self.receipts.overdue.clone(),
        );
        self.add(
            "receipts_refused_apps",
            "Apps whose developer key Apple does not take or that cannot be read",
            self.receipts.refused.clone(),
        );
    }

    /// The exchange of a receipt ended.
    pub fn receipt_exchange(&self, outcome: ReceiptExchange) {
        self.receipts
            .exchanges
            .get_or_create(&ReceiptLabels { outcome })
            .inc();
    }

    /// Apple told a risk metric.
    pub fn receipt_risk(&self, metric: u32) {
        self.receipts.risk.observe(metric.into());
    }

    /// How the exchange of receipts stands.
    pub fn receipts(&self, shown: ReceiptsShown) {
        self.receipts.due.set(shown.due);
        self.receipts.overdue.set(shown.overdue);
        self.receipts.refused.set(shown.refused_apps);
    }
}
