use super::*;
use crate::policy::SESSION_FOR_MAX;
use crate::session::Reach;
use crate::token::INSTANCE_SKEW_MAX;

fn shop() -> AppId {
    "shop".parse().unwrap()
}

fn cuts(fleet: &Fleet, app: AppId, opened_at: Timestamp) -> bool {
    let session = Session {
        app,
        opened_at,
        ..session()
    };
    let world = World {
        fleet: Some(fleet.clone()),
        ..World::whole()
    };
    match world.surroundings().check(&session, now()) {
        Ok(()) => false,
        seen => seen == refused(Reason::SessionRevoked),
    }
}

#[test]
fn a_cut_reaches_as_far_as_clocks_may_be_ahead() {
    for reach in [Reach::App(app()), Reach::Everything] {
        let fleet = Fleet::default().cut(&reach, now(), now());
        let last = now().after(INSTANCE_SKEW_MAX);
        assert!(cuts(&fleet, app(), now().before(GRACE)));
        assert!(cuts(&fleet, app(), last));
        assert!(!cuts(&fleet, app(), last.after(MILLISECOND)));
        assert_eq!(cuts(&fleet, shop(), now()), reach == Reach::Everything);
        assert_eq!(fleet.cut_until(&app()), Some(last));
    }
}

#[test]
fn an_instant_only_moves_forward() {
    for reach in [Reach::App(app()), Reach::Everything] {
        let late = Fleet::default().cut(&reach, now(), now());
        let early = now().before(GRACE);
        assert_eq!(late.cut(&reach, early, now()), late);
        let first = Fleet::default().cut(&reach, early, now());
        assert_eq!(first.cut(&reach, now(), now()), late);
    }
}

#[test]
fn a_cut_of_one_takes_nothing_back_from_another() {
    let all = Fleet::default().cut(&Reach::Everything, now(), now());
    let both = all.cut(&Reach::App(shop()), now().before(GRACE), now());
    assert_eq!(both.not_before, all.not_before);
    assert!(cuts(&both, shop(), now()) && cuts(&both, app(), now()));
    let other = both.cut(&Reach::App(app()), now(), now());
    assert_eq!(other.apps.len(), 2);
}

#[test]
fn what_no_session_can_be_old_enough_for_leaves_and_nothing_earlier() {
    let old = Fleet::default().cut(&Reach::App(shop()), now(), now()).cut(
        &Reach::Everything,
        now(),
        now(),
    );
    let last = now().after(INSTANCE_SKEW_MAX).after(SESSION_FOR_MAX);
    let at = |at| old.cut(&Reach::App(app()), at, at);
    assert_eq!(at(last).apps.len(), 2);
    assert_eq!(at(last).not_before, old.not_before);
    let gone = at(last.after(MILLISECOND));
    assert_eq!((gone.apps.len(), gone.not_before), (1, None));
}
