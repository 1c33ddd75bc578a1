//! Signatures that prove nothing. Those of weak or foreign algorithms are real and would verify.

use super::*;

const ECDSA_SHA224: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
pub(in crate::android_attacks) const P256: &str = "ec_paramgen_curve:P-256";

const RSA_1024: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
pub(in crate::android_attacks) const RSA_2048: &[&str] =
    &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
/// Of five primes, which is quick to make.
const RSA_8192: &str = "rsa_keygen_bits:8192";
const RSA_8200: &str = "rsa_keygen_bits:8200";

pub(in crate::android_attacks) fn ec(parameters: &'static str) -> [&'static str; 4] {
    ["-algorithm", "EC", "-pkeyopt", parameters]
}

fn rsa_of_five_primes(bits: &'static str) -> [&'static str; 6] {
    let primes = "rsa_keygen_primes:5";
    ["-algorithm", "RSA", "-pkeyopt", bits, "-pkeyopt", primes]
}

/// A remote chain in which certificate `at` is signed by such a key above it.
pub(in crate::android_attacks) fn signed_by(
    at: usize,
    kind: &[&str],
    digest: &'static str,
    named: &[u8],
) -> Forge {
    remote_with(|f| {
        let named = algorithm(named, kind.contains(&"RSA"));
        f.certificates[at + 1].signer = Some(OpensslKey::generate(kind, digest));
        f.certificates[at].inner_algorithm = named.clone();
        f.certificates[at].outer_algorithm = named;
    })
}

/// A key that signed nothing.
fn foreign_key() -> Vec<u8> {
    remote_with(|_| {}).certificates[0].spki()
}

/// The leaf with a key of this kind, which only the policy for device keys looks at.
fn leaf_key(kind: &[&str]) -> Forge {
    remote_with(|f| f.certificates[0].spki = Some(OpensslKey::generate(kind, "").spki()))
}

/// An ML-DSA-65 key as recent hardware makes it: 1,952 octets (FIPS 204, table 2).
fn ml_dsa_65() -> Vec<u8> {
    let oid = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];
    let key = [&[0][..], &[0x5a; 1952]].concat();
    sequence(&[sequence(&[tlv(6, &oid)]), tlv(3, &key)])
}

/// A curve written out instead of named. Whoever writes one chooses the generator.
fn explicit_curve() -> Vec<u8> {
    OpensslKey::generate(
        &[&ec(P256)[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat(),
        "-sha256",
    )
    .spki()
}

attacks! { GROUP, refuses_signatures_that_prove_nothing;
    "signed by another key":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| remote_with(|f| f.certificates[at + 1].spki = Some(foreign_key()));
    "ECDSA with SHA-1":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, &ec(P256), "-sha1", ECDSA_SHA1);
    "ECDSA with SHA-224":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &ec(P256), "-sha224", ECDSA_SHA224);
    "ECDSA with SHA-512":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &ec(P256), "-sha512", ECDSA_SHA512);
    "RSA with SHA-1":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, RSA_2048, "-sha1", RSA_SHA1);
    "RSA with MD5":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, RSA_2048, "-md5", RSA_MD5);
    "RSA PSS":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, RSA_2048, "-sha256", RSA_PSS);
    "an RSA key of 1024 bits":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, RSA_1024, "-sha256", RSA_SHA256);
    "an RSA key of more than 8192 bits":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &rsa_of_five_primes(RSA_8200), "-sha256", RSA_SHA256);
    "a P-224 key":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, &ec("ec_paramgen_curve:P-224"), "-sha256", ECDSA_SHA256);
    "a P-521 key":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| signed_by(at, &ec("ec_paramgen_curve:P-521"), "-sha256", ECDSA_SHA256);
    "a P-521 key with SHA-512":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &ec("ec_paramgen_curve:P-521"), "-sha512", ECDSA_SHA512);
    "a secp256k1 key":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &ec("ec_paramgen_curve:secp256k1"), "-sha256", ECDSA_SHA256);
    "an Ed25519 key":
        AttestationChainUntrusted, "signatures", [1],
        |at| signed_by(at, &["-algorithm", "ED25519"], "", ED25519);
    "a curve written out instead of named":
        AttestationChainUntrusted, "signatures", [1],
        |at| remote_with(|f| f.certificates[at + 1].spki = Some(explicit_curve()));
    "an RSA algorithm over an EC key":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3],
        |at| remote_with(|f| {
            f.certificates[at].inner_algorithm = algorithm(RSA_SHA256, true);
            f.certificates[at].outer_algorithm = algorithm(RSA_SHA256, true);
        });
    "SHA-1 named in the root":
        AttestationChainUntrusted, "signatures", [4],
        |at| remote_with(|f| {
            f.certificates[at].inner_algorithm = algorithm(ECDSA_SHA1, false);
            f.certificates[at].outer_algorithm = algorithm(ECDSA_SHA1, false);
        });
    "another algorithm outside than inside":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3, 4],
        |at| remote_with(|f| f.certificates[at].inner_algorithm = algorithm(ECDSA_SHA384, false));
    "other parameters outside than inside":
        AttestationChainUntrusted, "signatures", [0, 1, 2, 3, 4],
        |at| remote_with(|f| f.certificates[at].outer_algorithm = algorithm(ECDSA_SHA256, true));
    "parameters that are neither absent nor NULL":
        AttestationChainUntrusted, "signatures", [1],
        |at| remote_with(|f| {
            let odd = sequence(&[tlv(6, ECDSA_SHA256), integer(1)]);
            f.certificates[at].inner_algorithm = odd.clone();
            f.certificates[at].outer_algorithm = odd;
        });
    "an ML-DSA-65 key as device key":
        AttestationKeyRejected, "device_key_algorithm", [0],
        |_| remote_with(|f| f.certificates[0].spki = Some(ml_dsa_65()));
    "an RSA key as device key":
        AttestationKeyRejected, "device_key_algorithm", [0],
        |_| leaf_key(RSA_2048);
    "a P-384 key as device key":
        AttestationKeyRejected, "device_key_algorithm", [0],
        |_| leaf_key(&ec("ec_paramgen_curve:P-384"));
    "an Ed25519 key as device key":
        AttestationKeyRejected, "device_key_algorithm", [0],
        |_| leaf_key(&["-algorithm", "ED25519"]);
    "a device key on a curve written out":
        AttestationKeyRejected, "device_key_algorithm", [0],
        |_| remote_with(|f| f.certificates[0].spki = Some(explicit_curve()));
}

/// The same signatures with what is allowed: it is the algorithm that is refused above, nothing else.
#[test]
fn accepts_what_differs_from_these_only_in_strength() {
    let largest = rsa_of_five_primes(RSA_8192);
    for (kind, digest, named) in [
        (&ec(P256)[..], "-sha256", ECDSA_SHA256),
        (&ec(P256)[..], "-sha384", ECDSA_SHA384),
        (&ec("ec_paramgen_curve:P-384")[..], "-sha256", ECDSA_SHA256),
        (RSA_2048, "-sha256", RSA_SHA256),
        (&largest, "-sha256", RSA_SHA256),
    ] {
        for at in 0..4 {
            let verdict = Case::from(signed_by(at, kind, digest, named)).verdict();
            assert!(verdict.is_ok(), "{kind:?} {digest}, {at}: {verdict:?}");
            if kind == largest {
                break;
            }
        }
    }
}
