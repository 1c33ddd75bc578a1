//! Who may call what: one table, and the layer that holds every request against it before the
//! message is read.
//!
//! An RPC that is not in the table is refused, so a new one is closed until somebody decides who
//! may call it. What is refused here says nothing of devices, sessions or subjects: nothing was
//! looked up.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::listener::{ConnectInfo, Peer};
use super::status::status;
use crate::reason::Reason;

/// What a caller is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs users in and opens their sessions.
    AuthServer,
    /// Passes on what the phone sends.
    MobileBackend,
    /// Serves API calls and has them verified.
    ResourceServer,
    /// A person who looks into a case and may revoke.
    OnCall,
    /// A person who manages keys and fleet-wide switches.
    SecurityAdmin,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[
        Self::AuthServer,
        Self::MobileBackend,
        Self::ResourceServer,
        Self::OnCall,
        Self::SecurityAdmin,
    ];

    /// The word in the configuration and the docs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthServer => "auth-server",
            Self::MobileBackend => "mobile-backend",
            Self::ResourceServer => "resource-server",
            Self::OnCall => "on-call",
            Self::SecurityAdmin => "security-admin",
        }
    }

    /// The role of that word; `None` when there is no such role.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every peer that can connect.
    Open,
    /// Callers with one of these roles.
    Roles(&'static [Role]),
}

/// Every RPC served and who may call it.
pub const TABLE: &[(&str, Access)] = {
    use Access::{Open, Roles};
    use Role::{AuthServer, MobileBackend, OnCall, ResourceServer, SecurityAdmin};
    &[
        (
            "/assay.v1.AttestationService/AppraiseEvidence",
            Roles(&[OnCall]),
        ),
        (
            "/assay.v1.AttestationService/GetTrustStatus",
            Roles(&[OnCall, SecurityAdmin]),
        ),
        (
            "/assay.v1.DeviceService/CreateChallenge",
            Roles(&[AuthServer, MobileBackend]),
        ),
        (
            "/assay.v1.DeviceService/RegisterDevice",
            Roles(&[AuthServer, MobileBackend]),
        ),
        ("/assay.v1.DeviceService/GetDevice", Roles(&[OnCall])),
        ("/assay.v1.DeviceService/ListDevices", Roles(&[OnCall])),
        ("/assay.v1.DeviceService/RevokeDevice", Roles(&[OnCall])),
        (
            "/assay.v1.DeviceService/BatchRevokeDevices",
            Roles(&[OnCall]),
        ),
        ("/assay.v1.DeviceService/SuspendDevice", Roles(&[OnCall])),
        ("/assay.v1.DeviceService/ResumeDevice", Roles(&[OnCall])),
        ("/assay.v1.DeviceService/FindDevices", Roles(&[OnCall])),
        (
            "/assay.v1.DeviceService/ReattestDevice",
            Roles(&[AuthServer, MobileBackend]),
        ),
        (
            "/assay.v1.DeviceService/RotateDeviceKey",
            Roles(&[MobileBackend]),
        ),
        (
            "/assay.v1.DeviceService/LinkDeviceSuccessor",
            Roles(&[AuthServer, OnCall]),
        ),
        (
            "/assay.v1.DeviceService/EnrolPresenceKey",
            Roles(&[AuthServer]),
        ),
        (
            "/assay.v1.OperationsService/ReappraiseDevices",
            Roles(&[SecurityAdmin]),
        ),
        (
            "/assay.v1.OperationsService/ListAuditEvents",
            Roles(&[OnCall, SecurityAdmin]),
        ),
        ("/assay.v1.OperationsService/RunDrill", Roles(&[OnCall])),
        (
            "/assay.v1.RevocationService/RevokeSubject",
            Roles(&[AuthServer, OnCall]),
        ),
        (
            "/assay.v1.RevocationService/RevokeConsent",
            Roles(&[AuthServer, OnCall]),
        ),
        (
            "/assay.v1.RevocationService/SetNotBefore",
            Roles(&[SecurityAdmin]),
        ),
        (
            "/assay.v1.RevocationService/PreviewRevocation",
            Roles(&[OnCall, SecurityAdmin]),
        ),
        (
            "/assay.v1.OperationsService/ExportSubject",
            Roles(&[SecurityAdmin]),
        ),
        (
            "/assay.v1.OperationsService/EraseSubject",
            Roles(&[SecurityAdmin]),
        ),
        (
            "/assay.v1.RevocationService/WatchRevocations",
            Roles(&[ResourceServer, OnCall]),
        ),
        (
            "/assay.v1.RevocationService/AckRevocations",
            Roles(&[ResourceServer, OnCall]),
        ),
        (
            "/assay.v1.RevocationService/ConfirmRevocations",
            Roles(&[AuthServer, OnCall]),
        ),
        (
            "/assay.v1.SessionService/IssueSession",
            Roles(&[AuthServer]),
        ),
        (
            "/assay.v1.SessionService/RefreshSession",
            Roles(&[MobileBackend]),
        ),
        (
            "/assay.v1.SessionService/EndSession",
            Roles(&[AuthServer, MobileBackend]),
        ),
        ("/assay.v1.SessionService/ListSessions", Roles(&[OnCall])),
        ("/assay.v1.SessionService/GetSession", Roles(&[OnCall])),
        (
            "/assay.v1.SessionService/RevokeSession",
            Roles(&[AuthServer, OnCall]),
        ),
        (
            "/assay.v1.SessionService/ElevateSession",
            Roles(&[AuthServer]),
        ),
        (
            "/assay.v1.SessionService/RotateSession",
            Roles(&[AuthServer]),
        ),
        (
            "/assay.v1.VerificationService/VerifyRequest",
            Roles(&[ResourceServer]),
        ),
        (
            "/assay.v1.VerificationService/IntrospectToken",
            Roles(&[ResourceServer]),
        ),
        ("/assay.v1.VerificationService/GetJwks", Open),
        ("/grpc.health.v1.Health/Check", Open),
        ("/grpc.health.v1.Health/Watch", Open),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Open,
        ),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            Open,
        ),
    ]
};

