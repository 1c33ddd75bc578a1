//! docs/chaos.md, held against the code.

use std::fs;
use std::path::Path;

use super::checker::Rule;
use super::scale::{RUNS, VARIABLES};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The first cells of the rows of a page's table with this head.
fn rows(page: &str, head: &str) -> Vec<String> {
    let lines = page.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned())
        .collect()
}

#[test]
fn the_page_lists_every_run() {
    assert_eq!(rows(&read("docs/chaos.md"), "| run |"), RUNS);
}

#[test]
fn the_page_lists_every_promise() {
    let promises: Vec<String> = Rule::ALL.iter().map(|rule| format!("`{rule:?}`")).collect();
    assert_eq!(rows(&read("docs/chaos.md"), "| promise |"), promises);
}

#[test]
fn the_command_sets_what_the_runs_read() {
    let (page, script) = (read("docs/chaos.md"), read("scripts/chaos.sh"));
    for variable in VARIABLES {
        assert!(script.contains(variable), "{variable}");
    }
    for asked in ["CHAOS_SECONDS", "CHAOS_ROUNDS", "ASSAY_SEED"] {
        assert!(page.contains(asked) && script.contains(asked), "{asked}");
    }
    assert!(read("Makefile").contains("scripts/chaos.sh"));
}
