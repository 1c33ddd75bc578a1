//! App Attest receipts as Apple writes them: PKCS #7 in BER, most lengths indefinite, the content
//! in chunks.

use std::time::Duration;

use data_encoding::BASE64;

use super::Error;
use super::apple::Environment;
use super::authority::{Authority, Subordinate, positive};
use super::certificate::{
    Attribute, Certificate, Text, Usage, authority_key_id, basic_constraints, extension, key_usage,
    name, subject_key_id,
};
use super::der::{self, Der};
use super::key::{Curve, Hash, SoftKey, sha256};
use crate::secret::random;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lives of Apple's: 15 years above, 13 months for the signer, 90 days for what it signs.
const AUTHORITY_DAYS: u32 = 15 * 365;
const SIGNER_DAYS: u32 = 395;
const RECEIPT_DAYS: u32 = 90;

/// Apple's marks of the authority and of the signer below it; NULL in each.
const AUTHORITY_MARK: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 3];
const SIGNER_MARK: &[u64] = &[1, 2, 840, 113_635, 100, 12, 15];

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CHUNKED_OCTETS: u8 = 0x24;
const CONTEXT_0: u8 = 0xa0;

/// Bytes of a full chunk.
const CHUNK: usize = 1000;

/// Numbers of the fields.
const APP_ID: u64 = 2;
const KEY: u64 = 3;
const CLIENT_DATA_HASH: u64 = 4;
const TOKEN: u64 = 5;
const KIND: u64 = 6;
const ENVIRONMENT: u64 = 7;
const CREATED_AT: u64 = 12;
const RISK_METRIC: u64 = 17;
const NOT_BEFORE: u64 = 19;
const EXPIRES_AT: u64 = 21;

/// What a receipt is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// `TEAM.bundle`.
    pub app_id: String,
    /// The leaf that certifies the attested key, DER.
    pub leaf: Vec<u8>,
    /// What the key was attested with.
    pub client_data_hash: [u8; 32],
    /// Where the key comes from.
    pub environment: Environment,
    /// The risk metric makes it one of the kind `RECEIPT`; without it, it is of the kind `ATTEST`.
    pub risk_metric: Option<u32>,
    /// When it is made.
    pub created_at: Timestamp,
}

/// Signs receipts.
pub(super) struct ReceiptSigner {
    key: SoftKey,
    issuer: Der,
    serial: [u8; 16],
    /// Its own certificate first, then upwards; ends with the root.
    chain: Vec<Der>,
}

impl ReceiptSigner {
    /// A signer with a fresh key and a fresh authority between it and the root.
    pub(super) fn under(root: &Authority, now: Timestamp) -> Result<Self, Error> {
        let authority = root.subordinate(&Subordinate {
            subject: named("Simulated Application Integration CA"),
            serial: positive(random::<16>()?).to_vec(),
            curve: Curve::P256,
            hash: Hash::Sha256,
            usage: Usage::CertifyAndRevoke,
            path_length: None,
            not_before: now.before(DAY),
            not_after: now.after(DAY * AUTHORITY_DAYS),
            more: vec![extension(AUTHORITY_MARK, false, &der::null())],
        })?;
        let key = SoftKey::generate(Curve::P256)?;
        let serial = positive(random::<16>()?);
        let certificate = Certificate {
            serial: &serial,
            subject: &named("Simulated Application Attestation Receipt Signing"),
            not_before: now.before(DAY),
            not_after: now.after(DAY * SIGNER_DAYS),
            spki: &key.spki(),
            extensions: &[
                basic_constraints(None),
                authority_key_id(&authority.issuer.key),
                subject_key_id(&key),
                key_usage(Usage::Sign),
                extension(SIGNER_MARK, false, &der::null()),
            ],
        }
        .sign(&authority.issuer)?;
        let mut chain = vec![certificate];
        chain.extend(authority.chain);
        Ok(Self {
            key,
            issuer: authority.issuer.name,
            serial,
            chain,
        })
    }

    /// A signed receipt.
    pub(super) fn sign(&self, receipt: &Receipt) -> Result<Vec<u8>, Error> {
        let content = receipt.payload();
        let digest = || der::sequence(&[der::oid(SHA256), der::null()]);
        let signer = der::sequence(&[
            der::unsigned(1),
            der::sequence(&[self.issuer.clone(), der::unsigned_bytes(&self.serial)]),
            digest(),
            der::sequence(&[der::oid(ECDSA_SHA256)]),
            der::octets(&self.key.sign_der(&content)?),
        ]);
        let chunks: Vec<Der> = content.chunks(CHUNK).map(der::octets).collect();
        let content = indefinite(CONTEXT_0, &[indefinite(CHUNKED_OCTETS, &chunks)]);
        let signed = indefinite(
            SEQUENCE,
            &[
                der::unsigned(1),
                der::set(&[digest()]),
                indefinite(SEQUENCE, &[der::oid(DATA), content]),
                indefinite(CONTEXT_0, &self.chain),
                der::set(&[signer]),
            ],
        );
        let signed = indefinite(CONTEXT_0, &[signed]);
        Ok(indefinite(SEQUENCE, &[der::oid(SIGNED_DATA), signed]))
    }
}

