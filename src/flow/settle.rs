//! Starting again when another change came in between, a bounded number of times.

use std::time::Duration;

use super::Failure;
use crate::reason::Reason;
use crate::secret::random;

/// How often a flow starts again when other changes keep coming in between. Each time at least one
/// other change went through, so this many losses in a row mean a crowd on one subject.
const ATTEMPTS_MAX: u32 = 8;

/// The same for what takes a device out: whoever has the device can have its record written as often as
/// evidence is verified, and must not keep it in by that.
const INSISTENT_ATTEMPTS_MAX: u32 = 64;

/// The longest wait before the third attempt, twice that before the fourth and so on: a few commits'
/// time. The second attempt follows at once.
const CONFLICT_WAIT_MAX: Duration = Duration::from_millis(2);

/// Tries until nothing comes in between: `attempt` loads, decides and commits, and answers `None`
/// when its commit met another change.
///
/// # Errors
/// [`Reason::Conflict`] after [`ATTEMPTS_MAX`] attempts.
pub(super) async fn settle<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    tries(ATTEMPTS_MAX, attempt).await
}

/// The same with the longer breath of what takes a device out.
///
/// # Errors
/// [`Reason::Conflict`] after [`INSISTENT_ATTEMPTS_MAX`] attempts.
pub(super) async fn insist<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    tries(INSISTENT_ATTEMPTS_MAX, attempt).await
}

async fn tries<T, F>(attempts_max: u32, attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    for tried in 0..attempts_max {
        if let Some(answer) = attempt().await? {
            return Ok(answer);
        }
        // Those who met each other would meet again: each waits a little, and not the same.
        let [jitter] = random::<1>()?;
        let wait = CONFLICT_WAIT_MAX
            .saturating_mul(tried.min(ATTEMPTS_MAX))
            .saturating_mul(u32::from(jitter))
            / 256;
        tokio::time::sleep(wait).await;
    }
    Err(Reason::Conflict.into())
}
