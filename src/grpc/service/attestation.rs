//! AttestationService.

use tonic::{Request, Response, Status};

use super::Services;
use crate::flow::{appraise_evidence, get_trust_status};
use crate::grpc::proto::attestation_service_server::AttestationService;
use crate::grpc::{proto, wire};

#[tonic::async_trait]
impl AttestationService for Services {
    async fn appraise_evidence(
        &self,
        request: Request<proto::AppraiseEvidenceRequest>,
    ) -> Result<Response<proto::AppraiseEvidenceResponse>, Status> {
        let appraisal = wire::appraise_evidence(request.into_inner())
            .and_then(|request| appraise_evidence::run(&self.engine, request))
            .map_err(|failure| self.refuse(&failure))?;
        let refused = appraisal.verdict.as_ref().err();
        let refused = refused.map(|rejection| rejection.reason);
        let appraisal = Some(wire::appraisal(&appraisal));
        let answer = Response::new(proto::AppraiseEvidenceResponse { appraisal });
        Ok(Self::with_verdict(answer, refused))
    }

    async fn get_trust_status(
        &self,
        _: Request<proto::GetTrustStatusRequest>,
    ) -> Result<Response<proto::GetTrustStatusResponse>, Status> {
        let status = get_trust_status::run(&self.engine).await;
        Ok(Response::new(wire::trust_status(&status)))
    }
}
