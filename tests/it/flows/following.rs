//! No revocation is lost or late: what is heard of all that happens, what an instance holds against a
//! store that has lost a revocation or cannot be told, and calls that are decided without the store.

use std::collections::BTreeMap;

use assay::flow::reappraise_devices::{Run, Scope};
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::verify_request::{self, Consistency, Decision};
use assay::flow::{CURRENT_FOR, Engine, Follower, Grant, ROUNDS_IN_DOUBT, revoke_device};
use assay::id::{DeviceId, SessionId};
use assay::policy::Consequence;
use assay::secret::Secret;
use assay::session::{
    EventKind, OVERLAY_KEPT_FOR, Position, RevocationReason, SuspensionReason, Target, WAITING_MAX,
};
use assay::store::ChangeSet;

use super::world::ACCESS;
use super::*;

over_every_store! {
    an_idle_round_is_two_trips_and_says_a_checkpoint
    what_others_do_is_heard_in_the_next_round
    more_than_a_page_is_read_before_a_checkpoint_is_said
    a_new_instance_knows_what_was_revoked_before_it_began
    an_event_that_cannot_be_read_is_about_every_token
    own_revocations_are_known_at_once
    a_local_decision_asks_nothing_of_the_store
    a_local_decision_needs_a_young_checkpoint
    a_clock_that_is_set_back_makes_no_checkpoint_young
    a_local_decision_knows_its_own_and_told_revocations
    a_proof_passes_once_at_an_instance_however_it_is_asked
    a_proof_passes_once_while_the_store_is_asked
    a_local_decision_wants_a_counted_proof_where_proofs_are_counted
    a_local_decision_is_held_against_what_the_call_needs
    an_answer_may_be_kept_until_five_seconds_after_it_was_true
    what_the_store_has_lost_is_refused_and_written_again
    a_server_that_takes_over_during_the_first_round_is_noticed
    what_a_server_says_after_another_took_over_is_written_again
    a_resumption_is_not_undone_by_writing_again
    a_suspension_that_was_lifted_elsewhere_is_not_written_by_the_way
    what_was_opened_after_a_revocation_lives_on
    writing_again_is_told_once
    a_revocation_while_the_store_is_away_holds_at_once_and_lands
    only_so_many_revocations_wait
    what_is_only_doubted_takes_no_room_from_a_revocation
    a_trial_while_the_store_is_away_holds_nothing
}

async fn rounds(follower: &mut Follower, engine: &Engine) {
    for _ in 0..20 {
        if follower.round(engine).await.unwrap().complete {
            return;
        }
    }
    panic!("no checkpoint after twenty rounds");
}

/// One that has read everything there is.
async fn follower(world: &World) -> Follower {
    let mut follower = Follower::new(world.now());
    rounds(&mut follower, &world.engine).await;
    follower
}

async fn session_of(world: &World, subject: &str) -> (Phone, Grant) {
    let phone = world.registered(Kind::Android, subject).await;
    let grant = world.issue(&phone).await.unwrap();
    (phone, grant)
}

async fn decide_at(
    (engine, world): (&Engine, &World),
    phone: &Phone,
    token: &Secret<String>,
    consistency: Consistency,
) -> Result<Decision, Reason> {
    let call = verify_request::VerifyRequest {
        consistency,
        ..world.call(phone, token)
    };
    let decision = verify_request::run(engine, call).await;
    decision.map_err(|failure| failure.reason)
}

/// The verdict, and what it was taken by.
async fn local(
    (engine, world): (&Engine, &World),
    phone: &Phone,
    token: &Secret<String>,
) -> Result<(Result<(), Reason>, Consistency), Reason> {
    let decision = decide_at((engine, world), phone, token, Consistency::Local).await?;
    Ok((decision.verdict.map(|_| ()), decision.by))
}

