//! From the text to a [`Config`]: the top of the file and every section but the store and the apps.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::reader::{FileReference, Reader, Section};
use super::report::{Finding, Lines, Show};
use super::value::choice;
use super::{CONFIG_BYTES_MAX, Config, Mode, apps, listeners, lists, rates, sections, store};

/// What came of a text.
pub(super) struct Outcome {
    /// Something when no value was wrong; not to be used while there are findings.
    pub(super) config: Option<Config>,
    pub(super) findings: Vec<Finding>,
    pub(super) files: Vec<FileReference>,
    /// Every key that was asked for.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the test of the example reads it")
    )]
    pub(super) known: BTreeSet<String>,
}

pub(super) fn parse(text: &str, base: &Path) -> Outcome {
    let mut reader = Reader::new(base);
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("the file is larger than {CONFIG_BYTES_MAX} bytes");
        reader.found(nowhere(message));
        return outcome(reader, None);
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let crooked = syntax(&mut reader, text, &errors);
    if crooked == Crooked::Structure {
        return outcome(reader, None);
    }
    let syntax_findings = std::mem::take(&mut reader.findings);
    let config = top(&mut reader, Section::top(tree.get_ref()));
    if !syntax_findings.is_empty() {
        keep_independent(&mut reader.findings, &syntax_findings, text);
        reader.findings.extend(syntax_findings);
    }
    outcome(reader, config)
}

fn outcome(reader: Reader<'_>, config: Option<Config>) -> Outcome {
    Outcome {
        config,
        known: reader.known().clone(),
        findings: reader.findings,
        files: reader.files,
    }
}

fn nowhere(message: String) -> Finding {
    Finding {
        span: 0..0,
        message,
        hint: None,
        show: Show::Nothing,
    }
}

/// How far the syntax is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crooked {
    /// Not at all, or single values and keys: the tables are what they look like.
    Values,
    /// A header, list or text does not end where it should: what follows cannot be trusted.
    Structure,
}

fn syntax(reader: &mut Reader<'_>, text: &str, errors: &[toml::de::Error]) -> Crooked {
    let lines = Lines::of(text);
    let mut crooked = Crooked::Values;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let header = lines.at(span.start).1.trim_start().starts_with('[');
        let hint = if message == "duplicate key" {
            "remove one of them"
        } else if !header && is_about_one_value(message) {
            ""
        } else {
            crooked = Crooked::Structure;
            "what the file says is checked once it can be read"
        };
        reader.wrong::<()>(span, message, hint);
    }
    crooked
}

/// Whether a syntax error concerns a single value whose end is clear. The words are those of the
/// TOML parser; one that it should come to say otherwise counts as broken structure.
fn is_about_one_value(message: &str) -> bool {
    ["boolean", "integer", "float", "values must be quoted"]
        .iter()
        .any(|word| message.contains(word))
}

/// Of what was found in a tree with syntax errors in single values, keeps what does not come from
/// them: nothing on the same lines.
fn keep_independent(findings: &mut Vec<Finding>, syntax: &[Finding], text: &str) {
    let lines = Lines::of(text);
    let line = |span: &Range<usize>| lines.at(span.start).0;
    let crooked: BTreeSet<usize> = syntax.iter().map(|f| line(&f.span)).collect();
    findings.retain(|f| f.show == Show::Nothing || !crooked.contains(&line(&f.span)));
}

fn top(reader: &mut Reader<'_>, mut top: Section<'_, '_>) -> Option<Config> {
    let modes = [
        ("production", Mode::Production),
        ("development", Mode::Development),
    ];
    let mode_read = top.or(reader, "mode", Mode::Production, choice(&modes));
    // The rules of development forbid less: a misspelt mode gives no follow-up problems.
    let mode = mode_read.unwrap_or(Mode::Development);

    let section = top.section(reader, "server");
    if !section.is_written() {
        let hint = "it says where to listen; see `assay config example`";
        top.missing(reader, "[server]", hint);
    }
    let server = listeners::server(reader, section, mode);
    let section = top.section(reader, "side");
    let side = listeners::side(reader, section, &server);
    let section = top.section(reader, "token");
    let token = sections::token(reader, section, mode, &server);
    let section = top.section(reader, "keys");
    let keys = sections::keys(reader, section, mode);

    let section = top.section(reader, "store");
    if !section.is_written() {
        top.missing(reader, "[store]", "it says where the state is kept");
    }
    let store = store::store(reader, section, mode);
    let section = top.section(reader, "attestation");
    let (attestation, need) = sections::attestation(reader, section, mode);
    let section = top.section(reader, "outbound");
    let outbound = lists::outbound(reader, section);
    let apps = apps::apps(reader, &mut top, mode);
    sections::need_status_list(reader, &top, need);
    let callers = sections::callers(reader, &mut top, &server);
    let section = top.section(reader, "telemetry");
    let telemetry = sections::telemetry(reader, section);
    let section = top.section(reader, "rates");
    let rates = rates::of_service(reader, section);
    top.finish(reader);
    Some(Config {
        mode: mode_read?,
        server: server.complete()?,
        side: side?,
        token: token?,
        keys: keys?,
        store: store?,
        attestation: attestation?,
        outbound: outbound?,
        apps: apps?,
        callers: callers?,
        telemetry: telemetry?,
        rates: rates?,
    })
}
