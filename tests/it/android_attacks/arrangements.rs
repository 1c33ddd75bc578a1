//! Every arrangement of what somebody with a genuine phone has in hand: nothing but what the phone's
//! hardware has attested is ever accepted.

use std::collections::BTreeSet;

use super::*;

/// A certificate in hand, by a name, and whether the hardware attests the key in it as a device's.
struct InHand {
    name: &'static str,
    der: Vec<u8>,
    attested: bool,
}

/// What somebody has who may use `signing` (attested) and a key of his own, but not the attest key,
/// which only the hardware uses.
fn in_hand(chain: &Forge) -> Vec<InHand> {
    let [signing, attestation_certificate] = &chain.certificates[..2] else {
        panic!("a chain begins with two certificates");
    };
    let root = chain.certificates.last().unwrap();
    let attest_key = attest_key(&KeyDescription::attest_key());
    let described = |description: &KeyDescription, subject| {
        let mut certificate = Certificate::new(subject, 7);
        certificate.extensions = vec![attestation(description)];
        certificate
    };
    let name = || common_name("Android Keystore Key");
    let invented = described(&genuine(), name());
    let invented_attest_key = described(&KeyDescription::attest_key(), name());
    let own_authority = Certificate::new(attestation_certificate.subject.clone(), 7);
    let own_root = Certificate::new(root.subject.clone(), 7);
    let mut shown_root = Certificate::new(root.subject.clone(), 7);
    shown_root.spki = Some(root.spki());
    let below_attest_key = described(&genuine(), name());
    let fake = |name, der| InHand {
        name,
        der,
        attested: false,
    };
    let mut hand = vec![
        fake("an invented leaf", invented.der(signing)),
        fake(
            "an invented leaf below the attest key",
            invented.der(&invented_attest_key),
        ),
        fake(
            "an invented leaf below an authority",
            invented.der(&own_authority),
        ),
        fake("an invented attest key", invented_attest_key.der(signing)),
        fake("an authority", own_authority.der(signing)),
        fake(
            "an authority below a root of one's own",
            own_authority.der(&own_root),
        ),
        fake("a root of one's own", own_root.der(&own_root)),
        fake(
            "a root that shows the pinned key",
            shown_root.der(&shown_root),
        ),
        fake("the attest key", attest_key.der(attestation_certificate)),
    ];
    for (name, certificate, issuer) in [
        ("the signing key", signing, attestation_certificate),
        ("a key below the attest key", &below_attest_key, &attest_key),
    ] {
        let der = certificate.der(issuer);
        let attested = true;
        hand.push(InHand {
            name,
            der,
            attested,
        });
    }
    hand
}

/// All lists of up to `length` of `count` things.
fn arrangements(count: usize, length: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..length {
        let longer = |list: &Vec<usize>| {
            let list = list.clone();
            (0..count).map(move |next| [list.as_slice(), &[next]].concat())
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// What comes first in the chains that are accepted.
fn accepted(chain: &Forge, length: usize, attest_keys: AttestKeys) -> BTreeSet<&'static str> {
    let hand = in_hand(chain);
    let genuine = chain.der();
    let roots = chain.roots();
    let (list, app) = (StatusList::empty(), app());
    let mut found = BTreeSet::new();
    let ends = (1..=genuine.len()).flat_map(|from| {
        let without_root = &genuine[from..genuine.len().max(from + 1) - 1];
        [&genuine[from..], without_root]
    });
    let ends: BTreeSet<&[Vec<u8>]> = ends.collect();
    for arrangement in arrangements(hand.len(), length) {
        let front: Vec<&InHand> = arrangement.iter().map(|index| &hand[*index]).collect();
        for end in &ends {
            let sent: Vec<Vec<u8>> = front.iter().map(|one| one.der.clone()).collect();
            let Ok(chain) = Chain::from_der([&sent, *end].concat()) else {
                continue;
            };
            let expectation = Expectation {
                binding: CHALLENGE,
                app: &app,
                attest_keys,
            };
            let trust = Trust {
                roots: &roots,
                status_list: Some(&list),
                own_list: None,
            };
            let evidence = Evidence::Android(chain);
            if attestation::verify(&evidence, expectation, trust, now()).is_ok() {
                let names: Vec<&str> = front.iter().map(|one| one.name).collect();
                let first = front.first();
                assert!(first.is_some_and(|first| first.attested), "{names:?}");
                found.extend(names.first());
            }
        }
    }
    found
}

#[test]
fn no_arrangement_of_what_a_phone_gives_away_is_accepted_as_another_device() {
    let short = factory_with(|f| drop(f.certificates.remove(2)));
    // The shorter the genuine part, the more room there is in front of it.
    for (chain, length) in [
        (short, 3),
        (factory_with(|_| {}), 2),
        (remote_with(|_| {}), 2),
    ] {
        let refusing = accepted(&chain, length, AttestKeys::Refuse);
        assert_eq!(refusing, BTreeSet::from(["the signing key"]));
        let allowing = accepted(&chain, length, AttestKeys::Allow);
        let both = ["a key below the attest key", "the signing key"];
        assert_eq!(allowing, BTreeSet::from(both));
    }
}