async fn fresh(
    (engine, world): (&Engine, &World),
    phone: &Phone,
    token: &Secret<String>,
) -> Result<(), Reason> {
    let decision = decide_at((engine, world), phone, token, Consistency::Fresh).await;
    decision.unwrap().verdict.map(|_| ())
}

fn waits(engine: &Engine) -> usize {
    engine.board.overlay().waits()
}

async fn revoke_subject(engine: &Engine, subject: &str) -> Result<(), Reason> {
    let request = RevokeSubject {
        subject: subject.parse().unwrap(),
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_subject::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn revoke_session(engine: &Engine, session: SessionId) -> Result<(), Reason> {
    let request = RevokeSession {
        session,
        why: RevocationReason::Stolen,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_session::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn revoke_device(engine: &Engine, device: DeviceId) -> Result<(), Reason> {
    let request = revoke_device::RevokeDevice {
        device,
        why: RevocationReason::Stolen,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_device::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn an_idle_round_is_two_trips_and_says_a_checkpoint(world: World) {
    let (_, _) = session_of(&world, "user-1").await;
    let mut follower = follower(&world).await;
    assert_eq!(world.engine.board.complete_until(), Some(world.now()));
    world.advance(SECOND);
    let before = world.trips();
    let round = follower.round(&world.engine).await.unwrap();
    // The other one is the ping.
    assert_eq!(world.trips().since(before), (1, 0));
    assert!(round.complete);
    assert_eq!(round.events, 0);
    assert_eq!(world.engine.board.complete_until(), Some(world.now()));
}

async fn what_others_do_is_heard_in_the_next_round(world: World) {
    let (phone, _) = session_of(&world, "user-1").await;
    let other = world.instance();
    let mut follower = Follower::new(world.now());
    rounds(&mut follower, &other).await;
    let seen = other.board.since(0).number;
    world.revoke(phone.id()).await.unwrap();
    assert_eq!(other.board.since(seen).notices, []);
    let round = follower.round(&other).await.unwrap();
    assert!(round.complete);
    assert_eq!(round.events, 1);
    let notices = other.board.since(seen).notices;
    assert_eq!(notices[0].target, Target::Device(phone.id()));
    assert_eq!(other.board.overlay().len(), 1);
    assert_eq!(waits(&other), 0);
}

async fn more_than_a_page_is_read_before_a_checkpoint_is_said(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut ended = Vec::new();
    for _ in 0..20 {
        let grant = world.issue(&phone).await.unwrap();
        revoke_session(&world.engine, grant.session.id)
            .await
            .unwrap();
        ended.push(grant.session.id);
    }
    let other = world.instance();
    let round = Follower::new(world.now()).round(&other).await.unwrap();
    assert!(round.complete);
    let told: Vec<Target> = other
        .board
        .since(0)
        .notices
        .into_iter()
        .map(|n| n.target)
        .collect();
    let wanted: Vec<Target> = ended.into_iter().map(Target::Session).collect();
    assert_eq!(told, wanted);
}

async fn a_new_instance_knows_what_was_revoked_before_it_began(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    revoke_subject(&world.engine, "user-1").await.unwrap();
    world.advance(ACCESS - SECOND);
    let other = world.instance();
    rounds(&mut Follower::new(world.now()), &other).await;
    let told = local((&other, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Ok((Err(Reason::SubjectRevoked), Consistency::Local)));
    assert!(!other.board.overlay().is_empty());
    // What no token is about any more is forgotten, and so is what no failover can have lost.
    world.advance(OVERLAY_KEPT_FOR + SECOND);
    other.board.checkpoint(other.clock.reading(), world.now());
    assert!(other.board.overlay().is_empty());
}

async fn an_event_that_cannot_be_read_is_about_every_token(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let mut follower = follower(&world).await;
    let told = local((&world.engine, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Ok((Ok(()), Consistency::Local)));
    let change = ChangeSet {
        operation: assay::store::OperationId([7; 16]),
        bucket: phone.id().bucket(),
        items: Vec::new(),
        claims: Vec::new(),
        index: Vec::new(),
        events: vec![b"by a newer version".to_vec()],
        durability: assay::store::Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    world.engine.store.commit(change).await.unwrap();
    let round = follower.round(&world.engine).await.unwrap();
    assert_eq!(
        (round.events, round.unreadable, round.complete),
        (1, 1, true)
    );
    let notices = world.engine.board.since(0).notices;
    assert_eq!(notices.last().unwrap().target, Target::Everything);
    let told = local((&world.engine, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Ok((Ok(()), Consistency::Fresh)), "the store is asked");
}

async fn own_revocations_are_known_at_once(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let _follower = follower(&world).await;
    world.revoke(phone.id()).await.unwrap();
    let told = local((&world.engine, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Ok((Err(Reason::DeviceRevoked), Consistency::Local)));
    assert_eq!(waits(&world.engine), 0);
}

async fn a_local_decision_asks_nothing_of_the_store(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let at = (&world.engine, &world);
    let _follower = follower(&world).await;
    let before = world.trips();
    let told = local(at, &phone, &grant.access_token).await;
    assert_eq!(told, Ok((Ok(()), Consistency::Local)));
    assert_eq!(world.trips().since(before), (0, 0));
    assert_eq!(fresh(at, &phone, &grant.access_token).await, Ok(()));
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn a_local_decision_needs_a_young_checkpoint(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let at = (&world.engine, &world);
    let token = &grant.access_token;
    let by_store = Ok((Ok(()), Consistency::Fresh));
    assert_eq!(local(at, &phone, token).await, by_store, "none was said");
    let mut follower = follower(&world).await;
    let checkpoint = world.now();
    world.store.lose(100);
    assert!(follower.round(&world.engine).await.is_err());
    world.advance(CURRENT_FOR);
    let decision = decide_at(at, &phone, token, Consistency::Local)
        .await
        .unwrap();
    assert_eq!(decision.by, Consistency::Local);
    assert_eq!(decision.as_of, checkpoint);
    world.advance(MILLISECOND);
    for _ in 0..3 {
        let told = local(at, &phone, token).await;
        assert_eq!(told, Err(Reason::StateStoreUnavailable));
    }
    world.store.lose(0);
    assert_eq!(local(at, &phone, token).await, by_store);
    follower.round(&world.engine).await.unwrap();
    let told = local(at, &phone, token).await;
    assert_eq!(told, Ok((Ok(()), Consistency::Local)));
    world.engine.board.doubt();
    assert_eq!(local(at, &phone, token).await, by_store);
}

async fn a_clock_that_is_set_back_makes_no_checkpoint_young(world: World) {
    const BACK: Duration = Duration::from_secs(40);
    let (phone, grant) = session_of(&world, "user-1").await;
    let at = (&world.engine, &world);
    let token = &grant.access_token;
    let mut follower = follower(&world).await;
    let checkpoint = world.now();
    let by_itself = Ok((Ok(()), Consistency::Local));
    assert_eq!(local(at, &phone, token).await, by_itself);
    // While the clock goes the same way again nothing is heard of what others revoke.
    world.store.lose(100);
    world.engine.clock.set(checkpoint.before(BACK));
    assert!(follower.round(&world.engine).await.is_err());
    world.advance(BACK);
    assert_eq!(world.now(), checkpoint);
    for _ in 0..2 {
        let told = local(at, &phone, token).await;
        assert_eq!(told, Err(Reason::StateStoreUnavailable));
        world.advance(MILLISECOND);
    }
    // A round is good by whatever the clock shows then.
    world.store.lose(0);
    world.engine.clock.set(checkpoint);
    follower.round(&world.engine).await.unwrap();
    assert_eq!(local(at, &phone, token).await, by_itself);
    world.engine.clock.set(checkpoint.before(SECOND));
    follower.round(&world.engine).await.unwrap();
    assert_eq!(
        world.engine.board.complete_until(),
        Some(checkpoint.before(SECOND))
    );
    assert_eq!(local(at, &phone, token).await, by_itself);
}

async fn a_local_decision_knows_its_own_and_told_revocations(world: World) {
    let other = world.instance();
    let mut elsewhere = Follower::new(world.now());
    let _here = follower(&world).await;
    for (number, wanted) in [
        Reason::DeviceRevoked,
        Reason::DeviceSuspended,
        Reason::SessionRevoked,
        Reason::SubjectRevoked,
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("user-{number}");
        let (phone, grant) = session_of(&world, &subject).await;
        rounds(&mut elsewhere, &other).await;
        match number {
            0 => drop(world.revoke(phone.id()).await.unwrap()),
            1 => drop(
                world
                    .suspend(phone.id(), SuspensionReason::Mislaid)
                    .await
                    .unwrap(),
            ),
            2 => revoke_session(&world.engine, grant.session.id)
                .await
                .unwrap(),
            _ => revoke_subject(&world.engine, &subject).await.unwrap(),
        }
        // The other has not heard of it: that is what LOCAL does not promise.
        let told = local((&other, &world), &phone, &grant.access_token).await;
        assert_eq!(told, Ok((Ok(()), Consistency::Local)));
        rounds(&mut elsewhere, &other).await;
        for engine in [&world.engine, &*other] {
            let told = local((engine, &world), &phone, &grant.access_token).await;
            assert_eq!(told.map(|(verdict, _)| verdict), Ok(Err(wanted)));
        }
    }
}

async fn a_proof_passes_once_at_an_instance_however_it_is_asked(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let _follower = follower(&world).await;
    let replayed = Ok(Err(Reason::ProofReplayed));
    for first in [Consistency::Local, Consistency::Fresh] {
        let call = verify_request::VerifyRequest {
            consistency: first,
            ..world.call(&phone, &grant.access_token)
        };
        assert_eq!(world.decide(call.clone()).await, Ok(Ok(())));
        for again in [Consistency::Local, Consistency::Fresh] {
            let call = verify_request::VerifyRequest {
                consistency: again,
                ..call.clone()
            };
            assert_eq!(world.decide(call).await, replayed, "{first:?} {again:?}");
        }
    }
}

async fn a_local_decision_is_held_against_what_the_call_needs(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let _follower = follower(&world).await;
    let before = world.trips();
    for (reason, change) in [
        (Reason::ScopeNotAllowed, "scope"),
        (Reason::StepUpRequired, "acr"),
        (Reason::TrustLevelTooLow, "level"),
        (Reason::TokenInvalid, "audience"),
    ] {
        let mut call = world.call(&phone, &grant.access_token);
        call.consistency = Consistency::Local;
        match change {
            "scope" => call.required.scopes = world::scopes(&["transfer"]),
            "acr" => call.required.acr_values = vec!["urn:acr:3".to_owned()],
            "level" => {
                call.required.trust_level_min = Some(assay::policy::TrustLevel::StrongBox);
            }
            _ => call.required.audience = Some("https://other.example".to_owned()),
        }
        assert_eq!(world.decide(call).await, Ok(Err(reason)));
    }
    assert_eq!(world.trips().since(before), (0, 0));
}

async fn an_answer_may_be_kept_until_five_seconds_after_it_was_true(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let at = (&world.engine, &world);
    let _follower = follower(&world).await;
    world.advance(SECOND * 2);
    let token = &grant.access_token;
    let decision = decide_at(at, &phone, token, Consistency::Local)
        .await
        .unwrap();
    assert_eq!(decision.cache_for(world.now()), CURRENT_FOR - SECOND * 2);
    let decision = decide_at(at, &phone, token, Consistency::Fresh)
        .await
        .unwrap();
    assert_eq!(decision.cache_for(world.now()), CURRENT_FOR);
    world.advance(ACCESS - SECOND * 4);
    let decision = decide_at(at, &phone, token, Consistency::Fresh)
        .await
        .unwrap();
    let left = decision
        .verdict
        .as_ref()
        .unwrap()
        .claims()
        .expires_at
        .since(world.now());
    assert!(left < CURRENT_FOR);
    assert_eq!(decision.cache_for(world.now()), left);
    world.revoke(phone.id()).await.unwrap();
    let decision = decide_at(at, &phone, token, Consistency::Fresh)
        .await
        .unwrap();
    assert_eq!(decision.cache_for(world.now()), Duration::ZERO);
}

/// Four phones; each loses its session in another way. Answers with the reason for each.
async fn revoke_in_every_way(world: &World) -> BTreeMap<Reason, (Phone, Grant)> {
    let mut out = BTreeMap::new();
    for number in 0..4 {
        let (phone, grant) = session_of(world, &format!("user-{number}")).await;
        world.store.remember();
        let reason = match number {
            0 => {
                world.revoke(phone.id()).await.unwrap();
                Reason::DeviceRevoked
            }
            1 => {
                let why = SuspensionReason::Mislaid;
                world.suspend(phone.id(), why).await.unwrap();
                Reason::DeviceSuspended
            }
            2 => {
                revoke_session(&world.engine, grant.session.id)
                    .await
                    .unwrap();
                Reason::SessionRevoked
            }
            _ => {
                revoke_subject(&world.engine, &format!("user-{number}"))
                    .await
                    .unwrap();
                Reason::SubjectRevoked
            }
        };
        // As when a replica that had not heard of it takes over.
        world.store.lose_it().await;
        out.insert(reason, (phone, grant));
    }
    out
}

async fn what_the_store_has_lost_is_refused_and_written_again(world: World) {
    let mut follower = follower(&world).await;
    let out = revoke_in_every_way(&world).await;
    let other = world.instance();
    for (reason, (phone, grant)) in &out {
        let token = &grant.access_token;
        // Somebody who has not heard of it says yes, and this instance does not.
        assert_eq!(fresh((&other, &world), phone, token).await, Ok(()));
        assert_eq!(
            fresh((&world.engine, &world), phone, token).await,
            Err(*reason)
        );
        assert_eq!(world.active(token).await, Ok(false));
        assert!(world.refresh(phone, &grant.refresh_token).await.is_err());
        let opened = world.issue(phone).await.map(|_| ());
        let device = [Reason::DeviceRevoked, Reason::DeviceSuspended];
        let wanted = if device.contains(reason) {
            Err(*reason)
        } else {
            Ok(())
        };
        assert_eq!(opened, wanted);
    }
    let round = follower.round(&world.engine).await.unwrap();
    assert!(round.complete, "nobody knows of it yet");
    world.store.take_over();
    let round = follower.round(&world.engine).await.unwrap();
    assert!(round.doubted);
    assert_eq!(world.engine.board.complete_until(), None);
    let mut incomplete = 0;
    while !follower.round(&world.engine).await.unwrap().complete {
        incomplete += 1;
        assert!(incomplete < 20);
    }
    assert!(incomplete >= ROUNDS_IN_DOUBT);
    assert_eq!(waits(&world.engine), 0);
    // Now the store has it: whoever comes new refuses as well, asked or not.
    let new = world.instance();
    let told = Follower::new(world.now()).round(&new).await.unwrap();
    assert!(told.complete);
    for engine in [&*other, &*new] {
        for (reason, (phone, grant)) in &out {
            let seen = fresh((engine, &world), phone, &grant.access_token).await;
            assert_eq!(seen, Err(*reason));
        }
    }
    for (reason, (phone, grant)) in &out {
        let told = local((&new, &world), phone, &grant.access_token)
            .await
            .unwrap();
        assert_eq!(told, (Err(*reason), Consistency::Local));
    }
}

async fn a_server_that_takes_over_during_the_first_round_is_noticed(world: World) {
    let mut follower = Follower::new(world.now());
    world.store.take_over_behind_the_next_reading();
    let round = follower.round(&world.engine).await.unwrap();
    assert!(round.doubted && !round.complete);
    assert_eq!(world.engine.board.complete_until(), None);
    rounds(&mut follower, &world.engine).await;
}

async fn what_a_server_says_after_another_took_over_is_written_again(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let mut follower = follower(&world).await;
    world.store.remember();
    world.store.hold_next_commit(Hold::Late);
    let meanwhile = async {
        world.store.holding.notified().await;
        world.store.lose_it().await;
        world.store.take_over();
        assert!(follower.round(&world.engine).await.unwrap().doubted);
        world.store.release.notify_one();
    };
    let (revoked, ()) = tokio::join!(world.revoke(phone.id()), meanwhile);
    revoked.unwrap();
    assert_eq!(waits(&world.engine), 1);
    rounds(&mut follower, &world.engine).await;
    assert_eq!(waits(&world.engine), 0);
    let new = world.instance();
    let told = fresh((&new, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Err(Reason::DeviceRevoked));
}

async fn a_resumption_is_not_undone_by_writing_again(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let other = world.instance();
    let mut follower = Follower::new(world.now());
    rounds(&mut follower, &other).await;
    world.store.remember();
    let why = SuspensionReason::Mislaid;
    world.suspend(phone.id(), why).await.unwrap();
    rounds(&mut follower, &other).await;
    world.store.lose_it().await;
    world.store.take_over();
    assert!(follower.round(&other).await.unwrap().doubted);
    // It is about to be written again when the device is resumed.
    world.store.hold_next_commit(Hold::Before);
    let resume = async {
        world.store.holding.notified().await;
        world.resume(phone.id()).await.unwrap();
        world.store.release.notify_one();
    };
    let (round, ()) = tokio::join!(follower.round(&other), resume);
    assert_eq!(round.unwrap().written.written, 0);
    assert_eq!(waits(&other), 1);
    rounds(&mut follower, &other).await;
    assert_eq!(waits(&other), 0);
    for engine in [&world.engine, &*other, &*world.instance()] {
        let seen = fresh((engine, &world), &phone, &grant.access_token).await;
        assert_eq!(seen, Ok(()));
    }
}

async fn a_suspension_that_was_lifted_elsewhere_is_not_written_by_the_way(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let why = SuspensionReason::Mislaid;
    world.suspend(phone.id(), why).await.unwrap();
    let other = world.instance();
    rounds(&mut Follower::new(world.now()), &other).await;
    world.resume(phone.id()).await.unwrap();
    // The other has not heard of it, and writes the device for another reason.
    world.change_policy(BANK, |policy| {
        policy.android.os_version_min = 990_000;
        policy.reappraisal.below_policy = Consequence::Report;
    });
    other.apps.store(world.engine.apps.load_full());
    let seen = fresh((&other, &world), &phone, &grant.access_token).await;
    assert_eq!(seen, Err(Reason::DeviceSuspended));
    let scope = Scope {
        app: None,
        validate_only: false,
        by: caller(),
    };
    let mut run = Run::all(scope, Position::default());
    while !run.is_done() {
        run.step(&other).await.unwrap();
    }
    assert_eq!(run.counts().reported, 1);
    assert!(world.device(phone.id()).await.doubt.is_some());
    let seen = fresh((&world.engine, &world), &phone, &grant.access_token).await;
    assert_eq!(seen, Ok(()));
}

async fn what_was_opened_after_a_revocation_lives_on(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let mut follower = follower(&world).await;
    world.advance(SECOND);
    revoke_subject(&world.engine, "user-1").await.unwrap();
    world.advance(SECOND);
    let later = world.issue(&phone).await.unwrap();
    for _ in 0..3 {
        world.store.take_over();
        rounds(&mut follower, &world.engine).await;
    }
    for engine in [&world.engine, &*world.instance()] {
        let at = (engine, &world);
        assert_eq!(fresh(at, &phone, &later.access_token).await, Ok(()));
        let seen = fresh(at, &phone, &grant.access_token).await;
        assert_eq!(seen, Err(Reason::SubjectRevoked));
    }
}

async fn writing_again_is_told_once(world: World) {
    let mut followers = Vec::new();
    for _ in 0..4 {
        let engine = world.instance();
        let mut follower = Follower::new(world.now());
        rounds(&mut follower, &engine).await;
        followers.push((engine, follower));
    }
    let (phone, _) = session_of(&world, "user-1").await;
    world.store.remember();
    let revoked = world.revoke(phone.id()).await.unwrap();
    for (engine, follower) in &mut followers {
        rounds(follower, engine).await;
    }
    world.store.lose_it().await;
    world.store.take_over();
    let racing = followers.into_iter().map(|(engine, mut follower)| {
        tokio::spawn(async move { rounds(&mut follower, &engine).await })
    });
    for task in racing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let seen = world.device(phone.id()).await;
    assert_eq!(seen.state, revoked.device.state);
    let told = world.events(phone.id()).await;
    let told = told
        .iter()
        .filter(|event| event.kind == EventKind::DeviceRevoked);
    assert_eq!(told.count(), 1);
}

async fn a_revocation_while_the_store_is_away_holds_at_once_and_lands(world: World) {
    let mut follower = follower(&world).await;
    let mut out = Vec::new();
    for number in 0..4 {
        let subject = format!("user-{number}");
        let (phone, grant) = session_of(&world, &subject).await;
        world.store.lose(100);
        for _ in 0..2 {
            let answer = match number {
                0 => world.revoke(phone.id()).await.map(|_| ()),
                1 => {
                    let why = SuspensionReason::Investigation;
                    world.suspend(phone.id(), why).await.map(|_| ())
                }
                2 => revoke_session(&world.engine, grant.session.id).await,
                _ => revoke_subject(&world.engine, &subject).await,
            };
            assert_eq!(answer, Err(Reason::RevocationNotDurable));
        }
        assert_eq!(waits(&world.engine), number + 1);
        assert!(follower.round(&world.engine).await.is_err());
        world.store.lose(0);
        let wanted = [
            Reason::DeviceRevoked,
            Reason::DeviceSuspended,
            Reason::SessionRevoked,
            Reason::SubjectRevoked,
        ][number];
        // The store does not have it, and it holds here nevertheless, asked or not.
        let other = world.instance();
        assert_eq!(
            fresh((&other, &world), &phone, &grant.access_token).await,
            Ok(())
        );
        let here = (&world.engine, &world);
        let told = fresh(here, &phone, &grant.access_token).await;
        assert_eq!(told, Err(wanted));
        let told = local(here, &phone, &grant.access_token).await.unwrap().0;
        assert_eq!(told, Err(wanted));
        out.push((wanted, phone, grant));
    }
    rounds(&mut follower, &world.engine).await;
    assert_eq!(waits(&world.engine), 0);
    let new = world.instance();
    for (wanted, phone, grant) in &out {
        let told = fresh((&new, &world), phone, &grant.access_token).await;
        assert_eq!(told, Err(*wanted));
        let told = world.events(phone.id()).await;
        let told = told
            .iter()
            .filter(|event| event.kind != EventKind::DeviceRegistered);
        assert_eq!(
            told.filter(|event| event.kind != EventKind::SessionOpened)
                .count(),
            1
        );
    }
    // Whose devices are still good gets new sessions.
    for number in [2, 3] {
        let opened = world.issue(&out[number].1).await.unwrap();
        let seen = fresh((&new, &world), &out[number].1, &opened.access_token).await;
        assert_eq!(seen, Ok(()));
    }
}

async fn only_so_many_revocations_wait(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.store.lose(100);
    let bucket = phone.id().bucket();
    let device = |number: usize| {
        let mut unique = [0; 16];
        unique[..8].copy_from_slice(&number.to_be_bytes());
        DeviceId::new(bucket, unique)
    };
    for number in 0..WAITING_MAX {
        let answer = revoke_device(&world.engine, device(number)).await;
        assert_eq!(answer, Err(Reason::RevocationNotDurable));
    }
    let answer = revoke_device(&world.engine, phone.id()).await;
    assert_eq!(
        answer,
        Err(Reason::StateStoreUnavailable),
        "it is not applied"
    );
    assert_eq!(waits(&world.engine), WAITING_MAX);
    world.store.lose(0);
    assert!(world.issue(&phone).await.is_ok());
}

async fn what_is_only_doubted_takes_no_room_from_a_revocation(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let mut ended = world.events(phone.id()).await.pop().unwrap();
    ended.kind = EventKind::SessionEnded;
    ended.why = "logged-out".to_owned();
    for number in 0..=WAITING_MAX {
        let mut unique = [0; 16];
        unique[..8].copy_from_slice(&number.to_be_bytes());
        ended.session = Some(SessionId::new(phone.id().bucket(), unique));
        world.engine.board.tell(&ended, world.now(), world.now());
    }
    // Another server takes over, and then nobody answers.
    world.engine.board.doubt();
    assert!(waits(&world.engine) > WAITING_MAX);
    world.store.lose(100);
    let answer = revoke_device(&world.engine, phone.id()).await;
    assert_eq!(answer, Err(Reason::RevocationNotDurable), "it holds");
    world.store.lose(0);
    let told = fresh((&world.engine, &world), &phone, &grant.access_token).await;
    assert_eq!(told, Err(Reason::DeviceRevoked));
}

async fn a_trial_while_the_store_is_away_holds_nothing(world: World) {
    let (phone, _) = session_of(&world, "user-1").await;
    world.store.lose(100);
    let request = revoke_device::RevokeDevice {
        device: phone.id(),
        why: RevocationReason::Stolen,
        validate_only: true,
        by: caller(),
    };
    let answer = revoke_device::run(&world.engine, request).await;
    assert_eq!(answer.unwrap_err().reason, Reason::StateStoreUnavailable);
    let request = RevokeSubject {
        subject: "user-1".parse().unwrap(),
        why: RevocationReason::Stolen,
        validate_only: true,
        by: caller(),
    };
    let answer = revoke_subject::run(&world.engine, request).await;
    assert_eq!(answer.unwrap_err().reason, Reason::StateStoreUnavailable);
    assert_eq!(waits(&world.engine), 0);
    assert!(world.engine.board.overlay().is_empty());
}

async fn a_proof_passes_once_while_the_store_is_asked(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let _follower = follower(&world).await;
    let fresh = world.call(&phone, &grant.access_token);
    let local = verify_request::VerifyRequest {
        consistency: Consistency::Local,
        ..fresh.clone()
    };
    world.store.hold_next_load();
    let meanwhile = async {
        world.store.holding.notified().await;
        let passed = world.decide(local).await;
        world.store.release.notify_one();
        passed
    };
    let (asked, passed) = tokio::join!(world.decide(fresh), meanwhile);
    assert_eq!(passed, Ok(Ok(())));
    assert_eq!(asked, Ok(Err(Reason::ProofReplayed)));
}

async fn a_local_decision_wants_a_counted_proof_where_proofs_are_counted(world: World) {
    let (phone, grant) = session_of(&world, "user-1").await;
    let _follower = follower(&world).await;
    world.change_policy(BANK, |policy| {
        policy.proof.replay = assay::policy::ReplayRule::Window;
    });
    for consistency in [Consistency::Local, Consistency::Fresh] {
        let call = verify_request::VerifyRequest {
            consistency,
            ..world.call(&phone, &grant.access_token)
        };
        assert_eq!(world.decide(call).await, Ok(Err(Reason::ProofInvalid)));
    }
}
