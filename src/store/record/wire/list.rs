//! The copy of the attestation status list.

use prost::Message;

use crate::attestation::lists as domain;
use crate::store::record::ListPart as Part;
use crate::time::Timestamp;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Origin {
    #[prost(bytes = "vec", tag = "1")]
    sha256: Vec<u8>,
    #[prost(int64, tag = "2")]
    validated_at: i64,
    #[prost(int64, tag = "3")]
    refetch_at: i64,
    #[prost(int64, optional, tag = "4")]
    modified_at: Option<i64>,
    #[prost(string, optional, tag = "5")]
    etag: Option<String>,
    #[prost(string, optional, tag = "6")]
    last_modified: Option<String>,
}

impl From<&domain::Origin> for Origin {
    fn from(origin: &domain::Origin) -> Self {
        Self {
            sha256: origin.sha256.to_vec(),
            validated_at: origin.validated_at.as_millis(),
            refetch_at: origin.refetch_at.as_millis(),
            modified_at: origin.modified_at.map(Timestamp::as_millis),
            etag: origin.etag.clone(),
            last_modified: origin.last_modified.clone(),
        }
    }
}

impl Origin {
    pub(in crate::store::record) fn into_domain(self) -> Option<domain::Origin> {
        Some(domain::Origin {
            sha256: self.sha256.try_into().ok()?,
            validated_at: Timestamp::from_millis(self.validated_at),
            refetch_at: Timestamp::from_millis(self.refetch_at),
            modified_at: self.modified_at.map(Timestamp::from_millis),
            etag: self.etag,
            last_modified: self.last_modified,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct ListPart {
    #[prost(bytes = "vec", tag = "1")]
    sha256: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    packed: Vec<u8>,
}

impl From<&Part> for ListPart {
    fn from(part: &Part) -> Self {
        Self {
            sha256: part.sha256.to_vec(),
            packed: part.packed.clone(),
        }
    }
}

impl ListPart {
    pub(in crate::store::record) fn into_domain(self) -> Option<Part> {
        Some(Part {
            sha256: self.sha256.try_into().ok()?,
            packed: self.packed,
        })
    }
}
