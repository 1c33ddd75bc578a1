//! What the store has lost, or could not be told, of consents, rotations, instants and erasures: it is
//! refused all the same, written again and told to everybody, and lets nobody in or out beside that.

use std::collections::HashSet;
use std::sync::Arc;

use assay::flow::revoke_consent::{self, RevokeConsent};
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::rotate_session::{self, RotateSession};
use assay::flow::set_not_before::{self, NotBefore, SetNotBefore};

use assay::flow::verify_request::{self, Consistency};
use assay::flow::watch_revocations::Told;
use assay::flow::{Engine, Follower, Grant, SessionName, erase_subject};
use assay::id::{BUCKETS, Bucket, Subject};
use assay::secret::Secret;
use assay::session::{Actor, EventKind, Reach, RevocationReason, Target};
use assay::simulator::proof::Dpop;
use assay::store::{Cursor, OutboxRange, keys};

use super::watching::{all, watch};
use super::world::{BANK, app_id};
use super::*;

over_every_store! {
    a_lost_revocation_of_a_consent_holds_and_is_written_again
    a_consent_revoked_while_the_store_is_away_lands
    a_lost_rotation_leaves_no_token_from_before_it_good
    a_lost_instant_holds_and_is_written_again_in_every_bucket
    an_instant_that_one_bucket_has_lost_is_written_there_again
    instants_that_are_lost_together_are_both_told
    a_cut_that_is_finished_later_is_told_where_it_was_missing
    sessions_of_an_erased_subject_stay_dead_though_the_store_has_them_again
    tokens_from_before_a_late_revocation_is_kept_are_told_of
    a_subject_that_was_written_by_the_way_is_told_nevertheless
    a_watcher_hears_by_the_outbox_alone
    a_lost_cut_of_a_subject_with_many_devices_is_one_write
}

/// More than these stories tell in one bucket.
const EVENTS_MAX: usize = 8;

const CONSENT: &str = "payments";

async fn rounds(follower: &mut Follower, engine: &Engine) {
    for _ in 0..20 {
        if follower.round(engine).await.unwrap().complete {
            return;
        }
    }
    panic!("no checkpoint after twenty rounds");
}

async fn following(engine: &Engine) -> Follower {
    let mut follower = Follower::new(engine.clock.now());
    rounds(&mut follower, engine).await;
    follower
}

/// An instance that has just begun and read everything.
async fn new_one(world: &World) -> Arc<Engine> {
    let engine = world.instance();
    following(&engine).await;
    engine
}

async fn decide(
    (engine, world): (&Engine, &World),
    (phone, token): (&Phone, &Secret<String>),
    consistency: Consistency,
) -> (Result<(), Reason>, Consistency) {
    let call = verify_request::VerifyRequest {
        consistency,
        ..world.call(phone, token)
    };
    let decision = verify_request::run(engine, call).await.unwrap();
    (decision.verdict.map(|_| ()), decision.by)
}

async fn fresh(at: (&Engine, &World), phone: &Phone, grant: &Grant) -> Result<(), Reason> {
    decide(at, (phone, &grant.access_token), Consistency::Fresh)
        .await
        .0
}

async fn issue_under(world: &World, phone: &Phone) -> Grant {
    let mut opening = world.opening(phone, &["accounts"]);
    opening.consent = Some(CONSENT.parse().unwrap());
    world.open(opening).await.unwrap()
}

