//! Policies as operators change them: a rule that is watched before it is enforced, and a new
//! configuration file in a service that goes on running.

use std::sync::Arc;

use assay::assemble;
use assay::config::{Config, Look, Mode};
use assay::grpc::proto;
use assay::reason::Reason;
use assay::reload::Reload;
use assay::telemetry::metrics::Metrics;
use tokio::sync::watch;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::harness::{MEMORY, Phone, Server, World, eventually, http_get};

/// A month no phone has yet.
const FUTURE: &str = "os_patch_level_min = 209912\n";
const ANDROID: &str = "[apps.demo.android]\n";

/// The configuration of the world with more in the Android side of the app `demo`.
fn with(world: &World, more: &str) -> String {
    let plain = world.config(MEMORY);
    assert_eq!(plain.matches(ANDROID).count(), 1);
    plain.replace(ANDROID, &format!("{ANDROID}{more}"))
}

fn said(status: &Status) -> Reason {
    Reason::parse(&status.get_details_error_info().unwrap().reason).unwrap()
}

async fn reason(phone: &mut Phone, server: &Server, subject: &str) -> Option<Reason> {
    let status = phone.register(server, subject).await.err()?;
    Some(said(&status))
}

async fn shows(server: &Server, line: &str) -> bool {
    let (_, metrics) = http_get(server, "/metrics").await;
    metrics.lines().any(|shown| shown == line)
}

async fn until_shown(server: &Server, line: &str) {
    eventually(line, || async { shows(server, line).await.then_some(()) }).await;
}

