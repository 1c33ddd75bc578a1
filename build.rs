//! Compiles the protos with protox, so that no `protoc` is needed, and keeps the descriptor set for
//! reflection and for refusing unknown fields.

use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 5] = [
    "assay/v1/common.proto",
    "assay/v1/attestation.proto",
    "assay/v1/device.proto",
    "assay/v1/session.proto",
    "assay/v1/verification.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("assay.binpb"), descriptors.encode_to_vec())?;
    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::StrictCodec")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
