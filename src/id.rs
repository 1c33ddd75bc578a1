//! Identifiers: opaque, prefixed and self-routing.
//!
//! A device or session id carries the bucket of its subject, so that an id pasted by an engineer
//! leads to its records in one hop.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// How many buckets the state is spread over (hash tags `{b0}` to `{b1023}`).
pub const BUCKETS: u16 = 1024;

/// The part of the state that one subject lives in: one hash slot of a Redis Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// From its number; `None` at or above [`BUCKETS`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < BUCKETS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// From the first two bytes of a digest.
    #[must_use]
    pub const fn of_digest(digest: &[u8; 32]) -> Self {
        Self(u16::from_be_bytes([digest[0], digest[1]]) % BUCKETS)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of this kind")]
pub struct InvalidId;

/// Bytes of an id behind the prefix: bucket (2) and a random or derived part (16).
const ID_BYTES: usize = 18;

macro_rules! routed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// From the subject's bucket and 16 bytes, random or derived from what it names.
            #[must_use]
            pub fn new(bucket: Bucket, unique: [u8; 16]) -> Self {
                let mut bytes = [0; ID_BYTES];
                let (head, tail) = bytes.split_at_mut(2);
                head.copy_from_slice(&bucket.number().to_be_bytes());
                tail.copy_from_slice(&unique);
                Self(bytes)
            }

            /// The bucket its records live in.
            #[must_use]
            pub const fn bucket(&self) -> Bucket {
                // Every constructor checked the number.
                Bucket(u16::from_be_bytes([self.0[0], self.0[1]]))
            }

            /// The raw form, as kept in records and tokens.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// From the raw form.
            ///
            /// # Errors
            /// [`InvalidId`] on a wrong length or bucket.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
                let bytes: [u8; ID_BYTES] = bytes.try_into().map_err(|_| InvalidId)?;
                Bucket::new(u16::from_be_bytes([bytes[0], bytes[1]])).ok_or(InvalidId)?;
                Ok(Self(bytes))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let hex = text.strip_prefix($prefix).ok_or(InvalidId)?;
                Self::from_bytes(&HEXLOWER.decode(hex.as_bytes()).map_err(|_| InvalidId)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

routed_id!(
    /// A registered device key: `dev_` and 36 hex digits.
    DeviceId,
    "dev_"
);
routed_id!(
    /// A session: `ses_` and 36 hex digits.
    SessionId,
    "ses_"
);

/// The name of a configured app: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(String);

/// Longest app id, in bytes.
pub const APP_ID_BYTES_MAX: usize = 64;

impl AppId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A short digest of the name, for tokens of fixed length.
    #[must_use]
    pub fn tag(&self) -> [u8; 8] {
        let digest = crate::key::sha256(self.0.as_bytes());
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl FromStr for AppId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let begins_well = text.bytes().next().is_some_and(plain);
        if begins_well
            && text.len() <= APP_ID_BYTES_MAX
            && text
                .bytes()
                .all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId)
        }
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a user agreed to, as the caller that opens sessions names it: 1 to 64 visible ASCII characters.
/// It is the caller's own name for a grant of consent, and says nothing of the user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsentId(String);

/// Longest consent id, in bytes.
pub const CONSENT_ID_BYTES_MAX: usize = 64;

impl ConsentId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=CONSENT_ID_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId)
        }
    }
}

impl fmt::Debug for ConsentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a device and its sessions belong to: a user, or an installation before login. 1 to 256 bytes
/// without control characters. Personal data: it is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// Longest subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;

impl Subject {
    /// The name itself, for tokens and sealed records.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=SUBJECT_BYTES_MAX).contains(&text.len());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId)
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[subject]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_bucket_and_text() {
        let id = DeviceId::new(Bucket::new(1023).unwrap(), [7; 16]);
        assert_eq!(id.to_string(), format!("dev_03ff{}", "07".repeat(16)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.bucket().number(), 1023);
    }

    #[test]
    fn refuses_foreign_and_crooked_ids() {
        let text = DeviceId::new(Bucket::new(1).unwrap(), [7; 16]).to_string();
        assert!(text.replace("dev_", "ses_").parse::<DeviceId>().is_err());
        assert!(text.to_uppercase().parse::<DeviceId>().is_err());
        assert!(
            text.replace("dev_0001", "dev_0400")
                .parse::<DeviceId>()
                .is_err()
        );
        assert!(text[..text.len() - 2].parse::<DeviceId>().is_err());
    }

    #[test]
    fn app_ids_and_subjects_are_bounded() {
        assert!("com.example.app".parse::<AppId>().is_ok());
        for bad in ["", "-a", "A", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
        assert!("user-1".parse::<Subject>().is_ok());
        for bad in ["", "a\nb", &"a".repeat(257)] {
            assert!(bad.parse::<Subject>().is_err());
        }
        assert_eq!(
            format!("{:?}", "user-1".parse::<Subject>().unwrap()),
            "[subject]"
        );
    }
}
