//! Google's attestation status list: which certificates are revoked or suspended.

/// A parsed status list.
#[derive(Debug, Clone, Default)]
pub struct StatusList {}
