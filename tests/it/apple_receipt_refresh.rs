//! Renewing App Attest receipts: what is sent, what each reply means, and when the next attempt is
//! due. The receipts are the simulator's.

use std::sync::LazyLock;
use std::time::Duration;

use assay::attestation::apple::Environment;
use assay::attestation::apple::receipt::refresh::{
    Answer, End, Holder, Jitter, Outcome, REPLY_BYTES_MAX, ReceiptRecord, Reply, Request, Schedule,
    Step, next, read,
};
use assay::attestation::apple::receipt::{
    self, Age, Kind, ReceiptExpectation, ReceiptFacts, ReceiptRefusal,
};
use assay::attestation::roots::AppleRoots;
use assay::key::PublicKey;
use assay::secret::Secret;
use assay::simulator::apple::{self, Environment as Simulated};
use assay::simulator::receipt::Receipt;
use assay::simulator::{Authorities, Curve, SoftKey};
use assay::time::Timestamp;
use assay::token::device_check::{DeviceCheckError, DeviceCheckKey};
use data_encoding::BASE64;
use proptest::prelude::*;

use crate::apple_support::receipt_range;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

const NONE: Jitter = Jitter::from_bits(0);
const HALF: Jitter = Jitter::from_bits(1 << 31);
const MOST: Jitter = Jitter::from_bits(u32::MAX);

fn start() -> Timestamp {
    Timestamp::parse_rfc3339("2027-01-15T08:00:00Z").unwrap()
}

/// A device with its first receipt, and who signs the next ones.
struct World {
    authorities: Authorities,
    roots: AppleRoots,
    key: PublicKey,
    receipt: Receipt,
    record: ReceiptRecord,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let authorities = Authorities::generate(start()).unwrap();
    let options =
        apple::Options::well_kept("TEAM012345", "com.example.bank", Simulated::Production);
    let phone = apple::Phone::new(&authorities, options).unwrap();
    let object = phone.attest(b"client data", start()).unwrap();
    let receipt = Receipt::read(&object[receipt_range(&object)]).unwrap();
    let bytes = authorities.receipt(&receipt).unwrap();
    let key = PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap();
    let roots = AppleRoots::from_pem(&authorities.apple_root_pem()).unwrap();
    let expectation = ReceiptExpectation {
        app_id: "TEAM012345.com.example.bank",
        key: &key,
        client_data_hash: Some(&receipt.client_data_hash),
        environment: Environment::Production,
        kind: Kind::Attest,
        age: Age::Within(MINUTE),
    };
    let facts = receipt::verify(&bytes, expectation, &roots, start()).unwrap();
    World {
        record: ReceiptRecord::new(bytes, &facts, NONE),
        authorities,
        roots,
        key,
        receipt,
    }
});

impl World {
    fn holder(&self) -> Holder<'_> {
        Holder {
            app_id: "TEAM012345.com.example.bank",
            key: &self.key,
            environment: Environment::Production,
            roots: &self.roots,
        }
    }

    /// What Apple's server sends, after a change.
    fn given(&self, change: impl FnOnce(&mut Receipt)) -> Vec<u8> {
        let mut receipt = Receipt {
            risk_metric: Some(2),
            created_at: start().after(HOUR),
            ..self.receipt.clone()
        };
        change(&mut receipt);
        let receipt = self.authorities.receipt(&receipt).unwrap();
        BASE64.encode(&receipt).into_bytes()
    }

    fn answer(&self, status: u16, body: &[u8], retry_after: Option<&str>) -> Answer {
        let reply = Reply {
            status,
            body,
            retry_after,
        };
        read(reply, &self.record, self.holder(), start().after(HOUR))
    }

    fn after(&self, status: u16, body: &[u8]) -> ReceiptRecord {
        let answer = self.answer(status, body, None);
        next(self.record.clone(), &answer, start().after(HOUR), NONE)
    }
}

fn renewed(answer: &Answer) -> &ReceiptFacts {
    let Answer::Renewed(renewal) = answer else {
        panic!("{answer:?}");
    };
    renewal.facts()
}

