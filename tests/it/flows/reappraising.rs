//! Registered devices held against newer lists and policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay::attestation::lists::{Google, Lists, Own};
use assay::attestation::own_list::OwnList;
use assay::attestation::status_list::StatusList;
use assay::flow::reappraise_devices::{Finding, Mark, Run, Scope, job};
use assay::flow::{Engine, Failure, get_device};
use assay::id::DeviceId;
use assay::policy::{Consequence, TrustLevel};
use assay::session::{
    Counts, Device, DeviceState, Effect, JOB_LEASE, Look, Position, Requirements, SuspensionReason,
};

use super::world::{SHOP, app_id, scopes};
use super::*;

over_every_store! {
    a_new_entry_cuts_exactly_the_devices_with_that_serial
    an_entry_for_a_shared_authority_cuts_every_phone_under_it
    a_key_on_the_own_list_cuts_its_devices_wherever_it_stands
    a_stricter_policy_suspends_and_a_milder_one_resumes
    a_degraded_device_has_less_from_the_next_refresh_on
    what_is_only_reported_is_noted_once
    a_trial_changes_nothing
    a_run_that_was_broken_off_goes_on_where_it_stopped
    only_devices_of_the_app_are_treated
    a_device_of_no_configured_app_is_left_alone
    a_run_and_refreshes_never_undo_each_other
    two_instances_at_once_treat_each_device_once
    lost_answers_lose_no_device
    an_instance_that_dies_is_taken_over
    a_change_of_lists_is_noted_for_the_last_run_only
}

const PHONES: usize = 8;
const ROUNDS: u32 = 30;

fn scope() -> Scope {
    Scope {
        app: None,
        validate_only: false,
        by: caller(),
    }
}

/// Runs to the end.
async fn finish(engine: &Engine, run: &mut Run) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    while !run.is_done() {
        findings.extend(run.step(engine).await?);
    }
    assert_eq!(run.permille(), 1000);
    Ok(findings)
}

async fn run_all(world: &World) -> (Vec<Finding>, Counts) {
    let mut run = Run::all(scope(), Position::default());
    let findings = finish(&world.engine, &mut run).await.unwrap();
    (findings, run.counts())
}

async fn run_marked(world: &World, marks: Vec<Mark>) -> (Vec<Finding>, Counts) {
    let mut run = Run::marked(scope(), marks);
    let findings = finish(&world.engine, &mut run).await.unwrap();
    (findings, run.counts())
}

