//! Android Key Attestation.
//!
//! A chain is walked by rules made for it, not by general path building, which refuses a third of
//! genuine phones and accepts the one forgery that matters. Anyone who holds a genuine attested
//! signing key can sign a certificate with it, and nothing in a genuine chain forbids that. So the
//! extension that attests may stand in the first certificate only: a forged certificate in front of
//! a genuine chain pushes the genuine extension to the second place and is refused. Where attest keys
//! are allowed it may stand in the second as well, by the rules of `attest_key.rs`.
//!
//! Checks, in the order that decides the reason: structure, extensions, position of the attestation,
//! root, signatures, names, shape, dates, status list, own list, the attestation itself, that of the
//! attest key, security level, origin of the key, root of trust, challenge, app, the attest key's
//! app. What devices must be beyond that (boot state, patch levels, purposes) is policy and is
//! decided from [`Facts`].

mod attest_key;
mod authorization_list;
mod certificate;
mod chain;
mod claims;
mod der;
mod key_description;
mod name;
mod pin;
mod provisioning;
mod signature;
mod value;
mod walk;

pub use authorization_list::{AuthorizationList, Field};
pub use chain::{Chain, ChainError};
pub use key_description::{KeyDescription, purpose};
pub use provisioning::Provisioning;
pub use value::{
    AttestationApplicationId, Identifier, Origin, Package, RootOfTrust, SecurityLevel, Value,
    VerifiedBootState,
};

use super::{Checks, Examination, Examiner, Given, Trust};
use crate::reason::Reason;
use crate::time::Timestamp;
use certificate::Certificate;
use walk::Walk;

/// What an Android attestation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the hardware attests.
    pub key_description: KeyDescription,
    /// What holds the key: the lower of what the attestation says and what its certificates are
    /// issued for.
    pub security_level: SecurityLevel,
    /// How the attestation key came to be on the device.
    pub provisioning: Provisioning,
    /// Serial numbers in minimal lowercase hex, leaf first, without the root's: nothing vouches for
    /// a root certificate but its key. That of an attest key is left out: the app chose it. A later
    /// status list is compared with these.
    pub serials: Vec<String>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of each certificate between the leaf and the root, from
    /// the leaf on, an attest key's among them. A later list of leaked keys is compared with these.
    pub issuer_keys: Vec<[u8; 32]>,
    /// Whether an attest key of the app attested the key.
    pub attest_key: bool,
    /// SHA-256 of the public key behind the attestation: one device's, or one factory batch's. It is the
    /// highest key of the chain that is no authority's; in every genuine chain the one that signed the
    /// attestation, or the attest key that did. Whoever holds it can put further keys below it, as apps
    /// do with attest keys, and cannot change which one it is.
    pub attestation_key_sha256: [u8; 32],
    /// SHA-256 of the pinned key the chain ends in.
    pub root_key_sha256: [u8; 32],
}

/// What a check that said no has to tell.
#[derive(Debug)]
struct Objection {
    reason: Reason,
    certificate_index: Option<usize>,
    seen: String,
}

impl Objection {
    fn new(reason: Reason, index: impl Into<Option<usize>>, seen: impl Into<String>) -> Self {
        Self {
            reason,
            certificate_index: index.into(),
            seen: seen.into(),
        }
    }

    fn untrusted(index: impl Into<Option<usize>>, seen: impl Into<String>) -> Self {
        Self::new(Reason::AttestationChainUntrusted, index, seen)
    }
}

/// Notes how a check ended; `wanted` is what would have been accepted.
fn note(
    checks: &mut Checks,
    name: &'static str,
    wanted: impl Into<String>,
    outcome: Result<String, Objection>,
) -> bool {
    match outcome {
        Ok(seen) => checks.note(name, None, Ok(()), (seen, wanted)),
        Err(objection) => checks.note(
            name,
            objection.certificate_index,
            Err(objection.reason),
            (objection.seen, wanted),
        ),
    }
}

pub(super) fn examine(
    chain: &Chain,
    given: Given<'_>,
    trust: Trust<'_>,
    now: Timestamp,
) -> Examination {
    let mut checks = Checks::default();
    let (certificates, whole) = read(chain, &mut checks);

    let attest_key = attest_key::among(&certificates, given.attest_keys);
    let roots = trust.roots.android.as_slice();
    let walk = whole.then(|| Walk::along(&certificates, attest_key.is_some(), roots));
    if let Some(walk) = &walk {
        walk.check(&mut checks, &trust, now);
    }

    let leaf = certificates.first();
    let description = leaf.and_then(|leaf| claims::description(&mut checks, leaf));
    if let Some(description) = &description {
        let attest_key =
            attest_key.and_then(|key| attest_key::check(&mut checks, key, description));
        claims::check(&mut checks, description, walk.as_ref());
        claims::compare(&mut checks, description, given);
        if let Some(attest_key) = &attest_key {
            claims::compare_app(&mut checks, ("attest_key_app", 1), attest_key, given.app);
        }
    }

    let facts = description.zip(walk).map(|(description, walk)| {
        super::Facts::Android(Box::new(Facts {
            security_level: walk.security_level(
                description
                    .attestation_security_level
                    .min(description.keymint_security_level),
            ),
            key_description: description,
            provisioning: walk.provisioning(),
            serials: walk.serials(),
            issuer_keys: walk.issuer_keys(),
            attest_key: attest_key.is_some(),
            attestation_key_sha256: walk.attestation_key_sha256(),
            root_key_sha256: walk.root_key_sha256(),
        }))
    });
    Examination {
        checks,
        certificates: certificates.iter().map(Certificate::summary).collect(),
        key: leaf.map(|leaf| leaf.spki.attested_key()),
        facts,
        at: now,
        made_by: Examiner,
    }
}

/// The certificates up to the first that cannot be read, and whether that is all of them.
fn read<'a>(chain: &'a Chain, checks: &mut Checks) -> (Vec<Certificate<'a>>, bool) {
    let mut certificates = Vec::with_capacity(chain.certificates().len());
    let mut outcome = Ok(format!("{} certificates", chain.certificates().len()));
    for (index, der) in chain.certificates().enumerate() {
        match Certificate::parse(der) {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => {
                outcome = Err(Objection::new(
                    Reason::EvidenceMalformed,
                    index,
                    error.to_string(),
                ));
                break;
            }
        }
    }
    let whole = note(
        checks,
        "structure",
        "X.509 certificates of version 3 with nothing behind them",
        outcome,
    );
    (certificates, whole)
}

/// What a configured root certificate is pinned by.
pub(super) struct NamesAndKey<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) spki: &'a [u8],
}

/// Reads them from a certificate; `None` when it is not readable.
pub(super) fn names_and_key(der: &[u8]) -> Option<NamesAndKey<'_>> {
    let certificate = Certificate::parse(der).ok()?;
    Some(NamesAndKey {
        issuer: certificate.issuer.raw,
        subject: certificate.subject.raw,
        spki: certificate.spki.raw,
    })
}
