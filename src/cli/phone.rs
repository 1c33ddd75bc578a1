//! `assay phone`: a software phone for development, to be used with grpcurl.

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;

use crate::secret::Secret;
use crate::simulator::apple::Environment;
use crate::simulator::proof::Dpop;
use crate::simulator::storage::{self, Profile, StorageError};
use crate::simulator::{self, Evidence};
use crate::time::{Clock, Timestamp};

/// The exit code for anything that could not be done.
const UNUSABLE: u8 = 2;

/// A made-up signing certificate. Like the other defaults it is what `assay config example
/// --development` names, so that a new phone fits the configuration that is printed there.
const SIGNING_DIGEST: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

/// A software phone for development
///
/// It makes genuine-looking evidence under roots of its own and signs proofs with keys in files.
/// It proves nothing: its roots are trusted only where a development configuration names them.
#[derive(Debug, Args)]
pub struct PhoneArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a phone, and authorities for it where there are none
    New(New),
    /// Print the JSON body of assay.v1.DeviceService/RegisterDevice; makes new keys each time
    Register(Register),
    /// Print a DPoP proof (RFC 9449) by the key of the last registration
    Proof(Proof),
}

#[derive(Debug, Args)]
struct New {
    /// The phone's directory
    #[arg(long)]
    dir: PathBuf,
    /// What kind of phone
    #[arg(long, value_enum, default_value_t = Platform::Android)]
    platform: Platform,
    /// Android: the app's package
    #[arg(long, default_value = "com.example.demo")]
    package: String,
    /// Android: SHA-256 of the app's signing certificate, hex
    #[arg(long, value_name = "HEX", default_value = SIGNING_DIGEST)]
    signing_digest: String,
    /// iOS: the app's team
    #[arg(long, default_value = "A1B2C3D4E5")]
    team_id: String,
    /// iOS: the app's bundle
    #[arg(long, default_value = "com.example.demo")]
    bundle_id: String,
    /// iOS: what the app was built for
    #[arg(long, value_enum, default_value_t = AppEnvironment::Development)]
    environment: AppEnvironment,
    /// Authorities to share with other phones [default: DIR/authorities]
    #[arg(long, value_name = "DIR")]
    authorities: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Platform {
    Android,
    Ios,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AppEnvironment {
    Development,
    Production,
}

#[derive(Debug, Args)]
struct Register {
    /// The phone's directory
    #[arg(long)]
    dir: PathBuf,
    /// The app, as the service's configuration names it
    #[arg(long)]
    app_id: String,
    /// Whom the device will belong to
    #[arg(long)]
    subject: String,
    /// The challenge of CreateChallenge, base64 as grpcurl prints it
    #[arg(long, value_name = "BASE64")]
    challenge: String,
}

#[derive(Debug, Args)]
struct Proof {
    /// The phone's directory
    #[arg(long)]
    dir: PathBuf,
    /// Method of the request; every gRPC call is a POST
    #[arg(long, default_value = "POST")]
    method: String,
    /// URI of the request, e.g. https://HOST/assay.v1.SessionService/IssueSession
    #[arg(long)]
    uri: String,
    /// The last nonce the service gave
    #[arg(long)]
    nonce: Option<String>,
    /// The access token the proof goes with; other users of the machine may see it in the list of
    /// processes
    #[arg(long, value_name = "TOKEN", value_parser = secret, conflicts_with = "access_token_file")]
    access_token: Option<Secret<String>>,
    /// A file with that access token
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
}

/// Keeps a token given on the command line out of every debug output.
#[expect(
    clippy::unnecessary_wraps,
    reason = "clap wants a parser that may fail"
)]
fn secret(text: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// Why a command could not be carried out, for a person.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Simulator(#[from] simulator::Error),
    #[error("the challenge is not base64")]
    Challenge,
    #[error("could not write the result: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command on the machine's clock and standard streams.
#[must_use]
pub fn run(args: &PhoneArgs) -> ExitCode {
    let now = Clock::system().now();
    run_with(args, now, &mut io::stdout().lock(), &mut io::stderr())
}

/// Runs the command: results go to `out`, what went wrong to `err`. Exit code 0, or 2 when it could
/// not be done.
#[must_use]
pub fn run_with(
    args: &PhoneArgs,
    now: Timestamp,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let done = match &args.command {
        Command::New(new) => make(new, now, out),
        Command::Register(register) => print_registration(register, now, out),
        Command::Proof(proof) => print_proof(proof, now, out),
    };
    match done.and_then(|()| out.flush().map_err(Failure::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With nowhere left to complain to, the exit code has to say it.
            let _ = writeln!(err, "error: {failure}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn make(new: &New, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let authorities = new
        .authorities
        .clone()
        .unwrap_or_else(|| new.dir.join("authorities"));
    let profile = match new.platform {
        Platform::Android => Profile::Android {
            package: new.package.clone(),
            signing_digest: HEXLOWER
                .encode(&storage::parse_digest(&new.signing_digest).ok_or(StorageError::Digest)?),
            authorities: absolute(&authorities)?,
        },
        Platform::Ios => Profile::Ios {
            team_id: new.team_id.clone(),
            bundle_id: new.bundle_id.clone(),
            environment: match new.environment {
                AppEnvironment::Development => Environment::Development,
                AppEnvironment::Production => Environment::Production,
            },
            authorities: absolute(&authorities)?,
        },
    };
    storage::create_phone(&new.dir, &profile, now)?;
    describe(&profile, out)
}

/// Kept as an absolute path, so that later commands may run from elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}

/// Says what a development configuration has to name.
fn describe(profile: &Profile, out: &mut dyn Write) -> Result<(), Failure> {
    let (android_root, apple_root) = storage::root_paths(profile.authorities());
    match profile {
        Profile::Android {
            package,
            signing_digest,
            ..
        } => {
            writeln!(out, "Made a software Android phone.")?;
            writeln!(out, "  package         {package}")?;
            writeln!(out, "  signing digest  {signing_digest}")?;
        }
        Profile::Ios {
            team_id,
            bundle_id,
            environment,
            ..
        } => {
            writeln!(out, "Made a software iPhone.")?;
            writeln!(out, "  team            {team_id}")?;
            writeln!(out, "  bundle          {bundle_id}")?;
            let environment = match environment {
                Environment::Development => "development",
                Environment::Production => "production",
            };
            writeln!(out, "  environment     {environment}")?;
        }
    }
    writeln!(out, "Roots, for a development configuration only:")?;
    writeln!(out, "  Android         {}", android_root.display())?;
    writeln!(out, "  Apple           {}", apple_root.display())?;
    Ok(())
}

fn print_registration(
    register: &Register,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let challenge = BASE64
        .decode(register.challenge.as_bytes())
        .map_err(|_| Failure::Challenge)?;
    let profile = storage::load_profile(&register.dir)?;
    let mut device = storage::fresh_device(&profile, now)?;
    let evidence = device.evidence(&challenge, &register.app_id, now)?;
    storage::keep_session_key(&register.dir, device.session_key()?)?;
    let evidence = match evidence {
        Evidence::Android { certificate_chain } => {
            let chain: Vec<String> = certificate_chain
                .iter()
                .map(|der| BASE64.encode(der))
                .collect();
            json!({ "android": { "certificate_chain": chain } })
        }
        Evidence::Apple {
            attestation_object,
            key_id,
            client_data,
        } => json!({ "apple": {
            "attestation_object": BASE64.encode(&attestation_object),
            "key_id": BASE64.encode(&key_id),
            "client_data": BASE64.encode(&client_data),
        } }),
    };
    let body = json!({
        "subject": register.subject,
        "app_id": register.app_id,
        "challenge": BASE64.encode(&challenge),
        "evidence": evidence,
    });
    writeln!(out, "{body}")?;
    Ok(())
}

fn print_proof(proof: &Proof, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let key = storage::load_session_key(&proof.dir)?;
    let token = match (&proof.access_token, &proof.access_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(Secret::new(storage::read(file)?)),
        (None, None) => None,
    };
    let mut dpop = Dpop::new(&proof.method, &proof.uri, now)?;
    dpop.nonce = proof.nonce.as_deref();
    dpop.access_token = token.as_ref().map(|token| token.expose().trim());
    writeln!(out, "{}", dpop.sign(&key)?)?;
    Ok(())
}
