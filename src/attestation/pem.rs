//! Strict PEM (RFC 7468): blocks of one label and nothing but white space between them.

use data_encoding::BASE64;

/// The text is not a series of such blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    /// Something stands where a block has to begin.
    #[error("text that is no PEM block of the expected label")]
    NotABlock,
    /// The block has no end.
    #[error("a PEM block without its end")]
    NoEnd,
    /// What is inside is not base64.
    #[error("a PEM block that is not base64")]
    NotBase64,
}

/// The contents of every block. The caller has bounded `text`.
pub(super) fn blocks(text: &str, label: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let mut found = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let inside = rest.strip_prefix(&begin).ok_or(PemError::NotABlock)?;
        let (body, after) = inside.split_once(&end).ok_or(PemError::NoEnd)?;
        let mut compact = body.as_bytes().to_vec();
        compact.retain(|octet| !octet.is_ascii_whitespace());
        found.push(BASE64.decode(&compact).map_err(|_| PemError::NotBase64)?);
        rest = after.trim_ascii_start();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_blocks_with_either_line_ending() {
        let text = "\n-----BEGIN X-----\r\nAAE=\r\n-----END X-----\n-----BEGIN X-----\nAg==\n-----END X-----\n\n";
        assert_eq!(blocks(text, "X"), Ok(vec![vec![0, 1], vec![2]]));
        assert_eq!(blocks("  \n", "X"), Ok(Vec::new()));
    }

    #[test]
    fn refuses_anything_else() {
        for (text, error) in [
            ("hello", PemError::NotABlock),
            (
                "-----BEGIN Y-----\nAAE=\n-----END Y-----",
                PemError::NotABlock,
            ),
            ("-----BEGIN X-----\nAAE=\n-----END Y-----", PemError::NoEnd),
            (
                "-----BEGIN X-----\nAAE\n-----END X-----",
                PemError::NotBase64,
            ),
            (
                "-----BEGIN X-----\nAA-E=\n-----END X-----",
                PemError::NotBase64,
            ),
            (
                "-----BEGIN X-----\nAAE=\n-----END X-----\nand more",
                PemError::NotABlock,
            ),
        ] {
            assert_eq!(blocks(text, "X"), Err(error), "{text}");
        }
    }
}
