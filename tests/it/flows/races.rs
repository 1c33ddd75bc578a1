//! Many at once: one successor, one session, and nothing after a revocation.

use std::sync::Arc;

use assay::policy::SessionLimitRule;
use assay::secret::Secret;
use assay::session::{EventKind, RefreshOutcome};
use tokio::task::JoinSet;

use super::*;

over_every_store! {
    sixteen_at_once_share_one_successor
    sixteen_at_once_share_one_successor_though_answers_are_lost
    one_proof_passes_once_however_often_it_is_sent_at_once
    one_registration_sent_at_once_makes_one_device
    one_challenge_registers_one_of_many_phones
    limits_hold_when_all_come_at_once
    where_room_is_made_all_who_come_at_once_get_in_and_the_limit_holds
}

const AT_ONCE: usize = 16;
const ROUNDS: u32 = 30;

/// Presents one token sixteen times at once; the outcomes and the successors.
async fn present(
    world: &Arc<World>,
    phone: &Arc<Phone>,
    token: &Secret<String>,
) -> Vec<Result<(RefreshOutcome, String), Reason>> {
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (world, phone, token) = (Arc::clone(world), Arc::clone(phone), token.clone());
        tasks.spawn(async move {
            let refreshed = world.refresh(&phone, &token).await?;
            Ok((
                refreshed.outcome,
                refreshed.grant.refresh_token.expose().clone(),
            ))
        });
    }
    tasks.join_all().await
}

async fn sixteen_at_once_share_one_successor(world: World) {
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    let mut token = world.issue(&phone).await.unwrap().refresh_token;
    let world = Arc::new(world);
    for round in 0..ROUNDS {
        let answers = present(&world, &phone, &token).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let rotated = |answer: &&(_, _)| answer.0 == RefreshOutcome::Rotated;
        assert_eq!(answers.iter().filter(rotated).count(), 1, "round {round}");
        let retried = |answer: &&(_, _)| answer.0 == RefreshOutcome::Retry;
        assert_eq!(answers.iter().filter(retried).count(), AT_ONCE - 1);
        assert!(answers.iter().all(|answer| answer.1 == answers[0].1));
        token = Secret::new(answers[0].1.clone());
    }
}

async fn sixteen_at_once_share_one_successor_though_answers_are_lost(world: World) {
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    let mut token = world.issue(&phone).await.unwrap().refresh_token;
    let world = Arc::new(world);
    for _ in 0..ROUNDS {
        world.store.lose(20);
        let mut successors = Vec::new();
        while successors.is_empty() {
            for answer in present(&world, &phone, &token).await {
                match answer {
                    Ok((RefreshOutcome::Healed, _)) => panic!("nothing to be healed"),
                    Ok((_, successor)) => successors.push(successor),
                    Err(reason) => assert_eq!(reason, Reason::StateStoreUnavailable),
                }
            }
        }
        world.store.lose(0);
        successors.dedup();
        assert_eq!(successors.len(), 1);
        token = Secret::new(successors.remove(0));
    }
}

async fn one_proof_passes_once_however_often_it_is_sent_at_once(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let world = Arc::new(world);
    for _ in 0..ROUNDS {
        let call = world.call(&phone, &grant.access_token);
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (world, call) = (Arc::clone(&world), call.clone());
            tasks.spawn(async move { world.decide(call).await.unwrap() });
        }
        let verdicts = tasks.join_all().await;
        let passed = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        assert_eq!(passed, 1);
        assert!(verdicts.contains(&Err(Reason::ProofReplayed)));
    }
}

async fn one_registration_sent_at_once_makes_one_device(world: World) {
    let world = Arc::new(world);
    for kind in Kind::BOTH {
        let mut phone = world.phone(kind, "user-1");
        let registration = world.registration(&mut phone);
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let (world, registration) = (Arc::clone(&world), registration.clone());
            tasks.spawn(async move { world.send(&registration).await });
        }
        let devices = tasks.join_all().await;
        assert!(devices.iter().all(|device| *device == devices[0]));
        assert!(devices[0].is_ok());
    }
    assert_eq!(world.devices(&"user-1".parse().unwrap()).await.len(), 2);
}

async fn one_challenge_registers_one_of_many_phones(world: World) {
    let world = Arc::new(world);
    for round in 0..4 {
        let challenge = world.challenge(BANK, None);
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let mut phone = world.phone(Kind::Android, &format!("user-{round}-{number}"));
            let registration = world.registration_for(&mut phone, BANK, challenge.clone());
            let world = Arc::clone(&world);
            tasks.spawn(async move { world.send(&registration).await.map(|_| ()) });
        }
        let mut answers = tasks.join_all().await;
        answers.sort_unstable();
        let mut expected = vec![Ok(())];
        expected.extend([Err(Reason::ChallengeAlreadyUsed); 7]);
        assert_eq!(answers, expected);
    }
}

async fn limits_hold_when_all_come_at_once(world: World) {
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let (world, phone) = (Arc::clone(&world), Arc::clone(&phone));
        tasks.spawn(async move { world.issue(&phone).await.map(|_| ()) });
    }
    let answers = tasks.join_all().await;
    // Two of a device.
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(world.sessions(&phone.subject).await.len(), 2);
    for answer in answers {
        assert!(
            matches!(answer, Ok(()) | Err(Reason::SessionLimit)),
            "{answer:?}"
        );
    }
}

async fn where_room_is_made_all_who_come_at_once_get_in_and_the_limit_holds(world: World) {
    let rule = SessionLimitRule::EvictOldest;
    world.change_policy(BANK, |policy| policy.on_session_limit = rule);
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    for _ in 0..5 {
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let (world, phone) = (Arc::clone(&world), Arc::clone(&phone));
            tasks.spawn(async move { world.issue(&phone).await.unwrap() });
        }
        let grants = tasks.join_all().await;
        let mut live = 0;
        for grant in &grants {
            live += usize::from(world.verify(&phone, &grant.access_token).await.is_ok());
        }
        // Two of a device, and both are of those that came last.
        assert_eq!(live, 2);
        assert_eq!(world.sessions(&phone.subject).await.len(), 2);
    }
    // Each that went was told once.
    let told = world.session_events(phone.id()).await;
    let ended = told
        .iter()
        .filter(|event| event.1 == EventKind::SessionEnded);
    assert_eq!((told.len(), ended.count()), (58, 28));
}
