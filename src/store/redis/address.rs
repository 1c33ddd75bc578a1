//! Where servers are, and how all of them are reached.

use std::fmt;

use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::secret::Secret;

/// Longest name of a machine (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

const BAD_URL: &str = "the URL of the Redis server is not valid";

/// A machine and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// As servers write it in redirections: `host:port`. Without a host it is the one that was asked.
    pub(super) fn parse(text: &str, asked: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::new(host, port.parse().ok()?, asked)
    }

    /// From its parts. An unknown host is the one that was asked.
    pub(super) fn new(host: &str, port: u16, asked: &Self) -> Option<Self> {
        let host = if matches!(host, "" | "?") {
            &asked.host
        } else {
            host
        };
        // It becomes part of a URL.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        let sound = host.len() <= HOST_BYTES_MAX && host.bytes().all(plain);
        sound.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Addresses stay out of what is shown.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

/// How a kind of servers is reached: as whom, and whom to trust.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret<String>>,
    /// PEM of the only authority to trust.
    pub(super) tls_ca: Option<Vec<u8>>,
}

impl Access {
    /// The client of the server at a URL, and where that is.
    pub(super) fn client(&self, url: &str) -> Result<(Client, Address), &'static str> {
        let info = url.into_connection_info().map_err(|_| BAD_URL)?;
        let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            info.addr()
        else {
            return Err(BAD_URL);
        };
        let (host, port) = (host.clone(), *port);
        let settings = info.redis_settings();
        if settings.username().is_some() || settings.password().is_some() {
            return Err("credentials do not belong in the URL of the Redis server");
        }
        // RESP3, because only there the client library tells at once when the connection breaks.
        let mut settings = settings.clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        let info = info.set_redis_settings(settings);
        let client = match &self.tls_ca {
            None => Client::open(info).map_err(|_| BAD_URL)?,
            Some(_) if !encrypted => {
                return Err("a certificate authority is given, but the URL asks for no TLS");
            }
            Some(pem) => {
                const BAD_PEM: &str =
                    "the certificate authority of the Redis server is not valid PEM";
                // The client library takes a text without any certificate, and then trusts nobody.
                let mut authorities = CertificateDer::pem_slice_iter(pem).peekable();
                if authorities.peek().is_none() || authorities.any(|found| found.is_err()) {
                    return Err(BAD_PEM);
                }
                let authority = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                Client::build_with_tls(info, authority).map_err(|_| BAD_PEM)?
            }
        };
        Ok((client, Address { host, port }))
    }

    /// The client of a server that others told of.
    pub(super) fn client_at(&self, address: &Address, tls: bool) -> Result<Client, &'static str> {
        let scheme = if tls { "rediss" } else { "redis" };
        let Address { host, port } = address;
        let url = if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        };
        Ok(self.client(&url)?.0)
    }
}

/// Whether a URL asks for TLS.
pub(super) fn is_tls(url: &str) -> bool {
    url.starts_with("rediss://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Address {
        let host = "10.0.0.1".to_owned();
        Address { host, port: 6379 }
    }

    #[test]
    fn a_redirection_without_a_host_leads_to_the_one_that_was_asked() {
        let parse = |text| Address::parse(text, &asked()).map(|found| (found.host, found.port));
        assert_eq!(parse(":7000"), Some(("10.0.0.1".to_owned(), 7000)));
        assert_eq!(parse("?:7000"), Some(("10.0.0.1".to_owned(), 7000)));
        assert_eq!(parse("redis-1.x:7"), Some(("redis-1.x".to_owned(), 7)));
        assert_eq!(parse("fd00::1:7000"), Some(("fd00::1".to_owned(), 7000)));
        for odd in ["", "host", "host:", "host:70000", "a@b:1", "a/b:1", "a b:1"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_server_that_was_told_of_is_reached_like_the_others() {
        let access = Access {
            username: Some("me".to_owned()),
            password: Some(Secret::new("secret".to_owned())),
            tls_ca: None,
        };
        for host in ["fd00::1", "10.0.0.2", "redis-2.example"] {
            let address = Address::new(host, 7000, &asked()).unwrap();
            let client = access.client_at(&address, true).unwrap();
            let info = client.get_connection_info();
            let ConnectionAddr::TcpTls {
                host: found, port, ..
            } = info.addr()
            else {
                panic!("no TLS");
            };
            assert_eq!((found.trim_matches(['[', ']']), *port), (host, 7000));
            assert_eq!(info.redis_settings().username(), Some("me"));
        }
    }
}
