//! The records of a drill: a device and a session that belong to nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::NAME;
use super::phone::Phone;
use crate::flow::Engine;
use crate::id::{AppId, SessionId, Subject};
use crate::policy::{
    AndroidPosture, Posture, ProvisioningKind, SecurityLevel, TrustLevel, UserAuthentication,
};
use crate::session::{Device, DeviceState, Footprint, Lineage, Risk, Session, SessionState};
use crate::time::Timestamp;
use crate::token::Purpose;

/// How long its session would live.
const SESSION_FOR: Duration = Duration::from_secs(300);

/// A device that has shown nothing, and so has the lowest level.
pub(super) fn device(
    engine: &Engine,
    app: &AppId,
    subject: Subject,
    phone: &Phone,
    now: Timestamp,
) -> Device {
    let thumbprint = phone.key().thumbprint();
    Device {
        id: engine.keyring.device_id(app, &subject, &thumbprint),
        app: app.clone(),
        subject,
        key: *phone.key(),
        session_key: thumbprint,
        state: DeviceState::Active,
        epoch: 1,
        trust_level: TrustLevel::Provisional,
        registered_at: now,
        attested_at: now,
        posture: Posture::Android(AndroidPosture {
            attestation_version: 0,
            keymint_version: 0,
            security_level: SecurityLevel::Software,
            boot: None,
            os_version: None,
            os_patch_level: None,
            vendor_patch_level: None,
            boot_patch_level: None,
            provisioning: ProvisioningKind::Other,
            user: UserAuthentication::default(),
            attest_key: false,
        }),
        chain_serials: Vec::new(),
        issuer_keys: Vec::new(),
        attestation_key: None,
        moved_from: None,
        assertion_counter: 0,
        doubt: None,
        presence: None,
        risk: Risk::default(),
        lineage: Lineage {
            since: now,
            predecessor: None,
            successor: None,
        },
    }
}

/// A session on it, whose one scope no API grants.
pub(super) fn session(engine: &Engine, device: &Device, id: SessionId, now: Timestamp) -> Session {
    let expires_at = now.after(SESSION_FOR);
    Session {
        id,
        device: device.id,
        app: device.app.clone(),
        subject: device.subject.clone(),
        session_key: device.session_key,
        state: SessionState::Live,
        generation: 0,
        refresh_key: engine.keyring.secret(Purpose::RefreshToken).0,
        rotated_at: now,
        opened_at: now,
        idle_expires_at: expires_at,
        expires_at,
        device_epoch: device.epoch,
        subject_epoch: 1,
        scopes: [NAME.to_owned()].into(),
        audience: NAME.to_owned(),
        roles: Vec::new(),
        acr: String::new(),
        amr: Vec::new(),
        auth_time: now,
        risk: Risk::default(),
        footprint: Footprint::default(),
        answered_at: None,
        used_up: BTreeMap::new(),
        consent: None,
        step_up: None,
        cut: None,
    }
}
