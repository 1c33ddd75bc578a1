//! The project's own source files, for tests that hold them against a rule.

use std::fs;
use std::path::Path;

/// A source file.
pub(crate) struct Source {
    /// Its path below the directory asked for, with `/`.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) text: String,
}

/// Every file of `src/`.
pub(crate) fn library() -> Vec<Source> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs")
}

/// Every file of a directory and those below it with that extension, in order of names.
pub(crate) fn files(root: &Path, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let below = path.strip_prefix(root).unwrap();
                let parts = below.iter().map(|part| part.to_str().unwrap());
                let name = parts.collect::<Vec<_>>().join("/");
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(
        !found.is_empty(),
        "no .{extension} files in {}",
        root.display()
    );
    found
}

/// The text up to its unit tests, which stand at the end of a file.
pub(crate) fn without_tests(text: &str) -> String {
    let tests = text.find("\n#[cfg(test)]\nmod ");
    text[..tests.map_or(text.len(), |at| at + 1)].to_owned()
}

/// The text without the rest of each line behind `//`. A URL in a string loses its rest as well,
/// which no rule looks at.
pub(crate) fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
pub(crate) fn upper_snake(camel: &str) -> String {
    snake(camel).to_ascii_uppercase()
}

/// `InvalidArgument` as `invalid_argument`.
pub(crate) fn snake(camel: &str) -> String {
    let mut word = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}
