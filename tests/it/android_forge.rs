//! Makes Android chains, genuine and forged, octet by octet: its own encoder, so that a mistake in
//! the reader cannot hide behind the same mistake here.

use std::process::Command;

use assay::attestation::android::Chain;
use assay::attestation::roots::{AndroidRoots, Roots};
use assay::time::Timestamp;
use data_encoding::BASE64;
use rcgen::{KeyPair, PublicKeyData, SigningKey};

pub(crate) fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap()
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    match significant.as_slice() {
        [] => out.push(0),
        [small @ 0..0x80] => out.push(*small),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap());
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(4, content)
}

pub(crate) fn integer(value: u64) -> Vec<u8> {
    let mut content: Vec<u8> = std::iter::once(0).chain(value.to_be_bytes()).collect();
    while content.len() > 1 && content[0] == 0 && content[1] & 0x80 == 0 {
        content.remove(0);
    }
    tlv(2, &content)
}

pub(crate) fn integers(values: &[u64]) -> Vec<u8> {
    set(&values
        .iter()
        .map(|value| integer(*value))
        .collect::<Vec<_>>())
}

fn enumerated(value: u8) -> Vec<u8> {
    tlv(10, &[value])
}

pub(crate) fn null() -> Vec<u8> {
    tlv(5, &[])
}

pub(crate) fn explicit(number: u32, inner: &[u8]) -> Vec<u8> {
    if number < 31 {
        return tlv(0xa0 | u8::try_from(number).unwrap(), inner);
    }
    let low = u8::try_from(number & 0x7f).unwrap();
    let mut out = vec![0xbf];
    if number >= 0x80 {
        out.push(0x80 | u8::try_from(number >> 7).unwrap());
    }
    out.push(low);
    out.extend_from_slice(&tlv(0, inner)[1..]);
    out
}

pub(crate) fn root_of_trust(key: &[u8], locked: u8, state: u8, hash: Option<&[u8]>) -> Vec<u8> {
    let mut parts = vec![octets(key), tlv(1, &[locked]), enumerated(state)];
    parts.extend(hash.map(octets));
    sequence(&parts)
}

pub(crate) fn application(packages: &[&str], digests: &[&[u8]]) -> Vec<u8> {
    let packages: Vec<Vec<u8>> = packages
        .iter()
        .map(|name| sequence(&[octets(name.as_bytes()), integer(7)]))
        .collect();
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| octets(digest)).collect();
    octets(&sequence(&[set(&packages), set(&digests)]))
}

pub(crate) const PACKAGE: &str = "com.example.bank";
pub(crate) const SIGNER: [u8; 32] = [0x5a; 32];
pub(crate) const CHALLENGE: &[u8] = b"a challenge of the server";

/// The attestation: its lists are tags with the encoded value, in the order they are written.
#[derive(Clone)]
pub(crate) struct KeyDescription {
    pub(crate) version: u64,
    /// Instead of the same as `version`.
    pub(crate) key_version: Option<u64>,
    pub(crate) attestation_level: u8,
    pub(crate) key_level: u8,
    pub(crate) challenge: Vec<u8>,
    pub(crate) unique_id: Vec<u8>,
    pub(crate) software: Vec<(u32, Vec<u8>)>,
    pub(crate) hardware: Vec<(u32, Vec<u8>)>,
    /// Written behind the last field.
    pub(crate) trailing: Vec<u8>,
}

impl KeyDescription {
    pub(crate) fn genuine() -> Self {
        Self {
            version: 300,
            key_version: None,
            attestation_level: 1,
            key_level: 1,
            challenge: CHALLENGE.to_vec(),
            unique_id: Vec::new(),
            software: vec![
                (701, integer(1_771_979_841_867)),
                (709, application(&[PACKAGE], &[&SIGNER])),
            ],
            hardware: vec![
                (1, integers(&[2, 3])),
                (2, integer(3)),
                (3, integer(256)),
                (5, integers(&[4])),
                (10, integer(1)),
                (503, null()),
                (702, integer(0)),
                (704, root_of_trust(&[7; 32], 0xff, 0, Some(&[8; 32]))),
                (705, integer(160_000)),
                (706, integer(202_610)),
                (718, integer(20_261_005)),
                (719, integer(20_261_005)),
            ],
            trailing: Vec::new(),
        }
    }

