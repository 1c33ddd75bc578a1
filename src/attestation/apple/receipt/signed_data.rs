//! The envelope of a receipt: PKCS #7 `SignedData` (RFC 5652, 5) of the one shape Apple writes.

use std::borrow::Cow;

use super::ReceiptRefusal;
use crate::attestation::apple::ber::{
    BerError, CONTEXT_0, Element, INTEGER, NULL, OCTET_STRING, Reader, SEQUENCE, SET,
};

/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-data`, 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `id-sha256`, 2.16.840.1.101.3.4.2.1.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Version of `SignedData` over `id-data`, and of a signer named by issuer and serial number.
const VERSION: u32 = 1;

/// Genuine receipts bring three certificates: signer, intermediate, root.
const CERTIFICATES_MAX: usize = 4;

/// What the envelope holds. Nothing of it is verified.
pub(super) struct SignedData<'a> {
    /// What was signed.
    pub(super) content: Cow<'a, [u8]>,
    /// All certificates, DER, in the order written.
    pub(super) certificates: Vec<&'a [u8]>,
    /// Who signed.
    pub(super) signer: SignerInfo<'a>,
}

/// The one who signed, and the signature.
pub(super) struct SignerInfo<'a> {
    /// The name of who certified the signer, DER.
    pub(super) issuer: &'a [u8],
    /// The number of the signer's certificate.
    pub(super) serial: &'a [u8],
    /// ECDSA in DER.
    pub(super) signature: &'a [u8],
}

/// Reads an envelope to its last byte.
pub(super) fn parse(bytes: &[u8]) -> Result<SignedData<'_>, ReceiptRefusal> {
    let mut outside = Reader::new(bytes);
    let mut info = outside.enter(SEQUENCE)?;
    outside.finish()?;
    info.expect_oid(SIGNED_DATA)?;
    let mut explicit = info.enter(CONTEXT_0)?;
    info.finish()?;
    let mut data = explicit.enter(SEQUENCE)?;
    explicit.finish()?;

    version(&mut data)?;
    let mut digests = data.enter(SET)?;
    algorithm(&mut digests, SHA256)?;
    digests.finish()?;
    let content = content(&mut data)?;
    let certificates = certificates(data.enter(CONTEXT_0)?)?;
    let signer = one_signer(data.enter(SET)?)?;
    // Neither revocation lists nor anything else.
    data.finish()?;
    Ok(SignedData {
        content,
        certificates,
        signer: signer_info(signer)?,
    })
}

fn version(reader: &mut Reader<'_>) -> Result<(), BerError> {
    if reader.unsigned()? == VERSION {
        Ok(())
    } else {
        Err(BerError("it is of another version"))
    }
}

/// An algorithm without parameters, or with NULL for them, as Apple writes it for SHA-256.
fn algorithm(reader: &mut Reader<'_>, oid: &[u8]) -> Result<(), BerError> {
    let mut inside = reader.enter(SEQUENCE)?;
    inside.expect_oid(oid)?;
    if let Some(null) = inside.optional(NULL)?
        && !null.content.is_empty()
    {
        return Err(BerError("there is a NULL with content"));
    }
    inside.finish()
}

fn content<'a>(data: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, BerError> {
    let mut inside = data.enter(SEQUENCE)?;
    inside.expect_oid(DATA)?;
    let mut explicit = inside.enter(CONTEXT_0)?;
    inside.finish()?;
    let content = explicit.octets()?;
    explicit.finish()?;
    Ok(content)
}

fn certificates(mut set: Reader<'_>) -> Result<Vec<&[u8]>, BerError> {
    let mut found = Vec::new();
    while !set.is_empty() {
        if found.len() == CERTIFICATES_MAX {
            return Err(BerError("there are too many certificates"));
        }
        found.push(set.expect(SEQUENCE)?.raw);
    }
    Ok(found)
}

fn one_signer(mut set: Reader<'_>) -> Result<Reader<'_>, ReceiptRefusal> {
    let mut signers: Vec<Element<'_>> = Vec::new();
    while !set.is_empty() {
        signers.push(set.expect(SEQUENCE)?);
    }
    match signers.as_slice() {
        [signer] => Ok(signer.inside()),
        other => Err(ReceiptRefusal::Signers(other.len())),
    }
}

/// Receipts of autumn 2020 have signed attributes here and are nevertheless signed over the content,
/// against RFC 5652, 5.4; later ones have none. Either way the signature is held against the content
/// alone, and attributes are passed over unread: nothing vouches for them. A signature that was made
/// over attributes does not verify here, and attributes passed off as content do not parse as one.
fn signer_info(mut info: Reader<'_>) -> Result<SignerInfo<'_>, BerError> {
    version(&mut info)?;
    let mut named = info.enter(SEQUENCE)?;
    let issuer = named.expect(SEQUENCE)?.raw;
    let serial = named.expect(INTEGER)?.content;
    named.finish()?;
    algorithm(&mut info, SHA256)?;
    info.optional(CONTEXT_0)?;
    algorithm(&mut info, ECDSA_SHA256)?;
    let signature = info.expect(OCTET_STRING)?.content;
    info.finish()?;
    Ok(SignerInfo {
        issuer,
        serial,
        signature,
    })
}
