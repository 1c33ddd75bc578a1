//! What is wrong with a configuration file, shown the way a compiler shows it.

use std::fmt;
use std::ops::Range;

/// Most problems that are reported. A file of the largest size could otherwise have hundreds of
/// thousands of them.
const PROBLEMS_MAX: usize = 200;
/// Longest part of a line that is shown, in characters.
const EXCERPT_CHARS_MAX: usize = 120;
/// How much of a long line is shown before the place that matters, in characters.
const EXCERPT_CHARS_BEFORE: usize = 40;
/// Longest text from the file that is repeated within a message, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// How much of the line a problem may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// The line, unless it looks as if it held a secret.
    Line,
    /// Only what stands before the first `=`: the value may be a secret in the wrong place.
    KeyOnly,
    /// Nothing: the problem is about something that is not there.
    Nothing,
}

/// A problem as it is found: a place in the text and what is wrong there.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) show: Show,
}

/// One problem, with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1 in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that can be told.
    pub hint: Option<String>,
    excerpt: Option<Excerpt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    before_caret: String,
    carets: usize,
}

/// Everything that is wrong with a configuration. `Display` gives one block per problem:
/// `FILE:LINE:COLUMN: message`, the line with carets, and a hint. Values that may be secrets are
/// left out, and control characters of the file never reach the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigReport {
    file: String,
    problems: Vec<Problem>,
    more: bool,
    unreadable: Option<String>,
}

impl std::error::Error for ConfigReport {}

impl ConfigReport {
    pub(super) fn unreadable(file: &str, why: &str) -> Self {
        Self {
            file: printable(file),
            problems: Vec::new(),
            more: false,
            unreadable: Some(why.to_owned()),
        }
    }

    pub(super) fn of_findings(text: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| {
            (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message))
        });
        findings.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        let lines = Lines::of(text);
        let more = findings.len() > PROBLEMS_MAX;
        findings.truncate(PROBLEMS_MAX);
        Self {
            file: "assay.toml".to_owned(),
            problems: findings.into_iter().map(|f| lines.problem(f)).collect(),
            more,
            unreadable: None,
        }
    }

    /// The same report for a file of this name.
    #[must_use]
    pub fn named(mut self, file: &str) -> Self {
        self.file = printable(file);
        self
    }

    /// The problems, in the order of the file. Of a great many only the first ones are kept.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The first problem with its place, for a line of a log: no excerpt, so no value that stands
    /// beside it.
    #[must_use]
    pub fn first(&self) -> String {
        match (&self.unreadable, self.problems.first()) {
            (Some(why), _) => why.clone(),
            (
                None,
                Some(Problem {
                    line,
                    column,
                    message,
                    ..
                }),
            ) => {
                format!("{line}:{column}: {message}")
            }
            (None, None) => String::new(),
        }
    }

    /// Whether the file itself could not be read, so that nothing was checked.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }
}

impl fmt::Display for ConfigReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unreadable {
            return writeln!(f, "{}: {why}", self.file);
        }
        for problem in &self.problems {
            problem.write(f, &self.file)?;
        }
        match self.problems.len() {
            1 => write!(f, "{}: 1 problem", self.file)?,
            many if self.more => write!(f, "{}: more than these {many} problems", self.file)?,
            many => write!(f, "{}: {many} problems", self.file)?,
        }
        writeln!(f)
    }
}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        writeln!(f, "{file}:{}:{}: {}", self.line, self.column, self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let carets = "^".repeat(excerpt.carets);
            writeln!(f, " {number} | {}", excerpt.line)?;
            writeln!(f, " {gutter} | {}{carets}", excerpt.before_caret)?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "hint: {hint}")?;
        }
        writeln!(f)
    }
}