    /// With every tag there is in the software list.
    pub(crate) fn complete() -> Self {
        let number = |tag: u32| (tag, integer(u64::from(tag)));
        let flag = |tag: u32| (tag, null());
        let id = |tag: u32| (tag, octets(format!("id {tag}").as_bytes()));
        let mut description = Self::genuine();
        let mut list = vec![
            (704, root_of_trust(&[7; 32], 0xff, 0, Some(&[8; 32]))),
            (709, application(&[PACKAGE], &[&SIGNER])),
            (702, integer(0)),
        ];
        list.extend([1, 4, 5, 6, 203].map(|tag| (tag, integers(&[1, 2]))));
        list.extend(
            [
                2, 3, 8, 10, 11, 200, 400, 401, 402, 405, 502, 504, 505, 701, 705, 706, 718, 719,
            ]
            .map(number),
        );
        list.extend([7, 303, 305, 503, 506, 507, 508, 509, 600, 703, 720, 721].map(flag));
        list.extend([601, 708, 710, 711, 712, 713, 714, 715, 716, 717, 723, 724].map(id));
        description.software = list;
        description
    }

    /// Of a key that attests other keys of the same app.
    pub(crate) fn attest_key() -> Self {
        let mut description = Self::genuine().with_hardware(1, integers(&[7]));
        description.challenge = b"an earlier challenge".to_vec();
        description
    }

    pub(crate) fn without_hardware(mut self, tag: u32) -> Self {
        self.hardware.retain(|(number, _)| *number != tag);
        self
    }

    pub(crate) fn with_hardware(self, tag: u32, value: Vec<u8>) -> Self {
        let mut description = self.without_hardware(tag);
        description.hardware.push((tag, value));
        description
    }

    pub(crate) fn with_application(mut self, value: Vec<u8>) -> Self {
        self.software.retain(|(number, _)| *number != 709);
        self.software.push((709, value));
        self
    }

    pub(crate) fn at_level(mut self, attestation: u8, key: u8) -> Self {
        self.attestation_level = attestation;
        self.key_level = key;
        self
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let list = |tags: &[(u32, Vec<u8>)]| {
            let tags: Vec<Vec<u8>> = tags.iter().map(|(n, value)| explicit(*n, value)).collect();
            sequence(&tags)
        };
        sequence(&[
            integer(self.version),
            enumerated(self.attestation_level),
            integer(self.key_version.unwrap_or(self.version)),
            enumerated(self.key_level),
            octets(&self.challenge),
            octets(&self.unique_id),
            list(&self.software),
            list(&self.hardware),
            self.trailing.clone(),
        ])
    }
}

pub(crate) const KEY_DESCRIPTION: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 17];
pub(crate) const ENTITY_TOKEN: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 25];
pub(crate) const PROVISIONING_INFO: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 30];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];

const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
const TITLE: &[u8] = &[0x55, 4, 12];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
pub(crate) const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
pub(crate) const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
pub(crate) const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
pub(crate) const RSA_MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
pub(crate) const RSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
pub(crate) const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
pub(crate) const ED25519: &[u8] = &[0x2b, 101, 112];

pub(crate) fn extension(oid: &[u8], critical: Option<u8>, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![tlv(6, oid)];
    parts.extend(critical.map(|octet| tlv(1, &[octet])));
    parts.push(octets(value));
    sequence(&parts)
}

pub(crate) fn attestation(description: &KeyDescription) -> Vec<u8> {
    extension(KEY_DESCRIPTION, None, &description.der())
}

pub(crate) fn algorithm(oid: &[u8], null_parameters: bool) -> Vec<u8> {
    let mut parts = vec![tlv(6, oid)];
    if null_parameters {
        parts.push(null());
    }
    sequence(&parts)
}

fn name(attributes: &[(&[u8], &str)]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(oid, value)| set(&[sequence(&[tlv(6, oid), tlv(12, value.as_bytes())])]))
        .collect();
    sequence(&sets)
}

