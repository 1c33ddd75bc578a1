//! SetNotBefore: two callers, every bucket, and what is said when some of them fail.

use assay::flow::set_not_before::{self, Cut, NotBefore, SetNotBefore};
use assay::flow::{Failure, Grant};
use assay::id::BUCKETS;
use assay::policy::ACCESS_FOR_MAX;
use assay::secret::Secret;
use assay::session::{Actor, Event, EventKind, Notice, Reach, Target};
use assay::store::Durability;
use assay::time::Timestamp;
use assay::token::INSTANCE_SKEW_MAX;
use assay::token::confirm::CONFIRM_FOR;

use super::world::{ACCESS, BANK, SHOP, app_id};
use super::*;

over_every_store! {
    a_confirmed_cut_of_an_app_takes_its_sessions_and_no_others
    a_confirmed_cut_of_everything_takes_all_sessions
    a_proposal_changes_nothing_and_its_proposer_cannot_confirm_it
    a_proposal_is_good_for_its_target_its_instant_and_its_time
    an_instant_to_come_and_an_app_nobody_has_are_refused
    sessions_opened_since_the_instant_stay_and_those_of_fast_clocks_do_not
    whoever_signs_in_after_the_cut_stays_in
    a_refresh_under_way_does_not_outlive_the_cut
    a_confirmed_cut_again_changes_nothing_and_is_told_once
    a_cut_that_failed_in_some_buckets_says_so_and_the_same_call_finishes_it
    a_cut_on_too_few_replicas_is_applied_and_says_so
    every_device_of_the_app_is_told_and_none_of_another
}

fn person(name: &str) -> Actor {
    Actor::caller(format!("spiffe://example/{name}").into())
}

fn app(name: &str) -> Reach {
    Reach::App(app_id(name))
}

fn request(reach: &Reach, by: &str) -> SetNotBefore {
    SetNotBefore {
        reach: reach.clone(),
        not_before: None,
        confirm: None,
        by: person(by),
    }
}

fn refused<T>(answer: Result<T, Failure>) -> Reason {
    answer.map(|_| ()).unwrap_err().reason
}

async fn propose(world: &World, asked: SetNotBefore) -> (Secret<String>, Timestamp) {
    match set_not_before::run(&world.engine, asked).await.unwrap() {
        NotBefore::Proposed {
            confirm_token,
            not_before,
            ..
        } => (confirm_token, not_before),
        NotBefore::Confirmed(cut) => panic!("{cut:?}"),
    }
}

async fn confirm(
    world: &World,
    reach: &Reach,
    token: &Secret<String>,
    by: &str,
) -> Result<Cut, Failure> {
    let asked = SetNotBefore {
        confirm: Some(token.clone()),
        ..request(reach, by)
    };
    match set_not_before::run(&world.engine, asked).await? {
        NotBefore::Confirmed(cut) => Ok(cut),
        proposed => panic!("{proposed:?}"),
    }
}

pub(super) async fn cut(world: &World, reach: &Reach) -> Cut {
    let (token, _) = propose(world, request(reach, "alice")).await;
    confirm(world, reach, &token, "bob").await.unwrap()
}

async fn out(world: &World, phone: &Phone, grant: &Grant) {
    let revoked = Reason::SessionRevoked;
    assert_eq!(world.verify(phone, &grant.access_token).await, Err(revoked));
    let refreshed = world.refresh(phone, &grant.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), Err(revoked));
}

async fn lives(world: &World, phone: &Phone, grant: &Grant) {
    assert_eq!(world.verify(phone, &grant.access_token).await, Ok(()));
}

async fn in_shop(world: &World, subject: &str) -> Phone {
    let mut phone = world.phone(Kind::Apple, subject);
    let challenge = world.challenge(SHOP, Some(&phone.subject));
    let registration = world.registration_for(&mut phone, SHOP, challenge);
    phone.id = Some(world.send(&registration).await.unwrap().id);
    phone
}

async fn a_confirmed_cut_of_an_app_takes_its_sessions_and_no_others(world: World) {
    let bank = world.registered(Kind::Android, "user-1").await;
    let far = world.registered(Kind::Apple, "user-2").await;
    let shop = in_shop(&world, "user-1").await;
    let cut_here = world.issue(&bank).await.unwrap();
    let cut_far = world.issue(&far).await.unwrap();
    let kept = world.issue(&shop).await.unwrap();
    let (token, not_before) = propose(&world, request(&app(BANK), "alice")).await;
    let before = world.trips();
    let done = confirm(&world, &app(BANK), &token, "bob").await.unwrap();
    assert_eq!(world.trips().since(before), (1025, 1024));
    assert_eq!((done.buckets_done, done.not_before), (BUCKETS, not_before));
    let receipt = done.outcome.unwrap();
    assert_eq!(receipt.effective_at, world.now());
    assert_eq!(receipt.residual_access_for, ACCESS);
    out(&world, &bank, &cut_here).await;
    out(&world, &far, &cut_far).await;
    lives(&world, &shop, &kept).await;
    assert!(world.sessions(&far.subject).await.is_empty());
}

