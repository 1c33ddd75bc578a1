//! What is found in a piece of evidence: the checks of a registration, run with what is given.

use std::io::Write;
use std::path::Path;

use data_encoding::HEXLOWER;

use super::input::{self, FILE_BYTES_MAX, STATUS_LIST_BYTES_MAX, Unusable};
use super::{AndroidArgs, AppleAppArgs, AppleArgs, AssertionArgs, ClientDataArgs};
use crate::attestation::android::{Chain, ChainError};
use crate::attestation::apple::{Attestation, Environment, assertion};
use crate::attestation::own_list::OwnList;
use crate::attestation::roots::{AndroidRoots, AppleRoots, Roots};
use crate::attestation::status_list::StatusList;
use crate::attestation::{
    AppIdentity, AppleApp, AttestKeys, AttestedKey, CertificateSummary, Checks, Evidence,
    Examination, Facts, Given, Outcome, Rejection, Trust, examine,
};
use crate::config::{Config, StatusListConfig};
use crate::flow::App;
use crate::id::AppId;
use crate::key::{PublicKey, sha256};
use crate::policy::{self, AndroidPolicy, ApplePolicy, Posture};
use crate::reason::Reason;
use crate::session::Standing;
use crate::time::Timestamp;

/// Which evidence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    KeyAttestation,
    AppAttestation,
    AppAssertion,
}

/// What the evidence says.
#[derive(Debug)]
pub(super) enum Told {
    Attestation(Facts),
    Assertion(assertion::AssertionFacts),
}

/// All that is found. The verdict is in the checks: the first that failed gives the reason.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) checks: Checks,
    pub(super) certificates: Vec<CertificateSummary>,
    /// Of an attestation, the attested key; of an assertion, the one it is compared with.
    pub(super) key: Option<AttestedKey>,
    pub(super) told: Option<Told>,
    pub(super) at: Timestamp,
}

impl Finding {
    /// Why the evidence is rejected; `None` when it is accepted.
    pub(super) fn rejection(&self) -> Option<Rejection> {
        self.checks.rejection()
    }

    /// The names of the checks that nothing was given for, each once.
    pub(super) fn not_checked(&self) -> Vec<&'static str> {
        let checks = self.checks.as_slice().iter();
        checks
            .filter(|check| check.outcome == Outcome::NotChecked)
            .map(|check| check.name)
            .collect()
    }

    /// Evidence that is refused before any of it is read.
    fn unread(kind: Kind, why: (Reason, Option<usize>, String), at: Timestamp) -> Self {
        let (reason, index, seen) = why;
        let mut checks = Checks::default();
        let facts = (seen, "evidence within its bounds");
        checks.note("bounds", index, Err(reason), facts);
        Self {
            kind,
            checks,
            certificates: Vec::new(),
            key: None,
            told: None,
            at,
        }
    }

    /// An examination, and what policy has to say of it. As in a registration the examination comes
    /// first; other than there, policy is asked even when the examination found something, so that
    /// everything that is wrong is seen at once.
    fn of(kind: Kind, examination: Examination, standard: &Standard) -> Self {
        let Examination {
            mut checks,
            certificates,
            key,
            facts,
            at,
            ..
        } = examination;
        if let Some(facts) = &facts {
            let posture = Posture::of(facts);
            let (android, apple) = (&standard.android, &standard.apple);
            checks.extend(policy::posture_checks(&posture, android, apple, at));
            if let Some(key) = &key {
                let device_key = policy::device_key_checks(facts, key);
                match standard.device_key {
                    DeviceKey::Wanted => checks.extend(device_key),
                    DeviceKey::Unsaid => list_unchecked(&mut checks, &device_key),
                }
            }
        }
        Self {
            kind,
            checks,
            certificates,
            key,
            told: facts.map(Told::Attestation),
            at,
        }
        .readable()
    }

    /// Evidence that says nothing is not accepted, whatever else was found.
    fn readable(mut self) -> Self {
        if self.told.is_none() && self.rejection().is_none() {
            let failed = Err(Reason::EvidenceMalformed);
            let facts = ("not readable", "readable evidence");
            self.checks.note("evidence", None, failed, facts);
        }
        self
    }
}

fn list_unchecked(checks: &mut Checks, unmade: &Checks) {
    for check in unmade.as_slice() {
        checks.not_checked(check.name, check.seen.clone());
    }
}

