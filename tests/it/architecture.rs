//! The sources against the rules of ARCHITECTURE.md: which module may use which, where each foreign
//! crate may be named, how long a file may be, and that the page describes the tree there is.
//!
//! The rules are read off the text of the files, without their unit tests and comments. A rule that
//! a file may break is a row with a reason, and a row that nothing needs any more fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::sources::{Source, files, library, snake, without_comments, without_tests};

/// The shared vocabulary: everyone may use it.
const WORDS: &[&str] = &["client", "id", "key", "reason", "secret", "time"];

/// The modules that never wait, read a clock or touch a file.
const CORE: &[&str] = &[
    "client",
    "id",
    "key",
    "reason",
    "secret",
    "attestation",
    "policy",
    "token",
    "proof",
    "session",
];

/// Every module of the library and what it may use beside the words, lowest first.
const LAYERS: &[(&str, &[&str])] = &[
    // words; each names the words it uses
    ("client", &[]),
    ("key", &[]),
    ("id", &["key"]),
    ("reason", &[]),
    ("secret", &[]),
    ("time", &[]),
    // core
    ("attestation", &[]),
    ("policy", &["attestation"]),
    // `TrustLevel` goes into tokens, and the rule for nonces is policy: types, no decisions.
    ("token", &["policy"]),
    // An App Attest key proves by assertions.
    ("proof", &["attestation", "policy", "token"]),
    ("session", &["policy", "token", "proof"]),
    // port
    // The kept copy of the status list is a record, too. A counter is admitted by the proofs' window.
    (
        "store",
        &["attestation", "policy", "token", "proof", "session"],
    ),
    // shell
    (
        "flow",
        &[
            "attestation",
            "policy",
            "token",
            "proof",
            "session",
            "store",
        ],
    ),
    // edges
    ("outbound", &[]),
    // The names of rules are labels.
    // It counts what re-appraisals did.
    ("telemetry", &["policy", "session", "store"]),
    (
        "grpc",
        &[
            "attestation",
            "policy",
            "token",
            "session",
            "flow",
            "telemetry",
        ],
    ),
    (
        "config",
        &["attestation", "policy", "proof", "session", "flow", "grpc"],
    ),
    (
        "status_feed",
        &[
            "attestation",
            "token",
            "store",
            "flow",
            "outbound",
            "telemetry",
            "config",
        ],
    ),
    ("key_directory", &["token"]),
    // What it makes is judged by the core, so it shares nothing with it.
    ("simulator", &[]),
    (
        "receipts",
        &[
            "attestation",
            "policy",
            "token",
            "session",
            "flow",
            "telemetry",
            "config",
            "outbound",
        ],
    ),
    (
        "assemble",
        &[
            "attestation",
            "token",
            "store",
            "flow",
            "outbound",
            "telemetry",
            "grpc",
            "config",
            "status_feed",
            "key_directory",
            "receipts",
        ],
    ),
    (
        "reappraisal",
        &["attestation", "session", "flow", "telemetry"],
    ),
    ("reload", &["flow", "telemetry", "config", "assemble"]),
    ("revocations", &["flow", "telemetry"]),
    (
        "service",
        &[
            "attestation",
            "flow",
            "telemetry",
            "grpc",
            "config",
            "status_feed",
            "receipts",
            "assemble",
            "reappraisal",
            "reload",
            "revocations",
        ],
    ),
    (
        "cli",
        &[
            "attestation",
            "policy",
            "token",
            "proof",
            "session",
            "store",
            "flow",
            "telemetry",
            "grpc",
            "config",
            "key_directory",
            "simulator",
            "assemble",
            "service",
        ],
    ),
];

/// What the words themselves and the simulator may use of the words.
const NARROWED: &[(&str, &[&str])] = &[
    ("client", &[]),
    ("key", &[]),
    ("id", &["key"]),
    ("reason", &[]),
    ("secret", &[]),
    ("time", &[]),
    // Not `key`: that is how the core reads keys.
    ("simulator", &["secret", "time"]),
];

