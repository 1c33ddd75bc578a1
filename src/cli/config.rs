//! `assay config`: checks a configuration file, or prints an example of one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::{Config, DEVELOPMENT, EXAMPLE, Mode, StoreConfig, Transport};

/// Every problem was found; there are some.
const PROBLEMS: u8 = 1;
/// Nothing could be checked, or the answer could not be written.
const UNREADABLE: u8 = 2;

/// Check a configuration file, or print an example
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Check a configuration file and every file it names
    ///
    /// Prints every problem at once, as FILE:LINE:COLUMN with the line and a hint. Nothing is
    /// started, changed or connected to. What looks like a secret is never printed.
    ///
    /// Exit status: 0 the configuration is good, 1 it has problems, 2 the file cannot be read.
    Check {
        /// The configuration file (TOML)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print an example in which every key is explained
    ///
    /// Its form is valid as it stands; the files it names are yours to make. Write it to a file and
    /// change what is yours: `assay config example > assay.toml`
    Example {
        /// Print a short starter for development on one machine instead
        #[arg(long)]
        development: bool,
    },
}

/// Runs the command. Exit status 0: good; 1: the configuration has problems; 2: it cannot be read,
/// or the output cannot be written.
#[must_use]
pub fn run(args: &ConfigArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let status = write_to(args, &mut out).and_then(|status| out.flush().map(|()| status));
    ExitCode::from(status.unwrap_or(UNREADABLE))
}

/// As [`run`], written to `out`; answers the exit status.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_to(args: &ConfigArgs, out: &mut impl Write) -> io::Result<u8> {
    match &args.command {
        Command::Check { file } => check(file, out),
        Command::Example { development } => {
            let text = if *development { DEVELOPMENT } else { EXAMPLE };
            out.write_all(text.as_bytes())?;
            Ok(0)
        }
    }
}

fn check(file: &Path, out: &mut impl Write) -> io::Result<u8> {
    match Config::load(file) {
        Ok(config) => {
            writeln!(out, "{}: good ({})", file.display(), summary(&config))?;
            Ok(0)
        }
        Err(report) => {
            write!(out, "{report}")?;
            Ok(if report.is_unreadable() {
                UNREADABLE
            } else {
                PROBLEMS
            })
        }
    }
}

fn summary(config: &Config) -> String {
    let mode = match config.mode {
        Mode::Production => "production",
        Mode::Development => "development",
    };
    let transport = match &config.server.transport {
        Transport::Tls(_) => format!("mutual TLS, {} callers", config.callers.len()),
        Transport::Plaintext(roles) => format!("plaintext, {} roles for everyone", roles.len()),
    };
    let store = match &config.store {
        StoreConfig::Memory => "memory",
        StoreConfig::Disk { .. } => "disk",
        StoreConfig::Redis(_) => "Redis",
    };
    let apps: Vec<&str> = config.apps.keys().map(crate::id::AppId::as_str).collect();
    let apps = apps.join(", ");
    format!("{mode}; {transport}; store: {store}; apps: {apps}")
}
