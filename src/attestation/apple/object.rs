//! The attestation object: `{fmt, attStmt: {x5c, receipt?}, authData}`.

use super::cbor::{self, CborError, Map, Value};

/// The parts of an attestation object.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) format: &'a str,
    pub(super) x5c: Vec<&'a [u8]>,
    /// Outside every signature of the object: it proves nothing before it is verified itself.
    pub(super) receipt: Option<&'a [u8]>,
    pub(super) auth_data: &'a [u8],
}

/// Why bytes are not an object of the wanted shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ObjectError {
    #[error(transparent)]
    Cbor(#[from] CborError),
    #[error("the object is not a CBOR map")]
    NotMap,
    #[error("{0} is missing or of the wrong type")]
    Field(&'static str),
}

/// Reads an attestation object. Further text keys are skipped, here and in `attStmt`: apps with the
/// code directory entitlement get an unsigned `cdHash` that nothing may rely on.
pub(super) fn attestation(bytes: &[u8]) -> Result<Object<'_>, ObjectError> {
    let object = cbor::parse_map(bytes)?.ok_or(ObjectError::NotMap)?;
    let Some(Value::Text(format)) = object.get("fmt") else {
        return Err(ObjectError::Field("fmt"));
    };
    let Some(Value::Map(statement)) = object.get("attStmt") else {
        return Err(ObjectError::Field("attStmt"));
    };
    let Some(Value::Array(x5c)) = statement.get("x5c") else {
        return Err(ObjectError::Field("x5c"));
    };
    let receipt = match statement.get("receipt") {
        None => None,
        Some(Value::Bytes(bytes)) => Some(*bytes),
        Some(_) => return Err(ObjectError::Field("receipt")),
    };
    Ok(Object {
        format,
        x5c: x5c
            .iter()
            .map(|item| match item {
                Value::Bytes(der) => Ok(*der),
                _ => Err(ObjectError::Field("x5c")),
            })
            .collect::<Result<_, _>>()?,
        receipt,
        auth_data: bytes_of(&object, "authData")?,
    })
}

/// An assertion's signature and `authenticatorData`. Further text keys are skipped.
pub(super) fn assertion(bytes: &[u8]) -> Result<(&[u8], &[u8]), ObjectError> {
    let object = cbor::parse_map(bytes)?.ok_or(ObjectError::NotMap)?;
    Ok((
        bytes_of(&object, "signature")?,
        bytes_of(&object, "authenticatorData")?,
    ))
}

fn bytes_of<'a>(map: &Map<'a>, key: &'static str) -> Result<&'a [u8], ObjectError> {
    match map.get(key) {
        Some(Value::Bytes(bytes)) => Ok(bytes),
        _ => Err(ObjectError::Field(key)),
    }
}
