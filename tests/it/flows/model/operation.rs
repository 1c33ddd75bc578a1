//! What a case is made of, and how it is drawn.

use assay::flow::verify_request::Consistency;
use assay::policy::{CounterOrder, ReplayRule, ReuseRule, SessionLimitRule};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::truth::Rules;
use super::super::world::{ABSOLUTE, ACCESS, GRACE, IDLE};
use super::super::*;
use super::PHONES;

/// One of two instances over the same store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// It is asked for everything.
    First,
    /// It only verifies, and hears.
    Second,
}

/// How a call is verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: At,
    pub(super) consistency: Consistency,
    /// For a call that needs an elevated token.
    pub(super) high: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// The first time with fresh evidence; then the very same registration again.
    Register(usize),
    /// On a phone, which is registered if it never was, under one of two consents or none.
    Issue(usize, Option<usize>),
    /// Some session, and one of its known tokens counted back from the newest.
    Refresh(Index, usize),
    /// The same, and the phone never hears of it.
    RefreshUnheard(Index, usize),
    /// With the tokens of a session and the key of a phone.
    RefreshBy(Index, usize),
    /// Its user shows more.
    Elevate(Index),
    /// Its tokens are made void, and there are new ones.
    Rotate(Index),
    /// With a known access token; a phone whose newest is over refreshes first.
    Verify(Index, usize, Asked),
    /// Some request that was sent before, proof and all.
    Replay(Index, At),
    /// A call with a proof after one with a proof that was made so many proofs later.
    Late(Index, u64, At),
    EndByToken(Index, usize),
    EndById(Index),
    Revoke(usize),
    RevokeSession(Index),
    /// The subject of a phone.
    RevokeSubject(usize),
    /// A consent of the subject of a phone.
    RevokeConsent(usize, usize),
    /// Every session of the app is dead, as two callers want it.
    SetNotBefore,
    Suspend(usize),
    Resume(usize),
    Advance(Duration),
    Introspect(Index, usize),
    List(usize),
    /// The app is disabled, or enabled again.
    Switch(bool),
    /// What is in the outboxes is heard, and what waits is written.
    Follow(At),
    /// The store's answers to so many of the next loads and commits are lost.
    Lose(u32, u32),
}

fn at() -> impl Strategy<Value = At> {
    select(vec![At::First, At::First, At::Second])
}

