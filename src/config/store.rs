//! `[store]`: where the state is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{FileKind, Reader, Section, Value};
use super::report::Show;
use super::sections::secs;
use super::value::{
    UrlRule, checked, choice, count, flag, is_loopback_host, list, number, path, span, url,
};
use super::{Mode, RedisConfig, RedisServers, StoreConfig};

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
const REDIS_KEYS: [&str; 16] = [
    "url",
    "sentinels",
    "master",
    "sentinel_username",
    "sentinel_password_file",
    "cluster",
    "connections",
    "plaintext",
    "username",
    "password_file",
    "tls_ca",
    "connect",
    "request",
    "replicas_wanted",
    "replicas_within",
    "revocation_fsync",
];

/// Those of them that are of use only with Sentinels.
const SENTINEL_KEYS: [&str; 3] = ["master", "sentinel_username", "sentinel_password_file"];

/// More Sentinels, or nodes to begin with, than anybody has.
const URLS_MAX: usize = 64;

/// More connections to one server only take turns.
const CONNECTIONS_MAX: u32 = 16;

const REDIS_URL: UrlRule = UrlRule {
    schemes: &["redis", "rediss"],
    loopback_schemes: &[],
    path: true,
};

/// Of several servers there is only one database, the first.
const REDIS_URLS: UrlRule = UrlRule {
    path: false,
    ..REDIS_URL
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
    plaintext: Option<bool>,
    user: User,
    servers: Servers,
    tls_ca: Option<Option<PathBuf>>,
    connections: Option<usize>,
    connect_for: Option<Duration>,
    request_for: Option<Duration>,
    replicas_wanted: Option<u32>,
    replicas_within: Option<Duration>,
    revocation_fsync: Option<bool>,
}

/// Where the servers are, in one of three ways.
struct Servers {
    url: Option<Option<String>>,
    sentinels: Option<Option<Vec<String>>>,
    cluster: Option<Option<Vec<String>>>,
    master: Option<Option<String>>,
    sentinel_user: User,
}

/// A user and the file of its password, under the keys of those names.
struct User {
    name_key: &'static str,
    password_key: &'static str,
    name: Option<Option<String>>,
    password_file: Option<Option<PathBuf>>,
}

impl Redis {
    fn read(reader: &mut Reader<'_>, section: &mut Section<'_, '_>) -> Self {
        let connect = span(millis(50)..=secs(30));
        let request = span(millis(10)..=secs(10));
        let replicas = span(millis(10)..=secs(10));
        let connections = count(1..=CONNECTIONS_MAX);
        Self {
            plaintext: section.or(reader, "plaintext", false, flag),
            user: User::read(reader, section, "username", "password_file"),
            servers: Servers::read(reader, section),
            tls_ca: section.maybe(reader, "tls_ca", path(FileKind::Certificates)),
            connections: section.or(reader, "connections", 1, connections),
            connect_for: section.or(reader, "connect", secs(2), connect),
            request_for: section.or(reader, "request", millis(250), request),
            replicas_wanted: section.or(reader, "replicas_wanted", 0, number(0..=16)),
            replicas_within: section.or(reader, "replicas_within", secs(1), replicas),
            revocation_fsync: section.or(reader, "revocation_fsync", false, flag),
        }
    }

    fn checked(
        self,
        reader: &mut Reader<'_>,
        section: &Section<'_, '_>,
        mode: Mode,
    ) -> Option<StoreConfig> {
        let (key, servers) = self.servers.checked(reader, section)?;
        let urls = match &servers {
            RedisServers::One(url) => std::slice::from_ref(url),
            RedisServers::Sentinels { urls, .. } | RedisServers::Cluster(urls) => urls.as_slice(),
        };
        let plaintext = self.plaintext?;
        let tls = check_transport(reader, section, (key, urls), (mode, plaintext));
        let tls_ca = self.tls_ca?;
        if tls_ca.is_some() && !tls {
            let at = section.at_key("tls_ca");
            let hint = format!("write rediss:// in \"{key}\"");
            reader.wrong::<()>(at, "\"tls_ca\" is of no use without TLS", &hint);
        }
        let (username, password_file) = self.user.checked(reader, section)?;
        Some(StoreConfig::Redis(Box::new(RedisConfig {
            servers,
            username,
            password_file,
            tls_ca,
            connections: self.connections?,
            connect_for: self.connect_for?,
            request_for: self.request_for?,
            replicas_wanted: self.replicas_wanted?,
            replicas_within: self.replicas_within?,
            revocation_fsync: self.revocation_fsync?,
        })))
    }
}

