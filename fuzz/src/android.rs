//! Android: whole chains, and the key description inside one.

use std::path::Path;
use std::sync::LazyLock;

use assay::attestation::android::Chain;
use assay::attestation::roots::{AndroidRoots, Roots};
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    AndroidApp, AppIdentity, Evidence, Examination, Facts, Given, Trust, examine,
};
use assay::simulator::android::{Boot, Options, Phone, Provisioning, SecurityLevel};
use assay::simulator::{Authorities, SoftKey};

use super::make::{
    self, CHALLENGE, NOW, PACKAGE, SIGNER, Subject, authority, edited, extension, files, has,
    joined, key, parts, pem, presentable, signing_only,
};

const KEY_DESCRIPTION: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 17];

/// One more than a chain may have.
const CERTIFICATES_MAX: usize = 7;

static APP: LazyLock<AppIdentity> = LazyLock::new(|| AppIdentity {
    android: Some(AndroidApp {
        package_name: PACKAGE.to_owned(),
        signing_certificate_sha256: vec![SIGNER],
        shared_uid_packages: Vec::new(),
    }),
    apple: None,
});

/// Examines twice, which has to come to the same, and tells what was seen.
fn look(certificates: Vec<Vec<u8>>, roots: &Roots) -> Option<Examination> {
    let bytes = certificates.iter().map(Vec::len).sum();
    let evidence = Evidence::Android(Chain::from_der(certificates).ok()?);
    let list = StatusList::empty();
    let trust = Trust {
        roots,
        status_list: Some(&list),
        own_list: None,
    };
    let given = Given {
        binding: Some(CHALLENGE),
        app: Some(&APP),
        ..Given::default()
    };
    let first = examine(&evidence, given, trust, *NOW);
    let second = examine(&evidence, given, trust, *NOW);
    assert_eq!(first.checks, second.checks);
    presentable(&first.checks, bytes);
    for certificate in &first.certificates {
        make::readable(&certificate.subject);
        make::readable(&certificate.issuer);
        assert!(!certificate.serial.is_empty());
    }
    Some(first)
}

/// Genuine chains of software phones, and the roots behind them.
struct Phones {
    chains: Vec<Vec<Vec<u8>>>,
    roots: Roots,
}

static PHONES: LazyLock<Phones> = LazyLock::new(|| {
    let authorities = Authorities::generate(*NOW).unwrap();
    let tee = Options::well_kept(PACKAGE, SIGNER, *NOW);
    let factory = Options {
        provisioning: Provisioning::Factory,
        security_level: SecurityLevel::StrongBox,
        ..tee.clone()
    };
    let unlocked = Options {
        boot: Boot::Unlocked,
        attestation_version: 4,
        ..tee.clone()
    };
    let chain = |options| {
        let phone = Phone::new(&authorities, options, *NOW).unwrap();
        phone.attest(CHALLENGE, *NOW).unwrap().certificate_chain
    };
    Phones {
        chains: [tee, factory, unlocked].map(chain).into(),
        roots: Roots {
            android: AndroidRoots::from_pem(&authorities.android_root_pem())
                .unwrap()
                .and(AndroidRoots::google()),
            ..Roots::default()
        },
    }
});

/// The first byte says what the rest is: a chain, changes to a genuine one, or PEM.
pub(crate) fn chain(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 3 {
        0 => foreign_chain(parts(rest, CERTIFICATES_MAX)),
        1 => changed_chain(rest),
        _ => pem_chain(rest),
    }
}

/// Nobody can make a chain for this challenge but those who have the phone.
fn foreign_chain(certificates: Vec<Vec<u8>>) -> bool {
    let genuine = &PHONES.chains;
    if genuine
        .iter()
        .any(|chain| same_below_root(chain, &certificates))
    {
        return false;
    }
    let examination = look(certificates, &PHONES.roots);
    assert!(examination.is_none_or(|examination| examination.into_attested().is_err()));
    false
}

/// Whether only the root differs or is missing: it carries a pinned key, and nothing in it is signed
/// by anyone else.
fn same_below_root(genuine: &[Vec<u8>], other: &[Vec<u8>]) -> bool {
    let below = &genuine[..genuine.len() - 1];
    other.starts_with(below) && other.len() <= genuine.len()
}

fn changed_chain(bytes: &[u8]) -> bool {
    let Some((&[which, index, how], edits)) = bytes.split_first_chunk::<3>() else {
        return false;
    };
    let genuine = &PHONES.chains[usize::from(which) % PHONES.chains.len()];
    let mut chain = genuine.clone();
    let at = usize::from(index) % chain.len();
    match how % 5 {
        0 => chain[at] = edited(&chain[at], edits),
        1 => drop(chain.remove(at)),
        2 => chain.insert(at, edited(&genuine[at], edits)),
        3 => chain.swap(0, at),
        // Of another phone.
        _ => chain[at] = PHONES.chains[0][at.min(PHONES.chains[0].len() - 1)].clone(),
    }
    let same = same_below_root(genuine, &chain) || same_below_root(&PHONES.chains[0], &chain);
    let accepted = look(chain, &PHONES.roots).is_some_and(|examination| {
        let verdict = examination.into_attested();
        verdict.is_ok()
    });
    assert!(!accepted || same, "a changed chain is accepted");
    accepted
}

