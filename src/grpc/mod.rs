//! The gRPC edge: who is connected, who may call what, how requests become our own words, and how a
//! refusal looks on the wire.

pub mod caller;
pub mod codec;
mod connection;
pub mod guard;
pub mod http2;
pub mod listener;
pub mod observe;
pub mod proto;
pub mod server;
mod service;
pub mod status;
pub mod tls;
mod wire;

pub use service::Services;
