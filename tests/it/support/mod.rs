//! What several areas need: real servers and broken networks.

pub(crate) mod certificates;
pub(crate) mod http_server;
pub(crate) mod proxy;
pub(crate) mod records;
pub(crate) mod redis_cluster;
pub(crate) mod redis_sentinels;
pub(crate) mod redis_server;
pub(crate) mod sources;
