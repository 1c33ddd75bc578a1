//! `AuthorizationList`: what the key may do and what the device says of itself.
//!
//! Order-free, because real encoders do not sort. A tag that is not in the table is recorded by its
//! number and otherwise ignored, because new systems add tags. A tag that occurs twice is refused,
//! because two readers could take different ones; only a set may come in several parts, as some
//! devices write it, and is their union.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::der::{DerError, Reader, Tag};
use super::value::{AttestationApplicationId, Identifier, Origin, RootOfTrust, Value};

/// More than twice the number of tags there are.
const TAGS_MAX: usize = 128;
/// More than twice the number of values any enumeration has.
const SET_VALUES_MAX: usize = 32;

const TWICE: DerError = DerError("an authorization stated twice");

/// One stated field of an [`AuthorizationList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, `snake_case`.
    pub name: &'static str,
    /// Its tag number in the `KeyMint` interface.
    pub tag: u32,
    /// What is stated.
    pub value: Value<'a>,
}

macro_rules! authorization_list {
    ($($tag:literal $name:ident $type:ty, $doc:literal;)+) => {
        /// An authorization list. A field that is `None` or `false` was not stated.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct AuthorizationList {
            $(#[doc = $doc] pub $name: $type,)+
            /// Tags this version has no name for, in the order they came.
            pub unknown_tags: Vec<u32>,
        }

        impl AuthorizationList {
            fn read_field(&mut self, tag: u32, inside: &mut Reader<'_>) -> Result<bool, DerError> {
                match tag {
                    $($tag => self.$name.fill(inside)?,)+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Every stated field, in the order of tags.
            pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
                [$(($tag, stringify!($name), self.$name.value())),+]
                    .into_iter()
                    .filter_map(|(tag, name, value)| {
                        value.map(|value| Field { name, tag, value })
                    })
            }
        }
    };
}

authorization_list! {
    1 purposes Option<Vec<u64>>, "What the key may be used for; see [`super::purpose`].";
    2 algorithm Option<u64>, "1 RSA, 3 EC, 4 ML-DSA.";
    3 key_size Option<u64>, "In bits.";
    4 block_modes Option<Vec<u64>>, "Of symmetric keys.";
    5 digests Option<Vec<u64>>, "0 none, 1 MD5, 2 SHA-1, 3 to 6 SHA-224 to SHA-512.";
    6 paddings Option<Vec<u64>>, "Of RSA keys.";
    7 caller_nonce bool, "Of symmetric keys.";
    8 min_mac_length Option<u64>, "Of symmetric keys.";
    10 ec_curve Option<u64>, "0 P-224, 1 P-256, 2 P-384, 3 P-521, 4 Curve25519. Some devices state a wrong one: read the key instead.";
    11 ml_dsa_variant Option<u64>, "1 ML-DSA-65.";
    200 rsa_public_exponent Option<u64>, "Of RSA keys.";
    203 rsa_oaep_mgf_digests Option<Vec<u64>>, "As `digests`.";
    303 rollback_resistance bool, "From version 3 on.";
    305 early_boot_only bool, "Usable only before the system has started.";
    400 active_date_time Option<u64>, "Not usable before; milliseconds since 1970.";
    401 origination_expire_date_time Option<u64>, "No signing after; milliseconds since 1970.";
    402 usage_expire_date_time Option<u64>, "No verifying after; milliseconds since 1970.";
    405 usage_count_limit Option<u64>, "How often it may be used.";
    502 user_secure_id Option<u64>, "The authenticator it is bound to.";
    503 no_auth_required bool, "Usable without the user.";
    504 user_auth_type Option<u64>, "Bit 0 password, bit 1 biometric.";
    505 auth_timeout Option<u64>, "Seconds that one authentication lasts.";
    506 allow_while_on_body bool, "Usable after the timeout while worn.";
    507 trusted_user_presence_required bool, "The user has to touch the device.";
    508 trusted_confirmation_required bool, "The user has to confirm what is signed.";
    509 unlocked_device_required bool, "Usable only while the screen is unlocked.";
    600 all_applications bool, "Usable by every app; not stated by recent versions.";
    601 application_id Option<Vec<u8>>, "Not stated by recent versions.";
    701 creation_date_time Option<u64>, "Milliseconds since 1970, or since the device started: no sign of freshness.";
    702 origin Option<Origin>, "Where the key comes from.";
    703 rollback_resistant bool, "In versions 1 and 2.";
    704 root_of_trust Option<RootOfTrust>, "What the device booted.";
    705 os_version Option<u64>, "`MMmmss`; 0 on pre-releases.";
    706 os_patch_level Option<u64>, "`YYYYMM`.";
    708 attestation_challenge Option<Vec<u8>>, "In old lists.";
    709 attestation_application_id Option<AttestationApplicationId>, "Who made the key.";
    710 attestation_id_brand Option<Identifier>, "Brand.";
    711 attestation_id_device Option<Identifier>, "Device.";
    712 attestation_id_product Option<Identifier>, "Product.";
    713 attestation_id_serial Option<Identifier>, "Serial number.";
    714 attestation_id_imei Option<Identifier>, "First IMEI.";
    715 attestation_id_meid Option<Identifier>, "MEID.";
    716 attestation_id_manufacturer Option<Identifier>, "Manufacturer.";
    717 attestation_id_model Option<Identifier>, "Model.";
    718 vendor_patch_level Option<u64>, "`YYYYMMDD`; some devices leave out the day.";
    719 boot_patch_level Option<u64>, "`YYYYMMDD`; some devices leave out the day or write day 00.";
    720 device_unique_attestation bool, "Attested with a key only this device has.";
    721 identity_credential_key bool, "Made for an identity credential.";
    723 attestation_id_second_imei Option<Identifier>, "Second IMEI.";
    724 module_hash Option<Vec<u8>>, "SHA-256 over the updatable parts of the system.";
}

impl AuthorizationList {
    /// Reads a list, from the content of its SEQUENCE.
    pub(super) fn read(mut reader: Reader<'_>) -> Result<Self, DerError> {
        let mut list = Self::default();
        let mut seen = 0_usize;
        while !reader.is_empty() {
            let element = reader.next()?;
            let tag = element.tag.number;
            if !element.tag.is_explicit() {
                return Err(DerError("an authorization that is not explicitly tagged"));
            }
            if seen == TAGS_MAX {
                return Err(DerError("more authorizations than there are"));
            }
            seen += 1;
            let mut inside = element.inside();
            if list.read_field(tag, &mut inside)? {
                inside.finish()?;
            } else if !list.unknown_tags.contains(&tag) {
                list.unknown_tags.push(tag);
            }
        }
        Ok(list)
    }
}

impl Serialize for AuthorizationList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in self.fields() {
            map.serialize_entry(field.name, &field.value)?;
        }
        if !self.unknown_tags.is_empty() {
            map.serialize_entry("unknown_tags", &self.unknown_tags)?;
        }
        map.end()
    }
}