fn pem_chain(bytes: &[u8]) -> bool {
    let Some(chain) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Chain::from_pem(text).ok())
    else {
        return false;
    };
    let certificates: Vec<Vec<u8>> = chain.certificates().map(<[u8]>::to_vec).collect();
    let again: String = certificates.iter().map(|der| pem(der)).collect();
    let again = Chain::from_pem(&again).expect("what was read can be written and read");
    assert!(
        again
            .certificates()
            .eq(certificates.iter().map(Vec::as_slice))
    );
    foreign_chain(certificates);
    true
}

pub(crate) fn chain_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (which, chain) in PHONES.chains.iter().enumerate() {
        let which = u8::try_from(which).unwrap();
        seeds.push([vec![0], joined(chain)].concat());
        seeds.push(vec![1, which, 0, 0]);
        seeds.push(vec![1, which, 1, 0, 0, 40, 0, 1]);
        seeds.push(vec![1, which, 2, 1]);
        seeds.push(vec![1, which, 0, 2]);
        let text: String = chain.iter().map(|der| pem(der)).collect();
        seeds.push([&[2], text.as_bytes()].concat());
    }
    seeds
}

pub(crate) fn real_chains(vectors: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for text in files(&vectors.join("android"), ".pem") {
        let chain = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Chain::from_pem(text).ok());
        if let Some(chain) = chain {
            let certificates: Vec<Vec<u8>> = chain.certificates().map(<[u8]>::to_vec).collect();
            seeds.push([vec![0], joined(&certificates)].concat());
        }
        seeds.push([vec![2], text].concat());
    }
    seeds
}

/// An attestation key with what is above it: whatever it signs is a genuine chain.
struct Attester {
    attestation: SoftKey,
    leaf: SoftKey,
    above: Vec<Vec<u8>>,
    roots: Roots,
}

static ATTESTER: LazyLock<Attester> = LazyLock::new(|| {
    let [root, middle, attestation, leaf] = [key(), key(), key(), key()];
    let certificate = |serial, name, key, issuer, signer| {
        let subject = Subject {
            serial,
            name,
            key,
            extensions: &authority(),
        };
        subject.issued_by(issuer, signer)
    };
    let root_der = certificate(3, "cc", &root, "cc", &root);
    Attester {
        above: vec![
            certificate(1, "aa", &attestation, "bb", &middle),
            certificate(2, "bb", &middle, "cc", &root),
            root_der.clone(),
        ],
        roots: Roots {
            android: AndroidRoots::from_pem(&pem(&root_der)).unwrap(),
            ..Roots::default()
        },
        attestation,
        leaf,
    }
});

/// What genuine hardware would have attested with this for its content.
pub(crate) fn key_description(data: &[u8]) -> bool {
    let attester = &*ATTESTER;
    let leaf = Subject {
        serial: 4,
        name: "dd",
        key: &attester.leaf,
        extensions: &[signing_only(), extension(KEY_DESCRIPTION, data)],
    };
    let mut chain = vec![leaf.issued_by("aa", &attester.attestation)];
    chain.extend(attester.above.iter().cloned());
    let Some(examination) = look(chain, &attester.roots) else {
        return false;
    };
    let failed = |name: &str| {
        let checks = examination.checks.as_slice();
        checks
            .iter()
            .any(|check| check.name == name && check.outcome != assay::attestation::Outcome::Passed)
    };
    for outside in [
        "structure",
        "extensions",
        "attestation_position",
        "root",
        "signatures",
        "shape",
        "dates",
    ] {
        assert!(!failed(outside), "the surroundings are wrong: {outside}");
    }
    let Ok(attested) = examination.into_attested() else {
        return false;
    };
    let Facts::Android(facts) = attested.facts() else {
        panic!("Apple facts from an Android chain");
    };
    let description = &facts.key_description;
    assert_eq!(description.attestation_challenge, CHALLENGE);
    // Not by the reader's word alone.
    for wanted in [CHALLENGE, PACKAGE.as_bytes(), &SIGNER] {
        assert!(has(data, wanted));
    }
    true
}

/// The key descriptions in certificates: what stands behind the extension's name.
fn descriptions(chains: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let name = make::tlv(6, KEY_DESCRIPTION);
    let mut found = Vec::new();
    for certificate in chains.into_iter().flatten() {
        let at = certificate
            .windows(name.len())
            .position(|window| window == name);
        let Some(rest) = at.and_then(|at| certificate.get(at + name.len()..)) else {
            continue;
        };
        let (length, rest) = match rest {
            [4, 0x82, high, low, rest @ ..] => {
                (usize::from(u16::from_be_bytes([*high, *low])), rest)
            }
            [4, 0x81, length, rest @ ..] | [4, length, rest @ ..] => (usize::from(*length), rest),
            _ => continue,
        };
        found.extend(rest.get(..length).map(<[u8]>::to_vec));
    }
    found
}

pub(crate) fn key_description_seeds() -> Vec<Vec<u8>> {
    let mut seeds = descriptions(PHONES.chains.clone());
    let cut = seeds.first().map(|first| first[..first.len() - 1].to_vec());
    seeds.extend(cut);
    seeds
}

pub(crate) fn real_key_descriptions(vectors: &Path) -> Vec<Vec<u8>> {
    let texts = files(&vectors.join("android"), ".pem");
    let chains = texts.iter().filter_map(|text| {
        let chain = Chain::from_pem(std::str::from_utf8(text).ok()?).ok()?;
        Some(chain.certificates().map(<[u8]>::to_vec).collect())
    });
    descriptions(chains.collect::<Vec<_>>())
}
