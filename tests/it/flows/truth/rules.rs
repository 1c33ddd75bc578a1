//! What differs from case to case: the policy, and which proofs it takes.

use assay::policy::{CounterOrder, ReplayRule, ReuseRule, SessionLimitRule};
use assay::reason::Reason;

/// So many of the newest values of a counter are told apart.
const WINDOW: u64 = 64;

/// What the policy of a case says.
#[derive(Debug, Clone, Copy)]
pub(in crate::flows) struct Rules {
    pub(in crate::flows) at_limit: SessionLimitRule,
    pub(in crate::flows) on_reuse: ReuseRule,
    /// By what the proofs of session keys are good once.
    pub(in crate::flows) replay: ReplayRule,
    /// In which order assertions may come.
    pub(in crate::flows) order: CounterOrder,
    /// Whether the iPhone makes assertions in place of such proofs.
    pub(in crate::flows) asserts: bool,
}

impl Rules {
    /// Whether a proof still passes after one that was made so many proofs later.
    pub(in crate::flows) fn late(&self, asserts: bool, behind: u64) -> Result<(), Reason> {
        let passes = match (asserts, self.replay, self.order) {
            (false, ReplayRule::Jti, _) => true,
            (false, ReplayRule::Window, _) | (true, _, CounterOrder::Window) => behind < WINDOW,
            (true, _, CounterOrder::Strict) => false,
        };
        passes.then_some(()).ok_or(Reason::ProofReplayed)
    }
}
