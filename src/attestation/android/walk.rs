//! The walk from the leaf to a pinned key.

use super::certificate::{Certificate, Extension, Spki};
use super::key_description::{ENTITY_ATTESTATION_TOKEN, KEY_DESCRIPTION, VIRTUAL_MACHINE};
use super::name::dotted_oid;
use super::provisioning::{Provisioning, names_level};
use super::signature;
use super::value::SecurityLevel;
use super::{Objection, note};
use crate::attestation::Checks;
use crate::attestation::roots::AndroidRoot;
use crate::attestation::status_list::StatusList;
use crate::reason::Reason;
use crate::time::Timestamp;

/// keyUsage and basicConstraints: the only extensions genuine chains mark critical. What they say is
/// not enforced, because genuine attestation certificates contradict it.
const CRITICAL_ALLOWED: [&[u8]; 2] = [&[0x55, 0x1d, 15], &[0x55, 0x1d, 19]];

/// Leaf, attestation certificate, root: below this nothing stands between the leaf and the root.
const LENGTH_MIN: usize = 3;
/// Certificates with the root in every genuine factory chain. One more is how a key that was
/// certified for something else would be made to attest; one less gives nobody anything.
const FACTORY_LENGTH_MAX: usize = 4;
/// The same for remote provisioning, and for a chain of neither kind.
const LENGTH_MAX: usize = 5;

/// A readable chain and the pinned key it leads to, if any.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    certificates: &'a [Certificate<'a>],
    /// Whether the last certificate is a root, by its own word.
    root_included: bool,
    pin: Option<Pin<'a>>,
    provisioning: Provisioning,
}

#[derive(Debug, Clone, Copy)]
struct Pin<'a> {
    root: &'a AndroidRoot,
    spki: Spki<'a>,
}

