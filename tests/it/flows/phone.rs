//! A phone of a subject: what it signs and sends.

use std::sync::atomic::{AtomicU64, Ordering};

use assay::attestation::{android, apple};
use assay::flow::EvidenceInput;
use assay::id::{DeviceId, Subject};
use assay::simulator::proof::Dpop;
use assay::simulator::{Authorities, Curve, Device, Evidence, SoftKey};
use assay::time::Timestamp;

use super::world::{BUNDLE, PACKAGE, SIGNER, TEAM};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Android,
    Apple,
    /// An iPhone whose app makes no session key: its proofs are assertions.
    Asserting,
}

impl Kind {
    pub(super) const BOTH: [Self; 2] = [Self::Android, Self::Apple];
}

pub(super) struct Phone {
    pub(super) device: Device,
    pub(super) subject: Subject,
    /// Once registered.
    pub(super) id: Option<DeviceId>,
    /// Numbers its proofs from this one on, where its app does.
    pub(super) count: Option<AtomicU64>,
}

impl Phone {
    pub(super) fn new(
        kind: Kind,
        authorities: &Authorities,
        subject: &str,
        now: Timestamp,
    ) -> Self {
        use assay::simulator::{android, apple};
        let device = match kind {
            Kind::Android => {
                let options = android::Options::well_kept(PACKAGE, SIGNER, now);
                Device::android(android::Phone::new(authorities, options, now).unwrap())
            }
            Kind::Apple | Kind::Asserting => {
                let environment = apple::Environment::Production;
                let options = apple::Options::well_kept(TEAM, BUNDLE, environment);
                let phone = apple::Phone::new(authorities, options).unwrap();
                Device::apple(match kind {
                    Kind::Asserting => phone.without_session_key(),
                    Kind::Android | Kind::Apple => phone,
                })
            }
        };
        Self {
            device,
            subject: subject.parse().unwrap(),
            id: None,
            count: None,
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.id.expect("it is registered")
    }

    pub(super) fn key(&self) -> &SoftKey {
        self.device.session_key().unwrap()
    }

    /// A second handle on the key that signs proofs, for when the phone has gone on to another.
    pub(super) fn key_kept(&self) -> SoftKey {
        let pkcs8 = self.key().to_pkcs8().unwrap();
        SoftKey::from_pkcs8(Curve::P256, pkcs8.expose()).unwrap()
    }

    pub(super) fn apple(&mut self) -> &mut assay::simulator::apple::Phone {
        match &mut self.device {
            Device::Apple(phone) => phone,
            Device::Android { .. } => panic!("not an iPhone"),
        }
    }

    pub(super) fn evidence(
        &mut self,
        challenge: &[u8],
        app: &str,
        now: Timestamp,
    ) -> EvidenceInput {
        match self.device.evidence(challenge, app, now).unwrap() {
            Evidence::Android { certificate_chain } => {
                EvidenceInput::Android(android::Chain::from_der(certificate_chain).unwrap())
            }
            Evidence::Apple {
                attestation_object,
                key_id,
                client_data,
            } => EvidenceInput::Apple {
                attestation: apple::Attestation::new(attestation_object, key_id).unwrap(),
                client_data,
            },
        }
    }

    pub(super) fn sign(&self, dpop: &Dpop<'_>) -> String {
        let mut dpop = dpop.clone();
        if let Some(count) = &self.count {
            dpop.ctr = Some(count.fetch_add(1, Ordering::Relaxed));
        }
        self.device.proof(&dpop).unwrap()
    }
}

/// A key nobody registered.
pub(super) fn strange_key() -> SoftKey {
    SoftKey::generate(Curve::P256).unwrap()
}