async fn a_confirmed_cut_of_everything_takes_all_sessions(mut world: World) {
    let bank = world.registered(Kind::Android, "user-1").await;
    let shop = in_shop(&world, "user-2").await;
    let grants = [
        (&bank, world.issue(&bank).await.unwrap()),
        (&shop, world.issue(&shop).await.unwrap()),
    ];
    // Switched off or not.
    world.disable(SHOP);
    let receipt = cut(&world, &Reach::Everything).await.outcome.unwrap();
    assert_eq!(receipt.residual_access_for, ACCESS_FOR_MAX);
    world.enable(SHOP);
    for (phone, grant) in &grants {
        out(&world, phone, grant).await;
    }
}

async fn a_proposal_changes_nothing_and_its_proposer_cannot_confirm_it(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let before = world.trips();
    let (token, _) = propose(&world, request(&app(BANK), "alice")).await;
    let alone = refused(confirm(&world, &app(BANK), &token, "alice").await);
    assert_eq!(alone, Reason::TwoPersonRequired);
    assert_eq!(world.trips().since(before), (0, 0));
    lives(&world, &phone, &grant).await;
}

async fn a_proposal_is_good_for_its_target_its_instant_and_its_time(world: World) {
    let (token, not_before) = propose(&world, request(&app(BANK), "alice")).await;
    let malformed = Reason::MalformedRequest;
    for other in [app(SHOP), Reach::Everything] {
        let seen = refused(confirm(&world, &other, &token, "bob").await);
        assert_eq!(seen, malformed);
    }
    for forged in ["", "AAAA", "no base64", &"A".repeat(200)] {
        let forged = Secret::new(forged.to_owned());
        let seen = refused(confirm(&world, &app(BANK), &forged, "bob").await);
        assert_eq!(seen, malformed);
    }
    let at = |instant| SetNotBefore {
        not_before: Some(instant),
        confirm: Some(token.clone()),
        ..request(&app(BANK), "bob")
    };
    let other = at(not_before.before(MILLISECOND));
    assert_eq!(
        refused(set_not_before::run(&world.engine, other).await),
        malformed
    );
    world.advance(CONFIRM_FOR - MILLISECOND);
    let same = set_not_before::run(&world.engine, at(not_before)).await;
    assert!(matches!(same.unwrap(), NotBefore::Confirmed(_)));
    world.advance(MILLISECOND);
    let late = refused(confirm(&world, &app(BANK), &token, "bob").await);
    assert_eq!(late, malformed);
}

async fn an_instant_to_come_and_an_app_nobody_has_are_refused(world: World) {
    let at = |instant| SetNotBefore {
        not_before: Some(instant),
        ..request(&Reach::Everything, "alice")
    };
    let last = world.now().after(INSTANCE_SKEW_MAX);
    propose(&world, at(last)).await;
    let seen = set_not_before::run(&world.engine, at(last.after(MILLISECOND))).await;
    assert_eq!(refused(seen), Reason::MalformedRequest);
    let nobody = request(&app("nobody"), "alice");
    let seen = set_not_before::run(&world.engine, nobody).await;
    assert_eq!(refused(seen), Reason::AppDisabled);
}

async fn sessions_opened_since_the_instant_stay_and_those_of_fast_clocks_do_not(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let instant = world.now();
    let old = world.issue(&phone).await.unwrap();
    world.advance(INSTANCE_SKEW_MAX);
    // An instance whose clock is a minute ahead may have opened this one before the instant.
    let doubtful = world.issue(&phone).await.unwrap();
    let other = world.registered(Kind::Apple, "user-1").await;
    world.advance(MILLISECOND);
    let fresh = world.issue(&other).await.unwrap();
    let asked = SetNotBefore {
        not_before: Some(instant),
        ..request(&app(BANK), "alice")
    };
    let (token, _) = propose(&world, asked).await;
    confirm(&world, &app(BANK), &token, "bob").await.unwrap();
    out(&world, &phone, &old).await;
    out(&world, &phone, &doubtful).await;
    lives(&world, &other, &fresh).await;
    // An earlier instant takes nothing back.
    let asked = SetNotBefore {
        not_before: Some(instant.before(SECOND)),
        ..request(&app(BANK), "alice")
    };
    let (token, _) = propose(&world, asked).await;
    confirm(&world, &app(BANK), &token, "bob").await.unwrap();
    out(&world, &phone, &doubtful).await;
}

async fn whoever_signs_in_after_the_cut_stays_in(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let old = world.issue(&phone).await.unwrap();
    cut(&world, &Reach::Everything).await;
    // In the very millisecond.
    let fresh = world.issue(&phone).await.unwrap();
    out(&world, &phone, &old).await;
    lives(&world, &phone, &fresh).await;
    let refreshed = world.refresh(&phone, &fresh.refresh_token).await;
    assert!(refreshed.is_ok());
}

