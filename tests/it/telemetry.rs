//! What operators see, held against what is promised: nothing in the log that is not on the list,
//! spans that reach a collector under the caller's trace, and metrics a scraper can read.
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay::grpc::observe::Observe;
use assay::grpc::status::status;
use assay::reason::Reason;
use assay::telemetry::log::{FIELDS, Format, allowed};
use assay::telemetry::metrics::Metrics;
use assay::telemetry::side::{Readiness, Side, serve};
use assay::telemetry::{Settings, TelemetryError, subscriber};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};
use tracing::instrument::WithSubscriber as _;
use tracing::level_filters::LevelFilter;

/// A sink the test can read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

fn settings(format: Format) -> Settings {
    Settings {
        format,
        level: LevelFilter::INFO,
        otlp_endpoint: None,
        sample_ratio: 1.0,
        service_name: "assay",
        service_version: "test",
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("test"))
}

/// Runs `events` under the real subscriber and gives back what it wrote.
fn logged(settings: &Settings, events: impl FnOnce()) -> Lines {
    let lines = Lines::default();
    let sink = Box::new(lines.clone());
    let (subscriber, _guard) = subscriber(settings, metrics(), sink).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    lines
}

const SECRET: &str = "hunter2";

#[test]
fn a_field_that_is_not_on_the_list_is_dropped_from_events_and_spans() {
    for format in [Format::Json, Format::Text] {
        let lines = logged(&settings(format), || {
            let span = tracing::info_span!(
                target: "assay::test", "s", token = SECRET, device_id = "dev_1",
                session_id = tracing::field::Empty, subject = tracing::field::Empty,
            );
            span.record("session_id", "ses_1");
            span.record("subject", SECRET);
            let _in = span.enter();
            tracing::info!(
                target: "assay::test", refresh_token = SECRET, proof = ?SECRET, nonce = %SECRET,
                count = 3, reason = "CONFLICT", "something happened"
            );
        });
        let text = lines.text();
        assert!(!text.contains(SECRET), "{text}");
        for kept in ["dev_1", "ses_1", "CONFLICT", "something happened"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}

#[test]
fn every_line_is_one_json_object_whatever_the_values() {
    let odd = "line\nbreak \"quote\" \\ \u{0} \u{1b}[31m ä \u{2028}";
    let lines = logged(&settings(Format::Json), || {
        tracing::warn!(target: "assay::test", outcome = odd, count = -1, "odd values");
        tracing::info!(target: "assay::test", count = f64::NAN, error = true, "odder values");
        tracing::info!(target: "assay::test", outcome = "x".repeat(100_000), "long value");
    });
    let json = lines.json();
    assert_eq!(json.len(), 3);
    assert_eq!(json[0]["outcome"], odd);
    assert_eq!(json[0]["count"], -1);
    assert_eq!(json[0]["level"], "WARN");
    assert!(json[1]["count"].is_null());
    assert!(json[2]["outcome"].as_str().unwrap().len() < 300);
}

#[test]
fn a_text_line_stays_one_line() {
    let lines = logged(&settings(Format::Text), || {
        tracing::info!(target: "assay::test", outcome = "a\nb\u{1b}[31m", "text");
    });
    let text = lines.text();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn events_of_libraries_and_below_the_level_are_not_written() {
    let lines = logged(&settings(Format::Json), || {
        tracing::error!(target: "h2", "from a library");
        tracing::error!(target: "assayer", "from a library of a like name");
        tracing::debug!(target: "assay::test", "too detailed");
    });
    assert_eq!(lines.text(), "");
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    let refused = |endpoint: &str, ratio: f64| {
        let settings = Settings {
            otlp_endpoint: Some(endpoint.to_owned()),
            sample_ratio: ratio,
            ..settings(Format::Json)
        };
        subscriber(&settings, metrics(), Box::new(Lines::default()))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(
        refused("https://collector:4317", 1.0),
        TelemetryError::EndpointScheme
    );
    assert_eq!(
        refused("collector:4317", 1.0),
        TelemetryError::EndpointScheme
    );
    assert_eq!(
        refused("http://collector:4317", 1.5),
        TelemetryError::SampleRatio
    );
    assert_eq!(
        refused("http://collector:4317", f64::NAN),
        TelemetryError::SampleRatio
    );
}

/// A collector that keeps the spans it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let spans = request
            .into_inner()
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (Collector, SocketAddr) {
    let collector = Collector::default();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(socket));
    tokio::spawn(server);
    (collector, address)
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PATH: &str = "/assay.v1.DeviceService/GetDevice";

#[tokio::test]
async fn a_decision_to_deny_counts_with_code_ok_and_its_reason() {
    let metrics = metrics();
    let handler = tower::service_fn(|_request: http::Request<Body>| async {
        let mut answer = http::Response::new(Body::empty());
        answer.extensions_mut().insert(Reason::SessionRevoked);
        answer
            .headers_mut()
            .insert("grpc-status", "0".parse().unwrap());
        Ok::<_, std::convert::Infallible>(answer)
    });
    let service = Observe::new(Arc::clone(&metrics)).unwrap().layer(handler);
    let request = http::Request::post(PATH).body(Body::empty()).unwrap();
    drop(service.oneshot(request).await.unwrap());
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"code="OK",reason="SESSION_REVOKED"} 1"#),
        "{text}"
    );
}

/// One RPC through the layer to a handler that answers with this reason, or well.
async fn observed_rpc(metrics: &Arc<Metrics>, answer: Option<Reason>) {
    let handler = tower::service_fn(move |_request: http::Request<Body>| async move {
        tracing::info!(target: "assay::test", device_id = "dev_1", token = SECRET, "inside");
        // Not exported, though its trace is: it declares a field that is not on the list.
        drop(tracing::info_span!(target: "assay::test", "leaky", token = SECRET).entered());
        drop(tracing::info_span!(target: "assay::test", "inner", count = 1).entered());
        let response = answer.map_or_else(
            || {
                let mut fine = http::Response::new(Body::empty());
                fine.headers_mut()
                    .insert("grpc-status", "0".parse().unwrap());
                fine
            },
            |reason| status(reason).into_http(),
        );
        Ok::<_, std::convert::Infallible>(response)
    });
    let service = Observe::new(Arc::clone(metrics)).unwrap().layer(handler);
    let request = http::Request::post(PATH)
        .header("traceparent", PARENT)
        .body(Body::empty())
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert!(response.headers().contains_key("assay-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_reaches_the_collector_as_a_child_of_the_callers_span() {
    let (collector, address) = collector().await;
    let settings = Settings {
        otlp_endpoint: Some(format!("http://{address}")),
        // The caller has sampled, so its trace is kept whatever the ratio.
        sample_ratio: 0.0,
        ..settings(Format::Json)
    };
    let lines = Lines::default();
    let metrics = metrics();
    let (subscriber, guard) =
        subscriber(&settings, Arc::clone(&metrics), Box::new(lines.clone())).unwrap();
    async {
        observed_rpc(&metrics, Some(Reason::StateStoreUnavailable)).await;
    }
    .with_subscriber(subscriber)
    .await;
    guard.shutdown().await;

    let spans = collector.0.lock().unwrap().clone();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["inner", "assay.v1.DeviceService/GetDevice"]);
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    assert_eq!(hex(&spans[1].trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&spans[1].parent_span_id), "b7ad6b7169203331");
    let shown = format!("{spans:?}");
    assert!(shown.contains("STATE_STORE_UNAVAILABLE"), "{shown}");
    assert!(!shown.contains(SECRET));

    let json = lines.json();
    assert!(
        json.iter()
            .all(|line| line["trace_id"] == "0af7651916cd43dd8448eb211c80319c")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_harms_nothing() {
    // Bound and closed again: nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        otlp_endpoint: Some(format!("http://{gone}")),
        ..settings(Format::Json)
    };
    let metrics = metrics();
    let (subscriber, guard) =
        subscriber(&settings, Arc::clone(&metrics), Box::new(Lines::default())).unwrap();
    async {
        // Twice what the queue holds.
        for _ in 0..4096 {
            observed_rpc(&metrics, None).await;
        }
    }
    .with_subscriber(subscriber)
    .await;
    guard.shutdown().await;
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"code="OK",reason="NONE"} 4096"#), "{text}");
}

#[tokio::test]
async fn an_rpc_leaves_one_line_and_one_count_with_its_outcome() {
    let metrics = metrics();
    let lines = Lines::default();
    let (subscriber, _guard) = subscriber(
        &settings(Format::Json),
        Arc::clone(&metrics),
        Box::new(lines.clone()),
    )
    .unwrap();
    async {
        observed_rpc(&metrics, Some(Reason::DeviceRevoked)).await;
        observed_rpc(&metrics, None).await;
    }
    .with_subscriber(subscriber)
    .await;
    let json = lines.json();
    let done: Vec<_> = json
        .iter()
        .filter(|line| line["message"] == "rpc done")
        .collect();
    assert_eq!(done.len(), 2);
    assert_eq!(done[0]["code"], "PERMISSION_DENIED");
    assert_eq!(done[0]["reason"], "DEVICE_REVOKED");
    assert_eq!(done[0]["method"], &PATH[1..]);
    assert_eq!(done[1]["code"], "OK");
    assert!(!done[1].contains_key("reason"));
    assert_ne!(done[0]["request_id"], done[1]["request_id"]);
    // A line of the handler carries the id of its RPC.
    assert_eq!(json[0]["message"], "inside");
    assert_eq!(json[0]["request_id"], done[0]["request_id"]);
    assert!(!lines.text().contains(SECRET));
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"code="PERMISSION_DENIED",reason="DEVICE_REVOKED"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn an_rpc_whose_caller_leaves_is_cancelled() {
    let metrics = metrics();
    let handler = tower::service_fn(|_request: http::Request<Body>| {
        std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
    });
    let service = Observe::new(Arc::clone(&metrics)).unwrap().layer(handler);
    let request = http::Request::post(PATH).body(Body::empty()).unwrap();
    let left = tokio::time::timeout(Duration::from_millis(10), service.oneshot(request)).await;
    assert!(left.is_err());
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"code="CANCELLED",reason="NONE"} 1"#),
        "{text}"
    );
    assert!(text.contains("assay_rpc_in_flight{method=\"assay.v1.DeviceService/GetDevice\"} 0"));
}

/// Status line, headers and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    (line.to_owned(), headers.to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_side_port_shows_metrics_keys_and_probes() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let ready = Arc::new(Mutex::new(Readiness::WaitingFor {
        parts: vec!["store", "keys"],
        why: "nobody answers".to_owned(),
    }));
    let asked = Arc::clone(&ready);
    let metrics = metrics();
    metrics.connection_opened();
    let side = Side {
        metrics,
        jwks: Arc::new(|| r#"{"keys":[]}"#.to_owned()),
        readiness: Arc::new(move || asked.lock().unwrap().clone()),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(socket, side, async {
        let _ = stopped.await;
    }));

    let (line, headers, body) = get(address, "/.well-known/jwks.json").await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    assert_eq!(body, r#"{"keys":[]}"#);
    assert!(
        headers.contains("cache-control: public, max-age=300"),
        "{headers}"
    );
    assert!(headers.contains("application/jwk-set+json"), "{headers}");
    assert_eq!(get(address, "/livez").await.0, "HTTP/1.1 200 OK");
    let (line, _, body) = get(address, "/readyz").await;
    assert_eq!(line, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "waiting for: store, keys\nnobody answers\n");
    *ready.lock().unwrap() = Readiness::Draining;
    let (line, _, body) = get(address, "/readyz").await;
    assert_eq!(line, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "draining\n");
    *ready.lock().unwrap() = Readiness::Ready;
    assert_eq!(get(address, "/readyz").await.0, "HTTP/1.1 200 OK");
    let (line, headers, body) = get(address, "/metrics").await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    assert!(
        headers.contains("application/openmetrics-text"),
        "{headers}"
    );
    assert!(body.contains("assay_connections_open 1"), "{body}");
    assert!(body.ends_with("# EOF\n"));
    assert_eq!(get(address, "/").await.0, "HTTP/1.1 404 Not Found");

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

/// The arguments of every tracing macro in a source, split at the commas of the outermost level.
fn macro_calls(source: &str) -> Vec<Vec<String>> {
    const MACROS: &[&str] = &[
        "trace!(",
        "debug!(",
        "info!(",
        "warn!(",
        "error!(",
        "event!(",
        "span!(",
        "trace_span!(",
        "debug_span!(",
        "info_span!(",
        "warn_span!(",
        "error_span!(",
    ];
    let mut calls = Vec::new();
    for name in MACROS {
        for (start, _) in source.match_indices(name) {
            let before = source[..start].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' {
                continue;
            }
            let (mut depth, mut quoted, mut escaped) = (0, false, false);
            let mut arguments = vec![String::new()];
            for c in source[start + name.len()..].chars() {
                if quoted {
                    quoted = escaped || c != '"';
                    escaped = !escaped && c == '\\';
                } else {
                    match c {
                        '"' => quoted = true,
                        '(' | '[' | '{' => depth += 1,
                        ')' if depth == 0 => break,
                        ')' | ']' | '}' => depth -= 1,
                        ',' if depth == 0 => {
                            arguments.push(String::new());
                            continue;
                        }
                        _ => {}
                    }
                }
                arguments.last_mut().unwrap().push(c);
            }
            let trimmed = arguments.iter().map(|a| a.trim().to_owned());
            calls.push(trimmed.filter(|a| !a.is_empty()).collect());
        }
    }
    calls
}

#[test]
fn the_code_logs_fixed_sentences_and_fields_of_the_list_only() {
    let steering = ["otel.name", "otel.kind", "otel.status_code"];
    let mut calls = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let source = std::fs::read_to_string(&path).unwrap();
        for call in macro_calls(&source) {
            calls += 1;
            for argument in &call {
                if argument.starts_with('"') {
                    assert!(!argument.contains('{'), "{}: {argument}", path.display());
                    continue;
                }
                let field = argument
                    .split_once('=')
                    .map_or(&**argument, |(name, _)| name.trim());
                let field = field.trim_start_matches(['%', '?']);
                if ["target:", "parent:", "name:"]
                    .iter()
                    .any(|p| field.starts_with(p))
                {
                    continue;
                }
                assert!(
                    allowed(field) || steering.contains(&field),
                    "{}: the field {field} is not on the list of the log",
                    path.display()
                );
            }
        }
    }
    assert!(
        calls >= 4,
        "the reader of the sources found {calls} calls only"
    );
}

/// The first cells of the table under a heading, unquoted.
fn documented(page: &str, heading: &str) -> BTreeMap<String, String> {
    page.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(2, "` | ");
            let name = cells.next()?.to_owned();
            Some((name, cells.next()?.trim_end_matches(" |").to_owned()))
        })
        .collect()
}

#[test]
fn the_page_lists_every_log_field_and_every_metric() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/telemetry.md");
    let page = std::fs::read_to_string(page).unwrap();
    let fields: BTreeMap<_, _> = FIELDS
        .iter()
        .map(|(name, says)| ((*name).to_owned(), (*says).to_owned()))
        .collect();
    assert_eq!(documented(&page, "## Log fields"), fields);

    let described: BTreeSet<_> = Metrics::new("test")
        .described()
        .iter()
        .map(|(name, help)| (format!("assay_{name}"), (*help).to_owned()))
        .collect();
    let listed: BTreeSet<_> = documented(&page, "## Metrics")
        .into_iter()
        .map(|(name, rest)| {
            let help = rest.rsplit(" | ").next().unwrap().to_owned();
            (name, help)
        })
        .collect();
    assert_eq!(listed, described);
}