/// What evidence is held against.
struct Standard {
    identity: Option<AppIdentity>,
    android: AndroidPolicy,
    apple: ApplePolicy,
    device_key: DeviceKey,
}

/// Whether the key has to serve as a device key.
enum DeviceKey {
    Wanted,
    /// Any key may be looked at.
    Unsaid,
}

impl Standard {
    /// The default of apps whose policy says nothing.
    const fn unsaid() -> Self {
        Self {
            identity: None,
            android: AndroidPolicy::strict(),
            apple: ApplePolicy::open(),
            device_key: DeviceKey::Unsaid,
        }
    }

    fn of_app(app: &App) -> Self {
        Self {
            identity: Some(app.identity.clone()),
            android: app.policy.android.clone(),
            apple: app.policy.apple.clone(),
            device_key: DeviceKey::Wanted,
        }
    }
}

pub(super) fn android(
    args: &AndroidArgs,
    now: Timestamp,
    err: &mut dyn Write,
) -> Result<Finding, Unusable> {
    let at = args.at.unwrap_or(now);
    let config = args.config.as_deref().map(load).transpose()?;
    let standard = standard(args, config.as_ref(), err)?;
    let roots = Roots {
        android: android_roots(args, config.as_ref())?,
        ..Roots::default()
    };
    let status_list = status_list(args, config.as_ref())?;
    let own_list = own_list(config.as_ref())?;
    let chain = match Chain::from_der(input::chain(&args.chain)?) {
        Ok(chain) => chain,
        Err(error) => {
            let index = match error {
                ChainError::CertificateTooLarge { index, .. } => Some(index),
                ChainError::Empty
                | ChainError::TooManyCertificates(_)
                | ChainError::TooLarge(_)
                | ChainError::TextTooLarge(_)
                | ChainError::NotPem => None,
            };
            let why = (error.reason(), index, error.to_string());
            return Ok(Finding::unread(Kind::KeyAttestation, why, at));
        }
    };
    let given = Given {
        binding: args.challenge.as_ref().map(|octets| octets.0.as_slice()),
        app: standard.identity.as_ref(),
        attest_keys: standard.android.attest_keys.in_chains(),
    };
    let trust = Trust {
        roots: &roots,
        status_list: status_list.as_ref(),
        own_list: own_list.as_ref(),
    };
    let examination = examine(&Evidence::Android(chain), given, trust, at);
    Ok(Finding::of(Kind::KeyAttestation, examination, &standard))
}

/// The configuration as the service would read it. The files it names are not looked at: whoever
/// explains evidence need not have the keys of the service.
fn load(path: &Path) -> Result<Config, Unusable> {
    let bytes = input::read(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| Unusable::file(path, "it is not UTF-8"))?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    Config::parse(&text, base).map_err(|report| {
        let name: String = path.display().to_string().escape_debug().collect();
        Unusable::Config(Box::new(report.named(&name)))
    })
}

fn standard(
    args: &AndroidArgs,
    config: Option<&Config>,
    err: &mut dyn Write,
) -> Result<Standard, Unusable> {
    let (Some(config), Some(id)) = (config, &args.app) else {
        return Ok(Standard::unsaid());
    };
    let Some(app) = config.apps.get(id) else {
        let known: Vec<&str> = config.apps.keys().map(AppId::as_str).collect();
        let known = known.join(", ");
        let why = format!("the configuration has no app {id}; its apps are {known}");
        return Err(Unusable::Argument(why));
    };
    if app.standing == Standing::Disabled {
        let note = Reason::AppDisabled;
        writeln!(
            err,
            "note: the app {id} is disabled; a registration is refused with {note}"
        )?;
    }
    Ok(Standard::of_app(app))
}

fn android_roots(args: &AndroidArgs, config: Option<&Config>) -> Result<AndroidRoots, Unusable> {
    let read = |paths: &[_]| {
        AndroidRoots::from_pem(&input::roots(paths)?)
            .map_err(|error| Unusable::Argument(format!("the roots: {error}")))
    };
    let configured = config.map_or(&[][..], |config| &config.attestation.android_roots);
    match (args.roots.as_slice(), configured) {
        ([], []) => Ok(AndroidRoots::google()),
        ([], configured) => Ok(AndroidRoots::google().and(read(configured)?)),
        (given, _) => read(given),
    }
}

