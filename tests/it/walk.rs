//! The walk in README.md, run as it stands: every block of commands by bash in an empty directory,
//! and what it prints held against the block of text behind it.
//!
//! Only the two ports are others, so that the test can run beside anything.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay::cli::phone::{PhoneArgs, run_with};
use assay::config::{Config, DEVELOPMENT};
use assay::time::{Timestamp, monotonic_now};
use clap::Parser;

use crate::support::redis_server::free_port;

const SECTION: &str = "## A walk in five minutes";

/// The ports in README.md: those of `assay config example --development`.
const PORTS: [&str; 2] = ["8443", "9464"];

/// Printed after every block; no program prints it by itself.
const MARK: &str = "=== end of a block of the walk ===";

/// Far more than the walk takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Commands, and what they print where the page says so.
pub(super) struct Step {
    pub(super) commands: String,
    pub(super) printed: Option<String>,
}

pub(super) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk() -> Vec<Step> {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let (_, section) = readme.split_once(SECTION).expect("the walk");
    steps_of(section.split("\n## ").next().unwrap())
}

/// The blocks of a text.
pub(super) fn steps_of(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: String = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        match kind {
            "sh" => steps.push(Step {
                commands: block,
                printed: None,
            }),
            "text" => steps.last_mut().expect("commands first").printed = Some(block),
            other => panic!("a block of the walk is neither sh nor text but {other:?}"),
        }
    }
    steps
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A process group of our own; nothing of it outlives this.
struct Group(Child);

impl Group {
    /// Waits for the first process, at most so long.
    fn wait(&mut self) -> bool {
        let end = monotonic_now() + PATIENCE;
        while monotonic_now() < end {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // When everything has ended by itself there is nobody to tell.
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.0.wait();
    }
}

pub(super) fn free_ports() -> [String; 2] {
    PORTS.map(|_| free_port().to_string())
}

fn with_ports(text: &str, ports: &[String; 2]) -> String {
    PORTS
        .iter()
        .zip(ports)
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The `assay` of the walk: this build, with the free ports in the configuration it prints.
fn put_assay(bin: &Path, ports: &[String; 2]) {
    let assay = env!("CARGO_BIN_EXE_assay");
    let rules = PORTS.iter().zip(ports);
    let rules: Vec<String> = rules.map(|(from, to)| format!("s/{from}/{to}/g")).collect();
    let rules = rules.join(";");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = config ]; then '{assay}' \"$@\" | sed '{rules}'; else exec \
         '{assay}' \"$@\"; fi\n"
    );
    let path = bin.join("assay");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The path with `assay` and grpcurl in front.
fn path(bin: &Path) -> String {
    let tools =
        std::env::var_os("ASSAY_TOOLS").map_or_else(|| project().join(".tools/bin"), PathBuf::from);
    let grpcurl = tools.join("grpcurl");
    assert!(
        grpcurl.exists(),
        "{} is not there: `make setup` installs it",
        grpcurl.display()
    );
    let before = std::env::var("PATH").unwrap();
    format!("{}:{}:{before}", bin.display(), tools.display())
}

/// Runs the walk; what each block printed.
pub(super) fn run(steps: &[Step], ports: &[String; 2]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    let work = dir.path().join("work");
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&work).unwrap();
    put_assay(&bin, ports);
    let script: String = steps
        .iter()
        .map(|step| format!("{}echo '{MARK}'\n", with_ports(&step.commands, ports)))
        .collect();
    fs::write(dir.path().join("walk.sh"), script).unwrap();
    let printed = dir.path().join("printed");
    let out = fs::File::create(&printed).unwrap();
    let bash = Command::new("bash")
        .args(["-u", "../walk.sh"])
        .current_dir(&work)
        .env("PATH", path(&bin))
        .stdin(Stdio::null())
        .stderr(out.try_clone().unwrap())
        .stdout(out)
        .process_group(0)
        .spawn()
        .unwrap();
    let in_time = Group(bash).wait();
    let printed = fs::read_to_string(printed).unwrap();
    let log = fs::read_to_string(work.join("assay.log")).unwrap_or_default();
    assert!(in_time, "the walk does not end:\n{printed}\nlog:\n{log}");
    let mark = format!("{MARK}\n");
    let mut blocks: Vec<String> = printed.split(&mark).map(str::to_owned).collect();
    assert_eq!(blocks.pop().as_deref(), Some(""), "{printed}\nlog:\n{log}");
    blocks
}

