//! What the headers of an answer say about how long it is good for (RFC 9111), and how long to wait
//! because of it.
//!
//! The list is not a page in a cache: it is used until its age limit whatever the headers say. They
//! only say when to ask again, within bounds of our own, and how old the answer was when it came.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, LAST_MODIFIED, RETRY_AFTER};

use crate::time::Timestamp;

/// The publisher is not asked more often, whatever it says.
pub(super) const EVERY_MIN: Duration = Duration::from_secs(60);

/// Longest validator that is kept and sent back; `ETag`s are some dozen characters.
const VALIDATOR_BYTES_MAX: usize = 256;

/// Spans beyond this are this long: ten years.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What an answer says about its own age and life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caching {
    /// For how long it is good, from when it was made; `None`: it does not say.
    pub(super) lifetime: Option<Duration>,
    /// How long ago it was made, as caches on the way count it.
    pub(super) age: Duration,
    /// When to come back after a failure.
    pub(super) retry_after: Option<Duration>,
    /// The tag of the version.
    pub(super) etag: Option<String>,
    /// The date of the version, letter by letter.
    pub(super) last_modified: Option<String>,
}

impl Caching {
    /// Reads the headers. What cannot be understood counts as "ask again soon", never as a long life.
    #[must_use]
    pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let date = single(headers, &DATE).and_then(http_date).unwrap_or(now);
        let by_expires = headers.contains_key(EXPIRES).then(|| {
            let at = single(headers, &EXPIRES).and_then(http_date);
            at.map_or(Duration::ZERO, |at| at.since(date))
        });
        let age = headers.contains_key(AGE).then(|| {
            let said = single(headers, &AGE).and_then(seconds);
            said.unwrap_or(SPAN_MAX)
        });
        let retry_after = single(headers, &RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|said| seconds(said).or_else(|| http_date(said).map(|at| at.since(now))));
        Self {
            lifetime: lifetime(headers).or(by_expires),
            age: age.unwrap_or_default(),
            retry_after,
            etag: validator(headers, &ETAG),
            last_modified: validator(headers, &LAST_MODIFIED),
        }
    }

    /// When the version was made, as far as it says.
    #[must_use]
    pub(super) fn modified_at(&self) -> Option<Timestamp> {
        self.last_modified.as_deref().and_then(http_date)
    }
}

/// The life that `Cache-Control` gives; the shortest where there are several. `no-store` is read as
/// `no-cache`: the list is what we work with, not a copy for others.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let directives = lines.flat_map(|line| line.to_str().unwrap_or("no-cache").split(','));
    directives
        .filter_map(|directive| {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => Some(Duration::ZERO),
                "max-age" => Some(seconds(value).unwrap_or_default()),
                _ => None,
            }
        })
        .min()
}

/// The one value of a header; `None` where there is none, several, or no text.
fn single<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

fn validator(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let value = single(headers, name)?;
    let fits = (1..=VALIDATOR_BYTES_MAX).contains(&value.len());
    fits.then(|| value.to_owned())
}

/// Whole seconds; more than can be counted is very long (RFC 9111, 1.2.2).
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = || text.parse().map_or(SPAN_MAX, Duration::from_secs);
    digits.then(|| seconds().min(SPAN_MAX))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::EPOCH.after(since))
}

/// How long to wait after an answer: what is left of its life, at least [`EVERY_MIN`] and at most
/// `every`, and up to an eighth less, so that instances do not ask all at once.
#[must_use]
pub(super) fn wait(caching: &Caching, every: Duration, jitter: u8) -> Duration {
    let life = caching.lifetime.unwrap_or(every);
    less(life.saturating_sub(caching.age), every, jitter)
}

/// How long to wait after so many failures in a row: twice as long each time, as long as the peer
/// asks for, and within the same bounds.
#[must_use]
pub(super) fn wait_after_failure(
    failures: u32,
    retry_after: Option<Duration>,
    every: Duration,
    jitter: u8,
) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let backoff = EVERY_MIN.saturating_mul(doubled);
    less(backoff.max(retry_after.unwrap_or_default()), every, jitter)
}

