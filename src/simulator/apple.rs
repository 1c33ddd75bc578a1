//! A software iPhone: an App Attest key, and a session key as the Secure Enclave would hold it, or none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::Error;
use super::authority::{Authorities, Authority};
use super::cbor::{self, Cbor};
use super::certificate::{
    Attribute, Certificate, Text, Usage, basic_constraints, extended_key_usage, extension,
    key_usage, name,
};
use super::der::{self, Der};
use super::key::{Curve, SoftKey, sha256};
use super::proof::Dpop;
use super::receipt::{Receipt, ReceiptSigner};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Apple's arc for certificate extensions, and what comes below it.
const NONCE: &[u64] = &[1, 2, 840, 113_635, 100, 8, 2];
const APP: &[u64] = &[1, 2, 840, 113_635, 100, 8, 5];
const SYSTEM: &[u64] = &[1, 2, 840, 113_635, 100, 8, 7];
/// In leaves since February 2026.
const APP_ATTEST_USAGE: &[u64] = &[1, 2, 840, 113_635, 100, 4, 24];

/// Attested credential data is there; App Attest sets it in assertions, too, which have none.
const FLAG_ATTESTED: u8 = 0x40;
/// Extension data is there.
const FLAG_EXTENSIONS: u8 = 0x80;

/// Which App Attest environment the app was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// TestFlight, App Store, enterprise.
    Production,
    /// Built with Xcode.
    Development,
}

impl Environment {
    const fn aaguid(self) -> &'static [u8; 16] {
        match self {
            Self::Production => b"appattest\0\0\0\0\0\0\0",
            Self::Development => b"appattestdevelop",
        }
    }
}

/// The extension map that systems of 2026 append to authenticator data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    /// How the app was distributed: 4 is the App Store.
    pub validation_category: u32,
    /// `CFBundleVersion`.
    pub bundle_version: String,
    /// Whether the flags say that the map is there. Apple's own samples leave the flag out.
    pub flagged: bool,
}

/// The app and the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Ten characters.
    pub team_id: String,
    /// The app's bundle identifier.
    pub bundle_id: String,
    /// The environment of its keys.
    pub environment: Environment,
    /// Version of the system, e.g. `18.6`.
    pub os_version: String,
    /// Its build, e.g. `22G86`.
    pub os_build: String,
    /// From iOS 27 on.
    pub extensions: Option<Extensions>,
}

impl Options {
    /// An iPhone with iOS 26 and an app of the App Store.
    #[must_use]
    pub fn well_kept(team_id: &str, bundle_id: &str, environment: Environment) -> Self {
        Self {
            team_id: team_id.to_owned(),
            bundle_id: bundle_id.to_owned(),
            environment,
            os_version: "26.1".to_owned(),
            os_build: "23B85".to_owned(),
            extensions: None,
        }
    }

    fn app_id(&self) -> String {
        format!("{}.{}", self.team_id, self.bundle_id)
    }
}

/// What the app signs up for, exactly as it is hashed.
#[derive(Serialize)]
struct ClientData<'a> {
    purpose: &'a str,
    challenge: String,
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jkt: Option<String>,
}

/// A software iPhone with one app on it.
pub struct Phone {
    options: Options,
    authority: Arc<Authority>,
    receipts: Arc<ReceiptSigner>,
    app_attest_key: SoftKey,
    session_key: Option<SoftKey>,
    counter: AtomicU32,
}

impl Phone {
    /// A phone with fresh keys, whose keys these authorities will attest.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the generator fails.
    pub fn new(authorities: &Authorities, options: Options) -> Result<Self, Error> {
        Ok(Self {
            options,
            authority: Arc::clone(&authorities.apple),
            receipts: Arc::clone(&authorities.receipts),
            app_attest_key: SoftKey::generate(Curve::P256)?,
            session_key: Some(SoftKey::generate(Curve::P256)?),
            counter: AtomicU32::new(0),
        })
    }

    /// The same phone with an app that makes no session key: its proofs are assertions.
    #[must_use]
    pub fn without_session_key(mut self) -> Self {
        self.session_key = None;
        self
    }

    /// The phone's options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The key that signs proofs: the App Attest key where there is no other.
    #[must_use]
    pub fn session_key(&self) -> &SoftKey {
        self.session_key.as_ref().unwrap_or(&self.app_attest_key)
    }

