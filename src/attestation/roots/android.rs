//! Roots of Android Key Attestation.

/// The roots an Android chain may lead to.
#[derive(Debug, Clone, Default)]
pub struct AndroidRoots {}
