//! Hand-made histories: each promise is broken at least once and found, and good ones pass.

use assay::reason::Reason;

use super::super::history::{Answer, Deed, Entry, Outcome, Target, Tick, Token};
use super::{Lives, Rule, check};

const LIVES: Lives = Lives {
    grace: 600,
    idle: 10_000,
    absolute: 50_000,
};

const SESSION: u32 = 1;
const DEVICE: u32 = 2;
const SUBJECT: u32 = 3;

/// The one token of a generation.
const fn g(generation: u32) -> Token {
    Token {
        session: SESSION,
        generation,
        text: 100 + generation,
    }
}

/// One thing after the other, a second each.
struct Story(Vec<Entry>);

impl Story {
    /// A device with a session.
    fn new() -> Self {
        let mut story = Self(Vec::new());
        story.then(Deed::Register { device: DEVICE }, Answer::Registered);
        story.then(issue(), Answer::Issued(g(0)));
        story
    }

    fn now(&self) -> Tick {
        self.0.iter().map(|entry| entry.ended).max().unwrap_or(0)
    }

    fn then(&mut self, deed: Deed, answer: Answer) -> &mut Self {
        let now = self.now();
        self.between(now + 1, now + 2, deed, answer)
    }

    fn between(&mut self, began: Tick, ended: Tick, deed: Deed, answer: Answer) -> &mut Self {
        let time = i64::try_from(ended).unwrap();
        self.0.push(Entry {
            began,
            ended,
            time,
            deed,
            answer,
        });
        self
    }

    fn refresh(&mut self, token: Token, outcome: Outcome, given: Token) -> &mut Self {
        self.then(Deed::Refresh(token), Answer::Refreshed(outcome, given))
    }

    fn refused(&mut self, token: Token, reason: Reason) -> &mut Self {
        self.then(Deed::Refresh(token), Answer::Refused(reason))
    }

    fn revoked(&mut self, target: Target) -> &mut Self {
        self.then(Deed::Revoke(target), Answer::Done { durable: true })
    }

    /// A crash that may undo what came behind `since`.
    fn crash(&mut self, since: Tick) -> &mut Self {
        self.then(Deed::MayLose { since }, Answer::Lost)
    }

    fn later(&mut self, seconds: i64) -> &mut Self {
        let now = self.now() + Tick::try_from(seconds).unwrap();
        self.between(now, now + 1, Deed::Verify { session: 99 }, Answer::Lost)
    }

