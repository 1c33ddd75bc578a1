//! Assay tells real phones from fakes and gives each real one sessions only it can use.

// words
pub mod client;
pub mod id;
pub mod key;
pub mod reason;
pub mod secret;
pub mod time;
// core
pub mod attestation;
pub mod policy;
pub mod proof;
pub mod session;
pub mod token;
// port
pub mod store;
// shell
pub mod flow;
// edges
pub mod assemble;
pub mod cli;
pub mod config;
pub mod grpc;
pub mod key_directory;
pub mod outbound;
pub mod reappraisal;
pub mod receipts;
pub mod reload;
pub mod revocations;
pub mod service;
pub mod simulator;
pub mod status_feed;
pub mod telemetry;