#[test]
fn the_first_exchange_is_due_within_an_hour_and_says_where_to() {
    let record = &WORLD.record;
    assert_eq!(record.due_at(), Some(start()));
    let request = |url| {
        Step::Send(Request {
            url,
            body: BASE64.encode(&record.receipt),
        })
    };
    assert_eq!(
        record.step(Environment::Production, start()),
        request("https://data.appattest.apple.com/v1/attestationData")
    );
    assert_eq!(
        record.step(Environment::Development, start()),
        request("https://data-development.appattest.apple.com/v1/attestationData")
    );
    let early = start().before(MINUTE);
    assert_eq!(
        record.step(Environment::Production, early),
        Step::Wait(start())
    );
    let facts = renewed(&WORLD.answer(200, &WORLD.given(|_| ()), None)).clone();
    let latest = ReceiptRecord::new(Vec::new(), &facts, MOST)
        .due_at()
        .unwrap();
    assert!(facts.created_at.after(HOUR / 2) < latest && latest < facts.created_at.after(HOUR));
}

#[test]
fn a_new_receipt_replaces_the_one_kept() {
    let now = start().after(HOUR);
    let answer = WORLD.answer(200, &WORLD.given(|_| ()), None);
    assert_eq!(renewed(&answer).risk_metric, Some(2));
    let failed = ReceiptRecord {
        attempts: 7,
        last: Some(Outcome::Unavailable),
        ..WORLD.record.clone()
    };
    let record = next(failed, &answer, now, HALF);
    assert_eq!(
        record,
        ReceiptRecord {
            receipt: record.receipt.clone(),
            created_at: now,
            not_before: Some(now.after(DAY)),
            expires_at: now.after(DAY * 90),
            risk_metric: Some(2),
            attempts: 0,
            schedule: Schedule::DueAt(now.after(DAY).after(HOUR / 2)),
            last: Some(Outcome::Renewed),
        }
    );
    assert_ne!(record.receipt, WORLD.record.receipt);
    // A line end around base64 is no part of it.
    let padded = [b"\r\n", WORLD.given(|_| ()).as_slice(), b"\r\n"].concat();
    renewed(&WORLD.answer(200, &padded, None));
    // One made at the very same time is not older.
    renewed(&WORLD.answer(200, &WORLD.given(|new| new.created_at = start()), None));
}

#[test]
fn a_receipt_for_something_else_is_not_kept() {
    let not_believed = |change: fn(&mut Receipt)| {
        let answer = WORLD.answer(200, &WORLD.given(change), None);
        let Answer::NotBelieved(why) = answer else {
            panic!("{answer:?}");
        };
        why
    };
    assert_eq!(
        [
            not_believed(|new| new.risk_metric = None),
            not_believed(|new| new.app_id.push('x')),
            not_believed(|new| new.environment = Simulated::Development),
            not_believed(|new| new.created_at = start().before(MINUTE)),
            not_believed(|new| new.created_at = start().after(HOUR * 2)),
        ],
        [
            ReceiptRefusal::OtherKind,
            ReceiptRefusal::OtherApp,
            ReceiptRefusal::OtherEnvironment,
            ReceiptRefusal::NotFresh(start().before(MINUTE)),
            ReceiptRefusal::NotFresh(start().after(HOUR * 2)),
        ]
    );
    let other = SoftKey::generate(Curve::P256).unwrap();
    let other = PublicKey::from_sec1(other.public_point()).unwrap();
    let holder = Holder {
        key: &other,
        ..WORLD.holder()
    };
    let reply = Reply {
        status: 200,
        body: &WORLD.given(|_| ()),
        retry_after: None,
    };
    let answer = read(reply, &WORLD.record, holder, start().after(HOUR));
    assert_eq!(answer, Answer::NotBelieved(ReceiptRefusal::OtherKey));
    let strangers = AppleRoots::apple();
    let holder = Holder {
        roots: &strangers,
        ..WORLD.holder()
    };
    let answer = read(reply, &WORLD.record, holder, start().after(HOUR));
    assert!(matches!(
        answer,
        Answer::NotBelieved(ReceiptRefusal::Untrusted(_))
    ));

    let bytes = [
        vec![b'A'; REPLY_BYTES_MAX + 1],
        b"no base64".to_vec(),
        Vec::new(),
    ];
    for body in bytes {
        let answer = WORLD.answer(200, &body, None);
        assert!(matches!(answer, Answer::NotBelieved(_)), "{answer:?}");
        let kept = next(WORLD.record.clone(), &answer, start(), NONE);
        assert_eq!(kept.receipt, WORLD.record.receipt);
        assert_eq!(kept.last, Some(Outcome::NotBelieved));
        assert_eq!(kept.due_at(), Some(start().after(MINUTE / 2)));
    }
}

