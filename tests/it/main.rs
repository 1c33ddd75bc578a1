//! Integration tests.
mod tokens;
