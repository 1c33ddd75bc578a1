//! RefreshSession and EndSession.

use std::sync::atomic::AtomicU64;

use assay::flow::Grant;
use assay::flow::end_session::EndSession;
use assay::policy::{ReplayRule, ReuseRule, SessionKeyRule, SessionLifetimes, TrustLevel};
use assay::secret::Secret;
use assay::session::{EventKind, RefreshOutcome, SessionState};
use assay::simulator::proof::Dpop;
use assay::time::Timestamp;
use assay::token::Purpose;
use assay::token::refresh::{self, RefreshClaims};

use super::phone::strange_key;
use super::world::{ABSOLUTE, ACCESS, GRACE, IDLE, scopes};
use super::*;

over_every_store! {
    each_token_gives_the_next
    a_lost_answer_is_given_again_word_for_word
    grace_ends_with_its_last_millisecond
    a_token_used_twice_ends_its_session_and_no_other
    where_policy_only_reports_a_reuse_the_session_goes_on
    a_thief_without_the_key_harms_nobody
    a_rotation_the_store_lost_is_healed
    a_retry_gives_the_same_token_under_a_new_secret
    a_session_ends_when_it_is_over
    sessions_live_as_long_as_the_trust_in_their_device_allows
    a_tightened_policy_shortens_sessions_and_a_loosened_one_lengthens_none
    in_its_last_second_a_session_has_nothing_left_to_give
    an_access_token_may_have_fewer_scopes
    a_proof_refreshes_once
    forged_tokens_and_proofs_cost_no_trip
    logging_out_ends_the_session_with_any_of_its_tokens
    logging_out_by_id_ends_the_session
    a_token_that_is_not_ours_ends_nothing
    a_session_that_ends_during_a_refresh_is_not_refreshed
    a_reuse_that_races_a_rotation_still_ends_the_session
    a_commit_whose_answer_was_lost_is_sent_again
    a_refresh_that_is_delivered_twice_ends_nothing
    a_refresh_that_its_repetition_overtook_ends_nothing
    an_access_token_lives_to_the_second_that_its_holder_is_told
}