pub(crate) fn common_name(value: &str) -> Vec<u8> {
    name(&[(COMMON_NAME, value)])
}

pub(crate) fn droid_ca(value: &str) -> Vec<u8> {
    name(&[(ORGANIZATION, "Google LLC"), (COMMON_NAME, value)])
}

pub(crate) fn batch(serial: &str, title: Option<&str>) -> Vec<u8> {
    let mut attributes = vec![(SERIAL_NUMBER, serial)];
    attributes.extend(title.map(|title| (TITLE, title)));
    name(&attributes)
}

pub(crate) fn remote_key(serial: &str, holder: &str) -> Vec<u8> {
    name(&[(COMMON_NAME, serial), (ORGANIZATION, holder)])
}

/// `GeneralizedTime`, e.g. `20261122000000Z`; whatever is given is written.
pub(crate) fn time(text: &str) -> Vec<u8> {
    tlv(24, text.as_bytes())
}

/// A key of a kind that no library here makes, or with a digest that none signs.
pub(crate) struct OpensslKey {
    directory: tempfile::TempDir,
    digest: &'static str,
}

impl OpensslKey {
    /// With the arguments of `openssl genpkey`, and that of `openssl dgst` for signing.
    pub(crate) fn generate(kind: &[&str], digest: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = Self { directory, digest };
        made.openssl(&[&["genpkey", "-out", "key.pem"], kind].concat());
        made
    }

    fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .expect("the tests need the openssl command");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        output.stdout
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        self.openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"])
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        std::fs::write(self.directory.path().join("bytes"), bytes).unwrap();
        if self.digest.is_empty() {
            let sign = ["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem"];
            return self.openssl(&[&sign[..], &["-in", "bytes"]].concat());
        }
        self.openssl(&["dgst", self.digest, "-sign", "key.pem", "bytes"])
    }
}

/// One certificate to be made.
pub(crate) struct Certificate {
    pub(crate) key: KeyPair,
    /// Signs instead of `key`; the certificate then shows its public key.
    pub(crate) signer: Option<OpensslKey>,
    /// Instead of the key's own.
    pub(crate) spki: Option<Vec<u8>>,
    pub(crate) subject: Vec<u8>,
    /// Instead of the subject of the next.
    pub(crate) issuer: Option<Vec<u8>>,
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: Vec<u8>,
    pub(crate) not_after: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) inner_algorithm: Vec<u8>,
    pub(crate) outer_algorithm: Vec<u8>,
    pub(crate) version: u64,
    /// Behind the certificate.
    pub(crate) trailing: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new(subject: Vec<u8>, serial: u8) -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
            signer: None,
            spki: None,
            subject,
            issuer: None,
            serial: vec![0x10, serial],
            not_before: time("20260101000000Z"),
            not_after: time("20270101000000Z"),
            extensions: Vec::new(),
            inner_algorithm: algorithm(ECDSA_SHA256, false),
            outer_algorithm: algorithm(ECDSA_SHA256, false),
            version: 2,
            trailing: Vec::new(),
        }
    }

    fn authority(subject: Vec<u8>, serial: u8) -> Self {
        let mut certificate = Self::new(subject, serial);
        certificate.extensions = vec![
            extension(BASIC_CONSTRAINTS, Some(0xff), &sequence(&[tlv(1, &[0xff])])),
            extension(KEY_USAGE, Some(0xff), &tlv(3, &[2, 4])),
        ];
        certificate
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let own = || match &self.signer {
            Some(signer) => signer.spki(),
            None => self.key.subject_public_key_info(),
        };
        self.spki.clone().unwrap_or_else(own)
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.signer {
            Some(signer) => signer.sign(bytes),
            None => self.key.sign(bytes).unwrap(),
        }
    }

    /// Issued and signed by another, or by itself.
    pub(crate) fn der(&self, signer: &Self) -> Vec<u8> {
        let mut fields = vec![
            explicit(0, &integer(self.version)),
            tlv(2, &self.serial),
            self.inner_algorithm.clone(),
            self.issuer
                .clone()
                .unwrap_or_else(|| signer.subject.clone()),
            sequence(&[self.not_before.clone(), self.not_after.clone()]),
            self.subject.clone(),
            self.spki(),
        ];
        if !self.extensions.is_empty() {
            fields.push(explicit(3, &sequence(&self.extensions)));
        }
        let signed = sequence(&fields);
        let mut signature = vec![0];
        signature.extend(signer.sign(&signed));
        let mut der = sequence(&[signed, self.outer_algorithm.clone(), tlv(3, &signature)]);
        der.extend_from_slice(&self.trailing);
        der
    }
}