fn asked() -> impl Strategy<Value = Asked> {
    let consistency = select(vec![Consistency::Fresh, Consistency::Local]);
    let high = select(vec![false, false, false, true]);
    (at(), consistency, high).prop_map(|(at, consistency, high)| Asked {
        at,
        consistency,
        high,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let spans = vec![
        MILLISECOND,
        SECOND,
        SECOND * 30,
        ACCESS - MILLISECOND * 123,
        ACCESS,
        GRACE,
        GRACE + MILLISECOND,
        IDLE - MILLISECOND,
        IDLE,
        ABSOLUTE / 4,
    ];
    let any_session = any::<Index>;
    // A token behind the last two ends most sessions.
    let back = || select(vec![0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 3]);
    let consent = || select(vec![None, None, Some(0), Some(1)]);
    let behind = select(vec![1, 2, 63, 64, 65]);
    prop_oneof![
        2 => (0..PHONES).prop_map(Op::Register),
        6 => (0..PHONES, consent()).prop_map(|(p, c)| Op::Issue(p, c)),
        14 => (any_session(), back()).prop_map(|(s, t)| Op::Refresh(s, t)),
        3 => (any_session(), back()).prop_map(|(s, t)| Op::RefreshUnheard(s, t)),
        1 => (any_session(), 0..PHONES).prop_map(|(s, p)| Op::RefreshBy(s, p)),
        2 => any_session().prop_map(Op::Elevate),
        2 => any_session().prop_map(Op::Rotate),
        7 => (any_session(), 0..3_usize, asked()).prop_map(|(s, t, a)| Op::Verify(s, t, a)),
        2 => (any_session(), at()).prop_map(|(r, at)| Op::Replay(r, at)),
        1 => (any_session(), behind, at()).prop_map(|(s, b, at)| Op::Late(s, b, at)),
        1 => (any_session(), 0..3_usize).prop_map(|(s, t)| Op::EndByToken(s, t)),
        1 => any_session().prop_map(Op::EndById),
        1 => (0..PHONES).prop_map(Op::Revoke),
        1 => any_session().prop_map(Op::RevokeSession),
        1 => (0..PHONES).prop_map(Op::RevokeSubject),
        1 => (0..PHONES, 0..2_usize).prop_map(|(p, c)| Op::RevokeConsent(p, c)),
        1 => (0..PHONES).prop_map(Op::Suspend),
        2 => (0..PHONES).prop_map(Op::Resume),
        5 => select(spans).prop_map(Op::Advance),
        2 => (any_session(), 0..3_usize).prop_map(|(s, t)| Op::Introspect(s, t)),
        1 => (0..PHONES).prop_map(Op::List),
        1 => select(vec![true, false, false]).prop_map(Op::Switch),
        3 => at().prop_map(Op::Follow),
        2 => select(vec![(1, 0), (0, 1), (0, 2)]).prop_map(|(l, c)| Op::Lose(l, c)),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let at_limit = vec![SessionLimitRule::EvictOldest, SessionLimitRule::Refuse];
    let on_reuse = vec![
        ReuseRule::RevokeSession,
        ReuseRule::RevokeSession,
        ReuseRule::Report,
        ReuseRule::StepUp,
    ];
    let rules = (
        select(at_limit),
        select(on_reuse),
        select(vec![ReplayRule::Jti, ReplayRule::Window]),
        select(vec![CounterOrder::Window, CounterOrder::Strict]),
        any::<bool>(),
    );
    rules.prop_map(|(at_limit, on_reuse, replay, order, asserts)| Rules {
        at_limit,
        on_reuse,
        replay,
        order,
        asserts,
    })
}

/// Something is taken from a session while the other instance does not listen: it may go on for as long as
/// that, and knows of it afterwards.
fn overtaken() -> impl Strategy<Value = Vec<Operation>> {
    use Operation as Op;
    let taking = prop_oneof![
        any::<Index>().prop_map(Op::EndById),
        any::<Index>().prop_map(Op::Rotate),
        any::<Index>().prop_map(Op::RevokeSession),
        (0..PHONES).prop_map(Op::Revoke),
        (0..PHONES).prop_map(Op::RevokeSubject),
        (0..PHONES, 0..2_usize).prop_map(|(p, c)| Op::RevokeConsent(p, c)),
        (0..PHONES).prop_map(Op::Suspend),
    ];
    (any::<Index>(), taking).prop_map(|(session, mut taking)| {
        if let Op::EndById(same) | Op::Rotate(same) | Op::RevokeSession(same) = &mut taking {
            *same = session;
        }
        let asked = Asked {
            at: At::Second,
            consistency: Consistency::Local,
            high: false,
        };
        let verify = || Op::Verify(session, 0, asked);
        let follow = || Op::Follow(At::Second);
        vec![verify(), follow(), taking, verify(), follow(), verify()]
    })
}

/// The operations of a case and its policy.
pub(super) fn case() -> impl Strategy<Value = (Vec<Operation>, Rules)> {
    let some = prop_oneof![
        40 => operation().prop_map(|operation| vec![operation]),
        1 => overtaken(),
    ];
    // A commit in every bucket takes long: one case of a hundred has it, once.
    let cut = weighted(0.01, any::<Index>());
    let operations = (vec(some, 1..60), cut).prop_map(|(operations, cut)| {
        let mut operations = operations.concat();
        if let Some(cut) = cut {
            operations.insert(cut.index(operations.len()), Operation::SetNotBefore);
        }
        operations
    });
    (operations, rules())
}
