//! Requests: proto to domain, every field bounded.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::attestation::client_data::CLIENT_DATA_BYTES_MAX;
use crate::attestation::{android, apple};
use crate::flow::appraise_evidence::AppraiseEvidence;
use crate::flow::create_challenge::CreateChallenge;
use crate::flow::end_session::EndSession;
use crate::flow::issue_session::IssueSession;
use crate::flow::refresh_session::RefreshSession;
use crate::flow::register_device::RegisterDevice;
use crate::flow::revoke_device::RevokeDevice;
use crate::flow::verify_request::VerifyRequest;
use crate::flow::{EvidenceInput, Failure, FieldViolation, PageRequest};
use crate::grpc::proto;
use crate::id::{DeviceId, SessionId, Subject};
use crate::policy::TrustLevel;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Requirements, RevocationReason};
use crate::time::Timestamp;
use crate::token::challenge::ChallengePurpose;

/// Longest challenge, in bytes: what KeyMint takes (`setAttestationChallenge`).
const CHALLENGE_BYTES_MAX: usize = 128;
/// Most scopes or roles in a request.
const WORDS_MAX: usize = 64;
/// Most authentication methods or context classes in a request.
const METHODS_MAX: usize = 16;
/// Longest scope, role, context class or audience, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// Longest token or proof, in bytes; the parsers behind have their own, smaller bounds.
const TOKEN_BYTES_MAX: usize = 8192;
/// Longest URI and method, in bytes.
const URI_BYTES_MAX: usize = 2048;
const METHOD_BYTES_MAX: usize = 32;
/// Seconds of 9999-12-31T23:59:59Z, the last instant of `google.protobuf.Timestamp`.
const TIMESTAMP_SECONDS_MAX: i64 = 253_402_300_799;
/// Longest `google.protobuf.Duration`, in seconds.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Collects what is wrong with a request.
#[derive(Debug, Default)]
struct Fields(Vec<FieldViolation>);

impl Fields {
    fn wrong(&mut self, field: &str, description: &str) {
        let (field, description) = (field.to_owned(), description.to_owned());
        self.0.push(FieldViolation { field, description });
    }

    /// A value, or `None` and a note of what would be right.
    fn take<T>(&mut self, field: &str, value: Option<T>, wanted: &str) -> Option<T> {
        if value.is_none() {
            self.wrong(field, wanted);
        }
        value
    }

    fn parse<T: FromStr>(&mut self, field: &str, text: &str, wanted: &str) -> Option<T> {
        self.take(field, text.parse().ok(), wanted)
    }

    fn subject(&mut self, text: &str) -> Option<Subject> {
        self.parse("subject", text, "1 to 256 bytes without control characters")
    }

    fn app(&mut self, text: &str) -> Option<crate::id::AppId> {
        self.parse("app_id", text, "1 to 64 of a-z 0-9 . _ -")
    }

    fn device(&mut self, text: &str) -> Option<DeviceId> {
        self.parse("device_id", text, "a device id: dev_ and 36 hex digits")
    }

    fn token(&mut self, field: &str, text: String) -> Option<String> {
        let fits = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX;
        self.take(field, fits.then_some(text), "1 to 8192 bytes")
    }

