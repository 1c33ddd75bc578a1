//! RunDrill: something that is nobody's is revoked, and the time is taken until it is refused
//! everywhere.
//!
//! It is no way in. The device is written as it is, without evidence and without any list of devices;
//! its key is made here and is gone with the drill; its subject is a random name that no caller is told.
//! The token is never handed out, and no API grants its one scope. All records are deleted in the end,
//! and are forgotten by the store where that fails.

mod nobody;
mod phone;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;

use self::nobody::{device, session};
use self::phone::Phone;
use super::confirm_revocations::{self, Confirmation, Heard, LOOK_EVERY};
use super::grant::mint;
use super::revoke_session::{self, RevokeSession};
use super::settle::settle;
use super::state::{Changes, Loaded, Place};
use super::{Engine, Failure, Receipt, verify_request};
use crate::id::{AppId, SessionId, Subject};
use crate::reason::Reason;
use crate::secret::{Secret, random};
use crate::session::{
    Actor, Device, RevocationReason, Session, SubjectRecord, WatcherId, opened_behind,
};
use crate::store::{Durability, keys};
use crate::time::monotonic_now;

/// What it is for, in the names it makes.
const NAME: &str = "assay-drill";

/// How long its records live where nobody deletes them: much longer than a drill takes.
const RECORDS_KEPT_FOR: Duration = Duration::from_secs(600);

/// A session that still passes after this long will not be refused by itself.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// The time between two requests that wait to be refused.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// The request.
#[derive(Debug, Clone)]
pub struct RunDrill {
    /// By whose policy.
    pub app: AppId,
    /// How long to wait for watchers.
    pub wait_for: Duration,
    /// Who asks.
    pub by: Actor,
}

/// What a drill does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes its records.
    Write,
    /// Has a request verified that passes.
    Allow,
    /// Revokes the session.
    Revoke,
    /// Has requests verified until one is refused.
    Refuse,
    /// Waits for a watcher.
    Watcher(WatcherId),
    /// Waits for all watchers.
    Watchers,
    /// Deletes its records.
    Delete,
    /// Is over.
    Done,
}

/// How a step ended.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which.
    pub step: Step,
    /// Whether it did what it should.
    pub passed: bool,
    /// How long it took, or how long after the revocation was sent it was done.
    pub took: Duration,
    /// Why it failed; of [`Step::Refuse`]: why the request was refused.
    pub reason: Option<Reason>,
    /// What is true of the revocation.
    pub receipt: Option<Receipt>,
}

/// A drill.
#[derive(Debug)]
pub struct Drill {
    request: RunDrill,
    phone: Phone,
    device: Device,
    session: Session,
    access_token: Secret<String>,
    stage: Stage,
    stage_began: Instant,
    revoking: Instant,
    failed: bool,
}

#[derive(Debug)]
enum Stage {
    Write,
    Allow,
    Revoke,
    Refuse,
    Ask,
    Watchers(Confirmation, BTreeSet<WatcherId>),
    Delete,
    Done,
    Over,
}

/// Prepares a drill; nothing is written yet.
///
/// # Errors
/// `APP_DISABLED`, `INTERNAL`
pub fn begin(engine: &Engine, request: RunDrill) -> Result<Drill, Failure> {
    let now = engine.clock.now();
    let app = engine.app(&request.app)?;
    let phone = Phone::new()?;
    let subject = format!("{NAME}-{}", HEXLOWER.encode(&random::<16>()?));
    let subject: Subject = subject.parse().map_err(|_| Reason::Internal)?;
    let device = device(engine, &request.app, subject, &phone, now);
    let id = SessionId::new(device.id.bucket(), random()?);
    let session = session(engine, &device, id, now);
    let scopes = session.scopes.clone();
    let grant = mint(engine, &app, (session.clone(), &device), scopes, now)?;
    Ok(Drill {
        request,
        phone,
        device,
        session,
        access_token: grant.access_token,
        stage: Stage::Write,
        stage_began: monotonic_now(),
        revoking: monotonic_now(),
        failed: false,
    })
}

