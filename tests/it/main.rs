//! Integration tests.
mod helm;
mod telemetry;
mod tls;