    /// Has the phone make another session key, and gives the old one, if any.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the generator fails.
    pub fn replace_session_key(&mut self) -> Result<Option<SoftKey>, Error> {
        let new = SoftKey::generate(Curve::P256)?;
        Ok(self.session_key.replace(new))
    }

    /// Has the phone use a session key it had before.
    pub fn set_session_key(&mut self, key: SoftKey) {
        self.session_key = Some(key);
    }

    /// The App Attest key, which a real phone would never show.
    #[must_use]
    pub const fn app_attest_key(&self) -> &SoftKey {
        &self.app_attest_key
    }

    /// The name of the App Attest key: SHA-256 of its point.
    #[must_use]
    pub fn key_id(&self) -> [u8; 32] {
        sha256(self.app_attest_key.public_point())
    }

    /// The client data of a registration: it ties challenge, app and session key together.
    ///
    /// # Errors
    /// [`Error::Json`] never in practice.
    pub fn client_data(&self, challenge: &[u8], app_id: &str) -> Result<Vec<u8>, Error> {
        self.client_data_for("register", challenge, app_id)
    }

    /// Client data of any purpose.
    ///
    /// # Errors
    /// [`Error::Json`] never in practice.
    pub fn client_data_for(
        &self,
        purpose: &str,
        challenge: &[u8],
        app_id: &str,
    ) -> Result<Vec<u8>, Error> {
        let client_data = ClientData {
            purpose,
            challenge: BASE64URL_NOPAD.encode(challenge),
            app_id,
            jkt: self.session_key.as_ref().map(SoftKey::thumbprint),
        };
        serde_json::to_vec(&client_data).map_err(|_| Error::Json)
    }

    /// Attests the App Attest key, as `DCAppAttestService.attestKey` with SHA-256 of `client_data`.
    ///
    /// # Errors
    /// [`Error`] when `now` is no date a certificate can hold.
    pub fn attest(&self, client_data: &[u8], now: Timestamp) -> Result<Vec<u8>, Error> {
        let authenticator_data = self.attested_data();
        let nonce = nonce(&authenticator_data, client_data);
        let leaf = self.leaf(&nonce, now)?;
        let mut certificates = vec![cbor::bytes(&leaf)];
        // The root is not sent.
        let above = self.authority.chain.iter().take(1);
        certificates.extend(above.map(|der| cbor::bytes(der)));
        let receipt = self.receipts.sign(&Receipt {
            app_id: self.options.app_id(),
            leaf,
            client_data_hash: sha256(client_data),
            environment: self.options.environment,
            risk_metric: None,
            created_at: now,
        })?;
        Ok(cbor::map(&[
            (cbor::text("fmt"), cbor::text("apple-appattest")),
            (
                cbor::text("attStmt"),
                cbor::map(&[
                    (cbor::text("x5c"), cbor::array(&certificates)),
                    (cbor::text("receipt"), cbor::bytes(&receipt)),
                ]),
            ),
            (cbor::text("authData"), cbor::bytes(&authenticator_data)),
        ]))
    }

    /// Makes an assertion, as `DCAppAttestService.generateAssertion` with SHA-256 of `client_data`.
    /// Each one counts up.
    ///
    /// # Errors
    /// [`Error::CounterExhausted`] at the end of the counter.
    pub fn assert(&self, client_data: &[u8]) -> Result<Vec<u8>, Error> {
        let count = |counter: u32| counter.checked_add(1);
        let before = self
            .counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .map_err(|_| Error::CounterExhausted)?;
        let mut data = self.header(before.saturating_add(1));
        data.extend(self.extension_map());
        let signature = self.app_attest_key.sign_der(&nonce(&data, client_data))?;
        Ok(cbor::map(&[
            (cbor::text("signature"), cbor::bytes(&signature)),
            (cbor::text("authenticatorData"), cbor::bytes(&data)),
        ]))
    }

    /// A proof: by the session key, or where there is none an assertion in its place.
    ///
    /// # Errors
    /// As [`Phone::assert`].
    pub fn proof(&self, dpop: &Dpop<'_>) -> Result<String, Error> {
        if let Some(key) = &self.session_key {
            return dpop.sign(key);
        }
        let input = dpop.asserted_input(&self.app_attest_key)?;
        let assertion = self.assert(input.as_bytes())?;
        Ok(format!("{input}.{}", BASE64URL_NOPAD.encode(&assertion)))
    }

