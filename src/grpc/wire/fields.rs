//! The fields of a request: bounded, and every wrong one named at once.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::client::{Address, ClientContext};
use crate::flow::{Failure, FieldViolation, RequestId};
use crate::grpc::proto;
use crate::id::{ConsentId, DeviceId, SessionId, Subject};
use crate::time::Timestamp;

/// Longest challenge, in bytes: what KeyMint takes (`setAttestationChallenge`).
pub(super) const CHALLENGE_BYTES_MAX: usize = 128;
/// Most scopes or roles in a request.
pub(super) const WORDS_MAX: usize = 64;
/// Most authentication methods or context classes in a request.
pub(super) const METHODS_MAX: usize = 16;
/// Longest scope, role, context class or audience, in bytes.
pub(super) const WORD_BYTES_MAX: usize = 128;
/// Longest token or proof, in bytes; the parsers behind have their own, smaller bounds.
pub(super) const TOKEN_BYTES_MAX: usize = 8192;
/// Longest URI and method, in bytes.
pub(super) const URI_BYTES_MAX: usize = 2048;
pub(super) const METHOD_BYTES_MAX: usize = 32;
/// Seconds of 9999-12-31T23:59:59Z, the last instant of `google.protobuf.Timestamp`.
pub(super) const TIMESTAMP_SECONDS_MAX: i64 = 253_402_300_799;
/// Longest `google.protobuf.Duration`, in seconds.
pub(super) const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Collects what is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<FieldViolation>);

impl Fields {
    /// Notes what another parser found.
    pub(super) fn extend(&mut self, violations: Vec<FieldViolation>) {
        self.0.extend(violations);
    }

    pub(super) fn wrong(&mut self, field: &str, description: &str) {
        let (field, description) = (field.to_owned(), description.to_owned());
        self.0.push(FieldViolation { field, description });
    }

    /// A value, or `None` and a note of what would be right.
    pub(super) fn take<T>(&mut self, field: &str, value: Option<T>, wanted: &str) -> Option<T> {
        if value.is_none() {
            self.wrong(field, wanted);
        }
        value
    }

    pub(super) fn parse<T: FromStr>(&mut self, field: &str, text: &str, wanted: &str) -> Option<T> {
        self.take(field, text.parse().ok(), wanted)
    }

    pub(super) fn subject(&mut self, text: &str) -> Option<Subject> {
        self.parse("subject", text, "1 to 256 bytes without control characters")
    }

    pub(super) fn app(&mut self, text: &str) -> Option<crate::id::AppId> {
        self.parse("app_id", text, "1 to 64 of a-z 0-9 . _ -")
    }

    pub(super) fn device(&mut self, text: &str) -> Option<DeviceId> {
        self.parse("device_id", text, "a device id: dev_ and 36 hex digits")
    }

    pub(super) fn session(&mut self, text: &str) -> Option<SessionId> {
        self.parse("session_id", text, "a session id: ses_ and 36 hex digits")
    }

    pub(super) fn consent(&mut self, text: &str) -> Option<ConsentId> {
        self.parse("consent_id", text, "1 to 64 visible ASCII characters")
    }

    pub(super) fn token(&mut self, field: &str, text: String) -> Option<String> {
        let fits = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX;
        self.take(field, fits.then_some(text), "1 to 8192 bytes")
    }

    /// Scope tokens (RFC 6749, 3.3), each once.
    pub(super) fn scopes(&mut self, field: &str, words: Vec<String>) -> BTreeSet<String> {
        let (count, good) = (words.len(), words.iter().all(|word| is_token(word)));
        let set: BTreeSet<String> = words.into_iter().collect();
        if count > WORDS_MAX || !good || set.len() != count {
            self.wrong(
                field,
                "at most 64 different scope tokens of 1 to 128 bytes (RFC 6749, 3.3)",
            );
        }
        set
    }

    /// Words without control characters.
    pub(super) fn words(
        &mut self,
        field: &str,
        words: Vec<String>,
        count_max: usize,
    ) -> Vec<String> {
        if words.len() > count_max || !words.iter().all(|word| is_word(word)) {
            let wanted =
                format!("at most {count_max} of 1 to 128 bytes without control characters");
            self.wrong(field, &wanted);
        }
        words
    }