/// The access of an RPC by its request path (`/package.Service/Method`); `None` when it is not in
/// the table.
#[must_use]
pub fn access(path: &str) -> Option<Access> {
    TABLE
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, access)| *access)
}

/// The request paths among `served` that the table does not decide. A test hands it every RPC of
/// the compiled protos.
pub fn undecided<'a>(served: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    served
        .into_iter()
        .filter(|path| access(path).is_none())
        .collect()
}

/// A known caller; found in the extensions of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The first name of its certificate that is configured, or `plaintext`.
    pub identity: Arc<str>,
    /// What it may act as.
    pub roles: Arc<[Role]>,
}

impl Caller {
    /// Whether it has the role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// The configured callers.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    by_identity: HashMap<String, Vec<Role>>,
    plaintext: Option<Caller>,
}

impl Callers {
    /// The roles of each certificate identity (`spiffe://…` or `dns:…`, as
    /// [`super::tls::identities`] writes them; DNS names in any case), and the roles of a peer on a
    /// plaintext port: without any, nobody there is known. An identity given twice has the roles of
    /// both.
    #[must_use]
    pub fn new(
        identities: impl IntoIterator<Item = (String, Vec<Role>)>,
        plaintext: &[Role],
    ) -> Self {
        let mut by_identity: HashMap<String, Vec<Role>> = HashMap::new();
        for (mut identity, roles) in identities {
            if identity.starts_with("dns:") {
                identity.make_ascii_lowercase();
            }
            by_identity.entry(identity).or_default().extend(roles);
        }
        Self {
            by_identity,
            plaintext: (!plaintext.is_empty()).then(|| Caller {
                identity: "plaintext".into(),
                roles: plaintext.into(),
            }),
        }
    }

    /// Who the peer is; `None` when none of its names is configured. Several configured names in
    /// one certificate add up.
    #[must_use]
    pub fn identify(&self, peer: &Peer) -> Option<Caller> {
        let identities = match peer {
            Peer::Plaintext => return self.plaintext.clone(),
            Peer::Tls { identities } => identities,
        };
        let mut known = identities
            .iter()
            .filter_map(|identity| Some((identity, self.by_identity.get(identity)?)))
            .peekable();
        let identity: Arc<str> = known.peek()?.0.as_str().into();
        let mut roles: Vec<Role> = known.flat_map(|(_, roles)| roles).copied().collect();
        roles.sort_unstable();
        roles.dedup();
        Some(Caller {
            identity,
            roles: roles.into(),
        })
    }

    /// Decides on a request: the caller where it is known, or how it is refused.
    ///
    /// An open RPC needs no known caller. A path outside the table is answered as one that does not
    /// exist, and only to known callers.
    fn decide(&self, path: &str, peer: Option<&Peer>) -> Result<Option<Caller>, Box<Status>> {
        let caller = peer.and_then(|peer| self.identify(peer));
        let access = access(path);
        if access == Some(Access::Open) {
            return Ok(caller);
        }
        let Some(caller) = caller else {
            return Err(Box::new(status(Reason::CallerUnauthenticated)));
        };
        match access {
            None => Err(Box::new(Status::unimplemented("There is no such RPC."))),
            Some(Access::Open) => Ok(Some(caller)),
            Some(Access::Roles(allowed)) => {
                if allowed.iter().any(|role| caller.is(*role)) {
                    Ok(Some(caller))
                } else {
                    Err(Box::new(status(Reason::CallerNotAllowed)))
                }
            }
        }
    }
}

/// The layer: to be put around all services, inside [`super::observe::Observe`].
#[derive(Clone, Debug)]
pub struct Authorize {
    callers: Arc<Callers>,
}

