//! The roots of Apple App Attest.

/// The certificates App Attest evidence may lead to.
#[derive(Debug, Clone, Default)]
pub struct AppleRoots {}
