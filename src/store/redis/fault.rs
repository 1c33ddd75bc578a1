//! What went wrong with the server, in plain words: no addresses, no credentials, no keys.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the TLS library keeps its errors open; what is not known speaks for itself"
)]

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerError};
use rustls::CertificateError;

use super::super::StoreError;

const NOT_REDIS: &str = "what answers does not speak Redis: it may want TLS (rediss://)";

/// How a call failed, and with that whether the server may have done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There was no connection: nothing was sent.
    NotSent(String),
    /// It was sent, and no answer came.
    NoAnswer(String),
    /// The server refused.
    Refused(String),
}

impl Fault {
    /// For calls that change nothing.
    pub(super) fn of_read(self) -> StoreError {
        StoreError::Unavailable(self.words())
    }

    /// For calls that may have changed something.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::NotSent(why) | Self::Refused(why) => StoreError::Unavailable(why),
            Self::NoAnswer(why) => StoreError::OutcomeUnknown(why),
        }
    }

    /// The words alone.
    pub(super) fn words(self) -> String {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) | Self::Refused(why) => why,
        }
    }

    /// Why no connection could be made, by TLS or without.
    pub(super) fn while_connecting(error: &RedisError, tls: bool) -> Self {
        let why = if !tls && error.is_connection_dropped() && !error.is_connection_refusal() {
            NOT_REDIS.to_owned()
        } else {
            words(error)
        };
        Self::NotSent(format!("no connection: {why}"))
    }

    /// How sending or receiving ended.
    pub(super) fn after_sending(error: &RedisError) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::Server(_) | ErrorKind::Extension) {
            Self::Refused(words(error))
        } else if matches!(kind, ErrorKind::Client | ErrorKind::InvalidClientConfig) {
            Self::NotSent(words(error))
        } else {
            Self::NoAnswer(words(error))
        }
    }

    /// An error as the answer to one command.
    pub(super) fn reply(error: &ServerError) -> Self {
        Self::Refused(code_words(error.code(), error.details()))
    }
}

fn words(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return code_words("WRONGPASS", None);
    }
    if let Some(code) = error.code() {
        return code_words(code, error.detail());
    }
    if error.kind() == ErrorKind::Parse {
        return NOT_REDIS.to_owned();
    }
    // Only the operating system and TLS speak for themselves: their texts hold nothing we sent.
    match error.source().filter(|_| error.is_io_error()) {
        Some(spoken) => tls_words(spoken).map_or_else(|| spoken.to_string(), ToOwned::to_owned),
        None => error.category().to_owned(),
    }
}

/// What TLS did not like, where that is it.
fn tls_words(error: &(dyn Error + 'static)) -> Option<&'static str> {
    // The client library shares its errors, and TLS ends as an error of the operating system.
    let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    let inner = shared.downcast_ref::<io::Error>()?.get_ref()?;
    match inner.downcast_ref::<rustls::Error>()? {
        // The latter where the authority has the name of another one.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some("the server's certificate is not from an authority we trust: look at tls_ca"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("the server's certificate is for another name than the one it is called by"),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Some("the server's certificate has expired"),
        rustls::Error::InvalidMessage(_) => {
            Some("what answers does not speak TLS: it may want none (redis://)")
        }
        rustls::Error::AlertReceived(_) => {
            Some("the server broke the TLS handshake off: it may want a certificate from us")
        }
        _ => None,
    }
}

fn code_words(code: &str, detail: Option<&str>) -> String {
    let known = match code {
        "WRONGPASS" => "the server refused our user name or password",
        "NOAUTH" => "the server asks for a password and none is configured",
        "NOPERM" => return may_not(detail.unwrap_or("")),
        "DENIED" => {
            "the server is in protected mode and takes nobody from other machines: give its users \
             passwords"
        }
        "OOM" => "the server is out of memory: raise its maxmemory",
        "READONLY" => "the server is a read-only replica: name its primary, or its Sentinels",
        "LOADING" => "the server is still loading its data",
        "MISCONF" => "the server cannot save to its disk and refuses writes: look at its disk",
        "NOREPLICAS" => "the server has too few replicas and refuses writes",
        "MASTERDOWN" => "the server is a replica without its primary",
        "CLUSTERDOWN" => "the cluster is down: it lacks primaries or slots",
        "TRYAGAIN" => "the slot is just moving to another node of the cluster",
        "BUSY" => "the server is busy with a script",
        "WRONGTYPE" => "a key holds something this program did not write",
        "CROSSSLOT" | "MOVED" | "ASK" => {
            "the server is part of a cluster: name its nodes in \"cluster\""
        }
        _ => "",
    };
    if known.is_empty() {
        let code: String = code
            .chars()
            .filter(char::is_ascii_uppercase)
            .take(32)
            .collect();
        format!("the server refused with {code}")
    } else {
        known.to_owned()
    }
}

/// Which command, where the server names it: `… run the 'evalsha' command`.
fn may_not(detail: &str) -> String {
    let named = detail.split('\'').nth(1).unwrap_or("");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'|' | b'-');
    if (1..=32).contains(&named.len()) && named.bytes().all(plain) {
        let named = named.to_ascii_uppercase().replace('|', " ");
        return format!("our user on the server may not run {named}: add it to its ACL");
    }
    "our user on the server may not use our keys, or not run this command: look at its ACL"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_answer_leaves_the_outcome_open() {
        let why = || "why".to_owned();
        let unavailable = StoreError::Unavailable(why());
        assert_eq!(Fault::NotSent(why()).of_write(), unavailable);
        assert_eq!(Fault::Refused(why()).of_write(), unavailable);
        assert_eq!(
            Fault::NoAnswer(why()).of_write(),
            StoreError::OutcomeUnknown(why())
        );
        assert_eq!(Fault::NoAnswer(why()).of_read(), unavailable);
    }

    #[test]
    fn a_refused_command_is_named_and_nothing_else() {
        let told = |detail| code_words("NOPERM", Some(detail));
        assert_eq!(
            told("User assay has no permissions to run the 'cluster|slots' command"),
            "our user on the server may not run CLUSTER SLOTS: add it to its ACL"
        );
        let unknown = told("");
        for odd in [
            "No permissions to access a key",
            "'a b'",
            "'{b1}:s:1'",
            "''",
            "'",
        ] {
            assert_eq!(told(odd), unknown);
        }
    }

    #[test]
    fn an_unknown_code_is_told_without_the_text_behind_it() {
        let error = redis::make_extension_error("ODD".to_owned(), Some("key s:1".to_owned()));
        assert_eq!(words(&error), "the server refused with ODD");
    }
}
