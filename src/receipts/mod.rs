//! Exchanges the App Attest receipts of devices at Apple for newer ones, which tell the risk metric.
//!
//! What is due, what to send, what an answer means and when to ask again is decided elsewhere
//! (`attestation/apple/receipt/refresh.rs`, `flow/receipt.rs`); what is here runs it. At each turn a
//! bounded number of receipts that are due is exchanged at once, and a turn takes a second at least:
//! that is the rate. While Apple does not answer as it should, one receipt a turn is a probe for all of
//! an app. While it does not take the app's developer key, none is sent: nothing about a receipt would
//! change that.

mod exchange;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};

use crate::attestation::apple::receipt::refresh::{Answer, End, Step};
use crate::config::{SecretFileError, read_private_key};
use crate::flow::{
    App, DueReceipt, Engine, Failure, HeldReceipt, ReceiptExchange, due_receipts, keep_receipt,
    lease_receipts, load_receipts,
};
use crate::id::AppId;
use crate::outbound::Outbound;
use crate::secret::random;
use crate::telemetry::metrics::{Metrics, ReceiptExchange as Outcome, ReceiptsShown};
use crate::time::Timestamp;
use crate::token::device_check::{DeviceCheckError, DeviceCheckKey};
use exchange::{Exchanged, Exchanging, environment};

/// The wait between two turns while there is much to do.
const TURN_EVERY: Duration = Duration::from_secs(1);

/// The wait when nothing was due. A look asks every bucket of the store, and receipts are in no hurry.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// Receipts of an app exchanged in one turn, all at once. With a turn a second a million devices take
/// nine hours of one instance.
const AT_ONCE: usize = 32;

/// How long an app waits when its developer key cannot be read.
const UNREADABLE_GAP: Duration = Duration::from_secs(60);

/// Why an app has no developer key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeveloperKeyError {
    /// Its file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// What is in it.
    #[error(transparent)]
    Key(#[from] DeviceCheckError),
}

/// Reads the developer key of an app, where it exchanges receipts.
///
/// # Errors
/// [`DeveloperKeyError`]
pub fn developer_key(app: &App) -> Result<Option<DeviceCheckKey>, DeveloperKeyError> {
    let (Some(exchange), Some(apple)) = (&app.receipts, &app.identity.apple) else {
        return Ok(None);
    };
    let text = read_private_key(&exchange.key_file)?;
    let key = DeviceCheckKey::from_pem(&text, &exchange.key_id, &apple.team_id)?;
    Ok(Some(key))
}

/// The task that exchanges receipts.
#[derive(Debug)]
pub struct Receipts(Option<JoinHandle<()>>);

impl Receipts {
    /// Starts it, where there is something to call Apple with.
    #[must_use]
    pub fn start(engine: &Arc<Engine>, metrics: &Arc<Metrics>, outbound: Option<Outbound>) -> Self {
        Self(outbound.map(|outbound| {
            let worker = Worker::new(Arc::clone(engine), Arc::clone(metrics), outbound);
            tokio::spawn(worker.run())
        }))
    }

    /// Ends it. An exchange under way is given up; its receipt is exchanged again later.
    pub async fn stop(self) {
        if let Some(task) = self.0 {
            task.abort();
            // Waited for, so that nothing holds the store any more.
            let _ = task.await;
        }
    }
}

/// How an app stands with Apple.
#[derive(Debug)]
struct Account {
    exchange: ReceiptExchange,
    team_id: String,
    key: Option<Arc<DeviceCheckKey>>,
    /// Nothing is sent before.
    closed_until: Option<Timestamp>,
    /// Whether Apple answered as it should, so that many receipts are sent at once.
    proven: bool,
    /// Whether there is no key that Apple takes.
    refused: bool,
}

/// Exchanges receipts turn by turn.
pub struct Worker {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    outbound: Outbound,
    accounts: BTreeMap<AppId, Account>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// For the apps of an engine.
    #[must_use]
    pub const fn new(engine: Arc<Engine>, metrics: Arc<Metrics>, outbound: Outbound) -> Self {
        Self {
            engine,
            metrics,
            outbound,
            accounts: BTreeMap::new(),
        }
    }