async fn revoke_consent(engine: &Engine, subject: &Subject) -> Result<(), Reason> {
    let request = RevokeConsent {
        subject: subject.clone(),
        consent: CONSENT.parse().unwrap(),
        why: RevocationReason::UserRequest,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_consent::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn revoke_subject(engine: &Engine, subject: &Subject) -> Result<(), Reason> {
    let request = RevokeSubject {
        subject: subject.clone(),
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_subject::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn revoke_session(engine: &Engine, grant: &Grant) -> Result<(), Reason> {
    let request = RevokeSession {
        session: grant.session.id,
        why: RevocationReason::Stolen,
        validate_only: false,
        by: caller(),
    };
    let done = revoke_session::run(engine, request).await;
    done.map(|_| ()).map_err(|failure| failure.reason)
}

async fn rotate(world: &World, phone: &Phone, grant: &Grant) -> Result<Grant, Reason> {
    let uri = "https://assay.example/assay.v1.SessionService/RotateSession";
    let nonce = world.engine.next_nonce();
    let dpop = Dpop::new("POST", uri, world.now()).unwrap();
    let proof = phone.sign(
        &dpop
            .with_nonce(&nonce)
            .with_session(grant.session.id.to_string()),
    );
    let request = RotateSession {
        session: SessionName {
            session: grant.session.id,
            device: phone.id(),
            subject: phone.subject.clone(),
        },
        proof: Secret::new(proof),
        by: caller(),
    };
    let rotated = rotate_session::run(&world.engine, request).await;
    rotated
        .map(|rotated| rotated.grant)
        .map_err(|failure| failure.reason)
}

/// Two callers cut everything that was opened until now.
async fn cut(engine: &Engine, reach: &Reach) -> u16 {
    let person = |name: &str| Actor::caller(format!("spiffe://example/{name}").into());
    let mut request = SetNotBefore {
        reach: reach.clone(),
        not_before: None,
        confirm: None,
        by: person("alice"),
    };
    let proposed = set_not_before::run(engine, request.clone()).await;
    let NotBefore::Proposed { confirm_token, .. } = proposed.unwrap() else {
        panic!("not a proposal");
    };
    request.by = person("bob");
    request.confirm = Some(confirm_token);
    loop {
        match set_not_before::run(engine, request.clone()).await {
            Ok(NotBefore::Confirmed(cut)) => return cut.buckets_done,
            Ok(NotBefore::Proposed { .. }) => panic!("a proposal"),
            Err(failure) => assert_eq!(failure.reason, Reason::StateStoreUnavailable),
        }
    }
}

fn buckets() -> impl Iterator<Item = Bucket> {
    (0..BUCKETS).filter_map(Bucket::new)
}

/// Everything that was told in these buckets.
async fn told(world: &World, buckets: impl Iterator<Item = Bucket>) -> HashSet<Vec<u8>> {
    let ranges = buckets.map(|bucket| OutboxRange {
        bucket,
        after: Cursor::default(),
        limit: EVENTS_MAX,
    });
    let read = world.engine.store.follow(ranges.collect()).await.unwrap();
    let events = read.into_iter().flatten();
    events.map(|(_, event)| event).collect()
}

/// Loses what holds fleet-wide in these buckets, and what was told there since.
async fn lose_fleets(world: &World, lost: &[Bucket], since: &HashSet<Vec<u8>>) {
    for bucket in lost {
        world.store.lose_record(&keys::fleet(*bucket)).await;
    }
    let now = told(world, lost.iter().copied()).await;
    world.store.lose_events(now.difference(since).cloned());
}

async fn a_lost_revocation_of_a_consent_holds_and_is_written_again(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let under = issue_under(&world, &phone).await;
    let beside = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    world.store.remember();
    revoke_consent(&world.engine, &phone.subject).await.unwrap();
    world.store.lose_it().await;
    world.advance(SECOND);
    let other = world.instance();
    assert_eq!(fresh((&other, &world), &phone, &under).await, Ok(()));
    let here = (&world.engine, &world);
    let revoked = Err(Reason::SessionRevoked);
    assert_eq!(fresh(here, &phone, &under).await, revoked);
    assert_eq!(fresh(here, &phone, &beside).await, Ok(()));
    let later = issue_under(&world, &phone).await;
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    for engine in [&world.engine, &*new_one(&world).await] {
        let at = (engine, &world);
        assert_eq!(fresh(at, &phone, &under).await, revoked);
        assert_eq!(fresh(at, &phone, &later).await, Ok(()));
        assert_eq!(fresh(at, &phone, &beside).await, Ok(()));
    }
}

async fn a_consent_revoked_while_the_store_is_away_lands(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let under = issue_under(&world, &phone).await;
    let beside = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    world.store.lose(100);
    let answer = revoke_consent(&world.engine, &phone.subject).await;
    assert_eq!(answer, Err(Reason::RevocationNotDurable));
    world.store.lose(0);
    rounds(&mut follower, &world.engine).await;
    let new = new_one(&world).await;
    let revoked = Err(Reason::SessionRevoked);
    for consistency in [Consistency::Fresh, Consistency::Local] {
        let token = &under.access_token;
        let decided = decide((&new, &world), (&phone, token), consistency).await;
        assert_eq!(decided.0, revoked);
    }
    assert_eq!(fresh((&new, &world), &phone, &beside).await, Ok(()));
    let later = issue_under(&world, &phone).await;
    assert_eq!(fresh((&new, &world), &phone, &later).await, Ok(()));
}

async fn a_lost_rotation_leaves_no_token_from_before_it_good(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    world.store.remember();
    let second = rotate(&world, &phone, &first).await.unwrap();
    world.store.lose_it().await;
    let here = (&world.engine, &world);
    let void = Err(Reason::AccessTokenVoid);
    assert_eq!(fresh(here, &phone, &first).await, void);
    assert_eq!(fresh(here, &phone, &second).await, Ok(()));
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    let new = new_one(&world).await;
    assert_eq!(fresh((&new, &world), &phone, &first).await, void);
    // Something happens to the account once more.
    let third = rotate(&world, &phone, &second).await.unwrap();
    for engine in [&world.engine, &*new] {
        let at = (engine, &world);
        assert_eq!(fresh(at, &phone, &first).await, void);
        assert_eq!(fresh(at, &phone, &second).await, void);
        assert_eq!(fresh(at, &phone, &third).await, Ok(()));
    }
    let refused = world.refresh(&phone, &second.refresh_token).await;
    assert_eq!(refused.map(|_| ()), Err(Reason::RefreshTokenVoid));
    assert!(world.refresh(&phone, &third.refresh_token).await.is_ok());
}

async fn a_lost_instant_holds_and_is_written_again_in_every_bucket(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let before = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    let since = told(&world, buckets()).await;
    assert_eq!(cut(&world.engine, &Reach::App(app_id(BANK))).await, BUCKETS);
    lose_fleets(&world, &buckets().collect::<Vec<_>>(), &since).await;
    let other = world.instance();
    assert_eq!(fresh((&other, &world), &phone, &before).await, Ok(()));
    let here = (&world.engine, &world);
    let revoked = Err(Reason::SessionRevoked);
    assert_eq!(fresh(here, &phone, &before).await, revoked);
    // Signed in since, at an instance that knows.
    let later = world.issue(&phone).await.unwrap();
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    let again = told(&world, buckets()).await;
    assert!(again.difference(&since).count() >= usize::from(BUCKETS));
    for engine in [&world.engine, &*new_one(&world).await] {
        assert_eq!(fresh((engine, &world), &phone, &before).await, revoked);
        assert_eq!(fresh((engine, &world), &phone, &later).await, Ok(()));
    }
    // What is there everywhere is not told again.
    world.store.take_over();
    let whole = told(&world, buckets()).await.len();
    rounds(&mut follower, &world.engine).await;
    assert_eq!(told(&world, buckets()).await.len(), whole);
}

async fn an_instant_that_one_bucket_has_lost_is_written_there_again(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let before = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    let since = told(&world, buckets()).await;
    cut(&world.engine, &Reach::Everything).await;
    lose_fleets(&world, &[phone.id().bucket()], &since).await;
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    // Nothing is laid over what an instance without memory reads.
    let new = world.instance();
    let seen = fresh((&new, &world), &phone, &before).await;
    assert_eq!(seen, Err(Reason::SessionRevoked));
}

async fn instants_that_are_lost_together_are_both_told(world: World) {
    let mut follower = following(&world.engine).await;
    let since = told(&world, buckets()).await;
    for reach in [Reach::App(app_id(BANK)), Reach::Everything] {
        cut(&world.engine, &reach).await;
    }
    lose_fleets(&world, &buckets().collect::<Vec<_>>(), &since).await;
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    let new = new_one(&world).await;
    let posted = new.board.since(0).notices.into_iter();
    let targets: HashSet<Target> = posted.map(|notice| notice.target).collect();
    assert_eq!(
        targets,
        [Target::App(app_id(BANK)), Target::Everything].into()
    );
}

async fn a_cut_that_is_finished_later_is_told_where_it_was_missing(world: World) {
    let since = told(&world, buckets()).await.len();
    world.store.lose(30);
    assert!((1..BUCKETS).contains(&cut(&world.engine, &Reach::Everything).await));
    world.store.lose(0);
    // Tokens minted meanwhile in the buckets that were not done have to be told of as well.
    assert_eq!(cut(&world.engine, &Reach::Everything).await, BUCKETS);
    let told = told(&world, buckets()).await.len() - since;
    assert!(told >= usize::from(BUCKETS), "{told}");
}

async fn sessions_of_an_erased_subject_stay_dead_though_the_store_has_them_again(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let mut follower = following(&world.engine).await;
    world.store.remember();
    let request = erase_subject::EraseSubject {
        subject: phone.subject.clone(),
        validate_only: false,
        by: caller(),
    };
    erase_subject::run(&world.engine, request.clone())
        .await
        .unwrap();
    world.store.lose_it().await;
    let out = Err(Reason::DeviceRevoked);
    let here = (&world.engine, &world);
    assert_eq!(fresh(here, &phone, &grant).await, out);
    world.store.take_over();
    rounds(&mut follower, &world.engine).await;
    let new = new_one(&world).await;
    assert_eq!(fresh((&new, &world), &phone, &grant).await, out);
    // And the erasure can be asked for again.
    let erased = erase_subject::run(&new, request).await.unwrap();
    assert_eq!(erased.devices, 1);
}

async fn tokens_from_before_a_late_revocation_is_kept_are_told_of(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let cut_off = world.instance();
    let mut late = following(&cut_off).await;
    let mut follower = following(&world.engine).await;
    world.store.lose(100);
    let answer = revoke_session(&cut_off, &grant).await;
    assert_eq!(answer, Err(Reason::RevocationNotDurable));
    world.store.lose(0);
    // One instance alone is cut off, and the others go on.
    world.advance(SECOND * 120);
    let refreshed = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    let token = &refreshed.grant.access_token;
    rounds(&mut late, &cut_off).await;
    rounds(&mut follower, &world.engine).await;
    for engine in [&*cut_off, &world.engine] {
        let decided = decide((engine, &world), (&phone, token), Consistency::Local).await;
        assert_eq!(decided.0, Err(Reason::SessionRevoked));
    }
}

async fn a_subject_that_was_written_by_the_way_is_told_nevertheless(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut follower = following(&world.engine).await;
    world.store.lose(100);
    let answer = revoke_subject(&world.engine, &phone.subject).await;
    assert_eq!(answer, Err(Reason::RevocationNotDurable));
    world.store.lose(0);
    // The user is quicker than what waits: the record is written with it laid over.
    world.issue(&phone).await.unwrap();
    rounds(&mut follower, &world.engine).await;
    let events = world.events(phone.id()).await;
    let told = events
        .iter()
        .filter(|event| event.kind == EventKind::SubjectRevoked);
    assert_eq!(told.count(), 1);
}

async fn a_watcher_hears_by_the_outbox_alone(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let other = world.instance();
    let mut follower = following(&other).await;
    let mut watch = watch(&other, None);
    all(&mut watch, &other);
    // Gone with its commit, before it could tell anybody anything.
    let dying = world.instance();
    revoke_session(&dying, &grant).await.unwrap();
    drop(dying);
    world.advance(SECOND);
    rounds(&mut follower, &other).await;
    let heard = all(&mut watch, &other);
    let [Told::Notices(notices), Told::Checkpoint { cursor, .. }] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(notices[0].target, Target::Session(grant.session.id));
    assert!(notices[0].issued_until >= grant.session.opened_at);
    assert_eq!(cursor.complete_until, world.now());
}

async fn a_lost_cut_of_a_subject_with_many_devices_is_one_write(world: World) {
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 8);
    let mut phones = Vec::new();
    for number in 0..8 {
        let kind = Kind::BOTH[number % 2];
        phones.push(world.registered(kind, "user-1").await);
    }
    let grant = world.issue(&phones[0]).await.unwrap();
    // One of them is out, and is told nevertheless.
    world.revoke(phones[7].id()).await.unwrap();
    let mut follower = following(&world.engine).await;
    world.store.remember();
    revoke_subject(&world.engine, &phones[0].subject)
        .await
        .unwrap();
    world.store.lose_it().await;
    world.store.take_over();
    assert!(follower.round(&world.engine).await.unwrap().doubted);
    let before = world.trips();
    let round = follower.round(&world.engine).await.unwrap();
    assert_eq!(round.written.written, 8);
    assert_eq!(world.trips().since(before).1, 1);
    rounds(&mut follower, &world.engine).await;
    for phone in &phones {
        let events = world.events(phone.id()).await.into_iter();
        let told = events.filter(|event| event.kind == EventKind::SubjectRevoked);
        assert_eq!(told.count(), 1);
    }
    let new = new_one(&world).await;
    let told = fresh((&new, &world), &phones[0], &grant).await;
    assert_eq!(told, Err(Reason::SubjectRevoked));
}