#[test]
fn replies_that_end_it_end_it() {
    for (status, body, end) in [
        (400, &b"Incorrect Environment"[..], End::WrongEnvironment),
        (400, b"Bad Payload", End::BadPayload),
        (400, b"", End::BadPayload),
        (404, b"", End::NoData),
    ] {
        let record = WORLD.after(status, body);
        assert_eq!(record.schedule, Schedule::Ended(end), "{status}");
        assert_eq!(record.last, Some(Outcome::Ended(end)));
        assert_eq!(record.due_at(), None);
        assert_eq!(
            record.step(Environment::Production, start()),
            Step::Rest(end)
        );
        assert_eq!(record.receipt, WORLD.record.receipt);
    }
}

#[test]
fn too_early_waits_for_the_instant_the_receipt_names() {
    let now = start().after(HOUR);
    let without = WORLD.after(304, b"");
    assert_eq!(without.last, Some(Outcome::TooEarly));
    assert_eq!(without.due_at(), Some(now.after(HOUR * 6)));
    let named = ReceiptRecord {
        not_before: Some(now.after(DAY)),
        ..WORLD.record.clone()
    };
    let early = next(named.clone(), &Answer::TooEarly, now, HALF);
    assert_eq!(early.due_at(), Some(now.after(DAY).after(HOUR / 2)));
    let late = next(named, &Answer::TooEarly, now.after(DAY * 2), NONE);
    assert_eq!(late.due_at(), Some(now.after(DAY * 2).after(HOUR * 6)));
}

#[test]
fn a_key_that_is_not_taken_is_tried_again_slowly() {
    let record = WORLD.after(401, b"");
    assert_eq!(record.last, Some(Outcome::Unauthorized));
    assert_eq!(record.due_at(), Some(start().after(HOUR * 2)));
}

#[test]
fn failures_back_off_to_a_bound_and_heed_the_wait_asked_for() {
    let now = start().after(HOUR);
    for status in [0, 100, 201, 302, 403, 418, 500, 503, 599] {
        assert_eq!(WORLD.answer(status, b"", None), Answer::Unavailable(None));
    }
    let mut record = WORLD.record.clone();
    let mut waits = Vec::new();
    for _ in 0..14 {
        record = next(record, &Answer::Unavailable(None), now, NONE);
        waits.push(record.due_at().unwrap().since(now).as_secs() / 30);
    }
    assert_eq!(record.attempts, 14);
    assert_eq!(
        waits,
        [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360, 360]
    );
    // Jitter reaches up to the double.
    let spread = next(record, &Answer::Unavailable(None), now, MOST)
        .due_at()
        .unwrap();
    assert!(now.after(HOUR * 5) < spread && spread < now.after(HOUR * 6));

    let wait = |text| {
        let answer = WORLD.answer(429, b"", Some(text));
        let Answer::RateLimited(wait) = answer else {
            panic!("{answer:?}");
        };
        wait
    };
    assert_eq!(wait("120"), Some(MINUTE * 2));
    assert_eq!(wait("0"), Some(Duration::ZERO));
    for odd in [
        "",
        "-1",
        "1.5",
        "+5",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "99999999999999999999",
    ] {
        assert_eq!(wait(odd), None, "{odd}");
    }
    let due = |wait, jitter| {
        let record = next(
            WORLD.record.clone(),
            &Answer::RateLimited(wait),
            now,
            jitter,
        );
        record.due_at().unwrap()
    };
    assert_eq!(due(Some(HOUR), NONE), now.after(HOUR));
    assert_eq!(due(Some(HOUR), HALF), now.after(HOUR + MINUTE / 2));
    assert_eq!(due(Some(Duration::ZERO), NONE), now.after(MINUTE / 2));
    assert_eq!(due(Some(Duration::MAX), NONE), now.after(DAY));
}

