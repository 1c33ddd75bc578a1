//! TLS of the gRPC port: version 1.3 and a client certificate, always; and what the client
//! certificate says the peer is.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::secret::Secret;

/// The one application protocol spoken.
pub(super) const ALPN_H2: &[u8] = b"h2";

/// Most bytes of one PEM file: a bundle of some hundred certificates is far below.
const PEM_BYTES_MAX: usize = 1 << 20;

/// Most certificates in the server's chain or among the client authorities.
const CERTIFICATES_MAX: usize = 256;

/// Most names read from one client certificate; workload certificates have one to three.
const IDENTITIES_MAX: usize = 16;

/// Longest name. SPIFFE allows 2048 bytes, a DNS name has 253; both are far longer than any in use.
const IDENTITY_BYTES_MAX: usize = 512;

/// What the TLS listener needs, as PEM text.
#[derive(Clone, Debug)]
pub struct TlsMaterial {
    /// The server's certificate and its intermediates, leaf first.
    pub certificate_pem: Vec<u8>,
    /// The private key of the leaf: PKCS#8, SEC 1 or PKCS#1.
    pub key_pem: Secret<Vec<u8>>,
    /// The authorities that issue client certificates.
    pub client_ca_pem: Vec<u8>,
}

/// Why TLS cannot be set up, in words for the person who configures it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file is larger than any real one.
    #[error("the {0} is larger than 1 MiB")]
    TooLarge(&'static str),
    /// Not PEM, or with a broken block.
    #[error("the {0} is not readable PEM")]
    Unreadable(&'static str),
    /// PEM, but without what is needed.
    #[error("the {0} holds no certificate")]
    Empty(&'static str),
    /// More certificates than any real file has.
    #[error("the {0} holds more than {CERTIFICATES_MAX} certificates")]
    TooMany(&'static str),
    /// No usable private key.
    #[error("the server key file holds no unencrypted private key (PKCS#8, SEC 1 or PKCS#1)")]
    NoKey,
    /// A client authority that is not a certificate.
    #[error("certificate {index} of the client CA file cannot serve as an authority")]
    BadAuthority {
        /// Its place in the file, from 0.
        index: usize,
    },
    /// The key does not belong to the certificate, or one of them is of a kind TLS does not use.
    #[error("the server key and the server certificate do not go together: {0}")]
    BadPair(String),
    /// The cryptography lacks what TLS 1.3 needs.
    #[error("TLS 1.3 with client certificates cannot be set up: {0}")]
    Unsupported(String),
}

/// Reads the material into a server configuration.
///
/// Sessions are not resumed: a resumed one would skip the client certificate, and connections here
/// are few and long.
///
/// # Errors
/// [`TlsError`], naming the file and what is wrong with it.
pub fn server_config(material: &TlsMaterial) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let chain = certificates(&material.certificate_pem, "server certificate file")?;
    let key = private_key(material.key_pem.expose())?;
    let mut roots = RootCertStore::empty();
    let authorities = certificates(&material.client_ca_pem, "client CA file")?;
    for (index, authority) in authorities.into_iter().enumerate() {
        roots
            .add(authority)
            .map_err(|_| TlsError::BadAuthority { index })?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Unsupported(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Unsupported(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::BadPair(error.to_string()))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], file: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge(file));
    }
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(CERTIFICATES_MAX.saturating_add(1))
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Unreadable(file))?;
    match found.len() {
        0 => Err(TlsError::Empty(file)),
        n if n > CERTIFICATES_MAX => Err(TlsError::TooMany(file)),
        _ => Ok(found),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge("server key file"));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey)
}

/// Why a verified client certificate still tells no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate cannot be read for its names.
    #[error("the client certificate's names cannot be read")]
    Unreadable,
    /// More names than any workload has.
    #[error("the client certificate has more than {IDENTITIES_MAX} names")]
    TooMany,
    /// SPIFFE allows one id in a certificate.
    #[error("the client certificate has more than one SPIFFE id")]
    SeveralSpiffeIds,
    /// A name too long or with characters it may not have.
    #[error("a name in the client certificate is malformed")]
    MalformedName,
}

