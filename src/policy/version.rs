//! Versions of apps and systems as Apple writes them.

use std::fmt;
use std::str::FromStr;

/// Most numbers in a version: App Store Connect takes three, systems state at most four.
const NUMBERS_MAX: usize = 8;
/// Most digits of one number; timestamps used as versions have 14.
const DIGITS_MAX: usize = 18;

/// A version of dotted numbers such as `1.12.3`. A part that is left out is 0: `1.2` is `1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DottedVersion(Vec<u64>);

/// A text is no version of dotted numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no version of dotted numbers")]
pub struct NoVersion;

impl FromStr for DottedVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let number = |part: &str| {
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            let fits = (1..=DIGITS_MAX).contains(&part.len());
            (digits && fits).then(|| part.parse::<u64>().ok()).flatten()
        };
        let parts = text.split('.').take(NUMBERS_MAX + 1);
        let mut numbers = parts
            .map(number)
            .collect::<Option<Vec<_>>>()
            .ok_or(NoVersion)?;
        if numbers.len() > NUMBERS_MAX {
            return Err(NoVersion);
        }
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for DottedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// A build of an Apple system such as `24A446`: ordered by line, letter and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OsBuild {
    line: u32,
    letter: char,
    number: u32,
    /// Builds before the release end in a small letter and are numbered apart: `22A5307f` is older
    /// than `22A3354`.
    before_release: bool,
}

impl OsBuild {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let (line, rest) = text.split_at_checked(at)?;
        let letter = rest.chars().next().filter(char::is_ascii_uppercase)?;
        let rest = rest.get(1..)?;
        let number = rest.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let tail = rest.len() - number.len();
        // `u32::from_str` takes a plus.
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        (digits && tail <= 1).then_some(())?;
        Some(Self {
            line: line.parse().ok()?,
            letter,
            number: number.parse().ok()?,
            before_release: tail == 1,
        })
    }

    /// Whether `new` is older. Of a build before the release and another one of the same line and
    /// letter nothing can be said.
    pub(super) fn goes_back(old: Self, new: Self) -> bool {
        let comparable = !old.before_release && !new.before_release;
        let (was, is) = ((old.line, old.letter), (new.line, new.letter));
        is < was || (is == was && comparable && new.number < old.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> DottedVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("1.10") > version("1.9.9"));
        assert!(version("2") > version("1.99"));
        assert!(version("1.2.0") == version("1.2") && version("1.2.1") > version("1.2"));
        assert!(version("0") < version("0.0.1"));
        assert_eq!(version("0.0").to_string(), "0");
        assert_eq!(version("01.20.0").to_string(), "1.20");
    }

    #[test]
    fn what_is_no_dotted_number_is_no_version() {
        let long = "1".repeat(DIGITS_MAX + 1);
        for bad in [
            "",
            ".",
            "1.",
            ".1",
            "1..2",
            "v1",
            "1.2b",
            "+1",
            "-1",
            "1 2",
            "1.2.3.4.5.6.7.8.9",
            "١",
            &long,
        ] {
            assert_eq!(bad.parse::<DottedVersion>(), Err(NoVersion), "{bad}");
        }
    }

    #[test]
    fn builds_are_compared_by_line_letter_and_number() {
        let goes_back = |old, new| {
            OsBuild::goes_back(OsBuild::parse(old).unwrap(), OsBuild::parse(new).unwrap())
        };
        for (old, new) in [
            ("24A446", "24A445"),
            ("24A446", "23Z999"),
            ("24B1", "24A9999"),
            ("22A5307f", "21H1"),
        ] {
            assert!(goes_back(old, new), "{old} to {new}");
            assert!(!goes_back(new, old), "{new} to {old}");
        }
        for (old, new) in [
            ("24A446", "24A446"),
            ("22A5307f", "22A3354"),
            ("22A3354", "22A5307f"),
            ("9A1", "10A1"),
        ] {
            assert!(!goes_back(old, new), "{old} to {new}");
        }
        for bad in [
            "", "24", "A446", "24a446", "24A", "24A+4", "24A44x6", "24A446fg", "24é1",
        ] {
            assert_eq!(OsBuild::parse(bad), None, "{bad}");
        }
    }
}
