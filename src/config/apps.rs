//! `[apps.NAME]`: what an app's evidence has to be for, and its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::lifetimes::lifetimes;
use super::reader::{Reader, Section, Value};
use super::report::quoted;
use super::sections::{proof_target, secs};
use super::step_up::step_up;
use super::value::{checked, choice, count, flag, list, set, span};
use super::{App, Mode, android, apple, rates, risk};
use crate::attestation::AppIdentity;
use crate::id::AppId;
use crate::policy::{
    AppPolicy, BodyRule, Consequence, CounterOrder, DeviceLimitRule, DowngradeRule, NonceRule,
    ProofPolicy, Reappraisal, ReplayRule, ReuseRule, ScopeRule, SessionLimitRule, TrustLevel,
};
use crate::session::Standing;

/// Most rules and most scopes of one rule.
const SCOPE_RULES_MAX: usize = 64;
const SCOPES_MAX: usize = 256;
/// Longest scope.
const SCOPE_BYTES_MAX: usize = 128;
/// Most audiences, and the longest.
const AUDIENCES_MAX: usize = 32;
const AUDIENCE_BYTES_MAX: usize = 255;
/// Most further URIs proofs may be aimed at.
const URIS_MAX: usize = 32;
/// Devices and sessions of a subject are listed in its record, which has to stay small. The index of
/// devices has 128 places (`session::register`); a larger number here would promise too much.
const DEVICES: RangeInclusive<u32> = 1..=128;
const SESSIONS: RangeInclusive<u32> = 1..=1000;

pub(super) fn apps(
    reader: &mut Reader<'_>,
    top: &mut Section<'_, '_>,
    mode: Mode,
) -> Option<BTreeMap<AppId, App>> {
    let section = top.section(reader, "apps");
    let named = section.named(reader);
    if named.is_empty() && !top.has("apps") {
        top.missing(
            reader,
            "[apps.NAME]",
            "without an app there is nothing to serve",
        );
    } else if named.is_empty() && section.is_written() {
        reader.wrong::<()>(section.span(), "no app is configured", "write [apps.NAME]");
    }
    let mut apps = BTreeMap::new();
    let mut good = true;
    for (name, span, section) in named {
        let id = name.parse::<AppId>().ok();
        if id.is_none() {
            let message = format!("{} is no name for an app", quoted(&name));
            let hint = "1 to 64 of a-z 0-9 . _ - beginning with a letter or digit; \
                        a name with a point stands in quotes: [apps.\"com.example.bank\"]";
            reader.wrong::<()>(span, message, hint);
        }
        match id.zip(app(reader, section, mode)) {
            Some((id, app)) => drop(apps.insert(id, app)),
            None => good = false,
        }
    }
    good.then_some(apps)
}

fn app(reader: &mut Reader<'_>, mut section: Section<'_, '_>, mode: Mode) -> Option<App> {
    let enabled = section.or(reader, "enabled", true, flag);
    let hint = "an audience is a name or URL of printable ASCII without spaces";
    let audience = checked(is_audience, "is no audience", hint);
    let audiences = section.need(reader, "audiences", list(1..=AUDIENCES_MAX, audience));
    let on_reuse = on_reuse(reader, &mut section);
    let nested = section.section(reader, "android");
    let has_android = nested.is_written() || section.has("android");
    let android = android::android(reader, nested);
    let nested = section.section(reader, "apple");
    let has_apple = nested.is_written() || section.has("apple");
    let apple = apple::apple(reader, nested);
    if section.is_written() && !has_android && !has_apple {
        let hint = "add [apps.NAME.android], [apps.NAME.apple] or both";
        reader.wrong::<()>(section.span(), "the app has no platform", hint);
    }
    let nested = section.section(reader, "lifetimes");
    let lifetimes = lifetimes(reader, nested);
    let nested = section.section(reader, "reappraisal");
    let reappraisal = reappraisal(reader, nested);
    let nested = section.section(reader, "proof");
    let proof = proof(reader, nested, mode);
    let nested = section.section(reader, "risk");
    let risk = risk::risk(reader, nested);
    let nested = section.section(reader, "limits");
    let caps = caps(reader, nested);
    let nested = section.section(reader, "rates");
    let rates = rates::of_app(reader, nested);
    let scopes = scopes(reader, &mut section);
    let nested = section.section(reader, "step_up");
    let step_up = step_up(reader, nested, scopes.as_deref().unwrap_or_default());
    section.finish(reader);

    let ((android_app, android), (apple_app, apple, receipts)) = (android?, apple?);
    let caps = caps?;
    let (lifetimes, level_lifetimes) = lifetimes?;
    Some(App {
        standing: if enabled? {
            Standing::Enabled
        } else {
            Standing::Disabled
        },
        identity: AppIdentity {
            android: android_app,
            apple: apple_app,
        },
        receipts,
        policy: AppPolicy {
            android,
            apple,
            scopes: scopes?,
            audiences: audiences?,
            lifetimes,
            level_lifetimes,
            reappraisal: reappraisal?,
            proof: proof?,
            on_refresh_reuse: on_reuse?,
            devices_per_subject_max: caps.devices,
            sessions_per_subject_max: caps.sessions,
            sessions_per_device_max: caps.sessions_per_device,
            on_session_limit: caps.at_limit,
            risk: risk?,
            rates: rates?,
            on_device_limit: caps.devices_at_limit,
            step_up: step_up?,
        },
    })
}

