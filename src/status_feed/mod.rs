//! Keeps the lists that evidence is held against: Google's attestation status list, as a live feed or
//! as a file, and the operator's own.
//!
//! `plan.rs` and `caching.rs` decide, as pure functions of values: when to fetch, and what to make of
//! an answer. `copies.rs` keeps the last good list in the store and on disk, so that a start needs no
//! network and instances share their fetches. What is here runs them. A start goes store, disk,
//! network; until one of them has given a list, the service is not ready where an app has an Android
//! side. Once there is one, the service stays ready however old the list gets: the sessions of
//! registered devices need no list. Android evidence is refused with `TRUST_LIST_STALE` then.

mod caching;
mod copies;
mod fetch;
mod files;
mod plan;

pub use files::FileError;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attestation::lists::{CLOCK_SKEW_MAX, Google, Kept, Lists, Own, Standing, Versions};
use crate::attestation::status_list::StatusList;
use crate::config::{AttestationConfig, MissingStatusList, StatusListConfig};
use crate::flow::Engine;
use crate::outbound::Outbound;
use crate::telemetry::metrics::{ListShown, ListStanding, Metrics};
use crate::time::{Clock, Reading};
use fetch::Fetching;
use files::Watched;

/// The wait between two looks at clock, files and list: as for certificates.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The lists as they are known at the start, without store and network.
///
/// # Errors
/// [`FileError`] with the path of a configured file that cannot be used: better known at the start
/// than with the first phone.
pub fn at_start(config: &AttestationConfig, clock: &Clock) -> Result<Lists, (PathBuf, FileError)> {
    let at = clock.reading();
    let google = match &config.status_list {
        StatusListConfig::Missing(MissingStatusList::Refuse) => Google::Unconfigured,
        StatusListConfig::Missing(MissingStatusList::Allow) => Google::NotUsed(StatusList::empty()),
        StatusListConfig::File(file) => {
            let content = look(&mut Watched::new(file.path.clone()))?;
            let held = files::status_list(&content, at);
            Google::Kept(Kept {
                held: Some(held.map_err(|error| (file.path.clone(), error))?),
                age_max: file.age_max,
                ..Kept::default()
            })
        }
        StatusListConfig::Feed(feed) => Google::Kept(Kept {
            age_max: Some(feed.age_max),
            next_fetch_at: Some(at.now),
            ..Kept::default()
        }),
    };
    let own = config.own_list.as_ref().map(|path| {
        let content = look(&mut Watched::new(path.clone()))?;
        files::own_list(&content, at.now).map_err(|error| (path.clone(), error))
    });
    Ok(Lists {
        google,
        own: own.transpose()?,
    })
}

fn look(file: &mut Watched) -> Result<files::Content, (PathBuf, FileError)> {
    let content = file
        .look()
        .map_err(|error| (file.path().to_owned(), error))?;
    Ok(content.unwrap_or_default())
}

/// The tasks that keep the lists.
#[derive(Debug)]
pub struct Feed {
    tasks: Vec<JoinHandle<()>>,
    changes: watch::Receiver<Versions>,
}

impl Feed {
    /// Starts what the configuration asks for. `outbound` is needed where the list is fetched.
    #[must_use]
    pub fn start(
        config: &AttestationConfig,
        engine: &Arc<Engine>,
        metrics: &Arc<Metrics>,
        outbound: Option<Outbound>,
    ) -> Self {
        let (told, changes) = watch::channel(engine.lists.load().versions());
        let keeper = Keeper {
            engine: Arc::clone(engine),
            metrics: Arc::clone(metrics),
            told: Arc::new(told),
        };
        let mut tasks = vec![tokio::spawn(show(keeper.clone()))];
        match (&config.status_list, outbound) {
            (StatusListConfig::Feed(feed), Some(outbound)) => {
                let fetching = Fetching::new(feed, keeper.clone(), outbound);
                tasks.push(tokio::spawn(fetching.run()));
            }
            (StatusListConfig::File(file), _) => {
                let accept = file.accept_sha256;
                let file = Watched::new(file.path.clone());
                tasks.push(tokio::spawn(follow_status_list(
                    keeper.clone(),
                    file,
                    accept,
                )));
            }
            (StatusListConfig::Feed(_) | StatusListConfig::Missing(_), _) => {}
        }
        if let Some(path) = &config.own_list {
            let file = Watched::new(path.clone());
            tasks.push(tokio::spawn(follow_own_list(keeper, file)));
        }
        Self { tasks, changes }
    }

    /// Which lists are in use, and a signal each time that changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Versions> {
        self.changes.clone()
    }

    /// Ends the tasks. A fetch under way is given up; copies are written whole or not at all.
    pub async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // Waited for, so that nothing holds the store any more.
            let _ = task.await;
        }
    }
}

/// What every task works with.
#[derive(Debug, Clone)]
struct Keeper {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    told: Arc<watch::Sender<Versions>>,
}

impl Keeper {
    fn reading(&self) -> Reading {
        self.engine.clock.reading()
    }

    fn kept(&self) -> Kept {
        match &self.engine.lists.load().google {
            Google::Kept(kept) => kept.clone(),
            Google::Unconfigured | Google::NotUsed(_) => Kept::default(),
        }
    }