    /// Authentication context classes. They stand in a list separated by spaces and in a header
    /// (RFC 9470, 3), so they have the form of scope tokens.
    pub(super) fn context_classes(&mut self, field: &str, words: Vec<String>) -> Vec<String> {
        if words.len() > METHODS_MAX || !words.iter().all(|word| is_token(word)) {
            self.wrong(
                field,
                "at most 16 of 1 to 128 visible ASCII characters but \" and \\",
            );
        }
        words
    }

    /// An authentication context class, or none.
    pub(super) fn context_class(&mut self, field: &str, word: String) -> String {
        if !word.is_empty() && !is_token(&word) {
            self.wrong(field, "at most 128 visible ASCII characters but \" and \\");
        }
        word
    }

    /// Evidence of some kind: what is in it has its own reasons.
    pub(super) fn evidence(
        &mut self,
        sent: Option<proto::Evidence>,
    ) -> Option<proto::evidence::Kind> {
        let kind = sent.and_then(|evidence| evidence.kind);
        self.take("evidence", kind, "one kind of evidence")
    }

    /// A word, or nothing.
    pub(super) fn optional_word(&mut self, field: &str, word: String) -> Option<String> {
        if word.is_empty() {
            return None;
        }
        let fits = is_word(&word).then_some(word);
        self.take(field, fits, "at most 128 bytes without control characters")
    }

    pub(super) fn timestamp(
        &mut self,
        field: &str,
        at: Option<prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let at = at?;
        let in_range = (0..=TIMESTAMP_SECONDS_MAX).contains(&at.seconds)
            && (0..1_000_000_000).contains(&at.nanos);
        let millis = at
            .seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(at.nanos / 1_000_000));
        let value = in_range.then(|| Timestamp::from_millis(millis));
        self.take(field, value, "an instant from 1970 to 9999")
    }

    pub(super) fn duration(
        &mut self,
        field: &str,
        span: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let span = span?;
        let value = match (u64::try_from(span.seconds), u32::try_from(span.nanos)) {
            (Ok(seconds), Ok(nanos))
                if span.seconds <= DURATION_SECONDS_MAX && nanos < 1_000_000_000 =>
            {
                Some(Duration::new(seconds, nanos))
            }
            _ => None,
        };
        self.take(field, value, "a span of 0 or more")
    }

    /// The phone, as far as the caller tells.
    pub(super) fn client(&mut self, sent: Option<proto::ClientContext>) -> ClientContext {
        let sent = sent.unwrap_or_default();
        let address = (!sent.ip.is_empty()).then(|| {
            let wanted = "the IP address of the phone, without zone and port";
            self.take("client.ip", address(&sent.ip), wanted)
        });
        let locale = (!sent.locale.is_empty()).then(|| {
            let wanted = "a language tag (BCP 47) of at most 35 characters";
            self.parse("client.locale", &sent.locale, wanted)
        });
        ClientContext {
            address: address.flatten(),
            locale: locale.flatten(),
        }
    }

    pub(super) fn challenge(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let fits = (1..=CHALLENGE_BYTES_MAX).contains(&bytes.len());
        self.take("challenge", fits.then_some(bytes), "1 to 128 bytes")
    }

    /// A request id, or none; the outer `None`: something about it is wrong.
    pub(super) fn request_id(&mut self, text: &str) -> Option<Option<RequestId>> {
        if text.is_empty() {
            return Some(None);
        }
        self.parse("request_id", text, "1 to 64 visible ASCII characters")
            .map(Some)
    }

    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Failure> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Failure::malformed(self.0)),
        }
    }
}

/// An address a phone may have. The unspecified one is nobody's: counting by it would throw together
/// whatever a faulty proxy lets through.
fn address(text: &str) -> Option<Address> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return (!v4.is_unspecified()).then(|| Address::V4(v4.octets()));
    }
    let v6 = text.parse::<Ipv6Addr>().ok()?;
    let address = Address::from_v6(v6.octets());
    let nobody = v6.is_unspecified() || address == Address::V4([0; 4]);
    (!nobody).then_some(address)
}

/// A scope token (RFC 6749, 3.3).
fn is_token(word: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&word.len())
        && word
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= WORD_BYTES_MAX && !word.chars().any(char::is_control)
}
