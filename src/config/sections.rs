//! The sections of the file, but for the store and the apps.

use std::time::Duration;

use super::listeners::{CallersRule, ServerParts};
use super::reader::{FileKind, Reader, Section, Value};
use super::value::{UrlRule, choice, flag, is_dns_name, list, path, ratio, set, text, url};
use super::{
    AttestationConfig, Caller, CallerIdentity, KeyGeneration, Keys, LogFormat, LogLevel,
    MissingStatusList, Mode, Role, StatusListConfig, Telemetry, Tokens, lists,
};
use crate::proof::TargetUri;

/// Most entries in `[[callers]]`.
const CALLERS_MAX: usize = 1000;
/// Most test authorities of a platform.
const ROOTS_MAX: usize = 16;
/// Longest SPIFFE id (SPIFFE-ID, 2.3).
const SPIFFE_BYTES_MAX: usize = 2048;
/// Longest trust domain of a SPIFFE id (SPIFFE-ID, 2.3).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// The words of the roles.
pub(super) const ROLES: [(&str, Role); 5] = [
    (Role::AuthServer.as_str(), Role::AuthServer),
    (Role::MobileBackend.as_str(), Role::MobileBackend),
    (Role::ResourceServer.as_str(), Role::ResourceServer),
    (Role::OnCall.as_str(), Role::OnCall),
    (Role::SecurityAdmin.as_str(), Role::SecurityAdmin),
];

/// Seconds as a span of time.
pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A URL that phones or resource servers see: `https`, in development also `http` on this machine.
pub(super) const fn public(mode: Mode) -> UrlRule {
    UrlRule {
        schemes: &["https"],
        loopback_schemes: match mode {
            Mode::Production => &[],
            Mode::Development => &["http"],
        },
        path: true,
    }
}

/// As [`public`], and in a form that the URI of a proof can be compared with: another one would be
/// passed over when proofs come, and every one of them refused.
pub(super) fn proof_target(
    mode: Mode,
) -> impl Fn(&mut Reader<'_>, &Value<'_>) -> Option<String> + Copy {
    move |reader, value| {
        let text = url(public(mode))(reader, value)?;
        if text.parse::<TargetUri>().is_err() {
            let hint = "plain characters of RFC 3986, no \".\" or \"..\" between slashes";
            return reader.wrong(value.span(), "proofs cannot be aimed at this URL", hint);
        }
        Some(text)
    }
}

pub(super) fn token(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
    server: &ServerParts,
) -> Option<Tokens> {
    let issuer = section.maybe(reader, "issuer", url(public(mode)));
    section.finish(reader);
    Some(Tokens {
        issuer: issuer?.or_else(|| server.public_url.clone())?,
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
) -> (Option<AttestationConfig>, ListNeed) {
    let roots = || list(0..=ROOTS_MAX, path(FileKind::Certificates));
    let android = section.or(reader, "android_roots", Vec::new(), roots());
    let apple = section.or(reader, "apple_roots", Vec::new(), roots());
    let status_list = lists::status_list(reader, &mut section, mode);
    let own_list = section.maybe(reader, "own_list", path(FileKind::OwnList));
    if mode == Mode::Production {
        for (key, roots) in [("android_roots", &android), ("apple_roots", &apple)] {
            if roots.as_ref().is_some_and(|roots| !roots.is_empty()) {
                let hint = "set mode = \"development\", or remove them";
                let message = "test authorities are trusted only in development";
                reader.wrong::<()>(section.at(key), message, hint);
            }
        }
    }
    section.finish(reader);
    let need = match status_list {
        Some(StatusListConfig::Missing(MissingStatusList::Refuse)) => ListNeed::Lacking,
        Some(_) | None => ListNeed::Met,
    };
    let complete = || {
        Some(AttestationConfig {
            android_roots: android?,
            apple_roots: apple?,
            status_list: status_list?,
            own_list: own_list?,
        })
    };
    (complete(), need)
}

/// Whether Android evidence would be refused for want of a status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListNeed {
    /// A list is named, or it may be missing.
    Met,
    /// None is named, and it may not.
    Lacking,
}

/// An Android app without a status list would refuse every phone, and nobody would know before the
/// first one: better to say so here.
pub(super) fn need_status_list(reader: &mut Reader<'_>, top: &Section<'_, '_>, need: ListNeed) {
    let any_android = top.table_below("apps").is_some_and(|apps| {
        let mut apps = apps.values().filter_map(|app| app.get_ref().as_table());
        apps.any(|app| app.contains_key("android"))
    });
    if need == ListNeed::Lacking && any_android {
        let hint = "write status_list_url = \"https://android.googleapis.com/attestation/status\", \
                    or (development only) status_list_missing = \"allow\"";
        top.missing_below(reader, "attestation", "status_list_url", hint);
    }
}

pub(super) fn callers(
    reader: &mut Reader<'_>,
    top: &mut Section<'_, '_>,
    server: &ServerParts,
) -> Option<Vec<Caller>> {
    let at = top.at("callers");
    let sections = top.sections(reader, "callers", CALLERS_MAX)?;
    match (server.callers, sections.is_empty()) {
        (CallersRule::Refused, false) => {
            let hint = "remove [[callers]], or configure [server.tls]";
            let message = "callers cannot be told apart on a plaintext listener";
            reader.wrong::<()>(at, message, hint);
        }
        (CallersRule::Needed, true) => {
            top.missing(
                reader,
                "[[callers]]",
                "without one nobody may call anything",
            );
        }
        (CallersRule::Refused, true) | (CallersRule::Needed, false) | (CallersRule::Unknown, _) => {
        }
    }
    let mut callers: Vec<Caller> = Vec::new();
    let mut good = true;
    for mut section in sections {
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
    // The exporter has no TLS: the collector stands beside the service.
    let otlp = UrlRule {
        schemes: &["http"],
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
