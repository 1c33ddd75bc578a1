//! What the server's answers mean.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the client library keeps its value type open; what is not expected is odd"
)]

use std::time::Duration;

use redis::{ServerErrorKind, Value};

use super::super::rules::{Place, decode_record};
use super::super::{Claim, Claimed, Committed, Cursor, Key, Limited, Record, StoreError, Windowed};
use super::admission::Groups;
use super::fault::Fault;

/// An answer this program cannot read: what was asked may have been done.
pub(super) fn odd() -> Fault {
    Fault::NoAnswer("the server gave an answer that makes no sense".to_owned())
}

/// Whether the server does not know the script.
pub(super) fn is_unknown_script(answer: &Result<Value, Fault>) -> bool {
    let Ok(Value::ServerError(error)) = answer else {
        return false;
    };
    error.kind() == Some(ServerErrorKind::NoScript)
}

/// Whether it is certain that a command did nothing.
pub(super) const fn was_not_done(answer: &Result<Value, Fault>) -> bool {
    matches!(
        answer,
        Err(Fault::NotSent(_) | Fault::Refused(_)) | Ok(Value::ServerError(_))
    )
}

/// Whether the server is no primary any more. A new connection may lead to the one that is.
pub(super) fn is_from_replica(answer: &Value) -> bool {
    let Value::ServerError(error) = answer else {
        return false;
    };
    error.kind() == Some(ServerErrorKind::ReadOnly)
}

/// A number that counts something.
pub(super) fn count(answer: &Value) -> Option<u32> {
    let Value::Int(count) = answer else {
        return None;
    };
    u32::try_from(*count).ok()
}

/// A field of a map that counts something.
pub(super) fn number(map: &Value, name: &str) -> Option<i64> {
    let is_name = |value: &Value| *value == Value::BulkString(name.into());
    let value = match map {
        Value::Map(fields) => fields.iter().find(|(key, _)| is_name(key)).map(|(_, v)| v),
        Value::Array(fields) => fields.chunks_exact(2).find_map(|pair| match pair {
            [key, value] if is_name(key) => Some(value),
            _ => None,
        }),
        _ => None,
    };
    match value? {
        Value::Int(number) => Some(*number),
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

/// The records of a request, from one answer for each bucket.
pub(super) fn loaded(
    keys: &[Key],
    groups: &Groups<'_>,
    answers: Vec<Result<Value, Fault>>,
) -> Result<Vec<Option<Record>>, StoreError> {
    let mut records: Vec<Option<Record>> = vec![None; keys.len()];
    for (group, answer) in groups.values().zip(answers) {
        let values = answer.and_then(list).map_err(Fault::of_read)?;
        if values.len() != group.len() {
            return Err(odd().of_read());
        }
        for ((place, _), value) in group.iter().zip(values) {
            let stored = optional_bytes(value).map_err(Fault::of_read)?;
            if let (Some(slot), Some(stored)) = (records.get_mut(*place), stored) {
                *slot = Some(decode_record(&stored)?);
            }
        }
    }
    Ok(records)
}

/// How the claims ended.
pub(super) fn claimed(
    claims: &[Claim],
    answers: Vec<Result<Value, Fault>>,
) -> Result<Vec<Claimed>, Fault> {
    let ended = claims.iter().zip(answers).map(|(claim, answer)| {
        Ok(match answer.and_then(optional_bytes)? {
            Some(by) if by != claim.owner => Claimed::Taken { by },
            Some(_) | None => Claimed::Granted,
        })
    });
    ended.collect()
}

/// What the limit script said.
pub(super) fn limited(answer: Value) -> Result<Limited, Fault> {
    match answer {
        Value::Int(0) => Ok(Limited::Admitted),
        Value::Int(micros) => Ok(Limited::Refused {
            retry_after: Duration::from_micros(u64::try_from(micros).map_err(|_| odd())?),
        }),
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}

/// What the counter script said.
pub(super) fn windowed(answer: Value) -> Result<Windowed, Fault> {
    match answer {
        Value::Int(0) => Ok(Windowed::Admitted),
        Value::Int(1) => Ok(Windowed::Replayed),
        Value::Int(2) => Ok(Windowed::TooOld),
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}

/// The members of a part of an index.
pub(super) fn members(answer: Value) -> Result<Vec<Vec<u8>>, Fault> {
    let member = |member| optional_bytes(member)?.ok_or_else(odd);
    list(answer)?.into_iter().map(member).collect()
}

/// How the commit script ended.
pub(super) fn committed(answer: Value, replicas_acked: u32) -> Result<Committed, Fault> {
    match answer {
        Value::Int(0) => Ok(Committed::Done { replicas_acked }),
        Value::Int(-1) => Ok(Committed::Conflict),
        Value::Int(number) => Ok(Committed::ClaimTaken {
            index: place(number)?,
        }),
        Value::Array(parts) => match <[Value; 3]>::try_from(parts) {
            Ok([what, Value::Int(number), said]) => {
                let index = place(number)?;
                match text(what)?.as_str() {
                    "l" => match limited(said)? {
                        Limited::Refused { retry_after } => {
                            Ok(Committed::Limited { index, retry_after })
                        }
                        Limited::Admitted => Err(odd()),
                    },
                    "w" => Ok(Committed::CounterRefused {
                        index,
                        said: windowed(said)?,
                    }),
                    _ => Err(odd()),
                }
            }
            _ => Err(odd()),
        },
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}

/// The place of what the server counts from 1.
fn place(number: i64) -> Result<usize, Fault> {
    let place = usize::try_from(number).ok();
    place
        .and_then(|number| number.checked_sub(1))
        .ok_or_else(odd)
}

/// The entries of a stream, each an id and a list of one field and its value.
pub(super) fn events(answer: Value) -> Result<Vec<(Cursor, Vec<u8>)>, Fault> {
    // That is what the server says where none were asked for.
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let mut events = Vec::new();
    for entry in list(answer)? {
        let [id, fields] = <[Value; 2]>::try_from(list(entry)?).map_err(|_| odd())?;
        let event = list(fields)?.into_iter().nth(1).ok_or_else(odd)?;
        let event = optional_bytes(event)?.ok_or_else(odd)?;
        let id = text(id)?;
        let (millis, number) = id.split_once('-').ok_or_else(odd)?;
        let place = Place {
            millis: millis.parse().map_err(|_| odd())?,
            number: number.parse().map_err(|_| odd())?,
        };
        events.push((place.cursor(), event));
    }
    Ok(events)
}

/// A field of what a server says of itself.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim())
    })
}

/// An array.
pub(super) fn list(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}

/// A string; `None`: there is none.
pub(super) fn optional_bytes(value: Value) -> Result<Option<Vec<u8>>, Fault> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}

/// A text.
pub(super) fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| odd()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        Value::ServerError(error) => Err(Fault::reply(&error)),
        _ => Err(odd()),
    }
}
