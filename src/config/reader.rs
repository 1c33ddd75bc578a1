//! Walks the tree of a TOML file by hand, so that every problem is found and has its place.
//!
//! A [`Section`] is one table being read. Every key that is asked for becomes known; what is left
//! when [`Section::finish`] is called is refused. A reader asks for all its keys whatever the others
//! say, so the set of known keys does not depend on the file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Finding, Show, quoted};
use super::spelling::nearest;

/// A value of the tree with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Most problems collected, before the first ones of the file are chosen; bounds the work.
const FINDINGS_MAX: usize = 1000;

/// What a file that the configuration names has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// One or more PEM certificates.
    Certificates,
    /// A PEM private key.
    PrivateKey,
    /// A PEM private key that makes signatures in the owner's name elsewhere.
    DeveloperKey,
    /// A short secret on one line.
    Secret,
    /// A JSON attestation status list.
    StatusList,
    /// The operator's own list.
    OwnList,
    /// A file in a directory that is there; the file itself may be lacking.
    NewFile,
    /// A directory that is there.
    Directory,
    /// A directory that is there or can be made inside one that is.
    NewDirectory,
}

/// A file that the configuration names.
#[derive(Debug, Clone)]
pub(super) struct FileReference {
    pub(super) span: Range<usize>,
    pub(super) path: PathBuf,
    pub(super) kind: FileKind,
}

/// Collects what is found on the way.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    base: &'b Path,
    pub(super) findings: Vec<Finding>,
    pub(super) files: Vec<FileReference>,
    known: BTreeSet<String>,
}

impl<'b> Reader<'b> {
    pub(super) const fn new(base: &'b Path) -> Self {
        Self {
            base,
            findings: Vec::new(),
            files: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Notes a problem; always `None`, so that it can end a reading function.
    pub(super) fn wrong<T>(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: &str,
    ) -> Option<T> {
        self.found(Finding {
            span,
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
            show: Show::Line,
        });
        None
    }

    pub(super) fn found(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Notes a file that has to be checked, and gives its path seen from the configuration file.
    pub(super) fn file(&mut self, span: Range<usize>, path: &str, kind: FileKind) -> PathBuf {
        let path = self.base.join(path);
        self.files.push(FileReference {
            span,
            path: path.clone(),
            kind,
        });
        path
    }

    /// The path of every key that was asked for, with `*` for the names of apps.
    pub(super) const fn known(&self) -> &BTreeSet<String> {
        &self.known
    }
}

/// One table being read.
#[derive(Debug)]
pub(super) struct Section<'a, 't> {
    /// As it is written in a header, e.g. `apps.bank.android`; empty for the top.
    path: String,
    /// As `path`, with `*` for names.
    pattern: String,
    span: Range<usize>,
    table: Option<&'a DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    /// The whole file.
    pub(super) const fn top(table: &'a DeTable<'t>) -> Self {
        Self {
            path: String::new(),
            pattern: String::new(),
            span: 0..0,
            table: Some(table),
            known: Vec::new(),
        }
    }

    /// Whether the table is written in the file.
    pub(super) const fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// Where its header is.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where a key's value is; where the header is when the key is not written.
    pub(super) fn at(&self, key: &str) -> Range<usize> {
        self.table
            .and_then(|table| table.get(key))
            .map_or(self.span(), Spanned::span)
    }

    /// Where a key is; where the header is when it is not written.
    pub(super) fn at_key(&self, key: &str) -> Range<usize> {
        self.table
            .and_then(|table| table.get_key_value(key))
            .map_or(self.span(), |(key, _)| key.span())
    }

    /// A table below this one, without reading it.
    pub(super) fn table_below(&self, key: &str) -> Option<&'a DeTable<'t>> {
        self.table?.get(key)?.get_ref().as_table()
    }

    /// Whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A key's value as it is in the tree; makes the key known.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value<'t>> {
        self.known.push(key);
        self.table.and_then(|table| table.get(key))
    }

    /// A key that may be absent: `Some(None)` when it is, `None` when it is wrong.
    pub(super) fn maybe<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_>, &Value<'t>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.value(key) {
            None => Some(None),
            Some(value) => read(reader, value).map(Some),
        }
    }

    /// A key with a default.
    pub(super) fn or<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        default: T,
        read: impl FnOnce(&mut Reader<'_>, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        Some(self.maybe(reader, key, read)?.unwrap_or(default))
    }

