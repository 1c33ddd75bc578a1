//! Finds the word that a mistyped one was meant to be.

/// The word a mistyped one was most likely meant to be.
pub(super) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    /// Longer than any word known here; keeps the table of the distance small.
    const TYPED_BYTES_MAX: usize = 64;
    if typed.len() > TYPED_BYTES_MAX {
        return None;
    }
    let plain = typed.to_lowercase().replace('-', "_");
    words
        .iter()
        .map(|word| (distance(&plain, &word.replace('-', "_")), *word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(4).min(3))
        .min()
        .map(|(_, word)| word)
}

/// Letters to insert, remove, replace or swap with their neighbour to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut last = None;
    for (row, letter) in from.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let of = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = of(&above, column) + usize::from(letter != *other);
            let moved = of(&above, column + 1).min(of(&current, column)) + 1;
            let mut best = replaced.min(moved);
            let swapped = column
                .checked_sub(1)
                .filter(|&left| last == Some(*other) && to.get(left) == Some(&letter));
            if let Some(left) = swapped {
                best = best.min(of(&before, left) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_words_find_the_one_that_was_meant() {
        let words = ["security_level_min", "package", "idle", "url"];
        for (typed, meant) in [
            ("securty_level_min", Some("security_level_min")),
            ("security-level-min", Some("security_level_min")),
            ("Package", Some("package")),
            ("pakcage", Some("package")),
            ("idel", Some("idle")),
            ("uri", Some("url")),
            ("x", None),
            ("colour", None),
            (&"x".repeat(10_000), None),
        ] {
            assert_eq!(nearest(typed, &words), meant, "{typed}");
        }
    }
}
