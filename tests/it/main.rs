//! Integration tests.
mod tokens;

mod store;
mod support;
