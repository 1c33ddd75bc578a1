//! The integration tests: one binary, one module per area.
#![cfg(test)]

mod android_attacks;
mod android_forge;
mod android_odd;
mod android_vectors;
mod apple_assertions;
mod apple_attacks;
mod apple_support;
mod apple_vectors;
mod architecture;
mod borders;
mod config;
mod flows;
mod grpc;
mod helm;
mod inspect;
mod outbound;
mod pages;
mod reasons;
mod simulator;
mod status_feed;
mod store;
mod support;
mod telemetry;
mod tls;
mod tokens;
mod walk;
