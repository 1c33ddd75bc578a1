//! The sections of the file, but for the store and the apps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{FileKind, Reader, Section, Value};
use super::value::{
    UrlRule, address, choice, count, flag, is_dns_name, list, path, ratio, set, span, text, url,
};
use super::{
    App, AttestationConfig, Caller, CallerIdentity, KeyGeneration, Keys, Limits, LogFormat,
    LogLevel, MissingStatusList, Mode, Role, Server, SideServer, Telemetry, TlsFiles, Tokens,
    Transport,
};
use crate::id::AppId;

/// Most entries in `[[callers]]`.
const CALLERS_MAX: usize = 1000;
/// Most test authorities of a platform.
const ROOTS_MAX: usize = 16;
/// Longest SPIFFE id (SPIFFE-ID, 2.3).
const SPIFFE_BYTES_MAX: usize = 2048;
/// Longest trust domain of a SPIFFE id (SPIFFE-ID, 2.3).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Largest request: at least twice the largest evidence, at most gRPC's customary 4 MiB.
const MESSAGE_BYTES: RangeInclusive<u32> = 64 * 1024..=4 * 1024 * 1024;
/// What one process can have open at all.
const CONCURRENT: RangeInclusive<u32> = 1..=100_000;

const ROLES: [(&str, Role); 5] = [
    (Role::AuthServer.as_str(), Role::AuthServer),
    (Role::MobileBackend.as_str(), Role::MobileBackend),
    (Role::ResourceServer.as_str(), Role::ResourceServer),
    (Role::OnCall.as_str(), Role::OnCall),
    (Role::SecurityAdmin.as_str(), Role::SecurityAdmin),
];

const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
const SIDE_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// Seconds as a span of time.
pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A URL that phones or resource servers see: `https`, in development also `http` on this machine.
const fn public_url(mode: Mode) -> UrlRule {
    UrlRule {
        schemes: &["https"],
        loopback_schemes: match mode {
            Mode::Production => &[],
            Mode::Development => &["http"],
        },
        path: true,
    }
}

pub(super) fn server(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
) -> Option<Server> {
    let listen = section.or(reader, "listen", LISTEN, address);
    let public_url = if section.is_written() {
        section.need(reader, "public_url", url(public_url(mode)))
    } else {
        section.value("public_url");
        None
    };
    let drain_for = section.or(reader, "drain", secs(20), span(secs(0)..=secs(600)));
    let transport = transport(reader, &mut section, mode, listen);
    let nested = section.section(reader, "limits");
    let limits = limits(reader, nested);
    section.finish(reader);
    Some(Server {
        listen: listen?,
        public_url: public_url?,
        transport: transport?,
        drain_for: drain_for?,
        limits: limits?,
    })
}

fn transport(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
    mode: Mode,
    listen: Option<SocketAddr>,
) -> Option<Transport> {
    let plaintext = section.or(reader, "plaintext", false, flag);
    let roles = set(1..=Role::ALL.len(), choice(&ROLES));
    let roles = section.maybe(reader, "plaintext_roles", roles);
    let mut tls = section.section(reader, "tls");
    let files = tls_files(reader, &mut tls);
    let tls_span = tls.span();
    let tls_written = tls.is_written();
    tls.finish(reader);
    if !plaintext? {
        if section.has("plaintext_roles") {
            let at = section.at_key("plaintext_roles");
            let hint = "roles of callers by their certificates stand in [[callers]]";
            reader.wrong::<()>(at, "\"plaintext_roles\" needs plaintext = true", hint);
        }
        if section.is_written() && !tls_written && !section.has("tls") {
            let hint = "add [server.tls], or plaintext = true on a loopback address";
            section.missing(reader, "[server.tls]", hint);
        }
        return files.map(Transport::Tls);
    }
    let at = section.at("plaintext");
    if tls_written {
        let hint = "keep [server.tls] and remove plaintext";
        return reader.wrong(tls_span, "TLS and plaintext exclude each other", hint);
    }
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let hint = "listen on 127.0.0.1 or [::1], or configure [server.tls]";
        return reader.wrong(at, "plaintext is taken only on a loopback address", hint);
    }
    let roles = roles?;
    if roles.is_none() && mode == Mode::Production {
        let hint = "write plaintext_roles = [\"…\"]: every caller on this machine gets them";
        return reader.wrong(
            at,
            "plaintext in production needs its roles written out",
            hint,
        );
    }
    let roles = roles.unwrap_or_else(|| BTreeSet::from(Role::ALL));
    Some(Transport::Plaintext(roles))
}

