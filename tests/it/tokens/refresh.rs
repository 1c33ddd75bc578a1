//! Refresh tokens.

use std::time::Duration;

use assay::id::{Bucket, DeviceId, SessionId};
use assay::key::Thumbprint;
use assay::reason::Reason;
use assay::time::Timestamp;
use assay::token::keyring::Keyring;
use assay::token::refresh::{RefreshClaims, RefreshMintError, TOKEN_BYTES, mint, parse};
use assay::token::{KeyTag, Purpose, TokenRefusal};
use proptest::prelude::*;

use super::support::{NOW, corruptions, keyring, respellings, rotation};

const KEY: Thumbprint = Thumbprint::from_bytes([5; 32]);

fn claims() -> RefreshClaims {
    RefreshClaims {
        session: SessionId::new(Bucket::new(700).unwrap(), [0xab; 16]),
        device: DeviceId::new(Bucket::new(700).unwrap(), [0xcd; 16]),
        subject: [0xef; 32],
        app: [9; 8],
        generation: 7,
        session_ends_at: NOW.after(Duration::from_secs(86_400)),
    }
}

fn tag(keyring: &Keyring) -> KeyTag {
    keyring.secret(Purpose::RefreshToken).0
}

fn token(keyring: &Keyring, claims: &RefreshClaims) -> String {
    let token = mint(keyring, claims, &KEY, tag(keyring)).unwrap();
    token.expose().clone()
}

fn check(keyring: &Keyring, token: &str, key: &Thumbprint) -> Result<RefreshClaims, TokenRefusal> {
    let verified = parse(token)?.verify(keyring, key, NOW)?;
    Ok(*verified.claims())
}

#[test]
fn the_same_claims_give_the_same_token_also_after_a_rotation_of_secrets() {
    let fleet = rotation();
    let noted = tag(&fleet.before);
    let first = token(&fleet.before, &claims());
    let again = mint(&fleet.during, &claims(), &KEY, noted).unwrap();
    assert_eq!(&first, again.expose());
    assert_ne!(first, token(&fleet.during, &claims()));
    let verified = parse(&first)
        .unwrap()
        .verify(&fleet.during, &KEY, NOW)
        .unwrap();
    assert_eq!(verified.key(), &KEY);
}

#[test]
fn a_removed_secret_ends_its_tokens() {
    let fleet = rotation();
    let old = token(&fleet.before, &claims());
    assert_eq!(check(&fleet.during, &old, &KEY), Ok(claims()));
    let refusal = check(&fleet.after, &old, &KEY).unwrap_err();
    assert_eq!(refusal, TokenRefusal::UnknownKey);
    assert_eq!(refusal.reason(), Reason::TokenInvalid);
    let unknown = mint(&fleet.after, &claims(), &KEY, tag(&fleet.before)).unwrap_err();
    assert_eq!(unknown, RefreshMintError::UnknownKey(tag(&fleet.before)));
}

#[test]
fn it_is_useless_with_another_key() {
    let keyring = keyring();
    let token = token(&keyring, &claims());
    for byte in 0..32 {
        let mut other = *KEY.as_bytes();
        other[byte] ^= 1;
        let refusal = check(&keyring, &token, &Thumbprint::from_bytes(other)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::TokenInvalid);
    }
}

#[test]
fn no_corruption_is_accepted() {
    let keyring = keyring();
    let token = token(&keyring, &claims());
    let respelled = respellings(&token);
    assert!(!respelled.is_empty());
    for bad in corruptions(&token).iter().chain(&respelled) {
        let refusal = check(&keyring, bad, &KEY).unwrap_err();
        assert_eq!(refusal.reason(), Reason::TokenInvalid, "{bad}");
    }
    for bad in respelled {
        assert_eq!(parse(&bad).map(|_| ()), Err(TokenRefusal::Malformed));
    }
}

#[test]
fn the_end_of_the_session_is_inside_the_mac() {
    let keyring = keyring();
    let over = RefreshClaims {
        session_ends_at: NOW,
        ..claims()
    };
    let ended = token(&keyring, &over);
    let refusal = check(&keyring, &ended, &KEY).unwrap_err();
    assert_eq!(refusal, TokenRefusal::SessionOver);
    assert_eq!(refusal.reason(), Reason::SessionExpiredAbsolute);
    let stranger = Thumbprint::from_bytes([6; 32]);
    assert_eq!(
        check(&keyring, &ended, &stranger),
        Err(TokenRefusal::Forged)
    );

    // The body of a longer-lived token with the MAC of the ended one.
    let alive = token(&keyring, &claims());
    let spliced = format!(
        "{}.{}",
        alive.rsplit_once('.').unwrap().0,
        ended.rsplit_once('.').unwrap().1
    );
    assert_eq!(check(&keyring, &spliced, &KEY), Err(TokenRefusal::Forged));
}

#[test]
fn a_time_before_1970_is_not_written() {
    let keyring = keyring();
    let absurd = RefreshClaims {
        session_ends_at: Timestamp::from_millis(-1),
        ..claims()
    };
    let refusal = mint(&keyring, &absurd, &KEY, tag(&keyring)).unwrap_err();
    assert_eq!(refusal, RefreshMintError::Time);
}

#[test]
fn debug_does_not_show_the_token() {
    let keyring = keyring();
    let token = token(&keyring, &claims());
    let shown = format!("{:?}", parse(&token).unwrap());
    assert!(!shown.contains(token.rsplit('.').next().unwrap()));
}

proptest! {
    #[test]
    fn every_claim_goes_there_and_back(
        bucket in 0_u16..1024,
        unique: [u8; 16],
        generation: u32,
        ends_in in 1_i64..i64::MAX / 2,
        key: [u8; 32],
    ) {
        let keyring = keyring();
        let claims = RefreshClaims {
            session: SessionId::new(Bucket::new(bucket).unwrap(), unique),
            device: DeviceId::new(Bucket::new(bucket).unwrap(), unique),
            subject: key,
            app: [7; 8],
            generation,
            session_ends_at: Timestamp::from_millis(NOW.as_millis() + ends_in),
        };
        let key = Thumbprint::from_bytes(key);
        let token = mint(&keyring, &claims, &key, tag(&keyring)).unwrap();
        prop_assert_eq!(token.expose().len(), TOKEN_BYTES);
        prop_assert_eq!(check(&keyring, token.expose(), &key), Ok(claims));
    }

    #[test]
    fn arbitrary_text_is_refused_without_a_panic(text in "asr1\\.[A-Za-z0-9_-]{123}\\.[A-Za-z0-9_-]{43}|\\PC{0,120}") {
        prop_assert!(check(&keyring(), &text, &KEY).is_err());
    }
}
