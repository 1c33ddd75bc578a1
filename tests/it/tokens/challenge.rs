//! Challenges.

use std::time::Duration;

use assay::id::{AppId, Subject};
use assay::reason::Reason;
use assay::time::Timestamp;
use assay::token::challenge::{
    CHALLENGE_BYTES, ChallengeClaims, ChallengeExpectation, ChallengePurpose, ChallengeRefusal,
    VerifiedChallenge, mint, verify,
};
use assay::token::keyring::Keyring;

use super::support::{NOW, keyring, rotation};

struct Case {
    app: AppId,
    subject: Subject,
    purpose: ChallengePurpose,
}

fn case() -> Case {
    Case {
        app: "app".parse().unwrap(),
        subject: "user-1".parse().unwrap(),
        purpose: ChallengePurpose::Register,
    }
}

fn end() -> Timestamp {
    NOW.after(Duration::from_secs(300))
}

impl Case {
    fn mint(&self, keyring: &Keyring, subject: Option<&Subject>) -> Vec<u8> {
        let claims = ChallengeClaims {
            purpose: self.purpose,
            app: &self.app,
            subject,
            expires_at: end(),
        };
        mint(keyring, &claims, [3; 16])
    }

    fn verify(
        &self,
        keyring: &Keyring,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<VerifiedChallenge, ChallengeRefusal> {
        let expect = ChallengeExpectation {
            purpose: self.purpose,
            app: &self.app,
            subject: &self.subject,
        };
        verify(keyring, bytes, &expect, now)
    }
}

#[test]
fn a_challenge_is_good_for_what_it_was_made_for() {
    let keyring = keyring();
    let case = case();
    for subject in [None, Some(&case.subject)] {
        let bytes = case.mint(&keyring, subject);
        assert_eq!(bytes.len(), CHALLENGE_BYTES);
        let verified = case.verify(&keyring, &bytes, NOW).unwrap();
        assert_eq!(verified.id(), &assay::key::sha256(&bytes));
        assert_eq!(verified.expires_at(), end());
    }
}

#[test]
fn it_is_bound_to_its_subject_only_where_it_was_made_for_one() {
    let keyring = keyring();
    let minted_for = case();
    let other = Case {
        subject: "user-2".parse().unwrap(),
        ..case()
    };
    let bound = minted_for.mint(&keyring, Some(&minted_for.subject));
    assert_eq!(
        other.verify(&keyring, &bound, NOW),
        Err(ChallengeRefusal::Forged)
    );
    let free = minted_for.mint(&keyring, None);
    assert!(other.verify(&keyring, &free, NOW).is_ok());
}

#[test]
fn it_is_for_one_purpose_and_app() {
    let keyring = keyring();
    let bytes = case().mint(&keyring, None);
    let mut for_another_purpose = bytes.clone();
    for_another_purpose[1] ^= 2;
    assert_eq!(
        case().verify(&keyring, &for_another_purpose, NOW),
        Err(ChallengeRefusal::WrongPurpose)
    );
    let other = Case {
        app: "ap".parse().unwrap(),
        ..case()
    };
    assert_eq!(
        other.verify(&keyring, &bytes, NOW),
        Err(ChallengeRefusal::Forged)
    );
}

#[test]
fn it_expires_and_then_looks_like_any_bad_one() {
    let keyring = keyring();
    let bytes = case().mint(&keyring, None);
    let last = Timestamp::from_millis(end().as_millis() - 1);
    assert!(case().verify(&keyring, &bytes, last).is_ok());
    let refusal = case().verify(&keyring, &bytes, end()).unwrap_err();
    assert_eq!(refusal, ChallengeRefusal::Expired);
    assert_eq!(refusal.reason(), Reason::ChallengeInvalid);
}

#[test]
fn rotation_keeps_older_challenges_valid() {
    let fleet = rotation();
    let bytes = case().mint(&fleet.before, None);
    assert!(case().verify(&fleet.during, &bytes, NOW).is_ok());
    let gone = case().verify(&fleet.after, &bytes, NOW);
    assert_eq!(gone, Err(ChallengeRefusal::UnknownKey));
}

#[test]
fn no_corruption_is_accepted() {
    let keyring = keyring();
    for subject in [None, Some(&case().subject)] {
        let bytes = case().mint(&keyring, subject);
        for length in 0..bytes.len() {
            let refusal = case().verify(&keyring, &bytes[..length], NOW);
            assert_eq!(refusal, Err(ChallengeRefusal::Malformed));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let refusal = case().verify(&keyring, &longer, NOW);
        assert_eq!(refusal, Err(ChallengeRefusal::Malformed));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(case().verify(&keyring, &bad, NOW).is_err(), "bit {bit}");
        }
    }
}