    fn broken(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = check(&self.0, LIVES).iter().map(|v| v.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

const fn issue() -> Deed {
    Deed::Issue {
        device: DEVICE,
        subject: SUBJECT,
    }
}

const VERIFY: Deed = Deed::Verify { session: SESSION };
const INTROSPECT: Deed = Deed::Introspect { session: SESSION };
use Outcome::{Healed, Retry, Rotated};

#[test]
fn a_quiet_life_is_good() {
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(0), Retry, g(1))
        .then(Deed::Refresh(g(1)), Answer::Lost)
        .refresh(g(1), Retry, g(2))
        .then(VERIFY, Answer::Allowed)
        .then(VERIFY, Answer::NotNow(Reason::StateStoreUnavailable))
        .then(INTROSPECT, Answer::Allowed)
        .revoked(Target::Session(SESSION))
        .refused(g(2), Reason::SessionRevoked)
        .then(INTROSPECT, Answer::Inactive)
        .then(issue(), Answer::Issued(Token { session: 7, ..g(0) }))
        .revoked(Target::Device(DEVICE))
        .then(issue(), Answer::Refused(Reason::DeviceRevoked))
        .then(
            Deed::Register { device: DEVICE },
            Answer::Refused(Reason::DeviceKeyBanned),
        );
    assert_eq!(story.broken(), []);
}

#[test]
fn a_refusal_without_a_cause_is_found_in_every_form() {
    let no = Answer::Refused(Reason::SessionRevoked);
    for (deed, answer) in [
        (Deed::Refresh(g(0)), no),
        (Deed::Refresh(g(0)), Answer::Refused(Reason::TokenInvalid)),
        (
            Deed::Refresh(g(0)),
            Answer::Refused(Reason::RefreshTokenReused),
        ),
        (
            Deed::Refresh(g(0)),
            Answer::Refused(Reason::SessionExpiredIdle),
        ),
        (VERIFY, no),
        (INTROSPECT, Answer::Inactive),
        (issue(), Answer::Refused(Reason::DeviceRevoked)),
    ] {
        let mut story = Story::new();
        story.then(deed, answer);
        assert_eq!(story.broken(), [Rule::NoLogoutWithoutCause], "{deed:?}");
    }
}

#[test]
fn a_cause_has_to_be_one_of_this_session_and_before_the_refusal() {
    let no = Reason::SessionRevoked;
    for other in [Target::Session(9), Target::Device(9), Target::Subject(9)] {
        assert_eq!(
            Story::new().revoked(other).refused(g(0), no).broken(),
            [Rule::NoLogoutWithoutCause]
        );
    }
    let mut late = Story::new();
    late.refused(g(0), no).revoked(Target::Device(DEVICE));
    assert_eq!(late.broken(), [Rule::NoLogoutWithoutCause]);
    // Of a subject, only what was open by then.
    let mut before = Story(Vec::new());
    before
        .revoked(Target::Subject(SUBJECT))
        .then(issue(), Answer::Issued(g(0)))
        .refused(g(0), no);
    assert_eq!(before.broken(), [Rule::NoLogoutWithoutCause]);
    // One whose answer was lost may have been done.
    for target in [
        Target::Session(SESSION),
        Target::Device(DEVICE),
        Target::Subject(SUBJECT),
        Target::Everything,
    ] {
        let mut lost = Story::new();
        lost.then(Deed::Revoke(target), Answer::Lost)
            .refused(g(0), no);
        assert_eq!(lost.broken(), [], "{target:?}");
    }
}

#[test]
fn time_is_a_cause_when_it_has_passed() {
    let idle = Reason::SessionExpiredIdle;
    let mut story = Story::new();
    story.later(LIVES.idle).refused(g(0), idle);
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story.later(LIVES.idle - 100).refused(g(0), idle);
    assert_eq!(story.broken(), [Rule::NoLogoutWithoutCause]);
    // A refresh in between is a use.
    let mut story = Story::new();
    story.later(LIVES.idle - 100).refresh(g(0), Rotated, g(1));
    story.later(200).refused(g(1), idle);
    assert_eq!(story.broken(), [Rule::NoLogoutWithoutCause]);
}

#[test]
fn an_old_token_is_a_cause_and_a_current_one_is_none() {
    let reused = Reason::RefreshTokenReused;
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(1), Rotated, g(2))
        .refused(g(0), reused)
        .refused(g(2), Reason::SessionRevoked);
    assert_eq!(story.broken(), []);
    // Its answer was lost, and a retry is no reuse.
    let mut story = Story::new();
    story
        .then(Deed::Refresh(g(0)), Answer::Lost)
        .refused(g(0), reused);
    assert_eq!(story.broken(), [Rule::NoLogoutWithoutCause]);
    // Grace is over.
    let mut story = Story::new();
    story.refresh(g(0), Rotated, g(1));
    story.later(LIVES.grace + 1).refused(g(0), reused);
    assert_eq!(story.broken(), []);
    // A request that came late is not the phone's fault.
    let mut story = Story::new();
    story
        .between(5, 500, Deed::Refresh(g(0)), Answer::Lost)
        .between(6, 7, Deed::Refresh(g(0)), Answer::Refreshed(Rotated, g(1)))
        .between(8, 9, Deed::Refresh(g(1)), Answer::Refreshed(Rotated, g(2)))
        .between(
            10,
            11,
            Deed::Refresh(g(2)),
            Answer::Refused(Reason::SessionRevoked),
        );
    assert_eq!(story.broken(), [Rule::NoLogoutWithoutCause]);
}

#[test]
fn two_successors_are_found() {
    let other = Token { text: 7, ..g(1) };
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(0), Retry, other);
    assert_eq!(story.broken(), [Rule::OneBranch]);
    // One generation, two tokens, from two fathers.
    let mut story = Story::new();
    let father = Token { text: 7, ..g(0) };
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(father, Rotated, other);
    assert_eq!(story.broken(), [Rule::OneBranch]);
    // A step too far, and the token of another session.
    for strange in [g(2), Token { session: 9, ..g(1) }] {
        let mut story = Story::new();
        story.refresh(g(0), Rotated, strange);
        assert_eq!(story.broken(), [Rule::OneBranch]);
    }
}

#[test]
fn two_rotations_and_none_are_found() {
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(0), Rotated, g(1));
    assert_eq!(story.broken(), [Rule::OneRotation]);
    let mut story = Story::new();
    story.refresh(g(0), Retry, g(1));
    assert_eq!(story.broken(), [Rule::OneRotation]);
    // After a crash that may have undone it, again is right; after one that may not, it is not.
    let mut story = Story::new();
    let since = story.now();
    story.refresh(g(0), Rotated, g(1)).crash(since);
    story.refresh(g(0), Rotated, g(1));
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story.refresh(g(0), Rotated, g(1));
    let since = story.now() + 1;
    story.crash(since).refresh(g(0), Rotated, g(1));
    assert_eq!(story.broken(), [Rule::OneRotation]);
}