/// The identities in a client certificate whose chain is verified: its SPIFFE id as it stands, its
/// DNS names as `dns:name` in lower case. Other kinds of names, and the subject, say nothing.
///
/// # Errors
/// [`IdentityError`]: an odd certificate is refused as a whole, never read in part.
pub fn identities(certificate: &[u8]) -> Result<Vec<String>, IdentityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::Unreadable)?;
    let Some(names) = parsed
        .subject_alternative_name()
        .map_err(|_| IdentityError::Unreadable)?
    else {
        return Ok(Vec::new());
    };
    let names = &names.value.general_names;
    if names.len() > IDENTITIES_MAX {
        return Err(IdentityError::TooMany);
    }
    let mut found: Vec<String> = Vec::new();
    for name in names {
        // The kinds of names are the library's list, not ours: new ones say nothing either.
        if let GeneralName::URI(uri) = name
            && uri.len() >= 9
            && uri
                .get(..9)
                .is_some_and(|s| s.eq_ignore_ascii_case("spiffe://"))
        {
            if found.iter().any(|identity| identity.starts_with("spiffe:")) {
                return Err(IdentityError::SeveralSpiffeIds);
            }
            found.push(spiffe_id(uri)?);
        } else if let GeneralName::DNSName(dns) = name {
            found.push(dns_name(dns)?);
        }
    }
    Ok(found)
}

/// The SPIFFE form: a lower-case trust domain, then a path of plain segments. No second spelling of
/// the same id is let through.
fn spiffe_id(uri: &str) -> Result<String, IdentityError> {
    let rest = uri
        .strip_prefix("spiffe://")
        .filter(|_| uri.len() <= IDENTITY_BYTES_MAX)
        .ok_or(IdentityError::MalformedName)?;
    let mut segments = rest.split('/');
    let domain = segments.next().unwrap_or_default();
    let domain_ok = !domain.is_empty()
        && domain
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
    let path_ok = segments.all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    });
    if domain_ok && path_ok {
        Ok(uri.to_owned())
    } else {
        Err(IdentityError::MalformedName)
    }
}

fn dns_name(name: &str) -> Result<String, IdentityError> {
    let ok = !name.is_empty()
        && name.len() <= IDENTITY_BYTES_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_*".contains(&b));
    if ok {
        Ok(format!("dns:{}", name.to_ascii_lowercase()))
    } else {
        Err(IdentityError::MalformedName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_one_spelling() {
        assert!(spiffe_id("spiffe://example.org/ns/a/sa/auth_server.1").is_ok());
        for bad in [
            "spiffe://",
            "spiffe:///path",
            "spiffe://Example.org/a",
            "spiffe://example.org/",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?x",
            "spiffe://user@example.org/a",
            "spiffe://example.org:443/a",
            "SPIFFE://example.org/a",
        ] {
            assert_eq!(spiffe_id(bad), Err(IdentityError::MalformedName), "{bad}");
        }
        assert!(spiffe_id(&format!("spiffe://e/{}", "a".repeat(600))).is_err());
    }

    #[test]
    fn a_dns_name_is_lower_case_and_plain() {
        assert_eq!(dns_name("Api.Example.org").unwrap(), "dns:api.example.org");
        for bad in ["", "a b", "a\0b", "spiffe://x", "ä"] {
            assert!(dns_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn material_that_is_not_pem_is_named() {
        let material = |certificate: &[u8], ca: &[u8]| TlsMaterial {
            certificate_pem: certificate.to_vec(),
            key_pem: Secret::new(Vec::new()),
            client_ca_pem: ca.to_vec(),
        };
        assert_eq!(
            server_config(&material(b"nothing", b"")).unwrap_err(),
            TlsError::Empty("server certificate file")
        );
        assert_eq!(
            server_config(&material(b"-----BEGIN CERTIFICATE-----\n!\n", b"")).unwrap_err(),
            TlsError::Unreadable("server certificate file")
        );
        assert_eq!(
            server_config(&material(&vec![b'x'; PEM_BYTES_MAX + 1], b"")).unwrap_err(),
            TlsError::TooLarge("server certificate file")
        );
    }
}
