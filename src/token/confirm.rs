//! Confirm tokens: one caller proposes a cut of many sessions, another has to confirm it.
//!
//! version ‖ expiry ‖ the instant wanted ‖ key tag ‖ HMAC(all of that ‖ of which app ‖ proposer) ‖ proposer,
//! as base64url. Stateless, as challenges are: it may be presented again until it is over, because what
//! it allows is the same every time. Whose sessions it is about is not in it: whoever confirms has to
//! say that, and so knows it.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use super::keyring::Keyring;
use super::{KeyTag, Purpose};
use crate::id::AppId;
use crate::secret::Secret;
use crate::time::Timestamp;

/// How long a proposal can be confirmed: long enough to hand it to somebody, too short to be forgotten.
pub const CONFIRM_FOR: Duration = Duration::from_secs(600);

/// Longest proposer, in bytes: callers are known by names in certificates, which are shorter.
const PROPOSER_BYTES_MAX: usize = 2048;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 21;
const MAC_BYTES: usize = 32;

/// What is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposed<'a> {
    /// Of which app the sessions are; `None`: of every app.
    pub app: Option<&'a AppId>,
    /// Those opened until this instant.
    pub not_before: Timestamp,
    /// Who proposes it.
    pub proposer: &'a str,
}

/// The token does not confirm this: it is not ours, is over, or is for another target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the confirm token is not one of ours for this, or is over")]
pub struct NotConfirmed;

/// A proposal of ours, not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProposal {
    not_before: Timestamp,
    proposer: String,
}

impl VerifiedProposal {
    /// Sessions opened until this instant.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Who proposed it.
    #[must_use]
    pub fn proposer(&self) -> &str {
        &self.proposer
    }
}

/// Makes the token of a proposal.
#[must_use]
pub fn mint(keyring: &Keyring, proposed: &Proposed<'_>, expires_at: Timestamp) -> Secret<String> {
    let (tag, subkey) = keyring.secret(Purpose::Confirm);
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&expires_at.as_millis().to_be_bytes());
    bytes.extend_from_slice(&proposed.not_before.as_millis().to_be_bytes());
    bytes.extend_from_slice(tag.as_bytes());
    let proposer = proposed.proposer.as_bytes();
    let [reach, app] = reach(proposed.app);
    let mac = subkey.mac(&[&bytes, reach, app, proposer]);
    bytes.extend_from_slice(&mac);
    bytes.extend_from_slice(proposer);
    Secret::new(BASE64URL_NOPAD.encode(&bytes))
}

/// Checks a token that is presented for the sessions of an app, or of every app.
///
/// # Errors
/// [`NotConfirmed`]
pub fn verify(
    keyring: &Keyring,
    token: &str,
    app: Option<&AppId>,
    now: Timestamp,
) -> Result<VerifiedProposal, NotConfirmed> {
    let bytes = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .map_err(|_| NotConfirmed)?;
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(NotConfirmed)?;
    let (mac, proposer) = rest.split_first_chunk::<MAC_BYTES>().ok_or(NotConfirmed)?;
    let (&[version], times) = header.split_first_chunk::<1>().ok_or(NotConfirmed)?;
    let (expires_at, times) = times.split_first_chunk::<8>().ok_or(NotConfirmed)?;
    let (not_before, tag) = times.split_first_chunk::<8>().ok_or(NotConfirmed)?;
    let tag: &[u8; 4] = tag.try_into().map_err(|_| NotConfirmed)?;
    if version != VERSION || proposer.len() > PROPOSER_BYTES_MAX {
        return Err(NotConfirmed);
    }
    let [reach, app] = reach(app);
    keyring
        .find(Purpose::Confirm, KeyTag::from_bytes(*tag))
        .ok_or(NotConfirmed)?
        .verify_mac(&[header, reach, app, proposer], mac)
        .map_err(|_| NotConfirmed)?;
    if now >= Timestamp::from_millis(i64::from_be_bytes(*expires_at)) {
        return Err(NotConfirmed);
    }
    Ok(VerifiedProposal {
        not_before: Timestamp::from_millis(i64::from_be_bytes(*not_before)),
        proposer: String::from_utf8(proposer.to_vec()).map_err(|_| NotConfirmed)?,
    })
}

/// Of which app, as the MAC covers it.
fn reach(app: Option<&AppId>) -> [&[u8]; 2] {
    match app {
        Some(app) => [b"app", app.as_str().as_bytes()],
        None => [b"everything", b""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_directory::generate_files;

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn keyring() -> Keyring {
        Keyring::from_pem(&generate_files(now()).unwrap()).unwrap()
    }

    fn bank() -> AppId {
        "bank".parse().unwrap()
    }

    fn proposed(app: Option<&AppId>) -> Proposed<'_> {
        Proposed {
            app,
            not_before: now().before(CONFIRM_FOR),
            proposer: "spiffe://example/alice",
        }
    }

    #[test]
    fn a_proposal_is_read_as_it_was_made_until_it_is_over() {
        let (keyring, bank) = (keyring(), bank());
        for app in [None, Some(&bank)] {
            let token = mint(&keyring, &proposed(app), now().after(CONFIRM_FOR));
            let read = |at| verify(&keyring, token.expose(), app, at);
            let last = now().after(CONFIRM_FOR).before(Duration::from_millis(1));
            let seen = read(last).unwrap();
            assert_eq!(seen.proposer(), "spiffe://example/alice");
            assert_eq!(seen.not_before(), now().before(CONFIRM_FOR));
            assert_eq!(read(now().after(CONFIRM_FOR)), Err(NotConfirmed));
        }
    }

    #[test]
    fn a_proposal_is_good_for_its_target_alone() {
        let (keyring, bank) = (keyring(), bank());
        let other = "shop".parse().unwrap();
        let targets = [None, Some(&bank), Some(&other)];
        for made in targets {
            let token = mint(&keyring, &proposed(made), now().after(CONFIRM_FOR));
            for presented in targets {
                let seen = verify(&keyring, token.expose(), presented, now());
                assert_eq!(seen.is_ok(), made == presented);
            }
        }
    }

    #[test]
    fn no_byte_of_a_proposal_can_be_changed_and_no_other_key_makes_one() {
        let keyring = keyring();
        let token = mint(&keyring, &proposed(None), now().after(CONFIRM_FOR));
        let bytes = BASE64URL_NOPAD.decode(token.expose().as_bytes()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = BASE64URL_NOPAD.encode(&changed);
            assert_eq!(verify(&keyring, &text, None, now()), Err(NotConfirmed));
            let cut = BASE64URL_NOPAD.encode(&bytes[..at]);
            assert_eq!(verify(&keyring, &cut, None, now()), Err(NotConfirmed));
        }
        let longer = BASE64URL_NOPAD.encode(&[&bytes[..], b"a"].concat());
        assert_eq!(verify(&keyring, &longer, None, now()), Err(NotConfirmed));
        let elsewhere = self::keyring();
        let seen = verify(&elsewhere, token.expose(), None, now());
        assert_eq!(seen, Err(NotConfirmed));
    }
}
