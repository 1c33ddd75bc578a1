//! The values inside an authorization list that are more than a number.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::der::{DerError, Reader, Tag};
use super::name::printable;

/// More than any shared UID has; the longest list seen has 13.
const PACKAGES_MAX: usize = 64;
/// More signers than any package has.
const DIGESTS_MAX: usize = 32;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $unknown:literal, $($(#[$vdoc:meta])* $variant:ident $number:literal $word:literal;)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            pub(super) const fn from_number(number: u64) -> Result<Self, DerError> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    _ => Err(DerError($unknown)),
                }
            }

            /// The word it is known by.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

numbered! {
    /// What holds a key, or vouches for it; ordered.
    SecurityLevel, "an unknown security level",
    /// The operating system.
    Software 0 "SOFTWARE";
    /// A trusted execution environment.
    TrustedEnvironment 1 "TRUSTED_ENVIRONMENT";
    /// A secure element.
    StrongBox 2 "STRONG_BOX";
}

numbered! {
    /// Whose software the device booted.
    VerifiedBootState, "an unknown boot state",
    /// The maker's.
    Verified 0 "VERIFIED";
    /// Verified with a key the owner has put in.
    SelfSigned 1 "SELF_SIGNED";
    /// Anyone's.
    Unverified 2 "UNVERIFIED";
    /// Verification failed.
    Failed 3 "FAILED";
}

numbered! {
    /// Where a key comes from.
    Origin, "an unknown origin",
    /// Made inside the hardware and never outside of it.
    Generated 0 "GENERATED";
    /// Derived from another key.
    Derived 1 "DERIVED";
    /// Made elsewhere.
    Imported 2 "IMPORTED";
    /// Not known, or reserved.
    Reserved 3 "RESERVED";
    /// Made elsewhere and imported encrypted.
    SecurelyImported 4 "SECURELY_IMPORTED";
}

/// What the device booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOfTrust {
    /// The key the system was verified with. Zeros or nothing when unlocked; zeros also on some
    /// genuine locked devices.
    pub verified_boot_key: Vec<u8>,
    /// Whether the boot loader is locked.
    pub device_locked: bool,
    /// How verification ended.
    pub verified_boot_state: VerifiedBootState,
    /// Digest of what was verified; from version 3 on.
    pub verified_boot_hash: Option<Vec<u8>>,
}

impl RootOfTrust {
    pub(super) fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        let mut fields = inside.sequence()?;
        let verified_boot_key = fields.octet_string()?.to_vec();
        let device_locked = fields.boolean()?;
        let verified_boot_state = VerifiedBootState::from_number(fields.enumerated()?)?;
        let verified_boot_hash = if fields.is_empty() {
            None
        } else {
            Some(fields.octet_string()?.to_vec())
        };
        fields.finish()?;
        Ok(Self {
            verified_boot_key,
            device_locked,
            verified_boot_state,
            verified_boot_hash,
        })
    }
}

/// The app that made the key: every package of its UID, and who signed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationApplicationId {
    /// Packages, normally one.
    pub packages: Vec<Package>,
    /// SHA-256 of the signing certificates; none for the system itself.
    pub signature_digests: Vec<Vec<u8>>,
}

/// A package and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name, e.g. `com.example.bank`.
    pub name: String,
    /// Its version code.
    pub version: i64,
}

impl AttestationApplicationId {
    /// Reads it from the content of the OCTET STRING it is wrapped in.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DerError> {
        let mut outer = Reader::new(bytes);
        let mut fields = outer.sequence()?;
        outer.finish()?;
        let mut set = fields.expect(Tag::SET)?.inside();
        let mut packages = Vec::new();
        while !set.is_empty() {
            if packages.len() == PACKAGES_MAX {
                return Err(DerError("more packages than any UID has"));
            }
            let mut package = set.sequence()?;
            let name = std::str::from_utf8(package.octet_string()?)
                .map_err(|_| DerError("a package name that is not UTF-8"))?
                .to_owned();
            let version = package.signed()?;
            package.finish()?;
            packages.push(Package { name, version });
        }
        let mut set = fields.expect(Tag::SET)?.inside();
        let mut signature_digests = Vec::new();
        while !set.is_empty() {
            if signature_digests.len() == DIGESTS_MAX {
                return Err(DerError("more signers than any package has"));
            }
            signature_digests.push(set.octet_string()?.to_vec());
        }
        fields.finish()?;
        Ok(Self {
            packages,
            signature_digests,
        })
    }
}

