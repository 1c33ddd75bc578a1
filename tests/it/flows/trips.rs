//! The table of trips in ARCHITECTURE.md, asked of the flows: each RPC with nothing else coming in between,
//! under a plain policy and where everything is counted and weighed; and what a request may cost at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use assay::client::{Address, ClientContext};
use assay::config::{Config, EXAMPLE};
use assay::flow::appraise_evidence::{self, AppraiseEvidence};
use assay::flow::batch_revoke_devices::{self, BatchRevokeDevices};
use assay::flow::end_session::EndSession;
use assay::flow::find_devices::{self, By, FindDevices};
use assay::flow::list_audit_events::{self, ListAuditEvents};
use assay::flow::reappraise_devices::{Run, Scope};
use assay::flow::revoke_consent::{self, RevokeConsent};
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::verify_request::{self, Consistency};
use assay::flow::{
    Follower, Grant, PageRequest, get_session, get_trust_status, list_devices, list_sessions,
};
use assay::id::DeviceId;
use assay::policy::{
    Enforcement, Rate, ReplayRule, RiskPolicy, ScopeRule, ServiceRates, TrustLevel, UserPresence,
};
use assay::session::{EventKind, Position, RefreshOutcome, RevocationReason, SuspensionReason};

use super::renewing;
use super::world::{app_id, caller, scopes};
use super::*;

over_every_store! {
    requests_cost_what_is_promised_where_everything_is_counted_and_weighed
    revocations_cost_two_trips_however_much_there_is_to_revoke
}

/// RPCs whose trips are not a number of this table, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("GetJwks", "it has no flow: the key set is made at start"),
    ("ElevateSession", "in the stories of stepping up"),
    ("RotateSession", "in the stories of stepping up"),
    ("EnrolPresenceKey", "in the stories of stepping up"),
    ("RevokeConsent", "in the stories of consents"),
    ("SetNotBefore", "in the stories of the whole fleet"),
    ("PreviewRevocation", "in the stories of previews, by target"),
    ("ExportSubject", "in the stories of erasing"),
    ("EraseSubject", "in the stories of erasing"),
    (
        "WatchRevocations",
        "from memory, in the stories of watching",
    ),
    ("AckRevocations", "in the stories of confirming"),
    ("ConfirmRevocations", "in the stories of confirming"),
    ("RunDrill", "in the stories of drills"),
];

/// Name, and the number its row begins with.
fn table() -> BTreeMap<String, usize> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let lines = page
        .lines()
        .skip_while(|line| *line != "| RPC | trips | why |");
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let number = cells[2].split_whitespace().next().unwrap();
        let number = number
            .parse()
            .unwrap_or_else(|_| panic!("a number in {row}"));
        for name in cells[1].split(", ") {
            assert_eq!(table.insert(name.to_owned(), number), None, "{name} twice");
        }
    }
    assert!(table.len() > 20, "{table:?}");
    table
}

fn page<T>() -> PageRequest<T> {
    PageRequest {
        size: 10,
        after: None,
    }
}

/// A user's phone with a session.
struct Setting {
    world: World,
    phone: Phone,
    grant: Grant,
    /// Another phone of the user.
    replacement: DeviceId,
}

/// The example's rates and one of callers, with phones that say where they are; risk that is enforced;
/// step-up with scopes and a key of its own.
fn guard(world: &mut World) {
    let config = Config::parse(EXAMPLE, Path::new("/etc/assay")).unwrap();
    let example = &config.apps.values().next().unwrap().policy;
    world.engine.rates = ServiceRates {
        caller: Some(Rate {
            count: 600_000,
            per: SECOND * 60,
        }),
        ..config.rates
    };
    world.client = ClientContext {
        address: Some(Address::V4([192, 0, 2, 1])),
        locale: "de-AT".parse().ok(),
    };
    world.change_policy(BANK, |policy| {
        policy.rates = example.rates;
        policy.risk = RiskPolicy {
            enforcement: Enforcement::Enforce,
            step_up_at: Some(40),
            drop_scopes_at: Some(60),
            dropped_scopes: scopes(&["transfer"]),
            suspend_at: Some(120),
            ..RiskPolicy::usual()
        };
        policy.step_up.user_presence = UserPresence::Declared;
        policy.step_up.scopes = ScopeRule {
            scopes: scopes(&["payments:confirm"]),
            trust_level_min: TrustLevel::Tee,
        };
    });
}