/// A chain to be made, leaf first, the root last.
pub(crate) struct Forge {
    pub(crate) certificates: Vec<Certificate>,
    /// Whether the chain is sent with its root.
    pub(crate) root_sent: bool,
}

impl Forge {
    pub(crate) fn chain(&self) -> Chain {
        Chain::from_der(self.der()).unwrap()
    }

    pub(crate) fn der(&self) -> Vec<Vec<u8>> {
        let sent = self.certificates.len() - usize::from(!self.root_sent);
        let each = self.certificates.iter().enumerate().take(sent);
        each.map(|(index, certificate)| {
            let issuer = self.certificates.get(index + 1).unwrap_or(certificate);
            certificate.der(issuer)
        })
        .collect()
    }

    /// Trust in this chain's own root.
    pub(crate) fn roots(&self) -> Roots {
        let sent = self.certificates.last().unwrap();
        // Readable, whatever was done to the one in the chain; nobody looks at its signature.
        let mut root = Certificate::new(sent.subject.clone(), 9);
        root.spki = Some(sent.spki());
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            BASE64.encode(&root.der(&root))
        );
        Roots {
            android: AndroidRoots::from_pem(&pem).unwrap(),
            ..Roots::default()
        }
    }
}

fn leaf(description: &KeyDescription) -> Certificate {
    let mut leaf = Certificate::new(common_name("Android Keystore Key"), 0);
    leaf.serial = vec![1];
    leaf.not_before = time("19700101000000Z");
    leaf.not_after = time("21060207062815Z");
    leaf.extensions = vec![
        extension(KEY_USAGE, Some(0xff), &tlv(3, &[7, 0x80])),
        attestation(description),
    ];
    leaf
}

pub(crate) fn root() -> Certificate {
    Certificate::authority(batch("0123456789abcdef", None), 9)
}

/// A factory chain: leaf, attestation, intermediate, root.
pub(crate) fn factory(description: &KeyDescription, title: Option<&str>) -> Forge {
    Forge {
        certificates: vec![
            leaf(description),
            Certificate::authority(batch("aa01", title), 1),
            Certificate::authority(batch("aa02", title), 2),
            root(),
        ],
        root_sent: true,
    }
}

/// A remotely provisioned chain: leaf, attestation, two authorities, root.
pub(crate) fn remote(description: &KeyDescription, holder: &str) -> Forge {
    let mut attestation = Certificate::authority(remote_key("bb01", holder), 1);
    let info = [0xa2, 1, 8, 3, 0x66, b'G', b'o', b'o', b'g', b'l', b'e'];
    attestation
        .extensions
        .push(extension(PROVISIONING_INFO, None, &info));
    Forge {
        certificates: vec![
            leaf(description),
            attestation,
            Certificate::authority(droid_ca("Droid CA3"), 2),
            Certificate::authority(droid_ca("Droid CA2"), 3),
            root(),
        ],
        root_sent: true,
    }
}

pub(crate) fn chain_for(description: &KeyDescription) -> Forge {
    remote(description, "TEE")
}

/// The certificate of an attest key, as the hardware writes it for an app.
pub(crate) fn attest_key(description: &KeyDescription) -> Certificate {
    let mut certificate = leaf(description);
    certificate.not_before = time("20200101000000Z");
    certificate.not_after = time("20200102000000Z");
    certificate
}

/// The chain with an attest key between the leaf and the attestation certificate.
pub(crate) fn under_attest_key(mut chain: Forge, description: &KeyDescription) -> Forge {
    chain.certificates.insert(1, attest_key(description));
    chain
}
