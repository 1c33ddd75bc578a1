//! `docs/policy.md` against the rules there are and the example of the configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assay::config::EXAMPLE;
use assay::policy::{Platform, Rule, Signal};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md")).unwrap()
}

/// The cells of each row of the table of rules.
fn rows() -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> = page()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(rows.iter().all(|cells| cells.len() == 6));
    rows
}

#[test]
fn the_page_lists_every_rule_in_order_with_platform_reasons_and_monitoring() {
    let listed: Vec<Vec<String>> = rows()
        .into_iter()
        .map(|row| {
            vec![
                row[0].clone(),
                row[1].clone(),
                row[3].clone(),
                row[4].clone(),
            ]
        })
        .collect();
    let wanted: Vec<Vec<String>> = Rule::ALL
        .iter()
        .map(|rule| {
            let platform = match rule.platform() {
                Platform::Android => "android",
                Platform::Apple => "apple",
            };
            let reasons: Vec<&str> = rule
                .reasons()
                .iter()
                .map(|reason| reason.as_str())
                .collect();
            let monitored = if rule.may_be_monitored() { "yes" } else { "no" };
            vec![
                format!("`{}`", rule.as_str()),
                platform.to_owned(),
                reasons.join(", "),
                monitored.to_owned(),
            ]
        })
        .collect();
    assert_eq!(listed, wanted);
}

/// The lines of the example for one platform of the app.
fn section(platform: &str) -> BTreeSet<&'static str> {
    let header = format!("[apps.bank.{platform}]");
    let lines = EXAMPLE.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

/// Keys with the default after them, or without one where there is none.
fn stated(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_default_of_the_page_is_that_of_the_example() {
    let mut keys = BTreeSet::new();
    for row in rows() {
        let example = section(&row[1]);
        for written in stated(&row[2]) {
            let found = match written.split_once(" = ") {
                Some(_) => example.contains(format!("#{written}").as_str()),
                None => {
                    let off = format!("#: {written} = ");
                    example.iter().any(|line| line.starts_with(&off))
                }
            };
            assert!(found, "{written} of {}", row[0]);
            keys.insert((
                row[1].clone(),
                written.split(' ').next().unwrap().to_owned(),
            ));
        }
        assert!(row[2] == "always" || !stated(&row[2]).is_empty(), "{row:?}");
    }
    // Keys that say who the app is, or what happens around the rules.
    let others = [
        "package",
        "signing_certificate_sha256",
        "shared_uid_packages",
        "stale_list",
        "monitor",
        "team_id",
        "bundle_id",
        "session_key",
        // Of the sections below it.
        "key_file",
        "key_id",
        "url",
    ];
    for platform in ["android", "apple"] {
        for line in section(platform) {
            let line = line.trim_start_matches(['#', ':']).trim_start();
            let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
            else {
                continue;
            };
            let named = keys.contains(&(platform.to_owned(), key.to_owned()));
            assert!(named || others.contains(&key), "no rule names {key}");
        }
    }
}

#[test]
fn the_page_lists_every_signal_with_its_points() {
    let page = page();
    let table = page.split("| signal | points |").nth(1).unwrap();
    let listed: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(listed.len(), Signal::ALL.len());
    for (row, signal) in listed.iter().zip(Signal::ALL) {
        let takes_the_key = if signal.takes_the_key() { "yes" } else { "no" };
        let points = signal.usual_points().to_string();
        assert_eq!(row[..3], [signal.as_str(), points.as_str(), takes_the_key]);
    }
}