    /// Until it is aborted.
    async fn run(mut self) {
        loop {
            let wait = if self.turn().await == 0 {
                IDLE_FOR
            } else {
                TURN_EVERY
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Exchanges some of what is due, of every app. How many were sent.
    pub async fn turn(&mut self) -> usize {
        let apps = self.engine.apps.load_full();
        self.accounts
            .retain(|id, account| apps.get(id).is_some_and(|app| account.is_of(app)));
        let mut shown = ReceiptsShown::default();
        let mut sent = 0;
        for (id, app) in apps.iter() {
            if app.receipts.is_none() {
                continue;
            }
            match self.serve(id, app, &mut shown).await {
                Ok(count) => sent += count,
                Err(error) => {
                    tracing::warn!(app_id = id.as_str(), detail = %error, "receipts wait");
                }
            }
        }
        let refused = self.accounts.values().filter(|account| account.refused);
        shown.refused_apps = i64::try_from(refused.count()).unwrap_or(i64::MAX);
        self.metrics.receipts(shown);
        sent
    }

    async fn serve(
        &mut self,
        id: &AppId,
        app: &App,
        shown: &mut ReceiptsShown,
    ) -> Result<usize, Failure> {
        let now = self.engine.clock.now();
        let due = due_receipts(&self.engine, id, now).await?;
        shown.due = shown
            .due
            .saturating_add(i64::try_from(due.len()).unwrap_or(i64::MAX));
        if let Some(first) = due.first() {
            let overdue = i64::try_from(now.since(first.at).as_secs()).unwrap_or(i64::MAX);
            shown.overdue = shown.overdue.max(overdue);
        }
        let Some((exchanging, at_once)) = self.open(id, app, now) else {
            return Ok(0);
        };
        let some = share(due, at_once)?;
        if some.is_empty() {
            return Ok(0);
        }
        let held = self.look(id, &some, now).await?;
        let leased = lease_receipts(&self.engine, held).await?;
        let sent = leased.len();
        let mut exchanges = JoinSet::new();
        for held in leased {
            exchanges.spawn(exchanging.clone().exchange(held));
        }
        while let Some(done) = exchanges.join_next().await {
            match done {
                Ok(Ok(exchanged)) => self.learn(id, &exchanged),
                Ok(Err(error)) => {
                    tracing::warn!(app_id = id.as_str(), detail = %error, "a receipt waits");
                }
                Err(_) => tracing::error!("the exchange of a receipt broke off"),
            }
        }
        Ok(sent)
    }

    /// How the app exchanges receipts now, and how many at once; `None` when it waits.
    fn open(&mut self, id: &AppId, app: &App, now: Timestamp) -> Option<(Exchanging, usize)> {
        let apple = app.identity.apple.as_ref()?;
        let exchange = app.receipts.as_ref()?;
        let account = self.accounts.entry(id.clone()).or_insert_with(|| Account {
            exchange: exchange.clone(),
            team_id: apple.team_id.clone(),
            key: None,
            closed_until: None,
            proven: false,
            refused: false,
        });
        if account.closed_until.is_some_and(|until| now < until) {
            return None;
        }
        account.closed_until = None;
        if account.key.is_none() {
            match developer_key(app) {
                Ok(key) => account.key = key.map(Arc::new),
                Err(error) => {
                    account.closed_until = Some(now.after(UNREADABLE_GAP));
                    if !std::mem::replace(&mut account.refused, true) {
                        tracing::error!(
                            app_id = id.as_str(),
                            setting = "apps.*.apple.receipts.key_file",
                            detail = %error,
                            "the developer key cannot be used, receipts wait"
                        );
                    }
                }
            }
        }
        let exchanging = Exchanging {
            engine: Arc::clone(&self.engine),
            outbound: self.outbound.clone(),
            key: Arc::clone(account.key.as_ref()?),
            app_id: format!("{}.{}", apple.team_id, apple.bundle_id),
            url: exchange.url.clone(),
        };
        Some((exchanging, if account.proven { AT_ONCE } else { 1 }))
    }

    /// What is due as it is now. What has come to its end without anybody asking is kept as ended.
    async fn look(
        &self,
        id: &AppId,
        due: &[DueReceipt],
        now: Timestamp,
    ) -> Result<Vec<HeldReceipt>, Failure> {
        let mut sendable = Vec::new();
        for held in load_receipts(&self.engine, id, due).await? {
            let Some(environment) = environment(&held.device) else {
                continue;
            };
            match held.record.step(environment, now) {
                Step::Send(_) => sendable.push(held),
                Step::Rest(end) => {
                    let ended = held.record.clone().ended(end);
                    keep_receipt(&self.engine, &held, &ended).await?;
                }
                Step::Wait(_) => {}
            }
        }
        Ok(sendable)
    }

    fn learn(&mut self, id: &AppId, exchanged: &Exchanged) {
        let Exchanged { answer, next_at } = exchanged;
        self.metrics.receipt_exchange(word(answer));
        if let Answer::Renewed(renewal) = answer
            && let Some(metric) = renewal.facts().risk_metric
        {
            self.metrics.receipt_risk(metric);
        }
        let Some(account) = self.accounts.get_mut(id) else {
            return;
        };
        match answer {
            Answer::Unauthorized => {
                account.proven = false;
                // Whoever puts another key in its place restarts nothing.
                account.key = None;
                account.closed_until = account.closed_until.max(*next_at);
                if !std::mem::replace(&mut account.refused, true) {
                    tracing::error!(
                        app_id = id.as_str(),
                        kid = account.exchange.key_id.as_str(),
                        "Apple does not take the developer key, receipts wait"
                    );
                }
            }
            Answer::RateLimited(_) => {
                account.proven = false;
                account.closed_until = account.closed_until.max(*next_at);
            }
            Answer::Unavailable(_) => account.proven = false,
            Answer::NotBelieved(why) => {
                account.proven = false;
                tracing::error!(
                    app_id = id.as_str(),
                    detail = %why,
                    "a receipt came from Apple's address that is not believed"
                );
            }
            Answer::Renewed(_) | Answer::TooEarly | Answer::Ended(_) => {
                account.proven = true;
                if std::mem::take(&mut account.refused) {
                    tracing::info!(app_id = id.as_str(), "Apple takes the developer key again");
                }
            }
        }
    }
}

impl Account {
    /// Whether it is what the app has now.
    fn is_of(&self, app: &App) -> bool {
        app.receipts.as_ref() == Some(&self.exchange)
            && app.identity.apple.as_ref().map(|apple| &apple.team_id) == Some(&self.team_id)
    }
}

/// Some of what is due, from a random place on: instances that look at the same time seldom find the
/// same.
fn share(mut due: Vec<DueReceipt>, at_once: usize) -> Result<Vec<DueReceipt>, Failure> {
    if due.len() > at_once {
        let dice = usize::from(u16::from_be_bytes(random()?));
        let from = dice % due.len();
        due.rotate_left(from);
        due.truncate(at_once);
    }
    Ok(due)
}

const fn word(answer: &Answer) -> Outcome {
    match answer {
        Answer::Renewed(_) => Outcome::Renewed,
        Answer::TooEarly => Outcome::TooEarly,
        Answer::Ended(End::WrongEnvironment) => Outcome::WrongEnvironment,
        Answer::Ended(End::BadPayload) => Outcome::BadPayload,
        Answer::Ended(End::NoData | End::Expired) => Outcome::NoData,
        Answer::Unauthorized => Outcome::Unauthorized,
        Answer::RateLimited(_) => Outcome::RateLimited,
        Answer::Unavailable(_) => Outcome::Unavailable,
        Answer::NotBelieved(_) => Outcome::NotBelieved,
    }
}
