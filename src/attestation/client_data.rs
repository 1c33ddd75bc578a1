//! The client data of an App Attest registration: what the attested app vouches for.
//!
//! Apple attests one key that can only make assertions. The app therefore names, in the bytes whose
//! hash Apple signs, the challenge, the purpose, the app and the session key that will sign proofs.
//! The bytes are hashed as received and parsed afterwards, strictly.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::Checks;
use crate::id::AppId;
use crate::key::Thumbprint;
use crate::reason::Reason;

/// Longest client data, in bytes: the four members need less than half of it.
pub const CLIENT_DATA_BYTES_MAX: usize = 1024;

/// The `purpose` of a registration.
const PURPOSE_REGISTER: &str = "register";

/// Parsed client data: a JSON object with exactly these members.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientData {
    purpose: String,
    challenge: String,
    app_id: String,
    jkt: String,
}

impl ClientData {
    /// Parses client data; `None` when it is too long, not JSON, or has other members, a member
    /// twice, or anything behind it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // The decoder would also take the members' values as an array.
        let object = bytes.trim_ascii_start().starts_with(b"{");
        if !object || bytes.len() > CLIENT_DATA_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }

    /// Checks client data against the challenge and app it has to name, and gives the session key it
    /// vouches for. That key is only to be believed when the attestation itself verifies over the
    /// hash of the very same bytes.
    #[must_use]
    pub fn check(
        parsed: Option<Self>,
        challenge: &[u8],
        app: &AppId,
        checks: &mut Checks,
    ) -> Option<Thumbprint> {
        let form = parsed.as_ref().map(|_| ()).ok_or(Reason::EvidenceMalformed);
        let seen = if parsed.is_some() {
            "well formed"
        } else {
            "not well formed"
        };
        let members = "a JSON object of purpose, challenge, app_id and jkt";
        checks.note("client_data", None, form, (seen, members));
        let data = parsed?;
        let jkt = data.jkt.parse::<Thumbprint>().ok();
        let key = jkt.map(|_| ()).ok_or(Reason::EvidenceMalformed);
        checks.note(
            "client_data_jkt",
            None,
            key,
            (shown(&data.jkt), "an RFC 7638 thumbprint"),
        );
        let purpose = if data.purpose == PURPOSE_REGISTER {
            Ok(())
        } else {
            Err(Reason::EvidenceMalformed)
        };
        checks.note(
            "client_data_purpose",
            None,
            purpose,
            (shown(&data.purpose), PURPOSE_REGISTER),
        );
        let wanted = BASE64URL_NOPAD.encode(challenge);
        let same = data.challenge == wanted;
        let matches = if same {
            Ok(())
        } else {
            Err(Reason::AttestationChallengeMismatch)
        };
        checks.note(
            "client_data_challenge",
            None,
            matches,
            (shown(&data.challenge), wanted),
        );
        let same = data.app_id == app.as_str();
        let matches = if same {
            Ok(())
        } else {
            Err(Reason::AttestationAppMismatch)
        };
        checks.note(
            "client_data_app",
            None,
            matches,
            (shown(&data.app_id), app.as_str()),
        );
        jkt
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
        let key = ClientData::check(ClientData::parse(bytes), b"challenge", &app, &mut checks);
        match checks.rejection() {
            Some(rejection) => Err(rejection.reason),
            None => Ok(key.unwrap()),
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
    fn refuses_another_challenge_and_another_app() {
        let other = outcome(&data("b3RoZXI", "bank", ""));
        assert_eq!(other, Err(Reason::AttestationChallengeMismatch));
        let padded = outcome(&data("Y2hhbGxlbmdl=", "bank", ""));
        assert_eq!(padded, Err(Reason::AttestationChallengeMismatch));
        let other = outcome(&data("Y2hhbGxlbmdl", "shop", ""));
        assert_eq!(other, Err(Reason::AttestationAppMismatch));
    }
}
