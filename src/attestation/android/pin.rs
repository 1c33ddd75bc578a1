//! Which of the pinned keys a chain claims to lead to.

use super::certificate::{Certificate, Spki};
use super::signature;
use crate::attestation::roots::AndroidRoot;

/// A pinned root and its key, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin<'a> {
    pub(super) root: &'a AndroidRoot,
    pub(super) spki: Spki<'a>,
}

impl<'a> Pin<'a> {
    /// The pin whose key the root certificate holds; for a chain without one, the pin of the name its
    /// last certificate was issued by. The name only selects: the signature has to verify.
    pub(super) fn find(
        last: &Certificate<'_>,
        root_included: bool,
        roots: &'a [AndroidRoot],
    ) -> Option<Self> {
        let pins = roots.iter().filter_map(|root| {
            Some(Self {
                root,
                spki: Spki::from_der(root.spki())?,
            })
        });
        if root_included {
            pins.into_iter().find(|pin| pin.spki.raw == last.spki.raw)
        } else {
            let named: Vec<Self> = pins
                .filter(|pin| pin.root.subject() == last.issuer.raw)
                .collect();
            // Two keys may go by one name while an authority changes keys.
            let verifying = |pin: &&Self| signature::verify(last, &pin.spki).is_ok();
            match named.as_slice() {
                [only] => Some(*only),
                several => several.iter().find(verifying).or(several.first()).copied(),
            }
        }
    }
}
