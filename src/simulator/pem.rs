//! PEM (RFC 7468), one block a text.

use data_encoding::BASE64;

use super::Error;

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Characters of a line (RFC 7468, 2).
const LINE: usize = 64;

pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while let Some((line, tail)) = rest.split_at_checked(LINE) {
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

pub(super) fn decode(label: &str, text: &str) -> Result<Vec<u8>, Error> {
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|rest| rest.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(Error::Pem)?;
    let compact: String = body.split_ascii_whitespace().collect();
    BASE64.decode(compact.as_bytes()).map_err(|_| Error::Pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back_at_every_length_around_a_line() {
        for bytes in [0, 1, 47, 48, 49, 96, 100] {
            let der = vec![7; bytes];
            assert_eq!(
                decode(CERTIFICATE, &encode(CERTIFICATE, &der)).unwrap(),
                der
            );
        }
        assert!(decode(PRIVATE_KEY, &encode(CERTIFICATE, &[1])).is_err());
    }
}
