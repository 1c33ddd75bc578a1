//! ReappraiseDevices: registered devices held against the lists and policies of now.
//!
//! A run goes in steps, each a bounded number of devices: whoever drives it paces it, says how far it
//! is and stops it where it likes. Each device that changes is committed by itself against the version
//! it was decided on, so a refresh, a new attestation or a person's revocation that comes in between
//! is never overwritten: the device is loaded and decided on again.

pub mod job;
mod source;

pub use source::Mark;

use std::collections::VecDeque;
use std::time::Duration;

use self::source::{Source, look_up, scan};
use super::settle::settle;
use super::state::{Changes, Loaded};
use super::{App, Engine, Failure};
use crate::attestation::lists::{Lists, Standing};
use crate::attestation::own_list::{Revocation, revoked};
use crate::id::{AppId, DeviceId};
use crate::policy::{Posture, appraise, trust_level};
use crate::reason::Reason;
use crate::session::{
    Actor, Counts, Device, DeviceState, Effect, Fault, Listing, Position, Reappraised, Verdict,
    reappraise,
};
use crate::store::{Durability, keys};
use crate::time::{Reading, Timestamp};

/// Devices looked at in one step: a few milliseconds of one core, a third of a megabyte from the store.
pub const STEP_DEVICES_MAX: usize = 256;

/// The wait between two steps. With the most devices of a step it bounds a run to 50,000 devices a
/// second, and leaves the server most of its time for requests.
pub const STEP_PAUSE: Duration = Duration::from_millis(5);

/// How often a change that too few replicas confirmed is written again. Those that did not in so many
/// waits are down, and the next run finds the device again if the change is lost.
const DURABLE_ATTEMPTS: u32 = 3;

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Only devices of this app.
    pub app: Option<AppId>,
    /// Say what would happen, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// A device that fails and that something was done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub device: DeviceId,
    /// Its app.
    pub app: AppId,
    /// What is wrong with it.
    pub fault: Fault,
    /// What was done.
    pub effect: Effect,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    scope: Scope,
    source: Source,
    counts: Counts,
    /// Of a step that did not come to its end.
    findings: Vec<Finding>,
}

impl Run {
    /// Over all devices from a position on.
    #[must_use]
    pub fn all(scope: Scope, position: Position) -> Self {
        Self::with(scope, Source::All { position, width: 1 })
    }

    /// Over the devices behind marks, in all buckets.
    #[must_use]
    pub fn marked(scope: Scope, marks: Vec<Mark>) -> Self {
        let source = Source::Marked {
            total: marks.len(),
            marks,
            ranges: Vec::new(),
            found: VecDeque::new(),
        };
        Self::with(scope, source)
    }

    fn with(scope: Scope, source: Source) -> Self {
        Self {
            scope,
            source,
            counts: Counts::default(),
            findings: Vec::new(),
        }
    }

