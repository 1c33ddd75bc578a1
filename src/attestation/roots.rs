//! The pinned roots: two Google keys and one Apple certificate built in, or others for test
//! authorities.

/// The roots evidence may lead to.
#[derive(Debug, Clone, Default)]
pub struct Roots {}
