//! Request ids: by which a caller asks for something again without asking for more.
//!
//! What an id was used for is claimed by its caller's name, the RPC and the id, for a day, with a digest
//! of the request as the owner: the same again finds the claim its own, anything else finds it taken.
//! What the first request made is found without having been written down anywhere else, because its id
//! follows from the same digest.

use std::str::FromStr;
use std::time::Duration;

use super::{Engine, Failure};
use crate::id::{Bucket, SessionId};
use crate::reason::Reason;
use crate::session::Actor;
use crate::store::{Claim, Claimed, keys};

/// Longest request id: a UUID has 36 characters.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// How long a request id is remembered, and what clocks of our instances and the store may differ by.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600 + 300);

/// What a caller calls a request: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

/// The text is no request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a request id")]
pub struct InvalidRequestId;

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        if visible && (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRequestId)
        }
    }
}

/// A request that has an id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    key: [u8; 32],
    content: [u8; 32],
}

impl Named {
    /// Of a caller, an RPC and an id, with everything that makes the request this one and no other.
    pub(super) fn new(
        engine: &Engine,
        (by, method): (&Actor, &str),
        id: &RequestId,
        content: &[&[u8]],
    ) -> Self {
        let name: [&[u8]; 3] = [by.as_str().as_bytes(), method.as_bytes(), id.0.as_bytes()];
        let whole: Vec<&[u8]> = name
            .iter()
            .copied()
            .chain(content.iter().copied())
            .collect();
        Self {
            key: engine.keyring.request_digest(&name),
            content: engine.keyring.request_digest(&whole),
        }
    }

    /// The claim that the id is for this request.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            key: keys::request(&self.key),
            owner: self.content.to_vec(),
            live_for: Some(REMEMBERED_FOR),
        }
    }

    /// The session that this request opens, whenever it comes.
    pub(super) fn session(&self, bucket: Bucket) -> SessionId {
        SessionId::new(bucket, first_half(self.content))
    }

    /// Who uses the proof of this request.
    pub(super) fn proof_owner(&self) -> [u8; 16] {
        first_half(self.content)
    }
}

/// Whether an id is for this request, by how its claim ended; no claim was made where it has none.
///
/// # Errors
/// [`Reason::RequestIdReused`]
pub(super) fn check(claimed: Option<&Claimed>) -> Result<(), Failure> {
    match claimed {
        Some(Claimed::Taken { .. }) => Err(Reason::RequestIdReused.into()),
        Some(Claimed::Granted) | None => Ok(()),
    }
}

/// Half of a digest is as good as 16 random bytes.
pub(super) fn first_half(digest: [u8; 32]) -> [u8; 16] {
    digest.first_chunk().copied().unwrap_or_default()
}
