//! VerificationService.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{Services, actor};
use crate::flow::{Failure, introspect_token, verify_request};
use crate::grpc::proto::verification_service_server::VerificationService;
use crate::grpc::{proto, wire};

/// How long the key set may be cached: a new signing key is published this long before it is used.
const JWKS_CACHE_FOR: Duration = Duration::from_secs(300);

#[tonic::async_trait]
impl VerificationService for Services {
    async fn verify_request(
        &self,
        request: Request<proto::VerifyRequestRequest>,
    ) -> Result<Response<proto::VerifyRequestResponse>, Status> {
        let by = actor(&request);
        let decided = async {
            let request = wire::verify_request(request.into_inner(), by)?;
            let required = request.required.clone();
            let decision = verify_request::run(&self.engine, request).await?;
            Ok::<_, Failure>((decision, required))
        };
        let (decision, required) = decided.await.map_err(|failure| self.refuse(&failure))?;
        let refused = decision.verdict.as_ref().err().copied();
        let decision = Some(wire::decision(
            &decision,
            &required,
            self.engine.next_nonce(),
            self.engine.clock.now(),
        ));
        let answer = self.answer(proto::VerifyRequestResponse { decision });
        Ok(Self::with_verdict(answer, refused))
    }

    async fn introspect_token(
        &self,
        request: Request<proto::IntrospectTokenRequest>,
    ) -> Result<Response<proto::IntrospectTokenResponse>, Status> {
        let by = actor(&request);
        let claims = async {
            let token = wire::introspect_token(request.into_inner())?;
            introspect_token::run(&self.engine, &token, &by).await
        };
        let claims = claims.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::introspection(claims.as_ref())))
    }

    async fn get_jwks(
        &self,
        _: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        Ok(Response::new(proto::GetJwksResponse {
            jwks_json: self.engine.keyring.jwks().to_owned(),
            cache_for: Some(wire::duration(JWKS_CACHE_FOR)),
        }))
    }
}
