//! The walk from the leaf to a pinned key.

mod lists;

use std::ops::RangeInclusive;

use super::certificate::{Certificate, Extension};
use super::key_description::{ENTITY_ATTESTATION_TOKEN, KEY_DESCRIPTION, VIRTUAL_MACHINE};
use super::name::dotted_oid;
use super::pin::Pin;
use super::provisioning::{Provisioning, is_remote_authority, names_level};
use super::signature;
use super::value::SecurityLevel;
use super::{Objection, note};
use crate::attestation::roots::AndroidRoot;
use crate::attestation::{Checks, Trust};
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
    /// How many certificates the device has written for an app, whose names, dates and serial
    /// numbers mean nothing: the leaf, and that of an attest key where one is allowed.
    made_for_app: usize,
    /// Whether the last certificate is a root, by its own word.
    root_included: bool,
    pin: Option<Pin<'a>>,
    provisioning: Provisioning,
}

impl<'a> Walk<'a> {
    pub(super) fn along(
        certificates: &'a [Certificate<'a>],
        attest_key: bool,
        roots: &'a [AndroidRoot],
    ) -> Self {
        let last = certificates.last();
        let root_included = last.is_some_and(Certificate::is_self_issued);
        let mut walk = Self {
            certificates,
            made_for_app: 1 + usize::from(attest_key),
            root_included,
            pin: last.and_then(|last| Pin::find(last, root_included, roots)),
            provisioning: Provisioning::Other,
        };
        if let Some(below_root) = walk.below_root() {
            walk.provisioning = Provisioning::recognise(below_root, walk.attestation());
        }
        walk
    }

    pub(super) fn check(&self, checks: &mut Checks, trust: &Trust<'_>, now: Timestamp) {
        note(
            checks,
            "extensions",
            "each once, none critical but keyUsage and basicConstraints",
            self.extensions(),
        );
        note(
            checks,
            "attestation_position",
            self.attestation_position_wanted(),
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
            "each but the app's own issued by the subject of the next",
            self.issuers(),
        );
        note(checks, "shape", self.shape_wanted(), self.shape());
        note(checks, "dates", self.dates_wanted(), self.dates(now));
        match trust.status_list {
            Some(list) => {
                let wanted = format!("none of the {} listed certificates", list.len());
                note(checks, "status_list", wanted, self.statuses(list));
            }
            None => checks.not_checked("status_list", "no status list"),
        }
        if let Some(list) = trust.own_list {
            let wanted = format!("none of the {} entries", list.len());
            note(checks, "own_list", wanted, self.own_revocations(list));
        }
    }

    pub(super) fn provisioning(&self) -> Provisioning {
        self.provisioning.clone()
    }

    /// What holds the key, by the word of the key's description and of the certificates: a secure
    /// element that is not certified as one counts as an execution environment.
    pub(super) fn security_level(&self, described: SecurityLevel) -> SecurityLevel {
        if self.certified_strongbox() {
            described
        } else {
            described.min(SecurityLevel::TrustedEnvironment)
        }
    }

    /// Whoever has a leaked key can sign a certificate with a name of their own below its own one.
    /// So a chain that names both levels is none of a secure element's, and for keys of the factory
    /// the word is that of the authority above the attestation certificate.
    fn certified_strongbox(&self) -> bool {
        let strongbox = |certificate| names_level(certificate, SecurityLevel::StrongBox);
        let certified = match self.provisioning {
            Provisioning::Factory => self.below_root().is_some_and(strongbox),
            Provisioning::Remote { .. } | Provisioning::Other => {
                self.names(SecurityLevel::StrongBox)
            }
        };
        certified && !self.names(SecurityLevel::TrustedEnvironment)
    }

    /// Whether a certificate between the app's own and the root names this level.
    pub(super) fn names(&self, level: SecurityLevel) -> bool {
        self.below_the_root()
            .skip(self.made_for_app)
            .any(|(_, certificate)| names_level(certificate, level))
    }

    /// An app chooses the serial number of its attest key's certificate, 1 where it says nothing: it
    /// names nobody, and is left out lest it be taken for one that does.
    pub(super) fn serials(&self) -> Vec<String> {
        self.below_the_root()
            .filter(|(index, _)| *index == 0 || *index >= self.made_for_app)
            .map(|(_, certificate)| certificate.serial_hex())
            .collect()
    }

    pub(super) fn issuer_keys(&self) -> Vec<[u8; 32]> {
        self.below_the_root()
            .skip(1)
            .map(|(_, certificate)| certificate.spki.sha256())
            .collect()
    }

    /// The certificate of the key that attests, first of those the app has no say in.
    fn attestation(&self) -> Option<&'a Certificate<'a>> {
        self.certificates.get(self.made_for_app)
    }

    /// The certificate of the highest key that is no authority's. Whoever holds an attestation key can
    /// certify another one with it where a chain may be longer, and that one attests as well: what is
    /// found from above is the one they cannot choose.
    ///
    /// Who is an authority is read from the top, as far as authorities have signed it: below the root
    /// stands one of the factory, or those of remote provisioning by their names. Of a chain of neither
    /// kind nothing is known but what the root has signed.
    fn vouching(&self) -> Option<&'a Certificate<'a>> {
        let device_side: Vec<_> = self
            .below_the_root()
            .skip(self.made_for_app)
            .map(|(_, certificate)| certificate)
            .collect();
        let mut from_above = device_side.iter().rev().copied();
        let found = match self.provisioning {
            Provisioning::Factory => from_above.nth(1),
            Provisioning::Remote { .. } => from_above.find(|above| !is_remote_authority(above)),
            Provisioning::Other => from_above.next(),
        };
        found.or(device_side.first().copied())
    }

    /// A chain too short to have an attestation certificate gives its last key; it is never accepted.
    pub(super) fn attestation_key_sha256(&self) -> [u8; 32] {
        self.vouching()
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

    /// All certificates but the app's own, with their index.
    fn above_the_app(&self) -> impl Iterator<Item = (usize, &'a Certificate<'a>)> {
        let all = self.certificates.iter().enumerate();
        all.skip(self.made_for_app)
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

    const fn attestation_position_wanted(&self) -> &'static str {
        match self.made_for_app {
            1 => "one attestation, in the first certificate only",
            _ => "one attestation in each of the first two certificates, and no more",
        }
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
            match (index < self.made_for_app, described) {
                (true, 1) | (false, 0) => {}
                (true, 0) => return Err(Objection::untrusted(index, "no attestation")),
                (true, _) => return Err(Objection::untrusted(index, "several attestations")),
                (false, _) => return Err(Objection::untrusted(index, "an attestation")),
            }
        }
        Ok(match self.made_for_app {
            1 => "in certificate 0".to_owned(),
            _ => "in certificates 0 and 1".to_owned(),
        })
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
    fn issuers(&self) -> Result<String, Objection> {
        for (index, certificate) in self.above_the_app() {
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

    /// One more of each with an attest key.
    const fn lengths(&self) -> RangeInclusive<usize> {
        let more = self.made_for_app - 1;
        let most = match self.provisioning {
            Provisioning::Factory => FACTORY_LENGTH_MAX,
            Provisioning::Remote { .. } | Provisioning::Other => LENGTH_MAX,
        };
        LENGTH_MIN + more..=most + more
    }

    fn shape_wanted(&self) -> String {
        let (kind, lengths) = (self.provisioning.as_str(), self.lengths());
        let (least, most) = (lengths.start(), lengths.end());
        format!("{least} to {most} with the root ({kind})")
    }

    fn shape(&self) -> Result<String, Objection> {
        let length = self.length_with_root();
        let seen = format!("{length} certificates with the root");
        if self.lengths().contains(&length) {
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
        for (index, certificate) in self.below_the_root().skip(self.made_for_app) {
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
}
