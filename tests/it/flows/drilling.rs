//! RunDrill: something that is nobody's is revoked, refused everywhere, and gone.

use assay::flow::run_drill::{self, Drill, Line, RunDrill, Step};
use assay::flow::{Engine, keep_watchers, list_audit_events};
use assay::id::SessionId;
use assay::session::{Event, EventKind, Reach};
use assay::store::record::unseal;
use assay::store::{
    Admission, Cursor, FOLLOW_MAX, IndexRange, OperationId, OutboxRange, Record, keys,
};

use super::fleetwide;
use super::watching::named;
use super::*;

over_every_store! {
    a_drill_passes_and_leaves_one_event_behind
    a_drill_that_nobody_waits_for_deletes_what_it_wrote
    a_watcher_that_does_not_hear_fails_the_drill
    a_drill_right_behind_a_cut_of_everything_passes
}

fn order(wait_for: Duration) -> RunDrill {
    RunDrill {
        app: world::app_id(BANK),
        wait_for,
        by: caller(),
    }
}

async fn run(engine: &Engine, drill: &mut Drill) -> Vec<Line> {
    let mut lines = Vec::new();
    while !drill.is_over() {
        lines.extend(drill.step(engine).await);
        tokio::time::sleep(drill.pause()).await;
    }
    lines
}

fn steps(lines: &[Line]) -> Vec<(Step, bool)> {
    let steps = lines.iter().map(|line| (line.step.clone(), line.passed));
    steps.collect()
}

/// Whether the session of the drill, or any device, is in the store.
async fn is_there(world: &World, session: SessionId) -> bool {
    let ask = Admission {
        load: vec![keys::session(&session)],
        ..Admission::default()
    };
    let store = &world.engine.store;
    let records = store.admit(ask).await.unwrap().records;
    let devices = IndexRange {
        key: keys::devices(session.bucket()),
        after: Vec::new(),
        limit: 1,
    };
    let listed = store.page(vec![devices]).await.unwrap().remove(0);
    assert_eq!(listed.len(), 0, "no list of devices has it");
    records[0].is_some()
}

async fn events(world: &World, session: SessionId) -> Vec<Event> {
    let bucket = session.bucket();
    let range = OutboxRange {
        bucket,
        after: Cursor::default(),
        limit: FOLLOW_MAX,
    };
    let read = world.engine.store.follow(vec![range]).await.unwrap();
    let open = |(_, value)| {
        let version = OperationId([0; 16]);
        let record = Record { version, value };
        unseal(&world.engine.keyring, &keys::outbox(bucket), &record).unwrap()
    };
    read.into_iter().flatten().map(open).collect()
}

/// As a record of watchers that is not new.
async fn settled(world: &World) {
    let watch = named(&world.engine, "gone");
    keep_watchers(&world.engine).await.unwrap();
    drop(watch);
    world.advance(assay::session::WATCHER_KEPT_FOR + MILLISECOND);
}

async fn a_drill_passes_and_leaves_one_event_behind(world: World) {
    settled(&world).await;
    let mut drill = run_drill::begin(&world.engine, order(5 * SECOND)).unwrap();
    let session = drill.session();
    let before = world.trips();
    let lines = run(&world.engine, &mut drill).await;
    // Nobody has to be waited for, so one look is enough.
    assert_eq!(world.trips().since(before), (11, 4));
    let passed = [
        Step::Write,
        Step::Allow,
        Step::Revoke,
        Step::Refuse,
        Step::Watchers,
        Step::Delete,
        Step::Done,
    ]
    .map(|step| (step, true));
    assert_eq!(steps(&lines), passed);
    assert_eq!(lines[3].reason, Some(Reason::SessionRevoked));
    assert!(
        lines[2]
            .receipt
            .as_ref()
            .is_some_and(|told| told.revision.is_some())
    );
    assert!(!is_there(&world, session).await);
    let told = events(&world, session).await;
    let told: Vec<_> = told
        .iter()
        .map(|event| (event.kind, event.session))
        .collect();
    assert_eq!(told, [(EventKind::SessionEnded, Some(session))]);
    // It is audited as what its caller did.
    let device = events(&world, session).await.remove(0).device.unwrap();
    let page = assay::flow::PageRequest {
        size: 9,
        after: None,
    };
    let request = list_audit_events::ListAuditEvents { device, page };
    let found = list_audit_events::run(&world.engine, request)
        .await
        .unwrap();
    assert_eq!(found.page.entries[0].by, caller());
}

async fn a_drill_that_nobody_waits_for_deletes_what_it_wrote(world: World) {
    // Given up before each of its steps.
    for given_up_after in 0..4 {
        let mut drill = run_drill::begin(&world.engine, order(SECOND)).unwrap();
        for _ in 0..given_up_after {
            drill.step(&world.engine).await;
        }
        assert_eq!(is_there(&world, drill.session()).await, given_up_after > 0);
        drill.abandon();
        let lines = run(&world.engine, &mut drill).await;
        assert_eq!(steps(&lines), [(Step::Delete, true), (Step::Done, false)]);
        assert!(!is_there(&world, drill.session()).await);
    }
}

async fn a_watcher_that_does_not_hear_fails_the_drill(world: World) {
    let _deaf = named(&world.engine, "deaf");
    let mut drill = run_drill::begin(&world.engine, order(Duration::ZERO)).unwrap();
    let lines = run(&world.engine, &mut drill).await;
    let last = [
        (Step::Watcher(watching::id("deaf")), false),
        (Step::Watchers, false),
        (Step::Delete, true),
        (Step::Done, false),
    ];
    assert_eq!(steps(&lines)[4..], last);
}

async fn a_drill_right_behind_a_cut_of_everything_passes(world: World) {
    settled(&world).await;
    fleetwide::cut(&world, &Reach::Everything).await;
    let mut drill = run_drill::begin(&world.engine, order(5 * SECOND)).unwrap();
    let lines = run(&world.engine, &mut drill).await;
    assert!(lines.iter().all(|line| line.passed), "{lines:?}");
}

#[tokio::test]
async fn a_drill_passes_under_the_strictest_policy_for_proofs() {
    let world = World::in_memory();
    settled(&world).await;
    world.change_policy(BANK, |policy| {
        policy.proof.nonce = assay::policy::NonceRule::Required;
        policy.scopes.clear();
    });
    let mut drill = run_drill::begin(&world.engine, order(5 * SECOND)).unwrap();
    let lines = run(&world.engine, &mut drill).await;
    assert!(lines.iter().all(|line| line.passed), "{lines:?}");
}

#[tokio::test]
async fn a_drill_of_an_app_that_is_disabled_or_unknown_is_none() {
    let mut world = World::in_memory();
    world.disable(BANK);
    let unknown = RunDrill {
        app: world::app_id("nobody"),
        ..order(SECOND)
    };
    for order in [order(SECOND), unknown] {
        let refused = run_drill::begin(&world.engine, order).unwrap_err();
        assert_eq!(refused.reason, Reason::AppDisabled);
    }
}

#[tokio::test]
async fn nothing_of_a_drill_shows_its_key_token_or_subject() {
    let world = World::in_memory();
    let mut drill = run_drill::begin(&world.engine, order(SECOND)).unwrap();
    drill.step(&world.engine).await;
    let shown = format!("{drill:?}");
    assert!(!shown.contains("assay-drill-"), "its subject: {shown}");
    assert!(!shown.contains("eyJ"), "its token: {shown}");
}