async fn session_of(world: &World, kind: Kind) -> (Phone, Grant) {
    let phone = world.registered(kind, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    (phone, grant)
}

fn text(token: &Secret<String>) -> &str {
    token.expose()
}

/// The outcome of a refresh, and the token it gave.
async fn outcome(
    world: &World,
    phone: &Phone,
    token: &Secret<String>,
) -> Result<(RefreshOutcome, Secret<String>), Reason> {
    let refreshed = world.refresh(phone, token).await?;
    Ok((refreshed.outcome, refreshed.grant.refresh_token))
}

async fn refused(world: &World, phone: &Phone, token: &Secret<String>) -> Option<Reason> {
    world.refresh(phone, token).await.err()
}

async fn each_token_gives_the_next(world: World) {
    for kind in Kind::BOTH {
        let (phone, mut grant) = session_of(&world, kind).await;
        for generation in 1..5 {
            world.advance(IDLE - SECOND);
            let before = world.trips();
            let refreshed = world.refresh(&phone, &grant.refresh_token).await.unwrap();
            assert_eq!(world.trips().since(before), (2, 1));
            assert_eq!(refreshed.outcome, RefreshOutcome::Rotated);
            assert_ne!(
                text(&refreshed.grant.refresh_token),
                text(&grant.refresh_token)
            );
            assert_eq!(refreshed.grant.session.generation, generation);
            let access = &refreshed.grant.access_token;
            assert_eq!(world.verify(&phone, access).await, Ok(()));
            grant = refreshed.grant;
        }
        world.end(EndSession::Id(grant.session.id)).await.unwrap();
    }
}

async fn a_lost_answer_is_given_again_word_for_word(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let (first, successor) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    assert_eq!(first, RefreshOutcome::Rotated);
    for _ in 0..3 {
        world.advance(SECOND);
        let before = world.trips();
        let again = world.refresh(&phone, &grant.refresh_token).await.unwrap();
        assert_eq!(world.trips().since(before), (1, 0));
        assert_eq!(again.outcome, RefreshOutcome::Retry);
        assert_eq!(text(&again.grant.refresh_token), text(&successor));
        assert_eq!(
            world.verify(&phone, &again.grant.access_token).await,
            Ok(())
        );
    }
    // The first access token goes on to its own end.
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    // The first use of the successor shows that it arrived.
    world.refresh(&phone, &successor).await.unwrap();
    let late = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(late, Some(Reason::RefreshTokenReused));
}

async fn grace_ends_with_its_last_millisecond(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    world.refresh(&phone, &grant.refresh_token).await.unwrap();
    world.advance(GRACE);
    let (last, _) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    assert_eq!(last, RefreshOutcome::Retry);
    world.advance(MILLISECOND);
    let late = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(late, Some(Reason::RefreshTokenReused));
}

async fn a_token_used_twice_ends_its_session_and_no_other(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    let (_, second) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    let third = world.refresh(&phone, &second).await.unwrap().grant;
    let before = world.trips();
    let reused = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(reused, Some(Reason::RefreshTokenReused));
    assert_eq!(world.trips().since(before), (2, 1));
    for token in [&grant.refresh_token, &second, &third.refresh_token] {
        let dead = refused(&world, &phone, token).await;
        assert_eq!(dead, Some(Reason::SessionRevoked));
    }
    let verdict = world.verify(&phone, &third.access_token).await;
    assert_eq!(verdict, Err(Reason::SessionRevoked));
    assert_eq!(world.active(&third.access_token).await, Ok(false));
    assert_eq!(world.verify(&phone, &other.access_token).await, Ok(()));
    assert!(world.refresh(&phone, &other.refresh_token).await.is_ok());
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
    // Told once: what came after changed nothing.
    let told = world.session_events(phone.id()).await.pop().unwrap();
    let why = "refresh-token-reused".to_owned();
    let ended = EventKind::SessionEnded;
    assert_eq!(told, (grant.session.id, ended, why, "service".to_owned()));
}

async fn where_policy_only_reports_a_reuse_the_session_goes_on(world: World) {
    world.change_policy(BANK, |policy| policy.on_refresh_reuse = ReuseRule::Report);
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let (_, second) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    let (_, third) = outcome(&world, &phone, &second).await.unwrap();
    let before = world.trips();
    let reused = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(reused, Some(Reason::RefreshTokenReused));
    assert_eq!(world.trips().since(before), (1, 0));
    assert!(world.refresh(&phone, &third).await.is_ok());
}

async fn a_thief_without_the_key_harms_nobody(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let (_, second) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    let (_, third) = outcome(&world, &phone, &second).await.unwrap();
    let uri = "https://assay.example/assay.v1.SessionService/RefreshSession";
    let dpop = || Dpop::new("POST", uri, world.now()).unwrap();
    let own = dpop().sign(&strange_key()).unwrap();
    // The victim's public key in the header, the thief's signature below it.
    let input = dpop().signing_input(phone.key()).unwrap();
    let signature = strange_key().sign_fixed(input.as_bytes()).unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.encode(&signature);
    let dressed = format!("{input}.{signature}");
    let before = world.trips();
    for token in [&grant.refresh_token, &second, &third] {
        let seen = world
            .refresh_with(own.clone(), token, &[])
            .await
            .map(|_| ());
        assert_eq!(seen, Err(Reason::TokenInvalid));
        let seen = world
            .refresh_with(dressed.clone(), token, &[])
            .await
            .map(|_| ());
        assert_eq!(seen, Err(Reason::ProofInvalid));
    }
    assert_eq!(world.trips(), before);
    assert!(world.refresh(&phone, &third).await.is_ok());
}

async fn a_rotation_the_store_lost_is_healed(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    // A token of a generation the store does not know of (any more).
    let claims = RefreshClaims {
        session: grant.session.id,
        device: grant.session.device,
        subject: world.engine.keyring.subject_tag(&phone.subject),
        app: grant.session.app.tag(),
        generation: 3,
        session_ends_at: grant.session.expires_at,
    };
    let under = world.engine.keyring.secret(Purpose::RefreshToken).0;
    let key = grant.session.session_key;
    let ahead = refresh::mint(&world.engine.keyring, &claims, &key, under).unwrap();
    let healed = world.refresh(&phone, &ahead).await.unwrap();
    assert_eq!(healed.outcome, RefreshOutcome::Healed);
    assert_eq!(healed.grant.session.generation, 4);
    let (again, same) = outcome(&world, &phone, &ahead).await.unwrap();
    assert_eq!(again, RefreshOutcome::Retry);
    assert_eq!(text(&same), text(&healed.grant.refresh_token));
    let (next, _) = outcome(&world, &phone, &same).await.unwrap();
    assert_eq!(next, RefreshOutcome::Rotated);
}

async fn a_retry_gives_the_same_token_under_a_new_secret(mut world: World) {
    let (phone, grant) = session_of(&world, Kind::Apple).await;
    let (_, successor) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    world.rotate_secret();
    let (again, same) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    assert_eq!(again, RefreshOutcome::Retry);
    assert_eq!(text(&same), text(&successor));
    let (next, moved) = outcome(&world, &phone, &same).await.unwrap();
    assert_eq!(next, RefreshOutcome::Rotated);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    // Both ways in time: lost under the new secret, tried again, and on to the next.
    let (again, same_again) = outcome(&world, &phone, &same).await.unwrap();
    assert_eq!(again, RefreshOutcome::Retry);
    assert_eq!(text(&same_again), text(&moved));
}

async fn a_session_ends_when_it_is_over(world: World) {
    let (phone, mut grant) = session_of(&world, Kind::Android).await;
    world.advance(IDLE);
    let idle = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(idle, Some(Reason::SessionExpiredIdle));

    grant = world.issue(&phone).await.unwrap();
    let ends_at = world.now().after(ABSOLUTE);
    for _ in 0..10 {
        world.advance(ABSOLUTE / 11);
        grant = world
            .refresh(&phone, &grant.refresh_token)
            .await
            .unwrap()
            .grant;
        assert_eq!(grant.session.expires_at, ends_at);
    }
    world.advance(ends_at.since(world.now()).saturating_sub(ACCESS / 2));
    grant = world
        .refresh(&phone, &grant.refresh_token)
        .await
        .unwrap()
        .grant;
    let whole = ends_at.as_secs();
    assert_eq!(grant.access_expires_at, Timestamp::from_secs(whole));
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    world.advance(ACCESS / 2);
    let over = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(over, Some(Reason::SessionExpiredAbsolute));
    let verdict = world.verify(&phone, &grant.access_token).await;
    assert_eq!(verdict, Err(Reason::TokenExpired));
}

async fn in_its_last_second_a_session_has_nothing_left_to_give(world: World) {
    let (phone, mut grant) = session_of(&world, Kind::Android).await;
    let ends_at = grant.session.expires_at;
    for _ in 0..10 {
        world.advance(ABSOLUTE / 11);
        grant = world
            .refresh(&phone, &grant.refresh_token)
            .await
            .unwrap()
            .grant;
    }
    // The end lies 123 milliseconds behind a full second.
    world.advance(ends_at.since(world.now()).saturating_sub(MILLISECOND * 100));
    let before = world.trips();
    let seen = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(seen, Some(Reason::SessionExpiredAbsolute));
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn an_access_token_may_have_fewer_scopes(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let opening = world.opening(&phone, &["accounts", "transfer"]);
    let grant = world.open(opening).await.unwrap();
    let proof = || world.proof(&phone, "RefreshSession");
    let token = &grant.refresh_token;
    let more = world
        .refresh_with(proof(), token, &["accounts", "vault"])
        .await;
    assert_eq!(more.map(|_| ()), Err(Reason::ScopeNotAllowed));
    // The refused request used nothing up.
    let narrow = world
        .refresh_with(proof(), token, &["accounts"])
        .await
        .unwrap();
    assert_eq!(narrow.outcome, RefreshOutcome::Rotated);
    assert_eq!(narrow.grant.scopes, scopes(&["accounts"]));
    let mut call = world.call(&phone, &narrow.grant.access_token);
    call.required.scopes = scopes(&["transfer"]);
    assert_eq!(world.decide(call).await, Ok(Err(Reason::ScopeNotAllowed)));
    // The session keeps them all.
    let wide = world
        .refresh(&phone, &narrow.grant.refresh_token)
        .await
        .unwrap();
    assert_eq!(wide.grant.scopes, scopes(&["accounts", "transfer"]));
}

async fn a_proof_refreshes_once(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let proof = world.proof(&phone, "RefreshSession");
    let token = &grant.refresh_token;
    let successor = world
        .refresh_with(proof.clone(), token, &[])
        .await
        .unwrap()
        .grant;
    for token in [token, &successor.refresh_token] {
        let seen = world
            .refresh_with(proof.clone(), token, &[])
            .await
            .map(|_| ());
        assert_eq!(seen, Err(Reason::ProofReplayed));
    }
    assert!(
        world
            .refresh(&phone, &successor.refresh_token)
            .await
            .is_ok()
    );
}

async fn forged_tokens_and_proofs_cost_no_trip(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let before = world.trips();
    let good = text(&grant.refresh_token);
    // Each of these digits belongs to the session, the device, the subject, the app, the generation,
    // the secret, the expiry or the MAC.
    for at in [6, 30, 60, 90, 105, 112, 118, 130, 160] {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let forged = Secret::new(String::from_utf8(bytes).unwrap());
        let seen = refused(&world, &phone, &forged).await;
        assert_eq!(seen, Some(Reason::TokenInvalid), "digit {at}");
    }
    let mut proof = world.proof(&phone, "RefreshSession");
    let last = proof.pop().unwrap();
    proof.push(if last == 'A' { 'Q' } else { 'A' });
    let seen = world
        .refresh_with(proof, &grant.refresh_token, &[])
        .await
        .map(|_| ());
    assert_eq!(seen, Err(Reason::ProofInvalid));
    let proof = world.proof(&phone, "IssueSession");
    let seen = world
        .refresh_with(proof, &grant.refresh_token, &[])
        .await
        .map(|_| ());
    assert_eq!(seen, Err(Reason::ProofTargetMismatch));
    assert_eq!(world.trips(), before);
}

async fn logging_out_ends_the_session_with_any_of_its_tokens(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    for presented in 0..3 {
        let mut grants = vec![world.issue(&phone).await.unwrap()];
        for _ in 0..2 {
            let token = &grants.last().unwrap().refresh_token;
            grants.push(world.refresh(&phone, token).await.unwrap().grant);
        }
        let token = grants[presented].refresh_token.clone();
        let before = world.trips();
        world.end(EndSession::Token(token.clone())).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        for grant in &grants {
            let seen = refused(&world, &phone, &grant.refresh_token).await;
            assert_eq!(seen, Some(Reason::SessionRevoked));
            let verdict = world.verify(&phone, &grant.access_token).await;
            assert_eq!(verdict, Err(Reason::SessionRevoked));
            assert_eq!(world.active(&grant.access_token).await, Ok(false));
        }
        // Again is as well, and writes nothing.
        let before = world.trips();
        world.end(EndSession::Token(token)).await.unwrap();
        assert_eq!(world.trips().since(before), (1, 0));
    }
}

async fn logging_out_by_id_ends_the_session(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    world.end(EndSession::Id(grant.session.id)).await.unwrap();
    let seen = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(seen, Some(Reason::SessionRevoked));
    assert!(world.refresh(&phone, &other.refresh_token).await.is_ok());
    let listed = world.sessions(&phone.subject).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, SessionState::Live);
}

async fn a_token_that_is_not_ours_ends_nothing(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let mut forged = text(&grant.refresh_token).to_owned();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    let elsewhere = World::in_memory();
    let foreign = session_of(&elsewhere, Kind::Android).await.1;
    let before = world.trips();
    for token in [
        Secret::new(forged),
        Secret::new("asr1.x".to_owned()),
        Secret::new(String::new()),
        foreign.refresh_token,
        grant.access_token.clone(),
    ] {
        assert_eq!(world.end(EndSession::Token(token)).await, Ok(()));
    }
    let unknown = foreign.session.id;
    assert_eq!(world.end(EndSession::Id(unknown)).await, Ok(()));
    assert_eq!(world.trips().since(before).1, 0);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
}

async fn a_session_that_ends_during_a_refresh_is_not_refreshed(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    // The rotation is done and its answer lost; the session ends before it is sent again.
    world.store.hold_next_commit(Hold::After);
    let meanwhile = async {
        world.store.holding.notified().await;
        world.end(EndSession::Id(grant.session.id)).await.unwrap();
        world.store.release.notify_one();
    };
    let (refreshed, ()) = tokio::join!(world.refresh(&phone, &grant.refresh_token), meanwhile);
    assert_eq!(refreshed.map(|_| ()), Err(Reason::SessionRevoked));
}

async fn a_reuse_that_races_a_rotation_still_ends_the_session(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let (_, second) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    let (_, third) = outcome(&world, &phone, &second).await.unwrap();
    world.store.hold_next_commit(Hold::Before);
    let meanwhile = async {
        world.store.holding.notified().await;
        let (_, fourth) = outcome(&world, &phone, &third).await.unwrap();
        world.store.release.notify_one();
        fourth
    };
    let (reused, fourth) = tokio::join!(refused(&world, &phone, &grant.refresh_token), meanwhile);
    assert_eq!(reused, Some(Reason::RefreshTokenReused));
    let dead = refused(&world, &phone, &fourth).await;
    assert_eq!(dead, Some(Reason::SessionRevoked));
}

async fn a_commit_whose_answer_was_lost_is_sent_again(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    world.store.hold_next_commit(Hold::After);
    world.store.release.notify_one();
    let before = world.trips();
    let (first, _) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
    assert_eq!(first, RefreshOutcome::Rotated);
    assert_eq!(world.trips().since(before), (3, 2));
}

fn lives(access: u64, idle: u64, absolute: u64) -> SessionLifetimes {
    SessionLifetimes {
        access_for: SECOND * u32::try_from(access).unwrap(),
        idle_for: SECOND * u32::try_from(idle).unwrap(),
        absolute_for: SECOND * u32::try_from(absolute).unwrap(),
    }
}

async fn sessions_live_as_long_as_the_trust_in_their_device_allows(world: World) {
    world.change_policy(BANK, |policy| {
        policy.level_lifetimes = [
            (TrustLevel::Tee, lives(60, 600, 1000)),
            (TrustLevel::StrongBox, lives(30, 300, 300)),
        ]
        .into();
    });
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let opened = world.now();
    let ends = opened.after(SECOND * 1000);
    assert_eq!(grant.access_expires_in, world.whole(SECOND * 60));
    assert_eq!(grant.idle_for, SECOND * 600);
    assert_eq!(grant.session.expires_at, ends);
    world.advance(SECOND * 500);
    let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(next.grant.access_expires_in, world.whole(SECOND * 60));
    assert_eq!(next.grant.session.idle_expires_at, ends);
    // A level without its own has the app's.
    let phone = world.registered(Kind::Apple, "user-2").await;
    let grant = world.issue(&phone).await.unwrap();
    assert_eq!(grant.access_expires_in, world.whole(ACCESS));
    assert_eq!(grant.session.expires_at, world.now().after(ABSOLUTE));
}

async fn a_tightened_policy_shortens_sessions_and_a_loosened_one_lengthens_none(world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    let ends = first.session.expires_at;
    world.change_policy(BANK, |policy| policy.lifetimes.absolute_for = ABSOLUTE * 2);
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    assert_eq!(second.session.expires_at, ends);
    world.change_policy(BANK, |policy| {
        policy.level_lifetimes = [(TrustLevel::Tee, lives(60, 600, 900))].into();
    });
    world.advance(SECOND * 899);
    let third = world
        .refresh(&phone, &second.refresh_token)
        .await
        .unwrap()
        .grant;
    assert_eq!(third.access_expires_in, world.whole(SECOND));
    world.advance(SECOND);
    let over = refused(&world, &phone, &third.refresh_token).await;
    assert_eq!(over, Some(Reason::SessionExpiredAbsolute));
    // One that was opened under the loose policy and is older than the tight one allows.
    let (phone, grant) = session_of(&world, Kind::Apple).await;
    world.advance(SECOND * 1000);
    world.change_policy(BANK, |policy| {
        policy.level_lifetimes = [(TrustLevel::AppAttest, lives(60, 600, 900))].into();
    });
    let over = refused(&world, &phone, &grant.refresh_token).await;
    assert_eq!(over, Some(Reason::SessionExpiredAbsolute));
}

async fn a_refresh_that_is_delivered_twice_ends_nothing(world: World) {
    world.change_policy(BANK, |policy| {
        policy.apple.session_key = SessionKeyRule::Optional;
        policy.sessions_per_subject_max = 10;
        policy.devices_per_subject_max = 10;
    });
    for (replay, kind) in [
        (ReplayRule::Jti, Kind::Android),
        (ReplayRule::Window, Kind::Android),
        (ReplayRule::Jti, Kind::Asserting),
    ] {
        world.change_policy(BANK, |policy| policy.proof.replay = replay);
        let mut phone = world.phone(kind, "user-1");
        phone.count = (kind == Kind::Android).then(|| AtomicU64::new(100));
        world.register(&mut phone).await.unwrap();
        let mut token = world.issue(&phone).await.unwrap().refresh_token;
        let mut sent = Vec::new();
        for _ in 0..3 {
            let proof = world.proof(&phone, "RefreshSession");
            let next = world
                .refresh_with(proof.clone(), &token, &[])
                .await
                .unwrap();
            sent.push((
                proof,
                std::mem::replace(&mut token, next.grant.refresh_token),
            ));
        }
        // As long as its proof is fresh it is a replay, and then it is stale; never a reuse.
        for seen in [Reason::ProofReplayed, Reason::ProofNonceStale] {
            for (proof, old) in &sent {
                let again = world.refresh_with(proof.clone(), old, &[]).await;
                assert_eq!(again.map(drop), Err(seen), "{replay:?} {kind:?}");
            }
            token = world
                .refresh(&phone, &token)
                .await
                .unwrap()
                .grant
                .refresh_token;
            world.advance(GRACE + SECOND);
        }
    }
}

/// The first request is stuck on its way, or kept by whoever saw it, while the phone sends it again and goes
/// on, twice.
async fn a_refresh_that_its_repetition_overtook_ends_nothing(world: World) {
    for kind in Kind::BOTH {
        let (phone, grant) = session_of(&world, kind).await;
        let stuck = world.proof(&phone, "RefreshSession");
        world.advance(SECOND * 20);
        let (_, second) = outcome(&world, &phone, &grant.refresh_token).await.unwrap();
        world.advance(SECOND * 20);
        let (_, third) = outcome(&world, &phone, &second).await.unwrap();
        let before = world.trips();
        let late = world.refresh_with(stuck, &grant.refresh_token, &[]).await;
        assert_eq!(late.err(), Some(Reason::ProofStale));
        assert_eq!(world.trips().since(before).1, 0);
        let (_, fourth) = outcome(&world, &phone, &third).await.unwrap();
        // Whoever has the key and comes with the same token now is no late phone.
        let reused = refused(&world, &phone, &grant.refresh_token).await;
        assert_eq!(reused, Some(Reason::RefreshTokenReused));
        let dead = refused(&world, &phone, &fourth).await;
        assert_eq!(dead, Some(Reason::SessionRevoked));
    }
}

async fn an_access_token_lives_to_the_second_that_its_holder_is_told(world: World) {
    // Neither now nor the session's end is a whole second.
    world.advance(MILLISECOND * 700);
    let (phone, grant) = session_of(&world, Kind::Android).await;
    assert_eq!(grant.access_expires_at.as_millis() % 1000, 0);
    let life = grant.access_expires_at.since(world.now());
    assert_eq!(grant.access_expires_in, SECOND * 299);
    assert!(grant.access_expires_in <= life);
    world.advance(life - MILLISECOND);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    world.advance(MILLISECOND);
    let over = world.verify(&phone, &grant.access_token).await;
    assert_eq!(over, Err(Reason::TokenExpired));
}
