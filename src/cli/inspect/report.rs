//! The findings as a report for a person.
//!
//! Everything that is written goes through [`plain`]: much of it was chosen by whoever sent the
//! evidence, and none of it may steer a terminal.

use data_encoding::BASE64;

use super::finding::{Finding, Kind, Told};
use super::words::{self, Row};
use crate::attestation::apple::assertion::AssertionFacts;
use crate::attestation::apple::{self, Extensions};
use crate::attestation::text::steers;
use crate::attestation::{AttestedKey, CertificateSummary, Check, Facts, Outcome, android};
use crate::time::Timestamp;

/// A longer subject is cut in the table.
const SUBJECT_CHARS_MAX: usize = 56;

#[derive(Debug, Clone, Copy)]
enum Ink {
    Plain,
    Heading,
    Good,
    Bad,
    Faint,
}

impl Ink {
    /// Parameters of the terminal's SGR sequence (ECMA-48, 8.3.117).
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Heading => Some("1"),
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }
}

/// The report under way.
struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn put(&mut self, ink: Ink, words: &str) {
        let words = plain(words);
        match ink.code().filter(|_| self.colour) {
            Some(code) => {
                let painted = format!("\u{1b}[{code}m{words}\u{1b}[0m");
                self.text.push_str(&painted);
            }
            None => self.text.push_str(&words),
        }
    }

    /// As [`Self::put`], filled up with spaces to a width.
    fn column(&mut self, ink: Ink, words: &str, width: usize) {
        self.put(ink, words);
        let used = plain(words).chars().count();
        self.text.push_str(&" ".repeat(width.saturating_sub(used)));
    }

    fn end(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    fn line(&mut self, ink: Ink, words: &str) {
        self.put(ink, words);
        self.end();
    }

    fn heading(&mut self, words: &str) {
        self.end();
        self.line(Ink::Heading, words);
    }

    /// Labels and values below each other.
    fn rows(&mut self, rows: &[Row]) {
        let width = rows.iter().map(|(label, _)| label.chars().count()).max();
        for (label, value) in rows {
            self.text.push_str("  ");
            self.column(Ink::Faint, label, width.unwrap_or(0) + 2);
            self.line(Ink::Plain, value);
        }
    }
}

