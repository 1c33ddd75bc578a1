//! Attest keys: keys an app has made in its phone's hardware to attest its other keys with.
//!
//! The certificate of an attest key carries an attestation of its own, which is also what a forged
//! chain looks like: whoever holds a genuine attested key can sign a certificate with it. The two
//! differ in what the key may be used for. A key for signing signs what its holder likes. A key
//! whose only purpose is to attest is used by the hardware alone, for attestations it writes itself.
//!
//! So, and only where they are allowed, the second certificate may be that of an attest key:
//! - the hardware enforces that its purpose is to attest, and nothing else; the system adds nothing;
//! - the hardware speaks the interface that has such keys; older hardware knows no such purpose and
//!   cannot be relied on to refuse a signature with it;
//! - it was made in the hardware, of the same level as the key it attests: a secure element's word
//!   is not given by an execution environment, nor the other way round;
//! - it was made under the same boot key, boot state, lock and system as the key it attests: a key
//!   kept from the time before the phone was unlocked vouches for nothing. This makes an attest key
//!   last until the next update of the system;
//! - it was made by the same app, by the same rule as for the key itself.
//!
//! Its challenge is an earlier one and is not compared; its serial number and dates are chosen by the
//! app and mean nothing.

use super::certificate::Certificate;
use super::key_description::{KEY_DESCRIPTION, KeyDescription, purpose};
use super::value::{Origin, SecurityLevel};
use super::{Objection, note};
use crate::attestation::{AttestKeys, Checks};
use crate::reason::Reason;

/// `KeyMint` 1, the first interface with keys that attest (KeyPurpose.aidl, `ATTEST_KEY`).
const KEYMINT_1: u64 = 100;

/// The certificate of the attest key, where there may be one and it is there.
pub(super) fn among<'c, 'a>(
    certificates: &'c [Certificate<'a>],
    rule: AttestKeys,
) -> Option<&'c Certificate<'a>> {
    let second = certificates.get(1)?;
    let described = second.extensions_of(KEY_DESCRIPTION).next().is_some();
    (rule == AttestKeys::Allow && described).then_some(second)
}

/// Reads the attestation of an attest key and notes whether the key may attest `leaf`.
pub(super) fn check(
    checks: &mut Checks,
    certificate: &Certificate<'_>,
    leaf: &KeyDescription,
) -> Option<KeyDescription> {
    let value = certificate.extensions_of(KEY_DESCRIPTION).next()?;
    let (description, outcome) = match KeyDescription::read(value) {
        Ok(description) => {
            let outcome = may_attest(&description, leaf);
            (Some(description), outcome)
        }
        Err(error) => {
            let objection = Objection::new(Reason::EvidenceMalformed, 1, error.to_string());
            (None, Err(objection))
        }
    };
    let wanted = "a key that attests and does nothing else, of the same hardware and system";
    note(checks, "attest_key", wanted, outcome);
    description
}

fn may_attest(attest_key: &KeyDescription, leaf: &KeyDescription) -> Result<String, Objection> {
    let hardware = &attest_key.hardware_enforced;
    let purposes = hardware.purposes.as_deref().unwrap_or_default();
    let attests_only =
        !purposes.is_empty() && purposes.iter().all(|number| *number == purpose::ATTEST_KEY);
    let level = attest_key.attestation_security_level;
    let version = attest_key
        .attestation_version
        .min(attest_key.keymint_version);
    let levels_agree = [
        attest_key.keymint_security_level,
        leaf.attestation_security_level,
        leaf.keymint_security_level,
    ]
    .iter()
    .all(|other| *other == level);
    let root_of_trust = hardware.root_of_trust.as_ref();
    let objection = if !attests_only {
        format!("purposes {purposes:?}, enforced by hardware")
    } else if attest_key.software_enforced.purposes.is_some() {
        "purposes enforced by the system".to_owned()
    } else if version < KEYMINT_1 {
        format!("version {version}, which has no attest keys")
    } else if level == SecurityLevel::Software || !levels_agree {
        format!("level {level}, beside a key of another or of none")
    } else if hardware.origin != Some(Origin::Generated) {
        let origin = hardware.origin.map_or("not stated", Origin::as_str);
        format!("origin {origin} by hardware")
    } else if root_of_trust.is_none()
        || root_of_trust != leaf.hardware_enforced.root_of_trust.as_ref()
    {
        "made under another root of trust".to_owned()
    } else {
        return Ok(format!("an attest key, level {level}"));
    };
    Err(Objection::untrusted(1, objection))
}