    fn put_google(&self, kept: &Kept) {
        self.change(|lists| lists.google = Google::Kept(kept.clone()));
    }

    fn put_own(&self, own: &Own) {
        self.change(|lists| lists.own = Some(own.clone()));
    }

    /// Each task replaces its own list and leaves the other as it is.
    fn change(&self, change: impl Fn(&mut Lists)) {
        self.engine.lists.rcu(|lists| {
            let mut lists = Lists::clone(lists);
            change(&mut lists);
            lists
        });
        let now = self.engine.lists.load().versions();
        self.told.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }
}

/// Shows how the list stands, and says when that changes.
async fn show(keeper: Keeper) {
    let mut said = None;
    loop {
        let (lists, at) = (keeper.engine.lists.load_full(), keeper.reading());
        let standing = lists.standing(at);
        let held = match &lists.google {
            Google::Kept(kept) => kept.held.as_ref(),
            Google::Unconfigured | Google::NotUsed(_) => None,
        };
        let seconds = |held| i64::try_from(Duration::as_secs(&held)).unwrap_or(i64::MAX);
        keeper.metrics.status_list(ListShown {
            standing: label(standing),
            validated_at: held.map_or(0, |held| held.origin.validated_at.as_secs()),
            age: held.map_or(0, |held| seconds(held.age(at))),
            entries: held.map_or(0, |held| i64::try_from(held.list.len()).unwrap_or(0)),
        });
        if said != Some(standing) {
            match (standing, said) {
                (Standing::Stale, _) => {
                    tracing::error!("the status list is too old, Android evidence is refused");
                }
                (Standing::Fresh, Some(_)) => tracing::info!("the status list is fresh"),
                (Standing::Fresh | Standing::Absent | Standing::NotUsed, _) => {}
            }
            said = Some(standing);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

const fn label(standing: Standing) -> ListStanding {
    match standing {
        Standing::Absent => ListStanding::Absent,
        Standing::NotUsed => ListStanding::NotUsed,
        Standing::Fresh => ListStanding::Fresh,
        Standing::Stale => ListStanding::Stale,
    }
}

/// Looks at a file beside the runtime's own threads: it has up to four megabytes.
async fn look_beside(mut file: Watched) -> (Watched, Result<Option<files::Content>, FileError>) {
    let path = file.path().to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let looked = file.look();
        (file, looked)
    });
    let lost = |_| (Watched::new(path), Ok(None));
    work.await.unwrap_or_else(lost)
}

async fn follow_status_list(keeper: Keeper, mut file: Watched, accept: Option<[u8; 32]>) {
    let mut seen = keeper.reading();
    let mut said = None;
    loop {
        let at = keeper.reading();
        if at.set_since(seen) > CLOCK_SKEW_MAX {
            // How old the file is has to be judged again.
            file.forget();
        }
        seen = at;
        let (again, looked) = look_beside(file).await;
        file = again;
        let mut kept = keeper.kept();
        let taken = looked.and_then(|content| {
            let newer =
                |content| files::newer_status_list(&content, kept.held.as_ref(), accept, at);
            content.map(newer).transpose()
        });
        match taken {
            Ok(None) => {}
            Ok(Some(held)) => {
                let old = kept.held.as_ref().map(|held| held.origin.sha256);
                if old != Some(held.origin.sha256) {
                    say_changed(held.list.len(), &held.origin.sha256);
                }
                kept.held = Some(held);
                kept.last_error = None;
                keeper.put_google(&kept);
                said = None;
            }
            Err(error) => {
                if kept.last_error.is_none() {
                    kept.last_error = Some("file");
                    keeper.put_google(&kept);
                }
                if said.as_ref() != Some(&error) {
                    tracing::error!(
                        setting = "attestation.status_list",
                        detail = %error,
                        "the status list cannot be used, the old one stays"
                    );
                    said = Some(error);
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn follow_own_list(keeper: Keeper, mut file: Watched) {
    loop {
        let (again, looked) = look_beside(file).await;
        file = again;
        let now = keeper.reading().now;
        let read = looked.and_then(|content| {
            content
                .map(|content| files::own_list(&content, now))
                .transpose()
        });
        let lists = keeper.engine.lists.load_full();
        match (read, &lists.own) {
            (Ok(Some(own)), old) => {
                if old.as_ref().map(|old| old.sha256) != Some(own.sha256) {
                    tracing::info!(
                        count = own.list.len(),
                        sha256 = data_encoding::HEXLOWER.encode(&own.sha256),
                        "the own list has changed"
                    );
                }
                keeper.put_own(&own);
            }
            (Err(error), Some(old)) if old.last_error.as_ref() != Some(&error.to_string()) => {
                tracing::error!(
                    setting = "attestation.own_list",
                    detail = %error,
                    "the own list cannot be used, the old one stays"
                );
                keeper.put_own(&Own {
                    last_error: Some(error.to_string()),
                    ..old.clone()
                });
            }
            (Ok(None) | Err(_), _) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn say_changed(entries: usize, sha256: &[u8; 32]) {
    tracing::info!(
        count = entries,
        sha256 = data_encoding::HEXLOWER.encode(sha256),
        "the status list has changed"
    );
}
