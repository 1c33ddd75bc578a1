//! Runs the plan: fetches Google's list, shares it, says what is wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, USER_AGENT,
};
use http::{HeaderMap, Method, Uri};

use super::copies::{self, CopyError};
use super::plan::{Plan, Rules};
use super::{Keeper, LOOK_EVERY, say_changed};
use crate::attestation::lists::Origin;
use crate::attestation::status_list::LIST_BYTES_MAX;
use crate::config::ListFeed;
use crate::outbound::{Answer, Call, CallError, Outbound};
use crate::secret::random;
use crate::telemetry::metrics::ListFetch;
use crate::time::Reading;

/// How long a fetch may take: the list has a few hundred kilobytes.
const FETCH_FOR_MAX: Duration = Duration::from_secs(30);

/// The feed.
pub(super) struct Fetching {
    url: String,
    cache: Option<PathBuf>,
    plan: Plan,
    keeper: Keeper,
    outbound: Outbound,
    said: Option<(ListFetch, Option<[u8; 32]>)>,
}

impl Fetching {
    pub(super) fn new(feed: &ListFeed, keeper: Keeper, outbound: Outbound) -> Self {
        let rules = Rules {
            every: feed.every,
            age_max: feed.age_max,
            accept_sha256: feed.accept_sha256,
        };
        Self {
            url: feed.url.clone(),
            cache: feed.cache.clone(),
            plan: Plan::new(rules, keeper.reading()),
            keeper,
            outbound,
            said: None,
        }
    }

    /// Until it is aborted.
    pub(super) async fn run(mut self) {
        self.restore().await;
        loop {
            let tick = self.plan.tick(self.keeper.reading());
            if tick.clock_set {
                tracing::warn!(
                    "the clock was set or the machine slept, the status list is fetched"
                );
            }
            if tick.due && !self.share().await {
                self.fetch().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The start: store, then disk. The network comes with the first look at the clock.
    async fn restore(&mut self) {
        if self.share().await {
            return;
        }
        // A copy that is due again is a list all the same, until a newer one has come.
        match copies::stored_origin(&self.keeper.engine).await {
            Ok(Some(origin)) => {
                self.adopt_stored(origin).await;
            }
            Ok(None) => {}
            Err(error) => say_copy(error, "store"),
        }
        let Some(path) = self.cache.clone() else {
            return;
        };
        match copies::read(&self.keeper.engine.keyring, &path).await {
            Ok(Some((list, origin))) => {
                let at = self.keeper.reading();
                if self.plan.adopt(Arc::new(list), origin, at, jitter()) {
                    self.publish();
                }
            }
            Ok(None) => {}
            Err(error) => say_copy(error, "attestation.status_list_cache"),
        }
    }

    /// Whether another instance has asked not long ago.
    async fn share(&mut self) -> bool {
        let at = self.keeper.reading();
        match copies::stored_origin(&self.keeper.engine).await {
            Ok(Some(origin)) if self.plan.wants(&origin, at) => {
                let shared = self.adopt_stored(origin).await;
                if shared {
                    self.keeper.metrics.status_list_fetch(ListFetch::Shared);
                }
                shared
            }
            // A store that does not answer, or a damaged copy: then it is fetched.
            Ok(_) | Err(_) => false,
        }
    }

    async fn adopt_stored(&mut self, origin: Origin) -> bool {
        let held = self.plan.held();
        let same = held.filter(|held| held.origin.sha256 == origin.sha256);
        let known = same.is_some();
        let list = match same {
            Some(held) => Ok(Arc::clone(&held.list)),
            None => copies::stored_list(&self.keeper.engine, &origin)
                .await
                .map(Arc::new),
        };
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                say_copy(error, "store");
                return false;
            }
        };
        let entries = list.len();
        let sha256 = origin.sha256;
        let at = self.keeper.reading();
        let adopted = self.plan.adopt(list, origin, at, jitter());
        if adopted {
            if !known {
                say_changed(entries, &sha256);
            }
            self.publish();
            self.keep_on_disk().await;
        }
        adopted
    }

    async fn fetch(&mut self) {
        let sent = self.keeper.reading();
        let answer = self.ask().await;
        let outcome = self.plan.answered(sent, answer, jitter());
        self.keeper.metrics.status_list_fetch(outcome);
        self.say(outcome, sent);
        self.publish();
        if self.plan.last_error().is_none() {
            let (engine, at) = (&self.keeper.engine, self.keeper.reading());
            if let Some(held) = self.plan.held()
                && let Err(error) = copies::store(engine, held, at).await
            {
                say_copy(error, "store");
            }
            self.keep_on_disk().await;
        }
    }

    async fn ask(&self) -> Result<Answer, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("assay/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(held) = self.plan.held() {
            condition(&mut headers, IF_NONE_MATCH, held.origin.etag.as_deref());
            let date = held.origin.last_modified.as_deref();
            condition(&mut headers, IF_MODIFIED_SINCE, date);
        }
        let call = Call {
            method: Method::GET,
            url: self.url.parse::<Uri>().map_err(|_| CallError::Url)?,
            headers,
            body: Vec::new(),
            answer_bytes_max: LIST_BYTES_MAX,
            within: FETCH_FOR_MAX,
        };
        self.outbound.call(call).await
    }

    fn publish(&self) {
        let mut kept = self.keeper.kept();
        kept.held = self.plan.held().cloned();
        kept.next_fetch_at = Some(self.plan.due().now);
        kept.last_error = self.plan.last_error().map(ListFetch::as_str);
        self.keeper.put_google(&kept);
    }

    async fn keep_on_disk(&self) {
        if let (Some(path), Some(held)) = (&self.cache, self.plan.held())
            && let Err(error) = copies::write(&self.keeper.engine.keyring, path, held).await
        {
            say_copy(error, "attestation.status_list_cache");
        }
    }

    /// Says what changes: not every fetch.
    fn say(&mut self, outcome: ListFetch, sent: Reading) {
        let Some(bad) = self.plan.last_error() else {
            if self.said.take().is_some() {
                tracing::info!("the status list can be fetched again");
            }
            if let Some(held) = self.plan.held().filter(|_| outcome == ListFetch::Changed) {
                say_changed(held.list.len(), &held.origin.sha256);
            }
            return;
        };
        let about_content = matches!(bad, ListFetch::Empty | ListFetch::Shrunken);
        let doubted = self.plan.doubted().filter(|_| about_content);
        if self.said.replace((bad, doubted)) == Some((bad, doubted)) {
            return;
        }
        let wait = self.plan.due().steady.since(sent.steady);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let sha256 = doubted.map(|digest| data_encoding::HEXLOWER.encode(&digest));
        tracing::warn!(
            error = bad.as_str(),
            wait_ms,
            sha256,
            "no newer status list is in use"
        );
    }
}

fn condition(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

fn say_copy(error: CopyError, setting: &'static str) {
    tracing::warn!(setting, detail = %error, "a copy of the status list cannot be used");
}

/// Without randomness instances only ask at the same time.
fn jitter() -> u8 {
    random::<1>().map_or(0, |[jitter]| jitter)
}
