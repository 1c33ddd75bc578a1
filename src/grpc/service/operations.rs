//! OperationsService.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::grpc::proto;
use crate::grpc::proto::operations_service_server::OperationsService;

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
        _: Request<proto::ListAuditEventsRequest>,
    ) -> Result<Response<proto::ListAuditEventsResponse>, Status> {
        Err(super::not_yet())
    }
}
