//! What was looked at, what was seen, what was wanted: the list behind every verdict.

use crate::reason::Reason;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Seen as wanted.
    Passed,
    /// Not as wanted; the evidence is refused for this reason.
    Failed(Reason),
    /// Not as wanted, under a rule of policy that is looked at and not enforced: it would have been
    /// refused for this reason. No check of an attestation ends so.
    Monitored(Reason),
    /// Nothing to compare with was given. Evidence with such a check is never accepted as a device.
    NotChecked,
}

/// One check with its facts. `seen` and `wanted` are for people: they come from the evidence and
/// from configuration, never from a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable name, `snake_case`, e.g. `root_of_trust` or `challenge`.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What the evidence says.
    pub seen: String,
    /// What would have been accepted.
    pub wanted: String,
    /// The certificate concerned, 0 for the leaf, where one is.
    pub certificate_index: Option<usize>,
}

/// Why evidence was refused: the first check that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {name}: saw {seen}, wanted {wanted}")]
pub struct Rejection {
    /// The stable reason.
    pub reason: Reason,
    /// The check that failed.
    pub name: &'static str,
    /// The certificate concerned, 0 for the leaf, where one is.
    pub certificate_index: Option<usize>,
    /// What the evidence says.
    pub seen: String,
    /// What would have been accepted.
    pub wanted: String,
}

/// The checks made so far, in order. Checks that do not depend on a failed one still run, so that a
/// person sees everything that is wrong at once; the first failure gives the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Notes a check and tells whether it passed.
    pub fn note(
        &mut self,
        name: &'static str,
        index: impl Into<Option<usize>>,
        passed: Result<(), Reason>,
        facts: (impl Into<String>, impl Into<String>),
    ) -> bool {
        let outcome = passed.map_or_else(Outcome::Failed, |()| Outcome::Passed);
        self.push(name, index.into(), outcome, facts);
        passed.is_ok()
    }

    /// Notes a check of a rule that is looked at and not enforced. Policy alone does so: with such a
    /// check in it no examination becomes an [`Attested`](super::Attested).
    pub(crate) fn monitor(
        &mut self,
        name: &'static str,
        index: impl Into<Option<usize>>,
        passed: Result<(), Reason>,
        facts: (impl Into<String>, impl Into<String>),
    ) {
        let outcome = passed.map_or_else(Outcome::Monitored, |()| Outcome::Passed);
        self.push(name, index.into(), outcome, facts);
    }

    fn push(
        &mut self,
        name: &'static str,
        certificate_index: Option<usize>,
        outcome: Outcome,
        facts: (impl Into<String>, impl Into<String>),
    ) {
        self.0.push(Check {
            name,
            outcome,
            seen: facts.0.into(),
            wanted: facts.1.into(),
            certificate_index,
        });
    }

    /// Notes that there was nothing to compare `seen` with.
    pub fn not_checked(&mut self, name: &'static str, seen: impl Into<String>) {
        self.0.push(Check {
            name,
            outcome: Outcome::NotChecked,
            seen: seen.into(),
            wanted: String::new(),
            certificate_index: None,
        });
    }

    /// Appends the checks of a later stage.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// All checks, in the order they were made.
    #[must_use]
    pub fn as_slice(&self) -> &[Check] {
        &self.0
    }

    /// The first failure, if any.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        self.0.iter().find_map(|check| match check.outcome {
            Outcome::Failed(reason) => Some(Rejection {
                reason,
                name: check.name,
                certificate_index: check.certificate_index,
                seen: check.seen.clone(),
                wanted: check.wanted.clone(),
            }),
            Outcome::Passed | Outcome::Monitored(_) | Outcome::NotChecked => None,
        })
    }

    /// The refusal for evidence of which something could not be compared.
    #[must_use]
    pub fn incomplete(&self) -> Rejection {
        let missing = self
            .0
            .iter()
            .find(|check| check.outcome == Outcome::NotChecked);
        Rejection {
            reason: match missing.map(|check| check.name) {
                Some("status_list") => Reason::TrustListStale,
                _ => Reason::EvidenceMalformed,
            },
            name: missing.map_or("evidence", |check| check.name),
            certificate_index: None,
            seen: "not checked".to_owned(),
            wanted: "every check made".to_owned(),
        }
    }

    /// Whether everything was compared and nothing failed, under a monitored rule neither.
    #[must_use]
    pub fn all_passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|check| check.outcome == Outcome::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(note: impl FnOnce(&mut Checks)) -> Checks {
        let mut checks = Checks::default();
        checks.note("root_key", 0, Ok(()), ("a", "a"));
        note(&mut checks);
        checks
    }

    #[test]
    fn only_checks_that_all_passed_have_passed() {
        let reason = Reason::PostureBelowPolicy;
        let facts = || ("a", "b");
        assert!(!Checks::default().all_passed());
        assert!(checks(|_| {}).all_passed());
        assert!(checks(|c| c.monitor("x", 0, Ok(()), facts())).all_passed());
        assert!(!checks(|c| c.monitor("x", 0, Err(reason), facts())).all_passed());
        let failed = checks(|c| {
            c.note("x", 0, Err(reason), facts());
        });
        assert!(!failed.all_passed());
        assert!(!checks(|c| c.not_checked("x", "a")).all_passed());
    }

    #[test]
    fn a_monitored_check_refuses_nothing_and_hides_no_refusal() {
        let (old, app) = (Reason::PostureBelowPolicy, Reason::AttestationAppMismatch);
        let monitored = checks(|c| c.monitor("x", 0, Err(old), ("a", "b")));
        assert_eq!(monitored.rejection(), None);
        let both = checks(|c| {
            c.monitor("x", 0, Err(old), ("a", "b"));
            c.note("app", 0, Err(app), ("a", "b"));
        });
        assert_eq!(both.rejection().unwrap().reason, app);
    }
}