/// Within the bounds, and up to an eighth less.
pub(super) fn less(wait: Duration, every: Duration, jitter: u8) -> Duration {
    let wait = wait.min(every).max(EVERY_MIN);
    let less = wait / 8 * u32::from(jitter) / 256;
    wait.saturating_sub(less).max(EVERY_MIN)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn read(headers: &[(&'static str, &str)]) -> Caching {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Caching::of(&map, now())
    }

    fn lifetime(headers: &[(&'static str, &str)]) -> Option<u64> {
        read(headers).lifetime.map(|life| life.as_secs())
    }

    #[test]
    fn reads_how_long_an_answer_is_good() {
        let control = |value| lifetime(&[("cache-control", value)]);
        assert_eq!(lifetime(&[]), None);
        assert_eq!(control("public, max-age=600"), Some(600));
        assert_eq!(control("Max-Age=\"600\" , must-revalidate"), Some(600));
        assert_eq!(control("max-age=600, max-age=60"), Some(60));
        assert_eq!(control("s-maxage=600"), None);
        assert_eq!(control("max-age=600, no-cache"), Some(0));
        assert_eq!(control("no-store"), Some(0));
        for odd in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=x",
        ] {
            assert_eq!(control(odd), Some(0), "{odd}");
        }
        let endless = control("max-age=99999999999999999999999");
        assert_eq!(endless, Some(SPAN_MAX.as_secs()));
    }

    #[test]
    fn expires_counts_from_the_date_and_only_without_max_age() {
        let date = ("date", "Fri, 15 Jan 2027 08:00:00 GMT");
        let expires = ("expires", "Fri, 15 Jan 2027 08:10:00 GMT");
        assert_eq!(lifetime(&[date, expires]), Some(600));
        assert_eq!(
            lifetime(&[("cache-control", "max-age=5"), date, expires]),
            Some(5)
        );
        assert_eq!(lifetime(&[expires]), Some(600), "from now");
        assert_eq!(lifetime(&[date, ("expires", "0")]), Some(0));
        assert_eq!(
            lifetime(&[("date", expires.1), ("expires", date.1)]),
            Some(0)
        );
    }

    #[test]
    fn an_age_that_cannot_be_read_is_a_great_age() {
        assert_eq!(read(&[]).age, Duration::ZERO);
        assert_eq!(read(&[("age", "90")]).age.as_secs(), 90);
        assert_eq!(read(&[("age", "x")]).age, SPAN_MAX);
        assert_eq!(read(&[("age", "1"), ("age", "2")]).age, SPAN_MAX);
    }

    #[test]
    fn retry_after_is_a_span_or_a_date() {
        let after = |value| read(&[("retry-after", value)]).retry_after;
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            after("Fri, 15 Jan 2027 08:02:00 GMT"),
            Some(Duration::from_secs(120))
        );
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn validators_are_kept_letter_by_letter_and_within_bounds() {
        let date = "Tue, 29 Sep 2026 10:00:00 GMT";
        let caching = read(&[("etag", "W/\"a b\""), ("last-modified", date)]);
        assert_eq!(caching.etag.as_deref(), Some("W/\"a b\""));
        assert_eq!(caching.last_modified.as_deref(), Some(date));
        let at = caching.modified_at().unwrap();
        assert_eq!(at.to_rfc3339(), "2026-09-29T10:00:00Z");
        let long = "x".repeat(VALIDATOR_BYTES_MAX + 1);
        assert_eq!(read(&[("etag", &long)]).etag, None);
        assert_eq!(read(&[("etag", "a"), ("etag", "b")]).etag, None);
        assert_eq!(read(&[("last-modified", "x")]).modified_at(), None);
    }

    #[test]
    fn a_failure_doubles_the_wait() {
        let after = |failures| wait_after_failure(failures, None, HOUR, 0).as_secs();
        assert_eq!(
            [1, 2, 3, 6, 7, u32::MAX].map(after),
            [60, 120, 240, 1920, 3600, 3600]
        );
        let asked = |span| wait_after_failure(1, Some(Duration::from_secs(span)), HOUR, 0);
        assert_eq!(
            [5, 600, 99_999].map(|s| asked(s).as_secs()),
            [60, 600, 3600]
        );
    }

    proptest! {
        #[test]
        fn the_next_fetch_is_never_out_of_bounds(
            life in any::<Option<u32>>(), age in any::<u32>(), retry in any::<Option<u32>>(),
            every in 60_u64..86_400, jitter: u8, failures: u32,
        ) {
            let span = |secs: u32| Duration::from_secs(secs.into());
            let caching = Caching { lifetime: life.map(span), age: span(age), ..Caching::default() };
            let every = Duration::from_secs(every);
            let failed = wait_after_failure(failures, retry.map(span), every, jitter);
            for wait in [wait(&caching, every, jitter), failed] {
                prop_assert!((EVERY_MIN..=every).contains(&wait), "{wait:?}");
            }
        }

        #[test]
        fn no_header_stops_the_reader(name in prop::sample::select(vec![
            "cache-control", "age", "expires", "date", "retry-after", "etag", "last-modified",
        ]), value in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
            let caching = Caching::of(&headers, now());
            prop_assert!(wait(&caching, HOUR, 0) <= HOUR);
        }
    }
}
