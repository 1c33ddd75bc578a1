//! What takes somebody out holds for every call that begins after its answer, whatever was under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay::flow::Grant;
use assay::flow::end_session::EndSession;
use assay::session::SuspensionReason;
use tokio::task::JoinSet;

use super::cutting::{revoke, revoke_all};
use super::*;

over_every_store! {
    nothing_succeeds_after_an_acknowledged_revocation
    nothing_succeeds_after_an_acknowledged_revocation_of_the_subject
    nothing_succeeds_after_an_acknowledged_revocation_of_the_session
    nothing_succeeds_after_an_acknowledged_suspension
    nothing_succeeds_after_an_acknowledged_logout
}

const ROUNDS: u32 = 30;

/// Processes of one phone that go on with one session, each by itself.
const AT_ONCE: u32 = 3;

/// A phone with a session, that goes on with it while something takes it out.
struct Busy {
    world: Arc<World>,
    phone: Arc<Phone>,
    grant: Grant,
    /// It opens sessions as well.
    opens: bool,
}

/// What one process of the phone is told by the first calls it begins after the answer.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    refresh: Result<(), Reason>,
    call: Result<(), Reason>,
    opening: Option<Result<(), Reason>>,
}

impl Busy {
    async fn new(world: &Arc<World>, phone: &Arc<Phone>) -> Self {
        Self {
            world: Arc::clone(world),
            phone: Arc::clone(phone),
            grant: world.issue(phone).await.unwrap(),
            opens: false,
        }
    }

    async fn go_on(&self, answered: &AtomicBool) -> Told {
        let (world, phone) = (&self.world, &self.phone);
        let mut token = self.grant.refresh_token.clone();
        loop {
            let late = answered.load(Ordering::SeqCst);
            let refreshed = world.refresh(phone, &token).await;
            let call = world.verify(phone, &self.grant.access_token).await;
            let opening = match self.opens {
                true => Some(world.issue(phone).await.map(|_| ())),
                false => None,
            };
            if late {
                let refresh = refreshed.map(|_| ());
                return Told {
                    refresh,
                    call,
                    opening,
                };
            }
            if let Ok(refreshed) = refreshed {
                token = refreshed.grant.refresh_token;
            }
        }
    }

    /// What all processes are told once `cut` is answered, which is sent a little later in each round.
    async fn through(self, round: u32, cut: impl Future<Output = ()>) -> Vec<Told> {
        let (busy, answered) = (Arc::new(self), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (busy, answered) = (Arc::clone(&busy), Arc::clone(&answered));
            tasks.spawn(async move { busy.go_on(&answered).await });
        }
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        cut.await;
        answered.store(true, Ordering::SeqCst);
        tasks.join_all().await
    }
}

/// The same for everything.
fn only(reason: Reason, opening: Option<Result<(), Reason>>) -> Told {
    Told {
        refresh: Err(reason),
        call: Err(reason),
        opening,
    }
}

async fn nothing_succeeds_after_an_acknowledged_revocation(world: World) {
    let world = Arc::new(world);
    for round in 0..ROUNDS {
        let subject = format!("user-{round}");
        let phone = Arc::new(world.registered(Kind::Android, &subject).await);
        let busy = Busy {
            opens: true,
            ..Busy::new(&world, &phone).await
        };
        let cut = async {
            world.revoke(phone.id()).await.unwrap();
        };
        let out = Reason::DeviceRevoked;
        for told in busy.through(round, cut).await {
            assert_eq!(told, only(out, Some(Err(out))));
        }
    }
}

/// What is opened after the revocation is good.
async fn nothing_succeeds_after_an_acknowledged_revocation_of_the_subject(world: World) {
    world.change_policy(BANK, |policy| {
        policy.sessions_per_device_max = 1000;
        policy.sessions_per_subject_max = 1000;
    });
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    for round in 0..ROUNDS {
        let busy = Busy {
            opens: true,
            ..Busy::new(&world, &phone).await
        };
        let cut = async {
            revoke_all(&world, &phone.subject).await.unwrap();
        };
        for told in busy.through(round, cut).await {
            // So many at once may lose every race.
            let opening = told.opening;
            assert!(matches!(
                opening,
                Some(Ok(()) | Err(Reason::SubjectRevoked | Reason::Conflict))
            ));
            assert_eq!(told, only(Reason::SubjectRevoked, opening));
        }
    }
}

async fn nothing_succeeds_after_an_acknowledged_revocation_of_the_session(world: World) {
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    for round in 0..ROUNDS {
        let busy = Busy::new(&world, &phone).await;
        let grant = busy.grant.clone();
        let cut = async {
            revoke(&world, &grant).await.unwrap();
        };
        for told in busy.through(round, cut).await {
            assert_eq!(told, only(Reason::SessionRevoked, None));
        }
    }
}

async fn nothing_succeeds_after_an_acknowledged_suspension(world: World) {
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    for round in 0..ROUNDS {
        let busy = Busy::new(&world, &phone).await;
        let grant = busy.grant.clone();
        let cut = async {
            let why = SuspensionReason::Mislaid;
            world.suspend(phone.id(), why).await.unwrap();
        };
        for told in busy.through(round, cut).await {
            assert_eq!(told, only(Reason::DeviceSuspended, None));
        }
        world.resume(phone.id()).await.unwrap();
        // The session that was kept out goes on.
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        world.end(EndSession::Id(grant.session.id)).await.unwrap();
    }
}

async fn nothing_succeeds_after_an_acknowledged_logout(world: World) {
    let world = Arc::new(world);
    let phone = Arc::new(world.registered(Kind::Android, "user-1").await);
    for round in 0..ROUNDS {
        let busy = Busy::new(&world, &phone).await;
        let end = EndSession::Token(busy.grant.refresh_token.clone());
        let cut = async {
            world.end(end).await.unwrap();
        };
        for told in busy.through(round, cut).await {
            assert_eq!(told, only(Reason::SessionRevoked, None));
        }
    }
}
