//! How fast devices register under one attestation key.
//!
//! An attestation key is one device's, or a factory batch's. Whoever has got one out of a device can
//! attest as many devices as they like, and Google's list knows of it days or months later. What
//! shows before is that many come under one key.
//!
//! The key that is counted is the highest of a chain that is no authority's: those below it are made
//! by whoever holds it, at will, and those above are shared by all devices of a maker, so no rate of
//! theirs says anything. It is counted for all apps together, in the trip that loads the records, and
//! once for each request, however often the request starts again. A request that its caller repeats is
//! counted again, since nobody knows before that trip that it is one; but a device that is registered
//! under its key already is never refused for it. What is refused is not counted.

use std::sync::OnceLock;
use std::time::Duration;

use data_encoding::HEXLOWER;

use super::Failure;
use crate::attestation::Checks;
use crate::policy::{AndroidPolicy, Assurance, Posture, ProvisioningKind, Rate, RateOutcome};
use crate::reason::Reason;
use crate::store::{Limit, Limited, keys};

/// The name of the row among the checks.
const CHECK: &str = "attestation_key_rate";

/// The rate of the attestation key behind a piece of evidence, and what was counted.
#[derive(Debug)]
pub(super) struct KeyRate {
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    key: [u8; 32],
    rate: Rate,
    outcome: RateOutcome,
    said: OnceLock<Limited>,
}

impl KeyRate {
    /// Nothing to count: evidence without such a key, or none.
    pub(super) const fn none() -> Self {
        Self { counted: None }
    }

    /// For accepted evidence.
    pub(super) fn of(policy: &AndroidPolicy, assurance: &Assurance) -> Self {
        let (Some(key), Posture::Android(posture)) =
            (assurance.attestation_key(), assurance.posture())
        else {
            return Self::none();
        };
        let rates = policy.attestation_key_rate;
        let rate = match posture.provisioning {
            ProvisioningKind::Remote => rates.remote,
            ProvisioningKind::Factory | ProvisioningKind::Other => rates.factory,
        };
        Self {
            counted: Some(Counted {
                key: *key,
                rate,
                outcome: rates.outcome,
                said: OnceLock::new(),
            }),
        }
    }

    /// What to count in the next trip: nothing when it was counted before.
    pub(super) fn to_count(&self) -> Vec<Limit> {
        let counted = self.counted.as_ref();
        let counted = counted.filter(|counted| counted.said.get().is_none());
        let limit = |counted: &Counted| Limit {
            key: keys::attestation_key_rate(&counted.key),
            every: counted.rate.per / counted.rate.count.max(1),
            burst: counted.rate.count.max(1),
        };
        counted.map(limit).into_iter().collect()
    }

    /// Takes note of what that trip said.
    pub(super) fn heard(&self, said: &[Limited]) {
        if let (Some(counted), Some(said)) = (&self.counted, said.first()) {
            counted.said.get_or_init(|| *said);
        }
    }

    fn above(&self) -> Option<(&Counted, Duration)> {
        let counted = self.counted.as_ref()?;
        match counted.said.get()? {
            Limited::Admitted => None,
            Limited::Refused { retry_after } => Some((counted, *retry_after)),
        }
    }

    /// Whether a device that is new under its key may come in.
    ///
    /// # Errors
    /// `RATE_LIMITED_ATTESTATION_KEY` above the rate, where the app refuses for it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.above() {
            Some((counted, wait)) if counted.outcome == RateOutcome::Refuse => Err(
                Failure::limited(Reason::RateLimitedAttestationKey, wait, counted.named()),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// The key, in words, when it is above its rate.
    pub(super) fn said(&self) -> Option<String> {
        self.above().map(|(counted, _)| counted.named())
    }

    /// Adds the row to the checks of an appraisal, where it was counted.
    pub(super) fn note(&self, checks: &mut Checks) {
        let Some(counted) = &self.counted else {
            return;
        };
        if counted.said.get().is_none() {
            return;
        }
        let within = match self.above() {
            None => Ok(()),
            Some(_) => Err(Reason::RateLimitedAttestationKey),
        };
        let (count, per) = (counted.rate.count, counted.rate.per.as_secs());
        let wanted = format!("at most {count} in {per} seconds");
        checks.monitor(CHECK, None, within, (counted.named(), wanted));
    }
}

impl Counted {
    fn named(&self) -> String {
        format!("attestation key {}", HEXLOWER.encode(&self.key))
    }
}