/// Puts serials on Google's list and lines on the operator's own.
fn list(world: &World, serials: &[&str], own: &str) {
    let entries = serials
        .iter()
        .map(|serial| format!(r#""{serial}":{{"status":"REVOKED"}}"#));
    let entries: Vec<_> = entries.collect();
    let json = format!(r#"{{"entries":{{{}}}}}"#, entries.join(","));
    let own = Own {
        list: Arc::new(OwnList::parse(own.as_bytes()).unwrap()),
        sha256: assay::key::sha256(own.as_bytes()),
        read_at: world.now(),
        last_error: None,
    };
    world.engine.lists.store(Arc::new(Lists {
        google: Google::NotUsed(StatusList::parse(json.as_bytes()).unwrap()),
        own: Some(own),
    }));
}

async fn phones(world: &World, kind: Kind, count: usize) -> Vec<Phone> {
    let mut phones = Vec::new();
    for number in 0..count {
        phones.push(world.registered(kind, &format!("{kind:?}-{number}")).await);
    }
    phones
}

async fn device(world: &World, phone: &Phone) -> Device {
    get_device::run(&world.engine, &phone.id())
        .await
        .unwrap()
        .device
}

fn ids(findings: &[Finding]) -> BTreeSet<DeviceId> {
    findings.iter().map(|finding| finding.device).collect()
}

async fn a_new_entry_cuts_exactly_the_devices_with_that_serial(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    let iphone = world.registered(Kind::Apple, "user-2").await;
    let grant = world.issue(&phones[3]).await.unwrap();
    let other = world.issue(&phones[4]).await.unwrap();
    let serial = device(&world, &phones[3]).await.chain_serials[1].clone();
    list(&world, &[&serial], "");
    world.verify(&phones[3], &grant.access_token).await.unwrap();
    let (findings, counts) = run_marked(&world, vec![Mark::Serial(serial)]).await;
    assert_eq!(ids(&findings), [phones[3].id()].into());
    assert_eq!(findings[0].effect, Effect::Revoked);
    assert_eq!(findings[0].fault.reason, Reason::AttestationCertRevoked);
    assert_eq!(findings[0].fault.check, "status_list");
    assert_eq!((counts.devices, counts.revoked), (1, 1));
    let refused = Err(Reason::DeviceRevoked);
    assert_eq!(world.verify(&phones[3], &grant.access_token).await, refused);
    world.verify(&phones[4], &other.access_token).await.unwrap();
    // The same over all devices finds nothing more.
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings.len(), counts.revoked), (0, 0));
    assert_eq!(counts.devices, PHONES as u64 + 1);
    assert_eq!(device(&world, &iphone).await.state, DeviceState::Active);
}

async fn an_entry_for_a_shared_authority_cuts_every_phone_under_it(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    let iphone = world.registered(Kind::Apple, "user-2").await;
    let serials = device(&world, &phones[0]).await.chain_serials;
    let leaf = serials[0].clone();
    list(&world, &[&leaf], "");
    let (findings, _) = run_all(&world).await;
    assert_eq!(findings, [], "a leaf's serial number names nothing");
    let shared = serials.last().unwrap().clone();
    assert!(serials.len() > 2);
    list(&world, &[&shared], "");
    let (findings, counts) = run_marked(&world, vec![Mark::Serial(shared)]).await;
    let all: BTreeSet<_> = phones.iter().map(Phone::id).collect();
    assert_eq!(ids(&findings), all);
    assert_eq!(counts.revoked, PHONES as u64);
    assert_eq!(device(&world, &iphone).await.state, DeviceState::Active);
}

async fn a_key_on_the_own_list_cuts_its_devices_wherever_it_stands(world: World) {
    let phones = phones(&world, Kind::Android, 3).await;
    let iphone = world.registered(Kind::Apple, "user-2").await;
    let hex = |key: &[u8; 32]| data_encoding::HEXLOWER.encode(key);
    let key = device(&world, &phones[0]).await.issuer_keys[0];
    list(&world, &[], &format!("key {}", hex(&key)));
    let (findings, counts) = run_marked(&world, vec![Mark::Key(key)]).await;
    assert_eq!(
        (ids(&findings), counts.devices),
        ([phones[0].id()].into(), 1)
    );
    assert_eq!(findings[0].fault.check, "own_list");
    // The device's own key, which no certificate above the leaf has.
    let own = device(&world, &iphone).await.key.spki_sha256();
    list(
        &world,
        &[],
        &format!("key {}\nkey {}", hex(&key), hex(&own)),
    );
    assert_eq!(ids(&run_all(&world).await.0), [iphone.id()].into());
    // An authority's key.
    let authority = *device(&world, &phones[1]).await.issuer_keys.last().unwrap();
    list(&world, &[], &format!("key {}", hex(&authority)));
    let rest = [phones[1].id(), phones[2].id()].into();
    assert_eq!(ids(&run_all(&world).await.0), rest);
}

async fn a_stricter_policy_suspends_and_a_milder_one_resumes(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let before = device(&world, &phone).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let (findings, counts) = run_all(&world).await;
    assert_eq!((ids(&findings), counts.suspended), ([phone.id()].into(), 1));
    assert_eq!(findings[0].effect, Effect::Suspended);
    let suspended = Err(Reason::DeviceSuspended);
    assert_eq!(world.verify(&phone, &grant.access_token).await, suspended);
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings.len(), counts.suspended), (0, 0));
    world.change_policy(BANK, |policy| policy.android.os_version_min = 130_000);
    assert_eq!(run_all(&world).await.1.cleared, 1);
    assert_eq!(device(&world, &phone).await, before);
    world.verify(&phone, &grant.access_token).await.unwrap();
}

async fn a_degraded_device_has_less_from_the_next_refresh_on(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.change_policy(BANK, |policy| {
        policy.scopes[0].trust_level_min = TrustLevel::Provisional;
        policy.reappraisal.below_policy = Consequence::Degrade;
    });
    let opening = world.opening(&phone, &["accounts", "transfer"]);
    let grant = world.open(opening).await.unwrap();
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings[0].effect, counts.degraded), (Effect::Degraded, 1));
    world.verify(&phone, &grant.access_token).await.unwrap();
    let mut call = world.call(&phone, &grant.access_token);
    call.required = Requirements {
        trust_level_min: Some(TrustLevel::Tee),
        ..Requirements::default()
    };
    let refused = Ok(Err(Reason::TrustLevelTooLow));
    assert_eq!(
        world.decide(call).await,
        refused,
        "the level it has now counts"
    );
    let refreshed = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(refreshed.grant.scopes, scopes(&["accounts"]));
    assert_eq!(run_all(&world).await.1.degraded, 0);
    world.change_policy(BANK, |policy| policy.android.os_version_min = 130_000);
    assert_eq!(run_all(&world).await.1.cleared, 1);
    let token = refreshed.grant.refresh_token;
    let refreshed = world.refresh(&phone, &token).await.unwrap();
    assert_eq!(refreshed.grant.scopes, scopes(&["accounts", "transfer"]));
}