    /// Scope tokens (RFC 6749, 3.3), each once.
    fn scopes(&mut self, field: &str, words: Vec<String>) -> BTreeSet<String> {
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
    fn words(&mut self, field: &str, words: Vec<String>, count_max: usize) -> Vec<String> {
        if words.len() > count_max || !words.iter().all(|word| is_word(word)) {
            let wanted =
                format!("at most {count_max} of 1 to 128 bytes without control characters");
            self.wrong(field, &wanted);
        }
        words
    }

    /// Authentication context classes. They stand in a list separated by spaces and in a header
    /// (RFC 9470, 3), so they have the form of scope tokens.
    fn context_classes(&mut self, field: &str, words: Vec<String>) -> Vec<String> {
        if words.len() > METHODS_MAX || !words.iter().all(|word| is_token(word)) {
            self.wrong(
                field,
                "at most 16 of 1 to 128 visible ASCII characters but \" and \\",
            );
        }
        words
    }

    /// An authentication context class, or none.
    fn context_class(&mut self, field: &str, word: String) -> String {
        if !word.is_empty() && !is_token(&word) {
            self.wrong(field, "at most 128 visible ASCII characters but \" and \\");
        }
        word
    }

    /// Evidence of some kind: what is in it has its own reasons.
    fn evidence(&mut self, sent: Option<proto::Evidence>) -> Option<proto::evidence::Kind> {
        let kind = sent.and_then(|evidence| evidence.kind);
        self.take("evidence", kind, "one kind of evidence")
    }

    /// A word, or nothing.
    fn optional_word(&mut self, field: &str, word: String) -> Option<String> {
        if word.is_empty() {
            return None;
        }
        let fits = is_word(&word).then_some(word);
        self.take(field, fits, "at most 128 bytes without control characters")
    }

    fn timestamp(&mut self, field: &str, at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
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

    fn duration(&mut self, field: &str, span: Option<prost_types::Duration>) -> Option<Duration> {
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

    fn challenge(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let fits = (1..=CHALLENGE_BYTES_MAX).contains(&bytes.len());
        self.take("challenge", fits.then_some(bytes), "1 to 128 bytes")
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Failure> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Failure::malformed(self.0)),
        }
    }
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

/// Evidence: its own bounds have their own reasons.
fn evidence(kind: proto::evidence::Kind) -> Result<EvidenceInput, Failure> {
    match kind {
        proto::evidence::Kind::Android(sent) => {
            let chain = android::Chain::from_der(sent.certificate_chain);
            chain
                .map(EvidenceInput::Android)
                .map_err(|error| error.reason().into())
        }
        proto::evidence::Kind::Apple(sent) => {
            if sent.client_data.len() > CLIENT_DATA_BYTES_MAX {
                return Err(Reason::EvidenceTooLarge.into());
            }
            let attestation = apple::Attestation::new(sent.attestation_object, sent.key_id)
                .map_err(|error| Failure::from(error.reason()))?;
            Ok(EvidenceInput::Apple {
                attestation,
                client_data: sent.client_data,
            })
        }
    }
}

pub(crate) fn create_challenge(
    sent: proto::CreateChallengeRequest,
) -> Result<CreateChallenge, Failure> {
    let mut fields = Fields::default();
    let app = fields.app(&sent.app_id);
    let purpose = match sent.purpose() {
        proto::ChallengePurpose::Register => Some(ChallengePurpose::Register),
        proto::ChallengePurpose::Unspecified => None,
    };
    let purpose = fields.take("purpose", purpose, "CHALLENGE_PURPOSE_REGISTER");
    let subject = if sent.subject.is_empty() {
        Some(None)
    } else {
        fields.subject(&sent.subject).map(Some)
    };
    let request = (|| {
        Some(CreateChallenge {
            app: app?,
            purpose: purpose?,
            subject: subject?,
        })
    })();
    fields.finish(request)
}

pub(crate) fn register_device(
    sent: proto::RegisterDeviceRequest,
) -> Result<RegisterDevice, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let app = fields.app(&sent.app_id);
    let challenge = fields.challenge(sent.challenge);
    let kind = fields.evidence(sent.evidence);
    let all = (|| Some((subject?, app?, challenge?, kind?)))();
    let (subject, app, challenge, kind) = fields.finish(all)?;
    Ok(RegisterDevice {
        subject,
        app,
        challenge,
        evidence: evidence(kind)?,
        validate_only: sent.validate_only,
    })
}

pub(crate) fn appraise_evidence(
    sent: proto::AppraiseEvidenceRequest,
) -> Result<AppraiseEvidence, Failure> {
    let mut fields = Fields::default();
    let app = fields.app(&sent.app_id);
    let challenge = fields.challenge(sent.challenge);
    let kind = fields.evidence(sent.evidence);
    let (app, challenge, kind) = fields.finish((|| Some((app?, challenge?, kind?)))())?;
    Ok(AppraiseEvidence {
        app,
        evidence: evidence(kind)?,
        challenge,
    })
}

pub(crate) fn get_device(sent: &proto::GetDeviceRequest) -> Result<DeviceId, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    fields.finish(device)
}

pub(crate) fn revoke_device(sent: &proto::RevokeDeviceRequest) -> Result<RevokeDevice, Failure> {
    use proto::RevocationReason as Sent;
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let why = match sent.reason() {
        Sent::Lost => Some(RevocationReason::Lost),
        Sent::Stolen => Some(RevocationReason::Stolen),
        Sent::Compromised => Some(RevocationReason::Compromised),
        Sent::UserRequest => Some(RevocationReason::UserRequest),
        Sent::Administrative => Some(RevocationReason::Administrative),
        Sent::Unspecified => None,
    };
    let why = fields.take("reason", why, "one of the revocation reasons");
    let validate_only = sent.validate_only;
    let request = (|| {
        Some(RevokeDevice {
            device: device?,
            why: why?,
            validate_only,
        })
    })();
    fields.finish(request)
}

/// Subject and page of a listing.
pub(crate) fn listing<Id: FromStr>(
    subject: &str,
    (page_size, page_token): (i32, &str),
) -> Result<(Subject, PageRequest<Id>), Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(subject);
    let after = match page_token {
        "" => Some(None),
        token => fields
            .parse("page_token", token, "the next_page_token of an answer")
            .map(Some),
    };
    let page = match PageRequest::parse(page_size, after.flatten()) {
        Ok(page) => Some(page),
        Err(failure) => {
            fields.0.extend(failure.violations);
            None
        }
    };
    fields.finish((|| Some((subject?, page?)))())
}

