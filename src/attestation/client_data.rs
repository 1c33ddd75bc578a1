//! The client data of App Attest: what the attested app vouches for.
//!
//! Apple attests one key that can only make assertions. The app therefore names, in the bytes whose
//! hash Apple or that key signs, the challenge, the purpose, the app and the session key that will
//! sign proofs. The bytes are hashed as received and parsed afterwards, strictly.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer};

use super::Checks;
use crate::id::AppId;
use crate::key::Thumbprint;
use crate::reason::Reason;

/// Longest client data, in bytes: the four members need less than half of it.
pub const CLIENT_DATA_BYTES_MAX: usize = 1024;

/// What client data was signed for. What is signed for one purpose is refused for every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Purpose {
    /// `register`: in the attestation of a key that is new here.
    Register,
    /// `reattest`: in a further attestation for a registered device.
    Reattest,
    /// `bind-key`: in an assertion that gives a registered device another session key.
    BindKey,
    /// `presence-key`: in an assertion that gives a registered device a presence key.
    PresenceKey,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [
        Self::Register,
        Self::Reattest,
        Self::BindKey,
        Self::PresenceKey,
    ];

    /// The word in the client data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Reattest => "reattest",
            Self::BindKey => "bind-key",
            Self::PresenceKey => "presence-key",
        }
    }
}

/// The text is none of the purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a purpose of client data")]
pub struct UnknownPurpose;

impl TryFrom<String> for Purpose {
    type Error = UnknownPurpose;

    fn try_from(word: String) -> Result<Self, UnknownPurpose> {
        let mut all = Self::ALL.into_iter();
        all.find(|purpose| purpose.as_str() == word)
            .ok_or(UnknownPurpose)
    }
}

/// Whether client data has to name a session key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKeyRule {
    /// It has to.
    Required,
    /// It may leave it out: then the App Attest key itself signs proofs, by assertions.
    Optional,
}

/// The key that client data gives proofs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKey {
    /// The key of this thumbprint.
    Named(Thumbprint),
    /// The App Attest key itself.
    AppAttest,
}

/// What client data has to name.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What it is used for now.
    pub purpose: Purpose,
    /// The challenge, as bytes; client data has it in base64url without padding.
    pub challenge: &'a [u8],
    /// The app.
    pub app: &'a AppId,
    /// Whether it has to name a session key.
    pub session_key: SessionKeyRule,
}

/// Parsed client data: a JSON object with exactly these members, of which only `jkt` may be absent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientData {
    purpose: Purpose,
    challenge: String,
    app_id: String,
    #[serde(default, deserialize_with = "stated")]
    jkt: Option<String>,
}

/// A member that is there is a text: `null` is not the same as absent.
fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

impl ClientData {
    /// Parses client data; `None` when it is too long, not JSON, names an unknown purpose, or has
    /// other members, a member twice, or anything behind it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // The decoder would also take the members' values as an array.
        let object = bytes.trim_ascii_start().starts_with(b"{");
        if !object || bytes.len() > CLIENT_DATA_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }

    /// Notes whether a session key is another than the App Attest key that vouches for it. Whoever means
    /// that key itself leaves the name out, where that is allowed.
    pub fn check_other(session_key: Option<SessionKey>, own: &Thumbprint, checks: &mut Checks) {
        if let Some(SessionKey::Named(named)) = session_key {
            let passed = if named == *own {
                Err(Reason::EvidenceMalformed)
            } else {
                Ok(())
            };
            let facts = (named.to_string(), "another key than the App Attest key");
            checks.note("client_data_own_key", None, passed, facts);
        }
    }

    /// Checks client data against what it has to name, and gives the session key it vouches for.
    /// That key is only to be believed when the attestation or assertion verifies over the hash of
    /// the very same bytes, and all of these checks passed.
    #[must_use]
    pub fn check(
        parsed: Option<Self>,
        expected: Expected<'_>,
        checks: &mut Checks,
    ) -> Option<SessionKey> {
        const MALFORMED: Reason = Reason::EvidenceMalformed;
        let mut note = |name, passed: bool, otherwise, facts: (String, &str)| {
            let passed = if passed { Ok(()) } else { Err(otherwise) };
            checks.note(name, None, passed, facts);
        };
        let seen = if parsed.is_some() {
            "well formed"
        } else {
            "not well formed"
        };
        let form = "a JSON object of purpose, challenge, app_id and jkt";
        let facts = (seen.to_owned(), form);
        note("client_data", parsed.is_some(), MALFORMED, facts);
        let data = parsed?;
        let (key, wanted) = match (&data.jkt, expected.session_key) {
            (Some(jkt), _) => {
                let key = jkt.parse().ok();
                (key.map(SessionKey::Named), "an RFC 7638 thumbprint")
            }
            (None, SessionKeyRule::Optional) => (
                Some(SessionKey::AppAttest),
                "an RFC 7638 thumbprint, or none",
            ),
            (None, SessionKeyRule::Required) => (None, "an RFC 7638 thumbprint"),
        };
        let seen = data.jkt.as_deref().map_or("absent".to_owned(), shown);
        note("client_data_jkt", key.is_some(), MALFORMED, (seen, wanted));
        let same = data.purpose == expected.purpose;
        let facts = (data.purpose.as_str().to_owned(), expected.purpose.as_str());
        note("client_data_purpose", same, MALFORMED, facts);
        let challenge = BASE64URL_NOPAD.encode(expected.challenge);
        let same = data.challenge == challenge;
        let facts = (shown(&data.challenge), challenge.as_str());
        let mismatch = Reason::AttestationChallengeMismatch;
        note("client_data_challenge", same, mismatch, facts);
        let same = data.app_id == expected.app.as_str();
        let facts = (shown(&data.app_id), expected.app.as_str());
        let mismatch = Reason::AttestationAppMismatch;
        note("client_data_app", same, mismatch, facts);
        key
    }
}