async fn what_is_only_reported_is_noted_once(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let before = device(&world, &phone).await;
    world.change_policy(BANK, |policy| {
        policy.android.os_version_min = 990_000;
        policy.reappraisal.below_policy = Consequence::Report;
    });
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings[0].effect, counts.reported), (Effect::Reported, 1));
    let expected = Device {
        doubt: Some(findings[0].fault.reason),
        ..before
    };
    assert_eq!(device(&world, &phone).await, expected);
    let commits = world.trips().commits;
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings.len(), counts.reported), (0, 0));
    assert_eq!(world.trips().commits, commits);
    world.issue(&phone).await.unwrap();
}

async fn a_trial_changes_nothing(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let commits = world.trips().commits;
    for _ in 0..2 {
        let trial = Scope {
            validate_only: true,
            ..scope()
        };
        let mut run = Run::all(trial, Position::default());
        let findings = finish(&world.engine, &mut run).await.unwrap();
        assert_eq!(findings.len(), PHONES);
        assert_eq!(run.counts().suspended, PHONES as u64);
    }
    assert_eq!(world.trips().commits, commits);
    assert_eq!(device(&world, &phones[0]).await.state, DeviceState::Active);
}

async fn a_run_that_was_broken_off_goes_on_where_it_stopped(world: World) {
    let phones = phones(&world, Kind::Android, 3 * PHONES).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let (mut position, mut found, mut devices) = (Position::default(), BTreeSet::new(), 0);
    loop {
        // Each step is another call.
        let mut run = Run::all(scope(), position);
        for finding in run.step(&world.engine).await.unwrap() {
            assert!(found.insert(finding.device), "treated twice");
        }
        devices += run.counts().devices;
        position = run.position();
        if run.is_done() {
            break;
        }
    }
    assert_eq!(found, phones.iter().map(Phone::id).collect());
    assert_eq!(devices, phones.len() as u64);
}

async fn only_devices_of_the_app_are_treated(world: World) {
    let bank = world.registered(Kind::Android, "user-1").await;
    let mut shop = world.phone(Kind::Android, "user-1");
    let challenge = world.challenge(SHOP, Some(&shop.subject));
    let registration = world.registration_for(&mut shop, SHOP, challenge);
    shop.id = Some(world.send(&registration).await.unwrap().id);
    for app in [BANK, SHOP] {
        world.change_policy(app, |policy| policy.android.os_version_min = 990_000);
    }
    let one = Scope {
        app: Some(app_id(SHOP)),
        ..scope()
    };
    let mut run = Run::all(one, Position::default());
    let findings = finish(&world.engine, &mut run).await.unwrap();
    assert_eq!(
        (ids(&findings), run.counts().devices),
        ([shop.id()].into(), 1)
    );
    assert_eq!(device(&world, &bank).await.state, DeviceState::Active);
}

async fn a_device_of_no_configured_app_is_left_alone(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let serial = device(&world, &phone).await.chain_serials[1].clone();
    list(&world, &[&serial], "");
    let mut apps = assay::flow::Apps::clone(&world.engine.apps.load());
    apps.remove(&app_id(BANK));
    world.engine.apps.store(Arc::new(apps));
    let (findings, counts) = run_all(&world).await;
    assert_eq!((findings.len(), counts.devices, counts.skipped), (0, 1, 1));
    assert_eq!(device(&world, &phone).await.state, DeviceState::Active);
}

async fn a_run_and_refreshes_never_undo_each_other(world: World) {
    let world = Arc::new(world);
    for round in 0..ROUNDS {
        let phone = Arc::new(
            world
                .registered(Kind::Android, &format!("user-{round}"))
                .await,
        );
        let grant = world.issue(&phone).await.unwrap();
        let serial = device(&world, &phone).await.chain_serials[1].clone();
        let refreshing = {
            let (world, phone, mut token) =
                (Arc::clone(&world), Arc::clone(&phone), grant.refresh_token);
            tokio::spawn(async move {
                loop {
                    match world.refresh(&phone, &token).await {
                        Ok(refreshed) => token = refreshed.grant.refresh_token,
                        Err(reason) => return reason,
                    }
                }
            })
        };
        let registering = {
            let world = Arc::clone(&world);
            let mut late = world.phone(Kind::Android, &format!("late-{round}"));
            tokio::spawn(async move { world.register(&mut late).await })
        };
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        list(&world, &[&serial], "");
        let (findings, _) = run_marked(&world, vec![Mark::Serial(serial)]).await;
        assert_eq!(ids(&findings), [phone.id()].into());
        assert_eq!(refreshing.await.unwrap(), Reason::DeviceRevoked);
        registering.await.unwrap().unwrap();
    }
}