/// A field of the list: how it is filled from DER and shown.
trait Slot {
    fn fill(&mut self, inside: &mut Reader<'_>) -> Result<(), DerError>;
    fn value(&self) -> Option<Value<'_>>;
}

impl Slot for bool {
    fn fill(&mut self, inside: &mut Reader<'_>) -> Result<(), DerError> {
        inside.null()?;
        if std::mem::replace(self, true) {
            return Err(TWICE);
        }
        Ok(())
    }

    fn value(&self) -> Option<Value<'_>> {
        self.then_some(Value::Flag)
    }
}

impl<T: Typed> Slot for Option<T> {
    fn fill(&mut self, inside: &mut Reader<'_>) -> Result<(), DerError> {
        let read = T::read(inside)?;
        *self = Some(match self.take() {
            None => read,
            Some(earlier) => earlier.and(read)?,
        });
        Ok(())
    }

    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().map(T::value)
    }
}

trait Typed: Sized {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError>;
    fn value(&self) -> Value<'_>;

    /// What a tag says that occurs once more.
    fn and(self, _later: Self) -> Result<Self, DerError> {
        Err(TWICE)
    }
}

impl Typed for u64 {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        inside.unsigned()
    }

    fn value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl Typed for Vec<u64> {
    /// A SET OF INTEGER; unsorted ones are common.
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        let mut set = inside.expect(Tag::SET)?.inside();
        let mut values = Self::new();
        while !set.is_empty() {
            if values.len() == SET_VALUES_MAX {
                return Err(DerError("a set with more values than there are"));
            }
            values.push(set.unsigned()?);
        }
        Ok(values)
    }

    fn value(&self) -> Value<'_> {
        Value::Integers(self)
    }

    fn and(mut self, later: Self) -> Result<Self, DerError> {
        if self.len() + later.len() > SET_VALUES_MAX {
            return Err(DerError("a set with more values than there are"));
        }
        self.extend(later);
        Ok(self)
    }
}

impl Typed for Vec<u8> {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        inside.octet_string().map(<[u8]>::to_vec)
    }

    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl Typed for Identifier {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        inside.octet_string().map(|bytes| Self(bytes.to_vec()))
    }

    fn value(&self) -> Value<'_> {
        Value::Identifier(self)
    }
}

impl Typed for Origin {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        Self::from_number(inside.unsigned()?)
    }

    fn value(&self) -> Value<'_> {
        Value::Origin(*self)
    }
}

impl Typed for RootOfTrust {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        Self::read(inside)
    }

    fn value(&self) -> Value<'_> {
        Value::RootOfTrust(self)
    }
}

impl Typed for AttestationApplicationId {
    fn read(inside: &mut Reader<'_>) -> Result<Self, DerError> {
        Self::read(inside.octet_string()?)
    }

    fn value(&self) -> Value<'_> {
        Value::Application(self)
    }
}