fn status_list(
    args: &AndroidArgs,
    config: Option<&Config>,
) -> Result<Option<StatusList>, Unusable> {
    // A list that is fetched is not at hand here.
    let configured = match config.map(|config| &config.attestation.status_list) {
        Some(StatusListConfig::File(file)) => Some(&file.path),
        Some(StatusListConfig::Feed(_) | StatusListConfig::Missing(_)) | None => None,
    };
    args.status_list
        .as_ref()
        .or(configured)
        .map(|path| {
            let json = input::read(path, STATUS_LIST_BYTES_MAX)?;
            StatusList::parse(&json).map_err(|error| Unusable::file(path, error))
        })
        .transpose()
}

fn own_list(config: Option<&Config>) -> Result<Option<OwnList>, Unusable> {
    let path = config.and_then(|config| config.attestation.own_list.as_ref());
    path.map(|path| {
        let text = input::read(path, STATUS_LIST_BYTES_MAX)?;
        OwnList::parse(&text).map_err(|error| Unusable::file(path, error))
    })
    .transpose()
}

pub(super) fn apple(args: &AppleArgs, now: Timestamp) -> Result<Finding, Unusable> {
    let at = args.at.unwrap_or(now);
    let apple = if args.roots.is_empty() {
        AppleRoots::apple()
    } else {
        AppleRoots::from_pem(&input::roots(&args.roots)?)
            .map_err(|error| Unusable::Argument(format!("the roots: {error}")))?
    };
    let roots = Roots {
        apple,
        ..Roots::default()
    };
    let hash = client_data_hash(&args.client_data)?;
    let object = input::object(&args.object)?;
    let attestation = match Attestation::new(object, args.key_id.0.clone()) {
        Ok(attestation) => attestation,
        Err(error) => {
            let why = (error.reason(), None, error.to_string());
            return Ok(Finding::unread(Kind::AppAttestation, why, at));
        }
    };
    let app = AppIdentity {
        android: None,
        apple: Some(app(&args.app, args.environment.into())),
    };
    let given = Given {
        binding: Some(&hash),
        app: Some(&app),
        attest_keys: AttestKeys::Refuse,
    };
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let mut examination = examine(&Evidence::Apple(attestation), given, trust, at);
    let seen = format!("hash {}", HEXLOWER.encode(&hash));
    examination.checks.not_checked("client_data", seen);
    let standard = Standard {
        device_key: DeviceKey::Wanted,
        ..Standard::unsaid()
    };
    Ok(Finding::of(Kind::AppAttestation, examination, &standard))
}

pub(super) fn assertion(args: &AssertionArgs, now: Timestamp) -> Result<Finding, Unusable> {
    let key = PublicKey::from_sec1(&args.public_key.0).map_err(|_| {
        let why = "--public-key is no uncompressed point of P-256 (65 bytes, beginning with 04)";
        Unusable::Argument(why.to_owned())
    })?;
    let hash = client_data_hash(&args.client_data)?;
    let object = input::object(&args.object)?;
    // An assertion has no environment to compare this one with.
    let app = app(&args.app, Environment::Production);
    let signer = assertion::Signer {
        key: &key,
        app: &app,
        counter_after: args.last_counter,
    };
    let examination = assertion::verify(&object, &hash, &signer);
    let finding = Finding {
        kind: Kind::AppAssertion,
        checks: examination.checks,
        certificates: Vec::new(),
        key: Some(AttestedKey::P256(key)),
        told: examination.facts.map(Told::Assertion),
        at: now,
    };
    Ok(finding.readable())
}

fn client_data_hash(args: &ClientDataArgs) -> Result<Vec<u8>, Unusable> {
    match (&args.client_data_hash, &args.client_data) {
        (Some(hash), _) => Ok(hash.0.clone()),
        (None, Some(path)) => Ok(sha256(&input::read(path, FILE_BYTES_MAX)?).to_vec()),
        (None, None) => Err(Unusable::Argument("no client data is given".to_owned())),
    }
}

fn app(args: &AppleAppArgs, environment: Environment) -> AppleApp {
    AppleApp {
        team_id: args.team_id.clone(),
        bundle_id: args.bundle_id.clone(),
        environment,
    }
}
