//! The integration tests: one binary, one module per area.
#![cfg(test)]

mod android_attacks;
mod android_forge;
mod android_odd;
mod android_quirks;
mod android_vectors;
mod apple_assertions;
mod apple_attacks;
mod apple_forms;
mod apple_matrix;
mod apple_mutations;
mod apple_odd;
mod apple_receipt_refresh;
mod apple_receipts;
mod apple_support;
mod apple_vectors;
mod apple_vouching;
mod architecture;
mod borders;
mod config;
mod differential;
mod flows;
mod fuzz_corpus;
mod grpc;
mod helm;
mod inspect;
mod pages;
mod reasons;
mod simulator;
mod store;
mod support;
mod telemetry;
mod tls;
mod tokens;
mod walk;
