//! `assay inspect`: explains evidence to a person and to scripts, offline, by the very checks of a
//! registration.

mod finding;
mod input;
mod json;
mod report;
mod words;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::attestation::apple::Environment;
use crate::id::AppId;
use crate::time::{Clock, Timestamp};
use finding::Finding;
use input::{Octets, Unusable, parse_base64, parse_hex, parse_time};

/// Nothing that was checked failed.
const ACCEPTED: u8 = 0;
/// A check failed, or the evidence cannot be read.
const REJECTED: u8 = 1;
/// Nothing could be examined, or the answer could not be written.
const UNUSABLE: u8 = 2;

const EXIT_STATUS: &str = "\
Exit status:
  0  accept: no check failed (what was not given is listed as not checked)
  1  reject: a check failed, or the evidence cannot be read
  2  unusable input: a file that cannot be read, is no PEM or base64, or is too large; wrong
     arguments; a configuration with problems";

/// Explain evidence of a phone, offline
///
/// Runs the very checks of a registration, all of them, and shows what was seen and what was wanted.
/// Nothing is sent anywhere and nothing is stored. What is not given, such as the challenge, is
/// listed as not checked.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct InspectArgs {
    #[command(subcommand)]
    evidence: EvidenceArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum EvidenceArgs {
    Android(AndroidArgs),
    Apple(AppleArgs),
    Assertion(AssertionArgs),
}

const ANDROID_EXAMPLES: &str = "\
Examples:
  What does this phone say of itself?
    assay inspect android chain.pem
  Would it register with our app, for this challenge?
    assay inspect android chain.pem --challenge 6a0f… --app demo --config assay.toml
  Was it good on the day it came in?
    assay inspect android chain.pem --at 2026-05-01T12:00:00Z --status-list status.json
  For a script:
    assay inspect android chain.pem --format json | jq -r .reason";

