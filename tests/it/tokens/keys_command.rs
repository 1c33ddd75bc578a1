//! `assay keys generate`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use assay::cli::keys::{KeysArgs, run};
use assay::key_directory::{KeysError, read_keys};
use assay::time::Timestamp;
use assay::token::keyring::Keyring;
use clap::Parser;

use super::support::NOW;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    keys: KeysArgs,
}

fn keys(dir: &Path, rotate: &[&str], now: Timestamp) -> Result<String, KeysError> {
    let dir = dir.to_str().unwrap();
    let words = ["keys", "generate", "--dir", dir]
        .into_iter()
        .chain(rotate.iter().copied());
    let line = Line::try_parse_from(words).unwrap();
    let mut out = Vec::new();
    run(&line.keys, now, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn makes_private_files_that_are_a_keyring() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/keys");
    let told = keys(&dir, &[], NOW).unwrap();
    assert_eq!(mode(&dir), 0o700);
    let files = read_keys(&dir).unwrap();
    assert_eq!(files.len(), 3);
    for (name, text) in &files {
        assert_eq!(mode(&dir.join(name)), 0o600);
        assert!(told.contains(name.as_str()));
        assert!(!told.contains(text.expose().lines().nth(1).unwrap()));
    }
    let keyring = Keyring::from_pem(&files).unwrap();
    assert!(told.contains(&keyring.signing_kid().to_string()));
}

#[test]
fn never_overwrites() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys");
    keys(&dir, &[], NOW).unwrap();
    let before = format!(
        "{:?}",
        Keyring::from_pem(&read_keys(&dir).unwrap()).unwrap()
    );
    let later = NOW.after(Duration::from_secs(5));
    assert!(matches!(
        keys(&dir, &[], later),
        Err(KeysError::NotEmpty(_))
    ));
    // The same instant gives the same names.
    keys(&dir, &["--rotate"], later).unwrap();
    assert!(keys(&dir, &["--rotate"], later).is_err());
    let after = Keyring::from_pem(&read_keys(&dir).unwrap()).unwrap();
    assert_eq!(read_keys(&dir).unwrap().len(), 5);
    assert!(before.contains(&after.signing_kid().to_string()));
}

#[test]
fn rotation_adds_standby_keys_that_a_rename_puts_to_use() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys");
    assert!(matches!(
        keys(&dir, &["--rotate"], NOW),
        Err(KeysError::Empty(_))
    ));
    keys(&dir, &[], NOW).unwrap();
    let first = Keyring::from_pem(&read_keys(&dir).unwrap()).unwrap();
    keys(&dir, &["--rotate"], NOW.after(Duration::from_millis(1))).unwrap();
    let standby = Keyring::from_pem(&read_keys(&dir).unwrap()).unwrap();
    assert_eq!(standby.signing_kid(), first.signing_kid());
    for (name, _) in read_keys(&dir).unwrap() {
        std::fs::rename(dir.join(&name), dir.join(name.replace(".next.pem", ".pem"))).unwrap();
    }
    let used = Keyring::from_pem(&read_keys(&dir).unwrap()).unwrap();
    assert_ne!(used.signing_kid(), first.signing_kid());
}

#[test]
fn refuses_a_directory_that_others_can_enter() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        keys(&dir, &[], NOW),
        Err(KeysError::OpenToOthers(_))
    ));
    assert_eq!(read_keys(&dir).unwrap().len(), 0);
}

#[test]
fn names_sort_as_time_does() {
    let names = |millis: i64| {
        let files = assay::key_directory::generate_files(Timestamp::from_millis(millis)).unwrap();
        files[0].0.clone()
    };
    let base = NOW.as_secs() * 1000;
    let sorted: Vec<_> = [0, 1, 9, 10, 99, 100, 500, 999, 1000, 60_000]
        .iter()
        .map(|after| names(base + after))
        .collect();
    assert!(sorted.is_sorted(), "{sorted:?}");
}
