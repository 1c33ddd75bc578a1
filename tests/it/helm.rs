//! The Helm chart, by helm itself and by the schemas of Kubernetes: what it renders is valid, keeps
//! its promises on security whatever the values, and wrong values are refused by name.
//!
//! `make test` installs helm and kubernetes-validate into `.tools/bin`; `ASSAY_TOOLS` names another
//! directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The Kubernetes versions the output is held against: the oldest the chart allows, and a new one.
const KUBERNETES: &[&str] = &["1.30", "1.37"];

/// Sets of values that change what is rendered.
const VALUE_SETS: &[(&str, &[&str])] = &[
    ("as it comes", &[]),
    (
        "everything on",
        &[
            "--set=autoscaling.enabled=true,service.headless=true,image.tag=v1,priorityClassName=high",
            "--set-json=secrets=[{\"name\":\"redis\",\"secretName\":\"assay-redis\"}]",
            "--set-json=imagePullSecrets=[{\"name\":\"pull\"}]",
            "--set-json=extraVolumes=[{\"name\":\"list\",\"configMap\":{\"name\":\"status-list\"}}]",
            "--set-json=extraVolumeMounts=[{\"name\":\"list\",\"mountPath\":\"/etc/assay/status\"}]",
            "--set-json=nodeSelector={\"disk\":\"fast\"}",
            "--set-json=tolerations=[{\"key\":\"k\",\"operator\":\"Exists\"}]",
            "--set-json=podAnnotations={\"a\":\"b\"}",
            "--set-json=podLabels={\"team\":\"x\",\"app.kubernetes.io/name\":\"other\"}",
            "--set-json=service.annotations={\"a\":\"b\"}",
            "--set-json=serviceAccount.annotations={\"a\":\"b\"}",
            "--set-json=affinity={\"nodeAffinity\":{}}",
        ],
    ),
    (
        "everything off",
        &[
            "--set=networkPolicy.enabled=false,podDisruptionBudget.enabled=false",
            "--set=serviceAccount.create=false,replicas=1",
        ],
    ),
    (
        "nobody let in, by digest",
        &[
            "--set-json=networkPolicy.grpcFrom=[]",
            "--set-json=networkPolicy.sideFrom=[]",
            "--set-json=networkPolicy.egress=[]",
            "--set=image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
    ),
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    project().join("helm/assay")
}

/// A program of `ASSAY_TOOLS`, else of `.tools/bin`.
pub(crate) fn tool(name: &str) -> Command {
    let tools =
        std::env::var_os("ASSAY_TOOLS").map_or_else(|| project().join(".tools/bin"), PathBuf::from);
    let program = tools.join(name);
    assert!(
        program.exists(),
        "{} is not there: `make setup` installs it",
        program.display()
    );
    Command::new(program)
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What `helm template` renders, or what it says against it.
fn render(arguments: &[&str]) -> Result<String, String> {
    let output = tool("helm")
        .args(["template", "release", "--namespace=space"])
        .arg(chart())
        .args(arguments)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(text(&output))
    }
}

/// The rendered document of a kind.
fn document<'a>(rendered: &'a str, kind: &str) -> Option<&'a str> {
    let line = format!("\nkind: {kind}\n");
    rendered.split("\n---\n").find(|part| part.contains(&line))
}

#[test]
fn the_chart_passes_a_strict_lint_with_every_set_of_values() {
    for (name, values) in VALUE_SETS {
        let output = tool("helm")
            .args(["lint", "--strict"])
            .arg(chart())
            .args(*values)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
    }
}

#[test]
fn what_is_rendered_is_valid_for_the_oldest_and_a_new_kubernetes() {
    let directory = tempfile::tempdir().unwrap();
    for (name, values) in VALUE_SETS {
        let rendered = render(values).unwrap_or_else(|error| panic!("{name}: {error}"));
        let file = directory.path().join("rendered.yaml");
        std::fs::write(&file, rendered).unwrap();
        for version in KUBERNETES {
            let output = tool("kubernetes-validate")
                .args(["--strict", "-k", version])
                .arg(&file)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{name}, {version}: {}",
                text(&output)
            );
        }
    }
}

#[test]
fn the_pods_are_confined_whatever_the_values() {
    for (name, values) in VALUE_SETS {
        let rendered = render(values).unwrap();
        let deployment = document(&rendered, "Deployment").unwrap();
        for promise in [
            "automountServiceAccountToken: false",
            "runAsNonRoot: true",
            "type: RuntimeDefault",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "privileged: false",
            "drop:\n                - ALL",
        ] {
            assert!(deployment.contains(promise), "{name}: {promise}");
        }
    }
}

#[test]
fn labels_of_the_user_do_not_take_the_pods_from_their_selector() {
    let labels = "--set-json=podLabels={\"team\":\"x\",\"app.kubernetes.io/name\":\"other\"}";
    let rendered = render(&[labels]).unwrap();
    let deployment = document(&rendered, "Deployment").unwrap();
    assert!(deployment.contains("        team: x\n"), "{deployment}");
    assert!(!deployment.contains("other"), "{deployment}");
}

