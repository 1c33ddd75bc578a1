//! A software Android phone: Keystore keys with key attestation.

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use time::OffsetDateTime;

use super::Error;
use super::authority::{Authorities, Authority, Subordinate, positive};
use super::cbor;
use super::certificate::{Attribute, Certificate, Text, Usage, extension, key_usage, name};
use super::der::{self, Der};
use super::key::{Curve, Hash, SoftKey, sha256};
use crate::secret::random;
use crate::time::Timestamp;

/// Longest attestation challenge a real Keystore takes, in bytes (KeyMint, `ATTESTATION_CHALLENGE`).
pub const CHALLENGE_BYTES_MAX: usize = 128;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const KEY_DESCRIPTION: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 1, 17];
const PROVISIONING_INFO: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 1, 30];

/// How long a remotely provisioned certificate is still good; it began a day ago.
const REMOTE_REST_DAYS: u32 = 13;
/// How long ago the factory made its certificates.
const FACTORY_AGE_DAYS: u32 = 2 * 365;
/// How long they are still good.
const FACTORY_REST_DAYS: u32 = 8 * 365;

/// 2048-01-01T00:00:00Z, when the leaves of real phones end.
const LEAF_NOT_AFTER: Timestamp = Timestamp::from_secs(2_461_449_600);

/// Where a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityLevel {
    /// In the operating system: no protection.
    Software,
    /// In a trusted execution environment.
    TrustedEnvironment,
    /// In a secure element.
    StrongBox,
}

impl SecurityLevel {
    const fn number(self) -> u8 {
        match self {
            Self::Software => 0,
            Self::TrustedEnvironment => 1,
            Self::StrongBox => 2,
        }
    }

    /// As the attestation certificate names it.
    const fn title(self) -> &'static str {
        match self {
            Self::Software => "Software",
            Self::TrustedEnvironment => "TEE",
            Self::StrongBox => "StrongBox",
        }
    }
}

/// What the phone booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The maker's system, bootloader locked.
    Verified,
    /// Another system signed with the owner's key, bootloader locked.
    SelfSigned,
    /// Anything, bootloader unlocked.
    Unlocked,
}

/// How the phone came by its attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    /// Over the air, a certificate of two weeks: five certificates.
    Remote,
    /// In the factory, a certificate of ten years: four certificates.
    Factory,
}

/// Where the attested key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In secure hardware.
    Generated,
    /// Elsewhere, so others may have it.
    Imported,
}

/// What the attested key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signing.
    Sign,
    /// Verifying.
    Verify,
    /// Signing other attestations, and nothing else on a real phone.
    AttestKey,
}

impl Purpose {
    const fn number(self) -> u64 {
        match self {
            Self::Sign => 2,
            Self::Verify => 3,
            Self::AttestKey => 7,
        }
    }
}

/// The app and the phone that an attestation speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the app's package.
    pub package_name: String,
    /// Its version code.
    pub package_version: u64,
    /// SHA-256 of the certificate that signs it.
    pub signing_certificate_sha256: [u8; 32],
    /// Where keys live.
    pub security_level: SecurityLevel,
    /// What booted.
    pub boot: Boot,
    /// How the attestation key arrived.
    pub provisioning: Provisioning,
    /// Version of the attestation format; 300 is KeyMint 3.
    pub attestation_version: u64,
    /// `MMmmss`, e.g. 150000.
    pub os_version: u64,
    /// `YYYYMM`.
    pub os_patch_level: u64,
    /// `YYYYMMDD`.
    pub vendor_patch_level: u64,
    /// `YYYYMMDD`.
    pub boot_patch_level: u64,
    /// Where keys are made.
    pub origin: Origin,
    /// What keys are for.
    pub purposes: Vec<Purpose>,
    /// Whether every use of a key needs the user's fingerprint, face or password.
    pub user_authentication: bool,
}

impl Options {
    /// A well-kept phone at `now`: TEE, locked, verified, remotely provisioned, patched last month.
    #[must_use]
    pub fn well_kept(package_name: &str, signing_sha256: [u8; 32], now: Timestamp) -> Self {
        let month = month_before(now);
        Self {
            package_name: package_name.to_owned(),
            package_version: 1,
            signing_certificate_sha256: signing_sha256,
            security_level: SecurityLevel::TrustedEnvironment,
            boot: Boot::Verified,
            provisioning: Provisioning::Remote,
            attestation_version: 300,
            os_version: 150_000,
            os_patch_level: month,
            vendor_patch_level: month * 100 + 5,
            boot_patch_level: month * 100 + 5,
            origin: Origin::Generated,
            purposes: vec![Purpose::Sign, Purpose::Verify],
            user_authentication: false,
        }
    }
}

