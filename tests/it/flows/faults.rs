//! A store that loses answers logs nobody out and never makes a yes of it.

use std::collections::BTreeMap;

use assay::flow::end_session::EndSession;
use assay::policy::ReuseRule;
use assay::secret::Secret;
use assay::session::RefreshOutcome;

use super::*;

over_every_store! {
    lost_answers_log_nobody_out
    a_store_that_is_away_says_neither_yes_nor_no
    each_lost_answer_of_a_registration_can_be_retried
    a_revocation_is_retried_until_it_holds
}

/// Refreshes that succeed at each rate of loss.
const REFRESHES: u32 = 200;

/// What was answered, for the whole life of a session.
#[derive(Default)]
struct History {
    /// The one successor of each token that was presented.
    successors: BTreeMap<String, String>,
    /// How often each token rotated the session, as far as the client was told.
    rotations: BTreeMap<String, u32>,
    unavailable: u32,
}

impl History {
    fn note(
        &mut self,
        presented: &Secret<String>,
        outcome: RefreshOutcome,
        given: &Secret<String>,
    ) {
        let presented = presented.expose().clone();
        let known = self.successors.entry(presented.clone());
        let known = known.or_insert_with(|| given.expose().clone());
        assert_eq!(known, given.expose(), "one token has one successor");
        match outcome {
            RefreshOutcome::Rotated => {
                let times = self.rotations.entry(presented).or_default();
                *times += 1;
                assert_eq!(*times, 1, "one token rotates once");
            }
            RefreshOutcome::Retry => {}
            RefreshOutcome::Healed => panic!("nothing was lost that had to be healed"),
        }
    }
}

/// A phone that sends again, with a fresh proof, until it is answered; and of whose answers every
/// tenth is lost on the way to it.
async fn refresh_until_answered(
    world: &World,
    phone: &Phone,
    token: &Secret<String>,
    history: &mut History,
) -> Secret<String> {
    for attempt in 0_u32..1000 {
        world.advance(SECOND / 100);
        match world.refresh(phone, token).await {
            Ok(refreshed) => {
                let given = refreshed.grant.refresh_token;
                history.note(token, refreshed.outcome, &given);
                let lost = (attempt + history.unavailable) % 10 == 9;
                if !lost {
                    return given;
                }
            }
            Err(reason) => {
                assert_eq!(reason, Reason::StateStoreUnavailable);
                history.unavailable += 1;
            }
        }
    }
    panic!("a thousand attempts in vain");
}

async fn lost_answers_log_nobody_out(world: World) {
    world.change_policy(BANK, |policy| policy.on_refresh_reuse = ReuseRule::Report);
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut refreshed = 0;
    for percent in [1, 5, 10, 20, 30] {
        let grant = world.issue(&phone).await.unwrap();
        let mut history = History::default();
        let mut tokens = vec![grant.refresh_token];
        world.store.lose(percent);
        for _ in 0..REFRESHES {
            world.advance(SECOND);
            let token = tokens.last().unwrap().clone();
            tokens.push(refresh_until_answered(&world, &phone, &token, &mut history).await);
            refreshed += 1;
        }
        world.store.lose(0);
        assert!(history.unavailable > 0, "{percent} % lost nothing");
        // One branch is alive: the last token and, as its retry, the one before.
        let [old @ .., previous, last] = &tokens[..] else {
            panic!("no tokens");
        };
        for token in old {
            let seen = world.refresh(&phone, token).await.map(|_| ());
            assert_eq!(seen, Err(Reason::RefreshTokenReused));
        }
        let again = world.refresh(&phone, previous).await.unwrap();
        assert_eq!(again.outcome, RefreshOutcome::Retry);
        assert_eq!(again.grant.refresh_token.expose(), last.expose());
        let next = world.refresh(&phone, last).await.unwrap();
        assert_eq!(next.outcome, RefreshOutcome::Rotated);
        assert_eq!(next.grant.session.generation, REFRESHES + 1);
        world.end(EndSession::Id(grant.session.id)).await.unwrap();
    }
    assert_eq!(refreshed, 5 * REFRESHES);
}

async fn a_store_that_is_away_says_neither_yes_nor_no(world: World) {
    let away = Reason::StateStoreUnavailable;
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    for _ in 0..10 {
        world.store.lose(100);
        let registration = world.registration(&mut phone);
        assert_eq!(world.send(&registration).await.map(|_| ()), Err(away));
        assert_eq!(world.issue(&phone).await.map(|_| ()), Err(away));
        let refreshed = world.refresh(&phone, &grant.refresh_token).await;
        assert_eq!(refreshed.map(|_| ()), Err(away));
        let call = world.call(&phone, &grant.access_token);
        assert_eq!(world.decide(call).await, Err(away));
        assert_eq!(world.active(&grant.access_token).await, Err(away));
        let end = EndSession::Token(grant.refresh_token.clone());
        assert_eq!(world.end(end).await, Err(away));
        world.store.lose(0);
    }
    // Nothing of it was done: the first trip of each is a read.
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    let seen = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(seen.outcome, RefreshOutcome::Rotated);
}

async fn each_lost_answer_of_a_registration_can_be_retried(world: World) {
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 100);
    world.store.lose(40);
    for number in 0..40 {
        let mut phone = world.phone(Kind::BOTH[number % 2], "user-1");
        let registration = world.registration(&mut phone);
        let device = loop {
            match world.send(&registration).await {
                Ok(device) => break device,
                Err(reason) => assert_eq!(reason, Reason::StateStoreUnavailable),
            }
        };
        assert_eq!(device.registered_at, world.now());
    }
    world.store.lose(0);
    assert_eq!(world.devices(&"user-1".parse().unwrap()).await.len(), 40);
}

async fn a_revocation_is_retried_until_it_holds(world: World) {
    for _ in 0..20 {
        let phone = world.registered(Kind::Android, "user-1").await;
        let grant = world.issue(&phone).await.unwrap();
        world.store.lose(50);
        while let Err(reason) = world.revoke(phone.id()).await {
            assert_eq!(reason, Reason::RevocationNotDurable);
        }
        // Acknowledged: whatever the store does, there is no yes any more.
        for _ in 0..5 {
            let call = world.call(&phone, &grant.access_token);
            match world.decide(call).await {
                Ok(verdict) => assert_eq!(verdict, Err(Reason::DeviceRevoked)),
                Err(reason) => assert_eq!(reason, Reason::StateStoreUnavailable),
            }
            let active = world.active(&grant.access_token).await;
            assert_ne!(active, Ok(true));
            assert!(world.refresh(&phone, &grant.refresh_token).await.is_err());
            assert!(world.issue(&phone).await.is_err());
        }
        world.store.lose(0);
    }
}
