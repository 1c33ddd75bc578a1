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
    let format = field(&object, "fmt", Value::as_text)?;
    let statement = field(&object, "attStmt", Value::as_map)?;
    let x5c = field(statement, "x5c", Value::as_array)?
        .iter()
        .map(|item| item.as_bytes().ok_or(ObjectError::Field("x5c")))
        .collect::<Result<_, _>>()?;
    let receipt = match statement.get("receipt") {
        None => None,
        Some(_) => Some(field(statement, "receipt", Value::as_bytes)?),
    };
    Ok(Object {
        format,
        x5c,
        receipt,
        auth_data: field(&object, "authData", Value::as_bytes)?,
    })
}

/// An assertion's signature and `authenticatorData`. Further text keys are skipped.
pub(super) fn assertion(bytes: &[u8]) -> Result<(&[u8], &[u8]), ObjectError> {
    let object = cbor::parse_map(bytes)?.ok_or(ObjectError::NotMap)?;
    Ok((
        field(&object, "signature", Value::as_bytes)?,
        field(&object, "authenticatorData", Value::as_bytes)?,
    ))
}

fn field<'m, 'a, T: 'm>(
    map: &'m Map<'a>,
    key: &'static str,
    read: impl Fn(&'m Value<'a>) -> Option<T>,
) -> Result<T, ObjectError> {
    map.get(key).and_then(read).ok_or(ObjectError::Field(key))
}