/// A name or number of the device as it states it, normally ASCII. Some of them single out a person,
/// so `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Identifier(pub Vec<u8>);

impl Identifier {
    /// As text, where it is printable; otherwise in hex.
    #[must_use]
    pub fn text(&self) -> String {
        text(&self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({} bytes)", self.0.len())
    }
}

/// A stated value, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Stated, without more.
    Flag,
    /// A number.
    Integer(u64),
    /// A set of numbers, in the order they came.
    Integers(&'a [u64]),
    /// Octets.
    Bytes(&'a [u8]),
    /// A name or number of the device.
    Identifier(&'a Identifier),
    /// An origin.
    Origin(Origin),
    /// A root of trust.
    RootOfTrust(&'a RootOfTrust),
    /// An application.
    Application(&'a AttestationApplicationId),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Integers(numbers) => {
                let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
                f.write_str(&words.join(", "))
            }
            Self::Bytes(bytes) => f.write_str(&HEXLOWER.encode(bytes)),
            Self::Identifier(identifier) => f.write_str(&identifier.text()),
            Self::Origin(origin) => fmt::Display::fmt(origin, f),
            Self::RootOfTrust(root) => fmt::Display::fmt(root, f),
            Self::Application(app) => fmt::Display::fmt(app, f),
        }
    }
}

impl fmt::Display for RootOfTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}, key {}",
            if self.device_locked {
                "locked"
            } else {
                "unlocked"
            },
            self.verified_boot_state,
            HEXLOWER.encode(&self.verified_boot_key),
        )?;
        self.verified_boot_hash
            .as_ref()
            .map_or(Ok(()), |hash| write!(f, ", hash {}", HEXLOWER.encode(hash)))
    }
}

impl fmt::Display for AttestationApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages: Vec<String> = self
            .packages
            .iter()
            .map(|package| format!("{} ({})", printable(&package.name), package.version))
            .collect();
        let digests: Vec<String> = self
            .signature_digests
            .iter()
            .map(|digest| HEXLOWER.encode(digest))
            .collect();
        write!(
            f,
            "{} signed by {}",
            packages.join(", "),
            if digests.is_empty() {
                "nobody named".to_owned()
            } else {
                digests.join(", ")
            }
        )
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag => serializer.serialize_bool(true),
            Self::Integer(number) => serializer.serialize_u64(*number),
            Self::Integers(numbers) => numbers.serialize(serializer),
            Self::Bytes(bytes) => serializer.serialize_str(&HEXLOWER.encode(bytes)),
            Self::Identifier(identifier) => serializer.serialize_str(&identifier.text()),
            Self::Origin(origin) => origin.serialize(serializer),
            Self::RootOfTrust(root) => root.serialize(serializer),
            Self::Application(app) => app.serialize(serializer),
        }
    }
}

impl Serialize for RootOfTrust {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RootOfTrust", 4)?;
        let key = HEXLOWER.encode(&self.verified_boot_key);
        fields.serialize_field("verified_boot_key", &key)?;
        fields.serialize_field("device_locked", &self.device_locked)?;
        fields.serialize_field("verified_boot_state", &self.verified_boot_state)?;
        let hash = self.verified_boot_hash.as_ref().map(|h| HEXLOWER.encode(h));
        fields.serialize_field("verified_boot_hash", &hash)?;
        fields.end()
    }
}

impl Serialize for AttestationApplicationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("AttestationApplicationId", 2)?;
        fields.serialize_field("packages", &self.packages)?;
        let digests: Vec<String> = self
            .signature_digests
            .iter()
            .map(|digest| HEXLOWER.encode(digest))
            .collect();
        fields.serialize_field("signature_digests", &digests)?;
        fields.end()
    }
}

impl Serialize for Package {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Package", 2)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("version", &self.version)?;
        fields.end()
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') => text.to_owned(),
        _ => HEXLOWER.encode(bytes),
    }
}
