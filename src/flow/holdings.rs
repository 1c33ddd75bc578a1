//! Everything that is kept of a subject, wherever it is.

use std::collections::BTreeSet;

use super::state::Loaded;
use super::{Engine, Failure};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::id::{Bucket, DeviceId, Subject};
use crate::session::{Device, Session, SubjectRecord};
use crate::store::{IndexRange, RANGE_MEMBERS_MAX, keys};

/// The records of a subject.
#[derive(Debug)]
pub(super) struct Holdings {
    pub(super) subject: Loaded<SubjectRecord>,
    pub(super) devices: Vec<Held>,
    /// Those in the subject's list that there still are, oldest first.
    pub(super) sessions: Vec<Loaded<Session>>,
}

/// A device and its receipt.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) device: Device,
    pub(super) record: Loaded<Device>,
    pub(super) receipt: Loaded<ReceiptRecord>,
}

impl Holdings {
    /// Loads them: the subject; its sessions; the list of all devices in its bucket, because those that
    /// were revoked long ago have left the subject's own, and for every thousand of them the devices;
    /// the receipts. Five trips in a fleet of a million devices.
    pub(super) async fn load(engine: &Engine, subject: &Subject) -> Result<Self, Failure> {
        let tag = engine.keyring.subject_tag(subject);
        let loaded = engine
            .load_one::<SubjectRecord>(keys::subject(&tag))
            .await?;
        let (mut listed, mut sessions) = (BTreeSet::new(), Vec::new());
        if let Some(index) = &loaded.value {
            listed.extend(index.devices.iter().map(|device| device.id));
            let names = index
                .sessions
                .iter()
                .map(|entry| keys::session(&entry.id))
                .collect::<Vec<_>>();
            if !names.is_empty() {
                sessions = engine.load_all::<Session>(names).await?;
                sessions.retain(|session| session.value.is_some());
            }
        }
        let devices = devices_of(engine, subject, listed, Bucket::of_digest(&tag)).await?;
        let mut held = Vec::new();
        if !devices.is_empty() {
            let names = devices.iter().map(|(device, _)| keys::receipt(&device.id));
            let receipts = engine.load_all::<ReceiptRecord>(names.collect()).await?;
            for ((device, record), receipt) in devices.into_iter().zip(receipts) {
                held.push(Held {
                    device,
                    record,
                    receipt,
                });
            }
        }
        Ok(Self {
            subject: loaded,
            devices: held,
            sessions,
        })
    }
}

/// The devices of a subject among those of its bucket. Others that cannot be read are passed over; one in
/// the subject's own list is not.
async fn devices_of(
    engine: &Engine,
    subject: &Subject,
    listed: BTreeSet<DeviceId>,
    bucket: Bucket,
) -> Result<Vec<(Device, Loaded<Device>)>, Failure> {
    let mut found = Vec::new();
    let mut after = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let range = IndexRange {
            key: keys::devices(bucket),
            after: after.clone(),
            limit: RANGE_MEMBERS_MAX,
        };
        let page = engine.store.page(vec![range]).await?.pop();
        let page = page.unwrap_or_default();
        let ids = page.iter().map(|id| DeviceId::from_bytes(id));
        let mut ids: BTreeSet<DeviceId> = ids.filter_map(Result::ok).collect();
        let last = page.len() < RANGE_MEMBERS_MAX;
        if last {
            // And those of the subject's list that no page had.
            ids.extend(listed.difference(&seen).copied());
        }
        let names: Vec<_> = ids.iter().map(keys::device).collect();
        let loaded = if names.is_empty() {
            Vec::new()
        } else {
            engine.load_each::<Device>(names).await?
        };
        for (id, record) in ids.iter().zip(loaded) {
            match record {
                Ok(mut record) => {
                    let device = record.value.take();
                    let device = device.filter(|device| device.subject == *subject);
                    found.extend(device.map(|device| (device, record)));
                }
                Err(failure) if listed.contains(id) => return Err(failure),
                Err(_) => {}
            }
        }
        seen.append(&mut ids);
        if last {
            return Ok(found);
        }
        after = page.last().cloned().unwrap_or_default();
    }
}