#[test]
fn nothing_is_sent_once_the_receipt_has_expired() {
    let expires_at = WORLD.record.expires_at;
    let before = expires_at.before(Duration::from_millis(1));
    let step = |at| WORLD.record.step(Environment::Production, at);
    assert!(matches!(step(before), Step::Send(_)));
    assert_eq!(step(expires_at), Step::Rest(End::Expired));
    assert_eq!(WORLD.record.clone().ended(End::Expired).due_at(), None);
    let late = next(
        WORLD.record.clone(),
        &Answer::Unavailable(None),
        before,
        NONE,
    );
    assert_eq!(late.schedule, Schedule::Ended(End::Expired));
    assert_eq!(late.last, Some(Outcome::Unavailable));
}

proptest! {
    /// Whatever comes back, the record stays one that is asked again later or never.
    #[test]
    fn every_reply_is_answered(
        status in any::<u16>(),
        body in proptest::collection::vec(any::<u8>(), 0..64),
        retry_after in proptest::option::of("[ -~]{0,24}"),
        bits in any::<u32>(),
        attempts in any::<u32>(),
    ) {
        let now = start().after(HOUR);
        let answer = WORLD.answer(status, &body, retry_after.as_deref());
        let record = ReceiptRecord { attempts, ..WORLD.record.clone() };
        let after = next(record, &answer, now, Jitter::from_bits(bits));
        prop_assert_eq!(&after.receipt, &WORLD.record.receipt);
        if let Some(at) = after.due_at() {
            prop_assert!(now < at && at < now.after(DAY * 2));
        }
    }
}

fn p8(key: &SoftKey) -> Secret<String> {
    let bytes = key.to_pkcs8().unwrap();
    assay::token::pem::encode(bytes.expose(), "PRIVATE KEY")
}

#[test]
fn the_token_for_apple_is_read_by_another_library() {
    #[derive(serde::Deserialize)]
    struct Claims {
        iss: String,
        iat: i64,
    }
    let pair = SoftKey::generate(Curve::P256).unwrap();
    let key = DeviceCheckKey::from_pem(&p8(&pair), "ABC123DEFG", "TEAM012345").unwrap();
    let token = key.authorization(start()).unwrap();
    let header = jsonwebtoken::decode_header(token.expose()).unwrap();
    assert_eq!(header.alg, jsonwebtoken::Algorithm::ES256);
    assert_eq!(header.kid.as_deref(), Some("ABC123DEFG"));
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["iss"]);
    let decoding = jsonwebtoken::DecodingKey::from_ec_der(pair.public_point());
    let decoded = jsonwebtoken::decode::<Claims>(token.expose(), &decoding, &validation).unwrap();
    assert_eq!(decoded.claims.iss, "TEAM012345");
    assert_eq!(decoded.claims.iat, start().as_secs());
    assert!(!format!("{key:?} {token:?}").contains(token.expose().as_str()));
    let other = SoftKey::generate(Curve::P256).unwrap();
    let other = jsonwebtoken::DecodingKey::from_ec_der(other.public_point());
    assert!(jsonwebtoken::decode::<Claims>(token.expose(), &other, &validation).is_err());
}

#[test]
fn refuses_developer_keys_that_cannot_be_one() {
    let good = p8(&SoftKey::generate(Curve::P256).unwrap());
    let refusal = |text: &Secret<String>, key_id, team_id| {
        DeviceCheckKey::from_pem(text, key_id, team_id)
            .map(|_| ())
            .unwrap_err()
    };
    for id in [
        "",
        "ABC123DEF",
        "ABC123DEFGH",
        "abc123defg",
        "ABC123\"EFG",
        "ÄBC123DEF",
    ] {
        assert_eq!(refusal(&good, id, "TEAM012345"), DeviceCheckError::KeyId);
        assert_eq!(refusal(&good, "ABC123DEFG", id), DeviceCheckError::TeamId);
    }
    let other_curve = p8(&SoftKey::generate(Curve::P384).unwrap());
    let refused = refusal(&other_curve, "ABC123DEFG", "TEAM012345");
    assert_eq!(refused, DeviceCheckError::Key);
    let label = Secret::new(good.expose().replace("PRIVATE KEY", "EC PRIVATE KEY"));
    let refused = refusal(&label, "ABC123DEFG", "TEAM012345");
    assert!(matches!(refused, DeviceCheckError::Pem(_)));
}