impl Drill {
    /// Its session.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session.id
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// How long to wait before the next step.
    #[must_use]
    pub const fn pause(&self) -> Duration {
        match self.stage {
            Stage::Refuse => ASK_EVERY,
            Stage::Watchers(..) => LOOK_EVERY,
            Stage::Write
            | Stage::Allow
            | Stage::Revoke
            | Stage::Ask
            | Stage::Delete
            | Stage::Done
            | Stage::Over => Duration::ZERO,
        }
    }

    /// Nobody wants to know any more: what is left is to delete the records.
    pub fn abandon(&mut self) {
        if !matches!(self.stage, Stage::Done | Stage::Over) {
            self.failed = true;
            self.begin_stage(Stage::Delete);
        }
    }

    /// Goes one step on. What was done by it; nothing while it waits.
    pub async fn step(&mut self, engine: &Engine) -> Vec<Line> {
        match &self.stage {
            Stage::Write => {
                let written = self.write(engine).await;
                self.ended(Step::Write, written.map(|()| Stage::Allow))
            }
            Stage::Allow => {
                let allowed = self.ask(engine).await.and_then(|verdict| Ok(verdict?));
                self.ended(Step::Allow, allowed.map(|()| Stage::Revoke))
            }
            Stage::Revoke => self.revoke(engine).await,
            Stage::Refuse => self.refuse(engine).await,
            Stage::Ask => {
                let asked = confirm_revocations::begin(engine).await;
                match asked {
                    Ok(asked) => {
                        self.stage = Stage::Watchers(asked, BTreeSet::new());
                        Vec::new()
                    }
                    Err(failure) => self.ended(Step::Watchers, Err(failure)),
                }
            }
            Stage::Watchers(asked, _) => {
                let looked = asked.look(engine).await;
                match looked {
                    Ok(heard) => self.listen(&heard),
                    Err(failure) => self.ended(Step::Watchers, Err(failure)),
                }
            }
            Stage::Delete => {
                let deleted = self.delete(engine).await;
                let mut lines = self.ended(Step::Delete, deleted.map(|()| Stage::Done));
                self.stage = Stage::Over;
                lines.push(Line {
                    passed: !self.failed,
                    ..self.line(Step::Done, self.revoking)
                });
                lines
            }
            Stage::Done | Stage::Over => {
                self.stage = Stage::Over;
                Vec::new()
            }
        }
    }

    fn begin_stage(&mut self, stage: Stage) {
        self.stage = stage;
        self.stage_began = monotonic_now();
    }

    /// A step ended; what has failed is followed by the deletion only.
    fn ended(&mut self, step: Step, next: Result<Stage, Failure>) -> Vec<Line> {
        let line = self.line(step, self.stage_began);
        match next {
            Ok(next) => {
                self.begin_stage(next);
                vec![line]
            }
            Err(failure) => {
                self.failed = true;
                self.begin_stage(Stage::Delete);
                vec![Line {
                    passed: false,
                    reason: Some(failure.reason),
                    ..line
                }]
            }
        }
    }

    fn line(&self, step: Step, since: Instant) -> Line {
        Line {
            step,
            passed: true,
            took: monotonic_now().saturating_duration_since(since),
            reason: None,
            receipt: None,
        }
    }
}

/// What it does to the store, and what it asks.
impl Drill {
    async fn write(&mut self, engine: &Engine) -> Result<(), Failure> {
        let place = Place {
            device: self.device.id,
            subject: engine.keyring.subject_tag(&self.device.subject),
        };
        let (state, _) = engine.load(place, None).await?;
        // As sessions are opened that follow a cut: the first drill is run right behind it.
        let fleet = state.fleet.value.as_ref();
        let cut_until = fleet.and_then(|fleet| fleet.cut_until(&self.device.app));
        self.session.opened_at = opened_behind(cut_until, self.session.opened_at);
        let (device, session) = (&self.device, &self.session);
        let subject = SubjectRecord {
            epoch: session.subject_epoch,
            devices: Vec::new(),
            sessions: Vec::new(),
            consents: BTreeMap::new(),
        };
        let new_session = Loaded::<Session>::open(engine, keys::session(&session.id), None)?;
        let kept_for = Some(RECORDS_KEPT_FOR);
        let changes = Changes {
            items: vec![
                state.device.put(engine, device, kept_for)?,
                new_session.put(engine, session, kept_for)?,
                state.subject.put(engine, &subject, kept_for)?,
            ],
            ..Changes::default()
        };
        let done = engine.commit(device.id.bucket(), changes, Durability::Local);
        // Nobody else knows these names.
        done.await?.map(drop).ok_or_else(|| Reason::Internal.into())
    }

