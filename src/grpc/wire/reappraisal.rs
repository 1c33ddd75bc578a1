//! ReappraiseDevices.

use data_encoding::BASE64URL_NOPAD;

use super::fields::Fields;
use crate::flow::Failure;
use crate::flow::reappraise_devices::{Finding, Run, Scope};
use crate::grpc::proto;
use crate::id::{BUCKETS, DeviceId};
use crate::session::{Actor, Counts, Effect, Position};

/// The first byte of a resume token.
const TOKEN_VERSION: u8 = 1;

/// How far a run is: what a message says beside its findings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    permille: u32,
    counts: Counts,
    position: Position,
}

impl Progress {
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            permille: run.permille(),
            counts: run.counts(),
            position: run.position(),
        }
    }

    /// The same before the end: findings are still to come.
    pub(crate) fn unfinished(self) -> Self {
        Self {
            permille: self.permille.min(999),
            ..self
        }
    }

    /// The same for one who goes on there.
    pub(crate) fn resumed_where(self, earlier: Self) -> Self {
        Self {
            position: earlier.position,
            ..self
        }
    }
}

pub(crate) fn reappraise_devices(
    sent: &proto::ReappraiseDevicesRequest,
    by: Actor,
) -> Result<Run, Failure> {
    let mut fields = Fields::default();
    let app = match sent.app_id.as_str() {
        "" => Some(None),
        app => fields.app(app).map(Some),
    };
    let position = resume(&sent.resume_token);
    let position = fields.take("resume_token", position, "a resume_token of this RPC");
    let (app, position) = fields.finish(app.zip(position))?;
    let scope = Scope {
        app,
        validate_only: sent.validate_only,
        by,
    };
    Ok(Run::all(scope, position))
}

pub(crate) fn reappraising(
    progress: &Progress,
    findings: Vec<Finding>,
) -> proto::ReappraiseDevicesResponse {
    let counts = &progress.counts;
    proto::ReappraiseDevicesResponse {
        done_permille: progress.permille,
        devices: counts.devices,
        revoked: counts.revoked,
        suspended: counts.suspended,
        degraded: counts.degraded,
        reported: counts.reported,
        unreadable: counts.unreadable,
        findings: findings.into_iter().map(finding).collect(),
        resume_token: token(&progress.position),
    }
}

fn finding(finding: Finding) -> proto::ReappraisalFinding {
    let consequence = match finding.effect {
        // Nothing is wrong with a device that is cleared, so it is no finding.
        Effect::Reported | Effect::Cleared => proto::Consequence::Report,
        Effect::Degraded => proto::Consequence::Degrade,
        Effect::Suspended => proto::Consequence::Suspend,
        Effect::Revoked => proto::Consequence::Revoke,
    };
    proto::ReappraisalFinding {
        device_id: finding.device.to_string(),
        app_id: finding.app.as_str().to_owned(),
        reason: finding.fault.reason.as_str().to_owned(),
        check: finding.fault.check.to_owned(),
        consequence: consequence.into(),
    }
}

/// `version ‖ bucket (2)` at the beginning of a bucket, `version ‖ device id` behind a device.
fn token(position: &Position) -> String {
    let mut bytes = vec![TOKEN_VERSION];
    match position.after() {
        None => bytes.extend(position.number().to_be_bytes()),
        Some(device) => bytes.extend(device.as_bytes()),
    }
    BASE64URL_NOPAD.encode(&bytes)
}

/// `None`: not a token of ours.
fn resume(token: &str) -> Option<Position> {
    if token.is_empty() {
        return Some(Position::default());
    }
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
    match bytes.as_slice() {
        [TOKEN_VERSION, high, low] => {
            let bucket = u16::from_be_bytes([*high, *low]);
            (bucket <= BUCKETS).then(|| Position::at(bucket))
        }
        [TOKEN_VERSION, device @ ..] => DeviceId::from_bytes(device).ok().map(Position::behind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Bucket;

    #[test]
    fn a_token_leads_back_to_its_position() {
        let device = DeviceId::new(Bucket::new(7).unwrap(), [9; 16]);
        for position in [
            Position::default(),
            Position::at(1),
            Position::at(BUCKETS),
            Position::behind(device),
        ] {
            assert_eq!(resume(&token(&position)), Some(position));
        }
        assert_eq!(resume(""), Some(Position::default()));
    }

    #[test]
    fn what_is_no_token_leads_nowhere() {
        let long = BASE64URL_NOPAD.encode(&[1; 20]);
        let beyond = BASE64URL_NOPAD.encode(&[1, 4, 1]);
        let bucket = BASE64URL_NOPAD.encode(&[&[1, 4, 0][..], &[0; 16]].concat());
        let version = BASE64URL_NOPAD.encode(&[2, 0, 0]);
        for wrong in [
            "A", "AQ", "AQAA=", "AQAB ", &long, &beyond, &bucket, &version,
        ] {
            assert_eq!(resume(wrong), None, "{wrong}");
        }
    }
}