impl Authorize {
    /// With these callers.
    #[must_use]
    pub const fn new(callers: Arc<Callers>) -> Self {
        Self { callers }
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized {
            callers: Arc::clone(&self.callers),
            inner,
        }
    }
}

/// A service behind the table.
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    callers: Arc<Callers>,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Authorized<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        // Nobody but this layer says who the caller is.
        request.extensions_mut().remove::<Caller>();
        let peer = request
            .extensions()
            .get::<ConnectInfo>()
            .map(|info| &info.peer);
        match self.callers.decide(request.uri().path(), peer) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    tracing::Span::current().record("caller", &*caller.identity);
                    request.extensions_mut().insert(caller);
                }
                Box::pin(self.inner.call(request))
            }
            Err(refused) => Box::pin(std::future::ready(Ok(refused.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(names: &[&str]) -> Peer {
        Peer::Tls {
            identities: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn callers() -> Callers {
        Callers::new(
            [
                ("spiffe://t/auth".to_owned(), vec![Role::AuthServer]),
                ("dns:Phone.Example".to_owned(), vec![Role::MobileBackend]),
                ("dns:idle.example".to_owned(), vec![]),
            ],
            &[],
        )
    }

    fn refusal(path: &str, peer: Option<&Peer>) -> Option<Reason> {
        let refused = callers().decide(path, peer).err()?;
        super::super::status::reason_of(&refused)
    }

    const ISSUE: &str = "/assay.v1.SessionService/IssueSession";

    #[test]
    fn no_path_is_decided_twice() {
        let paths: std::collections::BTreeSet<_> = TABLE.iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), TABLE.len());
    }

    #[test]
    fn an_rpc_outside_the_table_is_found() {
        let served = [
            "/assay.v1.SessionService/IssueSession",
            "/assay.v1.SessionService/New",
        ];
        assert_eq!(undecided(served), ["/assay.v1.SessionService/New"]);
    }

    #[test]
    fn every_role_word_is_read_back() {
        for role in Role::ALL.iter().copied() {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("On-Call"), None);
    }

    #[test]
    fn a_certificate_without_a_configured_name_is_unauthenticated() {
        for peer in [
            tls(&[]),
            tls(&["dns:other.example"]),
            tls(&["spiffe://t/auth2"]),
        ] {
            assert_eq!(
                refusal(ISSUE, Some(&peer)),
                Some(Reason::CallerUnauthenticated)
            );
        }
        assert_eq!(refusal(ISSUE, None), Some(Reason::CallerUnauthenticated));
    }

    #[test]
    fn plaintext_is_nobody_unless_roles_are_given() {
        assert_eq!(
            refusal(ISSUE, Some(&Peer::Plaintext)),
            Some(Reason::CallerUnauthenticated)
        );
        let open = Callers::new([], &[Role::AuthServer]);
        assert!(open.decide(ISSUE, Some(&Peer::Plaintext)).is_ok());
        let refresh = "/assay.v1.SessionService/RefreshSession";
        assert!(open.decide(refresh, Some(&Peer::Plaintext)).is_err());
    }

    #[test]
    fn a_role_opens_its_own_rpcs_and_no_others() {
        for (path, access) in TABLE {
            for role in Role::ALL.iter().copied() {
                let callers = Callers::new([("dns:a".to_owned(), vec![role])], &[]);
                let allowed = callers.decide(path, Some(&tls(&["dns:a"]))).is_ok();
                let expected = match access {
                    Access::Open => true,
                    Access::Roles(roles) => roles.contains(&role),
                };
                assert_eq!(allowed, expected, "{role} {path}");
            }
        }
        assert_eq!(
            refusal(ISSUE, Some(&tls(&["dns:phone.example"]))),
            Some(Reason::CallerNotAllowed)
        );
        assert_eq!(
            refusal(ISSUE, Some(&tls(&["dns:idle.example"]))),
            Some(Reason::CallerNotAllowed)
        );
    }

    #[test]
    fn a_path_near_a_known_one_is_not_that_one() {
        for path in [
            "/assay.v1.SessionService/IssueSession/",
            "//assay.v1.SessionService/IssueSession",
            "/assay.v1.sessionservice/IssueSession",
            "/assay.v1.SessionService/Issue%53ession",
            "/",
            "",
        ] {
            let known = tls(&["spiffe://t/auth"]);
            let refused = callers().decide(path, Some(&known)).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unimplemented, "{path}");
            assert_eq!(
                refusal(path, None),
                Some(Reason::CallerUnauthenticated),
                "{path}"
            );
        }
    }

    #[test]
    fn configured_names_of_one_certificate_add_up() {
        let caller = callers()
            .identify(&tls(&["dns:x", "dns:phone.example", "spiffe://t/auth"]))
            .unwrap();
        assert_eq!(&*caller.identity, "dns:phone.example");
        assert_eq!(&*caller.roles, [Role::AuthServer, Role::MobileBackend]);
    }
}
