//! What the attestation says, against what every device key has to be.

use data_encoding::HEXLOWER;

use super::certificate::Certificate;
use super::key_description::{KEY_DESCRIPTION, KeyDescription};
use super::name::printable;
use super::value::{AttestationApplicationId, Origin, SecurityLevel};
use super::walk::Walk;
use super::{Objection, note};
use crate::attestation::{AndroidApp, AppIdentity, Checks, Given};
use crate::reason::Reason;

/// Reads the attestation of the leaf, if it has exactly one.
pub(super) fn description(checks: &mut Checks, leaf: &Certificate<'_>) -> Option<KeyDescription> {
    let mut values = leaf.extensions_of(KEY_DESCRIPTION);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (description, outcome) = match KeyDescription::read(value) {
        Ok(description) => {
            let seen = format!("version {}", description.attestation_version);
            (Some(description), Ok(seen))
        }
        Err(error) => {
            let objection = Objection::new(Reason::EvidenceMalformed, 0, error.to_string());
            (None, Err(objection))
        }
    };
    note(checks, "key_description", "a readable attestation", outcome);
    description
}

/// The checks that need nothing to compare with.
pub(super) fn check(checks: &mut Checks, description: &KeyDescription, walk: Option<&Walk<'_>>) {
    note(
        checks,
        "security_level",
        "hardware, the same for key and attestation",
        security_level(description),
    );
    if let Some(walk) = walk {
        note(
            checks,
            "security_level_certified",
            "the level that the certificates are issued for",
            security_level_certified(description, walk),
        );
    }
    note(
        checks,
        "key_origin",
        "GENERATED, enforced by hardware",
        key_origin(description),
    );
    note(
        checks,
        "root_of_trust",
        "stated by hardware",
        root_of_trust(description),
    );
}

/// The checks against what the evidence has to be for.
pub(super) fn compare(checks: &mut Checks, description: &KeyDescription, given: Given<'_>) {
    let seen = HEXLOWER.encode(&description.attestation_challenge);
    match given.binding {
        Some(wanted) => {
            let outcome = challenge(&description.attestation_challenge, wanted)
                .map(|()| seen.clone())
                .map_err(|reason| Objection::new(reason, 0, seen.clone()));
            note(checks, "challenge", HEXLOWER.encode(wanted), outcome);
        }
        None => checks.not_checked("challenge", seen),
    }

    compare_app(checks, ("app", 0), description, given.app);
}

/// Compares the app that made a key, as a check of that name on that certificate.
pub(super) fn compare_app(
    checks: &mut Checks,
    (name, index): (&'static str, usize),
    description: &KeyDescription,
    wanted: Option<&AppIdentity>,
) {
    let attested = description.application();
    let in_software = description
        .software_enforced
        .attestation_application_id
        .as_ref();
    let contradicted = in_software.filter(|app| Some(*app) != attested);
    let seen = match (attested, contradicted) {
        (Some(app), Some(other)) => format!("{app} by hardware, {other} by the system"),
        (Some(app), None) => app.to_string(),
        (None, _) => "no app named".to_owned(),
    };
    let attested = attested.filter(|_| contradicted.is_none());
    match wanted {
        Some(wanted) => {
            let outcome = app(attested, wanted.android.as_ref())
                .map(|()| seen.clone())
                .map_err(|reason| Objection::new(reason, index, seen.clone()));
            note(checks, name, app_wanted(wanted.android.as_ref()), outcome);
        }
        None => checks.not_checked(name, seen),
    }
}

fn security_level(description: &KeyDescription) -> Result<String, Objection> {
    let attestation = description.attestation_security_level;
    let key = description.keymint_security_level;
    let seen = format!("attestation {attestation}, key {key}");
    if attestation == key && key > SecurityLevel::Software {
        Ok(seen)
    } else {
        Err(Objection::new(Reason::SecurityLevelTooLow, 0, seen))
    }
}

/// Attestation keys of secure elements are certified as such, so that a leaked key of another kind
/// cannot pass for one. Certificates may also say nothing; a secure element then counts as an
/// execution environment.
fn security_level_certified(
    description: &KeyDescription,
    walk: &Walk<'_>,
) -> Result<String, Objection> {
    let strongbox = walk.names(SecurityLevel::StrongBox);
    let tee = walk.names(SecurityLevel::TrustedEnvironment);
    let claimed = description
        .attestation_security_level
        .max(description.keymint_security_level);
    let fits = match claimed {
        SecurityLevel::StrongBox => strongbox || !tee,
        SecurityLevel::TrustedEnvironment => tee || !strongbox,
        SecurityLevel::Software => !tee && !strongbox,
    };
    let certified = match (tee, strongbox) {
        (true, true) => "both",
        (true, false) => "TEE",
        (false, true) => "StrongBox",
        (false, false) => "no level",
    };
    let seen = format!("{claimed} claimed, {certified} certified");
    if fits {
        Ok(seen)
    } else {
        Err(Objection::new(Reason::SecurityLevelTooLow, 1, seen))
    }
}

fn key_origin(description: &KeyDescription) -> Result<String, Objection> {
    match description.hardware_enforced.origin {
        Some(Origin::Generated) => Ok(Origin::Generated.to_string()),
        other => {
            let seen = other.map_or("not stated by hardware", Origin::as_str);
            Err(Objection::new(Reason::AttestationKeyRejected, 0, seen))
        }
    }
}

fn root_of_trust(description: &KeyDescription) -> Result<String, Objection> {
    description
        .hardware_enforced
        .root_of_trust
        .as_ref()
        .map(ToString::to_string)
        .ok_or_else(|| Objection::new(Reason::BootStateRejected, 0, "not stated by hardware"))
}

/// An empty challenge binds nothing, even when it is what was asked for.
fn challenge(seen: &[u8], wanted: &[u8]) -> Result<(), Reason> {
    if !wanted.is_empty() && seen == wanted {
        Ok(())
    } else {
        Err(Reason::AttestationChallengeMismatch)
    }
}

/// The package and its signer belong together: a repackaged app has the name, an own one the signer.
/// A package beside it shares its keys, so it has to be expected.
fn app(
    attested: Option<&AttestationApplicationId>,
    wanted: Option<&AndroidApp>,
) -> Result<(), Reason> {
    let mismatch = Err(Reason::AttestationAppMismatch);
    let (Some(attested), Some(wanted)) = (attested, wanted) else {
        return mismatch;
    };
    let named = attested
        .packages
        .iter()
        .any(|package| package.name == wanted.package_name);
    let alone = attested.packages.iter().all(|package| {
        package.name == wanted.package_name || wanted.shared_uid_packages.contains(&package.name)
    });
    let signed = attested.signature_digests.iter().any(|digest| {
        wanted
            .signing_certificate_sha256
            .iter()
            .any(|signer| signer.as_slice() == digest)
    });
    if named && alone && signed {
        Ok(())
    } else {
        mismatch
    }
}

fn app_wanted(wanted: Option<&AndroidApp>) -> String {
    wanted.map_or_else(
        || "not an Android app".to_owned(),
        |app| {
            let signers: Vec<String> = app
                .signing_certificate_sha256
                .iter()
                .map(|digest| HEXLOWER.encode(digest))
                .collect();
            format!(
                "{} signed by {}",
                printable(&app.package_name),
                signers.join(" or ")
            )
        },
    )
}
