//! Asking several servers the same, when one good answer is enough and another may be better.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::fault::Fault;

/// How long others are waited for once one has answered: a server that is cut off with us must not
/// win because it is near.
const OTHERS_WITHIN: Duration = Duration::from_millis(50);

/// The answers that came until a moment after the first good one; without any the last fault, but
/// rather what somebody said than that somebody else was not reached.
pub(super) async fn gather<T, F>(asked: impl IntoIterator<Item = F>) -> Result<Vec<T>, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut asked: FuturesUnordered<F> = asked.into_iter().collect();
    let mut answers = Vec::new();
    let mut fault = Fault::NotSent("there is no server to ask".to_owned());
    while answers.is_empty() {
        match asked.next().await {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(failed)) if !matches!(fault, Fault::Refused(_)) => fault = failed,
            Some(Err(_)) => {}
            None => return Err(fault),
        }
    }
    let others = async {
        while let Some(answer) = asked.next().await {
            answers.extend(answer);
        }
    };
    // Who says nothing has said nothing.
    drop(timeout(OTHERS_WITHIN, others).await);
    Ok(answers)
}