/// Text from the evidence, safe to show.
fn shown(text: &str) -> String {
    text.escape_debug().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(challenge: &str, app: &str, extra: &str) -> Vec<u8> {
        let jkt = Thumbprint::from_bytes([7; 32]);
        format!(
            r#"{{"purpose":"register","challenge":"{challenge}","app_id":"{app}","jkt":"{jkt}"{extra}}}"#
        )
        .into_bytes()
    }

    fn outcome(bytes: &[u8]) -> Result<Thumbprint, Reason> {
        let mut checks = Checks::default();
        let app = "bank".parse().unwrap();
        let expected = Expected {
            purpose: Purpose::Register,
            challenge: b"challenge",
            app: &app,
            session_key: SessionKeyRule::Required,
        };
        let key = ClientData::check(ClientData::parse(bytes), expected, &mut checks);
        match checks.rejection() {
            Some(rejection) => Err(rejection.reason),
            None => match key.unwrap() {
                SessionKey::Named(key) => Ok(key),
                SessionKey::AppAttest => panic!("a session key is required"),
            },
        }
    }

    #[test]
    fn takes_exactly_the_four_members() {
        assert_eq!(
            outcome(&data("Y2hhbGxlbmdl", "bank", "")),
            Ok(Thumbprint::from_bytes([7; 32]))
        );
        for extra in [
            r#","more":1"#,
            r#","app_id":"bank""#,
            r#","\u0061pp_id":"x""#,
            "}{",
            "} x",
        ] {
            let bytes = data("Y2hhbGxlbmdl", "bank", extra);
            assert_eq!(outcome(&bytes), Err(Reason::EvidenceMalformed), "{extra}");
        }
        let array = format!(r#"["register","Y2hhbGxlbmdl","bank","{}"]"#, "A".repeat(43));
        let long = [b' '; CLIENT_DATA_BYTES_MAX + 1];
        for bytes in [&b""[..], b"[]", b"\xff", array.as_bytes(), &long] {
            assert_eq!(outcome(bytes), Err(Reason::EvidenceMalformed));
        }
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_refused_for_every_other() {
        let app = "bank".parse().unwrap();
        for (signed, wanted) in Purpose::ALL
            .iter()
            .flat_map(|signed| Purpose::ALL.map(|wanted| (*signed, wanted)))
        {
            let bytes = data("Y2hhbGxlbmdl", "bank", "");
            let text = String::from_utf8(bytes).unwrap();
            let bytes = text.replace("register", signed.as_str()).into_bytes();
            let expected = Expected {
                purpose: wanted,
                challenge: b"challenge",
                app: &app,
                session_key: SessionKeyRule::Required,
            };
            let mut checks = Checks::default();
            let key = ClientData::check(ClientData::parse(&bytes), expected, &mut checks);
            let named = SessionKey::Named(Thumbprint::from_bytes([7; 32]));
            assert_eq!(key, Some(named));
            let refused = checks.rejection().map(|rejection| rejection.name);
            let mismatch = (signed != wanted).then_some("client_data_purpose");
            assert_eq!(refused, mismatch, "{signed:?} as {wanted:?}");
        }
    }

    #[test]
    fn a_purpose_is_one_of_the_words_and_a_text() {
        for purpose in [
            r#""Register""#,
            r#""bind_key""#,
            r#""""#,
            r#""register ""#,
            r#"{"register":null}"#,
            r#"["register"]"#,
            "null",
            "0",
        ] {
            let bytes = String::from_utf8(data("Y2hhbGxlbmdl", "bank", "")).unwrap();
            let bytes = bytes.replace(r#""register""#, purpose);
            let refused = outcome(bytes.as_bytes());
            assert_eq!(refused, Err(Reason::EvidenceMalformed), "{purpose}");
        }
    }

    #[test]
    fn refuses_another_challenge_and_another_app() {
        let other = outcome(&data("b3RoZXI", "bank", ""));
        assert_eq!(other, Err(Reason::AttestationChallengeMismatch));
        let padded = outcome(&data("Y2hhbGxlbmdl=", "bank", ""));
        assert_eq!(padded, Err(Reason::AttestationChallengeMismatch));
        let other = outcome(&data("Y2hhbGxlbmdl", "shop", ""));
        assert_eq!(other, Err(Reason::AttestationAppMismatch));
    }

    #[test]
    fn a_session_key_may_be_left_out_only_where_that_is_allowed_and_never_be_null() {
        let app = "bank".parse().unwrap();
        let whole = String::from_utf8(data("Y2hhbGxlbmdl", "bank", "")).unwrap();
        let member = format!(r#","jkt":"{}""#, Thumbprint::from_bytes([7; 32]));
        let with = |jkt: &str| whole.replace(&member, jkt);
        let (required, optional) = (SessionKeyRule::Required, SessionKeyRule::Optional);
        for (jkt, rule, wanted) in [
            ("", required, None),
            ("", optional, Some(SessionKey::AppAttest)),
            (r#","jkt":null"#, optional, None),
            (r#","jkt":"""#, optional, None),
            (r#","jkt":"AA""#, optional, None),
            (r#","jkt":7"#, optional, None),
        ] {
            let bytes = with(jkt).into_bytes();
            let expected = Expected {
                purpose: Purpose::Register,
                challenge: b"challenge",
                app: &app,
                session_key: rule,
            };
            let mut checks = Checks::default();
            let key = ClientData::check(ClientData::parse(&bytes), expected, &mut checks);
            let passed = checks.rejection().is_none();
            assert_eq!((key, passed), (wanted, wanted.is_some()), "{jkt} {rule:?}");
        }
    }
}