impl<'a> Walk<'a> {
    pub(super) fn along(certificates: &'a [Certificate<'a>], roots: &'a [AndroidRoot]) -> Self {
        let last = certificates.last();
        let root_included = last.is_some_and(Certificate::is_self_issued);
        let mut walk = Self {
            certificates,
            root_included,
            pin: last.and_then(|last| find_pin(last, root_included, roots)),
            provisioning: Provisioning::Other,
        };
        if let Some(below_root) = walk.below_root() {
            walk.provisioning = Provisioning::recognise(below_root, certificates.get(1));
        }
        walk
    }

    pub(super) fn check(
        &self,
        checks: &mut Checks,
        status_list: Option<&StatusList>,
        now: Timestamp,
    ) {
        note(
            checks,
            "extensions",
            "each once, none critical but keyUsage and basicConstraints",
            self.extensions(),
        );
        note(
            checks,
            "attestation_position",
            "one attestation, in the first certificate only",
            self.attestation_position(),
        );
        note(checks, "root", "a pinned key", self.root());
        note(
            checks,
            "signatures",
            "each certificate signed by the next, the last by the pinned key",
            self.signatures(),
        );
        note(
            checks,
            "names",
            "each but the leaf issued by the subject of the next",
            self.names(),
        );
        note(checks, "shape", self.shape_wanted(), self.shape());
        note(checks, "dates", self.dates_wanted(), self.dates(now));
        match status_list {
            Some(list) => {
                let wanted = format!("none of the {} listed certificates", list.len());
                note(checks, "status_list", wanted, self.statuses(list));
            }
            None => checks.not_checked("status_list", "no status list"),
        }
    }

    pub(super) fn provisioning(&self) -> Provisioning {
        self.provisioning.clone()
    }

    /// What holds the key, by the word of the key's description and of the certificates: a secure
    /// element that is not certified as one counts as an execution environment.
    pub(super) fn security_level(&self, described: SecurityLevel) -> SecurityLevel {
        if self.names_level(SecurityLevel::StrongBox) {
            described
        } else {
            described.min(SecurityLevel::TrustedEnvironment)
        }
    }

    /// Whether the attestation certificate or the one below the root names this level.
    pub(super) fn names_level(&self, level: SecurityLevel) -> bool {
        [self.certificates.get(1), self.below_root()]
            .into_iter()
            .flatten()
            .any(|certificate| names_level(certificate, level))
    }

    pub(super) fn serials(&self) -> Vec<String> {
        self.below_the_root()
            .map(|(_, certificate)| certificate.serial_hex())
            .collect()
    }

    /// A chain too short to have an attestation certificate gives its last key; it is never accepted.
    pub(super) fn attestation_key_sha256(&self) -> [u8; 32] {
        self.certificates
            .get(1)
            .or(self.certificates.last())
            .map_or([0; 32], |certificate| certificate.spki.sha256())
    }

    /// A chain that leads to no pinned key gives its last key; it is never accepted.
    pub(super) fn root_key_sha256(&self) -> [u8; 32] {
        match (&self.pin, self.certificates.last()) {
            (Some(pin), _) => pin.root.key_sha256(),
            (None, Some(last)) => last.spki.sha256(),
            (None, None) => [0; 32],
        }
    }

    fn length_with_root(&self) -> usize {
        self.certificates.len() + usize::from(!self.root_included)
    }

    /// All certificates but a root, with their index.
    fn below_the_root(&self) -> impl Iterator<Item = (usize, &'a Certificate<'a>)> {
        let count = self.length_with_root() - 1;
        self.certificates.iter().enumerate().take(count)
    }

    /// The certificate the root has signed.
    fn below_root(&self) -> Option<&'a Certificate<'a>> {
        self.below_the_root()
            .last()
            .filter(|(index, _)| *index > 0)
            .map(|(_, certificate)| certificate)
    }

    fn extensions(&self) -> Result<String, Objection> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let mut seen: Vec<&[u8]> = Vec::with_capacity(certificate.extensions.len());
            for Extension { oid, critical, .. } in &certificate.extensions {
                let problem = if *critical && !CRITICAL_ALLOWED.contains(oid) {
                    "is critical"
                } else if seen.contains(oid) {
                    "stands twice"
                } else {
                    seen.push(oid);
                    continue;
                };
                let seen = format!("{} {problem}", dotted_oid(oid));
                return Err(Objection::untrusted(index, seen));
            }
        }
        Ok("none twice, none critical that is not understood".to_owned())
    }

    /// The roots also vouch for keys that attest nothing here: those that an app holds in a virtual
    /// machine. With one of them it could sign an attestation of its own making.
    fn attestation_position(&self) -> Result<String, Objection> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let described = certificate.extensions_of(KEY_DESCRIPTION).count();
            for Extension { oid, .. } in &certificate.extensions {
                let seen = if *oid == ENTITY_ATTESTATION_TOKEN {
                    "an entity attestation token, which may contradict the attestation"
                } else if oid.starts_with(VIRTUAL_MACHINE) {
                    "an attestation of a virtual machine"
                } else {
                    continue;
                };
                return Err(Objection::untrusted(index, seen));
            }
            match (index, described) {
                (0, 1) | (1.., 0) => {}
                (0, 0) => return Err(Objection::untrusted(0, "no attestation")),
                (0, _) => return Err(Objection::untrusted(0, "several attestations")),
                _ => return Err(Objection::untrusted(index, "an attestation")),
            }
        }
        Ok("in certificate 0".to_owned())
    }

    /// A root may only stand at the end: one in between would be taken for an intermediate, and
    /// what kind of chain it is would be read from the wrong certificate.
    fn root(&self) -> Result<String, Objection> {
        let mut between = self.below_the_root().skip(1);
        if let Some((index, _)) = between.find(|(_, certificate)| certificate.is_self_issued()) {
            let seen = "a root before the end of the chain";
            return Err(Objection::untrusted(index, seen));
        }
        let last = self.certificates.len().checked_sub(1);
        match (&self.pin, self.root_included) {
            (Some(pin), _) => {
                let key = data_encoding::HEXLOWER.encode(&pin.root.key_sha256());
                Ok(format!("{}, key {key}", pin.spki.description()))
            }
            (None, true) => {
                let seen = "a root certificate with another key";
                Err(Objection::untrusted(last, seen))
            }
            (None, false) => Err(Objection::untrusted(last, "an issuer that is not pinned")),
        }
    }

    /// A root certificate only carries the pinned key: its own signature proves nothing and is not
    /// verified, but an algorithm that no genuine root uses is refused there too.
    fn signatures(&self) -> Result<String, Objection> {
        let failed = |index: usize| {
            move |error: signature::SignatureError| Objection::untrusted(index, error.to_string())
        };
        for (index, certificate) in self.certificates.iter().enumerate() {
            let issuer = self
                .certificates
                .get(index + 1)
                .map(|issuer| &issuer.spki)
                .or_else(|| {
                    let pin = self.pin.as_ref().filter(|_| !self.root_included);
                    pin.map(|pin| &pin.spki)
                });
            match issuer {
                Some(issuer) => signature::verify(certificate, issuer),
                None => signature::check_algorithm(certificate),
            }
            .map_err(failed(index))?;
        }
        Ok("all verify".to_owned())
    }

    /// The issuer in the leaf is written by the device, and secure elements exist that write the
    /// wrong one: the name above the attestation certificate. Nothing hangs on it, because the
    /// signature is verified with the key of the next certificate whatever its name.
    fn names(&self) -> Result<String, Objection> {
        for (index, certificate) in self.certificates.iter().enumerate().skip(1) {
            let expected = match (self.certificates.get(index + 1), &self.pin) {
                (Some(issuer), _) => issuer.subject.raw,
                (None, Some(pin)) => pin.root.subject(),
                (None, None) => continue,
            };
            if certificate.issuer.raw != expected {
                let seen = format!("issuer {}", certificate.issuer.text());
                return Err(Objection::untrusted(index, seen));
            }
        }
        Ok("all chain".to_owned())
    }

    const fn length_max(&self) -> usize {
        match self.provisioning {
            Provisioning::Factory => FACTORY_LENGTH_MAX,
            Provisioning::Remote { .. } | Provisioning::Other => LENGTH_MAX,
        }
    }

    fn shape_wanted(&self) -> String {
        let kind = self.provisioning.as_str();
        let most = self.length_max();
        format!("{LENGTH_MIN} to {most} with the root ({kind})")
    }

    fn shape(&self) -> Result<String, Objection> {
        let length = self.length_with_root();
        let seen = format!("{length} certificates with the root");
        if (LENGTH_MIN..=self.length_max()).contains(&length) {
            Ok(seen)
        } else {
            Err(Objection::untrusted(None, seen))
        }
    }

    fn dates_wanted(&self) -> &'static str {
        match self.provisioning {
            Provisioning::Factory => "intermediates valid already (they never expire)",
            Provisioning::Remote { .. } | Provisioning::Other => "intermediates valid now",
        }
    }

    /// The leaf's dates come from the device's clock and are ignored. The root's are, because it is
    /// pinned. Keys put in at the factory cannot be replaced, so expiry of their certificates is
    /// ignored as well; remotely provisioned ones are renewed all the time.
    fn dates(&self, now: Timestamp) -> Result<String, Objection> {
        let expires = self.provisioning != Provisioning::Factory;
        for (index, certificate) in self.below_the_root().skip(1) {
            let (Some(not_before), Some(not_after)) = certificate.validity() else {
                return Err(Objection::untrusted(index, "a date that is none"));
            };
            // Certificates are dated in whole seconds; the last one counts.
            if now < not_before {
                let seen = format!("not valid before {not_before}");
                return Err(Objection::untrusted(index, seen));
            }
            if expires && now.as_secs() > not_after.as_secs() {
                let seen = format!("expired {not_after}");
                return Err(Objection::untrusted(index, seen));
            }
        }
        Ok(format!("all valid at {now}"))
    }

    /// The leaf's serial number is 1 on every device, so it identifies nothing.
    fn statuses(&self, list: &StatusList) -> Result<String, Objection> {
        for (index, certificate) in self.certificates.iter().enumerate().skip(1) {
            let serial = certificate.serial_hex();
            if let Some(status) = list.status(&serial) {
                let seen = format!("{serial} is {}", status.as_str());
                return Err(Objection::new(Reason::AttestationCertRevoked, index, seen));
            }
        }
        Ok("none is listed".to_owned())
    }
}

/// The pin whose key the root certificate holds; for a chain without one, the pin of the name its
/// last certificate was issued by. The name only selects: the signature has to verify.
fn find_pin<'a>(
    last: &Certificate<'_>,
    root_included: bool,
    roots: &'a [AndroidRoot],
) -> Option<Pin<'a>> {
    let pins = roots.iter().filter_map(|root| {
        Some(Pin {
            root,
            spki: Spki::from_der(root.spki())?,
        })
    });
    if root_included {
        pins.into_iter().find(|pin| pin.spki.raw == last.spki.raw)
    } else {
        let named: Vec<Pin<'a>> = pins
            .filter(|pin| pin.root.subject() == last.issuer.raw)
            .collect();
        // Two keys may go by one name while an authority changes keys.
        let verifying = |pin: &&Pin<'a>| signature::verify(last, &pin.spki).is_ok();
        match named.as_slice() {
            [only] => Some(*only),
            several => several.iter().find(verifying).or(several.first()).copied(),
        }
    }
}
