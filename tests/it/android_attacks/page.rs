//! `docs/attacks-android.md` against the tables.

use std::fs;
use std::path::Path;

use super::GROUPS;
use crate::android_quirks as quirks;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks-android.md");
    fs::read_to_string(path).unwrap()
}

/// The rows of tables, without headings and the lines below them.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        if line.starts_with("|---") {
            rows.pop();
        } else {
            rows.push(line.to_owned());
        }
    }
    rows
}

/// A test by its path, as `cargo test` takes it.
fn named(test: &str) -> &str {
    test.strip_prefix("it::").unwrap_or(test)
}

fn wanted() -> Vec<String> {
    let mut rows = Vec::new();
    for group in GROUPS {
        for attack in group.attacks {
            let places: Vec<String> = attack.places.iter().map(usize::to_string).collect();
            let places = if places.is_empty() {
                "chain".to_owned()
            } else {
                places.join(", ")
            };
            let (name, reason, check) = (attack.name, attack.reason, attack.check);
            let test = named(group.test);
            rows.push(format!(
                "| {name} | {places} | `{reason}` | `{check}` | `{test}` |"
            ));
        }
    }
    for (table, test) in [
        (quirks::CERTIFICATES, quirks::TEST_OF_CERTIFICATES),
        (quirks::ATTESTATIONS, quirks::TEST_OF_ATTESTATIONS),
        (quirks::ATTEST_KEYS, quirks::TEST_OF_ATTEST_KEYS),
    ] {
        let test = named(test);
        rows.extend(
            table
                .iter()
                .map(|quirk| format!("| {} | `{test}` |", quirk.name)),
        );
    }
    rows
}

#[test]
fn the_page_shows_every_row_of_every_table_and_no_other() {
    let (seen, wanted) = (rows(&page()), wanted());
    let missing: Vec<&String> = wanted.iter().filter(|row| !seen.contains(row)).collect();
    assert!(missing.is_empty(), "not on the page:\n{missing:#?}");
    assert_eq!(seen, wanted);
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let mut names: Vec<String> = wanted()
        .iter()
        .map(|row| row.split(" | ").next().unwrap().to_owned())
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all > 250, "{all}");
}