fn plain() -> World {
    World::in_memory()
}

fn guarded() -> World {
    let mut world = World::in_memory();
    guard(&mut world);
    world
}

async fn setting(world: World) -> Setting {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let replacement = world.registered(Kind::Android, "user-1").await.id();
    Setting {
        world,
        phone,
        grant,
        replacement,
    }
}

async fn measured(name: &str, new_world: fn() -> World) -> usize {
    let setting = setting(new_world()).await;
    match name {
        "RegisterDevice" => {
            let world = new_world();
            let mut phone = world.phone(Kind::Apple, "user-1");
            let before = world.trips();
            world.register(&mut phone).await.unwrap();
            world.trips().since(before).0
        }
        "ReattestDevice" => renewing::trips_of_an_attestation(&new_world()).await,
        "RotateDeviceKey" => renewing::trips_of_a_move(&new_world()).await,
        "ReappraiseDevices" => longest_step(&setting.world).await,
        name => {
            let world = &setting.world;
            let mut before = world.trips();
            if name == "ResumeDevice" {
                let why = SuspensionReason::Mislaid;
                world.suspend(setting.phone.id(), why).await.unwrap();
                before = world.trips();
            }
            let known = sessions(name, &setting).await
                || cuts(name, &setting).await
                || reads(name, &setting).await;
            assert!(
                known,
                "{name} is in the table and not measured: add it here or to NOT_HERE"
            );
            world.trips().since(before).0
        }
    }
}

/// The trips of the longest step of a run over all devices.
async fn longest_step(world: &World) -> usize {
    let scope = Scope {
        app: None,
        validate_only: false,
        by: caller(),
    };
    let mut run = Run::all(scope, Position::default());
    let mut most = 0;
    while !run.is_done() {
        let before = world.trips();
        run.step(&world.engine).await.unwrap();
        most = most.max(world.trips().since(before).0);
    }
    most
}

/// Does it, if it is one of these.
async fn sessions(name: &str, setting: &Setting) -> bool {
    let (world, phone, grant) = (&setting.world, &setting.phone, &setting.grant);
    match name {
        "CreateChallenge" => drop(world.challenge(BANK, None)),
        "AppraiseEvidence" => {
            let mut phone = world.phone(Kind::Android, "user-1");
            let challenge = world.challenge(BANK, None);
            let request = AppraiseEvidence {
                app: app_id(BANK),
                evidence: phone.evidence(&challenge, BANK, world.now()),
                challenge,
            };
            appraise_evidence::run(&world.engine, request).unwrap();
        }
        "IssueSession" => drop(world.issue(phone).await.unwrap()),
        "RefreshSession" => drop(world.refresh(phone, &grant.refresh_token).await.unwrap()),
        "VerifyRequest" => world.verify(phone, &grant.access_token).await.unwrap(),
        "IntrospectToken" => assert!(world.active(&grant.access_token).await.unwrap()),
        "EndSession" => {
            let request = EndSession::Token(grant.refresh_token.clone());
            world.end(request).await.unwrap();
        }
        _ => return false,
    }
    true
}

async fn cuts(name: &str, setting: &Setting) -> bool {
    let (world, phone) = (&setting.world, &setting.phone);
    let (id, why, by) = (phone.id(), RevocationReason::Lost, caller());
    let validate_only = false;
    match name {
        "RevokeDevice" => drop(world.revoke(id).await.unwrap()),
        "SuspendDevice" => {
            let why = SuspensionReason::Mislaid;
            drop(world.suspend(id, why).await.unwrap());
        }
        "ResumeDevice" => drop(world.resume(id).await.unwrap()),
        "LinkDeviceSuccessor" => drop(world.link(id, setting.replacement).await.unwrap()),
        "RevokeSession" => {
            let request = RevokeSession {
                session: setting.grant.session.id,
                why,
                validate_only,
                by,
            };
            revoke_session::run(&world.engine, request).await.unwrap();
        }
        "RevokeSubject" => {
            let request = RevokeSubject {
                subject: phone.subject.clone(),
                why,
                validate_only,
                by,
            };
            revoke_subject::run(&world.engine, request).await.unwrap();
        }
        "BatchRevokeDevices" => {
            let request = BatchRevokeDevices {
                devices: vec![id],
                why,
                validate_only,
                by,
            };
            batch_revoke_devices::run(&world.engine, request).await;
        }
        _ => return false,
    }
    true
}