impl Servers {
    fn read(reader: &mut Reader<'_>, section: &mut Section<'_, '_>) -> Self {
        let urls = || list(1..=URLS_MAX, url(REDIS_URLS));
        let name = checked(is_plain, "is no name of a primary", "");
        Self {
            url: section.maybe(reader, "url", url(REDIS_URL)),
            sentinels: section.maybe(reader, "sentinels", urls()),
            cluster: section.maybe(reader, "cluster", urls()),
            master: section.maybe(reader, "master", name),
            sentinel_user: User::read(
                reader,
                section,
                "sentinel_username",
                "sentinel_password_file",
            ),
        }
    }

    /// The servers, and the key that names them.
    fn checked(
        self,
        reader: &mut Reader<'_>,
        section: &Section<'_, '_>,
    ) -> Option<(&'static str, RedisServers)> {
        let (url, sentinels, cluster) = (self.url?, self.sentinels?, self.cluster?);
        if sentinels.is_none() {
            for key in SENTINEL_KEYS.iter().filter(|key| section.has(key)) {
                let message = format!("\"{key}\" is of no use without \"sentinels\"");
                reader.wrong::<()>(section.at_key(key), message, "remove it");
            }
        }
        match (url, sentinels, cluster) {
            (Some(url), None, None) => {
                check_url(reader, section, &url);
                Some(("url", RedisServers::One(url)))
            }
            (None, None, Some(urls)) => Some(("cluster", RedisServers::Cluster(urls))),
            (None, Some(urls), None) => {
                let master = self.master?;
                if master.is_none() {
                    let hint = "it is what the Sentinels call the primary";
                    section.missing(reader, "master", hint);
                }
                let (username, password_file) = self.sentinel_user.checked(reader, section)?;
                let servers = RedisServers::Sentinels {
                    urls,
                    master: master?,
                    username,
                    password_file,
                };
                Some(("sentinels", servers))
            }
            (None, None, None) => {
                section.missing(reader, "url", "write it as \"rediss://host:6379\"");
                None
            }
            (_, sentinels, _) => {
                let key = if sentinels.is_some() {
                    "sentinels"
                } else {
                    "cluster"
                };
                let message =
                    "\"url\", \"sentinels\" and \"cluster\" are three ways to name servers";
                reader.wrong(section.at_key(key), message, "keep one of them")
            }
        }
    }
}

impl User {
    fn read(
        reader: &mut Reader<'_>,
        section: &mut Section<'_, '_>,
        name_key: &'static str,
        password_key: &'static str,
    ) -> Self {
        let name = checked(is_plain, "is no user name", "");
        Self {
            name_key,
            password_key,
            name: section.maybe(reader, name_key, name),
            password_file: section.maybe(reader, password_key, secret_path),
        }
    }

    fn checked(
        self,
        reader: &mut Reader<'_>,
        section: &Section<'_, '_>,
    ) -> Option<(Option<String>, Option<PathBuf>)> {
        let (name, password_file) = (self.name?, self.password_file?);
        if name.is_some() && password_file.is_none() {
            let hint = format!("name its file in \"{}\"", self.password_key);
            let at = section.at_key(self.name_key);
            reader.wrong::<()>(at, "a user needs a password", &hint);
        }
        Some((name, password_file))
    }
}

fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether TLS is used; all servers are reached alike.
fn check_transport(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    (key, urls): (&'static str, &[String]),
    (mode, plaintext): (Mode, bool),
) -> bool {
    let is_tls = |url: &String| url.starts_with("rediss://");
    let tls = urls.iter().any(is_tls);
    if tls && !urls.iter().all(is_tls) {
        let message = "some of them ask for TLS and some do not";
        reader.wrong::<()>(section.at(key), message, "write rediss:// everywhere");
    }
    let is_here = |url: &String| {
        let uri = url.parse::<http::Uri>();
        uri.is_ok_and(|uri| uri.host().is_some_and(is_loopback_host))
    };
    if mode == Mode::Production && !tls && !plaintext && !urls.iter().all(is_here) {
        let hint = "write rediss://, or plaintext = true where the network itself is encrypted";
        let message = "Redis on another machine needs TLS in production";
        reader.wrong::<()>(section.at(key), message, hint);
    }
    if tls && plaintext {
        let at = section.at_key("plaintext");
        reader.wrong::<()>(at, "plaintext contradicts rediss://", "remove one of them");
    }
    tls
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