    /// The same with what was counted before it was broken off.
    #[must_use]
    pub const fn counted(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    /// What was done until now.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it only says what would happen.
    #[must_use]
    pub const fn is_rehearsal(&self) -> bool {
        self.scope.validate_only
    }

    /// Where another run can go on.
    #[must_use]
    pub fn position(&self) -> Position {
        match &self.source {
            Source::All { position, .. } => *position,
            Source::Marked { .. } => Position::default(),
        }
    }

    /// Whether there is nothing left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.source {
            Source::All { position, .. } => position.bucket().is_none(),
            Source::Marked {
                marks,
                ranges,
                found,
                ..
            } => marks.is_empty() && ranges.is_empty() && found.is_empty(),
        }
    }

    /// How much is done, in thousandths; 1000 when all is.
    #[must_use]
    pub fn permille(&self) -> u32 {
        let part = match &self.source {
            _ if self.is_done() => return 1000,
            Source::All { position, .. } => position.permille(),
            Source::Marked { marks, total, .. } => {
                let done = total.saturating_sub(marks.len().saturating_add(1));
                u32::try_from(done * 1000 / (*total).max(1)).unwrap_or(0)
            }
        };
        part.min(999)
    }

    /// Goes on by one step: the findings of at most [`STEP_DEVICES_MAX`] devices. Two trips to the
    /// store, and at least two for each device that changes. What fails can be tried again.
    ///
    /// # Errors
    /// `STATE_STORE_UNAVAILABLE`, `CONFLICT`. What was changed until then stays, is counted and is
    /// among the findings of the next step; the other devices of the step come again.
    pub async fn step(&mut self, engine: &Engine) -> Result<Vec<Finding>, Failure> {
        let (devices, next) = match &mut self.source {
            Source::All { position, width } => {
                let (devices, next) = scan(engine, *position, width).await?;
                (devices, Some(next))
            }
            Source::Marked {
                marks,
                ranges,
                found,
                ..
            } => {
                if found.is_empty() {
                    look_up(engine, marks, ranges, found).await?;
                }
                let devices = found.iter().take(STEP_DEVICES_MAX).copied();
                (devices.collect(), None)
            }
        };
        let mut step = Step {
            engine,
            scope: &self.scope,
            lists: &engine.lists.load_full(),
            at: engine.clock.reading(),
            counts: self.counts,
            findings: std::mem::take(&mut self.findings),
        };
        let treated = step.treat(&devices).await;
        let (counts, findings) = (step.counts, step.findings);
        if let Err(failure) = treated {
            self.counts = Counts {
                devices: self.counts.devices,
                unreadable: self.counts.unreadable,
                skipped: self.counts.skipped,
                overdue: self.counts.overdue,
                ..counts
            };
            self.findings = findings;
            return Err(failure);
        }
        self.counts = counts;
        match (&mut self.source, next) {
            (Source::All { position, .. }, Some(next)) => *position = next,
            (Source::Marked { found, .. }, _) => {
                found.drain(..devices.len().min(found.len()));
            }
            (Source::All { .. }, None) => {}
        }
        Ok(findings)
    }
}

/// One step under way.
struct Step<'a> {
    engine: &'a Engine,
    scope: &'a Scope,
    lists: &'a Lists,
    at: Reading,
    counts: Counts,
    findings: Vec<Finding>,
}

impl Step<'_> {
    async fn treat(&mut self, devices: &[DeviceId]) -> Result<(), Failure> {
        if devices.is_empty() {
            return Ok(());
        }
        let names = devices.iter().map(keys::device).collect();
        for loaded in self.engine.load_each::<Device>(names).await? {
            let Ok(loaded) = loaded else {
                self.counts.devices += 1;
                self.counts.unreadable += 1;
                continue;
            };
            self.treat_one(loaded).await?;
        }
        Ok(())
    }

    async fn treat_one(&mut self, loaded: Loaded<Device>) -> Result<(), Failure> {
        let Some(device) = &loaded.value else {
            return Ok(());
        };
        let other = |app: &AppId| *app != device.app;
        if self.scope.app.as_ref().is_some_and(other) {
            return Ok(());
        }
        self.counts.devices += 1;
        let app = self.engine.apps.load().get(&device.app).cloned();
        let Some(app) = app else {
            self.counts.skipped += 1;
            return Ok(());
        };
        let now = self.at.now;
        let overdue = device.reattest_by(&app.policy).is_some_and(|by| by <= now);
        if overdue && device.state == DeviceState::Active {
            self.counts.overdue += 1;
        }
        let Some(change) = decide(self.lists, device, &app, self.at) else {
            return Ok(());
        };
        if self.scope.validate_only {
            self.note(&change);
            return Ok(());
        }
        let id = device.id;
        match self.apply(&loaded, &change).await? {
            Some(durable) => self.did(&change, durable),
            None => self.again(id, &app).await?,
        }
        Ok(())
    }

    /// Something came in between: loads and decides again.
    async fn again(&mut self, id: DeviceId, app: &App) -> Result<(), Failure> {
        let (lists, at) = (self.lists, self.at);
        let step = &*self;
        let done = settle(|| async {
            let loaded = step.engine.load_one::<Device>(keys::device(&id)).await?;
            let device = loaded.value.as_ref();
            let Some(change) = device.and_then(|device| decide(lists, device, app, at)) else {
                return Ok(Some(None));
            };
            let durable = step.apply(&loaded, &change).await?;
            Ok(durable.map(|durable| Some((change, durable))))
        });
        if let Some((change, durable)) = done.await? {
            self.did(&change, durable);
        }
        Ok(())
    }

    /// Writes a change, and whether it is as durable as it has to be; `None`: something came in
    /// between.
    async fn apply(
        &self,
        loaded: &Loaded<Device>,
        change: &Reappraised,
    ) -> Result<Option<bool>, Failure> {
        let Some(before) = &loaded.value else {
            return Ok(None);
        };
        let durability = match change.effect {
            Effect::Revoked | Effect::Suspended => self.engine.revocation_durability,
            Effect::Degraded | Effect::Reported | Effect::Cleared => Durability::Local,
        };
        let bucket = before.id.bucket();
        let changes = Changes {
            items: vec![loaded.put(self.engine, &change.device, None)?],
            events: change.events(before, &self.scope.by, self.at.now),
            ..Changes::default()
        };
        let done = self.engine.commit(bucket, changes, durability).await?;
        let Some(done) = done else { return Ok(None) };
        let wanted = match durability {
            Durability::Local => 0,
            Durability::Replicated { replicas, .. } => replicas,
        };
        let mut acked = done.replicas_acked;
        for _ in 1..DURABLE_ATTEMPTS {
            if acked >= wanted {
                break;
            }
            let written = self.engine.load_one::<Device>(keys::device(&before.id));
            let written = written.await?;
            let Some(device) = &written.value else { break };
            let changes = Changes {
                items: vec![written.put(self.engine, device, None)?],
                ..Changes::default()
            };
            let again = self.engine.commit(bucket, changes, durability).await?;
            acked = again.map_or(acked, |again| again.replicas_acked);
        }
        Ok(Some(acked >= wanted))
    }

    fn did(&mut self, change: &Reappraised, durable: bool) {
        self.counts.not_durable += u64::from(!durable);
        self.note(change);
    }

    fn note(&mut self, change: &Reappraised) {
        let counts = &mut self.counts;
        let count = match change.effect {
            Effect::Reported => &mut counts.reported,
            Effect::Degraded => &mut counts.degraded,
            Effect::Suspended => &mut counts.suspended,
            Effect::Revoked => &mut counts.revoked,
            Effect::Cleared => &mut counts.cleared,
        };
        *count += 1;
        self.findings.extend(change.fault.map(|fault| Finding {
            device: change.device.id,
            app: change.device.app.clone(),
            fault,
            effect: change.effect,
        }));
    }
}