async fn until_reason(world: &World, server: &Server, wanted: Option<Reason>) {
    let mut tried = 0;
    for _ in 0..2400 {
        tried += 1;
        let subject = format!("user-{tried}");
        if reason(&mut world.android(), server, &subject).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("in vain: {wanted:?}");
}

#[tokio::test]
async fn a_monitored_rule_is_shown_and_counted_and_lets_the_phone_in() {
    let world = World::new();
    let enforced = world.start_from(&with(&world, FUTURE)).await;
    let refused = reason(&mut world.android(), &enforced, "user").await;
    assert_eq!(refused, Some(Reason::PostureBelowPolicy));
    let counted = r#"assay_policy_monitored_total{rule="os_patch_level"} 1"#;
    assert!(!shows(&enforced, counted).await);
    enforced.stop().await;

    let watched = format!("{FUTURE}monitor = [\"os_patch_level\", \"max_patch_age\"]\n");
    let server = world.start_from(&with(&world, &watched)).await;
    let answer = world.android().register(&server, "user").await.unwrap();
    let appraisal = answer.appraisal.unwrap();
    assert!(appraisal.accepted && appraisal.reason.is_empty());
    let monitored = appraisal.checks.iter();
    let monitored: Vec<_> = monitored
        .filter(|check| check.outcome() == proto::CheckOutcome::Monitored)
        .map(|check| (check.name.as_str(), check.reason.as_str()))
        .collect();
    assert_eq!(monitored, [("os_patch_level", "POSTURE_BELOW_POLICY")]);
    assert!(shows(&server, counted).await);
    server.stop().await;
}

#[tokio::test]
async fn a_registered_device_shows_what_is_kept_of_it() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let device = world.android().join(&server, "user").await;
    let Some(proto::posture::Kind::Android(seen)) = device.posture.unwrap().kind else {
        panic!("not Android");
    };
    assert_eq!(seen.device_locked, Some(true));
    assert_eq!(seen.verified_boot_state, "Verified");
    assert_eq!(seen.verified_boot_key.len(), 32);
    assert!(seen.os_patch_level.is_some() && !seen.attest_key_used);
    assert!(seen.user_authentication.is_some());
    let device = world.iphone().join(&server, "user").await;
    let Some(proto::posture::Kind::Apple(seen)) = device.posture.unwrap().kind else {
        panic!("not Apple");
    };
    assert_eq!(seen.environment, "development");
    assert!(!seen.receipt.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_changed_policy_holds_without_a_restart() {
    let world = World::new();
    let server = world.start_following(&with(&world, "")).await;
    let mut changes = server.service.policy_changes();
    assert_eq!(*changes.borrow_and_update(), 0);
    assert!(shows(&server, "assay_config_current 1").await);
    until_reason(&world, &server, None).await;

    world.write_config(&with(&world, FUTURE));
    until_reason(&world, &server, Some(Reason::PostureBelowPolicy)).await;
    // What is in use is told, and counted, afterwards.
    let told = changes.changed().await;
    told.unwrap();
    assert_eq!(*changes.borrow_and_update(), 1);
    let applied = r#"assay_config_reloads_total{outcome="applied"} 1"#;
    until_shown(&server, applied).await;

    // The app disappears, and comes back.
    let plain = with(&world, "");
    world.write_config(&plain.replace("apps.demo", "apps.other"));
    let gone = eventually("the app is gone", || async {
        let request = proto::CreateChallengeRequest {
            app_id: "demo".to_owned(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: "user".to_owned(),
            client: None,
        };
        server.devices().create_challenge(request).await.err()
    });
    assert_eq!(said(&gone.await), Reason::AppDisabled);
    world.write_config(&plain);
    eventually("the app is back", || async {
        let apps = server.service.engine().apps.load();
        apps.contains_key(&"demo".parse().unwrap()).then_some(())
    })
    .await;
    until_reason(&world, &server, None).await;
    server.stop().await;
}

#[tokio::test]
async fn a_file_in_which_anything_is_wrong_changes_nothing() {
    let world = World::new();
    let good = with(&world, "");
    let server = world.start_following(&good).await;
    // Half of it is a stricter policy; the other half cannot be read.
    world.write_config(&(with(&world, FUTURE) + "\n[apps.demo.lifetimes]\naccess = \"soon\"\n"));
    until_shown(&server, r#"assay_config_reloads_total{outcome="wrong"} 1"#).await;
    until_shown(&server, "assay_config_current 0").await;
    assert_eq!(reason(&mut world.android(), &server, "user").await, None);
    world.write_config(&good);
    until_shown(&server, "assay_config_current 1").await;
    assert_eq!(*server.service.policy_changes().borrow(), 0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_an_app_waits_for_a_restart() {
    let world = World::new();
    let server = world.start_following(&with(&world, "")).await;
    let other_issuer =
        |text: String| text.replace("[keys]", "[token]\nissuer = \"https://b.test\"\n[keys]");
    world.write_config(&other_issuer(with(&world, FUTURE)));
    until_shown(
        &server,
        r#"assay_config_reloads_total{outcome="needs_restart"} 1"#,
    )
    .await;
    // The apps of the same file are in use.
    until_reason(&world, &server, Some(Reason::PostureBelowPolicy)).await;
    until_shown(&server, "assay_config_current 0").await;
    assert_ne!(server.service.engine().issuer, "https://b.test");
    world.write_config(&with(&world, FUTURE));
    until_shown(&server, "assay_config_current 1").await;
    server.stop().await;
}

/// Without the sections of the Android sides, and without the app that has no other.
fn without_android(config: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in config.lines() {
        if line.starts_with('[') {
            let name = line.trim_start_matches('[');
            within = name.contains(".android") || name.starts_with("apps.strict");
        }
        if !within {
            kept += line;
            kept += "\n";
        }
    }
    kept
}

/// The list an app needs is fetched from the next start on. Until then its Android side waits, and not
/// the phones of everybody else.
#[tokio::test]
async fn an_app_that_needs_a_list_does_not_take_a_ready_service_away() {
    let world = World::new();
    let whole = with(&world, "");
    let listless = whole.replace("status_list_missing = \"allow\"\n", "");
    let server = world.start_following(&without_android(&listless)).await;
    let ready = || async {
        let (first, _) = http_get(&server, "/readyz").await;
        first.contains("200").then_some(())
    };
    eventually("it is ready", ready).await;
    world.write_config(&whole);
    let waits = r#"assay_config_reloads_total{outcome="needs_restart"} 1"#;
    until_shown(&server, waits).await;
    // Long enough for several looks at what is needed.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(ready().await.is_some());
    let refused = reason(&mut world.android(), &server, "user").await;
    assert_eq!(refused, Some(Reason::TrustListStale));
    server.stop().await;
}

/// A file of another mode was read by other rules: what development concedes must not come into
/// production by a change of two lines.
#[test]
fn of_a_file_of_another_mode_nothing_is_used() {
    let world = World::new();
    let config = Config::parse(&world.config(MEMORY), world.path()).unwrap();
    let metrics = Arc::new(Metrics::new("test"));
    let engine = assemble::engine(&config, world.clock.clone(), &metrics).unwrap();
    let engine = Arc::new(engine);
    let (changes, seen) = watch::channel(0);
    let in_use = config.clone();
    let mut reload = Reload::new(Arc::clone(&engine), metrics, in_use, changes);
    let before = engine.apps.load_full();
    let mut apps = config.apps.clone();
    apps.pop_first();
    let other = |mode| {
        let apps = apps.clone();
        Look::New(Box::new(Config {
            mode,
            apps,
            ..config.clone()
        }))
    };
    reload.take(other(Mode::Production));
    assert_eq!(engine.apps.load().len(), before.len());
    assert_eq!(*seen.borrow(), 0);
    reload.take(other(Mode::Development));
    assert_eq!(engine.apps.load().len(), before.len() - 1);
    assert_eq!(*seen.borrow(), 1);
}