/// `YYYYMM` of the month before `now`.
fn month_before(now: Timestamp) -> u64 {
    let at =
        OffsetDateTime::from_unix_timestamp(now.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let year = u64::try_from(at.year()).unwrap_or(1970);
    match u64::from(u8::from(at.month())) {
        1 => (year - 1) * 100 + 12,
        month => year * 100 + month - 1,
    }
}

/// A key with the certificates that attest it.
pub struct AttestedKey {
    /// DER certificates, leaf first, root last.
    pub certificate_chain: Vec<Vec<u8>>,
    /// The private key, which a real phone would never show.
    pub key: SoftKey,
}

/// A software Android phone with one app on it.
pub struct Phone {
    options: Options,
    attestation: Authority,
    verified_boot_hash: [u8; 32],
}

impl Phone {
    /// A phone whose attestation key is certified by these authorities at `now`.
    ///
    /// # Errors
    /// [`Error`] when the generator fails or `now` is no date a certificate can hold.
    pub fn new(authorities: &Authorities, options: Options, now: Timestamp) -> Result<Self, Error> {
        let attestation = match options.provisioning {
            Provisioning::Remote => provision_remotely(authorities, options.security_level, now),
            Provisioning::Factory => provision_in_factory(authorities, options.security_level, now),
        }?;
        Ok(Self {
            options,
            attestation,
            verified_boot_hash: random()?,
        })
    }

    /// The phone's options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Makes a key and attests it, as `KeyPairGenerator` does for a key with an attestation
    /// challenge.
    ///
    /// # Errors
    /// [`Error::ChallengeTooLong`] above [`CHALLENGE_BYTES_MAX`], as on a real phone; otherwise as
    /// [`Self::new`].
    pub fn attest(&self, challenge: &[u8], now: Timestamp) -> Result<AttestedKey, Error> {
        self.attest_under(&self.attestation, challenge, now)
    }

    /// What a thief of an app can do and a verifier has to see through: a made-up key, attested by
    /// nothing but a key that was itself attested for signing.
    ///
    /// # Errors
    /// As [`Self::attest`].
    pub fn forge_below(
        &self,
        genuine: AttestedKey,
        challenge: &[u8],
        now: Timestamp,
    ) -> Result<AttestedKey, Error> {
        let issuer = Authority {
            issuer: super::certificate::Issuer {
                name: leaf_subject(),
                key: genuine.key,
                hash: Hash::Sha256,
            },
            chain: genuine.certificate_chain,
        };
        self.attest_under(&issuer, challenge, now)
    }

    fn attest_under(
        &self,
        authority: &Authority,
        challenge: &[u8],
        now: Timestamp,
    ) -> Result<AttestedKey, Error> {
        if challenge.len() > CHALLENGE_BYTES_MAX {
            return Err(Error::ChallengeTooLong);
        }
        let key = SoftKey::generate(Curve::P256)?;
        let leaf = Certificate {
            serial: &[1],
            subject: &leaf_subject(),
            not_before: Timestamp::EPOCH,
            not_after: LEAF_NOT_AFTER,
            spki: &key.spki(),
            extensions: &[
                key_usage(Usage::Sign),
                extension(
                    KEY_DESCRIPTION,
                    false,
                    &self.key_description(challenge, now),
                ),
            ],
        }
        .sign(&authority.issuer)?;
        let mut certificate_chain = vec![leaf];
        certificate_chain.extend(authority.chain.iter().cloned());
        Ok(AttestedKey {
            certificate_chain,
            key,
        })
    }

    fn key_description(&self, challenge: &[u8], now: Timestamp) -> Der {
        let version = der::unsigned(self.options.attestation_version);
        let level = der::enumerated(self.options.security_level.number());
        let created = u64::try_from(now.as_millis()).unwrap_or(0);
        let told_by_system = vec![
            // creationDateTime, attestationApplicationId
            (701, der::unsigned(created)),
            (709, der::octets(&self.application_id())),
        ];
        let properties = self.key_properties();
        let (software, hardware) = match self.options.security_level {
            SecurityLevel::Software => ([told_by_system, properties].concat(), Vec::new()),
            SecurityLevel::TrustedEnvironment | SecurityLevel::StrongBox => {
                (told_by_system, properties)
            }
        };
        der::sequence(&[
            version.clone(),
            level.clone(),
            version,
            level,
            der::octets(challenge),
            // uniqueId: only for privileged apps
            der::octets(&[]),
            authorization_list(software),
            authorization_list(hardware),
        ])
    }

    /// What the key's environment enforces, by tag number.
    fn key_properties(&self) -> Vec<(u16, Der)> {
        let purposes: Vec<Der> = self
            .options
            .purposes
            .iter()
            .map(|purpose| der::unsigned(purpose.number()))
            .collect();
        let mut list = vec![
            (1, der::set(&purposes)),
            // algorithm EC, keySize, digest SHA-256, ecCurve P-256
            (2, der::unsigned(3)),
            (3, der::unsigned(256)),
            (5, der::set(&[der::unsigned(4)])),
            (10, der::unsigned(1)),
        ];
        list.push(if self.options.user_authentication {
            // userAuthType: password or strong biometric; no authTimeout, so every use
            (504, der::unsigned(3))
        } else {
            // noAuthRequired
            (503, der::null())
        });
        let origin = match self.options.origin {
            Origin::Generated => 0,
            Origin::Imported => 2,
        };
        list.extend([
            (702, der::unsigned(origin)),
            (704, self.root_of_trust()),
            (705, der::unsigned(self.options.os_version)),
            (706, der::unsigned(self.options.os_patch_level)),
            (718, der::unsigned(self.options.vendor_patch_level)),
            (719, der::unsigned(self.options.boot_patch_level)),
        ]);
        list
    }

    fn root_of_trust(&self) -> Der {
        let (boot_key, locked, state) = match self.options.boot {
            Boot::Verified => (sha256(b"simulated maker's boot key"), true, 0),
            Boot::SelfSigned => (sha256(b"simulated owner's boot key"), true, 1),
            // An unlocked phone has no boot key to name.
            Boot::Unlocked => ([0; 32], false, 2),
        };
        der::sequence(&[
            der::octets(&boot_key),
            der::boolean(locked),
            der::enumerated(state),
            der::octets(&self.verified_boot_hash),
        ])
    }

    fn application_id(&self) -> Der {
        let package = der::sequence(&[
            der::octets(self.options.package_name.as_bytes()),
            der::unsigned(self.options.package_version),
        ]);
        der::sequence(&[
            der::set(&[package]),
            der::set(&[der::octets(&self.options.signing_certificate_sha256)]),
        ])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// An AuthorizationList: explicitly tagged properties in ascending order.
fn authorization_list(mut properties: Vec<(u16, Der)>) -> Der {
    properties.sort_by_key(|(tag, _)| *tag);
    let tagged: Vec<Der> = properties
        .iter()
        .map(|(tag, value)| der::explicit(*tag, value))
        .collect();
    der::sequence(&tagged)
}

/// The subject of every leaf, unless the app chose another.
fn leaf_subject() -> Der {
    name(
        Text::Printable,
        &[Attribute::CommonName("Android Keystore Key")],
    )
}

/// An attestation certificate of two weeks, whose serial number is also its common name.
fn provision_remotely(
    authorities: &Authorities,
    level: SecurityLevel,
    now: Timestamp,
) -> Result<Authority, Error> {
    let serial = positive(random::<16>()?);
    let common_name = HEXLOWER.encode(&serial);
    let names = [
        Attribute::Organization(level.title()),
        Attribute::CommonName(&common_name),
    ];
    // 1: certificates issued to this phone lately, 3: who made it.
    let provisioning = cbor::map(&[
        (cbor::integer(1), cbor::integer(8)),
        (cbor::integer(3), cbor::text("Simulator")),
    ]);
    authorities.android_remote.subordinate(&Subordinate {
        subject: name(Text::Printable, &names),
        serial: serial.to_vec(),
        curve: Curve::P256,
        hash: Hash::Sha256,
        usage: Usage::Certify,
        path_length: None,
        not_before: now.before(DAY),
        not_after: now.after(DAY * REMOTE_REST_DAYS),
        more: vec![extension(PROVISIONING_INFO, false, &provisioning)],
    })
}

/// An attestation certificate and its intermediate, burnt in when the phone was made two years ago.
/// Both name the security level.
fn provision_in_factory(
    authorities: &Authorities,
    level: SecurityLevel,
    now: Timestamp,
) -> Result<Authority, Error> {
    let burnt_in = || {
        let number = HEXLOWER.encode(&random::<8>()?);
        let names = [
            Attribute::SerialNumber(&number),
            Attribute::Title(level.title()),
        ];
        Ok::<_, Error>(Subordinate {
            subject: name(Text::Printable, &names),
            serial: positive(random::<9>()?).to_vec(),
            curve: Curve::P256,
            hash: Hash::Sha256,
            usage: Usage::Certify,
            path_length: None,
            not_before: now.before(DAY * FACTORY_AGE_DAYS),
            not_after: now.after(DAY * FACTORY_REST_DAYS),
            more: Vec::new(),
        })
    };
    authorities
        .android_root
        .subordinate(&burnt_in()?)?
        .subordinate(&burnt_in()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_before_january_is_in_the_year_before() {
        let at = |text| month_before(Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(at("2027-01-31T00:00:00Z"), 202_612);
        assert_eq!(at("2026-11-01T00:00:00Z"), 202_610);
    }

    #[test]
    fn a_challenge_no_keystore_would_take_is_refused() {
        let now = Timestamp::from_secs(1_790_000_000);
        let authorities = Authorities::generate(now).unwrap();
        let options = Options::well_kept("com.example.app", [7; 32], now);
        let phone = Phone::new(&authorities, options, now).unwrap();
        assert!(phone.attest(&[0; CHALLENGE_BYTES_MAX], now).is_ok());
        assert!(matches!(
            phone.attest(&[0; CHALLENGE_BYTES_MAX + 1], now),
            Err(Error::ChallengeTooLong)
        ));
    }
}
