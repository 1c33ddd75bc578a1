//! The messages and services of `proto/assay/v1`, as generated.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    unnameable_types,
    clippy::all,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    clippy::too_many_lines,
    reason = "generated code"
)]

tonic::include_proto!("assay.v1");

// `Debug` of the messages whose fields are marked `debug_redact`.
include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
