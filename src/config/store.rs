//! `[store]`: where the state is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{FileKind, Reader, Section, Value};
use super::report::Show;
use super::sections::secs;
use super::value::{UrlRule, checked, choice, flag, is_loopback_host, number, path, span, url};
use super::{Mode, RedisConfig, StoreConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Disk,
    Redis,
}

const KINDS: [(&str, Kind); 3] = [
    ("memory", Kind::Memory),
    ("disk", Kind::Disk),
    ("redis", Kind::Redis),
];

/// Keys that only one kind of store has.
const DISK_KEYS: [&str; 1] = ["directory"];
const REDIS_KEYS: [&str; 9] = [
    "url",
    "plaintext",
    "username",
    "password_file",
    "tls_ca",
    "connect",
    "request",
    "replicas_wanted",
    "replicas_within",
];

const REDIS_URL: UrlRule = UrlRule {
    schemes: &["redis", "rediss"],
    loopback_schemes: &[],
    path: true,
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn store(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
) -> Option<StoreConfig> {
    let kind = if section.is_written() {
        section.need(reader, "kind", choice(&KINDS))
    } else {
        section.value("kind");
        None
    };
    let directory = section.maybe(reader, "directory", path(FileKind::NewDirectory));
    let redis = Redis::read(reader, &mut section);
    let store = match kind {
        None => None,
        Some(Kind::Memory) => memory(reader, &section, mode),
        Some(Kind::Disk) => disk(reader, &section, directory),
        Some(Kind::Redis) => {
            refuse_keys_of(reader, &section, &DISK_KEYS, "disk");
            redis.checked(reader, &section, mode)
        }
    };
    section.finish(reader);
    store
}

fn memory(reader: &mut Reader<'_>, section: &Section<'_, '_>, mode: Mode) -> Option<StoreConfig> {
    refuse_keys_of(reader, section, &DISK_KEYS, "disk");
    refuse_keys_of(reader, section, &REDIS_KEYS, "redis");
    if mode == Mode::Production {
        let hint = "use \"disk\" or \"redis\", or set mode = \"development\"";
        let message = "a store that forgets everything at a restart is for development";
        return reader.wrong(section.at("kind"), message, hint);
    }
    Some(StoreConfig::Memory)
}

fn disk(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    directory: Option<Option<PathBuf>>,
) -> Option<StoreConfig> {
    refuse_keys_of(reader, section, &REDIS_KEYS, "redis");
    let directory = directory?;
    if directory.is_none() {
        section.missing(reader, "directory", "it says where the files are kept");
    }
    Some(StoreConfig::Disk {
        directory: directory?,
    })
}

fn refuse_keys_of(reader: &mut Reader<'_>, section: &Section<'_, '_>, keys: &[&str], kind: &str) {
    for key in keys.iter().filter(|key| section.has(key)) {
        let message = format!("\"{key}\" is for a store of kind = \"{kind}\"");
        reader.wrong::<()>(
            section.at_key(key),
            message,
            "remove it, or change \"kind\"",
        );
    }
}

/// What was read; `None` is wrong, an inner `None` absent.
struct Redis {
    url: Option<Option<String>>,
    plaintext: Option<bool>,
    username: Option<Option<String>>,
    password_file: Option<Option<PathBuf>>,
    tls_ca: Option<Option<PathBuf>>,
    connect_for: Option<Duration>,
    request_for: Option<Duration>,
    replicas_wanted: Option<u32>,
    replicas_within: Option<Duration>,
}

impl Redis {
    fn read(reader: &mut Reader<'_>, section: &mut Section<'_, '_>) -> Self {
        let plain = |text: &str| {
            (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let name = checked(plain, "is no user name", "");
        let connect = span(millis(50)..=secs(30));
        let request = span(millis(10)..=secs(10));
        let replicas = span(millis(10)..=secs(10));
        Self {
            url: section.maybe(reader, "url", url(REDIS_URL)),
            plaintext: section.or(reader, "plaintext", false, flag),
            username: section.maybe(reader, "username", name),
            password_file: section.maybe(reader, "password_file", secret_path),
            tls_ca: section.maybe(reader, "tls_ca", path(FileKind::Certificates)),
            connect_for: section.or(reader, "connect", secs(2), connect),
            request_for: section.or(reader, "request", millis(250), request),
            replicas_wanted: section.or(reader, "replicas_wanted", 0, number(0..=16)),
            replicas_within: section.or(reader, "replicas_within", secs(1), replicas),
        }
    }

    fn checked(
        self,
        reader: &mut Reader<'_>,
        section: &Section<'_, '_>,
        mode: Mode,
    ) -> Option<StoreConfig> {
        let url = self.url?;
        let Some(url) = url else {
            section.missing(reader, "url", "write it as \"rediss://host:6379\"");
            return None;
        };
        check_url(reader, section, &url);
        let tls = url.starts_with("rediss://");
        let here = url
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(is_loopback_host));
        let plaintext = self.plaintext?;
        if mode == Mode::Production && !tls && !here && !plaintext {
            let hint = "write rediss://, or plaintext = true where the network itself is encrypted";
            let message = "Redis on another machine needs TLS in production";
            reader.wrong::<()>(section.at("url"), message, hint);
        }
        if tls && plaintext {
            let at = section.at_key("plaintext");
            reader.wrong::<()>(at, "plaintext contradicts rediss://", "remove one of them");
        }
        let (tls_ca, username) = (self.tls_ca?, self.username?);
        let password_file = self.password_file?;
        if tls_ca.is_some() && !tls {
            let at = section.at_key("tls_ca");
            reader.wrong::<()>(
                at,
                "\"tls_ca\" is of no use without TLS",
                "write rediss:// in \"url\"",
            );
        }
        if username.is_some() && password_file.is_none() {
            let at = section.at_key("username");
            reader.wrong::<()>(
                at,
                "a user needs a password",
                "name its file in \"password_file\"",
            );
        }
        Some(StoreConfig::Redis(RedisConfig {
            url,
            username,
            password_file,
            tls_ca,
            connect_for: self.connect_for?,
            request_for: self.request_for?,
            replicas_wanted: self.replicas_wanted?,
            replicas_within: self.replicas_within?,
        }))
    }
}

/// A path; what stands in its place by mistake may be the secret itself and is not shown.
fn secret_path(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<PathBuf> {
    let before = reader.findings.len();
    let found = path(FileKind::Secret)(reader, value);
    for finding in reader.findings.iter_mut().skip(before) {
        finding.show = Show::KeyOnly;
    }
    found
}

/// The path of a Redis URL is the number of a database (0 to 15 as servers come), or nothing.
fn check_url(reader: &mut Reader<'_>, section: &Section<'_, '_>, url: &str) {
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'));
    let numbers = |path: &str| {
        path.len() <= 2 && path.bytes().all(|b| b.is_ascii_digit()) && !path.starts_with("0")
            || path == "0"
    };
    if path.is_some_and(|(_, path)| !numbers(path)) {
        let hint = "write it as \"rediss://host:6379/0\"";
        reader.wrong::<()>(
            section.at("url"),
            "the path is not the number of a database",
            hint,
        );
    }
}