/// Explain an Android Key Attestation
///
/// Without --app the device has to be what the default policy asks for: a key in hardware, a locked
/// boot loader, a verified system. Which app made the key, and whether it can serve as a device key,
/// is then not checked.
#[derive(Debug, Clone, Args)]
#[command(after_help = ANDROID_EXAMPLES, after_long_help = format!("{ANDROID_EXAMPLES}\n\n{EXIT_STATUS}"))]
struct AndroidArgs {
    /// The certificates in PEM, leaf first; text between them is skipped; - is the standard input
    #[arg(value_name = "CHAIN.pem")]
    chain: PathBuf,
    /// The challenge the key has to be made for
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    challenge: Option<Octets>,
    /// The app of the configuration whose identity and policy the evidence has to meet
    #[arg(long, value_name = "ID", requires = "config")]
    app: Option<AppId>,
    /// The configuration: its app, its own list, and its roots and status list where none are given
    /// here
    #[arg(long, value_name = "FILE", requires = "app")]
    config: Option<PathBuf>,
    /// The time of the checks [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// Google's revocation status list, JSON
    #[arg(long, value_name = "FILE")]
    status_list: Option<PathBuf>,
    /// A root to trust in place of the built-in ones; may be given several times
    #[arg(long = "root", value_name = "PEM")]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

const APPLE_EXAMPLES: &str = "\
Examples:
  assay inspect apple object.bin --key-id 'lKm6IBdF…' --client-data client.json \\
      --team-id 9CYHJNG644 --bundle-id com.example.bank --environment production
  assay inspect apple object.b64 --key-id 'lKm6IBdF…' --client-data-hash d23a64a2… \\
      --team-id 9CYHJNG644 --bundle-id com.example.bank --environment development \\
      --at 2026-05-01T12:00:00Z --format json";

/// Explain an App Attest attestation
///
/// The client data is only hashed: what stands in it is not checked.
#[derive(Debug, Clone, Args)]
#[command(after_help = APPLE_EXAMPLES, after_long_help = format!("{APPLE_EXAMPLES}\n\n{EXIT_STATUS}"))]
struct AppleArgs {
    /// The attestation object, binary or base64; - is the standard input
    #[arg(value_name = "OBJECT")]
    object: PathBuf,
    /// The key id the app got with the key
    #[arg(long, value_name = "BASE64", value_parser = parse_base64, allow_hyphen_values = true)]
    key_id: Octets,
    #[command(flatten)]
    client_data: ClientDataArgs,
    #[command(flatten)]
    app: AppleAppArgs,
    /// The App Attest environment of the app
    #[arg(long, value_enum)]
    environment: AppEnvironment,
    /// The time of the checks [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// A root to trust in place of the built-in one; may be given several times
    #[arg(long = "root", value_name = "PEM")]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

const ASSERTION_EXAMPLES: &str = "\
Examples:
  assay inspect assertion assertion.bin --public-key 'BJLVjOf0…' --client-data request.json \\
      --team-id 9CYHJNG644 --bundle-id com.example.bank --last-counter 7";

/// Explain an App Attest assertion
///
/// An assertion says nothing of its environment: that is a property of the key, known from the
/// key's attestation.
#[derive(Debug, Clone, Args)]
#[command(after_help = ASSERTION_EXAMPLES, after_long_help = format!("{ASSERTION_EXAMPLES}\n\n{EXIT_STATUS}"))]
struct AssertionArgs {
    /// The assertion, binary or base64; - is the standard input
    #[arg(value_name = "OBJECT")]
    object: PathBuf,
    /// The attested key: its uncompressed point (X9.63, 65 bytes)
    #[arg(long, value_name = "BASE64_X963", value_parser = parse_base64, allow_hyphen_values = true)]
    public_key: Octets,
    #[command(flatten)]
    client_data: ClientDataArgs,
    #[command(flatten)]
    app: AppleAppArgs,
    /// The counter last seen of this key, 0 after its attestation
    #[arg(long, value_name = "N")]
    last_counter: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct ClientDataArgs {
    /// The client data, byte for byte
    #[arg(long, value_name = "FILE")]
    client_data: Option<PathBuf>,
    /// What was handed to App Attest as the hash of the client data; of any length, because some
    /// apps hand in something else
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    client_data_hash: Option<Octets>,
}

#[derive(Debug, Clone, Args)]
struct AppleAppArgs {
    /// The app's team, e.g. 9CYHJNG644
    #[arg(long, value_name = "T")]
    team_id: String,
    /// The app's bundle, e.g. com.example.bank
    #[arg(long, value_name = "B")]
    bundle_id: String,
}

#[derive(Debug, Clone, Args)]
struct OutputArgs {
    /// How the findings are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A report for a person; coloured on a terminal, unless NO_COLOR is set
    Text,
    /// One JSON object: verdict, reason, certificate_index, checks, device
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AppEnvironment {
    /// TestFlight, App Store, enterprise
    Production,
    /// Built with Xcode
    Development,
}

impl From<AppEnvironment> for Environment {
    fn from(environment: AppEnvironment) -> Self {
        match environment {
            AppEnvironment::Production => Self::Production,
            AppEnvironment::Development => Self::Development,
        }
    }
}

/// Runs the command on the machine's clock and standard streams. Exit status 0: accept; 1: reject;
/// 2: unusable input.
#[must_use]
pub fn run(args: &InspectArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let colour =
        out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let now = Clock::system().now();
    ExitCode::from(run_with(args, now, &mut out, &mut io::stderr(), colour))
}

/// As [`run`], at `now`: findings go to `out`, coloured or not, and what makes input unusable to
/// `err`. Answers the exit status; with unusable input nothing is written to `out`.
#[must_use]
pub fn run_with(
    args: &InspectArgs,
    now: Timestamp,
    out: &mut dyn Write,
    err: &mut dyn Write,
    colour: bool,
) -> u8 {
    match inspect(args, now, out, err, colour) {
        Ok(status) => status,
        Err(unusable) => {
            // With nowhere left to complain to, the exit status has to say it.
            let _ = writeln!(err, "error: {unusable}");
            UNUSABLE
        }
    }
}

fn inspect(
    args: &InspectArgs,
    now: Timestamp,
    out: &mut dyn Write,
    err: &mut dyn Write,
    colour: bool,
) -> Result<u8, Unusable> {
    let (finding, output) = match &args.evidence {
        EvidenceArgs::Android(args) => (finding::android(args, now, err)?, &args.output),
        EvidenceArgs::Apple(args) => (finding::apple(args, now)?, &args.output),
        EvidenceArgs::Assertion(args) => (finding::assertion(args, now)?, &args.output),
    };
    let text = match output.format {
        Format::Text => report::render(&finding, colour),
        Format::Json => json::render(&finding).map_err(io::Error::from)?,
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(status(&finding))
}

fn status(finding: &Finding) -> u8 {
    if finding.rejection().is_none() {
        ACCEPTED
    } else {
        REJECTED
    }
}
