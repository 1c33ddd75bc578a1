//! The command line: one file per command.

pub mod config;
pub mod demo;
pub mod inspect;
pub mod keys;
pub mod phone;
pub mod serve;
