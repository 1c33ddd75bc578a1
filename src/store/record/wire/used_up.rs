//! Refresh tokens that were used up.

use prost::Message;

use crate::session::UsedUp as Kept;
use crate::time::Timestamp;

/// When a token was used up, and when its proof was made.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct UsedUp {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(int64, tag = "2")]
    proof_made_at: i64,
}

impl UsedUp {
    pub(super) fn new((generation, kept): (&u32, &Kept)) -> (u32, Self) {
        let used = Self {
            at: kept.at.as_millis(),
            proof_made_at: kept.proof_made_at.as_millis(),
        };
        (*generation, used)
    }

    pub(super) const fn into_domain((generation, used): (u32, Self)) -> (u32, Kept) {
        let kept = Kept {
            at: Timestamp::from_millis(used.at),
            proof_made_at: Timestamp::from_millis(used.proof_made_at),
        };
        (generation, kept)
    }
}
