//! The integration tests: one binary, one module per area.

mod apple_assertions;
mod apple_attacks;
mod apple_support;
mod apple_vectors;
mod config;
mod helm;
mod simulator;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
mod telemetry;
mod tls;
mod tokens;
//! Integration tests.

#[cfg(test)]
mod android_attacks;
#[cfg(test)]
mod android_forge;
#[cfg(test)]
mod android_vectors;
