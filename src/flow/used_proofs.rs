//! The proofs this instance has seen: what a call that is verified without the store is held against.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::proof::VerifiedProof;
use crate::time::Timestamp;

/// Most proofs that are remembered, about 150 bytes each: as many as five hundred calls a second make
/// while a proof is acceptable. Above that the store is asked.
const PROOFS_MAX: usize = 128 * 1024;

/// The proofs an instance has seen that could still be taken for new ones.
#[derive(Debug, Default)]
pub struct UsedProofs(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<[u8; 32]>,
    by_end: BTreeSet<(Timestamp, [u8; 32])>,
}

/// Whether a proof is new here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is, and is remembered.
    First,
    /// It was seen before.
    Again,
    /// There is no room to remember one more.
    Unknown,
}

impl UsedProofs {
    /// Takes note that a proof is used.
    pub(super) fn note(&self, proof: &VerifiedProof, now: Timestamp) -> Use {
        self.note_id(proof.id(), proof.acceptable_until(), now)
    }

    fn note_id(&self, id: [u8; 32], until: Timestamp, now: Timestamp) -> Use {
        let mut seen = self.seen();
        while let Some((end, old)) = seen.by_end.first().copied()
            && end <= now
        {
            seen.by_end.pop_first();
            seen.ids.remove(&old);
        }
        if seen.ids.contains(&id) {
            return Use::Again;
        }
        if seen.ids.len() >= PROOFS_MAX {
            return Use::Unknown;
        }
        seen.ids.insert(id);
        seen.by_end.insert((until, id));
        Use::First
    }

    /// Whether a proof was seen.
    pub(super) fn has(&self, proof: &VerifiedProof) -> bool {
        self.seen().ids.contains(&proof.id())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: usize) -> [u8; 32] {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn a_proof_is_remembered_for_as_long_as_it_is_acceptable() {
        let used = UsedProofs::default();
        let start = Timestamp::from_secs(1_700_000_000);
        let until = start.after(Duration::from_secs(60));
        let last = until.before(Duration::from_millis(1));
        assert_eq!(used.note_id(id(1), until, start), Use::First);
        assert_eq!(used.note_id(id(1), until, last), Use::Again);
        assert_eq!(used.note_id(id(2), until, last), Use::First);
        // Nobody accepts it any more.
        assert_eq!(used.note_id(id(1), until, until), Use::First);
    }

    #[test]
    fn a_full_memory_says_that_it_does_not_know() {
        let used = UsedProofs::default();
        let start = Timestamp::from_secs(1_700_000_000);
        let until = start.after(Duration::from_secs(60));
        for number in 0..PROOFS_MAX {
            assert_eq!(used.note_id(id(number), until, start), Use::First);
        }
        assert_eq!(used.note_id(id(PROOFS_MAX), until, start), Use::Unknown);
        assert_eq!(used.note_id(id(7), until, start), Use::Again);
        assert_eq!(used.note_id(id(PROOFS_MAX), until, until), Use::First);
    }
}