/// Where the lines of a text begin, so that each place is found without reading it all again.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { text, starts }
    }

    /// The line's place in [`Lines::starts`] and its text without the line end.
    pub(super) fn at(&self, offset: usize) -> (usize, &'t str) {
        let index = self.starts.partition_point(|&start| start <= offset);
        let index = index.saturating_sub(1);
        let start = self.start(index);
        let rest = self.text.get(start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        (index, line.strip_suffix('\r').unwrap_or(line))
    }

    fn start(&self, index: usize) -> usize {
        self.starts.get(index).copied().unwrap_or(0)
    }

    fn problem(&self, finding: Finding) -> Problem {
        let (index, line) = self.at(finding.span.start);
        let start = self.start(index);
        // A byte order mark is not a column.
        let bom = if line.starts_with('\u{feff}') { 1 } else { 0 };
        let chars_to = |offset: usize| {
            line.char_indices()
                .take_while(|(at, _)| start + at < offset)
                .count()
                .saturating_sub(bom)
        };
        let from = chars_to(finding.span.start);
        let to = chars_to(finding.span.end).max(from + 1);
        Problem {
            line: index + 1,
            column: from + 1,
            excerpt: excerpt(line.trim_start_matches('\u{feff}'), from..to, finding.show),
            message: finding.message,
            hint: finding.hint,
        }
    }
}

fn excerpt(line: &str, chars: Range<usize>, show: Show) -> Option<Excerpt> {
    let (mut shown, masked) = match show {
        Show::Nothing => return None,
        Show::KeyOnly => mask(line, chars.end),
        Show::Line if may_hold_a_secret(line) => mask(line, 0),
        Show::Line => (line.to_owned(), false),
    };
    let length = shown.chars().count();
    let (mut from, mut to) = (chars.start, chars.end);
    if masked && to > length {
        // The place itself is hidden: point at the mark that stands for it.
        from = from.min(length.saturating_sub(1));
        to = length.max(from + 1);
    }
    if length > EXCERPT_CHARS_MAX {
        let skip = from.saturating_sub(EXCERPT_CHARS_BEFORE);
        let window: String = shown.chars().skip(skip).take(EXCERPT_CHARS_MAX).collect();
        let after = skip + EXCERPT_CHARS_MAX < length;
        shown = format!(
            "{}{window}{}",
            if skip > 0 { "…" } else { "" },
            if after { "…" } else { "" }
        );
        let shift = skip.saturating_sub(usize::from(skip > 0));
        from = from.saturating_sub(shift);
        to = to.saturating_sub(shift).min(shown.chars().count());
    }
    let shown = printable(&shown);
    Some(Excerpt {
        before_caret: shown
            .chars()
            .take(from)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect(),
        carets: to.saturating_sub(from).max(1),
        line: shown.trim_end().to_owned(),
    })
}

/// The line up to its first `=` and a mark for what is left out; of a line without one, e.g. a
/// header, as much as the problem is about.
fn mask(line: &str, chars: usize) -> (String, bool) {
    if let Some((key, _)) = line.split_once('=') {
        return (format!("{key}= …"), true);
    }
    let shown: String = line.chars().take(chars).collect();
    let rest = line.chars().skip(chars);
    let brackets: String = rest.take_while(|c| *c == ']').collect();
    let all = !shown.is_empty() && line.trim_end().chars().count() == chars + brackets.len();
    let mark = if all { "" } else { "…" };
    (format!("{shown}{brackets}{mark}"), true)
}

/// Whether a line looks as if a secret were written in it: it is then not repeated. `…_file` keys
/// name files, and `[token]` is a table.
fn may_hold_a_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    let named = ["password", "passwd", "passphrase", "secret", "credential"]
        .iter()
        .any(|word| {
            lower
                .match_indices(word)
                .any(|(at, _)| !rest(&lower, at + word.len()).starts_with("_file"))
        });
    let in_url = lower
        .find("://")
        .is_some_and(|at| rest(&lower, at).contains('@'));
    named || in_url || lower.contains("private key") || is_pasted_base64(line)
}

