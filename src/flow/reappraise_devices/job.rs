//! The record by which instances share the re-appraisal of all devices.

use crate::attestation::lists::{Google, Lists};
use crate::flow::state::{Changes, Loaded};
use crate::flow::{Engine, Failure};
use crate::key::sha256;
use crate::session::{Basis, Job, Look};
use crate::store::{Durability, keys};

/// A job this instance has the lease of.
#[derive(Debug)]
pub struct Lease {
    /// The job as it was last written.
    pub job: Job,
}

impl Engine {
    /// What devices are held against now. The policies are told apart by how this version of the
    /// service writes them for debugging: another version holds everything against its own rules once.
    #[must_use]
    pub fn basis(&self, lists: &Lists) -> Basis {
        let versions = lists.versions();
        let as_of = match &lists.google {
            Google::Kept(kept) => kept.held.as_ref().map(|held| held.origin.validated_at),
            Google::NotUsed(_) | Google::Unconfigured => None,
        };
        let apps = self.apps.load();
        let mut policies = String::new();
        for (id, app) in apps.iter() {
            let policy = &app.policy;
            let rules = (&policy.android, &policy.apple, policy.reappraisal);
            policies.push_str(&format!("{id}={rules:?};"));
        }
        Basis {
            google: versions.google,
            google_as_of: as_of,
            own: versions.own,
            policy: sha256(policies.as_bytes()),
        }
    }
}

/// The job, where there is one. One trip.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn look(engine: &Engine) -> Result<Option<Job>, Failure> {
    Ok(load(engine).await?.value)
}

async fn load(engine: &Engine) -> Result<Loaded<Job>, Failure> {
    engine.load_one::<Job>(keys::reappraisal()).await
}

async fn write(engine: &Engine, loaded: &Loaded<Job>, job: &Job) -> Result<bool, Failure> {
    let key = keys::reappraisal();
    let changes = Changes {
        items: vec![loaded.put(engine, job, None)?],
        ..Changes::default()
    };
    let done = engine.commit(key.bucket(), changes, Durability::Local);
    Ok(done.await?.is_some())
}

/// Takes what there is to work on for this instance; `None`: nothing, or another was quicker. Two
/// trips, one when there is nothing.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn take(engine: &Engine, look: &Look) -> Result<Option<Lease>, Failure> {
    let loaded = load(engine).await?;
    let Some(job) = Job::turn(loaded.value.as_ref(), look) else {
        return Ok(None);
    };
    let written = write(engine, &loaded, &job).await?;
    Ok(written.then_some(Lease { job }))
}

/// Writes how far the job is. Whether this instance still has it: another may have taken it over, or
/// begun for something newer. Two trips.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn advance(engine: &Engine, lease: &mut Lease, job: Job) -> Result<bool, Failure> {
    let loaded = load(engine).await?;
    let mine = loaded.value.as_ref().is_some_and(|now| {
        now.owner == lease.job.owner
            && now.started_at == lease.job.started_at
            && now.basis.differs_in(&lease.job.basis).is_none()
    });
    if !mine || !write(engine, &loaded, &job).await? {
        return Ok(false);
    }
    lease.job = job;
    Ok(true)
}

/// Notes that everything the lists of now name was looked at through the indexes, where the last run
/// was done for the lists before. Whether that holds now. Two trips.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn note_lists(engine: &Engine, before: &Basis, look: &Look) -> Result<bool, Failure> {
    let loaded = load(engine).await?;
    let Some(job) = loaded.value.as_ref() else {
        return Ok(false);
    };
    if job.ended_at.is_none() || job.basis.differs_in(before).is_some() {
        return Ok(false);
    }
    let noted = Job {
        basis: look.basis,
        touched_at: look.now,
        ..*job
    };
    write(engine, &loaded, &noted).await
}
