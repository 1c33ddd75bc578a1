//! Integration tests.
mod tokens;

mod store;
mod support;

mod apple_attacks;
mod apple_support;
mod apple_vectors;
mod config;

mod simulator;
mod helm;
mod telemetry;
mod tls;
