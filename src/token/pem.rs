//! PEM (RFC 7468), strictly: one block, one label, nothing around it.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Largest key file, in bytes: a P-256 PKCS#8 document is below 300.
pub const PEM_BYTES_MAX: usize = 4096;

/// Base64 digits on a line (RFC 7468, 2).
const LINE: usize = 64;

/// What is wrong with a PEM text. It never says what the text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemProblem {
    /// Larger than any key.
    #[error("larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    /// The first line is not the wanted `BEGIN` line.
    #[error("does not begin with the wanted `-----BEGIN …-----` line")]
    Begin,
    /// There is no matching `END` line, or something stands behind it.
    #[error("does not end with the wanted `-----END …-----` line")]
    End,
    /// The lines between are not canonical base64.
    #[error("is not canonical base64 between the BEGIN and END lines")]
    Base64,
}

/// The bytes of the one block labelled `label`.
///
/// # Errors
/// [`PemProblem`]: another label, a second block, text around the block, crooked base64.
pub fn decode(text: &str, label: &str) -> Result<Secret<Vec<u8>>, PemProblem> {
    if text.len() > PEM_BYTES_MAX {
        return Err(PemProblem::TooLarge);
    }
    let mut lines = text.lines();
    if lines.next() != Some(format!("-----BEGIN {label}-----").as_str()) {
        return Err(PemProblem::Begin);
    }
    let end = format!("-----END {label}-----");
    // Room for all of it, so that no half-filled copy is left behind by growing.
    let mut digits = Zeroizing::new(String::with_capacity(text.len()));
    let mut ended = false;
    for line in lines.by_ref() {
        if line == end {
            ended = true;
            break;
        }
        digits.push_str(line);
    }
    if !ended || lines.any(|line| !line.is_empty()) {
        return Err(PemProblem::End);
    }
    let bytes = BASE64
        .decode(digits.as_bytes())
        .map_err(|_| PemProblem::Base64)?;
    Ok(Secret::new(bytes))
}

/// The block labelled `label` that holds `bytes`.
#[must_use]
pub fn encode(bytes: &[u8], label: &str) -> Secret<String> {
    let digits = Zeroizing::new(BASE64.encode(bytes));
    let mut text = String::with_capacity(digits.len() * 2 + label.len() * 2 + 64);
    text.push_str(&format!("-----BEGIN {label}-----"));
    for (place, digit) in digits.chars().enumerate() {
        if place % LINE == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "ASSAY SECRET KEY";

    #[test]
    fn a_block_goes_there_and_back() {
        for length in [0, 1, 31, 32, 47, 48, 49, 138] {
            let bytes = vec![7; length];
            let text = encode(&bytes, LABEL);
            assert_eq!(decode(text.expose(), LABEL).unwrap().expose(), &bytes);
            let crlf = text.expose().replace('\n', "\r\n");
            assert_eq!(decode(&crlf, LABEL).unwrap().expose(), &bytes);
        }
    }

    #[test]
    fn refuses_anything_but_one_clean_block() {
        let good = encode(&[7; 32], LABEL).expose().clone();
        let refusal = |text: &str| decode(text, LABEL).map(|_| ()).unwrap_err();
        assert_eq!(refusal(""), PemProblem::Begin);
        assert_eq!(refusal(&format!("Bag\n{good}")), PemProblem::Begin);
        assert_eq!(refusal(&good.replace("SECRET", "INDEX")), PemProblem::Begin);
        assert_eq!(refusal(&good.replace("END", "FIN")), PemProblem::End);
        assert_eq!(refusal(&format!("{good}{good}")), PemProblem::End);
        assert_eq!(refusal(&good.replace('=', "")), PemProblem::Base64);
        assert_eq!(refusal(&good.replacen("Bw", "B w", 1)), PemProblem::Base64);
        assert_eq!(
            refusal(&" ".repeat(PEM_BYTES_MAX + 1)),
            PemProblem::TooLarge
        );
    }
}
