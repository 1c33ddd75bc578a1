//! The example that explains every key, and a starter for development.

/// Every key of the configuration with its meaning and default. Its form is valid as it
/// stands; the files it names are the reader's to make.
///
/// `#key = …` shows a default: taking the `#` away changes nothing. `#: key = …` shows a key that is
/// off unless it is written. `#| key = …` shows an alternative to the lines around it.
pub const EXAMPLE: &str = include_str!("example.toml");

/// A short configuration for trying things out on one machine.
pub const DEVELOPMENT: &str = include_str!("development.toml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::parse::parse;
    use crate::config::{Config, StoreConfig};

    fn base() -> &'static Path {
        Path::new("/etc/assay")
    }

    /// A line that sets a key behind one of the marks.
    fn sets_a_key(line: &str) -> bool {
        let key: String = line
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
            .collect();
        !key.is_empty() && line[key.len()..].starts_with(" = ")
    }

    fn uncommented(text: &str, marks: &[&str]) -> String {
        let bare = |line: &str| {
            let found = marks.iter().find_map(|mark| line.strip_prefix(mark));
            found
                .filter(|rest| sets_a_key(rest) || rest.starts_with('['))
                .map(str::to_owned)
        };
        text.lines()
            .map(|line| bare(line).unwrap_or_else(|| line.to_owned()) + "\n")
            .collect()
    }

    #[test]
    fn every_default_in_the_example_is_the_codes_default() {
        for text in [EXAMPLE, DEVELOPMENT] {
            let with_defaults = uncommented(text, &["#"]);
            let plain = Config::parse(text, base()).unwrap_or_else(|r| panic!("{r}"));
            let written = Config::parse(&with_defaults, base()).unwrap_or_else(|r| panic!("{r}"));
            assert_eq!(plain, written);
        }
        assert!(uncommented(EXAMPLE, &["#"]).contains("\nidle = \"30d\""));
    }

    #[test]
    fn every_key_that_is_known_is_explained_in_the_example() {
        let all = parse(&uncommented(EXAMPLE, &["#", "#: "]), base());
        assert!(all.findings.is_empty(), "{:?}", all.findings);
        let mut written = BTreeSet::new();
        let mut table = String::new();
        for line in EXAMPLE.lines() {
            let line = line.trim_start_matches(['#', ':', '|']).trim_start();
            if let Some(header) = line.strip_prefix('[') {
                table = header
                    .trim_matches(['[', ']'])
                    .replace("apps.bank", "apps.*");
                let parts: Vec<&str> = table.split('.').collect();
                written.extend((1..=parts.len()).map(|n| parts[..n].join(".")));
            } else if sets_a_key(line) {
                let key = line.split_once(' ').map_or("", |(key, _)| key);
                let dot = if table.is_empty() { "" } else { "." };
                written.insert(format!("{table}{dot}{key}"));
            }
        }
        written.remove("apps.*");
        assert_eq!(all.known, written);
        assert!(all.known.len() > 60);
    }

    #[test]
    fn the_alternatives_in_the_example_are_valid() {
        let mut text = String::new();
        let mut in_store = false;
        for line in EXAMPLE.lines() {
            if line.starts_with('[') {
                in_store = line == "[store]";
            }
            if !in_store || line.starts_with('[') {
                text.push_str(line);
            } else if let Some(alternative) = line.strip_prefix("#| ") {
                text.push_str(alternative);
            }
            text.push('\n');
        }
        let config = Config::parse(&text, base()).unwrap_or_else(|r| panic!("{r}"));
        assert!(matches!(config.store, StoreConfig::Disk { .. }));
    }
}
