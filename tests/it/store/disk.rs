//! The embedded store: what survives, what is refused, and what the clock takes away.

use super::*;
use assay::store::embedded::{FILE_NAME, OpenError};
use assay::store::{EVENT_KEPT_FOR, StoreError};
use assay::time::Timestamp;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

/// Where the processes started by these tests keep their store.
const CHILD_DIR: &str = "ASSAY_TEST_CHILD_DIR";

#[tokio::test]
async fn a_store_opened_again_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(dir.path());
    let version = create(&store, "s:1", b"one").await;
    assert_eq!(make(&store, claim("c:1", "me")).await, Claimed::Granted);
    let told = change().event(b"told").add("i:a", b"one");
    assert_eq!(store.commit(told.clone()).await, Ok(DONE));
    drop(store);

    let store = on_disk(dir.path());
    assert_eq!(load(&store, "s:1").await.unwrap().version, version);
    assert_eq!(make(&store, claim("c:1", "you")).await, taken_by("me"));
    assert_eq!(store.commit(told).await, Ok(DONE));
    assert_eq!(events(&store).await, [b"told"]);
    assert_eq!(members(&store, "i:a").await, [b"one"]);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_in(dir.path(), "a_process_that_writes_until_it_is_killed", None);
    let mut acknowledged = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if let Some(number) = line.unwrap().strip_prefix("acknowledged ") {
            acknowledged = number.parse().unwrap();
        }
        if acknowledged == 200 {
            // More may be acknowledged before the signal arrives; that does not matter.
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    assert_eq!(acknowledged, 200);
    assert_all_there(dir.path(), acknowledged).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by another test"]
async fn a_process_that_writes_until_it_is_killed() {
    let store = on_disk(&child_dir());
    for number in 1_u32.. {
        create(&store, &format!("s:{number}"), &number.to_be_bytes()).await;
        assert_eq!(
            store.commit(change().event(&number.to_be_bytes())).await,
            Ok(DONE)
        );
        eprintln!("acknowledged {number}");
    }
}

#[tokio::test]
async fn a_full_disk_fails_closed_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_in(
        dir.path(),
        "a_process_that_writes_until_its_disk_is_full",
        Some("trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""),
    );
    let mut acknowledged = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(number) = line.strip_prefix("acknowledged ") {
            acknowledged = number.parse().unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(acknowledged > 0);
    assert_all_there(dir.path(), acknowledged).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own, started by another test"]
async fn a_process_that_writes_until_its_disk_is_full() {
    let store = on_disk(&child_dir());
    let mut number = 0_u32;
    loop {
        number += 1;
        let mut bytes = vec![0; 64 * 1024];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let put = change().put(&format!("s:{number}"), None, &bytes);
        let put = put.event(&number.to_be_bytes());
        match store.commit(put).await {
            Ok(ended) => assert_eq!(ended, DONE),
            Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => break,
            Err(error) => panic!("{error}"),
        }
        eprintln!("acknowledged {number}");
        assert!(number < 10_000, "the disk is never full");
    }
    let refused = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(refused(
        store.commit(change().event(b"")).await.unwrap_err()
    ));
    assert!(refused(store.ping().await.unwrap_err()));
}

/// Runs one ignored test of this binary, under a line of shell if one is given.
fn child_in(dir: &Path, test: &str, shell: Option<&str>) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => Command::new(this),
        Some(line) => {
            let mut command = Command::new("sh");
            command.args(["-c", line]).arg(this);
            command
        }
    };
    command
        .args(["--exact", &format!("store::disk::{test}")])
        .args(["--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_dir() -> std::path::PathBuf {
    let dir = std::env::var_os(CHILD_DIR);
    dir.expect("only for processes that another test starts")
        .into()
}

async fn assert_all_there(dir: &Path, acknowledged: u32) {
    let store = on_disk(dir);
    for number in 1..=acknowledged {
        let stored = value(&store, &format!("s:{number}")).await;
        let stored = stored.unwrap_or_else(|| panic!("record {number} is lost"));
        assert_eq!(stored[..4], number.to_be_bytes());
    }
    let told = events(&store).await;
    for number in 1..=acknowledged {
        assert!(
            told.contains(&number.to_be_bytes().to_vec()),
            "event {number}"
        );
    }
    // And it goes on from there.
    create(&store, "s:next", b"").await;
}

#[tokio::test]
async fn a_directory_is_for_one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = on_disk(dir.path());
    let second = Embedded::open(dir.path(), Clock::system());
    assert!(matches!(second, Err(OpenError::InUse)), "{second:?}");
    drop(first);
    drop(on_disk(dir.path()));
}

#[test]
fn only_the_owner_can_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("state").join("assay");
    drop(on_disk(&inner));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&inner.join(FILE_NAME)), 0o600);
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    for bytes in [&b"hello"[..], &[0; 4096], &[0xff; 65_536]] {
        std::fs::write(&file, bytes).unwrap();
        let refused = Embedded::open(dir.path(), Clock::system());
        assert!(matches!(refused, Err(OpenError::Damaged(_))), "{refused:?}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let refused = Embedded::open(&dir.path().join("file"), Clock::system());
    assert!(
        matches!(refused, Err(OpenError::Directory(_))),
        "{refused:?}"
    );
}

#[test]
fn a_file_of_another_layout_is_refused() {
    const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
    let dir = tempfile::tempdir().unwrap();
    drop(on_disk(dir.path()));
    let database = redb::Database::create(dir.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert("layout", 2).unwrap();
    drop(meta);
    transaction.commit().unwrap();
    drop(database);
    let refused = Embedded::open(dir.path(), Clock::system());
    let expected = OpenError::Layout { found: 2, known: 1 }.to_string();
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

fn manual() -> Clock {
    Clock::manual(Timestamp::from_secs(1_800_000_000))
}

fn living(name: &str, seconds: u64) -> ChangeSet {
    let live_for = Some(Duration::from_secs(seconds));
    let value = b"one".to_vec();
    change().item(name, None, Change::Put { value, live_for })
}

#[tokio::test]
async fn lives_end_by_the_clock_to_the_millisecond() {
    let clock = manual();
    let store = Embedded::in_memory(clock.clone()).unwrap();
    assert_eq!(store.commit(living("s:1", 10)).await, Ok(DONE));
    let short = Claim {
        live_for: Some(Duration::from_secs(10)),
        ..claim("c:1", "me")
    };
    assert_eq!(make(&store, short).await, Claimed::Granted);
    clock.advance(Duration::from_millis(9_999));
    assert!(load(&store, "s:1").await.is_some());
    assert_eq!(make(&store, claim("c:1", "you")).await, taken_by("me"));
    clock.advance(Duration::from_millis(1));
    assert!(load(&store, "s:1").await.is_none());
    assert_eq!(make(&store, claim("c:1", "you")).await, Claimed::Granted);
}

#[tokio::test]
async fn a_renewed_record_outlives_its_first_life() {
    let clock = manual();
    let store = Embedded::in_memory(clock.clone()).unwrap();
    let first = living("s:1", 10);
    let version = first.operation;
    assert_eq!(store.commit(first).await, Ok(DONE));
    let mut second = living("s:1", 20);
    second.items[0].expected = Some(version);
    assert_eq!(store.commit(second).await, Ok(DONE));
    clock.advance(Duration::from_secs(11));
    // Enough writes to sweep what is over.
    create(&store, "s:2", b"").await;
    assert!(load(&store, "s:1").await.is_some());
    clock.advance(Duration::from_secs(10));
    assert!(load(&store, "s:1").await.is_none());
}

#[tokio::test]
async fn what_is_over_is_taken_out_of_the_file() {
    const ENTRIES: TableDefinition<'static, &'static str, (i64, &'static [u8])> =
        TableDefinition::new("entries");
    const EXPIRY: TableDefinition<'static, (i64, &'static str), ()> =
        TableDefinition::new("expiry");
    let clock = manual();
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), clock.clone()).unwrap();
    for number in 0..40 {
        assert_eq!(
            store.commit(living(&format!("s:{number}"), 1)).await,
            Ok(DONE)
        );
    }
    clock.advance(Duration::from_secs(3600));
    // 40 records and the 40 marks of their creations are over; these keep one mark each.
    for number in 0..10 {
        create(&store, &format!("d:{number}"), b"").await;
    }
    drop(store);
    let database = redb::Database::open(dir.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_read().unwrap();
    assert_eq!(transaction.open_table(ENTRIES).unwrap().len().unwrap(), 20);
    assert_eq!(transaction.open_table(EXPIRY).unwrap().len().unwrap(), 10);
}

#[tokio::test]
async fn a_rate_counts_by_the_clock_to_the_millisecond() {
    let clock = manual();
    let store = Embedded::in_memory(clock.clone()).unwrap();
    let rate = limit("l:1", Duration::from_secs(10), 2);
    let refused = |millis| Limited::Refused {
        retry_after: Duration::from_millis(millis),
    };
    assert_eq!(count(&store, &rate).await, Limited::Admitted);
    clock.advance(Duration::from_secs(4));
    assert_eq!(count(&store, &rate).await, Limited::Admitted);
    assert_eq!(count(&store, &rate).await, refused(6_000));
    clock.advance(Duration::from_millis(5_999));
    assert_eq!(count(&store, &rate).await, refused(1));
    clock.advance(Duration::from_millis(1));
    assert_eq!(count(&store, &rate).await, Limited::Admitted);
    assert_eq!(count(&store, &rate).await, refused(10_000));
    // Idle for long, there is room for the burst and no more.
    clock.advance(Duration::from_secs(3600));
    assert_eq!(
        count_all(&store, vec![rate.clone(); 2]).await,
        [Limited::Admitted; 2]
    );
    assert_eq!(count(&store, &rate).await, refused(10_000));
}

#[tokio::test]
async fn idle_rates_are_taken_out_of_the_file_and_counted_ones_and_indexes_stay() {
    const ENTRIES: TableDefinition<'static, &'static str, (i64, &'static [u8])> =
        TableDefinition::new("entries");
    let clock = manual();
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), clock.clone()).unwrap();
    assert_eq!(store.commit(change().add("i:a", b"one")).await, Ok(DONE));
    let slow = limit("l:slow", Duration::from_secs(3600), 1);
    assert_eq!(count(&store, &slow).await, Limited::Admitted);
    for number in 0..40 {
        let quick = limit(&format!("l:{number}"), Duration::from_secs(1), 5);
        assert_eq!(count(&store, &quick).await, Limited::Admitted);
    }
    clock.advance(Duration::from_secs(1800));
    for number in 0..10 {
        assert_eq!(
            make(&store, claim(&format!("c:{number}"), "me")).await,
            Claimed::Granted
        );
    }
    drop(store);
    let database = redb::Database::open(dir.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_read().unwrap();
    // The claims, and the one rate that is not idle yet.
    assert_eq!(transaction.open_table(ENTRIES).unwrap().len().unwrap(), 11);
    drop(transaction);
    drop(database);
    let store = Embedded::open(dir.path(), clock).unwrap();
    assert_ne!(count(&store, &slow).await, Limited::Admitted);
    assert_eq!(members(&store, "i:a").await, [b"one"]);
}

#[tokio::test]
async fn events_are_readable_for_their_time_and_then_go() {
    let clock = manual();
    let store = Embedded::in_memory(clock.clone()).unwrap();
    assert_eq!(store.commit(change().event(b"one")).await, Ok(DONE));
    clock.advance(EVENT_KEPT_FOR);
    assert_eq!(store.commit(change().event(b"two")).await, Ok(DONE));
    assert_eq!(events(&store).await, [b"one", b"two"]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(store.commit(change().event(b"six")).await, Ok(DONE));
    assert_eq!(events(&store).await, [b"two", b"six"]);
}

/// A machine that dies, or a copy that was broken off.
#[tokio::test]
async fn a_file_that_was_torn_is_refused_or_whole() {
    const RECORDS: u32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(dir.path());
    for number in 0..RECORDS {
        create(&store, &format!("s:{number}"), &[7; 4000]).await;
    }
    drop(store);
    let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
    let parts = (1..64).map(|part| whole.len() * part / 64);
    for left in parts.chain([1, 64, 4096, whole.len() - 4096, whole.len() - 1]) {
        let torn = tempfile::tempdir().unwrap();
        std::fs::write(torn.path().join(FILE_NAME), &whole[..left]).unwrap();
        match Embedded::open(torn.path(), Clock::system()) {
            Err(OpenError::Damaged(_)) => {}
            Err(other) => panic!("{other}"),
            Ok(store) => {
                for number in 0..RECORDS {
                    let found = value(&store, &format!("s:{number}")).await;
                    assert_eq!(found, Some(vec![7; 4000]), "{left} of {}", whole.len());
                }
            }
        }
    }
}
