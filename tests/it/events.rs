//! `docs/events.md` against the code.

use std::path::Path;

use assay::policy::{Consequences, UserPresence};
use assay::session::{EndReason, EventKind, RevocationReason, StepUpCause, SuspensionReason};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    std::fs::read_to_string(path).unwrap()
}

/// The rows of the tables with that many columns that begin with a word in backticks.
fn rows(columns: usize) -> Vec<Vec<String>> {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .filter(|cells: &Vec<String>| cells.len() == columns)
    .collect()
}

#[test]
fn the_page_lists_every_kind_in_order_with_its_meaning() {
    let listed: Vec<[String; 2]> = rows(4)
        .into_iter()
        .map(|row| row[..2].to_vec().try_into().unwrap())
        .collect();
    let wanted: Vec<[String; 2]> = EventKind::ALL
        .iter()
        .map(|kind| [format!("`{}`", kind.as_str()), kind.meaning().to_owned()])
        .collect();
    assert_eq!(listed, wanted);
}

#[test]
fn the_page_says_of_every_kind_what_its_reason_holds_and_who_does_it() {
    let reasons = [
        "empty",
        "a word for suspensions",
        "a word for revocations",
        "a reason code",
        "a word for ends or revocations",
        "the instant (RFC 3339)",
        "a word for step-ups",
        "a word for presence",
        "a signal of risk",
        "a word for what follows from risk",
    ];
    for row in rows(4) {
        assert!(reasons.contains(&row[2].as_str()), "{row:?}");
        let actors = [
            "the caller",
            "the caller, or `service`",
            "`service`",
            "the caller who proposed it and the one who confirmed it",
        ];
        assert!(actors.contains(&row[3].as_str()), "{row:?}");
    }
}

#[test]
fn the_page_lists_the_words_of_every_kind() {
    let listed: Vec<String> = rows(2).into_iter().map(|row| row[0].clone()).collect();
    let suspensions = [
        SuspensionReason::Mislaid,
        SuspensionReason::Investigation,
        SuspensionReason::Administrative,
        SuspensionReason::Reappraisal,
        SuspensionReason::Risk,
    ];
    let revocations = [
        RevocationReason::Lost,
        RevocationReason::Stolen,
        RevocationReason::Compromised,
        RevocationReason::UserRequest,
        RevocationReason::Administrative,
        RevocationReason::Replaced,
        RevocationReason::Reappraisal,
    ];
    let ends = [
        EndReason::LoggedOut,
        EndReason::RefreshTokenReused,
        EndReason::Evicted,
    ];
    let words = suspensions.iter().map(|why| why.as_str());
    let words = words.chain(revocations.iter().map(|why| why.as_str()));
    let words = words.chain(ends.iter().map(|why| why.as_str()));
    let step_ups = [StepUpCause::RefreshTokenReused, StepUpCause::Risk];
    let words = words.chain(step_ups.iter().map(|why| why.as_str()));
    let words = words.chain(UserPresence::ALL.iter().map(|shown| shown.as_str()));
    let words = words.chain(Consequences::WORDS);
    let wanted: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    assert_eq!(listed, wanted);
}
