//! Readers of single values: each says what it wants, with bounds, and where it was not given.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use http::Uri;
use toml::de::DeValue;

use super::reader::{FileKind, Reader, Value, kind};
use super::report::quoted;
use super::sections::secs;
use super::spelling::nearest;
use crate::policy::Rate;

/// Longest path that is taken (`PATH_MAX` of Linux).
const PATH_BYTES_MAX: usize = 4096;
/// Longest URL that is taken.
const URL_BYTES_MAX: usize = 2048;
/// Rates: a higher one limits nothing, a longer span would have to be counted for longer.
const RATE_COUNT_MAX: u32 = 1_000_000;
const RATE_SPAN: RangeInclusive<Duration> = secs(60)..=days(30);

/// A text.
pub(super) fn text(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<String> {
    match value.get_ref().as_str() {
        Some(text) => Some(text.to_owned()),
        None => not(reader, value, "a text in quotes"),
    }
}

/// `true` or `false`.
pub(super) fn flag(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<bool> {
    match value.get_ref().as_bool() {
        Some(flag) => Some(flag),
        None => not(reader, value, "true or false"),
    }
}

fn not<T>(reader: &mut Reader<'_>, value: &Value<'_>, wanted: &str) -> Option<T> {
    let message = format!("expected {wanted}, found {}", kind(value));
    reader.wrong(value.span(), message, "")
}

/// A whole number within bounds.
pub(super) fn number(
    bounds: RangeInclusive<u32>,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<u32> {
    move |reader, value| {
        let Some(written) = value.get_ref().as_integer() else {
            return not(reader, value, "a whole number");
        };
        let number = u32::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let message = format!("has to be from {} to {}", bounds.start(), bounds.end());
            return reader.wrong(value.span(), message, "");
        }
        number
    }
}

/// As [`number`], for counts.
pub(super) fn count(
    bounds: RangeInclusive<u32>,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<usize> {
    move |reader, value| usize::try_from(number(bounds.clone())(reader, value)?).ok()
}

/// A share, from 0 to 1.
pub(super) fn ratio(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<f64> {
    let written = match value.get_ref() {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return not(reader, value, "a number from 0 to 1"),
    };
    let ratio = written.parse().ok().filter(|r| (0.0..=1.0).contains(r));
    if ratio.is_none() {
        return reader.wrong(value.span(), "has to be from 0 to 1", "");
    }
    ratio
}

/// A span of time such as `"15s"`, within bounds.
pub(super) fn span(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<Duration> {
    const HINT: &str =
        "write a whole number and a unit: ms, s, m, h or d, as in \"90s\", \"10m\" or \"30d\"";
    move |reader, value| {
        let Some(written) = value.get_ref().as_str() else {
            let message = format!("expected a span of time, found {}", kind(value));
            return reader.wrong(value.span(), message, HINT);
        };
        let Some(span) = parse_span(written) else {
            return reader.wrong(value.span(), "not a span of time", HINT);
        };
        if !bounds.contains(&span) {
            let (least, most) = (show_span(*bounds.start()), show_span(*bounds.end()));
            let message = format!("has to be from {least} to {most}");
            return reader.wrong(value.span(), message, "");
        }
        Some(span)
    }
}

/// A rate such as `"20/1d"`: so many in so long.
pub(super) fn rate(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Rate> {
    const HINT: &str = "write how many in how long, as in \"20/1d\" or \"1000/1h\"";
    let text = text(reader, value)?;
    let Some(rate) = parse_rate(&text) else {
        return reader.wrong(value.span(), "not a rate", HINT);
    };
    let bounded = (1..=RATE_COUNT_MAX).contains(&rate.count) && RATE_SPAN.contains(&rate.per);
    if !bounded {
        let (least, most) = (show_span(*RATE_SPAN.start()), show_span(*RATE_SPAN.end()));
        let message = format!("has to be 1 to {RATE_COUNT_MAX} in {least} to {most}");
        return reader.wrong(value.span(), message, "");
    }
    Some(rate)
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    // `u32::from_str` takes a plus.
    let digits = count.bytes().all(|b| b.is_ascii_digit());
    let count = digits.then(|| count.parse().ok()).flatten()?;
    let per = parse_span(per)?;
    Some(Rate { count, per })
}

/// A span of whole days.
pub(super) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// A span of time as it is written in the file, in the largest unit that says it exactly.
pub(super) fn show_span(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let unit = units
        .iter()
        .find(|(_, length)| millis >= *length && millis.is_multiple_of(*length));
    match unit {
        Some((unit, length)) => format!("{}{unit}", millis / length),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    words: &[(&'static str, T)],
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<T> {
    move |reader, value| {
        let Some(written) = value.get_ref().as_str() else {
            return not(reader, value, "a word in quotes");
        };
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == written) {
            return Some(*meant);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = match nearest(written, &known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => String::new(),
        };
        let known: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
        let message = format!("has to be one of {}", known.join(", "));
        reader.wrong(value.span(), message, &hint)
    }
}

/// A list, each entry read by `read`; equal entries are refused.
pub(super) fn list<'t, T: PartialEq>(
    count: RangeInclusive<usize>,
    read: impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<T>,
) -> impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<Vec<T>> {
    move |reader, value| {
        let Some(array) = value.get_ref().as_array() else {
            return not(reader, value, "a list in brackets");
        };
        if !count.contains(&array.len()) {
            let mut message = "has to have".to_owned();
            // Writing to a String does not fail.
            let _ = match (count.start(), count.end()) {
                (1, _) if array.is_empty() => write!(message, " at least one entry"),
                (_, most) => write!(message, " at most {most} entries"),
            };
            return reader.wrong(value.span(), message, "");
        }
        let mut all = Vec::with_capacity(array.len());
        let mut good = true;
        for entry in array.iter() {
            match read(reader, entry) {
                Some(read) if all.contains(&read) => {
                    good = false;
                    reader.wrong::<()>(entry.span(), "stands here twice", "remove one of them");
                }
                Some(read) => all.push(read),
                None => good = false,
            }
        }
        good.then_some(all)
    }
}

/// As [`list`], as a set.
pub(super) fn set<'t, T: Ord>(
    count: RangeInclusive<usize>,
    read: impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<T>,
) -> impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<BTreeSet<T>> {
    let list = list(count, read);
    move |reader, value| list(reader, value).map(BTreeSet::from_iter)
}

/// A text with a rule.
pub(super) fn checked(
    rule: fn(&str) -> bool,
    message: &'static str,
    hint: &'static str,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<String> {
    move |reader, value| {
        let text = text(reader, value)?;
        if rule(&text) {
            return Some(text);
        }
        reader.wrong(value.span(), format!("{} {message}", quoted(&text)), hint)
    }
}

/// 32 bytes in hexadecimal, with or without colons.
pub(super) fn digest(
    hint: &'static str,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<[u8; 32]> {
    move |reader, value| {
        let text = text(reader, value)?;
        let digits = if text.contains(':') {
            let pairs = text.split(':').all(|pair| pair.len() == 2);
            pairs.then(|| text.replace(':', ""))
        } else {
            Some(text)
        };
        let bytes = digits.and_then(|d| HEXLOWER_PERMISSIVE.decode(d.as_bytes()).ok());
        let Some(bytes) = bytes else {
            return reader.wrong(value.span(), "not hexadecimal", hint);
        };
        let length = bytes.len();
        let Ok(digest) = <[u8; 32]>::try_from(bytes) else {
            let message = format!("a SHA-256 digest has 32 bytes, this one has {length}");
            return reader.wrong(value.span(), message, hint);
        };
        if digest == [0; 32] {
            return reader.wrong(value.span(), "all bytes are zero, which is no digest", hint);
        }
        Some(digest)
    }
}

/// The path of a file that has to be of a kind, seen from the configuration file.
pub(super) fn path(kind: FileKind) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<PathBuf> {
    move |reader, value| {
        let text = text(reader, value)?;
        let fits = (1..=PATH_BYTES_MAX).contains(&text.len());
        if !fits || text.chars().any(char::is_control) {
            return reader.wrong(value.span(), "not a path", "");
        }
        Some(reader.file(value.span(), &text, kind))
    }
}

/// An address and port to listen on.
pub(super) fn address(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<SocketAddr> {
    let text = text(reader, value)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => reader.wrong(
            value.span(),
            "not an address and port",
            "write it as \"127.0.0.1:8443\", \"0.0.0.0:8443\" or \"[::]:8443\"",
        ),
    }
}

/// Which URLs a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct UrlRule {
    /// Accepted schemes.
    pub(super) schemes: &'static [&'static str],
    /// Schemes accepted only for this machine itself.
    pub(super) loopback_schemes: &'static [&'static str],
    /// Whether a path may follow the host.
    pub(super) path: bool,
}

/// An absolute URL without user, query and fragment, and without a slash at the end.
pub(super) fn url(rule: UrlRule) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<String> {
    move |reader, value| {
        let text = text(reader, value)?;
        match check_url(&text, rule) {
            Ok(()) => Some(text),
            Err((message, hint)) => reader.wrong(value.span(), message, hint),
        }
    }
}

fn check_url(text: &str, rule: UrlRule) -> Result<(), (String, &'static str)> {
    let wrong = |message: &str, hint| Err((message.to_owned(), hint));
    if text.len() > URL_BYTES_MAX {
        return Err((format!("longer than {URL_BYTES_MAX} bytes"), ""));
    }
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let here_only = rule.loopback_schemes.contains(&scheme);
    if !here_only && !rule.schemes.contains(&scheme) {
        let known: Vec<String> = rule.schemes.iter().map(|s| format!("{s}://")).collect();
        return Err((format!("has to begin with {}", known.join(" or ")), ""));
    }
    // A user name and password would be a secret in the file; `http::Uri` drops a fragment.
    if text.contains('@') {
        return wrong(
            "a URL with a user name is not taken",
            "secrets are never written here",
        );
    }
    if text.contains(['?', '#']) {
        return wrong("a URL with a query or fragment is not taken", "");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return wrong("not a URL", "");
    };
    let host = uri.host().unwrap_or_default();
    if !is_host(host) {
        return wrong("the URL names no host", "");
    }
    // `http::Uri` takes a port that is no number, or none behind the colon.
    let written_port = uri
        .authority()
        .is_some_and(|a| a.as_str().len() > host.len());
    if written_port && uri.port_u16().is_none_or(|port| port == 0) {
        return wrong("the port is not a number from 1 to 65535", "");
    }
    if here_only && !rule.schemes.contains(&scheme) && !is_loopback_host(host) {
        return Err((
            format!(
                "{scheme}:// is taken only for this machine itself (127.0.0.1, [::1], localhost)"
            ),
            "use TLS",
        ));
    }
    match uri.path() {
        "" => Ok(()),
        "/" if !text.ends_with('/') => Ok(()),
        _ if !rule.path => wrong("a URL with a path is not taken here", ""),
        path if path.ends_with('/') => wrong("ends with a slash", "remove it"),
        _ => Ok(()),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(six) => six.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_dns_name(&host.to_ascii_lowercase()),
    }
}

/// Whether a host names this machine itself.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Whether a text is a DNS name in lower case: labels of 1 to 63 of `a-z 0-9 - _`, in all at most
/// 253 bytes (RFC 1035, 2.3.4).
pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_a_number_and_a_unit() {
        assert_eq!(parse_span("50ms"), Some(Duration::from_millis(50)));
        assert_eq!(parse_span("0s"), Some(Duration::ZERO));
        assert_eq!(parse_span("30d"), Some(Duration::from_secs(2_592_000)));
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "5 s",
            "1h30m",
            "5w",
            "1.5h",
            "٣s",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        for text in ["1d", "25h", "90s", "1500ms", "10m", "0s"] {
            assert_eq!(show_span(parse_span(text).unwrap()), text);
        }
    }

    #[test]
    fn rates_are_a_count_and_a_span() {
        let rate = |count, per| Some(Rate { count, per });
        assert_eq!(parse_rate("20/1d"), rate(20, days(1)));
        assert_eq!(parse_rate("1000/90s"), rate(1000, secs(90)));
        for bad in [
            "",
            "20",
            "/1d",
            "20/",
            "+2/1d",
            "-2/1d",
            "2/1d/1d",
            "2 /1d",
            "2/ 1d",
            "2/d",
            "9999999999/1d",
        ] {
            assert_eq!(parse_rate(bad), None, "{bad}");
        }
    }

    #[test]
    fn urls_are_absolute_and_carry_no_user_query_or_fragment() {
        let rule = UrlRule {
            schemes: &["https"],
            loopback_schemes: &["http"],
            path: true,
        };
        for good in [
            "https://a.example",
            "https://a.example:8443/x/y",
            "https://[2001:db8::1]:1",
            "http://127.0.0.1:9",
            "http://[::1]",
            "http://localhost",
        ] {
            assert_eq!(check_url(good, rule), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "https://",
            "https://a b",
            "https:///x",
            "HTTPS://a.example",
            "http://a.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "https://u:p@a.example",
            "https://a.example?x",
            "https://a.example#x",
            "https://a.example/",
            "https://a.example/x/",
            "https://a.example:0",
            "https://a.example:",
            "https://a.example:99999",
            "https://[::1",
            "ftp://a.example",
            "https://-a.example",
            "https://a..example",
        ] {
            assert!(check_url(bad, rule).is_err(), "{bad}");
        }
    }
}
