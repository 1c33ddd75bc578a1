//! One file per RPC: its whole story, from the request in our own words to the answer.
//!
//! Every flow is *load → decide → commit → answer*. Deciding is done by the pure core; loading and
//! committing are one trip to the store each. A commit names the version of everything that was
//! looked at, so a change that came in between makes it start again, a bounded number of times.

pub mod ack_revocations;
mod appraisal;
pub mod appraise_evidence;
pub mod batch_revoke_devices;
mod board;
pub mod confirm_revocations;
pub mod create_challenge;
pub mod elevate_session;
pub mod end_session;
pub mod enrol_presence_key;
pub mod erase_subject;
mod error;
pub mod export_subject;
pub mod find_devices;
mod follower;
pub mod get_device;
pub mod get_session;
pub mod get_trust_status;
mod grant;
mod holdings;
mod index;
pub mod introspect_token;
pub mod issue_session;
mod key_rate;
mod laid;
mod limits;
pub mod link_device_successor;
pub mod list_audit_events;
pub mod list_devices;
pub mod list_sessions;
mod once;
mod page;
pub mod preview_revocation;
pub mod reappraise_devices;
mod reassert;
pub mod reattest_device;
mod receipt;
pub mod refresh_session;
pub mod register_device;
mod renewal;
mod request_id;
pub mod resume_device;
pub mod revoke_consent;
pub mod revoke_device;
pub mod revoke_session;
pub mod revoke_subject;
mod risk;
pub mod rotate_device_key;
pub mod rotate_session;
pub mod run_drill;
pub mod set_not_before;
mod settle;
mod state;
mod step_up;
pub mod suspend_device;
mod used_proofs;
pub mod verify_request;
pub mod watch_revocations;
mod watchers;
mod withdrawal;

pub use appraisal::{Accepted, Appraisal, EvidenceInput};
pub use board::{Board, CURRENT_FOR, News, Part};
pub use error::{Failure, FieldViolation};
pub use follower::{Follower, ROUNDS_IN_DOUBT, Round};
pub use grant::{Access, Grant};
pub use page::{DevicePage, Page, PageRequest};
pub use reassert::Written;
pub use receipt::{
    DueReceipt, HeldReceipt, RECEIPT_LEASE_FOR, due_receipts, keep_receipt, lease_receipts,
    load_receipts, receipt_jitter,
};
pub use renewal::{KeyRotation, Renewed};
pub use request_id::{InvalidRequestId, RequestId};
pub use step_up::SessionName;
pub use used_proofs::UsedProofs;
pub use watchers::{WATCHERS_KEPT_EVERY, Watchers, keep_watchers, look_at_watchers};
pub use withdrawal::Receipt;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::attestation::AppIdentity;
use crate::attestation::lists::Lists;
use crate::attestation::roots::Roots;
use crate::id::AppId;
use crate::policy::{AppPolicy, ServiceRates};
use crate::proof::{Freshness, TargetUri, nonce};
use crate::reason::Reason;
use crate::session::{Device, DeviceState, Listener, Standing};
use crate::store::{Durability, Store};
use crate::time::{Clock, Timestamp};
use crate::token::keyring::Keyring;

/// A configured app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// What it is called on its platforms.
    pub identity: AppIdentity,
    /// What its devices must be and get.
    pub policy: AppPolicy,
    /// Whether it may be used.
    pub standing: Standing,
    /// How the receipts of its Apple devices are exchanged; not at all when `None`.
    pub receipts: Option<ReceiptExchange>,
}

/// How an app's App Attest receipts are exchanged for newer ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptExchange {
    /// The file of the team's developer key (`.p8`).
    pub key_file: PathBuf,
    /// What Apple knows that key by.
    pub key_id: String,
    /// Where to send receipts, in place of Apple's address.
    pub url: Option<String>,
}

/// The configured apps.
pub type Apps = BTreeMap<AppId, Arc<App>>;

/// The app of this name as these apps have it. A flow that makes more than one attempt asks the apps
/// it began with.
fn enabled(apps: &Apps, id: &AppId) -> Result<Arc<App>, Failure> {
    match apps.get(id) {
        Some(app) if app.standing == Standing::Enabled => Ok(Arc::clone(app)),
        _ => Err(Reason::AppDisabled.into()),
    }
}

/// Everything the flows work with.
#[derive(Debug)]
pub struct Engine {
    /// The configured apps; replaced as a whole when the configuration changes.
    pub apps: ArcSwap<Apps>,
    /// The keys.
    pub keyring: Keyring,
    /// The state.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// The roots evidence may lead to.
    pub roots: Roots,
    /// Google's status list, without which Android evidence is refused, and the operator's own;
    /// replaced as a whole when one of them changes.
    pub lists: ArcSwap<Lists>,
    /// `iss` of the access tokens.
    pub issuer: String,
    /// Where phones aim the proofs for our own RPCs: `htu` is this, a slash and the RPC's path.
    pub public_url: String,
    /// How far revocations have to be before they are answered.
    pub revocation_durability: Durability,
    /// What is known of recent revocations.
    pub board: Board,
    /// How often the service may be asked, whatever the app.
    pub rates: ServiceRates,
    /// Who follows them on this instance.
    pub watchers: Watchers,
    /// The proofs that were seen here.
    pub used_proofs: UsedProofs,
    /// Who counts what happens.
    pub listener: Arc<dyn Listener>,
}

impl Engine {
    /// The app of a request.
    ///
    /// # Errors
    /// [`Reason::AppDisabled`]
    fn app(&self, id: &AppId) -> Result<Arc<App>, Failure> {
        enabled(&self.apps.load(), id)
    }

    /// The app a refresh token names.
    fn app_by_tag(&self, tag: &[u8; 8]) -> Result<Arc<App>, Failure> {
        let apps = self.apps.load();
        match apps.keys().find(|id| id.tag() == *tag) {
            Some(id) => enabled(&apps, id),
            None => Err(Reason::AppDisabled.into()),
        }
    }

    /// Whether the app of a stored record may be used.
    fn standing(&self, id: &AppId) -> Standing {
        self.apps
            .load()
            .get(id)
            .map_or(Standing::Disabled, |app| app.standing)
    }

    /// When a device has to attest again by its app's policy; `None`: never. A revoked one cannot.
    #[must_use]
    pub fn reattest_by(&self, device: &Device) -> Option<Timestamp> {
        if let DeviceState::Revoked { .. } = device.state {
            return None;
        }
        let apps = self.apps.load();
        device.reattest_by(&apps.get(&device.app)?.policy)
    }

    /// A nonce for the caller's next proof.
    #[must_use]
    pub fn next_nonce(&self) -> String {
        nonce::mint(&self.keyring, self.clock.now())
    }

    /// The URIs a proof for one of our own RPCs may be aimed at.
    fn proof_uris(&self, app: &App, method: &str) -> Vec<TargetUri> {
        let own = format!("{}/{method}", self.public_url.trim_end_matches('/'));
        let all = std::iter::once(&own).chain(&app.policy.proof.accepted_uris);
        all.filter_map(|uri| uri.parse().ok()).collect()
    }

    /// How recent the proofs of an app have to be.
    const fn freshness<'a>(&'a self, app: &App) -> Freshness<'a> {
        Freshness {
            rule: app.policy.proof.nonce,
            iat_window: app.policy.proof.iat_window,
            keyring: &self.keyring,
        }
    }
}
