//! What went wrong with the server, in plain words: no addresses, no credentials, no keys.

use std::error::Error as _;

use redis::{ErrorKind, RedisError, ServerError};

use super::super::StoreError;

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
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) | Self::Refused(why) => {
                StoreError::Unavailable(why)
            }
        }
    }

    /// For calls that may have changed something.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Self::NotSent(why) | Self::Refused(why) => StoreError::Unavailable(why),
            Self::NoAnswer(why) => StoreError::OutcomeUnknown(why),
        }
    }

    /// Why no connection could be made.
    pub(super) fn while_connecting(error: &RedisError) -> Self {
        Self::NotSent(format!("no connection: {}", words(error)))
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
        Self::Refused(code_words(error.code()))
    }
}

fn words(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return code_words("WRONGPASS");
    }
    if let Some(code) = error.code() {
        return code_words(code);
    }
    // Only the operating system and TLS speak for themselves: their texts hold nothing we sent.
    let spoken = error.source().filter(|_| error.is_io_error());
    spoken.map_or_else(|| error.category().to_owned(), ToString::to_string)
}

fn code_words(code: &str) -> String {
    let known = match code {
        "WRONGPASS" => "the server refused our user name or password",
        "NOAUTH" => "the server asks for a password and none is configured",
        "NOPERM" => "our user may not run this command on the server",
        "OOM" => "the server is out of memory",
        "READONLY" => "the server is a read-only replica",
        "LOADING" => "the server is still loading its data",
        "MISCONF" => "the server cannot save to its disk and refuses writes",
        "NOREPLICAS" => "the server has too few replicas and refuses writes",
        "MASTERDOWN" => "the server is a replica without its primary",
        "CLUSTERDOWN" => "the cluster is down",
        "BUSY" => "the server is busy with a script",
        "WRONGTYPE" => "a key holds something this program did not write",
        "CROSSSLOT" | "MOVED" | "ASK" => "the server is part of a cluster",
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
    fn an_unknown_code_is_told_without_the_text_behind_it() {
        let error = redis::make_extension_error("ODD".to_owned(), Some("key s:1".to_owned()));
        assert_eq!(words(&error), "the server refused with ODD");
    }
}
