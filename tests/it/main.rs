//! Integration tests.

mod apple_assertions;
mod apple_attacks;
mod apple_support;
mod apple_vectors;
