//! `assay keys generate`: makes the files of the service's keyring.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::key_directory::{KeysError, generate};
use crate::time::Timestamp;

/// `assay keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make the service's keys: one that signs tokens, one secret, one index key
    Generate(GenerateArgs),
}

/// `assay keys generate`.
#[derive(Debug, Args)]
struct GenerateArgs {
    /// Directory of the key files; made with mode 0700 where it does not exist
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Add a new signing key and secret to existing keys. They end in .next.pem: known, not yet used.
    /// Give them to every instance first, then rename them to .pem to put them to use
    #[arg(long)]
    rotate: bool,
}

/// Runs the command; what it made is told to `out`: names and ids, no secret.
///
/// # Errors
/// [`KeysError`]; no file is overwritten, and none of the new ones is left behind.
pub fn run(args: &KeysArgs, now: Timestamp, out: &mut impl Write) -> Result<(), KeysError> {
    let KeysCommand::Generate(args) = &args.command;
    generate(&args.dir, args.rotate, now, out)
}
