//! Where a device can be found by something else than its id. Written in the commit that writes the
//! device, in the same bucket, so an index never lacks a device that exists.

use crate::session::Device;
use crate::store::{IndexChange, Key, Presence, keys};

/// Longest serial number that is found by: 20 octets (RFC 5280, 4.1.2.2), twice over.
const SERIAL_DIGITS_MAX: usize = 80;

/// The index changes that go with a device's record as it is written now, where `before` is the
/// record that was loaded.
pub(super) fn changes(before: Option<&Device>, now: &Device) -> Vec<IndexChange> {
    let stays = places(now);
    let left = before.map(places).unwrap_or_default();
    let left = left.into_iter().filter(|key| !stays.contains(key));
    let change = |key, presence| IndexChange {
        key,
        member: now.id.as_bytes().to_vec(),
        presence,
    };
    let left: Vec<_> = left.map(|key| change(key, Presence::Absent)).collect();
    let stays = stays.iter().cloned();
    stays
        .map(|key| change(key, Presence::Present))
        .chain(left)
        .collect()
}

/// The index changes that go with the removal of a device.
pub(super) fn leaving(device: &Device) -> Vec<IndexChange> {
    let left = places(device).into_iter().map(|key| IndexChange {
        key,
        member: device.id.as_bytes().to_vec(),
        presence: Presence::Absent,
    });
    left.collect()
}

/// The indexes a device is in: all devices, those with each certificate above the leaf (the leaf of
/// every Android device has serial number 1), those of the attestation key.
fn places(device: &Device) -> Vec<Key> {
    let bucket = device.id.bucket();
    let mut places = vec![keys::devices(bucket)];
    let findable = |serial: &&String| serial.len() <= SERIAL_DIGITS_MAX;
    let serials = device.chain_serials.iter().skip(1).filter(findable);
    places.extend(serials.map(|serial| keys::devices_by_serial(bucket, serial)));
    let key = device.attestation_key.as_ref();
    places.extend(key.map(|key| keys::devices_by_attestation_key(bucket, key)));
    places.sort_unstable();
    places.dedup();
    places
}
