//! What AppraiseEvidence and RegisterDevice share: evidence in, verdict with every check out.

use super::{App, Engine};
use crate::attestation::client_data::{ClientData, Expected, SessionKey};
use crate::attestation::lists::Standing;
use crate::attestation::{
    AttestedKey, Checks, Evidence, Examination, Facts, Given, Rejection, Trust, android, apple,
    examine,
};
use crate::key::{Thumbprint, sha256};
use crate::policy::{self, Assurance, StaleListRule};
use crate::reason::Reason;
use crate::time::{Reading, Timestamp};

/// Evidence as a phone sends it, within its bounds.
#[derive(Debug, Clone)]
pub enum EvidenceInput {
    /// Android Key Attestation.
    Android(android::Chain),
    /// Apple App Attest.
    Apple {
        /// Object and key id.
        attestation: apple::Attestation,
        /// The bytes whose SHA-256 was the `clientDataHash`.
        client_data: Vec<u8>,
    },
}

/// What was found in a piece of evidence.
#[derive(Debug, Clone)]
pub struct Appraisal {
    /// Every check, in order.
    pub checks: Checks,
    /// What the evidence says; not to be believed unless the verdict is good.
    pub facts: Option<Facts>,
    /// The attested key, where it could be read.
    pub key: Option<AttestedKey>,
    /// The verdict.
    pub verdict: Result<Accepted, Box<Rejection>>,
}

/// Evidence that passed attestation and policy.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// What policy made of it.
    pub assurance: Assurance,
    /// The key that will sign proofs.
    pub session_key: Thumbprint,
}

/// Appraises evidence for what it has to name. The checks go on where they can, so that a person
/// sees everything that is wrong; the first that failed gives the reason.
pub(super) fn appraise(
    engine: &Engine,
    app: &App,
    evidence: EvidenceInput,
    expected: Expected<'_>,
    now: Timestamp,
) -> Appraisal {
    let mut checks = supported(app, &evidence);
    let mut said = Checks::default();
    let (evidence, binding, vouched) = match evidence {
        EvidenceInput::Android(chain) => {
            (Evidence::Android(chain), expected.challenge.to_vec(), None)
        }
        EvidenceInput::Apple {
            attestation,
            client_data,
        } => {
            let parsed = ClientData::parse(&client_data);
            let vouched = ClientData::check(parsed, expected, &mut said);
            (
                Evidence::Apple(attestation),
                sha256(&client_data).to_vec(),
                vouched,
            )
        }
    };
    let (examination, provisional) = examined(engine, app, (&evidence, &binding), now);
    let (key, facts) = (examination.key.clone(), examination.facts.clone());
    let unsupported = checks.rejection().map(Box::new);
    checks.extend(examination.checks.clone());
    let attested = unsupported.map_or_else(|| examination.into_attested(), Err);
    let verdict = attested.and_then(|attested| {
        if let Some(rejection) = said.rejection() {
            return Err(Box::new(rejection));
        }
        let (made, verdict) = policy::evaluate(&attested, &app.policy, now);
        said.extend(made);
        verdict.and_then(|assurance| {
            let own = assurance.key().thumbprint();
            ClientData::check_other(vouched, &own, &mut said);
            if let Some(rejection) = said.rejection() {
                return Err(Box::new(rejection));
            }
            let assurance = if provisional {
                assurance.provisional()
            } else {
                assurance
            };
            let session_key = match vouched {
                Some(SessionKey::Named(key)) => key,
                Some(SessionKey::AppAttest) | None => own,
            };
            Ok(Accepted {
                assurance,
                session_key,
            })
        })
    });
    checks.extend(said);
    Appraisal {
        checks,
        facts,
        key,
        verdict,
    }
}

/// Examines evidence, and says whether it can give provisional trust at most.
fn examined(
    engine: &Engine,
    app: &App,
    (evidence, binding): (&Evidence, &[u8]),
    now: Timestamp,
) -> (Examination, bool) {
    let given = Given {
        binding: Some(binding),
        app: Some(&app.identity),
        attest_keys: app.policy.android.attest_keys.in_chains(),
    };
    let lists = engine.lists.load();
    let reading = Reading {
        now,
        ..engine.clock.reading()
    };
    // Whoever the old list names is refused in any case.
    let provisional = matches!(evidence, Evidence::Android(_))
        && lists.standing(reading) == Standing::Stale
        && app.policy.android.stale_list == StaleListRule::Provisional;
    let trust = Trust {
        roots: &engine.roots,
        status_list: if provisional {
            lists.status_list_of_any_age()
        } else {
            // None when it is too old: Android evidence is refused.
            lists.status_list(reading)
        },
        own_list: lists.own_list(),
    };
    (examine(evidence, given, trust, now), provisional)
}

/// Whether the app has a side for this kind of evidence. Said first: what else is wrong with evidence
/// that is never accepted is of little interest.
fn supported(app: &App, evidence: &EvidenceInput) -> Checks {
    let (seen, configured) = match evidence {
        EvidenceInput::Android(_) => ("android", app.identity.android.is_some()),
        EvidenceInput::Apple { .. } => ("apple", app.identity.apple.is_some()),
    };
    let passed = if configured {
        Ok(())
    } else {
        Err(Reason::UnsupportedPlatform)
    };
    let mut checks = Checks::default();
    checks.note("platform", None, passed, (seen, "a platform of the app"));
    checks
}
