//! New policies without a restart: the configuration file is looked at again and again, and the apps
//! of a good one are put in place as a whole.
//!
//! A request goes on with the app it began with. What a file says beside the apps holds from the next
//! start on; of a file that is wrong nothing is used.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::assemble;
use crate::config::{Config, ConfigFile, ConfigReport, Look};
use crate::flow::Engine;
use crate::telemetry::metrics::{Metrics, ReloadOutcome};

/// The wait between two looks at the configuration file, as for certificates: one small file.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Keeps the apps of an engine as the configuration file has them.
#[derive(Debug)]
pub struct Reload {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    /// What is in use: the apps of the newest good file, everything else from the start.
    in_use: Config,
    /// Parts of the newest good file that are not in use.
    waiting: Vec<&'static str>,
    /// What was last said to be wrong.
    wrong: Option<String>,
    changes: watch::Sender<u64>,
}

impl Reload {
    /// For an engine that was made from this configuration. Each change of policies is told on
    /// `changes`, which counts them.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        in_use: Config,
        changes: watch::Sender<u64>,
    ) -> Self {
        metrics.config_current(true);
        metrics.config_read(engine.clock.now().as_secs());
        Self {
            engine,
            metrics,
            in_use,
            waiting: Vec::new(),
            wrong: None,
            changes,
        }
    }

    /// Looks at the file for as long as it is polled.
    pub async fn follow(mut self, mut file: ConfigFile) {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            // A file and those it names are read and checked: not on a thread that serves requests.
            let looked = spawn_blocking(move || {
                let look = file.look();
                (file, look)
            });
            let Ok((again, look)) = looked.await else {
                tracing::error!("the configuration file is no longer looked at");
                return;
            };
            file = again;
            self.take(look);
        }
    }

    /// Does what a look at the file asks for.
    pub fn take(&mut self, look: Look) {
        match look {
            Look::Same => self.wrong = None,
            Look::Changing => return,
            Look::New(config) => self.renew(*config),
            Look::Wrong(report) => self.refuse(&report),
        }
        let current = self.wrong.is_none() && self.waiting.is_empty();
        self.metrics.config_current(current);
    }

    fn renew(&mut self, config: Config) {
        self.wrong = None;
        self.waiting = config.differs_in(&self.in_use);
        // Apps that were read by the rules of another mode might have its concessions in them.
        let readable = config.mode == self.in_use.mode;
        if readable && config.apps != self.in_use.apps {
            self.in_use.apps = config.apps;
            self.engine
                .apps
                .store(Arc::new(assemble::apps(&self.in_use)));
            self.metrics.config_read(self.engine.clock.now().as_secs());
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
            let count = self.in_use.apps.len();
            tracing::info!(count, "new policies of the apps are in use");
        }
        if self.waiting.is_empty() {
            self.metrics.reloaded(ReloadOutcome::Applied);
        } else {
            self.metrics.reloaded(ReloadOutcome::NeedsRestart);
            let parts = self.waiting.join(", ");
            tracing::warn!(
                setting = parts.as_str(),
                "changed settings wait for a restart"
            );
        }
    }

    fn refuse(&mut self, report: &ConfigReport) {
        let why = report.first();
        if self.wrong.as_ref() == Some(&why) {
            return;
        }
        self.metrics.reloaded(ReloadOutcome::Wrong);
        tracing::warn!(
            detail = why.as_str(),
            count = report.problems().len(),
            "the configuration file is wrong, the old policies stay"
        );
        self.wrong = Some(why);
    }
}
