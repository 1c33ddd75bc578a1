//! `[apps.NAME.step_up]`

use std::collections::BTreeSet;

use super::apps::scope_list;
use super::reader::{Reader, Section};
use super::report::quoted;
use super::sections::secs;
use super::value::{choice, span};
use crate::policy::{ACCESS_FOR_MAX, ScopeRule, StepUpPolicy, TrustLevel, UserPresence};

pub(super) fn step_up(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
    ordinary: &[ScopeRule],
) -> Option<StepUpPolicy> {
    let levels = TrustLevel::ALL.map(|level| (level.as_str(), level));
    let degrees = UserPresence::ALL.map(|degree| (degree.as_str(), degree));
    let unsaid = StepUpPolicy::plain();
    let lives = span(secs(10)..=ACCESS_FOR_MAX);
    let access_for = section.or(reader, "access", unsaid.access_for, lives);
    let presence = section.or(
        reader,
        "user_presence",
        unsaid.user_presence,
        choice(&degrees),
    );
    let scopes = section.or(reader, "scopes", BTreeSet::new(), scope_list());
    let level = TrustLevel::AppAttest;
    let level = section.or(reader, "trust_level_min", level, choice(&levels));
    let at = section.at("scopes");
    section.finish(reader);
    let scopes = scopes?;
    let granted = |scope: &&String| ordinary.iter().any(|rule| rule.scopes.contains(*scope));
    if let Some(scope) = scopes.iter().find(granted) {
        let message = format!("{} stands in a rule of [[scopes]]", quoted(scope));
        let hint = "a scope that a session has needs no step-up";
        return reader.wrong(at, message, hint);
    }
    Some(StepUpPolicy {
        access_for: access_for?,
        scopes: ScopeRule {
            scopes,
            trust_level_min: level?,
        },
        user_presence: presence?,
    })
}