pub(crate) fn issue_session(sent: proto::IssueSessionRequest) -> Result<IssueSession, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let device = fields.device(&sent.device_id);
    let proof = fields.token("proof", sent.proof);
    let scopes = fields.scopes("scopes", sent.scopes);
    if scopes.is_empty() {
        fields.wrong("scopes", "at least one scope");
    }
    let audience = fields.optional_word("audience", sent.audience);
    let roles = fields.words("roles", sent.roles, WORDS_MAX);
    let acr = fields.context_class("acr", sent.acr);
    let amr = fields.words("amr", sent.amr, METHODS_MAX);
    let auth_time = fields.timestamp("auth_time", sent.auth_time);
    let request = (|| {
        let (subject, device, proof) = (subject?, device?, proof?);
        Some(IssueSession {
            subject,
            device,
            proof,
            scopes,
            audience,
            roles,
            acr,
            amr,
            auth_time,
        })
    })();
    fields.finish(request)
}

pub(crate) fn refresh_session(
    sent: proto::RefreshSessionRequest,
) -> Result<RefreshSession, Failure> {
    let mut fields = Fields::default();
    let token = fields
        .token("refresh_token", sent.refresh_token)
        .map(Secret::new);
    let proof = fields.token("proof", sent.proof);
    let scopes = fields.scopes("scopes", sent.scopes);
    let request = (|| {
        Some(RefreshSession {
            refresh_token: token?,
            proof: proof?,
            scopes,
        })
    })();
    fields.finish(request)
}

pub(crate) fn end_session(sent: proto::EndSessionRequest) -> Result<EndSession, Failure> {
    use proto::end_session_request::Session;
    let mut fields = Fields::default();
    let request = match sent.session {
        None => fields.take("session", None, "refresh_token or session_id"),
        Some(Session::RefreshToken(token)) => fields
            .token("refresh_token", token)
            .map(|token| EndSession::Token(Secret::new(token))),
        Some(Session::SessionId(id)) => fields
            .parse::<SessionId>("session_id", &id, "a session id: ses_ and 36 hex digits")
            .map(EndSession::Id),
    };
    fields.finish(request)
}

pub(crate) fn verify_request(sent: proto::VerifyRequestRequest) -> Result<VerifyRequest, Failure> {
    let mut fields = Fields::default();
    let access_token = fields
        .token("access_token", sent.access_token)
        .map(Secret::new);
    let proof = fields.token("proof", sent.proof);
    let method = (1..=METHOD_BYTES_MAX)
        .contains(&sent.method.len())
        .then_some(sent.method);
    let method = fields.take("method", method, "1 to 32 bytes");
    let uri = (1..=URI_BYTES_MAX)
        .contains(&sent.uri.len())
        .then_some(sent.uri);
    let uri = fields.take("uri", uri, "1 to 2048 bytes");
    let body_sha256 = match sent.body_sha256.len() {
        0 => Some(None),
        _ => {
            let digest = sent.body_sha256.try_into().ok().map(Some);
            fields.take("body_sha256", digest, "32 bytes")
        }
    };
    let required = requirements(&mut fields, sent.required.unwrap_or_default());
    let request = (|| {
        Some(VerifyRequest {
            access_token: access_token?,
            proof: proof?,
            method: method?,
            uri: uri?,
            body_sha256: body_sha256?,
            required,
        })
    })();
    fields.finish(request)
}

fn requirements(fields: &mut Fields, sent: proto::Requirements) -> Requirements {
    use proto::TrustLevel as Sent;
    let trust_level_min = match Sent::try_from(sent.min_trust_level) {
        Ok(Sent::Unspecified) => None,
        Ok(Sent::Provisional) => Some(TrustLevel::Provisional),
        Ok(Sent::AppAttest) => Some(TrustLevel::AppAttest),
        Ok(Sent::Tee) => Some(TrustLevel::Tee),
        Ok(Sent::Strongbox) => Some(TrustLevel::StrongBox),
        // A level this version does not know must not become "no requirement".
        Err(_) => {
            fields.wrong("required.min_trust_level", "a trust level of this version");
            None
        }
    };
    Requirements {
        scopes: fields.scopes("required.scopes", sent.scopes),
        acr_values: fields.context_classes("required.acr_values", sent.acr_values),
        max_age: fields.duration("required.max_age", sent.max_age),
        trust_level_min,
        audience: fields.optional_word("required.audience", sent.audience),
    }
}

pub(crate) fn introspect_token(
    sent: proto::IntrospectTokenRequest,
) -> Result<Secret<String>, Failure> {
    let mut fields = Fields::default();
    let token = fields.token("token", sent.token).map(Secret::new);
    fields.finish(token)
}