async fn a_refresh_under_way_does_not_outlive_the_cut(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.store.hold_next_commit(Hold::Before);
    let between = async {
        world.store.holding.notified().await;
        cut(&world, &app(BANK)).await.outcome.unwrap();
        world.store.release.notify_one();
    };
    let (refreshed, ()) = tokio::join!(world.refresh(&phone, &grant.refresh_token), between);
    assert_eq!(refreshed.map(|_| ()), Err(Reason::SessionRevoked));
}

async fn not_before_events(world: &World, phone: &Phone) -> Vec<Event> {
    let mut events = world.events(phone.id()).await;
    events.retain(|event| event.kind == EventKind::NotBeforeSet);
    events
}

async fn a_confirmed_cut_again_changes_nothing_and_is_told_once(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let (token, _) = propose(&world, request(&app(BANK), "alice")).await;
    let first = confirm(&world, &app(BANK), &token, "bob").await.unwrap();
    let fresh = world.issue(&phone).await.unwrap();
    world.advance(SECOND);
    let again = confirm(&world, &app(BANK), &token, "carol").await.unwrap();
    assert_eq!(again.not_before, first.not_before);
    assert_eq!(again.buckets_done, BUCKETS);
    assert!(again.outcome.is_ok());
    lives(&world, &phone, &fresh).await;
    assert_eq!(not_before_events(&world, &phone).await.len(), 1);
}

async fn a_cut_that_failed_in_some_buckets_says_so_and_the_same_call_finishes_it(world: World) {
    let mut phones = Vec::new();
    for number in 0..12 {
        let phone = world
            .registered(Kind::Apple, &format!("user-{number}"))
            .await;
        let grant = world.issue(&phone).await.unwrap();
        phones.push((phone, grant));
    }
    let (token, _) = propose(&world, request(&Reach::Everything, "alice")).await;
    // Of a hundred calls thirty fail, half of them after they were done; loading all is one of them.
    world.store.lose(30);
    let half = loop {
        match confirm(&world, &Reach::Everything, &token, "bob").await {
            Ok(half) => break half,
            Err(failure) => assert_eq!(failure.reason, Reason::StateStoreUnavailable),
        }
    };
    world.store.lose(0);
    assert!((1..BUCKETS).contains(&half.buckets_done), "{half:?}");
    assert_eq!(refused(half.outcome), Reason::StateStoreUnavailable);
    let mut out_by_then = 0;
    for (phone, grant) in &phones {
        let verdict = world.verify(phone, &grant.access_token).await;
        out_by_then += u32::from(verdict.is_err());
    }
    assert!(out_by_then > 0);
    let whole = confirm(&world, &Reach::Everything, &token, "carol")
        .await
        .unwrap();
    assert_eq!(whole.buckets_done, BUCKETS);
    assert!(whole.outcome.is_ok());
    for (phone, grant) in &phones {
        out(&world, phone, grant).await;
        assert_eq!(not_before_events(&world, phone).await.len(), 1);
    }
}

async fn a_cut_on_too_few_replicas_is_applied_and_says_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    // None of these stores has a replica.
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    let done = cut(&world, &app(BANK)).await;
    assert_eq!(done.buckets_done, BUCKETS);
    assert_eq!(refused(done.outcome), Reason::RevocationNotDurable);
    out(&world, &phone, &grant).await;
}

async fn every_device_of_the_app_is_told_and_none_of_another(world: World) {
    let bank = world.registered(Kind::Android, "user-1").await;
    let shop = in_shop(&world, "user-1").await;
    let cut_bank = cut(&world, &app(BANK)).await;
    let expected = Event {
        at: world.now(),
        kind: EventKind::NotBeforeSet,
        app: Some(app_id(BANK)),
        device: None,
        session: None,
        consent: None,
        epoch: u64::try_from(cut_bank.not_before.as_millis()).ok(),
        why: cut_bank.not_before.to_rfc3339(),
        by: Actor::caller("spiffe://example/alice spiffe://example/bob".into()),
    };
    let told = not_before_events(&world, &bank).await;
    assert_eq!(told, std::slice::from_ref(&expected));
    assert_eq!(not_before_events(&world, &shop).await, []);
    let issued_until = world.now().after(INSTANCE_SKEW_MAX);
    let notice = |target| {
        Some(Notice {
            target,
            issued_until,
        })
    };
    assert_eq!(
        expected.notice(expected.at),
        notice(Target::App(app_id(BANK)))
    );
    world.advance(SECOND);
    cut(&world, &Reach::Everything).await;
    let told = not_before_events(&world, &shop).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].app, None);
    let notice = told[0].notice(told[0].at).unwrap();
    assert_eq!(notice.target, Target::Everything);
    assert_eq!(not_before_events(&world, &bank).await.len(), 2);
    // A device nobody knows has no events, not even those of everything.
    let stranger = assay::id::DeviceId::new(bank.id().bucket(), [7; 16]);
    assert!(world.events(stranger).await.is_empty());
}
