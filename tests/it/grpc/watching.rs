//! WatchRevocations and what belongs to it, over a real connection.

use std::time::Duration;

use assay::grpc::proto;
use assay::grpc::proto::watch_revocations_response::Told;
use assay::id::{Bucket, SessionId};
use assay::session::{Notice, Target};
use tonic::{Code, Status, Streaming};

use super::harness::{Clients, MEMORY, Server, World, eventually};
use super::refusal::assert_refused;

type Watching = Streaming<proto::WatchRevocationsResponse>;

fn request(cursor: &str, watcher_id: &str) -> proto::WatchRevocationsRequest {
    proto::WatchRevocationsRequest {
        cursor: cursor.to_owned(),
        watcher_id: watcher_id.to_owned(),
    }
}

async fn watch(clients: &Clients, cursor: &str, name: &str) -> Result<Watching, Status> {
    let mut client = clients.revocation();
    let answer = client.watch_revocations(request(cursor, name)).await?;
    Ok(answer.into_inner())
}

async fn next(watching: &mut Watching) -> Told {
    let message = watching.message().await.unwrap().expect("a message");
    message.told.unwrap()
}

fn a_session(number: u32) -> SessionId {
    let mut unique = [0; 16];
    unique[..4].copy_from_slice(&number.to_be_bytes());
    SessionId::new(Bucket::new(1).unwrap(), unique)
}

fn post(server: &Server, world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let notice = Notice {
            target: Target::Session(a_session(number)),
            issued_until: world.clock.now(),
        };
        let engine = server.service.engine();
        engine.board.post(notice, world.clock.now());
    }
}

/// A second later, and nothing is missing.
fn complete(server: &Server, world: &World) {
    world.clock.advance(Duration::from_secs(1));
    let now = world.clock.reading();
    server.service.engine().board.checkpoint(now, now.now);
}

async fn ack(clients: &Clients, name: &str, cursor: &str) -> Result<(), Status> {
    let request = proto::AckRevocationsRequest {
        watcher_id: name.to_owned(),
        cursor: cursor.to_owned(),
    };
    clients
        .revocation()
        .ack_revocations(request)
        .await
        .map(drop)
}

