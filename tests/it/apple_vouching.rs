//! Assertions by which an attested key vouches for a session key: the client data, and both halves
//! together.

use assay::attestation::apple::assertion::{self, Signer, Vouched};
use assay::attestation::client_data::{Expected, Purpose, SessionKeyRule};
use assay::attestation::{Checks, Rejection};
use assay::id::AppId;
use assay::key::{Thumbprint, sha256};

use crate::apple_assertions::Signing;
use crate::apple_matrix::{
    ACCEPTED, APP, DATA, DATA_APP, DATA_CHALLENGE, DATA_JKT, DATA_PURPOSE, Group, Outcome,
    REPLAYED, SIGNATURE, Subject,
};
use crate::apple_support::{AUTHORITY, app};

const JKT: [u8; 32] = [7; 32];

/// Client data, signed by the attested key, to be taken for a `bind-key`.
pub(crate) struct Vouching {
    purpose: Purpose,
    /// What the app signed.
    signed: String,
    /// What is sent as signed, where it is something else.
    sent: Option<String>,
    signing: Signing,
    counter_after: u32,
}

fn client_data(purpose: &str, challenge: &str, app: &str, jkt: &str) -> String {
    format!(r#"{{"purpose":"{purpose}","challenge":"{challenge}","app_id":"{app}","jkt":"{jkt}"}}"#)
}

fn jkt() -> String {
    Thumbprint::from_bytes(JKT).to_string()
}

impl Subject for Vouching {
    fn genuine() -> Self {
        Self {
            purpose: Purpose::BindKey,
            signed: client_data("bind-key", "Y2hhbGxlbmdl", "bank", &jkt()),
            sent: None,
            signing: Signing::genuine(),
            counter_after: 7,
        }
    }

    fn outcome(&self) -> Outcome {
        let (checks, vouched) = self.vouch();
        assert_eq!(checks.all_passed(), vouched.is_ok());
        let vouched = vouched.map_err(|rejection| (rejection.reason, rejection.name))?;
        assert_eq!(vouched.session_key(), Thumbprint::from_bytes(JKT));
        assert_eq!(vouched.assertion().counter(), self.signing.counter);
        Ok(())
    }
}

impl Vouching {
    fn vouch(&self) -> (Checks, Result<Vouched, Box<Rejection>>) {
        let mut signing = Signing::genuine();
        signing.app_id.clone_from(&self.signing.app_id);
        signing.counter = self.signing.counter;
        signing.signed_hash = sha256(self.signed.as_bytes()).to_vec();
        let signer = Signer {
            key: &AUTHORITY.device_key(),
            app: &app(),
            counter_after: Some(self.counter_after),
        };
        let id: AppId = "bank".parse().unwrap();
        let expected = Expected {
            purpose: self.purpose,
            challenge: b"challenge",
            app: &id,
            session_key: SessionKeyRule::Required,
        };
        let sent = self.sent.as_ref().unwrap_or(&self.signed);
        assertion::vouch(&signing.object(), sent.as_bytes(), &signer, expected)
    }

    fn sign(&mut self, purpose: &str, challenge: &str, app: &str, jkt: &str) {
        self.signed = client_data(purpose, challenge, app, jkt);
    }
}

pub(crate) static GROUPS: [&Group<Vouching>; 2] = [&BOUND, &REFUSED];

static BOUND: Group<Vouching> = Group {
    test: "apple_vouching::an_attested_key_vouches_for_a_session_key",
    rows: &[
        (ACCEPTED, "nothing changed", |_| ()),
        (ACCEPTED, "members in another order", |plan| {
            plan.signed = format!(
                r#"{{"jkt":"{}","app_id":"bank","challenge":"Y2hhbGxlbmdl","purpose":"bind-key"}}"#,
                jkt()
            );
        }),
        (
            ACCEPTED,
            "client data with blanks, hashed as sent",
            |plan| {
                plan.signed = plan.signed.replace(',', ",\n  ");
            },
        ),
    ],
};

#[test]
fn an_attested_key_vouches_for_a_session_key() {
    BOUND.run();
}

static REFUSED: Group<Vouching> = Group {
    test: "apple_vouching::refuses_what_the_attested_key_did_not_vouch_for",
    rows: &[
        (DATA_PURPOSE, "client data of a registration", |plan| {
            plan.sign("register", "Y2hhbGxlbmdl", "bank", &jkt());
        }),
        (
            DATA_PURPOSE,
            "client data of a further attestation",
            |plan| {
                plan.sign("reattest", "Y2hhbGxlbmdl", "bank", &jkt());
            },
        ),
        (
            DATA_PURPOSE,
            "client data of a new key, taken for a registration",
            |plan| {
                plan.purpose = Purpose::Register;
            },
        ),
        (DATA, "unknown purpose", |plan| {
            plan.sign("unbind-key", "Y2hhbGxlbmdl", "bank", &jkt());
        }),
        (DATA_CHALLENGE, "another challenge", |plan| {
            plan.sign("bind-key", "b3RoZXI", "bank", &jkt());
        }),
        (DATA_CHALLENGE, "challenge with padding", |plan| {
            plan.sign("bind-key", "Y2hhbGxlbmdl=", "bank", &jkt());
        }),
        (DATA_CHALLENGE, "no challenge", |plan| {
            plan.sign("bind-key", "", "bank", &jkt())
        }),
        (DATA_APP, "another app of ours", |plan| {
            plan.sign("bind-key", "Y2hhbGxlbmdl", "shop", &jkt());
        }),
        (DATA_JKT, "thumbprint of another length", |plan| {
            plan.sign("bind-key", "Y2hhbGxlbmdl", "bank", "BwcHBw");
        }),
        (DATA_JKT, "thumbprint with bits left over", |plan| {
            let mut jkt = jkt();
            jkt.pop();
            plan.sign("bind-key", "Y2hhbGxlbmdl", "bank", &(jkt + "d"));
        }),
        (DATA, "thumbprint twice", |plan| {
            plan.signed = plan.signed.replace('}', r#","jkt":"x"}"#);
        }),
        (DATA, "thumbprint twice, once escaped", |plan| {
            plan.signed = plan.signed.replace('}', r#","\u006akt":"x"}"#);
        }),
        (DATA, "further member", |plan| {
            plan.signed = plan.signed.replace('}', r#","subject":"x"}"#);
        }),
        (DATA, "member missing", |plan| {
            plan.signed = plan.signed.replace(r#","app_id":"bank""#, "");
        }),
        (DATA, "bytes behind the object", |plan| {
            plan.signed.push_str("{}")
        }),
        (DATA, "array of the values", |plan| {
            plan.signed = format!(r#"["bind-key","Y2hhbGxlbmdl","bank","{}"]"#, jkt());
        }),
        (DATA, "longer than any client data", |plan| {
            plan.signed.push_str(&" ".repeat(1024))
        }),
        (DATA, "the public key itself, as some apps sign", |plan| {
            plan.signed = "\u{4}".repeat(65);
        }),
        (
            SIGNATURE,
            "another session key behind the signature",
            |plan| {
                let other = Thumbprint::from_bytes([8; 32]).to_string();
                plan.sent = Some(plan.signed.replace(&jkt(), &other));
            },
        ),
        (SIGNATURE, "the same written otherwise", |plan| {
            plan.sent = Some(plan.signed.replace(',', ", "));
        }),
        (REPLAYED, "the same assertion again", |plan| {
            plan.counter_after = 8
        }),
        (APP, "assertion of another app", |plan| {
            plan.signing.app_id.push('x')
        }),
    ],
};

#[test]
fn refuses_what_the_attested_key_did_not_vouch_for() {
    REFUSED.run();
}

#[test]
fn what_is_wrong_with_both_halves_is_listed_at_once() {
    let mut plan = Vouching::genuine();
    plan.sign("register", "b3RoZXI", "bank", &jkt());
    plan.counter_after = 8;
    let (checks, vouched) = plan.vouch();
    assert_eq!(vouched.unwrap_err().name, "counter");
    let failed: Vec<_> = checks
        .as_slice()
        .iter()
        .filter(|check| matches!(check.outcome, assay::attestation::Outcome::Failed(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(
        failed,
        ["counter", "client_data_purpose", "client_data_challenge"]
    );
}