#[test]
fn the_walk_in_the_readme_prints_what_it_says() {
    let steps = walk();
    assert!(steps.len() >= 8, "the walk has only {} blocks", steps.len());
    let printed = run(&steps, &free_ports());
    assert_eq!(printed.len(), steps.len());
    for (step, printed) in steps.iter().zip(&printed) {
        let wanted = step.printed.as_deref().unwrap_or_default();
        assert!(
            matches(wanted, printed),
            "commands:\n{}\nwanted:\n{wanted}\nprinted:\n{printed}",
            step.commands
        );
    }
}

#[test]
fn the_walk_covers_the_life_of_a_device() {
    let steps = walk();
    let all: String = steps.iter().map(|step| step.commands.as_str()).collect();
    for rpc in [
        "CreateChallenge",
        "RegisterDevice",
        "IssueSession",
        "VerifyRequest",
        "RefreshSession",
        "FindDevices",
        "SuspendDevice",
        "ResumeDevice",
        "ListAuditEvents",
        "RevokeDevice",
    ] {
        assert!(all.contains(&format!("Service/{rpc}")), "{rpc}");
    }
    let said: String = steps
        .iter()
        .filter_map(|step| step.printed.clone())
        .collect();
    for word in ["PROOF_REPLAYED", "DEVICE_SUSPENDED", "DEVICE_REVOKED"] {
        assert!(said.contains(word), "{word}");
    }
}

#[test]
fn a_pattern_of_the_walk_is_compared_letter_by_letter_but_for_its_gaps() {
    for (pattern, text) in [
        ("", ""),
        ("a\n", "a\n"),
        ("a…c\n", "abc\n"),
        ("…", "x\ny\n"),
        ("…b…d\n", "abcd\n"),
        ("a\n…\nz\n", "a\nm\nz\n"),
    ] {
        assert!(matches(pattern, text), "{pattern:?} {text:?}");
    }
    for (pattern, text) in [
        ("", "a\n"),
        ("a\n", ""),
        ("a…c\n", "abd\n"),
        ("b…\n", "ab\n"),
        ("…b…b\n", "ab\n"),
    ] {
        assert!(!matches(pattern, text), "{pattern:?} {text:?}");
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    phone: PhoneArgs,
}

/// What `assay phone new` tells of a phone with the defaults of its platform.
fn new_phone(platform: &str) -> String {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("phone");
    let words = [
        "phone",
        "new",
        "--platform",
        platform,
        "--dir",
        dir.to_str().unwrap(),
    ];
    let line = Line::try_parse_from(words).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let now = Timestamp::from_secs(1_795_323_877);
    let _ = run_with(&line.phone, now, &mut out, &mut err);
    assert!(err.is_empty(), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_new_phone_has_the_app_of_the_development_configuration() {
    let config = Config::parse(DEVELOPMENT, Path::new("/")).unwrap_or_else(|r| panic!("{r}"));
    let identity = &config.apps.values().next().unwrap().identity;
    let android = identity.android.as_ref().unwrap();
    let told = new_phone("android");
    let digest = data_encoding::HEXLOWER.encode(&android.signing_certificate_sha256[0]);
    assert!(told.contains(&format!("package         {}\n", android.package_name)));
    assert!(told.contains(&format!("signing digest  {digest}\n")));
    let apple = identity.apple.as_ref().unwrap();
    let told = new_phone("ios");
    assert!(told.contains(&format!("team            {}\n", apple.team_id)));
    assert!(told.contains(&format!("bundle          {}\n", apple.bundle_id)));
    assert_eq!(
        apple.environment,
        assay::attestation::apple::Environment::Development
    );
    assert!(told.contains("environment     development\n"));
}
