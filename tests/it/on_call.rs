//! The pages for people at night, typed as they stand: the certificates of docs/callers.md, and every
//! command of docs/on-call.md over mutual TLS.
//!
//! What the commands do is tested elsewhere; this is about their words: services, methods, fields,
//! values, and that the roles the page names may call them.

use std::fs;

use super::walk::{Step, free_ports, project, run, steps_of};

/// The first block of the page; it says how to call.
const CALL: &str = "call() { grpcurl";

/// What stands for something, and something it may stand for.
const PLACES: [(&str, &str); 9] = [
    ("dev_OLD", "dev_000fbb220e4e9978762423ba683d0438595f"),
    ("dev_NEW", "dev_000fbb220e4e9978762423ba683d04385960"),
    (
        "[\"dev_…\", \"dev_…\"]",
        "[\"dev_000fbb220e4e9978762423ba683d0438595f\"]",
    ),
    ("dev_…", "dev_000fbb220e4e9978762423ba683d0438595f"),
    ("ses_…", "ses_000f27eec72b080e23a95e78d7dea4f91027"),
    ("0A:1B:…", "0A:1B"),
    (
        "\"key_thumbprint\": \"…\"",
        "\"key_thumbprint\": \"hF50Vd2bJFmhVRGahcSH3yhUchxhXZZQohV-JVqHzts\"",
    ),
    (
        "\"attestation_key_sha256\": \"…\"",
        "\"attestation_key_sha256\": \"64a8482e1b89403c46130d0ee358acbea193017692d0e7dd40758cb4d6980e5d\"",
    ),
    ("\"consent_id\": \"…\"", "\"consent_id\": \"c1\""),
];

/// The blocks of commands of a page, or of a section of it.
fn blocks(page: &str, section: &str) -> Vec<String> {
    let text = fs::read_to_string(project().join("docs").join(page)).unwrap();
    let (_, section) = text.split_once(section).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let steps = steps_of(section);
    steps.into_iter().map(|step| step.commands).collect()
}

/// Every block of the page for on-call, with something in all its gaps.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(project().join("docs/on-call.md")).unwrap();
    let filled = PLACES
        .iter()
        .fold(text, |text, (gap, value)| text.replace(gap, value));
    let steps = steps_of(&filled).into_iter();
    steps.map(|step| step.commands).collect()
}

/// A block whose print is not compared letter by letter.
fn step(commands: String) -> Step {
    Step {
        commands,
        printed: None,
    }
}

#[test]
fn every_command_of_the_page_for_on_call_is_understood() {
    let certificates = blocks("callers.md", "## Certificates for a trial");
    assert_eq!(certificates.len(), 2);
    let started = certificates.concat().replace(
        "assay serve --config assay.toml",
        "assay serve --config assay.toml > assay.log 2>&1 &",
    );
    // The page speaks of a server elsewhere, and of the certificate of whoever reads it.
    let mut page = commands();
    let call = page.remove(0);
    assert!(call.starts_with(CALL), "{call}");
    let call = call.replace("assay.example:", "localhost:");
    let ready = "cp anna.pem me.pem; cp anna-key.pem me-key.pem\n\
                 until call VerificationService/GetJwks <<< '{}' 2> /dev/null; do sleep 0.2; done\n";
    let propose = "first() { call RevocationService/SetNotBefore <<< '{\"app_id\": \"demo\"}'; }\n\
                   token=$(first | sed -n 's/.*\"confirmToken\": \"\\(.*\\)\".*/\\1/p')\n\
                   cp ben.pem me.pem; cp ben-key.pem me-key.pem\n";
    let mut steps = vec![step(started), step(call), step(ready.to_owned())];
    let told = steps.len();
    let mut confirmed = 0;
    // How a side port is asked is no matter of certificates.
    for block in page.into_iter().filter(|block| !block.starts_with("curl ")) {
        // The stream that does not end is looked at for a moment.
        let watch = "call RevocationService/WatchRevocations <<< '{}'";
        let block = block.replace(watch, &format!("{watch} | head -n 3"));
        if block.contains("\"confirm_token\": \"…\"") {
            confirmed += 1;
            let block = block.replace('…', "'$token'").replace("bank", "demo");
            steps.push(step(format!(
                "{propose}{block}cp anna.pem me.pem; cp anna-key.pem me-key.pem\n"
            )));
        } else {
            assert!(!block.contains('…'), "what is it to be? {block}");
            steps.push(step(block));
        }
    }
    assert_eq!(confirmed, 1);
    assert!(steps.len() > told + 15, "only {} blocks", steps.len());
    let printed = run(&steps, &free_ports());
    for (step, printed) in steps.iter().zip(&printed).skip(told) {
        for wrong in [
            "MALFORMED_REQUEST",
            "UNKNOWN_FIELD",
            "CALLER_",
            "TWO_PERSON_REQUIRED",
            "Error invoking method",
            "Failed to",
            "command not found",
        ] {
            assert!(
                !printed.contains(wrong),
                "{wrong}\n{}\n{printed}",
                step.commands
            );
        }
        assert!(!printed.is_empty(), "{}", step.commands);
    }
    let last = printed.iter().find(|text| text.contains("\"bucketsDone\""));
    assert!(last.is_some(), "nobody confirmed");
}