async fn reads(name: &str, setting: &Setting) -> bool {
    let (engine, phone) = (&setting.world.engine, &setting.phone);
    match name {
        "FindDevices" => {
            let by = By::Key(setting.grant.session.session_key);
            let request = FindDevices { by, page: page() };
            let found = find_devices::run(engine, request).await.unwrap();
            assert_eq!(found.page.entries.len(), 1);
        }
        "ListAuditEvents" => {
            let request = ListAuditEvents {
                device: phone.id(),
                page: page(),
            };
            list_audit_events::run(engine, request).await.unwrap();
        }
        "GetTrustStatus" => drop(get_trust_status::run(engine).await),
        "GetDevice" => drop(setting.world.device(phone.id()).await),
        "GetSession" => {
            let id = &setting.grant.session.id;
            drop(get_session::run(engine, id).await.unwrap());
        }
        "ListDevices" => {
            let listed = list_devices::run(engine, &phone.subject, page()).await;
            assert_eq!(listed.unwrap().page.entries.len(), 2);
        }
        "ListSessions" => {
            let listed = list_sessions::run(engine, &phone.subject, page()).await;
            assert_eq!(listed.unwrap().entries.len(), 1);
        }
        _ => return false,
    }
    true
}

#[tokio::test]
async fn every_rpc_takes_the_trips_that_the_table_says() {
    for (name, trips) in table() {
        if NOT_HERE.iter().any(|(not_here, _)| *not_here == name) {
            continue;
        }
        assert_eq!(measured(&name, plain).await, trips, "{name}");
        assert_eq!(measured(&name, guarded).await, trips, "{name}, guarded");
    }
}

/// What `work` cost: trips, and how many of them were commits.
async fn cost<T>(world: &World, work: impl Future<Output = T>) -> (T, (usize, usize)) {
    let before = world.trips();
    let done = work.await;
    (done, world.trips().since(before))
}

async fn verify(world: &World, phone: &Phone, grant: &Grant, consistency: Consistency) {
    let call = verify_request::VerifyRequest {
        consistency,
        ..world.call(phone, &grant.access_token)
    };
    let decision = verify_request::run(&world.engine, call).await.unwrap();
    assert_eq!(decision.verdict.map(drop), Ok(()));
    assert_eq!(decision.by, consistency);
}

/// The numbers stand here and not in the table: they are not to be changed with it.
async fn requests_cost_what_is_promised_where_everything_is_counted_and_weighed(mut world: World) {
    guard(&mut world);
    let replays = [ReplayRule::Jti, ReplayRule::Window];
    let cases = replays.map(|replay| Kind::BOTH.map(|kind| (replay, kind)));
    for (replay, kind) in cases.concat() {
        let subject = format!("{kind:?} {replay:?}");
        world.change_policy(BANK, |policy| policy.proof.replay = replay);
        let mut phone = world.phone(kind, &subject);
        if replay == ReplayRule::Window {
            phone.count = Some(AtomicU64::new(100));
        }
        let limits = world.trips().limits;
        let (_, seen) = cost(&world, world.register(&mut phone)).await;
        assert_eq!(seen, (2, 1), "RegisterDevice, {subject}");
        let (grant, seen) = cost(&world, world.issue(&phone)).await;
        assert_eq!(seen, (2, 1), "IssueSession, {subject}");
        let token = grant.unwrap().refresh_token;
        let (next, seen) = cost(&world, world.refresh(&phone, &token)).await;
        assert_eq!(seen, (2, 1), "RefreshSession, {subject}");
        let grant = next.unwrap().grant;
        let (again, seen) = cost(&world, world.refresh(&phone, &token)).await;
        assert_eq!(again.unwrap().outcome, RefreshOutcome::Retry);
        assert_eq!(seen, (1, 0), "RefreshSession, a retry, {subject}");
        // Sooner than phones do, which is weighed.
        let (next, seen) = cost(&world, world.refresh(&phone, &grant.refresh_token)).await;
        assert_eq!(seen, (2, 1), "RefreshSession, too soon, {subject}");
        let grant = next.unwrap().grant;
        let fresh = verify(&world, &phone, &grant, Consistency::Fresh);
        let ((), seen) = cost(&world, fresh).await;
        assert_eq!(seen, (1, 0), "VerifyRequest, FRESH, {subject}");
        let mut follower = Follower::new(world.now());
        assert!(follower.round(&world.engine).await.unwrap().complete);
        let local = verify(&world, &phone, &grant, Consistency::Local);
        let ((), seen) = cost(&world, local).await;
        assert_eq!(seen, (0, 0), "VerifyRequest, LOCAL, {subject}");
        let (active, seen) = cost(&world, world.active(&grant.access_token)).await;
        assert_eq!((active, seen), (Ok(true), (1, 0)), "Introspect, {subject}");
        // And all of it was counted and weighed, or the numbers would say nothing.
        assert!(world.trips().limits >= limits + 12, "{subject}");
        let mut told = world.events(phone.id()).await.into_iter();
        assert!(told.any(|event| event.kind == EventKind::RiskSignal));
    }
}

