//! A software Android phone: Keystore keys with key attestation.

mod options;

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;

pub use options::{Boot, Options, Origin, Provisioning, Purpose, SecurityLevel};

use crate::secret::random;
use crate::simulator::Error;
use crate::simulator::authority::{Authorities, Authority, Subordinate, positive};
use crate::simulator::cbor;
use crate::simulator::certificate::{
    Attribute, Certificate, Issuer, Text, Usage, extension, key_usage, name,
};
use crate::simulator::der::{self, Der};
use crate::simulator::key::{Curve, Hash, SoftKey, sha256};
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

    /// The same, to be changed for keys that are made from then on. Level and provisioning are those of
    /// the attestation key that the phone has.
    pub const fn options_mut(&mut self) -> &mut Options {
        &mut self.options
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

    /// What any app on a genuine phone can do and a verifier has to see through: it lets its attested
    /// key, which may sign anything, sign a certificate for a key held nowhere safe, and tells there
    /// whatever it likes.
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
            issuer: Issuer {
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
            // userAuthType: password or strong biometric
            (504, der::unsigned(3))
        } else {
            // noAuthRequired
            (503, der::null())
        });
        // authTimeout
        let timeout = self.options.authentication_timeout;
        list.extend(timeout.map(|seconds| (505, der::unsigned(seconds))));
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
