//! SessionService.

use tonic::{Request, Response, Status};

use super::{Services, actor, refresh_outcome};
use crate::flow::{
    elevate_session, end_session, get_session, issue_session, list_sessions, refresh_session,
    revoke_session, rotate_session,
};
use crate::grpc::proto::session_service_server::SessionService;
use crate::grpc::{proto, wire};

#[tonic::async_trait]
impl SessionService for Services {
    async fn issue_session(
        &self,
        request: Request<proto::IssueSessionRequest>,
    ) -> Result<Response<proto::IssueSessionResponse>, Status> {
        let by = actor(&request);
        let grant = async {
            let request = wire::issue_session(request.into_inner(), by)?;
            issue_session::run(&self.engine, request).await
        };
        let grant = grant.await.map_err(|failure| self.refuse(&failure))?;
        let grant = Some(wire::grant(&grant, self.engine.next_nonce()));
        Ok(self.answer(proto::IssueSessionResponse { grant }))
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Result<Response<proto::RefreshSessionResponse>, Status> {
        let by = actor(&request);
        let refreshed = async {
            let request = wire::refresh_session(request.into_inner(), by)?;
            refresh_session::run(&self.engine, request).await
        };
        let refreshed = refreshed.await;
        self.metrics.refresh(refresh_outcome(&refreshed));
        let refreshed = refreshed.map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::refreshed(&refreshed, self.engine.next_nonce())))
    }

    async fn elevate_session(
        &self,
        request: Request<proto::ElevateSessionRequest>,
    ) -> Result<Response<proto::ElevateSessionResponse>, Status> {
        let by = actor(&request);
        let elevated = async {
            let request = wire::elevate_session(request.into_inner(), by)?;
            elevate_session::run(&self.engine, request).await
        };
        let elevated = elevated.await.map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::elevated(&elevated, self.engine.next_nonce())))
    }

    async fn rotate_session(
        &self,
        request: Request<proto::RotateSessionRequest>,
    ) -> Result<Response<proto::RotateSessionResponse>, Status> {
        let by = actor(&request);
        let rotated = async {
            let request = wire::rotate_session(request.into_inner(), by)?;
            rotate_session::run(&self.engine, request).await
        };
        let rotated = rotated.await.map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::rotated_session(&rotated, self.engine.next_nonce())))
    }

    async fn end_session(
        &self,
        request: Request<proto::EndSessionRequest>,
    ) -> Result<Response<proto::EndSessionResponse>, Status> {
        let by = actor(&request);
        let ended = async {
            let request = wire::end_session(request.into_inner())?;
            end_session::run(&self.engine, request, &by).await
        };
        ended.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(proto::EndSessionResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let sent = request.get_ref();
        let page = async {
            let page = (sent.page_size, sent.page_token.as_str());
            let (subject, page) = wire::listing(&sent.subject, page)?;
            list_sessions::run(&self.engine, &subject, page).await
        };
        let page = page.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::sessions(&page)))
    }

    async fn get_session(
        &self,
        request: Request<proto::GetSessionRequest>,
    ) -> Result<Response<proto::GetSessionResponse>, Status> {
        let found =
            async { get_session::run(&self.engine, &wire::get_session(request.get_ref())?).await };
        let found = found.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::found_session(&found)))
    }

    async fn revoke_session(
        &self,
        request: Request<proto::RevokeSessionRequest>,
    ) -> Result<Response<proto::RevokeSessionResponse>, Status> {
        let by = actor(&request);
        let revoked = async {
            let request = wire::revoke_session(request.get_ref(), by)?;
            revoke_session::run(&self.engine, request).await
        };
        let revoked = revoked.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::revoked_session(&revoked)))
    }
}