fn decide(lists: &Lists, device: &Device, app: &App, at: Reading) -> Option<Reappraised> {
    let verdict = verdict(lists, device, app, at);
    let change = reappraise(device, &verdict, &app.policy.reappraisal, at.now)?;
    Some(change.weighed(device, &app.policy.risk, at.now))
}

/// What the lists and the app's policy say of a device now.
fn verdict(lists: &Lists, device: &Device, app: &App, at: Reading) -> Verdict {
    Verdict {
        listing: listing(lists, device, at),
        below: below(device, app, at.now),
        level: trust_level(&device.posture),
    }
}

fn listing(lists: &Lists, device: &Device, at: Reading) -> Listing {
    let own_key = device.key.spki_sha256();
    let issuers = device.issuer_keys.iter().copied();
    let known: Vec<[u8; 32]> = std::iter::once(own_key).chain(issuers).collect();
    let google = lists.status_list_of_any_age();
    let check = match revoked(&device.chain_serials, &known, google, lists.own_list()) {
        Some(Revocation::StatusList { .. }) => "status_list",
        Some(Revocation::OwnSerial(_) | Revocation::OwnKey(_)) => "own_list",
        None => {
            // Apple has no such list. An old one is not believed that it names nothing.
            let asked = match (&device.posture, lists.standing(at)) {
                (Posture::Apple(_), _) | (_, Standing::Fresh | Standing::NotUsed) => true,
                (Posture::Android(_), Standing::Absent | Standing::Stale) => false,
            };
            return if asked {
                Listing::Clear
            } else {
                Listing::Unknown
            };
        }
    };
    Listing::Listed(Fault {
        reason: Reason::AttestationCertRevoked,
        check,
    })
}

fn below(device: &Device, app: &App, now: Timestamp) -> Option<Fault> {
    let (_, verdict) = appraise(&device.posture, &app.policy, now);
    let rejection = verdict.err()?;
    Some(Fault {
        reason: rejection.reason,
        check: rejection.name,
    })
}
