//! OperationsService.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::flow::list_audit_events;
use crate::grpc::proto::operations_service_server::OperationsService;
use crate::grpc::{proto, wire};

#[tonic::async_trait]
impl OperationsService for Services {
    type ReappraiseDevicesStream =
        Pin<Box<dyn Stream<Item = Result<proto::ReappraiseDevicesResponse, Status>> + Send>>;

    async fn reappraise_devices(
        &self,
        _: Request<proto::ReappraiseDevicesRequest>,
    ) -> Result<Response<Self::ReappraiseDevicesStream>, Status> {
        Err(super::not_yet())
    }

    async fn list_audit_events(
        &self,
        request: Request<proto::ListAuditEventsRequest>,
    ) -> Result<Response<proto::ListAuditEventsResponse>, Status> {
        let found = async {
            list_audit_events::run(&self.engine, wire::list_audit_events(request.get_ref())?).await
        };
        let found = found.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::audit_events(&found)))
    }
}
