//! The pinned roots: two Google keys and two Apple certificates built in, or others for test
//! authorities.

pub mod android;
pub mod apple;

pub use android::{AndroidRoot, AndroidRoots, RootError};
pub use apple::AppleRoots;

/// The roots evidence may lead to. The default trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// For Android Key Attestation.
    pub android: AndroidRoots,
    /// For Apple App Attest.
    pub apple: AppleRoots,
}
