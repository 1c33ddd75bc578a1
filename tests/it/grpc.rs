//! The service as its callers find it: started from a configuration file, spoken to over gRPC, with
//! software phones.

mod binary;
mod callers;
mod crowd;
pub(crate) mod harness;
mod outages;
mod policies;
mod reappraisal;
pub(crate) mod refusal;
mod refusals;
mod scrapes;
mod step_up;
mod story;
mod tokens;
mod watching;
mod wire;