fn tls_files(reader: &mut Reader<'_>, tls: &mut Section<'_, '_>) -> Option<TlsFiles> {
    if !tls.is_written() {
        for key in ["certificate", "key", "client_ca"] {
            tls.value(key);
        }
        return None;
    }
    let certificate = tls.need(reader, "certificate", path(FileKind::Certificates));
    let key = tls.need(reader, "key", path(FileKind::PrivateKey));
    let client_ca = tls.need(reader, "client_ca", path(FileKind::Certificates));
    Some(TlsFiles {
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
    })
}

fn limits(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Limits> {
    let message = section.or(reader, "message_bytes", 256 * 1024, count(MESSAGE_BYTES));
    let requests = section.or(reader, "concurrent_requests", 1024, count(CONCURRENT));
    let connections = section.or(reader, "connections", 1024, count(CONCURRENT));
    let request = section.or(reader, "request", secs(10), span(secs(1)..=secs(60)));
    let handshake = section.or(reader, "handshake", secs(5), span(secs(1)..=secs(60)));
    section.finish(reader);
    Some(Limits {
        message_bytes_max: message?,
        concurrent_requests_max: requests?,
        connections_max: connections?,
        request_for: request?,
        handshake_for: handshake?,
    })
}

pub(super) fn side(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    server: Option<&Server>,
) -> Option<SideServer> {
    let listen = section.or(reader, "listen", SIDE_LISTEN, address);
    let both = listen.zip(server.map(|server| server.listen));
    if both.is_some_and(|(side, main)| side == main && side.port() != 0) {
        let at = section.at("listen");
        reader.wrong::<()>(at, "[server] listens there already", "take another port");
    }
    section.finish(reader);
    Some(SideServer { listen: listen? })
}

pub(super) fn token(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
    server: Option<&Server>,
) -> Option<Tokens> {
    let issuer = section.maybe(reader, "issuer", url(public_url(mode)));
    section.finish(reader);
    let default = || server.map(|server| server.public_url.clone());
    Some(Tokens {
        issuer: issuer?.or_else(default)?,
    })
}

pub(super) fn keys(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
) -> Option<Keys> {
    let generate = section.or(reader, "generate", false, flag);
    if generate == Some(true) && mode == Mode::Production {
        let hint = "make them with `assay keys generate`, or set mode = \"development\"";
        let message = "keys are generated at the start only in development";
        reader.wrong::<()>(section.at("generate"), message, hint);
    }
    let kind = if generate == Some(true) {
        FileKind::NewDirectory
    } else {
        FileKind::Directory
    };
    let directory = match section.maybe(reader, "directory", path(kind)) {
        Some(None) => Some(reader.file(section.span(), "keys", kind)),
        other => other.flatten(),
    };
    section.finish(reader);
    Some(Keys {
        directory: directory?,
        generate: if generate? {
            KeyGeneration::FirstStart
        } else {
            KeyGeneration::Never
        },
    })
}

pub(super) fn attestation(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
) -> Option<AttestationConfig> {
    let words = [
        ("refuse", MissingStatusList::Refuse),
        ("allow", MissingStatusList::Allow),
    ];
    let roots = || list(0..=ROOTS_MAX, path(FileKind::Certificates));
    let android = section.or(reader, "android_roots", Vec::new(), roots());
    let apple = section.or(reader, "apple_roots", Vec::new(), roots());
    let status_list = section.maybe(reader, "status_list", path(FileKind::StatusList));
    let missing = MissingStatusList::Refuse;
    let missing = section.or(reader, "status_list_missing", missing, choice(&words));
    if mode == Mode::Production {
        for (key, roots) in [("android_roots", &android), ("apple_roots", &apple)] {
            if roots.as_ref().is_some_and(|roots| !roots.is_empty()) {
                let hint = "set mode = \"development\", or remove them";
                let message = "test authorities are trusted only in development";
                reader.wrong::<()>(section.at(key), message, hint);
            }
        }
        if missing == Some(MissingStatusList::Allow) {
            let hint = "name the file in \"status_list\"";
            let message = "Android evidence without a status list is taken only in development";
            reader.wrong::<()>(section.at("status_list_missing"), message, hint);
        }
    }
    section.finish(reader);
    Some(AttestationConfig {
        android_roots: android?,
        apple_roots: apple?,
        status_list: status_list?,
        status_list_missing: missing?,
    })
}

/// In production an Android app without a status list would refuse every phone, at the first one:
/// better to say so before.
pub(super) fn need_status_list(
    reader: &mut Reader<'_>,
    top: &Section<'_, '_>,
    config: Option<&AttestationConfig>,
    apps: Option<&BTreeMap<AppId, App>>,
) {
    let refuses = config.is_some_and(|config| {
        config.status_list.is_none() && config.status_list_missing == MissingStatusList::Refuse
    });
    let android = apps.is_some_and(|apps| apps.values().any(|app| app.identity.android.is_some()));
    if refuses && android {
        let hint = "download https://android.googleapis.com/attestation/status and name the file, \
                    or (development only) set status_list_missing = \"allow\"";
        top.missing_below(reader, "attestation", "status_list", hint);
    }
}

pub(super) fn callers(
    reader: &mut Reader<'_>,
    top: &mut Section<'_, '_>,
    transport: Option<&Transport>,
) -> Option<Vec<Caller>> {
    let written = top.has("callers");
    let at = top.at("callers");
    let mut callers: Vec<Caller> = Vec::new();
    let mut good = true;
    for mut section in top.sections(reader, "callers", CALLERS_MAX) {
        let span = section.at("identity");
        let identity = section.need(reader, "identity", identity);
        let roles = section.need(reader, "roles", set(1..=Role::ALL.len(), choice(&ROLES)));
        section.finish(reader);
        match identity.zip(roles) {
            Some((identity, _)) if callers.iter().any(|c| c.identity == identity) => {
                let hint = "put all its roles in one entry";
                reader.wrong::<()>(span, "this caller has an entry already", hint);
            }
            Some((identity, roles)) => callers.push(Caller { identity, roles }),
            None => good = false,
        }
    }
    match transport {
        Some(Transport::Plaintext(_)) if written => {
            let hint = "remove [[callers]], or configure [server.tls]";
            reader.wrong::<()>(
                at,
                "callers cannot be told apart on a plaintext listener",
                hint,
            );
        }
        Some(Transport::Tls(_)) if !written => {
            top.missing(
                reader,
                "[[callers]]",
                "without one nobody may call anything",
            );
        }
        Some(_) | None => {}
    }
    good.then_some(callers)
}

fn identity(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<CallerIdentity> {
    let text = text(reader, value)?;
    let hint = "write \"spiffe://trust.domain/path\" or \"dns:name.example\", without patterns";
    if let Some(name) = text.strip_prefix("dns:") {
        if is_dns_name(name) {
            return Some(CallerIdentity::Dns(name.to_owned()));
        }
        return reader.wrong(value.span(), "not a DNS name in lower case", hint);
    }
    if !text.starts_with("spiffe://") {
        return reader.wrong(value.span(), "not an identity of a caller", hint);
    }
    if is_spiffe_id(&text) {
        return Some(CallerIdentity::Spiffe(text));
    }
    reader.wrong(value.span(), "not a SPIFFE id", hint)
}

/// Whether a text is a SPIFFE id with a path, in its one written form (SPIFFE-ID, 2.1 to 2.3).
fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let common = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    text.len() <= SPIFFE_BYTES_MAX
        && (1..=TRUST_DOMAIN_BYTES_MAX).contains(&domain.len())
        && domain.bytes().all(|b| b.is_ascii_lowercase() || common(b))
        && path.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphabetic() || common(b))
        })
}

pub(super) fn telemetry(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<Telemetry> {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let levels = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ]
    .map(|level| (level.as_str(), level));
    let otlp = UrlRule {
        schemes: &["https", "http"],
        loopback_schemes: &[],
        path: false,
    };
    let log_format = section.or(reader, "log_format", LogFormat::Json, choice(&formats));
    let log_level = section.or(reader, "log_level", LogLevel::Info, choice(&levels));
    let otlp_endpoint = section.maybe(reader, "otlp_endpoint", url(otlp));
    let trace_ratio = section.or(reader, "trace_ratio", 0.1, ratio);
    section.finish(reader);
    Some(Telemetry {
        log_format: log_format?,
        log_level: log_level?,
        otlp_endpoint: otlp_endpoint?,
        trace_ratio: trace_ratio?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_have_one_written_form() {
        for good in ["spiffe://a/b", "spiffe://prod.example.com/ns/web/sa/API_1"] {
            assert!(is_spiffe_id(good), "{good}");
        }
        for bad in [
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///b",
            "spiffe://A/b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a/%61",
            "spiffe://a/*",
            "SPIFFE://a/b",
        ] {
            assert!(!is_spiffe_id(bad), "{bad}");
        }
    }
}
