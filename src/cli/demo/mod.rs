//! `assay demo`: the whole story on this machine, with software phones over real gRPC.
//!
//! The service is the real one on the embedded store, configured by a file like any other; the
//! phones' roots are trusted in this run only.

mod account;
mod story;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::config::Config;
use crate::service::Service;
use crate::simulator::Authorities;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;
use account::Account;

/// Where the phones aim their proofs: a name, since the port is another in every run.
const PUBLIC_URL: &str = "https://assay.demo.example";
/// The app.
const APP: &str = "demo";
/// The app's names on the platforms.
const PACKAGE: &str = "com.example.demo";
const TEAM: &str = "A1B2C3D4E5";
/// SHA-256 of the certificate the app is signed with.
const SIGNER: [u8; 32] = [0x5a; 32];

/// `assay demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs the demonstration: 0 when every step went as it must, 1 otherwise.
#[must_use]
pub fn run(_: &DemoArgs) -> ExitCode {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let told = tokio::runtime::Runtime::new()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(demonstrate(&mut io::stdout(), colour)));
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            let _ = writeln!(io::stderr(), "assay demo: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the story to `out`. Whether every step went as it must.
///
/// # Errors
/// Why the story could not begin, in plain words.
pub async fn demonstrate(out: &mut (dyn Write + Send), colour: bool) -> Result<bool, String> {
    let clock = Clock::system();
    let folder = Folder::new()?;
    let authorities = Authorities::generate(clock.now()).map_err(|error| error.to_string())?;
    folder.write("android-root.pem", &authorities.android_root_pem())?;
    folder.write("apple-root.pem", &authorities.apple_root_pem())?;
    folder.write("assay.toml", &configuration())?;
    let config =
        Config::load(&folder.path().join("assay.toml")).map_err(|report| report.to_string())?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let service = Service::start(&config, clock.clone(), metrics)
        .await
        .map_err(|error| error.to_string())?;
    let mut account = Account::new(out, colour);
    account.begin(service.grpc_addr());
    story::android(&mut account, &service, &authorities, &clock).await;
    story::apple(&mut account, &service, &authorities, &clock).await;
    account.end();
    service.stop().await;
    Ok(account.went_well())
}

fn configuration() -> String {
    let signer = data_encoding::HEXLOWER.encode(&SIGNER);
    format!(
        r#"mode = "development"

[server]
listen = "127.0.0.1:0"
public_url = "{PUBLIC_URL}"
plaintext = true

[side]
listen = "127.0.0.1:0"

[keys]
directory = "keys"
generate = true

[store]
kind = "memory"

[attestation]
android_roots = ["android-root.pem"]
apple_roots = ["apple-root.pem"]
status_list_missing = "allow"

[apps.{APP}]
audiences = ["https://api.example.com"]

[apps.{APP}.android]
package = "{PACKAGE}"
signing_certificate_sha256 = ["{signer}"]

[apps.{APP}.apple]
team_id = "{TEAM}"
bundle_id = "{PACKAGE}"
environment = "production"

[[apps.{APP}.scopes]]
scopes = ["read"]
"#
    )
}

/// A directory of this run, removed with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let unique = crate::secret::random::<8>().map_err(|error| error.to_string())?;
        let name = format!("assay-demo-{}", data_encoding::HEXLOWER.encode(&unique));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A left-over in the temporary directory is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}