/// Single files that may use one path of a higher layer, each with why.
const BORROWED: &[(&str, &str, &str)] = &[(
    "simulator/client.rs",
    "crate::grpc::proto",
    "the messages and clients are generated from the protos, which a phone's app has as well",
)];

/// Paths (or the names of crates) and the beginnings of the only files that may name them.
const PLACES: &[(&str, &[&str])] = &[
    ("tonic", &["grpc/", "simulator/client.rs"]),
    ("tonic_prost", &["grpc/"]),
    ("tonic_types", &["grpc/", "simulator/client.rs"]),
    ("tonic_health", &["grpc/"]),
    ("tonic_reflection", &["grpc/"]),
    ("tower", &["grpc/"]),
    // The records are protobuf, too; their messages are written by hand.
    ("prost", &["grpc/", "store/record/", "store/record.rs"]),
    ("prost_types", &["grpc/"]),
    ("redis", &["store/redis", "store/scripts.rs"]),
    ("redb", &["store/embedded"]),
    ("axum", &["telemetry/side.rs"]),
    // Whatever is called outside is called by one client.
    ("hyper_util", &["outbound.rs"]),
    ("hyper_rustls", &["outbound.rs"]),
    ("http_body_util", &["outbound.rs"]),
    ("rustls_native_certs", &["outbound.rs"]),
    ("httpdate", &["status_feed/caching.rs"]),
    (
        "tokio",
        &[
            "grpc/",
            "store/redis",
            "store/embedded",
            // It waits between attempts.
            "flow/settle.rs",
            // It wakes those who read it.
            "flow/board.rs",
            "telemetry/",
            "outbound.rs",
            "status_feed/",
            "assemble.rs",
            "reappraisal.rs",
            "receipts/",
            "reload.rs",
            "revocations.rs",
            "service.rs",
            "cli/serve.rs",
            "cli/demo/",
        ],
    ),
    (
        "tracing",
        &[
            "grpc/",
            "telemetry/",
            "reappraisal.rs",
            "receipts/",
            "reload.rs",
            "revocations.rs",
            "status_feed/",
            "service.rs",
            "cli/serve.rs",
            // The line that says what was committed.
            "flow/state.rs",
        ],
    ),
    ("clap", &["cli/", "main.rs"]),
    // One file parses public keys, so that there is one form of them.
    ("p256", &["key.rs"]),
    ("SystemTime", &["time.rs"]),
    // Everyone else is given instants; these measure spans between instants of `time.rs`.
    (
        "Instant",
        &[
            "time.rs",
            "grpc/listener.rs",
            "grpc/observe.rs",
            "cli/demo/",
            "telemetry/store.rs",
            "store/redis/",
            "flow/run_drill.rs",
        ],
    ),
];

/// What no file of the core may name, wherever else it may be named. `time.rs` is no part of the
/// core here: it is where the clock is read.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "tonic",
    "prost",
    "redis",
    "redb",
    "tracing",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "async",
    "await",
];

/// Most lines of a file that are neither empty nor unit tests.
const LINES_MAX: usize = 400;

/// Longer files, each with why it is not two.
const LONG_FILES: &[(&str, &str)] = &[];

/// RPCs without a flow, each with why.
const WITHOUT_FLOW: &[(&str, &str)] = &[(
    "get_jwks",
    "the key set is made once, with the keyring; there is nothing to load or decide",
)];

/// A file as the rules see it.
struct Code {
    name: String,
    text: String,
}

fn code() -> Vec<Code> {
    let is_tests = |name: &str| {
        name.split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    };
    let strip = |Source { name, text }| Code {
        name,
        text: without_comments(&without_tests(&text)),
    };
    let sources = library().into_iter().filter(|file| !is_tests(&file.name));
    sources.map(strip).collect()
}

/// The module of the library a file belongs to; `None` for the two files that only begin things.
fn module(name: &str) -> Option<&str> {
    let first = name.split('/').next().unwrap();
    let first = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&first)).then_some(first)
}

const fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every place where `word` stands for itself and is not the end of a longer path.
fn names<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    text.match_indices(word).filter_map(move |(at, _)| {
        let (before, behind) = (&text[..at], &text[at + word.len()..]);
        let whole = !before.ends_with(in_word) && !behind.starts_with(in_word);
        whole.then_some(behind)
    })
}

