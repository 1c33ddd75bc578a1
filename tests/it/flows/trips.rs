//! The table of trips in ARCHITECTURE.md, asked of the flows: each RPC with nothing else coming in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use assay::flow::appraise_evidence::{self, AppraiseEvidence};
use assay::flow::batch_revoke_devices::{self, BatchRevokeDevices};
use assay::flow::end_session::EndSession;
use assay::flow::find_devices::{self, By, FindDevices};
use assay::flow::list_audit_events::{self, ListAuditEvents};
use assay::flow::reappraise_devices::{Run, Scope};
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::{PageRequest, get_session, get_trust_status, list_devices, list_sessions};
use assay::session::{Position, RevocationReason, SuspensionReason};

use super::renewing;
use super::world::caller;
use super::*;

/// RPCs whose trips are not a number of this table, and why.
const NOT_HERE: &[(&str, &str)] = &[("GetJwks", "it has no flow: the key set is made at start")];

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

/// A phone of a user with a session, and what is done with it.
async fn measured(name: &str) -> usize {
    let world = World::in_memory();
    let mut phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let id = phone.id();
    let mut other = world.phone(Kind::Apple, "user-1");
    let registration = world.registration(&mut other);
    let replacement = world.registered(Kind::Android, "user-1").await.id();
    let challenge = world.challenge(BANK, Some(&phone.subject));
    if name == "ResumeDevice" {
        let why = SuspensionReason::Mislaid;
        world.suspend(id, why).await.unwrap();
    }
    let engine = &world.engine;
    let before = world.trips();
    match name {
        "CreateChallenge" => drop(world.challenge(BANK, None)),
        "AppraiseEvidence" => {
            let request = AppraiseEvidence {
                app: registration.app.clone(),
                evidence: phone.evidence(&challenge, BANK, world.now()),
                challenge,
            };
            appraise_evidence::run(engine, request).unwrap();
        }
        "RegisterDevice" => {
            let world = World::in_memory();
            let mut phone = world.phone(Kind::Apple, "user-1");
            let before = world.trips();
            world.register(&mut phone).await.unwrap();
            return world.trips().since(before).0;
        }
        "IssueSession" => drop(world.issue(&phone).await.unwrap()),
        "RefreshSession" => drop(world.refresh(&phone, &grant.refresh_token).await.unwrap()),
        "VerifyRequest" => world.verify(&phone, &grant.access_token).await.unwrap(),
        "IntrospectToken" => assert!(world.active(&grant.access_token).await.unwrap()),
        "EndSession" => {
            let request = EndSession::Token(grant.refresh_token);
            world.end(request).await.unwrap();
        }
        "RevokeDevice" => drop(world.revoke(id).await.unwrap()),
        "SuspendDevice" => {
            let why = SuspensionReason::Mislaid;
            drop(world.suspend(id, why).await.unwrap());
        }
        "ResumeDevice" => drop(world.resume(id).await.unwrap()),
        "LinkDeviceSuccessor" => drop(world.link(id, replacement).await.unwrap()),
        "RevokeSession" => {
            let request = RevokeSession {
                session: grant.session.id,
                why: RevocationReason::Lost,
                validate_only: false,
                by: caller(),
            };
            revoke_session::run(engine, request).await.unwrap();
        }
        "RevokeSubject" => {
            let request = RevokeSubject {
                subject: phone.subject.clone(),
                why: RevocationReason::Lost,
                validate_only: false,
                by: caller(),
            };
            revoke_subject::run(engine, request).await.unwrap();
        }
        "BatchRevokeDevices" => {
            let request = BatchRevokeDevices {
                devices: vec![id],
                why: RevocationReason::Lost,
                validate_only: false,
                by: caller(),
            };
            batch_revoke_devices::run(engine, request).await;
        }
        "FindDevices" => {
            let by = By::Key(world.device(id).await.session_key);
            let before = world.trips();
            let request = FindDevices { by, page: page() };
            let found = find_devices::run(engine, request).await.unwrap();
            assert_eq!(found.entries.len(), 1);
            return world.trips().since(before).0;
        }
        "ListAuditEvents" => {
            let request = ListAuditEvents {
                device: id,
                page: page(),
            };
            list_audit_events::run(engine, request).await.unwrap();
        }
        "GetTrustStatus" => drop(get_trust_status::run(engine).await),
        "ReappraiseDevices" => {
            let scope = Scope {
                app: None,
                validate_only: false,
                by: caller(),
            };
            let mut run = Run::all(scope, Position::default());
            let mut most = 0;
            while !run.is_done() {
                let before = world.trips();
                run.step(engine).await.unwrap();
                most = most.max(world.trips().since(before).0);
            }
            return most;
        }
        "GetDevice" => drop(world.device(id).await),
        "GetSession" => drop(get_session::run(engine, &grant.session.id).await.unwrap()),
        "ListDevices" => {
            let listed = list_devices::run(engine, &phone.subject, page()).await;
            assert_eq!(listed.unwrap().entries.len(), 2);
        }
        "ListSessions" => {
            let listed = list_sessions::run(engine, &phone.subject, page()).await;
            assert_eq!(listed.unwrap().entries.len(), 1);
        }
        "ReattestDevice" => return renewing::trips_of_an_attestation(&World::in_memory()).await,
        "RotateDeviceKey" => return renewing::trips_of_a_move(&World::in_memory()).await,
        other => panic!("{other} is in the table and not measured: add it here or to NOT_HERE"),
    }
    world.trips().since(before).0
}

#[tokio::test]
async fn every_rpc_takes_the_trips_that_the_table_says() {
    for (name, trips) in table() {
        if NOT_HERE.iter().any(|(not_here, _)| *not_here == name) {
            continue;
        }
        assert_eq!(measured(&name).await, trips, "{name}");
    }
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
