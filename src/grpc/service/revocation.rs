//! RevocationService.

use tonic::{Request, Response, Status};

use super::{Services, actor};
use crate::flow::revoke_subject;
use crate::grpc::proto::revocation_service_server::RevocationService;
use crate::grpc::{proto, wire};

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
}