#[test]
fn a_yes_after_an_acknowledged_revocation_is_found_in_every_form() {
    let yeses = [
        (Deed::Refresh(g(0)), Answer::Refreshed(Rotated, g(1))),
        (VERIFY, Answer::Allowed),
        (INTROSPECT, Answer::Allowed),
    ];
    let targets = [
        Target::Session(SESSION),
        Target::Device(DEVICE),
        Target::Subject(SUBJECT),
        Target::Everything,
    ];
    for (deed, answer) in yeses {
        for target in targets {
            let mut story = Story::new();
            story.revoked(target).then(deed, answer);
            assert_eq!(
                story.broken(),
                [Rule::RevokedStaysOut],
                "{target:?} {deed:?}"
            );
            // What had begun before may still end well.
            let mut story = Story::new();
            let now = story.now();
            story
                .between(
                    now + 2,
                    now + 3,
                    Deed::Revoke(target),
                    Answer::Done { durable: true },
                )
                .between(now + 1, now + 9, deed, answer);
            assert_eq!(story.broken(), [], "{target:?} {deed:?}");
            // What was not acknowledged promises nothing.
            let mut story = Story::new();
            story.then(
                Deed::Revoke(target),
                Answer::NotNow(Reason::RevocationNotDurable),
            );
            story.then(deed, answer);
            assert_eq!(story.broken(), [], "{target:?} {deed:?}");
        }
    }
}

#[test]
fn a_crash_undoes_only_revocations_that_were_not_called_durable() {
    for (durable, broken) in [(true, vec![Rule::RevokedStaysOut]), (false, vec![])] {
        let mut story = Story::new();
        let since = story.now();
        let target = Target::Session(SESSION);
        story.then(Deed::Revoke(target), Answer::Done { durable });
        story.crash(since).then(VERIFY, Answer::Allowed);
        assert_eq!(story.broken(), broken);
    }
}

#[test]
fn a_revoked_key_that_comes_back_is_found() {
    for (deed, answer) in [
        (Deed::Register { device: DEVICE }, Answer::Registered),
        (issue(), Answer::Issued(Token { session: 7, ..g(0) })),
    ] {
        let mut story = Story::new();
        story.revoked(Target::Device(DEVICE)).then(deed, answer);
        assert!(
            story.broken().contains(&Rule::RevokedKeyStaysOut),
            "{deed:?}"
        );
    }
    // Where it was not called durable it holds all the same, unless a crash may have undone it.
    for (since, broken) in [(0, vec![]), (100, vec![Rule::RevokedKeyStaysOut])] {
        let mut story = Story::new();
        let done = Answer::Done { durable: false };
        story.then(Deed::Revoke(Target::Device(DEVICE)), done);
        story.crash(since);
        story.then(Deed::Register { device: DEVICE }, Answer::Registered);
        assert_eq!(story.broken(), broken);
    }
    // A store that was emptied before the ban, or after the key came back, did not forget it then.
    let mut story = Story::new();
    story.revoked(Target::Everything).crash(0);
    story.revoked(Target::Device(DEVICE)).crash(0);
    story.then(Deed::Register { device: DEVICE }, Answer::Registered);
    story.revoked(Target::Everything);
    assert_eq!(story.broken(), [Rule::RevokedKeyStaysOut]);
    // An emptied store forgets the ban.
    let mut story = Story::new();
    story.revoked(Target::Device(DEVICE));
    story.crash(0).revoked(Target::Everything);
    story.then(Deed::Register { device: DEVICE }, Answer::Registered);
    assert_eq!(story.broken(), []);
}

#[test]
fn going_back_and_healing_without_a_loss_are_found() {
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(1), Rotated, g(2))
        .refresh(g(0), Retry, g(1));
    assert_eq!(story.broken(), [Rule::Forward]);
    // Both at once may end in any order.
    let mut story = Story::new();
    story
        .between(5, 9, Deed::Refresh(g(0)), Answer::Refreshed(Retry, g(1)))
        .between(5, 6, Deed::Refresh(g(0)), Answer::Refreshed(Rotated, g(1)))
        .between(7, 8, Deed::Refresh(g(1)), Answer::Refreshed(Rotated, g(2)));
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story
        .refresh(g(0), Rotated, g(1))
        .refresh(g(1), Healed, g(2));
    assert_eq!(story.broken(), [Rule::Forward]);
    let mut story = Story::new();
    let since = story.now();
    story.refresh(g(0), Rotated, g(1)).crash(since);
    story.refresh(g(1), Healed, g(2));
    assert_eq!(story.broken(), []);
}

#[test]
fn an_opening_that_a_crash_may_have_undone_is_no_logout() {
    for (since, broken) in [(0, vec![]), (100, vec![Rule::NoLogoutWithoutCause])] {
        let mut story = Story::new();
        story.crash(since).refused(g(0), Reason::SessionRevoked);
        assert_eq!(story.broken(), broken);
    }
}

#[test]
fn every_rule_is_broken_by_a_test_of_this_file() {
    let text = include_str!("checker_tests.rs");
    for rule in Rule::ALL {
        assert!(text.contains(&format!("Rule::{rule:?}")), "{rule:?}");
    }
}