async fn revocations_cost_two_trips_however_much_there_is_to_revoke(mut world: World) {
    guard(&mut world);
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 12);
    let mut phones = Vec::new();
    for number in 0..6 {
        let kind = Kind::BOTH[number % 2];
        phones.push(world.registered(kind, "user-1").await);
    }
    let (one, out) = (&phones[0], &phones[1]);
    let (subject, why, by) = (one.subject.clone(), RevocationReason::Lost, caller());
    let grant = world.issue(one).await.unwrap();
    let revoke_session = RevokeSession {
        session: grant.session.id,
        why,
        validate_only: false,
        by: by.clone(),
    };
    let done = revoke_session::run(&world.engine, revoke_session);
    let (done, seen) = cost(&world, done).await;
    assert!(done.is_ok());
    assert_eq!(seen, (2, 1), "RevokeSession");
    let (done, seen) = cost(&world, world.revoke(out.id())).await;
    assert!(done.is_ok());
    assert_eq!(seen, (2, 1), "RevokeDevice");
    let consent = RevokeConsent {
        subject: subject.clone(),
        consent: "loan".parse().unwrap(),
        why,
        validate_only: false,
        by: by.clone(),
    };
    let (done, seen) = cost(&world, revoke_consent::run(&world.engine, consent)).await;
    assert!(done.is_ok());
    assert_eq!(seen, (2, 1), "RevokeConsent");
    let all = RevokeSubject {
        subject,
        why,
        validate_only: false,
        by,
    };
    let trial = RevokeSubject {
        validate_only: true,
        ..all.clone()
    };
    let (done, seen) = cost(&world, revoke_subject::run(&world.engine, all)).await;
    assert!(done.is_ok());
    assert_eq!(seen, (2, 1), "RevokeSubject");
    for phone in &phones {
        let told = world.events(phone.id()).await.into_iter();
        let told: Vec<_> = told.map(|event| event.kind).collect();
        let cuts = [EventKind::ConsentRevoked, EventKind::SubjectRevoked];
        assert!(told.ends_with(&cuts), "{told:?}");
    }
    let (done, seen) = cost(&world, revoke_subject::run(&world.engine, trial)).await;
    assert!(done.is_ok());
    assert_eq!(seen, (1, 0), "RevokeSubject, a trial");
}

#[test]
fn the_table_has_every_rpc() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut rpcs = BTreeSet::new();
    for file in crate::support::sources::files(&directory, "proto") {
        let lines = file.text.lines().map(str::trim_start);
        let names = lines.filter_map(|line| line.strip_prefix("rpc ")?.split('(').next());
        rpcs.extend(names.map(|name| name.trim().to_owned()));
    }
    let table: BTreeSet<String> = table().into_keys().collect();
    assert_eq!(table, rpcs);
}
