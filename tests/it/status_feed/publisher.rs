//! A publisher of status lists, and a service that follows it.

use std::collections::BTreeSet;
use std::time::Duration;

use assay::grpc::proto;
use assay::grpc::proto::ListStanding;

use crate::grpc::harness::{MEMORY, Phone, Server, World, eventually, http_get};
use crate::support::http_server::{HttpServer, Reply};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A list of these and of `serials`, as it is published.
pub(super) fn list(others: std::ops::Range<u32>, serials: &[String]) -> Vec<u8> {
    let others = others.map(|n| format!("abc{n:05x}"));
    let all: BTreeSet<String> = others.chain(serials.iter().cloned()).collect();
    let entries: Vec<String> = all
        .iter()
        .map(|serial| format!("\"{serial}\": {{\"status\": \"REVOKED\"}}"))
        .collect();
    format!("{{\"entries\": {{{}}}}}", entries.join(", ")).into_bytes()
}

/// A publisher that knows its versions: it confirms the newest to whoever has it.
pub(super) fn publish(server: &HttpServer, etag: &str, body: Vec<u8>) {
    let etag = etag.to_owned();
    server.answer(move |request| {
        let headers = [
            ("ETag", etag.as_str()),
            ("Last-Modified", "Tue, 29 Sep 2026 10:00:00 GMT"),
            ("Cache-Control", "public, max-age=1800"),
        ];
        let known = request
            .lines()
            .any(|line| line.eq_ignore_ascii_case(&format!("if-none-match: {etag}")));
        if known {
            Reply::of(304, &headers, b"")
        } else {
            Reply::of(200, &headers, &body)
        }
    });
}

/// A configuration that follows a publisher.
pub(super) fn following(world: &World, publisher: &HttpServer, store: &str, more: &str) -> String {
    let url = publisher.url("/status");
    let ca = "[outbound]\nca = \"android-root.pem\"\n[attestation]";
    let feed = format!("status_list_url = \"{url}\"\n{more}");
    world
        .config(store)
        .replace("status_list_missing = \"allow\"", &feed)
        .replace("[attestation]", ca)
}

pub(super) async fn follow(world: &World, publisher: &HttpServer) -> Server {
    world
        .start_from(&following(world, publisher, MEMORY, ""))
        .await
}

pub(super) async fn status(server: &Server) -> proto::GetTrustStatusResponse {
    let request = proto::GetTrustStatusRequest {};
    let answer = server.attestation().get_trust_status(request).await;
    answer.unwrap().into_inner()
}

pub(super) async fn info(server: &Server) -> proto::StatusListInfo {
    status(server).await.status_list.unwrap()
}

/// Waits until the list is as wanted.
pub(super) async fn until(
    server: &Server,
    what: &str,
    wanted: impl Fn(&proto::StatusListInfo) -> bool,
) -> proto::StatusListInfo {
    eventually(what, || async {
        let info = info(server).await;
        wanted(&info).then_some(info)
    })
    .await
}

pub(super) async fn until_fresh(server: &Server) -> proto::StatusListInfo {
    until(server, "a fresh list", |info| {
        info.standing() == ListStanding::Fresh
    })
    .await
}

pub(super) async fn until_error(server: &Server, error: &str) -> proto::StatusListInfo {
    until(server, error, |info| info.last_error == error).await
}

pub(super) async fn until_ready(server: &Server) {
    eventually("ready", || async {
        let (first, _) = http_get(server, "/readyz").await;
        first.contains("200").then_some(())
    })
    .await;
}

/// The serial number of the certificate that attested a phone's key.
pub(super) fn attester(phone: &mut Phone) -> String {
    let evidence = phone.evidence(b"any");
    let Some(proto::evidence::Kind::Android(chain)) = evidence.kind else {
        panic!("an Android phone");
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain.certificate_chain[1]).unwrap();
    format!("{:x}", parsed.tbs_certificate.serial)
}
