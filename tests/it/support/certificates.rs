//! Certificates for servers on this machine.

use std::path::Path;

/// A certificate authority, and a certificate of `127.0.0.1` with its key, all PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // Another name than that of the certificate, which would pass for its own authority.
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "authority of a test");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    (authority, leaf, key.serialize_pem())
}

/// What makes a Redis server speak TLS, with files in `dir`; and the authority to trust.
pub(crate) fn redis_tls(dir: &Path) -> (Vec<String>, String) {
    let (authority, leaf, key) = certificates();
    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [
        ("--tls-cert-file", file("leaf", &leaf)),
        ("--tls-key-file", file("key", &key)),
        ("--tls-ca-cert-file", file("authority", &authority)),
        ("--tls-auth-clients", "no".to_owned()),
        ("--tls-port", "auto".to_owned()),
    ];
    let args = files
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    (args.collect(), authority)
}
