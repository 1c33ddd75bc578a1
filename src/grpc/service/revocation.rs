//! RevocationService.

use tonic::{Request, Response, Status};

use super::watching::Messages;
use super::{Services, actor};
use crate::flow::{
    ack_revocations, confirm_revocations, preview_revocation, revoke_consent, revoke_subject,
    set_not_before, watch_revocations,
};
use crate::grpc::proto::revocation_service_server::RevocationService;
use crate::grpc::{proto, status, wire};
use crate::id::BUCKETS;
use crate::reason::Reason;

#[tonic::async_trait]
impl RevocationService for Services {
    async fn revoke_subject(
        &self,
        request: Request<proto::RevokeSubjectRequest>,
    ) -> Result<Response<proto::RevokeSubjectResponse>, Status> {
        let by = actor(&request);
        let receipt = async {
            let request = wire::revoke_subject(request.get_ref(), by)?;
            revoke_subject::run(&self.engine, request).await
        };
        let receipt = receipt.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::revoked_subject(&receipt)))
    }

    async fn revoke_consent(
        &self,
        request: Request<proto::RevokeConsentRequest>,
    ) -> Result<Response<proto::RevokeConsentResponse>, Status> {
        let by = actor(&request);
        let receipt = async {
            let request = wire::revoke_consent(request.get_ref(), by)?;
            revoke_consent::run(&self.engine, request).await
        };
        let receipt = receipt.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::revoked_consent(&receipt)))
    }

    async fn set_not_before(
        &self,
        request: Request<proto::SetNotBeforeRequest>,
    ) -> Result<Response<proto::SetNotBeforeResponse>, Status> {
        let by = actor(&request);
        let answer = async {
            let request = wire::set_not_before(request.into_inner(), by)?;
            set_not_before::run(&self.engine, request).await
        };
        let answer = answer.await.map_err(|failure| self.refuse(&failure))?;
        let message = wire::not_before(answer).map_err(|(failure, done)| {
            Self::note(&failure);
            let numbers = [("buckets_done", done), ("buckets", BUCKETS)];
            let numbers = numbers.map(|(name, number)| (name, number.to_string()));
            status::status_with(failure.reason, numbers)
        })?;
        Ok(Response::new(message))
    }

    async fn preview_revocation(
        &self,
        request: Request<proto::PreviewRevocationRequest>,
    ) -> Result<Response<proto::PreviewRevocationResponse>, Status> {
        let preview = async {
            let scope = wire::preview_revocation(request.get_ref())?;
            preview_revocation::run(&self.engine, scope).await
        };
        let preview = preview.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::preview(&preview)))
    }

    type WatchRevocationsStream = Messages<proto::WatchRevocationsResponse>;

    async fn watch_revocations(
        &self,
        request: Request<proto::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let by = actor(&request);
        let request = wire::watch_revocations(request.get_ref(), &by)
            .map_err(|failure| self.refuse(&failure))?;
        let place = self.streams.place(by.as_str());
        let place = place.ok_or_else(|| status::status(Reason::Overloaded))?;
        let watch = watch_revocations::begin(&self.engine, request)
            .map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(self.follow(watch, place)?))
    }

    async fn ack_revocations(
        &self,
        request: Request<proto::AckRevocationsRequest>,
    ) -> Result<Response<proto::AckRevocationsResponse>, Status> {
        let by = actor(&request);
        wire::ack_revocations(request.get_ref(), &by)
            .and_then(|request| ack_revocations::run(&self.engine, &request))
            .map_err(|failure| self.refuse(&failure))?;
        self.keep_watchers_soon();
        Ok(Response::new(proto::AckRevocationsResponse {}))
    }

    type ConfirmRevocationsStream = Messages<proto::ConfirmRevocationsResponse>;

    async fn confirm_revocations(
        &self,
        request: Request<proto::ConfirmRevocationsRequest>,
    ) -> Result<Response<Self::ConfirmRevocationsStream>, Status> {
        let wait_for = wire::confirm_revocations(request.get_ref())
            .map_err(|failure| self.refuse(&failure))?;
        let slot = self.confirmation_slot()?;
        let asked = confirm_revocations::begin(&self.engine).await;
        let asked = asked.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(self.confirm(asked, wait_for, slot)?))
    }
}