/// A bare line of base64, as in the middle of a PEM block. Digests stand in quotes.
fn is_pasted_base64(line: &str) -> bool {
    let line = line.trim();
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    line.len() >= 16 && line.bytes().all(base64)
}

fn rest(text: &str, from: usize) -> &str {
    text.get(from..).unwrap_or_default()
}

/// Without control characters, invisible ones and marks that turn the direction of writing: what a
/// file holds must not steer the terminal it is shown on. Tabs stay.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => '\t',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A text of the file, in quotes, bounded and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("\"{}\"", printable(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, at: &str, show: Show) -> String {
        let start = text.find(at).unwrap();
        let finding = Finding {
            span: start..start + at.len(),
            message: "wrong".to_owned(),
            hint: None,
            show,
        };
        ConfigReport::of_findings(text, vec![finding]).to_string()
    }

    #[test]
    fn columns_are_characters_and_carets_stand_below_them() {
        assert_eq!(
            one("a = 1\r\nä = \"ö\" # x\r\n", "\"ö\"", Show::Line),
            "assay.toml:2:5: wrong\n 2 | ä = \"ö\" # x\n   |     ^^^\n\nassay.toml: 1 problem\n"
        );
        assert_eq!(
            one("\ta\t= 1", "1", Show::Line),
            "assay.toml:1:6: wrong\n 1 | \ta\t= 1\n   | \t \t  ^\n\nassay.toml: 1 problem\n"
        );
    }

    #[test]
    fn a_byte_order_mark_is_not_a_column() {
        let shown = one("\u{feff}abc = 1", "abc", Show::Line);
        assert!(shown.starts_with("assay.toml:1:1: wrong\n 1 | abc = 1\n   | ^^^\n"));
    }

    #[test]
    fn what_looks_like_a_secret_is_not_repeated() {
        for text in [
            "password = \"hunter2\"",
            "url = \"redis://me:hunter2@host\"",
            "x = { client_secret = \"hunter2\" }",
            "k = \"-----BEGIN PRIVATE KEY-----hunter2\"",
            "aGVsbG8gd29ybGQgaHVudGVyMg/hunter2",
        ] {
            assert!(
                !one(text, "hunter2", Show::Line).contains("hunter2"),
                "{text}"
            );
        }
        assert!(!one("odd = \"hunter2\"", "odd", Show::KeyOnly).contains("hunter2"));
        let header = one("[server.bad]", "bad", Show::KeyOnly);
        assert!(header.contains(" 1 | [server.bad]\n   |         ^^^\n"));
        assert!(!one("bad # hunter2", "bad", Show::KeyOnly).contains("hunter2"));
        assert!(one("password_file = \"a/b\"", "a/b", Show::Line).contains("a/b"));
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = format!("k = \"{}here{}\"", "x".repeat(500), "y".repeat(500));
        let shown = one(&text, "here", Show::Line);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].chars().count() <= EXCERPT_CHARS_MAX + 8);
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        let under: String = lines[1].chars().skip(caret).take(4).collect();
        assert_eq!(under, "here");
        assert!(lines[2].ends_with("^^^^"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let shown = one("a = \u{1b}[31m\u{202e}\u{200b}", "a", Show::Line);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{200b}']));
        assert_eq!(quoted("a\u{1b}b"), "\"a\u{fffd}b\"");
    }

    #[test]
    fn of_very_many_problems_the_first_are_kept() {
        let findings = (0..PROBLEMS_MAX + 5)
            .map(|n| Finding {
                span: 0..1,
                message: format!("{n}"),
                hint: None,
                show: Show::Nothing,
            })
            .collect();
        let report = ConfigReport::of_findings("x", findings);
        assert_eq!(report.problems().len(), PROBLEMS_MAX);
        assert!(
            report
                .to_string()
                .ends_with("more than these 200 problems\n")
        );
    }
}
