//! Not asking, for a moment, a server that does not answer: a call that has to wait in vain holds its
//! caller up, and a server that comes back is not met by everybody at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::time::monotonic_now;

/// So many calls in a row without an answer, and further ones fail at once. More than it takes to give
/// a connection up, so that a new connection is tried before.
const FAULTS_MAX: u32 = 5;

/// For so long; then one call goes through to look, and another one each time this has passed again.
/// Well below the time in which a Sentinel or a cluster replaces a server, so it adds little to that.
const SHUT_FOR: Duration = Duration::from_millis(250);

/// Counts faults in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    faults: u32,
    shut_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may go. The one that may after a while is the probe: the others wait on for what
    /// it finds.
    pub(super) fn lets_through(&self) -> bool {
        let now = monotonic_now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.shut_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.shut_until = Some(now + SHUT_FOR);
                true
            }
            None => true,
        }
    }

    /// How a call ended: with an answer, be it a refusal, or without.
    pub(super) fn note(&self, answered: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *state = State::default();
            return;
        }
        state.faults = state.faults.saturating_add(1);
        if state.faults >= FAULTS_MAX {
            state.shut_until = Some(monotonic_now() + SHUT_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shuts_after_faults_in_a_row_and_lets_one_call_look() {
        let breaker = Breaker::default();
        for _ in 0..FAULTS_MAX - 1 {
            breaker.note(false);
        }
        breaker.note(true);
        for _ in 0..FAULTS_MAX {
            assert!(breaker.lets_through());
            breaker.note(false);
        }
        assert!(!breaker.lets_through());
        breaker.0.lock().unwrap().shut_until = Some(monotonic_now());
        assert!(breaker.lets_through());
        assert!(!breaker.lets_through());
        breaker.note(true);
        assert!(breaker.lets_through());
        assert!(breaker.lets_through());
    }
}
