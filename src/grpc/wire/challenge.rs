//! The `WWW-Authenticate` header of a refused call.

use std::fmt::Write as _;

use crate::reason::Reason;
use crate::session::Requirements;

/// The challenge of a refused call: scheme `DPoP` (RFC 9449, 7.1), the error of RFC 6750, 3.1, RFC 9449
/// or RFC 9470, and what the call would have needed of scopes, context classes and fresh
/// authentication.
pub(super) fn www_authenticate(reason: Reason, required: &Requirements) -> String {
    let mut header = "DPoP ".to_owned();
    parameter(&mut header, "error", error(reason));
    let mut add = |name: &str, value: &str| {
        header.push_str(", ");
        parameter(&mut header, name, value);
    };
    add("error_description", reason.as_str());
    if reason == Reason::ScopeNotAllowed && !required.scopes.is_empty() {
        let scopes: Vec<&str> = required.scopes.iter().map(String::as_str).collect();
        add("scope", &scopes.join(" "));
    }
    if reason == Reason::StepUpRequired {
        if !required.acr_values.is_empty() {
            add("acr_values", &required.acr_values.join(" "));
        }
        if let Some(span) = required.max_age {
            add("max_age", &span.as_secs().to_string());
        }
    }
    add("algs", "ES256");
    header
}

/// One parameter, its value as a quoted-string (RFC 9110, 5.6.4). What a quoted-string cannot hold does
/// not get here; if it did, it would be left out rather than end the header early.
fn parameter(header: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = write!(header, "{name}=\"");
    for char in value.chars() {
        match char {
            '"' | '\\' => header.extend(['\\', char]),
            ' '..='~' => header.push(char),
            _ => {}
        }
    }
    header.push('"');
}

/// The `error` code of a refused call.
fn error(reason: Reason) -> &'static str {
    let proof = [
        Reason::ProofInvalid,
        Reason::ProofKeyMismatch,
        Reason::ProofTargetMismatch,
        Reason::ProofStale,
        Reason::ProofReplayed,
    ];
    let nonce = [Reason::ProofNonceRequired, Reason::ProofNonceStale];
    if nonce.contains(&reason) {
        "use_dpop_nonce"
    } else if proof.contains(&reason) {
        "invalid_dpop_proof"
    } else if matches!(reason, Reason::ScopeNotAllowed | Reason::TrustLevelTooLow) {
        // A device's level is no matter of the user's authentication: no sign-in would raise it.
        "insufficient_scope"
    } else if matches!(reason, Reason::StepUpRequired) {
        "insufficient_user_authentication"
    } else {
        "invalid_token"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn required() -> Requirements {
        Requirements {
            scopes: ["transfer", "accounts"].map(str::to_owned).into(),
            acr_values: ["urn:acr:2", "urn:acr:3"].map(str::to_owned).into(),
            max_age: Some(Duration::from_secs(300)),
            ..Requirements::default()
        }
    }

    const NONCE: &str = "use_dpop_nonce";
    const PROOF: &str = "invalid_dpop_proof";
    const SCOPE: &str = "insufficient_scope";
    const USER: &str = "insufficient_user_authentication";

    /// What is not an `invalid_token`, and what is asked for with it.
    const OTHERS: [(Reason, &str, &str); 10] = [
        (Reason::ProofNonceRequired, NONCE, ""),
        (Reason::ProofNonceStale, NONCE, ""),
        (Reason::ProofInvalid, PROOF, ""),
        (Reason::ProofKeyMismatch, PROOF, ""),
        (Reason::ProofTargetMismatch, PROOF, ""),
        (Reason::ProofStale, PROOF, ""),
        (Reason::ProofReplayed, PROOF, ""),
        (Reason::TrustLevelTooLow, SCOPE, ""),
        (
            Reason::ScopeNotAllowed,
            SCOPE,
            r#", scope="accounts transfer""#,
        ),
        (
            Reason::StepUpRequired,
            USER,
            r#", acr_values="urn:acr:2 urn:acr:3", max_age="300""#,
        ),
    ];

    #[test]
    fn each_reason_has_its_header() {
        for reason in Reason::ALL.iter().copied() {
            let other = OTHERS.iter().find(|(other, ..)| *other == reason);
            let (error, more) =
                other.map_or(("invalid_token", ""), |(_, error, more)| (error, more));
            let golden = format!(
                r#"DPoP error="{error}", error_description="{reason}"{more}, algs="ES256""#
            );
            assert_eq!(www_authenticate(reason, &required()), golden);
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_in_it() {
        let nothing = Requirements::default();
        for (reason, golden) in [
            (
                Reason::StepUpRequired,
                r#"DPoP error="insufficient_user_authentication", error_description="STEP_UP_REQUIRED", algs="ES256""#,
            ),
            (
                Reason::ScopeNotAllowed,
                r#"DPoP error="insufficient_scope", error_description="SCOPE_NOT_ALLOWED", algs="ES256""#,
            ),
        ] {
            assert_eq!(www_authenticate(reason, &nothing), golden);
        }
        let fresh = Requirements {
            max_age: Some(Duration::ZERO),
            ..nothing
        };
        assert_eq!(
            www_authenticate(Reason::StepUpRequired, &fresh),
            r#"DPoP error="insufficient_user_authentication", error_description="STEP_UP_REQUIRED", max_age="0", algs="ES256""#
        );
    }

    #[test]
    fn no_value_ends_its_quotes() {
        let odd = Requirements {
            acr_values: vec![
                r#"a", realm="b\"#.to_owned(),
                "c\r\nSet-Cookie: d\u{e9}".to_owned(),
            ],
            ..Requirements::default()
        };
        assert_eq!(
            www_authenticate(Reason::StepUpRequired, &odd),
            r#"DPoP error="insufficient_user_authentication", error_description="STEP_UP_REQUIRED", acr_values="a\", realm=\"b\\ cSet-Cookie: d", algs="ES256""#
        );
    }
}
