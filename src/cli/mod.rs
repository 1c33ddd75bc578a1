//! The command line: one file per command.

pub mod keys;
//! The command line.

pub mod config;
//! The command line.

pub mod phone;
