//! The gRPC edge: who is connected, who may call what, and how a refusal looks on the wire.

pub mod caller;
mod connection;
pub mod listener;
pub mod observe;
pub mod server;
pub mod status;
pub mod tls;