    /// A key that has to be there.
    pub(super) fn need<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_>, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let found = self.maybe(reader, key, read)?;
        if found.is_none() {
            self.missing(reader, key, "");
        }
        found
    }

    /// Says that a key is not there.
    pub(super) fn missing(&self, reader: &mut Reader<'_>, key: &str, hint: &str) {
        let within = if self.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("[{}]", self.path)
        };
        let shown = self.is_written() && !self.path.is_empty();
        reader.found(Finding {
            span: self.span(),
            message: format!("{within} lacks \"{key}\""),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
            show: if shown { Show::Line } else { Show::Nothing },
        });
    }

    /// Says that a key of a table below this one is not there; the table may be lacking as well.
    pub(super) fn missing_below(
        &self,
        reader: &mut Reader<'_>,
        table: &'static str,
        key: &str,
        hint: &str,
    ) {
        self.below(reader, table, table, self.table.and_then(|t| t.get(table)))
            .missing(reader, key, hint);
    }

    /// A table below this one; an empty one when it is not written.
    pub(super) fn section(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Self {
        let value = self.value(key);
        self.below(reader, key, key, value)
    }

    /// The tables of an array of tables (`[[…]]`); `None` when it is something else.
    pub(super) fn sections(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        count_max: usize,
    ) -> Option<Vec<Self>> {
        let Some(value) = self.value(key) else {
            return Some(Vec::new());
        };
        let Some(array) = value.get_ref().as_array() else {
            let header = if self.path.is_empty() {
                format!("[[{key}]]")
            } else {
                format!("[[{}.{key}]]", self.path)
            };
            let message = format!("\"{key}\" is a list of tables");
            return reader.wrong(value.span(), message, &format!("write {header}"));
        };
        if array.len() > count_max {
            let message = format!("more than {count_max} entries in \"{key}\"");
            return reader.wrong(value.span(), message, "");
        }
        let entry = |entry| self.below(reader, key, key, Some(entry));
        Some(array.iter().map(entry).collect())
    }

    /// The tables below this one whose names are the user's, with the place of each name.
    pub(super) fn named(&self, reader: &mut Reader<'_>) -> Vec<(String, Range<usize>, Self)> {
        let Some(table) = self.table else {
            return Vec::new();
        };
        table
            .iter()
            .map(|(name, value)| {
                let text = name.get_ref().to_string();
                let section = self.below(reader, &text, "*", Some(value));
                (text, name.span(), section)
            })
            .collect()
    }

    fn below(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        pattern: &str,
        value: Option<&'a Value<'t>>,
    ) -> Self {
        let join = |parent: &str, child: &str| match parent {
            "" => child.to_owned(),
            parent => format!("{parent}.{child}"),
        };
        let path = join(&self.path, quoted(name).trim_matches('"'));
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let message = format!("[{path}] has to be a table, not {}", kind(value));
            reader.wrong::<()>(
                value.span(),
                message,
                &format!("write [{path}] above its keys"),
            );
        }
        Self {
            pattern: join(&self.pattern, pattern),
            path,
            span: value.map_or(self.span(), Spanned::span),
            table,
            known: Vec::new(),
        }
    }

    /// Refuses every key that nothing asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        let keys = self.table.into_iter().flat_map(DeTable::iter);
        let unknown = keys.filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        let room = FINDINGS_MAX.saturating_sub(reader.findings.len());
        for (key, _) in unknown.take(room) {
            let name = key.get_ref();
            let within = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in [{}]", self.path)
            };
            reader.found(Finding {
                span: key.span(),
                message: format!("unknown key {}{within}", quoted(name)),
                hint: Some(hint_for_key(name, &self.known)),
                show: Show::KeyOnly,
            });
        }
        let prefix = match self.pattern.as_str() {
            "" => String::new(),
            pattern => format!("{pattern}."),
        };
        let known = self.known.iter().map(|key| format!("{prefix}{key}"));
        reader.known.extend(known);
    }
}

fn hint_for_key(name: &str, known: &[&'static str]) -> String {
    if let Some(near) = nearest(name, known) {
        return format!("did you mean \"{near}\"?");
    }
    let lower = name.to_lowercase();
    if ["pass", "secret", "pwd"]
        .iter()
        .any(|word| lower.contains(word))
    {
        if let Some(file) = known.iter().find(|key| key.ends_with("_file")) {
            return format!(
                "secrets are never written here: put it in a file and name it in \"{file}\""
            );
        }
        return "secrets are never written here".to_owned();
    }
    format!("known here: {}", known.join(", "))
}

/// What a value is, in words.
pub(super) fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
