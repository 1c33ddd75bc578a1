//! Compact JWS (RFC 7515, 7.1) with ES256 and nothing else, read strictly.
//!
//! One text form: three parts, canonical base64url without padding, JSON objects in which no member
//! stands twice at any depth. What two parsers could read differently is refused.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::keyring::{Keyring, SIGNATURE_BYTES, SigningFailed};
use crate::key::{BadSignature, PublicKey};

/// The one algorithm (RFC 7518, 3.4).
pub(crate) const ALGORITHM: &str = "ES256";

/// The text is not a compact JWS in the one accepted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJws;

/// Names of the header parameters whose meaning would have to be understood (RFC 7515, 4.1.11).
const CRITICAL: &str = "crit";

/// A JWS that can be read but is not believed yet. Its signature is of the one algorithm, unless a
/// reader takes any bytes in its place and judges them itself.
#[derive(Clone)]
pub(crate) struct Unverified<S = [u8; SIGNATURE_BYTES]> {
    header: Map<String, Value>,
    payload: Map<String, Value>,
    signed: String,
    signature: S,
}

impl<S: TryFrom<Vec<u8>>> Unverified<S> {
    /// Reads a text of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`NotJws`], also for a header with critical extensions.
    pub(crate) fn parse(text: &str, bytes_max: usize) -> Result<Self, NotJws> {
        if text.len() > bytes_max {
            return Err(NotJws);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NotJws)?;
        let (header, payload) = signed.split_once('.').ok_or(NotJws)?;
        let header = object(&decode(header)?)?;
        if header.contains_key(CRITICAL) {
            return Err(NotJws);
        }
        Ok(Self {
            header,
            // A fourth part would leave a dot in the payload, which is not base64url.
            payload: object(&decode(payload)?)?,
            signed: signed.to_owned(),
            signature: decode(signature)?.try_into().map_err(|_| NotJws)?,
        })
    }
}

impl<S> Unverified<S> {
    /// A header parameter that is a text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// A header parameter that is an object.
    pub(crate) fn header_object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.header.get(name).and_then(Value::as_object)
    }

    /// The claims, not to be believed before [`Unverified::verify`].
    pub(crate) const fn payload(&self) -> &Map<String, Value> {
        &self.payload
    }

    /// What is signed: header and payload as they were sent.
    pub(crate) const fn signed(&self) -> &str {
        self.signed.as_str()
    }

    /// The third part.
    pub(crate) const fn signature(&self) -> &S {
        &self.signature
    }
}

impl Unverified {
    /// Whether the header names this type and the one algorithm, in exactly these letters.
    pub(crate) fn is_of_type(&self, typ: &str) -> bool {
        self.header("typ") == Some(typ) && self.header("alg") == Some(ALGORITHM)
    }

    /// Checks the signature and gives the claims.
    pub(crate) fn verify(self, key: &PublicKey) -> Result<Map<String, Value>, BadSignature> {
        key.verify_fixed(self.signed.as_bytes(), &self.signature)?;
        Ok(self.payload)
    }
}

/// Signs `payload` with the keyring's key.
pub(crate) fn sign(keyring: &Keyring, typ: &str, payload: &[u8]) -> Result<String, SigningFailed> {
    let kid = keyring.signing_kid();
    let header = format!(r#"{{"typ":"{typ}","alg":"{ALGORITHM}","kid":"{kid}"}}"#);
    compact(&header, payload, |message| keyring.sign(message))
}

/// The text of `payload` under `header`, signed by `sign`.
pub(crate) fn compact(
    header: &str,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<[u8; SIGNATURE_BYTES], SigningFailed>,
) -> Result<String, SigningFailed> {
    let mut text = BASE64URL_NOPAD.encode(header.as_bytes());
    text.push('.');
    BASE64URL_NOPAD.encode_append(payload, &mut text);
    let signature = sign(text.as_bytes())?;
    text.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut text);
    Ok(text)
}

fn decode(part: &str) -> Result<Vec<u8>, NotJws> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| NotJws)
}

fn object(json: &[u8]) -> Result<Map<String, Value>, NotJws> {
    match serde_json::from_slice(json) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        Ok(Strict(_)) | Err(_) => Err(NotJws),
    }
}

/// A JSON value without a repeated member name in any of its objects (RFC 7515, 4 leaves the choice
/// to refuse; taking the last one would let two readers see two claims).
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_stand_once_at_any_depth() {
        assert!(object(br#"{"a":1,"b":{"a":[{"a":null}]}}"#).is_ok());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
            r#"{"a":1} {}"#,
            r#"{"a":1}x"#,
            r#"{"a":1e999}"#,
            "[]",
            "1",
            "",
        ] {
            assert_eq!(object(bad.as_bytes()), Err(NotJws), "{bad}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(NotJws));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
        assert_eq!(object(deep.as_bytes()), Err(NotJws));
    }

    #[test]
    fn there_are_exactly_three_parts() {
        let part = BASE64URL_NOPAD.encode(b"{}");
        let signature = BASE64URL_NOPAD.encode(&[0; 64]);
        let parse = |text: &str| <Unverified>::parse(text, 4096).map(|_| ());
        assert_eq!(parse(&format!("{part}.{part}.{signature}")), Ok(()));
        for bad in [
            format!("{part}.{signature}"),
            format!("{part}.{part}.{part}.{signature}"),
            format!("{part}.{part}.{signature}."),
            format!(".{part}.{part}.{signature}"),
            format!("{part}.{part}.{signature} "),
            format!("{part}.{part}.{signature}=="),
            format!("{part}.{part}."),
            String::new(),
        ] {
            assert_eq!(parse(&bad), Err(NotJws), "{bad}");
        }
    }
}