    /// rpIdHash, flags, counter.
    fn header(&self, counter: u32) -> Vec<u8> {
        let flagged = self.options.extensions.as_ref().is_some_and(|e| e.flagged);
        let mut out = sha256(self.options.app_id().as_bytes()).to_vec();
        out.push(FLAG_ATTESTED | if flagged { FLAG_EXTENSIONS } else { 0 });
        out.extend(counter.to_be_bytes());
        out
    }

    fn attested_data(&self) -> Vec<u8> {
        let (x, y) = self.app_attest_key.coordinates();
        let mut out = self.header(0);
        out.extend(self.options.environment.aaguid());
        // Length of the credential id, which is the key id.
        out.extend(32_u16.to_be_bytes());
        out.extend(self.key_id());
        // kty EC2, alg ES256, crv P-256 (RFC 9053)
        out.extend(cbor::map(&[
            (cbor::integer(1), cbor::integer(2)),
            (cbor::integer(3), cbor::integer(-7)),
            (cbor::integer(-1), cbor::integer(1)),
            (cbor::integer(-2), cbor::bytes(x)),
            (cbor::integer(-3), cbor::bytes(y)),
        ]));
        out.extend(self.extension_map());
        out
    }

    fn extension_map(&self) -> Cbor {
        let Some(extensions) = &self.options.extensions else {
            return Vec::new();
        };
        cbor::map(&[
            (
                cbor::text("apple_validation_category_01"),
                cbor::bytes(&extensions.validation_category.to_le_bytes()),
            ),
            (
                cbor::text("apple_bundle_version_01"),
                cbor::text(&extensions.bundle_version),
            ),
        ])
    }

    fn leaf(&self, nonce: &[u8; 32], now: Timestamp) -> Result<Der, Error> {
        let common_name = HEXLOWER.encode(&self.key_id());
        let subject = name(
            Text::Utf8,
            &[
                Attribute::CommonName(&common_name),
                Attribute::Unit("AAA Certification"),
                Attribute::Organization("Assay simulator"),
                Attribute::State("California"),
            ],
        );
        // The serial number is the time of issue, as on Apple's leaves.
        let serial = u64::try_from(now.as_millis()).map_err(|_| Error::Time)?;
        let nonce = der::sequence(&[der::explicit(1, &der::octets(nonce))]);
        Certificate {
            serial: &serial.to_be_bytes(),
            subject: &subject,
            not_before: now.before(DAY),
            not_after: now.after(DAY * 2),
            spki: &self.app_attest_key.spki(),
            extensions: &[
                basic_constraints(None),
                key_usage(Usage::AppleLeaf),
                extended_key_usage(APP_ATTEST_USAGE),
                extension(APP, false, &self.app_extension()),
                extension(SYSTEM, false, &self.system_extension()),
                extension(NONCE, false, &nonce),
            ],
        }
        .sign(&self.authority.issuer)
    }

    /// Undocumented; numbers and order as observed on real leaves. 1204 is the app.
    fn app_extension(&self) -> Der {
        let number = |tag, value| der::explicit(tag, &der::unsigned(value));
        der::sequence(&[
            number(4, 10),
            number(1200, 1),
            number(1201, 0),
            number(1202, 1),
            number(1203, 1),
            der::explicit(1204, &der::octets(self.options.app_id().as_bytes())),
            der::explicit(5, &der::octets(b"sks ")),
            number(1206, 5),
            number(1207, 0),
            number(1209, 0),
            number(1210, 0),
            number(1211, 0),
        ])
    }

    /// Undocumented; numbers and order as observed on real leaves. 1400 is the system's version,
    /// 1403 its build.
    fn system_extension(&self) -> Der {
        let text = |tag, value: &str| der::explicit(tag, &der::octets(value.as_bytes()));
        der::sequence(&[
            text(1400, &self.options.os_version),
            der::explicit(1104, &der::unsigned(0xffff_fffe)),
            text(1403, &self.options.os_build),
            text(1405, &self.options.os_version),
            der::explicit(1406, &der::unsigned(0)),
        ])
    }
}

/// What an attestation carries and an assertion signs.
fn nonce(authenticator_data: &[u8], client_data: &[u8]) -> [u8; 32] {
    let mut both = authenticator_data.to_vec();
    both.extend(sha256(client_data));
    sha256(&both)
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone")
            .field("options", &self.options)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}
