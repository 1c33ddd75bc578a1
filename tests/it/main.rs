//! Integration tests.

#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
