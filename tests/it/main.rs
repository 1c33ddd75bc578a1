//! Integration tests.

mod apple_attacks;
mod apple_support;
mod apple_vectors;
