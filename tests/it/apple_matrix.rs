//! The matrix of App Attest: every made-up attestation and assertion with its outcome, as tables
//! that the modules beside this one fill and run, and `docs/attacks-apple.md` held against them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assay::reason::Reason;

use crate::{apple_assertions, apple_attacks, apple_forms, apple_odd, apple_vouching};

/// Accepted, or why not and by which check.
pub(crate) type Outcome = Result<(), (Reason, &'static str)>;

/// Something to be verified that is right until it is changed.
pub(crate) trait Subject: Sized {
    fn genuine() -> Self;
    fn outcome(&self) -> Outcome;
}

/// How it ends, what the case is, and what is changed for it.
pub(crate) type Row<S> = (Outcome, &'static str, fn(&mut S));

/// The cases of one test.
pub(crate) struct Group<S: 'static> {
    /// Module and name of the test that runs them.
    pub(crate) test: &'static str,
    pub(crate) rows: &'static [Row<S>],
}

impl<S: Subject> Group<S> {
    pub(crate) fn run(&self) {
        assert_eq!(S::genuine().outcome(), Ok(()), "nothing changed");
        for (wanted, name, change) in self.rows {
            let mut subject = S::genuine();
            change(&mut subject);
            assert_eq!(subject.outcome(), *wanted, "{name}");
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        self.rows.iter().map(|(wanted, name, _)| Line {
            name,
            outcome: match wanted {
                Ok(()) => "accepted".to_owned(),
                Err((reason, check)) => format!("`{reason}` at `{check}`"),
            },
            test: self.test,
        })
    }
}

pub(crate) const ACCEPTED: Outcome = Ok(());
pub(crate) const OBJECT: Outcome = Err((Reason::EvidenceMalformed, "object"));
pub(crate) const FORMAT: Outcome = Err((Reason::EvidenceMalformed, "format"));
pub(crate) const LAYOUT: Outcome = Err((Reason::EvidenceMalformed, "authenticator_data"));
pub(crate) const CERTIFICATE: Outcome = Err((Reason::EvidenceMalformed, "certificate"));
pub(crate) const VALIDITY: Outcome = Err((Reason::AttestationChainUntrusted, "validity"));
pub(crate) const CHAIN: Outcome = Err((Reason::AttestationChainUntrusted, "chain"));
pub(crate) const ISSUER: Outcome = Err((Reason::AttestationChainUntrusted, "issuer_usage"));
pub(crate) const LEAF_KEY: Outcome = Err((Reason::AttestationKeyRejected, "leaf_key"));
pub(crate) const LEAF_USAGE: Outcome = Err((Reason::AttestationKeyRejected, "leaf_usage"));
pub(crate) const CHALLENGE: Outcome = Err((Reason::AttestationChallengeMismatch, "challenge"));
pub(crate) const BOOT: Outcome = Err((Reason::BootStateRejected, "boot_state"));
pub(crate) const KEY_ID: Outcome = Err((Reason::AttestationKeyRejected, "key_id"));
pub(crate) const CREDENTIAL: Outcome = Err((Reason::AttestationKeyRejected, "credential_id"));
pub(crate) const COSE_KEY: Outcome = Err((Reason::AttestationKeyRejected, "cose_key"));
pub(crate) const COUNTER: Outcome = Err((Reason::AttestationKeyRejected, "counter"));
pub(crate) const APP: Outcome = Err((Reason::AttestationAppMismatch, "app"));
pub(crate) const CERTIFIED_APP: Outcome = Err((Reason::AttestationAppMismatch, "certified_app"));
pub(crate) const ENVIRONMENT: Outcome =
    Err((Reason::AttestationEnvironmentMismatch, "environment"));
pub(crate) const TOO_LARGE: Outcome = Err((Reason::EvidenceTooLarge, "object"));
pub(crate) const SIGNATURE: Outcome = Err((Reason::ProofInvalid, "signature"));
pub(crate) const ZERO: Outcome = Err((Reason::ProofInvalid, "counter"));
pub(crate) const REPLAYED: Outcome = Err((Reason::ProofReplayed, "counter"));
pub(crate) const DATA: Outcome = Err((Reason::EvidenceMalformed, "client_data"));
pub(crate) const DATA_JKT: Outcome = Err((Reason::EvidenceMalformed, "client_data_jkt"));
pub(crate) const DATA_PURPOSE: Outcome = Err((Reason::EvidenceMalformed, "client_data_purpose"));
pub(crate) const DATA_CHALLENGE: Outcome = Err((
    Reason::AttestationChallengeMismatch,
    "client_data_challenge",
));
pub(crate) const DATA_APP: Outcome = Err((Reason::AttestationAppMismatch, "client_data_app"));

/// One row of the page.
struct Line {
    name: &'static str,
    outcome: String,
    test: &'static str,
}

fn lines<S: Subject>(groups: &[&'static Group<S>]) -> Vec<Line> {
    groups.iter().flat_map(|group| group.lines()).collect()
}

/// The tables of the page: the heading, and what stands below it.
fn tables() -> [(&'static str, Vec<Line>); 5] {
    let mut refused = lines(&apple_attacks::GROUPS);
    refused.extend(lines(&apple_forms::GROUPS));
    [
        ("## Attestations that are refused", refused),
        (
            "## Attestations that are odd but genuine",
            lines(&apple_odd::GROUPS),
        ),
        (
            "## Assertions that are refused",
            lines(&apple_assertions::REFUSED),
        ),
        (
            "## Assertions that are odd but genuine",
            lines(&[&apple_assertions::ODD]),
        ),
        (
            "## Session keys vouched for by an assertion",
            lines(&apple_vouching::GROUPS),
        ),
    ]
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks-apple.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_lists_every_case_with_its_outcome_and_its_test() {
    let page = page();
    let mut wrong = Vec::new();
    for (heading, lines) in tables() {
        let wanted: String = lines
            .iter()
            .map(|line| format!("| {} | {} | `{}` |\n", line.name, line.outcome, line.test))
            .collect();
        let (_, section) = page.split_once(heading).expect(heading);
        let section = section.split("\n## ").next().unwrap();
        let listed: String = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| case |"))
            .map(|line| format!("{line}\n"))
            .collect();
        if listed != wanted {
            wrong.push(format!("{heading}\n\n{wanted}"));
        }
    }
    assert!(wrong.is_empty(), "these have to be:\n{}", wrong.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_a_test_that_runs_it() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for (heading, lines) in tables() {
        let mut names = BTreeSet::new();
        for line in lines {
            assert!(names.insert(line.name), "{heading}: {}", line.name);
            let (module, test) = line.test.split_once("::").unwrap();
            let text = fs::read_to_string(tests.join(format!("{module}.rs"))).unwrap();
            let found = text.contains(&format!("#[test]\nfn {test}() {{"));
            assert!(found, "{} is no test", line.test);
        }
    }
}

#[test]
fn the_tests_that_the_page_names_beside_its_tables_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let page = page();
    let (_, section) = page.split_once("## Beyond single cases").unwrap();
    let named: Vec<&str> = section
        .split('`')
        .filter(|word| word.starts_with("apple_") && word.contains("::"))
        .collect();
    assert!(named.len() > 5, "only {named:?}");
    for name in named {
        let (module, test) = name.split_once("::").unwrap();
        let text = fs::read_to_string(tests.join(format!("{module}.rs"))).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "{name} is no test");
    }
}
