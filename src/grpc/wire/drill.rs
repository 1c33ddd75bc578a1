//! RunDrill.

use super::fields::Fields;
use super::render::duration;
use crate::flow::Failure;
use crate::flow::run_drill::{Line, RunDrill, Step};
use crate::grpc::proto;
use crate::id::SessionId;
use crate::session::Actor;

pub(crate) fn run_drill(sent: &proto::RunDrillRequest, by: Actor) -> Result<RunDrill, Failure> {
    let mut fields = Fields::default();
    let app = fields.app(&sent.app_id);
    let wait_for = fields.wait_for(sent.wait_for);
    let (app, wait_for) = fields.finish(app.zip(wait_for))?;
    Ok(RunDrill { app, wait_for, by })
}

pub(crate) fn drilled(line: Line, session: SessionId) -> proto::RunDrillResponse {
    let (step, watcher) = match line.step {
        Step::Write => (proto::DrillStep::Write, None),
        Step::Allow => (proto::DrillStep::Allow, None),
        Step::Revoke => (proto::DrillStep::Revoke, None),
        Step::Refuse => (proto::DrillStep::Refuse, None),
        Step::Watcher(id) => (proto::DrillStep::Watcher, Some(id)),
        Step::Watchers => (proto::DrillStep::Watchers, None),
        Step::Delete => (proto::DrillStep::Delete, None),
        Step::Done => (proto::DrillStep::Done, None),
    };
    let (caller, watcher_id) = watcher.map_or_else(Default::default, |id| {
        (id.caller().to_owned(), id.name().to_owned())
    });
    let reason = line.reason.map_or("", |reason| reason.as_str());
    proto::RunDrillResponse {
        step: step.into(),
        passed: line.passed,
        took: Some(duration(line.took)),
        reason: reason.to_owned(),
        replicas_acked: line
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.replicas_acked),
        replicas_wanted: line
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.replicas_wanted),
        caller,
        watcher_id,
        session_id: session.to_string(),
    }
}
