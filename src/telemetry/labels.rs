//! The closed sets the labels of the metrics come from.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Declares a closed set of label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

labels! {
    /// The platform of a piece of evidence.
    Platform {
        /// Android Key Attestation.
        Android = "android",
        /// Apple App Attest.
        Apple = "apple",
    }
}

labels! {
    /// How a refresh ended.
    RefreshOutcome {
        /// A new generation.
        Rotated = "rotated",
        /// The same answer again: the first one was lost on the way.
        Retry = "retry",
        /// A lost answer, healed from the generation before.
        Healed = "healed",
        /// Refused; the reason is in `assay_rpc_requests_total`.
        Refused = "refused",
    }
}

labels! {
    /// What became of a changed configuration file.
    ReloadOutcome {
        /// Its apps are in use.
        Applied = "applied",
        /// Its apps are in use as far as they may; something else in it needs a restart.
        NeedsRestart = "needs_restart",
        /// It is wrong, and what was in use stays in use.
        Wrong = "wrong",
    }
}

labels! {
    /// An operation of the store port.
    StoreOperation {
        /// Load records and make claims.
        Admit = "admit",
        /// Compare and set.
        Commit = "commit",
        /// Read the outbox.
        Follow = "follow",
        /// Read indexes.
        Page = "page",
        /// Look whether the store is there.
        Ping = "ping",
    }
}

labels! {
    /// How an operation of the store ended.
    StoreOutcome {
        /// As asked.
        Ok = "ok",
        /// Another commit or claim came first.
        Conflict = "conflict",
        /// The store could not be reached; nothing happened.
        Unavailable = "unavailable",
        /// The answer was lost: it may or may not have happened.
        Unknown = "unknown",
    }
}

labels! {
    /// How a new connection ended up.
    ConnectionOutcome {
        /// Handed to the server.
        Accepted = "accepted",
        /// No TLS 1.3, no client certificate, a foreign one, another protocol, or broken.
        HandshakeFailed = "handshake_failed",
        /// Not finished in time.
        HandshakeTimeout = "handshake_timeout",
        /// A verified client certificate whose names cannot be understood.
        CertificateOdd = "certificate_odd",
        /// Closed at once: the cap on open connections is reached.
        TooManyOpen = "too_many_open",
        /// Gone before anything was said.
        PeerGone = "peer_gone",
        /// The system refused to accept.
        AcceptFailed = "accept_failed",
    }
}

labels! {
    /// How a fetch of the attestation status list ended.
    ListFetch {
        /// Another list than before, in use from now on.
        Changed = "changed",
        /// The list in use is the newest.
        Unchanged = "unchanged",
        /// Not asked: another instance has just done so.
        Shared = "shared",
        /// No address, or nobody there.
        Unreachable = "unreachable",
        /// No TLS with the right server.
        Tls = "tls",
        /// Not answered in time.
        Timeout = "timeout",
        /// Larger than a list can be.
        TooLarge = "too_large",
        /// Cut off, or not HTTP.
        Broken = "broken",
        /// Another status than 200 or 304.
        Status = "status",
        /// Not a list that can be read whole.
        Malformed = "malformed",
        /// Another list, from an older cache than the one in use.
        Outdated = "outdated",
        /// Nothing is on the list.
        Empty = "empty",
        /// Most of what was on the list is not there any more.
        Shrunken = "shrunken",
    }
}

labels! {
    /// What a re-appraisal did with a device.
    ReappraisalEffect {
        /// It is noted that it fails.
        Reported = "reported",
        /// It is trusted provisionally only.
        Degraded = "degraded",
        /// It is suspended.
        Suspended = "suspended",
        /// It is revoked.
        Revoked = "revoked",
        /// Nothing is held against it any more.
        Cleared = "cleared",
        /// It could not be read.
        Unreadable = "unreadable",
        /// Its app is not configured.
        Skipped = "skipped",
        /// It is cut off, but on fewer replicas than configured.
        NotDurable = "not_durable",
    }
}

