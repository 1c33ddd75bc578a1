//! Texts: client data, status lists, URIs, configurations.

use std::collections::BTreeMap;
use std::path::Path;

use assay::attestation::Checks;
use assay::attestation::client_data::{ClientData, Expected, Purpose, SessionKey, SessionKeyRule};
use assay::attestation::status_list::{Status, StatusList};
use assay::config::{Config, DEVELOPMENT, EXAMPLE};
use assay::id::AppId;
use assay::proof::TargetUri;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::make::{CHALLENGE, files, presentable};

pub(crate) fn client_data(data: &[u8]) -> bool {
    let app: AppId = "bank".parse().unwrap();
    let check = |session_key| {
        let expected = Expected {
            purpose: Purpose::Register,
            challenge: CHALLENGE,
            app: &app,
            session_key,
        };
        let mut checks = Checks::default();
        let key = ClientData::check(ClientData::parse(data), expected, &mut checks);
        presentable(&checks, data.len());
        checks.all_passed().then_some(key).flatten()
    };
    let strict = check(SessionKeyRule::Required);
    let Some(key) = check(SessionKeyRule::Optional) else {
        assert_eq!(strict, None);
        return false;
    };
    // By another reader.
    let json: Value = serde_json::from_slice(data).expect("what was read is JSON");
    let members = json.as_object().expect("an object").len();
    assert_eq!(json["purpose"], "register");
    assert_eq!(json["app_id"], "bank");
    assert_eq!(json["challenge"], BASE64URL_NOPAD.encode(CHALLENGE));
    match key {
        SessionKey::Named(key) => {
            assert_eq!((members, strict), (4, Some(SessionKey::Named(key))));
            assert_eq!(json["jkt"], key.to_string());
        }
        SessionKey::AppAttest => {
            assert_eq!((members, strict), (3, None));
            assert!(json.get("jkt").is_none());
        }
    }
    true
}

pub(crate) fn client_data_seeds() -> Vec<Vec<u8>> {
    let challenge = BASE64URL_NOPAD.encode(CHALLENGE);
    let jkt = BASE64URL_NOPAD.encode(&[7; 32]);
    let good = format!(
        r#"{{"purpose":"register","challenge":"{challenge}","app_id":"bank","jkt":"{jkt}"}}"#
    );
    vec![
        good.replace("bank", "\u{202e}bank").into_bytes(),
        good.replace("register", "login").into_bytes(),
        good.replace(&format!(r#","jkt":"{jkt}""#), "").into_bytes(),
        good.replace(&format!("\"{jkt}\""), "null").into_bytes(),
        good.into_bytes(),
        br#"["register","a","bank","b"]"#.to_vec(),
    ]
}

pub(crate) fn status_list(data: &[u8]) -> bool {
    let read = StatusList::parse(data);
    match &read {
        Err(error) => super::make::readable(&error.to_string()),
        Ok(list) => {
            // By another reader, which keeps the last of several members of one name, and also looks
            // into members that say nothing here: half a character may be escaped there.
            let Ok(json) = serde_json::from_slice::<Value>(data) else {
                assert!(super::make::has(data, b"\\u"), "what was read is JSON");
                return true;
            };
            let mut wanted = BTreeMap::new();
            for (serial, entry) in json["entries"].as_object().expect("an object") {
                let serial = serial.to_ascii_lowercase();
                let serial = match serial.trim_start_matches('0') {
                    "" => "0",
                    digits => digits,
                };
                assert!(list.contains(serial), "{serial} is lost");
                let status = match entry["status"].as_str().expect("a text") {
                    "REVOKED" => Status::Revoked,
                    "SUSPENDED" => Status::Suspended,
                    _ => Status::Unknown,
                };
                wanted
                    .entry(serial.to_owned())
                    .or_insert_with(Vec::new)
                    .push(status);
            }
            assert_eq!(list.len(), wanted.len());
            for (serial, statuses) in wanted {
                assert!(statuses.contains(&list.status(&serial).unwrap()));
            }
        }
    }
    read.is_ok()
}

pub(crate) fn status_list_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"entries":{}}"#,
        r#"{"entries":{"00Ab":{"status":"REVOKED","reason":"KEY_COMPROMISE"},"12":{"status":"SUSPENDED","expires":"2030-01-01"},"0":{"status":"NEW"}},"more":[1]}"#,
        r#"{"entries":{"1":{"status":"REVOKED"},"01":{"status":"SUSPENDED"}}}"#,
        r#"{"entries":{"xyz":{"status":"REVOKED"}}}"#,
        r#"[{"1":{"status":"REVOKED"}}]"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(crate) fn real_status_lists(vectors: &Path) -> Vec<Vec<u8>> {
    files(&vectors.join("android/status"), ".json")
}

pub(crate) fn target_uri(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(uri) = text.parse::<TargetUri>() else {
        return false;
    };
    let normal = uri.as_str();
    assert_eq!(
        normal.parse(),
        Ok(uri.clone()),
        "normal once, normal for ever"
    );
    assert!(
        normal.len() <= text.len() + 1,
        "at most the slash of an empty path is added"
    );
    assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!normal.contains(['?', '#', '@', '\\']) || normal.contains("/"));
    let rest = normal
        .strip_prefix("https://")
        .or(normal.strip_prefix("http://"));
    let (authority, path) = rest.expect("a scheme").split_once('/').expect("a path");
    assert!(!authority.is_empty() && !authority.contains(['@', '%', '?', '#']));
    assert!(!path.contains(['?', '#']));
    assert!(
        path.split('/')
            .all(|segment| segment != "." && segment != "..")
    );
    // Query and fragment are not part of it.
    for ignored in ["?a=b", "#c", "?/../#/.."] {
        if !text.contains(['?', '#']) && text.len() < 2000 {
            assert_eq!(format!("{text}{ignored}").parse(), Ok(uri.clone()));
        }
    }
    true
}

pub(crate) fn target_uri_seeds() -> Vec<Vec<u8>> {
    [
        "https://api.example/assay.v1.SessionService/IssueSession",
        "HTTP://API.example:80/%7euser/%2f%c3%a9?query#fragment",
        "https://[2001:DB8::1]:8443/a;b=c/@:!$&'()*+,",
        "https://a/%2e%2e/b",
        "https://user@a:0443",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// What looks like a secret and must not be repeated.
const SECRET: &str = "correct-horse-battery-staple";

pub(crate) fn config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let base = Path::new("/");
    let first = Config::parse(text, base);
    match (&first, Config::parse(text, base)) {
        (Ok(first), Ok(second)) => assert_eq!(first, &second),
        (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
        _ => panic!("two readings of one text"),
    }
    if let Err(report) = &first {
        let shown = report.to_string();
        assert!(!shown.is_empty());
        // Tabs stay, so that the marks below a line stand where they should.
        shown.split(['\n', '\t']).for_each(super::make::readable);
    }
    // A password in a URL of the store is a mistake that a report must not spread.
    let with_secret =
        format!("{text}\n[store.redis]\nurl = \"redis://user:{SECRET}@host:6379/0\"\n");
    match Config::parse(&with_secret, base) {
        Ok(_) => panic!("a configuration with a secret in it is accepted"),
        Err(report) => assert!(!report.to_string().contains(SECRET), "a secret is repeated"),
    }
    first.is_ok()
}

pub(crate) fn config_seeds() -> Vec<Vec<u8>> {
    vec![
        EXAMPLE.as_bytes().to_vec(),
        DEVELOPMENT.as_bytes().to_vec(),
        b"[server]\nlisten = 1\n[[callers]]\nspiffe = \"x\"\n".to_vec(),
    ]
}
