//! `docs/reasons.md` against the code, and the reasons named elsewhere against those there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assay::grpc::status::code;
use assay::reason::Reason;

use crate::support::sources::{files, library, upper_snake, without_comments, without_tests};

/// How a row begins that no code can give yet.
const RESERVED: &str = "Reserved: ";

fn project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    fs::read_to_string(project("docs/reasons.md")).unwrap()
}

/// The rows of tables with that many columns that begin with a word in backticks.
fn rows(page: &str, columns: usize) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .filter(|cells: &Vec<String>| cells.len() == columns)
        .collect()
}

fn code_word(reason: Reason) -> String {
    upper_snake(&format!("{:?}", code(reason)))
}

/// Words of capitals with an underscore in them.
fn capital_words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .filter(|word| word.contains('_') && !word.contains(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

fn reason_words() -> BTreeSet<String> {
    Reason::ALL.iter().map(|r| r.as_str().to_owned()).collect()
}

#[test]
fn the_page_lists_every_reason_in_order_with_its_code_action_and_message() {
    let listed: Vec<[String; 4]> = rows(&page(), 5)
        .into_iter()
        .map(|row| row[..4].to_vec().try_into().unwrap())
        .collect();
    let wanted: Vec<[String; 4]> = Reason::ALL
        .iter()
        .map(|reason| {
            [
                format!("`{reason}`"),
                code_word(*reason),
                reason.action().as_str().to_owned(),
                reason.message().to_owned(),
            ]
        })
        .collect();
    assert_eq!(listed, wanted);
}

#[test]
fn the_page_says_something_of_its_own_about_every_reason() {
    let mut seen = BTreeSet::new();
    for row in rows(&page(), 5) {
        let (message, said) = (&row[3], &row[4]);
        assert!(said.len() > 20 && said.ends_with('.'), "{row:?}");
        assert_ne!(said, message);
        assert!(seen.insert(said.clone()), "said twice: {said}");
    }
}

#[test]
fn the_page_explains_every_action_and_no_other() {
    let listed: BTreeSet<String> = rows(&page(), 2)
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let given: BTreeSet<String> = Reason::ALL
        .iter()
        .map(|reason| reason.action().as_str().to_owned())
        .collect();
    assert_eq!(listed, given);
}

#[test]
fn the_page_calls_reserved_exactly_what_no_code_gives() {
    let given: String = library()
        .into_iter()
        .filter(|file| !["reason.rs", "grpc/status.rs"].contains(&file.name.as_str()))
        .map(|file| without_comments(&without_tests(&file.text)))
        .collect();
    for row in rows(&page(), 5) {
        let word = row[0].trim_matches('`');
        let variant: String = word
            .split('_')
            .map(|part| part[..1].to_owned() + &part[1..].to_lowercase())
            .collect();
        let used = given
            .match_indices(&format!("Reason::{variant}"))
            .any(|(at, found)| {
                let next = given[at + found.len()..].chars().next();
                !next.is_some_and(|c| c.is_ascii_alphanumeric())
            });
        assert_eq!(used, !row[4].starts_with(RESERVED), "{word}");
    }
}

#[test]
fn the_protos_name_only_reasons_that_exist() {
    let mut named = 0;
    let protos = files(&project("proto"), "proto");
    let all: String = protos.iter().map(|file| file.text.as_str()).collect();
    let defined: String = all
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let known: BTreeSet<String> = &reason_words() | &capital_words(&defined);
    for line in all
        .lines()
        .filter(|line| line.trim_start().starts_with("//"))
    {
        for word in capital_words(line) {
            named += 1;
            assert!(known.contains(&word), "{word} in: {line}");
        }
    }
    assert!(named > 10, "only {named} reasons found in the protos");
}

#[test]
fn the_docs_of_the_flows_name_only_reasons_that_exist() {
    let mut named = 0;
    let flows = library()
        .into_iter()
        .filter(|file| file.name.starts_with("flow/"));
    for file in flows {
        for line in file
            .text
            .lines()
            .filter(|line| line.trim_start().starts_with("///"))
        {
            for word in capital_words(line) {
                named += 1;
                let links_to_a_constant = line.contains(&format!("[`{word}`]"));
                assert!(
                    links_to_a_constant || reason_words().contains(&word),
                    "{word} in {}: {line}",
                    file.name
                );
            }
        }
    }
    assert!(named > 10, "only {named} reasons found in the flows");
}
