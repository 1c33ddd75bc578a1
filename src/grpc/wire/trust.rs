//! The answer of GetTrustStatus.

use data_encoding::HEXLOWER;

use super::render::{duration, timestamp};
use crate::attestation::lists::{Google, Kept, Own, Standing};
use crate::attestation::roots::{PinnedRoot, System};
use crate::flow::get_trust_status::TrustStatus;
use crate::grpc::proto;
use crate::session::Job;

pub(crate) fn trust_status(status: &TrustStatus) -> proto::GetTrustStatusResponse {
    let status_list = match &status.lists.google {
        Google::Unconfigured => None,
        Google::NotUsed(_) => Some(proto::StatusListInfo {
            standing: proto::ListStanding::NotUsed.into(),
            ..proto::StatusListInfo::default()
        }),
        Google::Kept(kept) => Some(kept_list(kept, status)),
    };
    proto::GetTrustStatusResponse {
        roots: status.roots.iter().map(root).collect(),
        status_list,
        own_list: status.lists.own.as_ref().map(own_list),
        reappraisal: status.reappraisal.as_ref().map(reappraisal),
    }
}

fn root(root: &PinnedRoot) -> proto::TrustedRoot {
    let platform = match root.system {
        System::Android => proto::Platform::Android,
        System::Apple => proto::Platform::Apple,
    };
    proto::TrustedRoot {
        platform: platform.into(),
        purpose: root.purpose.to_owned(),
        subject: root.subject.clone(),
        spki_sha256: HEXLOWER.encode(&root.spki_sha256),
    }
}

fn kept_list(kept: &Kept, status: &TrustStatus) -> proto::StatusListInfo {
    let standing = match status.standing {
        Standing::Fresh => proto::ListStanding::Fresh,
        Standing::NotUsed => proto::ListStanding::NotUsed,
        // A list that was not fetched yet is as good as one that is too old.
        Standing::Stale | Standing::Absent => proto::ListStanding::Stale,
    };
    let held = kept.held.as_ref();
    let modified_at = held.and_then(|held| held.origin.modified_at);
    proto::StatusListInfo {
        standing: standing.into(),
        entries: held.map_or(0, |held| count(held.list.len())),
        validate_time: held.map(|held| timestamp(held.origin.validated_at)),
        age: held.map(|held| duration(held.age(status.at))),
        age_max: kept.age_max.map(duration),
        modify_time: modified_at.map(timestamp),
        next_fetch_time: kept.next_fetch_at.map(timestamp),
        last_error: kept.last_error.unwrap_or_default().to_owned(),
        sha256: held.map_or_else(String::new, |held| HEXLOWER.encode(&held.origin.sha256)),
    }
}

fn reappraisal(job: &Job) -> proto::ReappraisalInfo {
    proto::ReappraisalInfo {
        start_time: Some(timestamp(job.started_at)),
        end_time: job.ended_at.map(timestamp),
        cause: job.cause.as_str().to_owned(),
        done_permille: job.permille(),
        devices: job.counts.devices,
        revoked: job.counts.revoked,
        suspended: job.counts.suspended,
        degraded: job.counts.degraded,
        reported: job.counts.reported,
    }
}

fn own_list(own: &Own) -> proto::OwnListInfo {
    proto::OwnListInfo {
        serials: count(own.list.serials()),
        keys: count(own.list.keys()),
        read_time: Some(timestamp(own.read_at)),
        last_error: own.last_error.clone().unwrap_or_default(),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
