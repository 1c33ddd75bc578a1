//! Target URIs: what `htu` names and what the request went to, in one comparable form.

use std::fmt;
use std::str::FromStr;

/// Longest target URI, in bytes: what HTTP recommends servers to support is 8000 (RFC 9110, 4.1), but
/// a proof as a whole is below 4 KiB.
pub const URI_BYTES_MAX: usize = 2048;

/// An http(s) URI without query and fragment, normalised as RFC 9449, 4.3 asks: scheme and host in
/// lower case, the scheme's default port dropped, an empty path as `/`, percent-encodings in upper
/// case and only where needed (RFC 3986, 6.2.2 and 6.2.3).
///
/// Dot segments are refused, not resolved: two servers may resolve them differently, and no client
/// library sends them. So are user information, and characters a URI does not have.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetUri(String);

/// The text is not a URI that a request can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plain http or https URI")]
pub struct InvalidUri;

impl TargetUri {
    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetUri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        if text.len() > URI_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidUri);
        }
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let text = text.split_once('?').map_or(text, |(before, _)| before);
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUri)?;
        let (scheme, default_port) = if scheme.eq_ignore_ascii_case("https") {
            ("https", 443)
        } else if scheme.eq_ignore_ascii_case("http") {
            ("http", 80)
        } else {
            return Err(InvalidUri);
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).ok_or(InvalidUri)?,
            None => (rest, "/"),
        };
        let (host, port) = split_authority(authority)?;
        let mut out = format!("{scheme}://{host}");
        if let Some(port) = port.filter(|port| *port != default_port) {
            out.push_str(&format!(":{port}"));
        }
        push_path(&mut out, path)?;
        Ok(Self(out))
    }
}

impl fmt::Display for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host in lower case, and the port where one is written.
fn split_authority(authority: &str) -> Result<(String, Option<u16>), InvalidUri> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (address, port) = literal.split_once(']').ok_or(InvalidUri)?;
            let plain = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
            if !address.contains(':') || !address.bytes().all(plain) {
                return Err(InvalidUri);
            }
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(InvalidUri)?),
            };
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            // `@` and `%` among others: no user information, no encoded host.
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if host.is_empty() || !host.bytes().all(plain) {
                return Err(InvalidUri);
            }
            (host.to_owned(), port)
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| InvalidUri)?)
        }
        Some(_) => return Err(InvalidUri),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Appends the path with each percent-encoding in its normal form.
fn push_path(out: &mut String, path: &str) -> Result<(), InvalidUri> {
    let begin = out.len();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_path_byte(byte) {
                return Err(InvalidUri);
            }
            out.push(char::from(byte));
            continue;
        }
        let mut digit = || {
            let byte = bytes.next()?;
            u8::try_from(char::from(byte).to_digit(16)?).ok()
        };
        let (high, low) = digit().zip(digit()).ok_or(InvalidUri)?;
        let byte = high << 4 | low;
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // After decoding, so that `%2e%2e` does not slip through.
    let written = out.get(begin..).ok_or(InvalidUri)?;
    if written
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(InvalidUri);
    }
    Ok(())
}

/// RFC 3986, 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` without percent-encodings, and `/` (RFC 3986, 3.3).
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        text.parse::<TargetUri>().unwrap().to_string()
    }

    #[test]
    fn equivalent_uris_become_equal() {
        for (text, wanted) in [
            ("https://api.example/a", "https://api.example/a"),
            ("HTTPS://API.Example/a", "https://api.example/a"),
            ("https://api.example:443/a", "https://api.example/a"),
            ("https://api.example:/a", "https://api.example/a"),
            ("https://api.example:0443/a", "https://api.example/a"),
            ("http://api.example:80/a", "http://api.example/a"),
            ("http://api.example:443/a", "http://api.example:443/a"),
            ("https://api.example", "https://api.example/"),
            ("https://api.example?x=/y", "https://api.example/"),
            ("https://api.example#x", "https://api.example/"),
            ("https://api.example/a?b=c", "https://api.example/a"),
            ("https://api.example/a#b?c", "https://api.example/a"),
            ("https://api.example/a#b#c", "https://api.example/a"),
            (
                "https://api.example/%7euser%2f%c3%a9",
                "https://api.example/~user%2F%C3%A9",
            ),
            ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
            ("http://127.0.0.1:8443/p.S/M", "http://127.0.0.1:8443/p.S/M"),
        ] {
            assert_eq!(normal(text), wanted, "{text}");
        }
    }

    #[test]
    fn different_uris_stay_different() {
        for (a, b) in [
            ("https://api.example/a", "http://api.example/a"),
            ("https://api.example/a", "https://api.example/A"),
            ("https://api.example/a", "https://api.example/a/"),
            ("https://api.example/a", "https://api.example//a"),
            ("https://api.example/a", "https://api.example:8443/a"),
            ("https://api.example/a%2Fb", "https://api.example/a/b"),
            ("https://api.example/a", "https://api.example.evil/a"),
        ] {
            assert_ne!(normal(a), normal(b), "{a} {b}");
        }
    }

    #[test]
    fn odd_uris_are_refused() {
        let long = format!("https://a/{}", "a".repeat(URI_BYTES_MAX));
        for bad in [
            "",
            "/a",
            "//api.example/a",
            "https:/api.example/a",
            "https:///a",
            "https://:443/a",
            "ftp://api.example/a",
            "javascript://api.example/a",
            "https://user@api.example/a",
            "https://api.example@evil.example/a",
            "https://api.example\\@evil.example/a",
            "https://api.example:65536/a",
            "https://api.example:+443/a",
            "https://api.example:4:4/a",
            "https://api%2eexample/a",
            "https://[::1/a",
            "https://[::1]x/a",
            "https://[host]/a",
            "https://api.example/a b",
            " https://api.example/a",
            "https://api.example/a\n",
            "https://api.example/a\u{0}",
            "https://api.example/\u{e9}",
            "https://api.example/%",
            "https://api.example/%4",
            "https://api.example/%4g",
            "https://api.example/a\"b",
            "https://api.example/a/../b",
            "https://api.example/a/%2E%2e/b",
            "https://api.example/.",
            &long,
        ] {
            assert_eq!(bad.parse::<TargetUri>(), Err(InvalidUri), "{bad}");
        }
    }
}