async fn two_instances_at_once_treat_each_device_once(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let (one, other) = (world.instance(), world.instance());
    let mut first = Run::all(scope(), Position::default());
    let mut second = Run::all(scope(), Position::default());
    let (a, b) = tokio::join!(finish(&one, &mut first), finish(&other, &mut second));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.len() + b.len(), PHONES, "each by one of them");
    for phone in &phones {
        let held = DeviceState::Suspended {
            at: world.now(),
            why: SuspensionReason::Reappraisal,
        };
        assert_eq!(device(&world, phone).await.state, held);
    }
}

async fn lost_answers_lose_no_device(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    world.store.lose(20);
    let mut run = Run::all(scope(), Position::default());
    while !run.is_done() {
        match run.step(&world.engine).await {
            Ok(_) => {}
            Err(failure) => assert_eq!(failure.reason, Reason::StateStoreUnavailable),
        }
    }
    world.store.lose(0);
    for phone in &phones {
        assert!(device(&world, phone).await.state != DeviceState::Active);
    }
    assert_eq!(run.counts().devices, PHONES as u64);
}

fn look(world: &World, me: u8, changed: bool) -> Look {
    let lists = world.engine.lists.load_full();
    Look {
        me: [me; 16],
        basis: world.engine.basis(&lists),
        changed,
        now: world.now(),
    }
}

async fn an_instance_that_dies_is_taken_over(world: World) {
    let phones = phones(&world, Kind::Android, PHONES).await;
    world.change_policy(BANK, |policy| policy.android.os_version_min = 990_000);
    let first = look(&world, 1, true);
    let mut dying = job::take(&world.engine, &first).await.unwrap().unwrap();
    let mut run = Run::all(scope(), dying.job.position);
    run.step(&world.engine).await.unwrap();
    let half = dying
        .job
        .advanced(run.position(), run.counts(), world.now());
    assert!(job::advance(&world.engine, &mut dying, half).await.unwrap());
    let second = job::take(&world.engine, &look(&world, 2, true)).await;
    assert!(second.unwrap().is_none(), "it is at work");
    world.advance(JOB_LEASE);
    let taken = job::take(&world.engine, &look(&world, 2, false)).await;
    let mut taken = taken.unwrap().unwrap();
    assert_eq!(taken.job.position, run.position());
    let mut rest = Run::all(scope(), taken.job.position).counted(taken.job.counts);
    finish(&world.engine, &mut rest).await.unwrap();
    let done = taken.job.done(rest.counts(), world.now());
    assert!(job::advance(&world.engine, &mut taken, done).await.unwrap());
    assert!(!job::advance(&world.engine, &mut dying, half).await.unwrap());
    let seen = job::look(&world.engine).await.unwrap().unwrap();
    assert_eq!(seen.permille(), 1000);
    assert_eq!(seen.counts.suspended, phones.len() as u64);
    let nothing = job::take(&world.engine, &look(&world, 1, false)).await;
    assert!(nothing.unwrap().is_none());
}

async fn a_change_of_lists_is_noted_for_the_last_run_only(world: World) {
    let before = look(&world, 1, true);
    list(&world, &[], "serial aa");
    let after = look(&world, 1, true);
    let engine = &world.engine;
    assert!(
        !job::note_lists(engine, &before.basis, &after)
            .await
            .unwrap()
    );
    let mut lease = job::take(engine, &before).await.unwrap().unwrap();
    assert!(
        !job::note_lists(engine, &before.basis, &after)
            .await
            .unwrap(),
        "not done"
    );
    let done = lease.job.done(Counts::default(), world.now());
    assert!(job::advance(engine, &mut lease, done).await.unwrap());
    assert!(
        job::note_lists(engine, &before.basis, &after)
            .await
            .unwrap()
    );
    assert!(
        job::take(engine, &after).await.unwrap().is_none(),
        "nothing is left to do"
    );
    assert!(
        !job::note_lists(engine, &before.basis, &after)
            .await
            .unwrap()
    );
}
