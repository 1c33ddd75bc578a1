//! The metrics of risk, counted from the events that tell of it.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Metrics;
use crate::policy::{Consequences, Signal};
use crate::session::{Event, EventKind, Listener};
use crate::telemetry::labels::RiskMode;

/// A word of a closed set as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    signal: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConsequenceLabels {
    consequence: Word,
    mode: RiskMode,
}

#[derive(Debug, Default)]
pub(super) struct Risk {
    signals: Family<SignalLabels, Counter>,
    consequences: Family<ConsequenceLabels, Counter>,
}

impl Metrics {
    pub(super) fn register_risk(&mut self) {
        self.add(
            "risk_signals",
            "Signals of a thief that were seen, by signal",
            self.risk.signals.clone(),
        );
        self.add(
            "risk_consequences",
            "Consequences of risk, by what followed and whether it did",
            self.risk.consequences.clone(),
        );
    }

    fn risk_consequence(&self, word: &str, mode: RiskMode) {
        let mut known = Consequences::WORDS.into_iter();
        if let Some(known) = known.find(|known| *known == word) {
            let consequence = Word(known);
            let labels = ConsequenceLabels { consequence, mode };
            self.risk.consequences.get_or_create(&labels).inc();
        }
    }
}

impl Listener for Metrics {
    fn committed(&self, event: &Event) {
        let kind = event.kind;
        if kind == EventKind::RiskSignal
            && let Some(signal) = Signal::parse(&event.why)
        {
            let signal = Word(signal.as_str());
            let labels = SignalLabels { signal };
            self.risk.signals.get_or_create(&labels).inc();
        } else if kind == EventKind::RiskActed {
            self.risk_consequence(&event.why, RiskMode::Enforce);
        } else if kind == EventKind::RiskMonitored {
            self.risk_consequence(&event.why, RiskMode::Monitor);
        }
    }
}