labels! {
    /// How the attestation status list stands.
    ListStanding {
        /// There is none.
        Absent = "absent",
        /// There is none, by configuration.
        NotUsed = "not_used",
        /// Recent enough.
        Fresh = "fresh",
        /// Too old: Android evidence is refused.
        Stale = "stale",
    }
}

labels! {
    /// How the exchange of a receipt at Apple ended.
    ReceiptExchange {
        /// With a newer receipt.
        Renewed = "renewed",
        /// Not yet.
        TooEarly = "too_early",
        /// For good: the receipt is of the other environment.
        WrongEnvironment = "wrong_environment",
        /// For good: Apple does not take the receipt.
        BadPayload = "bad_payload",
        /// For good: Apple has forgotten the key, or the receipt has expired.
        NoData = "no_data",
        /// Apple does not take the developer key.
        Unauthorized = "unauthorized",
        /// Apple asks to slow down.
        RateLimited = "rate_limited",
        /// No answer, or none of use.
        Unavailable = "unavailable",
        /// A receipt came that is not believed.
        NotBelieved = "not_believed",
    }
}

labels! {
    /// Whether what followed from risk happened.
    RiskMode {
        /// It would have, if the policy enforced it.
        Monitor = "monitor",
        /// It did.
        Enforce = "enforce",
    }
}

labels! {
    /// A gRPC status code.
    Code {
        /// 0
        Ok = "OK",
        /// 1
        Cancelled = "CANCELLED",
        /// 2
        Unknown = "UNKNOWN",
        /// 3
        InvalidArgument = "INVALID_ARGUMENT",
        /// 4
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// 5
        NotFound = "NOT_FOUND",
        /// 6
        AlreadyExists = "ALREADY_EXISTS",
        /// 7
        PermissionDenied = "PERMISSION_DENIED",
        /// 8
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// 9
        FailedPrecondition = "FAILED_PRECONDITION",
        /// 10
        Aborted = "ABORTED",
        /// 11
        OutOfRange = "OUT_OF_RANGE",
        /// 12
        Unimplemented = "UNIMPLEMENTED",
        /// 13
        Internal = "INTERNAL",
        /// 14
        Unavailable = "UNAVAILABLE",
        /// 15
        DataLoss = "DATA_LOSS",
        /// 16
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl Code {
    /// By its number on the wire; [`Code::Unknown`] for a number gRPC does not define.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| Self::ALL.get(n))
            .copied()
            .unwrap_or(Self::Unknown)
    }
}

/// The name of an RPC as a label: one of a closed set handed over at start, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(&'static str);

impl Method {
    /// Any path outside the set.
    pub const OTHER: Self = Self("other");

    /// The method of a request path (`/package.Service/Method`) within the closed set `known`.
    #[must_use]
    pub fn of(path: &str, known: impl IntoIterator<Item = &'static str>) -> Self {
        known
            .into_iter()
            .find(|name| *name == path)
            .map_or(Self::OTHER, |name| {
                Self(name.strip_prefix('/').unwrap_or(name))
            })
    }

    /// The label value, e.g. `assay.v1.DeviceService/RegisterDevice`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_its_number() {
        assert_eq!(Code::from_number(0), Code::Ok);
        assert_eq!(Code::from_number(16), Code::Unauthenticated);
        for odd in [-1, 17, i32::MAX] {
            assert_eq!(Code::from_number(odd), Code::Unknown);
        }
    }

    #[test]
    fn a_path_outside_the_set_is_other() {
        let known = ["/a.B/C"];
        assert_eq!(Method::of("/a.B/C", known).as_str(), "a.B/C");
        assert_eq!(Method::of("/a.B/D", known), Method::OTHER);
        assert_eq!(Method::of("", known), Method::OTHER);
    }
}