/// Whether the text uses the path: followed by `::`, or the end of a `use`, or a type or keyword.
fn uses(text: &str, path: &str) -> bool {
    let is_crate = path
        .chars()
        .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    let is_keyword = ["async", "await"].contains(&path);
    if !is_crate || is_keyword {
        return names(text, path).next().is_some();
    }
    text.match_indices(path).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + path.len()..]);
        let begins = !before.ends_with(in_word) && !before.ends_with("::");
        let used =
            behind.starts_with("::") || (before.ends_with("use ") && !behind.starts_with(in_word));
        begins && used
    })
}

/// The modules of the library that a text uses by `crate::…`. A group, `crate::{…}`, gives the empty
/// name, which no table allows: each module is named in a line of its own.
fn used_modules(text: &str) -> BTreeSet<String> {
    names(text, "crate")
        .filter_map(|behind| behind.strip_prefix("::"))
        .map(|path| path.chars().take_while(|c| in_word(*c)).collect())
        .collect()
}

fn row<'a, T>(table: &'a [(&str, T)], name: &str) -> Option<&'a T> {
    table
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, row)| row)
}

fn allowed(module: &str) -> BTreeSet<&'static str> {
    let layer = row(LAYERS, module).unwrap_or_else(|| panic!("{module} is in no layer"));
    let words = row(NARROWED, module).unwrap_or(&WORDS);
    layer.iter().chain(words.iter()).copied().collect()
}