    /// Has a new request verified, as resource servers do.
    async fn ask(&self, engine: &Engine) -> Result<Result<(), Reason>, Failure> {
        let now = engine.clock.now();
        let nonce = engine.next_nonce();
        let request = self.phone.request(&self.access_token, &nonce, now)?;
        let decision = verify_request::run(engine, request).await?;
        Ok(decision.verdict.map(drop))
    }

    async fn revoke(&mut self, engine: &Engine) -> Vec<Line> {
        self.revoking = monotonic_now();
        let order = RevokeSession {
            session: self.session.id,
            why: RevocationReason::Administrative,
            validate_only: false,
            by: self.request.by.clone(),
        };
        match revoke_session::run(engine, order).await {
            Ok(revoked) => {
                let mut lines = self.ended(Step::Revoke, Ok(Stage::Refuse));
                for line in &mut lines {
                    line.receipt = Some(revoked.receipt.clone());
                }
                lines
            }
            Err(failure) => self.ended(Step::Revoke, Err(failure)),
        }
    }

    async fn refuse(&mut self, engine: &Engine) -> Vec<Line> {
        let verdict = self.ask(engine).await;
        let line = self.line(Step::Refuse, self.revoking);
        match verdict {
            Ok(Err(reason)) if reason == Reason::SessionRevoked => {
                self.begin_stage(Stage::Ask);
                let reason = Some(reason);
                vec![Line { reason, ..line }]
            }
            Ok(Ok(())) if line.took < REFUSED_WITHIN => Vec::new(),
            verdict => {
                self.failed = true;
                self.begin_stage(Stage::Delete);
                let reason = match verdict {
                    Ok(verdict) => verdict.err(),
                    Err(failure) => Some(failure.reason),
                };
                let passed = false;
                vec![Line {
                    passed,
                    reason,
                    ..line
                }]
            }
        }
    }

    fn listen(&mut self, heard: &Heard) -> Vec<Line> {
        let over = self.line(Step::Watchers, self.stage_began).took >= self.request.wait_for;
        let since = self.revoking;
        let Stage::Watchers(_, known) = &mut self.stage else {
            return Vec::new();
        };
        let news = heard.watchers.iter().filter_map(|(id, _, heard_it)| {
            let news = if *heard_it {
                known.insert(id.clone())
            } else {
                over
            };
            news.then(|| (id.clone(), *heard_it))
        });
        let news: Vec<_> = news.collect();
        let lines = news.into_iter().map(|(id, passed)| Line {
            passed,
            ..self.line(Step::Watcher(id), since)
        });
        let mut lines: Vec<_> = lines.collect();
        if heard.all() || over {
            self.failed |= !heard.all();
            lines.push(Line {
                passed: heard.all(),
                ..self.line(Step::Watchers, since)
            });
            self.begin_stage(Stage::Delete);
        }
        lines
    }

    async fn delete(&self, engine: &Engine) -> Result<(), Failure> {
        let place = Place {
            device: self.device.id,
            subject: engine.keyring.subject_tag(&self.device.subject),
        };
        settle(|| async {
            let session = Some(self.session.id);
            let (state, session) = engine.load(place, session).await?;
            let mut items = vec![state.device.delete(), state.subject.delete()];
            items.extend(session.map(|session| session.delete()));
            let changes = Changes {
                items,
                ..Changes::default()
            };
            let bucket = self.device.id.bucket();
            engine.commit(bucket, changes, Durability::Local).await
        })
        .await
        .map(drop)
    }
}
