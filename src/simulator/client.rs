//! The app and its backend around a software phone: the calls they make, over real gRPC.

use std::net::SocketAddr;

use tonic::Status;
use tonic::transport::{Channel, Endpoint, Error as TransportError};
use tonic_types::StatusExt as _;

use super::proof::Dpop;
use super::{Device, Error, Evidence};
use crate::grpc::proto;
use crate::grpc::proto::device_service_client::DeviceServiceClient;
use crate::grpc::proto::session_service_client::SessionServiceClient;
use crate::grpc::proto::verification_service_client::VerificationServiceClient;
use crate::time::Clock;

/// A call that was refused, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The service said no for this reason.
    #[error("{0}")]
    Reason(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        match status.get_details_error_info() {
            Some(info) => Self::Reason(info.reason),
            None => Self::Other(status.to_string()),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// A backend connected to the service.
#[derive(Debug, Clone)]
pub struct Backend {
    devices: DeviceServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    verification: VerificationServiceClient<Channel>,
    clock: Clock,
    public_url: String,
    app_id: String,
}

impl Backend {
    /// Connects to a plaintext port.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(
        address: SocketAddr,
        (public_url, app_id): (&str, &str),
        clock: Clock,
    ) -> Result<Self, TransportError> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect()
            .await?;
        Ok(Self {
            devices: DeviceServiceClient::new(channel.clone()),
            sessions: SessionServiceClient::new(channel.clone()),
            verification: VerificationServiceClient::new(channel),
            clock,
            public_url: public_url.to_owned(),
            app_id: app_id.to_owned(),
        })
    }

    /// A challenge for a subject.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn challenge(&mut self, subject: &str) -> Result<Vec<u8>, Refused> {
        let request = proto::CreateChallengeRequest {
            app_id: self.app_id.clone(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: subject.to_owned(),
            client: None,
        };
        Ok(self
            .devices
            .create_challenge(request)
            .await?
            .into_inner()
            .challenge)
    }

    /// Registers evidence made for a challenge.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn register(
        &mut self,
        subject: &str,
        challenge: &[u8],
        evidence: &Evidence,
    ) -> Result<proto::Device, Refused> {
        let request = proto::RegisterDeviceRequest {
            request_id: String::new(),
            subject: subject.to_owned(),
            app_id: self.app_id.clone(),
            challenge: challenge.to_vec(),
            evidence: Some(evidence.clone().into()),
            validate_only: false,
            client: None,
        };
        let answer = self.devices.register_device(request).await?.into_inner();
        answer
            .device
            .ok_or_else(|| Refused::Other("no device in the answer".to_owned()))
    }

    /// A proof for one of the service's own RPCs.
    async fn proof(&mut self, device: &Device, method: &str) -> Result<String, Refused> {
        let nonce = self.nonce().await?;
        let uri = format!("{}/assay.v1.SessionService/{method}", self.public_url);
        let dpop = Dpop::new("POST", &uri, self.clock.now())?.with_nonce(&nonce);
        Ok(device.proof(&dpop)?)
    }

    /// A fresh nonce; apps take it from the answer before.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn nonce(&mut self) -> Result<String, Refused> {
        let request = proto::CreateChallengeRequest {
            app_id: self.app_id.clone(),
            purpose: proto::ChallengePurpose::Register.into(),
            subject: String::new(),
            client: None,
        };
        Ok(self
            .devices
            .create_challenge(request)
            .await?
            .into_inner()
            .next_nonce)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn issue(
        &mut self,
        subject: &str,
        (device, device_id): (&Device, &str),
    ) -> Result<proto::Grant, Refused> {
        let request = proto::IssueSessionRequest {
            subject: subject.to_owned(),
            device_id: device_id.to_owned(),
            proof: self.proof(device, "IssueSession").await?,
            scopes: vec!["read".to_owned()],
            ..proto::IssueSessionRequest::default()
        };
        let answer = self.sessions.issue_session(request).await?.into_inner();
        answer
            .grant
            .ok_or_else(|| Refused::Other("no grant in the answer".to_owned()))
    }

    /// Refreshes a session with a new proof.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn refresh(
        &mut self,
        device: &Device,
        refresh_token: &str,
    ) -> Result<(proto::Grant, proto::RefreshOutcome), Refused> {
        let request = proto::RefreshSessionRequest {
            refresh_token: refresh_token.to_owned(),
            proof: self.proof(device, "RefreshSession").await?,
            scopes: Vec::new(),
            client: None,
        };
        let answer = self.sessions.refresh_session(request).await?.into_inner();
        let outcome = answer.outcome();
        let grant = answer
            .grant
            .ok_or_else(|| Refused::Other("no grant".to_owned()))?;
        Ok((grant, outcome))
    }

    /// A proof for a call of an API.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn call_proof(
        &mut self,
        device: &Device,
        uri: &str,
        access_token: &str,
    ) -> Result<String, Refused> {
        let nonce = self.nonce().await?;
        let dpop = Dpop::new("GET", uri, self.clock.now())?
            .with_nonce(&nonce)
            .with_access_token(access_token);
        Ok(device.proof(&dpop)?)
    }

    /// What a resource server is told of a `GET`.
    ///
    /// # Errors
    /// [`Refused`]; "no" is an answer.
    pub async fn verify(
        &mut self,
        uri: &str,
        access_token: &str,
        proof: &str,
    ) -> Result<proto::Decision, Refused> {
        let request = proto::VerifyRequestRequest {
            access_token: access_token.to_owned(),
            proof: proof.to_owned(),
            method: "GET".to_owned(),
            uri: uri.to_owned(),
            body_sha256: Vec::new(),
            required: None,
            consistency: proto::Consistency::Unspecified.into(),
        };
        let answer = self
            .verification
            .verify_request(request)
            .await?
            .into_inner();
        answer
            .decision
            .ok_or_else(|| Refused::Other("no decision in the answer".to_owned()))
    }

    /// Whether an access token is active.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn is_active(&mut self, access_token: &str) -> Result<bool, Refused> {
        let request = proto::IntrospectTokenRequest {
            token: access_token.to_owned(),
        };
        Ok(self
            .verification
            .introspect_token(request)
            .await?
            .into_inner()
            .active)
    }

    /// Revokes a device as lost.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn revoke(&mut self, device_id: &str) -> Result<proto::DeviceState, Refused> {
        let request = proto::RevokeDeviceRequest {
            device_id: device_id.to_owned(),
            reason: proto::RevocationReason::Lost.into(),
            validate_only: false,
        };
        let answer = self.devices.revoke_device(request).await?.into_inner();
        Ok(answer.device.unwrap_or_default().state())
    }
}

impl From<Evidence> for proto::Evidence {
    fn from(evidence: Evidence) -> Self {
        let kind = match evidence {
            Evidence::Android { certificate_chain } => {
                proto::evidence::Kind::Android(proto::AndroidEvidence { certificate_chain })
            }
            Evidence::Apple {
                attestation_object,
                key_id,
                client_data,
            } => {
                let sent = proto::AppleEvidence {
                    attestation_object,
                    key_id,
                    client_data,
                };
                proto::evidence::Kind::Apple(sent)
            }
        };
        Self { kind: Some(kind) }
    }
}
