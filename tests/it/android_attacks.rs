//! Forged Android chains and the check each is refused by.
//!
//! Every attack is a row of a table; `docs/attacks-android.md` shows all rows, and a test below holds
//! the page to the tables. A row with places is one attack for each of them: the certificate where it
//! is made, which is also the one the refusal has to name.

mod apps;
mod arrangements;
mod attest_keys;
mod chain;
mod descriptions;
mod devices;
mod encoding;
mod lists;
mod page;
mod signatures;
mod verdict;

use assay::attestation::android::Chain;
use assay::attestation::own_list::OwnList;
use assay::attestation::roots::Roots;
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    self, AndroidApp, AppIdentity, AttestKeys, Attested, Evidence, Expectation, Trust,
};
use assay::policy::{self, AndroidPolicy, ApplePolicy, AttestKeyRule};
use assay::reason::Reason;
use assay::time::Timestamp;

use crate::android_forge::*;

/// One way to pass for a device.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) reason: Reason,
    /// The check that notices.
    pub(crate) check: &'static str,
    /// The certificates it is made in, 0 for the leaf; none where it concerns the chain.
    pub(crate) places: &'static [usize],
    pub(crate) case: fn(usize) -> Case,
}

/// A table, and the test that runs it.
pub(crate) struct Group {
    pub(crate) test: &'static str,
    pub(crate) attacks: &'static [Attack],
}

macro_rules! attacks {
    ($group:ident, $test:ident;
     $($name:literal: $reason:ident, $check:literal, $places:expr, $case:expr;)+) => {
        pub(super) const $group: $crate::android_attacks::Group =
            $crate::android_attacks::Group {
                test: concat!(module_path!(), "::", stringify!($test)),
                attacks: &[$($crate::android_attacks::Attack {
                    name: $name,
                    reason: assay::reason::Reason::$reason,
                    check: $check,
                    places: &$places,
                    case: |at| $crate::android_attacks::made($case, at),
                }),+],
            };

        #[test]
        fn $test() {
            $crate::android_attacks::refuse_all(&$group);
        }
    };
}
pub(crate) use attacks;

/// Every table, in the order of the page.
pub(crate) const GROUPS: [&Group; 8] = [
    &chain::GROUP,
    &signatures::GROUP,
    &lists::GROUP,
    &encoding::GROUP,
    &descriptions::GROUP,
    &devices::GROUP,
    &apps::GROUP,
    &attest_keys::GROUP,
];

pub(crate) fn made<C: Into<Case>>(make: impl Fn(usize) -> C, at: usize) -> Case {
    make(at).into()
}

