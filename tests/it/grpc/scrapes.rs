//! What a scrape of the side port shows of what callers were told.

use assay::grpc::proto;
use assay::id::DeviceId;
use assay::store::keys;

use super::harness::{MEMORY, Phone, Server, World, devices_of, find_by_key, http_get};
use super::refusal::assert_refused;
use crate::support::records;

/// The lines of a scrape that begin so.
async fn shown(server: &Server, beginning: &str) -> Vec<String> {
    let (_, metrics) = http_get(server, "/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with(beginning));
    lines.map(str::to_owned).collect()
}

/// Refreshes from another place.
async fn refresh_from(
    server: &Server,
    phone: &mut Phone,
    token: &str,
    locale: &str,
) -> Result<String, tonic::Status> {
    let mut request = phone.refreshment(token);
    request.client = Some(proto::ClientContext {
        ip: "2001:db8:77:1::1".to_owned(),
        locale: locale.to_owned(),
    });
    let answer = server.sessions().refresh_session(request).await?;
    let grant = answer.into_inner().grant.unwrap();
    phone.nonce = Some(grant.next_nonce);
    Ok(grant.refresh_token)
}

#[tokio::test]
async fn signals_of_a_thief_and_what_followed_are_counted_in_the_mode_they_were_in() {
    for (mode, held) in [("monitor", false), ("enforce", true)] {
        let world = World::new();
        let risk = format!(
            "[apps.demo.risk]\nmode = \"{mode}\"\nstep_up_at = 10\n[apps.demo.risk.points]\n\
             locale_changed = 10\n"
        );
        let server = world.start_from(&(world.config(MEMORY) + &risk)).await;
        assert_eq!(shown(&server, "assay_risk_signals_total{").await, [""; 0]);
        let mut phone = world.android();
        let device = phone.join(&server, "rita@mail.test").await;
        let grant = phone.issue(&server, &device).await.unwrap();
        let first = refresh_from(&server, &mut phone, &grant.refresh_token, "de-DE").await;
        world.clock.advance(std::time::Duration::from_secs(60));
        let second = refresh_from(&server, &mut phone, &first.unwrap(), "fr-FR").await;
        match second {
            Ok(_) => assert!(!held),
            Err(status) => {
                assert!(held);
                assert_refused(&status, "STEP_UP_REQUIRED");
            }
        }
        let signals = shown(&server, "assay_risk_signals_total{").await;
        let changed = r#"assay_risk_signals_total{signal="locale_changed"} 1"#;
        assert_eq!(signals, [changed]);
        let followed = shown(&server, "assay_risk_consequences_total{").await;
        let line = "assay_risk_consequences_total{consequence=\"step-up\"";
        assert_eq!(followed, [format!("{line},mode=\"{mode}\"}} 1")]);
        server.stop().await;
    }
}

/// Makes the record of a device one that cannot be read.
async fn spoil(server: &Server, device: &str) {
    let key = keys::device(&device.parse::<DeviceId>().unwrap());
    records::spoil(&*server.service.engine().store, &key).await;
}

#[tokio::test]
async fn records_of_devices_that_cannot_be_read_are_named_and_counted() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let subject = "anna@mail.test";
    let spoilt = world.android().join(&server, subject).await;
    let other = world.iphone().join(&server, subject).await;
    let counted = "assay_device_records_unreadable_total";
    assert_eq!(shown(&server, counted).await, [format!("{counted} 0")]);
    assert_eq!(devices_of(&server, subject).await.len(), 2);
    spoil(&server, &spoilt.device_id).await;
    let request = proto::ListDevicesRequest {
        subject: subject.to_owned(),
        ..proto::ListDevicesRequest::default()
    };
    let listed = server.devices().list_devices(request).await.unwrap();
    let listed = listed.into_inner();
    assert_eq!(listed.devices, [other]);
    assert_eq!(listed.unreadable_device_ids, [spoilt.device_id.as_str()]);
    let found = find_by_key(&server, &spoilt.key_thumbprint).await.unwrap();
    assert_eq!(found, []);
    assert_eq!(shown(&server, counted).await, [format!("{counted} 2")]);
    server.stop().await;
}
