//! The `assay` command.

use std::io;
use std::process::ExitCode;

use assay::cli::{config, demo, inspect, keys, phone, serve};
use assay::time::Clock;
use clap::{Parser, Subcommand};

/// Tells real phones from fakes and gives each real one sessions only it can use.
#[derive(Debug, Parser)]
#[command(name = "assay", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::ServeArgs),
    /// Go through the whole story on this machine with software phones
    Demo(demo::DemoArgs),
    /// Explain evidence: what it says, what holds, what does not
    Inspect(inspect::InspectArgs),
    /// Check a configuration file, or print an example
    Config(config::ConfigArgs),
    /// Make the service's keys
    Keys(keys::KeysArgs),
    /// A software phone for development
    Phone(phone::PhoneArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Keys(args) => match keys::run(&args, Clock::system().now(), &mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                use io::Write as _;
                let _ = writeln!(io::stderr(), "assay keys: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Phone(args) => phone::run(&args),
    }
}
