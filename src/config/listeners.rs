//! `[server]` and `[side]`: where and how the service listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{FileKind, Reader, Section};
use super::sections::{ROLES, proof_target, secs};
use super::value::{address, choice, count, flag, path, set, span};
use super::{Limits, Mode, Role, Server, SideServer, TlsFiles, Transport};

/// Largest request: at least twice the largest evidence, at most gRPC's customary 4 MiB.
const MESSAGE_BYTES: RangeInclusive<u32> = 64 * 1024..=4 * 1024 * 1024;
/// What one process can have open at all.
const CONCURRENT: RangeInclusive<u32> = 1..=100_000;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
const SIDE_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// `[server]` as far as it could be read, so that one wrong value does not hide what is wrong
/// elsewhere.
pub(super) struct ServerParts {
    listen: Option<SocketAddr>,
    pub(super) public_url: Option<String>,
    transport: Option<Transport>,
    pub(super) callers: CallersRule,
    drain_for: Option<Duration>,
    limits: Option<Limits>,
}

/// What the listener means for `[[callers]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallersRule {
    /// With TLS they have to be there.
    Needed,
    /// On a plaintext listener they must not.
    Refused,
    /// The listener is not configured well enough to tell.
    Unknown,
}

impl ServerParts {
    pub(super) fn complete(self) -> Option<Server> {
        Some(Server {
            listen: self.listen?,
            public_url: self.public_url?,
            transport: self.transport?,
            drain_for: self.drain_for?,
            limits: self.limits?,
        })
    }
}

pub(super) fn server(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    mode: Mode,
) -> ServerParts {
    let listen = section.or(reader, "listen", LISTEN, address);
    let public_url = if section.is_written() {
        section.need(reader, "public_url", proof_target(mode))
    } else {
        section.value("public_url");
        None
    };
    let drain_for = section.or(reader, "drain", secs(20), span(secs(0)..=secs(600)));
    let transport = transport(reader, &mut section, mode, listen);
    let callers = match &transport {
        Some(Transport::Plaintext(_)) => CallersRule::Refused,
        _ if section.has("tls") && !section.has("plaintext") => CallersRule::Needed,
        Some(Transport::Tls(_)) => CallersRule::Needed,
        None => CallersRule::Unknown,
    };
    let nested = section.section(reader, "limits");
    let limits = limits(reader, nested);
    section.finish(reader);
    ServerParts {
        listen,
        public_url,
        transport,
        callers,
        drain_for,
        limits,
    }
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
    let roles = roles.unwrap_or_else(|| Role::ALL.iter().copied().collect());
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
    server: &ServerParts,
) -> Option<SideServer> {
    let listen = section.or(reader, "listen", SIDE_LISTEN, address);
    let both = listen.zip(server.listen);
    if both.is_some_and(|(side, main)| side == main && side.port() != 0) {
        let at = section.at("listen");
        reader.wrong::<()>(at, "[server] listens there already", "take another port");
    }
    section.finish(reader);
    Some(SideServer { listen: listen? })
}