fn on_reuse(reader: &mut Reader<'_>, app: &mut Section<'_, '_>) -> Option<ReuseRule> {
    let rules = [
        ("revoke-session", ReuseRule::RevokeSession),
        ("report", ReuseRule::Report),
        ("step-up", ReuseRule::StepUp),
    ];
    let unsaid = ReuseRule::RevokeSession;
    app.or(reader, "on_refresh_reuse", unsaid, choice(&rules))
}

fn is_audience(text: &str) -> bool {
    (1..=AUDIENCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn reappraisal(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Reappraisal> {
    let consequences = [
        ("revoke", Consequence::Revoke),
        ("suspend", Consequence::Suspend),
        ("degrade", Consequence::Degrade),
        ("report", Consequence::Report),
    ];
    let downgrades = [
        ("refuse", DowngradeRule::Refuse),
        ("allow", DowngradeRule::Allow),
    ];
    let unsaid = Reappraisal::strict();
    let mut follows = |key, unsaid| section.or(reader, key, unsaid, choice(&consequences));
    let revoked = follows("revoked_certificate", unsaid.revoked_certificate);
    let below = follows("below_policy", unsaid.below_policy);
    let downgrade = section.or(reader, "downgrade", unsaid.downgrade, choice(&downgrades));
    section.finish(reader);
    Some(Reappraisal {
        revoked_certificate: revoked?,
        below_policy: below?,
        downgrade: downgrade?,
    })
}

fn proof(reader: &mut Reader<'_>, mut section: Section<'_, '_>, mode: Mode) -> Option<ProofPolicy> {
    let rules = [
        ("required", NonceRule::Required),
        ("optional", NonceRule::Optional),
    ];
    let nonce = section.or(reader, "nonce", NonceRule::Required, choice(&rules));
    let window = section.or(reader, "iat_window", secs(60), span(secs(5)..=secs(600)));
    let uris = list(0..=URIS_MAX, proof_target(mode));
    let uris = section.or(reader, "accepted_uris", Vec::new(), uris);
    let replays = [("jti", ReplayRule::Jti), ("window", ReplayRule::Window)];
    let replay = section.or(reader, "replay", ReplayRule::Jti, choice(&replays));
    let orders = [
        ("window", CounterOrder::Window),
        ("strict", CounterOrder::Strict),
    ];
    let counter = section.or(reader, "counter", CounterOrder::Window, choice(&orders));
    let bodies = [
        ("when-sent", BodyRule::WhenSent),
        ("required", BodyRule::Required),
    ];
    let body = section.or(reader, "body", BodyRule::WhenSent, choice(&bodies));
    section.finish(reader);
    Some(ProofPolicy {
        nonce: nonce?,
        iat_window: window?,
        accepted_uris: uris?,
        replay: replay?,
        counter: counter?,
        body: body?,
    })
}

/// `[apps.NAME.limits]`
struct Caps {
    devices: usize,
    sessions: usize,
    sessions_per_device: usize,
    at_limit: SessionLimitRule,
    devices_at_limit: DeviceLimitRule,
}

fn caps(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Caps> {
    let rules = [
        ("evict-oldest", SessionLimitRule::EvictOldest),
        ("refuse", SessionLimitRule::Refuse),
    ];
    let devices = section.or(reader, "devices_per_subject", 10, count(DEVICES));
    let sessions = section.or(reader, "sessions_per_subject", 50, count(SESSIONS));
    let per_device = section.maybe(reader, "sessions_per_device", count(SESSIONS));
    let at = section.at("sessions_per_device");
    let unsaid = SessionLimitRule::EvictOldest;
    let at_limit = section.or(reader, "sessions_at_limit", unsaid, choice(&rules));
    let rules = [
        ("refuse", DeviceLimitRule::Refuse),
        ("replace-oldest", DeviceLimitRule::ReplaceOldest),
    ];
    let unsaid = DeviceLimitRule::Refuse;
    let devices_at_limit = section.or(reader, "devices_at_limit", unsaid, choice(&rules));
    section.finish(reader);
    let (devices, sessions, per_device) = (devices?, sessions?, per_device?);
    if per_device.is_some_and(|per_device| per_device > sessions) {
        let message = format!("more than \"sessions_per_subject\" ({sessions})");
        return reader.wrong(at, message, "");
    }
    // The default gives way to a smaller number for the subject.
    let sessions_per_device = per_device.unwrap_or_else(|| sessions.min(10));
    Some(Caps {
        devices,
        sessions,
        sessions_per_device,
        at_limit: at_limit?,
        devices_at_limit: devices_at_limit?,
    })
}

fn scopes(reader: &mut Reader<'_>, app: &mut Section<'_, '_>) -> Option<Vec<ScopeRule>> {
    let levels = TrustLevel::ALL.map(|level| (level.as_str(), level));
    let mut rules: Vec<ScopeRule> = Vec::new();
    let mut good = true;
    for mut section in app.sections(reader, "scopes", SCOPE_RULES_MAX)? {
        let scopes = section.need(reader, "scopes", scope_set(1..=SCOPES_MAX));
        let level = TrustLevel::AppAttest;
        let level = section.or(reader, "trust_level_min", level, choice(&levels));
        let at = section.at("scopes");
        section.finish(reader);
        let Some((scopes, trust_level_min)) = scopes.zip(level) else {
            good = false;
            continue;
        };
        let twice = scopes
            .iter()
            .find(|s| rules.iter().any(|rule| rule.scopes.contains(*s)));
        if let Some(scope) = twice {
            let message = format!("{} stands in an earlier rule", quoted(scope));
            reader.wrong::<()>(at, message, "a scope has one rule");
        }
        rules.push(ScopeRule {
            scopes,
            trust_level_min,
        });
    }
    good.then_some(rules)
}

/// Scopes, perhaps none.
pub(super) fn scope_list<'t>() -> impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<BTreeSet<String>> {
    scope_set(0..=SCOPES_MAX)
}

fn scope_set<'t>(
    count: RangeInclusive<usize>,
) -> impl Fn(&mut Reader<'_>, &Value<'t>) -> Option<BTreeSet<String>> {
    let hint = "printable ASCII without spaces, quotes and backslashes (RFC 6749, 3.3)";
    set(count, checked(is_scope, "is no scope", hint))
}

/// A `scope-token` (RFC 6749, 3.3).
fn is_scope(text: &str) -> bool {
    (1..=SCOPE_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_scope_tokens() {
        assert!(is_scope("read:all") && is_scope("!") && is_scope(&"a".repeat(SCOPE_BYTES_MAX)));
        for bad in [
            "",
            "a b",
            "a\"b",
            "a\\b",
            "é",
            "a\n",
            &"a".repeat(SCOPE_BYTES_MAX + 1),
        ] {
            assert!(!is_scope(bad), "{bad}");
        }
    }
}