async fn confirm(
    clients: &Clients,
    seconds: i64,
) -> Result<Vec<proto::ConfirmRevocationsResponse>, Status> {
    let wait_for = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = proto::ConfirmRevocationsRequest { wait_for };
    let mut client = clients.revocation();
    let mut stream = client.confirm_revocations(request).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

/// Reads up to a checkpoint of now: what was told, and the cursor.
async fn to_checkpoint(watching: &mut Watching, world: &World) -> (Vec<Told>, String) {
    // The instance says some of its own, and the first of them at any moment.
    let now = world.clock.now().as_secs();
    let mut all = Vec::new();
    loop {
        match next(watching).await {
            Told::Checkpoint(checkpoint) => {
                if checkpoint.complete_until_time.unwrap().seconds >= now {
                    return (all, checkpoint.cursor);
                }
            }
            Told::Incomplete(_) => {}
            told @ (Told::SnapshotBegin(_) | Told::SnapshotEnd(_) | Told::Revocations(_)) => {
                all.push(told);
            }
        }
    }
}

fn sessions(told: &[Told]) -> Vec<String> {
    let notices = told.iter().filter_map(|told| match told {
        Told::Revocations(notices) => Some(&notices.notices),
        Told::SnapshotBegin(_)
        | Told::SnapshotEnd(_)
        | Told::Checkpoint(_)
        | Told::Incomplete(_) => None,
    });
    let targets = notices.flatten().map(|notice| notice.target.clone());
    let named = targets.map(|target| match target {
        Some(proto::revocation_notice::Target::SessionId(id)) => id,
        other => panic!("{other:?}"),
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_at_once_and_goes_on_where_it_was() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut watching = watch(&server, "", "").await.unwrap();
    post(&server, &world, 0..1);
    complete(&server, &world);
    let (told, _) = to_checkpoint(&mut watching, &world).await;
    assert_eq!(
        told.first(),
        Some(&Told::SnapshotBegin(proto::SnapshotBegin {}))
    );
    assert_eq!(sessions(&told), [a_session(0).to_string()]);
    post(&server, &world, 1..2);
    complete(&server, &world);
    let (told, _) = to_checkpoint(&mut watching, &world).await;
    assert_eq!(sessions(&told), [a_session(1).to_string()]);
    // What came within a minute before a cursor is told again.
    world.clock.advance(Duration::from_secs(120));
    complete(&server, &world);
    let (told, cursor) = to_checkpoint(&mut watching, &world).await;
    assert!(told.is_empty());
    drop(watching);
    post(&server, &world, 2..3);
    complete(&server, &world);
    let mut watching = watch(&server, &cursor, "").await.unwrap();
    let (told, _) = to_checkpoint(&mut watching, &world).await;
    assert_eq!(sessions(&told), [a_session(2).to_string()]);
    drop(watching);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_everybody_has_heard_is_known_when_they_have_said_so() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut watching = watch(&server, "", "api-0").await.unwrap();
    complete(&server, &world);
    to_checkpoint(&mut watching, &world).await;
    // As soon as the instance has said who is there, and for as long as it takes to be sure.
    let listed = eventually("the watcher is listed", || async {
        let last = confirm(&server, 0).await.unwrap().pop().unwrap();
        (!last.watchers.is_empty()).then_some(last)
    });
    let listed = listed.await;
    assert!(listed.done && !listed.all_heard);
    assert_eq!(listed.watchers[0].caller, "plaintext");
    assert_eq!(listed.watchers[0].watcher_id, "api-0");
    assert!(!listed.watchers[0].heard && listed.watchers[0].acked_until_time.is_none());
    world.clock.advance(Duration::from_secs(3));
    let hear = async {
        loop {
            complete(&server, &world);
            let (_, cursor) = to_checkpoint(&mut watching, &world).await;
            ack(&server, "api-0", &cursor).await.unwrap();
        }
    };
    let answers = tokio::select! {
        answers = confirm(&server, 30) => answers.unwrap(),
        () = hear => unreachable!("it never ends"),
    };
    let (last, before) = answers.split_last().unwrap();
    assert!(
        last.all_heard && last.done && last.watchers[0].heard,
        "{last:?}"
    );
    assert!(
        before
            .iter()
            .all(|answer| !answer.done && !answer.all_heard)
    );
    drop(watching);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_stream_and_is_not_held_up() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut told = watch(&server, "", "").await.unwrap();
    let mut waiting = watch(&server, "", "api-0").await.unwrap();
    complete(&server, &world);
    to_checkpoint(&mut told, &world).await;
    let ends = |mut watching: Watching| async move {
        loop {
            match watching.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    };
    to_checkpoint(&mut waiting, &world).await;
    let (one, other, ()) = tokio::join!(ends(told), ends(waiting), server.stop());
    assert_eq!(
        (one.code(), other.code()),
        (Code::Unavailable, Code::Unavailable)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_is_sent_away_and_loses_nothing() {
    const ALL: u32 = 100_000;
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut watching = watch(&server, "", "").await.unwrap();
    complete(&server, &world);
    let (_, cursor) = to_checkpoint(&mut watching, &world).await;
    post(&server, &world, 0..ALL);
    complete(&server, &world);
    // Longer than it may take no message.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let mut got = 0;
    let status = loop {
        match watching.message().await {
            Ok(Some(message)) => got += sessions(&[message.told.unwrap()]).len(),
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_refused(&status, "OVERLOADED");
    assert!(got < ALL as usize, "it was sent away before it had all");
    let mut watching = watch(&server, &cursor, "").await.unwrap();
    let (told, _) = to_checkpoint(&mut watching, &world).await;
    assert_eq!(sessions(&told).len(), ALL as usize);
    drop(watching);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_has_so_many_streams_and_gets_their_places_back() {
    const OF_ONE_CALLER: usize = 256;
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut streams = Vec::new();
    while streams.len() < OF_ONE_CALLER {
        // A connection has fewer than a caller.
        let clients = server.connect_again();
        for _ in 0..64 {
            streams.push(watch(&clients, "", "").await.unwrap());
        }
    }
    let clients = server.connect_again();
    let refused = watch(&clients, "", "").await.unwrap_err();
    assert_refused(&refused, "OVERLOADED");
    streams.pop();
    eventually("a place", || async { watch(&clients, "", "").await.ok() }).await;
    drop(streams);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cursor_name_or_span_is_refused() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let future = {
        let mut watching = watch(&server, "", "").await.unwrap();
        world.clock.advance(Duration::from_secs(3600));
        complete(&server, &world);
        let then = world.clock.now().as_secs();
        // A round of the service's own may have begun before the clock was set.
        let cursor = loop {
            if let Told::Checkpoint(checkpoint) = next(&mut watching).await
                && checkpoint.complete_until_time.unwrap().seconds >= then
            {
                break checkpoint.cursor;
            }
        };
        world
            .clock
            .set(world.clock.now().before(Duration::from_secs(3600)));
        cursor
    };
    let long = "x".repeat(65);
    for (cursor, name) in [
        ("A", ""),
        ("AQAAAAAAAAAAAA==", ""),
        (future.as_str(), ""),
        ("", "two words"),
        ("", long.as_str()),
    ] {
        let refused = watch(&server, cursor, name).await.unwrap_err();
        assert_refused(&refused, "MALFORMED_REQUEST");
    }
    for (cursor, name) in [
        ("", "api-0"),
        (future.as_str(), "api-0"),
        ("AQAAAAAAAAAA", ""),
    ] {
        let refused = ack(&server, name, cursor).await.unwrap_err();
        assert_refused(&refused, "MALFORMED_REQUEST");
    }
    let refused = confirm(&server, 31).await.unwrap_err();
    assert_refused(&refused, "MALFORMED_REQUEST");
    server.stop().await;
}

async fn drill(clients: &Clients, app: &str) -> Result<Vec<proto::RunDrillResponse>, Status> {
    let request = proto::RunDrillRequest {
        app_id: app.to_owned(),
        wait_for: Some(prost_types::Duration {
            seconds: 0,
            nanos: 0,
        }),
    };
    let mut stream = clients.operations().run_drill(request).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_tells_each_step_and_what_it_found() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let mut watching = watch(&server, "", "api-0").await.unwrap();
    complete(&server, &world);
    to_checkpoint(&mut watching, &world).await;
    let answers = drill(&server, "demo").await.unwrap();
    let steps: Vec<_> = answers
        .iter()
        .map(|line| (line.step(), line.passed))
        .collect();
    use proto::DrillStep as Step;
    assert_eq!(
        steps,
        [
            (Step::Write, true),
            (Step::Allow, true),
            (Step::Revoke, true),
            (Step::Refuse, true),
            (Step::Watcher, false),
            (Step::Watchers, false),
            (Step::Delete, true),
            (Step::Done, false),
        ]
    );
    assert_eq!(answers[3].reason, "SESSION_REVOKED");
    assert_eq!(answers[4].watcher_id, "api-0");
    assert!(answers.iter().all(|line| line.took.is_some()));
    let refused = drill(&server, "closed").await.unwrap_err();
    assert_refused(&refused, "APP_DISABLED");
    drop(watching);
    server.stop().await;
}