impl Receipt {
    /// The fields in the order of their numbers, as Apple writes them: DER would sort them by
    /// length.
    fn payload(&self) -> Der {
        let kind: &[u8] = match self.risk_metric {
            None => b"ATTEST",
            Some(_) => b"RECEIPT",
        };
        let environment: &[u8] = match self.environment {
            Environment::Production => b"production",
            Environment::Development => b"sandbox",
        };
        let date = |at: Timestamp| at.to_rfc3339().into_bytes();
        let expires_at = self.created_at.after(DAY * RECEIPT_DAYS);
        let token = [sha256(&self.leaf), sha256(&self.client_data_hash)].concat();
        let mut fields = vec![
            (APP_ID, self.app_id.clone().into_bytes()),
            (KEY, self.leaf.clone()),
            (CLIENT_DATA_HASH, self.client_data_hash.to_vec()),
            (TOKEN, BASE64.encode(&token).into_bytes()),
            (KIND, kind.to_vec()),
            (ENVIRONMENT, environment.to_vec()),
            (CREATED_AT, date(self.created_at)),
        ];
        if let Some(metric) = self.risk_metric {
            fields.push((RISK_METRIC, metric.to_string().into_bytes()));
            fields.push((NOT_BEFORE, date(self.created_at.after(DAY))));
        }
        fields.push((EXPIRES_AT, date(expires_at)));
        let fields: Vec<Der> = fields
            .iter()
            .map(|(number, value)| {
                der::sequence(&[der::unsigned(*number), der::unsigned(1), der::octets(value)])
            })
            .collect();
        der::tlv(SET, &fields.concat())
    }

    /// What a receipt of this simulator says. Its signature is not looked at: the simulated server
    /// of Apple takes every receipt it can read.
    #[must_use]
    pub fn read(receipt: &[u8]) -> Option<Self> {
        let start = [CHUNKED_OCTETS, 0x80];
        let at = receipt.windows(2).position(|two| two == start)?;
        let mut chunks = receipt.get(at + start.len()..)?;
        let mut content = Vec::new();
        while !chunks.starts_with(&[0, 0]) {
            let (_, chunk, rest) = item(chunks)?;
            content.extend_from_slice(chunk);
            chunks = rest;
        }
        let (_, mut set, _) = item(&content)?;
        let mut values = Vec::new();
        while !set.is_empty() {
            let (_, field, rest) = item(set)?;
            let (_, number, field) = item(field)?;
            let (_, _, field) = item(field)?;
            values.push((u64::from(*number.first()?), item(field)?.1.to_vec()));
            set = rest;
        }
        let value = |wanted| {
            let mut found = values.iter().filter(|(number, _)| *number == wanted);
            found.next().map(|(_, value)| value.clone())
        };
        let text = |wanted| value(wanted).and_then(|value| String::from_utf8(value).ok());
        Some(Self {
            app_id: text(APP_ID)?,
            leaf: value(KEY)?,
            client_data_hash: value(CLIENT_DATA_HASH)?.try_into().ok()?,
            environment: match text(ENVIRONMENT)?.as_str() {
                "production" => Environment::Production,
                _ => Environment::Development,
            },
            risk_metric: text(RISK_METRIC).and_then(|metric| metric.parse().ok()),
            created_at: Timestamp::parse_rfc3339(&text(CREATED_AT)?)?,
        })
    }
}

/// Tag, content and rest of a definite item.
fn item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let digits = match first {
        0..0x80 => 0,
        _ => usize::from(first & 0x7f),
    };
    let (digits, rest) = rest.split_at_checked(digits)?;
    let length = match digits {
        [] => usize::from(*first),
        [one] => usize::from(*one),
        [high, low] => usize::from(*high) << 8 | usize::from(*low),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// A constructed item that ends with a mark (X.690, 8.1.3.6).
fn indefinite(tag: u8, items: &[Der]) -> Der {
    let mut out = vec![tag, 0x80];
    out.extend(items.concat());
    out.extend([0, 0]);
    out
}

fn named(common: &str) -> Der {
    let names = [
        Attribute::CommonName(common),
        Attribute::Organization("Assay simulator"),
    ];
    name(Text::Utf8, &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let receipt = Receipt {
            app_id: "TEAM012345.com.example.bank".to_owned(),
            leaf: vec![7; 900],
            client_data_hash: [9; 32],
            environment: Environment::Production,
            risk_metric: Some(3),
            created_at: Timestamp::from_millis(1_790_000_000_120),
        };
        let now = receipt.created_at;
        let authorities = super::super::Authorities::generate(now).unwrap();
        let written = authorities.receipt(&receipt).unwrap();
        assert_eq!(Receipt::read(&written), Some(receipt));
        assert_eq!(Receipt::read(&written[..100]), None);
        assert_eq!(Receipt::read(b""), None);
    }
}
