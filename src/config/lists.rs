//! The lists that `[attestation]` names, and `[outbound]`.

use std::time::Duration;

use super::reader::{FileKind, Reader, Section};
use super::sections::secs;
use super::value::{UrlRule, choice, digest, path, span, url};
use super::{ListFeed, ListFile, MissingStatusList, Mode, OutboundConfig, StatusListConfig};

/// Bounds of the wait between two fetches. The publisher is not asked more often than each minute.
const EVERY: std::ops::RangeInclusive<Duration> = secs(60)..=secs(24 * 3600);
/// A revocation is known an hour after it was published; what has not changed costs one small answer.
const EVERY_DEFAULT: Duration = secs(3600);
/// Bounds of the age limit.
const AGE_MAX: std::ops::RangeInclusive<Duration> = secs(600)..=secs(30 * 24 * 3600);
/// A day: 24 fetches have to fail before evidence is refused, and a leaked key is good for no longer.
const AGE_MAX_DEFAULT: Duration = secs(24 * 3600);

/// The keys of Google's list, read whatever the others say.
struct Written {
    url: Option<Option<String>>,
    every: Option<Duration>,
    age_max: Option<Option<Duration>>,
    cache: Option<Option<std::path::PathBuf>>,
    accept: Option<Option<[u8; 32]>>,
    file: Option<Option<std::path::PathBuf>>,
    missing: Option<MissingStatusList>,
}

/// Where Google's list is from.
pub(super) fn status_list(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
    mode: Mode,
) -> Option<StatusListConfig> {
    let words = [
        ("refuse", MissingStatusList::Refuse),
        ("allow", MissingStatusList::Allow),
    ];
    let refuse = MissingStatusList::Refuse;
    let hint = "the SHA-256 in the log line about the refused list";
    let written = Written {
        url: section.maybe(reader, "status_list_url", url(fetched())),
        every: section.or(reader, "status_list_every", EVERY_DEFAULT, span(EVERY)),
        age_max: section.maybe(reader, "status_list_age_max", span(AGE_MAX)),
        cache: section.maybe(reader, "status_list_cache", path(FileKind::NewFile)),
        accept: section.maybe(reader, "status_list_accept", digest(hint)),
        file: section.maybe(reader, "status_list", path(FileKind::StatusList)),
        missing: section.or(reader, "status_list_missing", refuse, choice(&words)),
    };
    if written.missing == Some(MissingStatusList::Allow) && mode == Mode::Production {
        let hint = "write \"status_list_url\", or name the file in \"status_list\"";
        let message = "Android evidence without a status list is taken only in development";
        reader.wrong::<()>(section.at("status_list_missing"), message, hint);
    }
    check_together(reader, section, &written);
    let accept_sha256 = written.accept?;
    let (age_max, every, cache) = (written.age_max?, written.every?, written.cache?);
    Some(match (written.url?, written.file?) {
        (Some(url), _) => StatusListConfig::Feed(ListFeed {
            url,
            every,
            age_max: age_max.unwrap_or(AGE_MAX_DEFAULT),
            cache,
            accept_sha256,
        }),
        (None, Some(path)) => StatusListConfig::File(ListFile {
            path,
            age_max,
            accept_sha256,
        }),
        (None, None) => StatusListConfig::Missing(written.missing?),
    })
}

/// The rules between the keys.
fn check_together(reader: &mut Reader<'_>, section: &Section<'_, '_>, written: &Written) {
    if section.has("status_list_url") && section.has("status_list") {
        let message = "the status list is either fetched or a file";
        let hint = "remove \"status_list\", or \"status_list_url\"";
        reader.wrong::<()>(section.at("status_list"), message, hint);
    }
    for key in ["status_list_every", "status_list_cache"] {
        if section.has(key) && !section.has("status_list_url") {
            let message = "this is about a list that is fetched";
            reader.wrong::<()>(section.at(key), message, "write \"status_list_url\"");
        }
    }
    for key in ["status_list_age_max", "status_list_accept"] {
        if section.has(key) && !section.has("status_list_url") && !section.has("status_list") {
            let message = "there is no status list that this could be about";
            reader.wrong::<()>(section.at(key), message, "write \"status_list_url\"");
        }
    }
    let age_max = written.age_max.map(|age| age.unwrap_or(AGE_MAX_DEFAULT));
    if let Some((every, age_max)) = written.every.zip(age_max)
        && section.has("status_list_url")
        && age_max < every * 2
    {
        let message = "the list would be too old whenever one fetch fails";
        let hint = "status_list_age_max is at least twice status_list_every";
        reader.wrong::<()>(section.at("status_list_age_max"), message, hint);
    }
}

/// A URL the service calls: `https`, or `http` on this machine itself, where a mirror may stand.
pub(super) const fn fetched() -> UrlRule {
    UrlRule {
        schemes: &["https"],
        loopback_schemes: &["http"],
        path: true,
    }
}

pub(super) fn outbound(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<OutboundConfig> {
    let proxy = UrlRule {
        schemes: &["http"],
        loopback_schemes: &[],
        path: false,
    };
    let proxy_read = section.maybe(reader, "proxy", url(proxy));
    if let Some(Some(written)) = &proxy_read
        && written
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.port().is_none())
    {
        let hint = "write it as in \"http://proxy.example.com:3128\"";
        reader.wrong::<()>(section.at("proxy"), "the proxy has no port", hint);
    }
    let ca = section.maybe(reader, "ca", path(FileKind::Certificates));
    section.finish(reader);
    Some(OutboundConfig {
        proxy: proxy_read?,
        ca: ca?,
    })
}