#[test]
fn no_module_uses_one_of_a_higher_layer() {
    let mut wrong = Vec::new();
    for file in code() {
        let Some(module) = module(&file.name) else {
            continue;
        };
        let allowed = allowed(module);
        let borrowed = BORROWED.iter().filter(|(name, ..)| *name == file.name);
        let mut text = file.text.clone();
        for (name, path, _) in borrowed {
            assert!(text.contains(path), "{name} needs no {path} any more");
            text = text.replace(path, "");
        }
        for used in used_modules(&text) {
            if used != module && !allowed.contains(used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_layer_may_use_what_stands_above_it() {
    let order: BTreeMap<&str, usize> = LAYERS.iter().map(|(name, _)| *name).zip(0..).collect();
    for (name, lower) in LAYERS {
        for used in *lower {
            assert!(order[used] < order[name], "{name} may use {used}");
        }
    }
    let there: BTreeSet<String> = code()
        .iter()
        .filter_map(|file| module(&file.name).map(str::to_owned))
        .collect();
    let listed: BTreeSet<String> = order.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed, there);
}

/// `super::` out of a module of the library would be a way around the table.
#[test]
fn no_file_leaves_its_module_but_by_crate() {
    for file in code() {
        let Some(_) = module(&file.name) else {
            continue;
        };
        let parts = file.name.trim_end_matches(".rs").split('/');
        let depth = parts.filter(|part| *part != "mod").count();
        let out = "super::".repeat(depth);
        let leaves =
            names(&file.text, &out[..out.len() - 2]).any(|behind| behind.starts_with("::"));
        assert!(!leaves, "{} reaches out of its module", file.name);
    }
}

#[test]
fn foreign_crates_are_named_only_in_their_places() {
    let files = code();
    let mut wrong = Vec::new();
    for (path, places) in PLACES {
        for file in files.iter().filter(|file| uses(&file.text, path)) {
            if !places.iter().any(|place| file.name.starts_with(place)) {
                wrong.push(format!("{} names {path}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_does_not_wait_or_touch_the_outside() {
    let mut wrong = Vec::new();
    for file in code() {
        if !module(&file.name).is_some_and(|module| CORE.contains(&module)) {
            continue;
        }
        for path in NOT_IN_CORE.iter().filter(|path| uses(&file.text, path)) {
            wrong.push(format!("{} names {path}", file.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What only tests use belongs to the tests: it is nothing the service should be built with.
#[test]
fn every_dependency_of_the_service_is_used_by_it() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let files = code();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        // The library of rustls-webpki has a name of its own.
        let path = name
            .strip_prefix("rustls-web")
            .map_or(name.clone(), |_| "webpki".to_owned());
        let path = path.replace('-', "_");
        let used = files.iter().any(|file| uses(&file.text, &path));
        assert!(
            used,
            "{name} is a dependency of the tests alone, or of nothing"
        );
    }
}

/// Where random bytes are needed, the shell draws them and the core is given them.
#[test]
fn only_one_file_draws_random_bytes_and_no_core_module_asks_it_to() {
    for file in code().iter().filter(|file| file.name != "secret.rs") {
        for path in ["SystemRandom", "rand::fill", "rand::generate", "OsRng"] {
            assert!(!file.text.contains(path), "{} names {path}", file.name);
        }
        let core = module(&file.name).is_some_and(|module| CORE.contains(&module));
        let asks = file.text.contains("random(") || file.text.contains("random::<");
        assert!(!(core && asks), "{} draws random bytes", file.name);
    }
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let mut long = BTreeSet::new();
    for file in library() {
        let text = without_tests(&file.text);
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LINES_MAX && !file.name.contains("/tests") {
            long.insert(file.name);
        }
    }
    let listed = LONG_FILES.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(long, listed.collect());
}

#[test]
fn every_rpc_has_a_flow_of_its_name_and_every_flow_an_rpc() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rpcs = BTreeSet::new();
    for proto in files(&root.join("proto"), "proto") {
        for line in proto.text.lines() {
            if let Some(rpc) = line.trim().strip_prefix("rpc ") {
                rpcs.insert(snake(rpc.split('(').next().unwrap()));
            }
        }
    }
    let flows = fs::read_to_string(root.join("src/flow/mod.rs")).unwrap();
    let flows: BTreeSet<String> = flows
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    for (rpc, _) in WITHOUT_FLOW {
        assert!(rpcs.remove(*rpc), "there is no RPC {rpc}");
    }
    assert_eq!(flows, rpcs);
}

/// What the code map should name: the modules of the library, and those one level below.
fn map_of_the_tree() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in code() {
        let mut parts = file.name.split('/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        match (first, second, third) {
            (Some(file), None, _) => {
                paths.insert(file.to_owned());
            }
            (Some(directory), Some(file), None) => {
                paths.insert(format!("{directory}/"));
                if file != "mod.rs" {
                    paths.insert(format!("{directory}/{file}"));
                }
            }
            (Some(directory), Some(below), Some(_)) => {
                // `redis/` belongs to `redis.rs`, which stands for both.
                if !Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(format!("src/{directory}/{below}.rs"))
                    .exists()
                {
                    paths.insert(format!("{directory}/{below}/"));
                }
            }
            (None, ..) => {}
        }
    }
    paths
}

#[test]
fn the_code_map_names_every_module_and_nothing_else() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## Code map\n").expect("the code map");
    let section = section.split("\n## ").next().unwrap();
    let mut named = BTreeSet::new();
    for line in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (path, rest) = line.split_once("` | ").unwrap();
        assert!(rest.len() > 10, "{path} is not explained");
        assert!(named.insert(path.to_owned()), "{path} is named twice");
    }
    assert_eq!(named, map_of_the_tree());
}

#[test]
fn a_path_is_found_in_every_form_it_can_be_written_in() {
    for text in [
        "use tokio::sync;",
        "use tokio;",
        "tokio::spawn(x)",
        "#[tokio::main]",
        "fn f(x: tokio::X)",
    ] {
        assert!(uses(text, "tokio"), "{text}");
    }
    for text in [
        "use tokio_stream::X;",
        "mytokio::x",
        "store::tokio::x",
        "let tokio = 1;",
    ] {
        assert!(!uses(text, "tokio"), "{text}");
    }
    assert!(uses("use std::time::{Duration, Instant};", "Instant"));
    assert!(!uses("InstantX", "Instant"));
    assert!(uses("std::fs::read(x)", "std::fs"));
    assert!(uses("x.await", "await"));
    let text = "use crate::a::b; crate::i(); $crate::j::k; xcrate::l; use crate::{m, n};";
    let used = used_modules(text);
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, ["", "a", "i", "j"]);
}