#[test]
fn nobody_named_is_nobody_let_in() {
    let none = [
        "--set-json=networkPolicy.grpcFrom=[]",
        "--set-json=networkPolicy.sideFrom=[]",
    ];
    let rendered = render(&none).unwrap();
    let policy = document(&rendered, "NetworkPolicy").unwrap();
    assert!(policy.contains("ingress:\n    []\n"), "{policy}");
    // One port open does not open the other.
    let rendered = render(&["--set-json=networkPolicy.grpcFrom=[]"]).unwrap();
    let policy = document(&rendered, "NetworkPolicy").unwrap();
    assert!(
        policy.contains("port: side") && !policy.contains("port: grpc"),
        "{policy}"
    );
}

#[test]
fn parts_that_need_an_operator_are_off_until_asked_for() {
    let parts = [
        "ServiceMonitor",
        "PrometheusRule",
        "HorizontalPodAutoscaler",
    ];
    let plain = render(&[]).unwrap();
    for part in parts {
        assert!(document(&plain, part).is_none(), "{part}");
    }
    let all = render(&[
        "--set=serviceMonitor.enabled=true,prometheusRule.enabled=true,autoscaling.enabled=true",
    ])
    .unwrap();
    for part in parts {
        assert!(document(&all, part).is_some(), "{part}");
    }
}

#[test]
fn the_alerts_ask_for_metrics_that_exist() {
    let rendered = render(&["--set=prometheusRule.enabled=true"]).unwrap();
    let rules = document(&rendered, "PrometheusRule").unwrap();
    let metrics = assay::telemetry::metrics::Metrics::new("test");
    let known: Vec<String> = metrics
        .described()
        .iter()
        .flat_map(|(name, _)| [format!("assay_{name}"), format!("assay_{name}_total")])
        .collect();
    let asked: Vec<&str> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("assay_"))
        .collect();
    assert!(asked.len() >= 3, "{rules}");
    for metric in asked {
        assert!(known.iter().any(|name| name == metric), "{metric}");
    }
}

#[test]
fn a_changed_configuration_restarts_the_pods() {
    let checksum = |rendered: &str| {
        let line = rendered
            .lines()
            .find(|line| line.contains("checksum/config"));
        line.unwrap().to_owned()
    };
    let plain = render(&[]).unwrap();
    let changed = render(&["--set=config=listen = \":8443\" \":9464\""]).unwrap();
    assert_ne!(checksum(&plain), checksum(&changed));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let cases: &[(&str, &str)] = &[
        ("--set=replicas=0", "/replicas"),
        ("--set-string=replicas=two", "/replicas"),
        ("--set=replicaCount=3", "replicaCount"),
        ("--set=image.repo=x", "repo"),
        ("--set=image.digest=sha256:12", "/image/digest"),
        ("--set=image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("--set=config=", "/config"),
        ("--set=ports.grpc=80", "/ports/grpc"),
        ("--set=tls.secretName=", "/tls/secretName"),
        ("--set=tls.secretName=Has_Bad_Letters", "/tls/secretName"),
        ("--set=service.type=NodePort", "/service/type"),
        ("--set=securityContext.privileged=true", "securityContext"),
        (
            "--set=podDisruptionBudget.maxUnavailable=0",
            "/podDisruptionBudget/maxUnavailable",
        ),
        (
            "--set=resources.limits.memory=much",
            "/resources/limits/memory",
        ),
        (
            "--set-json=secrets=[{\"name\":\"../tls\",\"secretName\":\"x\"}]",
            "/secrets/0/name",
        ),
        (
            "--set=terminationGracePeriodSeconds=0",
            "/terminationGracePeriodSeconds",
        ),
        // Each fine by itself, but not together.
        ("--set=ports.grpc=9443", "no port 9443"),
        (
            "--set=service.type=LoadBalancer,service.headless=true",
            "service.headless",
        ),
    ];
    for (argument, said) in cases {
        let refused = render(&[argument])
            .err()
            .unwrap_or_else(|| panic!("{argument} is accepted"));
        assert!(refused.contains(said), "{argument}: {refused}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_service() {
    let file = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let line = format!("appVersion: {}", env!("CARGO_PKG_VERSION"));
    assert!(file.lines().any(|known| known == line), "{file}");
}

#[test]
fn every_value_is_in_the_readme_of_the_chart() {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    for key in keys.keys().filter(|key| *key != "global") {
        let shown = [format!("`{key}`"), format!("`{key}.")];
        assert!(shown.iter().any(|text| readme.contains(text)), "{key}");
    }
}

#[test]
fn the_configuration_of_the_default_values_is_one_the_service_takes() {
    let rendered = render(&[]).unwrap();
    let map = document(&rendered, "ConfigMap").unwrap();
    let (_, file) = map.split_once("assay.toml: |\n").unwrap();
    let lines = file
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let toml: String = lines
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    let config = assay::config::Config::parse(&toml, Path::new("/etc/assay"));
    assert!(config.is_ok(), "{toml}\n{}", config.unwrap_err());
}