/// `words` with everything escaped that is not plainly a printed character.
fn plain(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for character in words.chars() {
        let printed = character == ' '
            || character.is_ascii_graphic()
            || character.is_alphanumeric() && !steers(character)
            || "✓✗–…".contains(character);
        if printed {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

pub(super) fn render(finding: &Finding, colour: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    verdict(&mut page, finding);
    checks(&mut page, finding.checks.as_slice());
    if !finding.certificates.is_empty() {
        certificates(&mut page, finding);
    }
    if let Some(key) = &finding.key {
        page.heading("Key");
        page.rows(&key_rows(key));
    }
    match &finding.told {
        None => {}
        Some(Told::Attestation(Facts::Android(facts))) => android(&mut page, facts),
        Some(Told::Attestation(Facts::Apple(facts))) => {
            page.heading("What the attestation says");
            page.rows(&apple_rows(facts));
        }
        Some(Told::Assertion(facts)) => {
            page.heading("What the assertion says");
            page.rows(&assertion_rows(facts));
        }
    }
    page.text
}

fn verdict(page: &mut Page, finding: &Finding) {
    let at = finding.at;
    let kind = match finding.kind {
        Kind::KeyAttestation => format!("  Android Key Attestation, at {at}"),
        Kind::AppAttestation => format!("  App Attest attestation, at {at}"),
        // Nothing in an assertion depends on the time.
        Kind::AppAssertion => "  App Attest assertion".to_owned(),
    };
    match finding.rejection() {
        None => {
            page.put(Ink::Good, "✓ ACCEPT");
            page.line(Ink::Plain, &kind);
            page.line(Ink::Plain, "  No check failed.");
        }
        Some(rejection) => {
            let reason = rejection.reason;
            page.put(Ink::Bad, &format!("✗ REJECT {reason}"));
            page.line(Ink::Plain, &kind);
            page.line(Ink::Plain, &format!("  {}", reason.message()));
        }
    }
    let unmade = finding.not_checked();
    if !unmade.is_empty() {
        let unmade = unmade.join(", ");
        page.line(Ink::Plain, &format!("  Not checked: {unmade}."));
    }
}

fn checks(page: &mut Page, checks: &[Check]) {
    page.heading("Checks");
    let width = checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or(0) + 2;
    for check in checks {
        let (mark, ink) = match check.outcome {
            Outcome::Passed => ("✓", Ink::Good),
            Outcome::Failed(_) => ("✗", Ink::Bad),
            Outcome::Monitored(_) => ("!", Ink::Bad),
            Outcome::NotChecked => ("–", Ink::Faint),
        };
        page.text.push_str("  ");
        page.put(ink, mark);
        page.text.push(' ');
        page.column(Ink::Plain, check.name, width);
        match check.outcome {
            Outcome::Passed => page.line(Ink::Plain, &check.seen),
            Outcome::NotChecked => {
                page.put(Ink::Plain, &check.seen);
                page.line(Ink::Faint, "  not checked");
            }
            Outcome::Failed(reason) | Outcome::Monitored(reason) => {
                let place = check
                    .certificate_index
                    .map_or_else(String::new, |index| format!(" at certificate {index}"));
                let indent = " ".repeat(width + 4);
                page.line(Ink::Bad, &format!("saw {}", check.seen));
                page.line(Ink::Plain, &format!("{indent}wanted {}", check.wanted));
                let note = match check.outcome {
                    Outcome::Monitored(_) => ", monitored only",
                    Outcome::Failed(_) | Outcome::Passed | Outcome::NotChecked => "",
                };
                page.line(Ink::Faint, &format!("{indent}{reason}{place}{note}"));
            }
        }
    }
}

fn certificates(page: &mut Page, finding: &Finding) {
    page.heading("Certificates");
    let titles = ["#", "subject", "key", "signature", "valid"].map(str::to_owned);
    let mut table = vec![titles];
    for (index, certificate) in finding.certificates.iter().enumerate() {
        table.push([
            index.to_string(),
            cut(&certificate.subject),
            certificate.key.clone(),
            certificate.signature.clone(),
            validity(certificate),
        ]);
    }
    let mut widths = [0; 5];
    for row in &table {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = plain(cell).chars().count().max(*width);
        }
    }
    let concerned = finding.rejection().and_then(|why| why.certificate_index);
    for (line, row) in table.iter().enumerate() {
        let ink = match line.checked_sub(1) {
            None => Ink::Faint,
            index if index == concerned => Ink::Bad,
            Some(_) => Ink::Plain,
        };
        page.text.push_str("  ");
        for (cell, width) in row.iter().zip(widths) {
            page.column(ink, cell, width + 2);
        }
        page.end();
    }
}

fn cut(subject: &str) -> String {
    if subject.chars().count() <= SUBJECT_CHARS_MAX {
        return subject.to_owned();
    }
    let mut short: String = subject.chars().take(SUBJECT_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

fn validity(certificate: &CertificateSummary) -> String {
    let date = |at: Option<Timestamp>| match at.map(Timestamp::to_rfc3339) {
        None => "unreadable".to_owned(),
        Some(at) => at.split('T').next().unwrap_or_default().to_owned(),
    };
    let (from, to) = (date(certificate.not_before), date(certificate.not_after));
    format!("{from} to {to}")
}

fn row(label: &str, value: impl Into<String>) -> Row {
    (label.to_owned(), value.into())
}

fn stated(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "not stated".to_owned(), |value| value.to_string())
}

fn key_rows(key: &AttestedKey) -> Vec<Row> {
    match key {
        AttestedKey::P256(point) => vec![
            row("kind", "EC P-256"),
            row("thumbprint", point.thumbprint().to_string()),
        ],
        AttestedKey::Other(kind) => vec![row("kind", kind)],
    }
}

fn android(page: &mut Page, facts: &android::Facts) {
    page.heading("Device");
    let mut rows = vec![
        row("security_level", facts.security_level.as_str()),
        row("provisioning", facts.provisioning.as_str()),
    ];
    if let android::Provisioning::Remote {
        issued,
        manufacturer,
    } = &facts.provisioning
    {
        rows.push(row("  certificates issued", stated(*issued)));
        rows.push(row("  manufacturer", stated(manufacturer.as_ref())));
    }
    let hash = words::octets(&facts.attestation_key_sha256);
    rows.push(row("attestation key SHA-256", hash));
    let hash = words::octets(&facts.root_key_sha256);
    rows.push(row("root key SHA-256", hash));
    page.rows(&rows);

    let description = &facts.key_description;
    let level = |level: android::SecurityLevel| format!("{level} ({})", level as u64);
    page.heading("Key description");
    page.rows(&[
        row(
            "attestation_version",
            words::attestation_version(description.attestation_version),
        ),
        row(
            "attestation_security_level",
            level(description.attestation_security_level),
        ),
        row(
            "keymint_version",
            words::keymint_version(description.keymint_version),
        ),
        row(
            "keymint_security_level",
            level(description.keymint_security_level),
        ),
        row(
            "attestation_challenge",
            words::octets_or_text(&description.attestation_challenge),
        ),
        row("unique_id", words::octets(&description.unique_id)),
    ]);
    list(page, "Enforced by hardware", &description.hardware_enforced);
    list(
        page,
        "Enforced by the system",
        &description.software_enforced,
    );
}

fn list(page: &mut Page, title: &str, list: &android::AuthorizationList) {
    page.heading(title);
    let mut rows: Vec<Row> = list
        .fields()
        .flat_map(|field| words::field(&field))
        .collect();
    if !list.unknown_tags.is_empty() {
        let tags: Vec<String> = list.unknown_tags.iter().map(u32::to_string).collect();
        rows.push(row("unknown_tags", tags.join(", ")));
    }
    if rows.is_empty() {
        rows.push(row("nothing", ""));
    }
    page.rows(&rows);
}

fn apple_rows(facts: &apple::Facts) -> Vec<Row> {
    let mut rows = vec![
        row("key_id", BASE64.encode(&facts.key_id)),
        row("app_id", stated(facts.app_id.as_ref())),
        row("rp_id_hash", words::octets(&facts.rp_id_hash)),
        row(
            "environment",
            facts
                .environment
                .map_or("unknown", apple::Environment::as_str),
        ),
        row("sign_count", facts.sign_count.to_string()),
        row("os_version", stated(facts.os_version.as_ref())),
        row("os_build", stated(facts.os_build.as_ref())),
        row("os_platform", stated(facts.platform.as_ref())),
        row(
            "acl_blob",
            stated(facts.acl_blob.as_deref().map(words::octets)),
        ),
        row("receipt", facts.receipt.described()),
    ];
    rows.extend(extension_rows(&facts.extensions));
    rows
}

fn assertion_rows(facts: &AssertionFacts) -> Vec<Row> {
    let mut rows = vec![row("counter", facts.counter.to_string())];
    rows.extend(extension_rows(&facts.extensions));
    rows
}

fn extension_rows(extensions: &Extensions) -> [Row; 5] {
    let category = extensions.validation_category.map(|number| {
        let word = match number {
            0 => "invalid",
            1 => "operating system",
            2 => "TestFlight",
            3 => "development",
            4 => "App Store",
            5 => "enterprise or ad hoc",
            6 => "Developer ID",
            10 => "other",
            _ => return number.to_string(),
        };
        format!("{word} ({number})")
    });
    [
        row("validation_category", stated(category)),
        row("bundle_version", stated(extensions.bundle_version.as_ref())),
        row(
            "cd_hash",
            stated(extensions.cd_hash.as_deref().map(words::octets)),
        ),
        row("cd_hash_type", stated(extensions.cd_hash_type)),
        row("announced", if extensions.announced { "yes" } else { "no" }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        assert_eq!(
            plain("a\u{1b}[31m\n\u{9b}\u{202e}é ✓"),
            "a\\u{1b}[31m\\u{a}\\u{9b}\\u{202e}é ✓"
        );
        // Letters, too: these are read from right to left, and not seen at all.
        assert_eq!(plain("\u{5d0}1\u{3164}"), "\\u{5d0}1\\u{3164}");
    }

    #[test]
    fn colour_is_left_out_where_it_is_not_wanted() {
        for (colour, written) in [(true, "\u{1b}[32mgood\u{1b}[0m"), (false, "good")] {
            let mut page = Page {
                text: String::new(),
                colour,
            };
            page.put(Ink::Good, "good");
            assert_eq!(page.text, written);
        }
    }
}
