//! Compiles the protos with protox, so that no `protoc` is needed, and keeps the descriptor set for
//! reflection and for refusing unknown fields. Messages with tokens, proofs or subjects in them do not
//! print what they hold.

use std::collections::BTreeSet;
use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 7] = [
    "assay/v1/common.proto",
    "assay/v1/attestation.proto",
    "assay/v1/device.proto",
    "assay/v1/operations.proto",
    "assay/v1/revocation.proto",
    "assay/v1/session.proto",
    "assay/v1/verification.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("assay.binpb"), descriptors.encode_to_vec())?;
    let redacted = redacted_messages()?;
    std::fs::write(out.join("redacted.rs"), debug_impls(&redacted))?;
    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    prost.skip_debug(redacted.iter().map(|name| format!(".assay.v1.{name}")));
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::StrictCodec")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}

/// The messages, and the `oneof`s as `Message.oneof`, that have a field with `debug_redact`. The
/// generator does not know that option, and the types it works with drop it; so it is read from the
/// text, in the form that all our protos have: one field a line.
fn redacted_messages() -> Result<BTreeSet<String>, Box<dyn std::error::Error>> {
    let mut found = BTreeSet::new();
    for proto in PROTOS {
        let mut open: Vec<String> = Vec::new();
        for line in std::fs::read_to_string(format!("proto/{proto}"))?.lines() {
            let line = line.trim();
            let code = line.split("//").next().unwrap_or_default();
            if let Some(head) = code.trim_end().strip_suffix('{') {
                let name = head.split_whitespace().nth(1).unwrap_or_default();
                open.push(name.to_owned());
            } else if code.starts_with('}') {
                open.pop();
            } else if code.contains("debug_redact = true") {
                found.insert(open.join("."));
                // The generator leaves out both or none.
                found.extend(open.first().cloned());
            }
        }
    }
    Ok(found)
}

/// `Debug` of these: the name and nothing else.
fn debug_impls(redacted: &BTreeSet<String>) -> String {
    let mut code = String::new();
    for name in redacted {
        let path = match name.split_once('.') {
            None => name.clone(),
            Some((message, oneof)) => format!("{}::{}", snake(message), camel(oneof)),
        };
        let write = format!("f.write_str({:?})", format!("{name} [redacted]"));
        code.push_str(&format!(
            "impl ::core::fmt::Debug for {path} {{\n    fn fmt(&self, f: &mut \
             ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{ {write} }}\n}}\n"
        ));
    }
    code
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn camel(name: &str) -> String {
    let words = name.split('_').filter_map(|word| word.split_at_checked(1));
    words
        .map(|(first, rest)| first.to_ascii_uppercase() + rest)
        .collect()
}
