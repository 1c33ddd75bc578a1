//! Assay tells real phones from fakes and gives each real one sessions only it can use.

// words
pub mod id;
pub mod key;
pub mod reason;
pub mod secret;
pub mod time;
// core
pub mod attestation;
pub mod policy;
pub mod proof;
pub mod token;
// port
pub mod store;
// edges
pub mod cli;
pub mod config;
pub mod simulator;
pub mod grpc;
pub mod telemetry;