pub(crate) fn refuse_all(group: &Group) {
    let mut wrong = Vec::new();
    for attack in group.attacks {
        let whole = attack.places.is_empty().then_some(None);
        for place in attack.places.iter().copied().map(Some).chain(whole) {
            let seen = (attack.case)(place.unwrap_or(0)).verdict().err();
            let wanted = Some((attack.reason, attack.check, place));
            if seen != wanted {
                wrong.push(format!("{}: {seen:?}, not {wanted:?}", attack.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Evidence and what it is held against.
pub(crate) struct Case {
    certificates: Vec<Vec<u8>>,
    roots: Roots,
    status_list: String,
    own_list: String,
    attest_keys: AttestKeys,
    at: Timestamp,
    policy: AndroidPolicy,
}

impl From<Forge> for Case {
    fn from(forge: Forge) -> Self {
        Self {
            certificates: forge.der(),
            roots: forge.roots(),
            status_list: r#"{"entries":{}}"#.to_owned(),
            own_list: String::new(),
            attest_keys: AttestKeys::Refuse,
            at: now(),
            policy: AndroidPolicy::strict(),
        }
    }
}

/// Reason, check and certificate.
pub(crate) type Refusal = (Reason, &'static str, Option<usize>);

impl Case {
    /// What attestation makes of it, without policy.
    pub(crate) fn attested(&self) -> Result<Attested, Refusal> {
        let chain = Chain::from_der(self.certificates.clone())
            .map_err(|error| (error.reason(), "chain", None))?;
        let status_list = StatusList::parse(self.status_list.as_bytes()).unwrap();
        let own_list = OwnList::parse(self.own_list.as_bytes()).unwrap();
        let app = app();
        let expectation = Expectation {
            binding: CHALLENGE,
            app: &app,
            attest_keys: self.attest_keys,
        };
        let trust = Trust {
            roots: &self.roots,
            status_list: Some(&status_list),
            own_list: Some(&own_list),
        };
        attestation::verify(&Evidence::Android(chain), expectation, trust, self.at)
            .map_err(|refused| (refused.reason, refused.name, refused.certificate_index))
    }

    /// What attestation and policy make of it.
    pub(crate) fn verdict(&self) -> Result<Attested, Refusal> {
        let attested = self.attested()?;
        let (facts, apple) = (attested.facts(), ApplePolicy::open());
        let posture = policy::Posture::of(facts);
        let attest_keys = match self.attest_keys {
            AttestKeys::Refuse => AttestKeyRule::Refuse,
            AttestKeys::Allow => AttestKeyRule::Allow,
        };
        let policy = AndroidPolicy {
            attest_keys,
            ..self.policy.clone()
        };
        let mut checks = policy::posture_checks(&posture, &policy, &apple, self.at);
        checks.extend(policy::device_key_checks(facts, attested.key()));
        match checks.rejection() {
            Some(refused) => Err((refused.reason, refused.name, refused.certificate_index)),
            None => Ok(attested),
        }
    }

    /// With this entry on Google's list.
    pub(crate) fn listed(mut self, serial: &str, status: &str) -> Self {
        self.status_list = format!(r#"{{"entries":{{"{serial}":{{"status":"{status}"}}}}}}"#);
        self
    }

    /// With this text as the operator's list.
    pub(crate) fn revoked(mut self, entries: impl Into<String>) -> Self {
        self.own_list = entries.into();
        self
    }

    pub(crate) fn allowing_attest_keys(mut self) -> Self {
        self.attest_keys = AttestKeys::Allow;
        self
    }

    pub(crate) fn trusting(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    pub(crate) fn under(mut self, policy: AndroidPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// With the certificates sent otherwise than they were made.
    pub(crate) fn sent(mut self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        change(&mut self.certificates);
        self
    }
}

pub(crate) fn app() -> AppIdentity {
    AppIdentity {
        android: Some(AndroidApp {
            package_name: PACKAGE.to_owned(),
            signing_certificate_sha256: vec![[1; 32], SIGNER],
            shared_uid_packages: vec!["com.example.shared".to_owned()],
        }),
        apple: None,
    }
}

pub(crate) fn genuine() -> KeyDescription {
    KeyDescription::genuine()
}

/// A genuine remote chain with one thing done to it.
pub(crate) fn remote_with(change: impl FnOnce(&mut Forge)) -> Forge {
    let mut forge = remote(&genuine(), "TEE");
    change(&mut forge);
    forge
}

/// A genuine factory chain with one thing done to it.
pub(crate) fn factory_with(change: impl FnOnce(&mut Forge)) -> Forge {
    let mut forge = factory(&genuine(), Some("TEE"));
    change(&mut forge);
    forge
}

/// A remote chain for an attestation with one thing done to it.
pub(crate) fn described(change: impl FnOnce(&mut KeyDescription)) -> Forge {
    let mut description = genuine();
    change(&mut description);
    remote(&description, "TEE")
}

/// The fields of the hardware's list by their place in a genuine one.
pub(crate) fn hardware(description: &mut KeyDescription, tag: u32) -> &mut Vec<u8> {
    let mut list = description.hardware.iter_mut();
    &mut list.find(|(number, _)| *number == tag).unwrap().1
}

/// Certificate `at` of a remote chain signed with SHA-384 by a P-256 key.
pub(crate) fn signed_with_sha_384(at: usize) -> Forge {
    signatures::signed_by(
        at,
        &signatures::ec(signatures::P256),
        "-sha384",
        ECDSA_SHA384,
    )
}

/// Certificate `at` of a remote chain signed with SHA-256 by a P-384 key.
pub(crate) fn signed_by_p384(at: usize) -> Forge {
    signatures::signed_by(
        at,
        &signatures::ec("ec_paramgen_curve:P-384"),
        "-sha256",
        ECDSA_SHA256,
    )
}

/// Certificate `at` of a remote chain signed by an RSA key.
pub(crate) fn signed_by_rsa(at: usize) -> Forge {
    signatures::signed_by(at, signatures::RSA_2048, "-sha256", RSA_SHA256)
}

pub(crate) use encoding::deep as deep_name;
