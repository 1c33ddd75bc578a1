//! DeviceService.

use tonic::{Request, Response, Status};

use super::{Services, actor, platform};
use crate::flow::{
    batch_revoke_devices, create_challenge, enrol_presence_key, find_devices, get_device,
    link_device_successor, list_devices, reattest_device, register_device, resume_device,
    revoke_device, rotate_device_key, suspend_device,
};
use crate::grpc::proto::device_service_server::DeviceService;
use crate::grpc::{proto, wire};

#[tonic::async_trait]
impl DeviceService for Services {
    async fn create_challenge(
        &self,
        request: Request<proto::CreateChallengeRequest>,
    ) -> Result<Response<proto::CreateChallengeResponse>, Status> {
        let challenge = wire::create_challenge(request.into_inner())
            .and_then(|request| create_challenge::run(&self.engine, &request))
            .map_err(|failure| self.refuse(&failure))?;
        Ok(self.answer(wire::challenge(challenge, self.engine.next_nonce())))
    }

    async fn register_device(
        &self,
        request: Request<proto::RegisterDeviceRequest>,
    ) -> Result<Response<proto::RegisterDeviceResponse>, Status> {
        let by = actor(&request);
        let sent = request.into_inner();
        let platform = platform(sent.evidence.as_ref());
        let registered =
            async { register_device::run(&self.engine, wire::register_device(sent, by)?).await };
        let registered = registered.await;
        if let Some(platform) = platform {
            let refused = registered.as_ref().err().map(|failure| failure.reason);
            self.metrics.verdict(platform, refused);
        }
        let registered = registered.map_err(|failure| self.refuse(&failure))?;
        self.note_monitored(&registered.appraisal.checks);
        self.note_key_rate(&registered.device, registered.above_rate.as_deref());
        let next_nonce = self.engine.next_nonce();
        Ok(self.answer(wire::registered(&self.engine, &registered, next_nonce)))
    }

    async fn get_device(
        &self,
        request: Request<proto::GetDeviceRequest>,
    ) -> Result<Response<proto::GetDeviceResponse>, Status> {
        let known =
            async { get_device::run(&self.engine, &wire::get_device(request.get_ref())?).await };
        let known = known.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::known(&self.engine, &known)))
    }

    async fn list_devices(
        &self,
        request: Request<proto::ListDevicesRequest>,
    ) -> Result<Response<proto::ListDevicesResponse>, Status> {
        let sent = request.get_ref();
        let page = async {
            let page = (sent.page_size, sent.page_token.as_str());
            let (subject, page) = wire::listing(&sent.subject, page)?;
            list_devices::run(&self.engine, &subject, page).await
        };
        let page = page.await.map_err(|failure| self.refuse(&failure))?;
        self.note_unreadable(&page);
        let (devices, next_page_token, unreadable) = wire::devices(&self.engine, &page);
        Ok(Response::new(proto::ListDevicesResponse {
            devices,
            next_page_token,
            unreadable_device_ids: unreadable,
        }))
    }

    async fn revoke_device(
        &self,
        request: Request<proto::RevokeDeviceRequest>,
    ) -> Result<Response<proto::RevokeDeviceResponse>, Status> {
        let by = actor(&request);
        let revoked = async {
            revoke_device::run(&self.engine, wire::revoke_device(request.get_ref(), by)?).await
        };
        let revoked = revoked.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::revoked(&self.engine, &revoked)))
    }

    async fn batch_revoke_devices(
        &self,
        request: Request<proto::BatchRevokeDevicesRequest>,
    ) -> Result<Response<proto::BatchRevokeDevicesResponse>, Status> {
        let by = actor(&request);
        let request = wire::batch_revoke_devices(request.get_ref(), by)
            .map_err(|failure| self.refuse(&failure))?;
        let revocations = batch_revoke_devices::run(&self.engine, request).await;
        for failure in revocations
            .iter()
            .filter_map(|one| one.outcome.as_ref().err())
        {
            Self::note(failure);
        }
        Ok(Response::new(wire::revocations(&revocations)))
    }

    async fn suspend_device(
        &self,
        request: Request<proto::SuspendDeviceRequest>,
    ) -> Result<Response<proto::SuspendDeviceResponse>, Status> {
        let by = actor(&request);
        let suspended = async {
            suspend_device::run(&self.engine, wire::suspend_device(request.get_ref(), by)?).await
        };
        let suspended = suspended.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::suspended(&self.engine, &suspended)))
    }

    async fn resume_device(
        &self,
        request: Request<proto::ResumeDeviceRequest>,
    ) -> Result<Response<proto::ResumeDeviceResponse>, Status> {
        let by = actor(&request);
        let device = async {
            resume_device::run(&self.engine, wire::resume_device(request.get_ref(), by)?).await
        };
        let device = device.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(proto::ResumeDeviceResponse {
            device: Some(wire::device(&self.engine, &device)),
        }))
    }

    async fn find_devices(
        &self,
        request: Request<proto::FindDevicesRequest>,
    ) -> Result<Response<proto::FindDevicesResponse>, Status> {
        let page =
            async { find_devices::run(&self.engine, wire::find_devices(request.get_ref())?).await };
        let page = page.await.map_err(|failure| self.refuse(&failure))?;
        self.note_unreadable(&page);
        let (devices, next_page_token, unreadable) = wire::devices(&self.engine, &page);
        Ok(Response::new(proto::FindDevicesResponse {
            devices,
            next_page_token,
            unreadable_device_ids: unreadable,
        }))
    }

    async fn reattest_device(
        &self,
        request: Request<proto::ReattestDeviceRequest>,
    ) -> Result<Response<proto::ReattestDeviceResponse>, Status> {
        let by = actor(&request);
        let sent = request.into_inner();
        let platform = platform(sent.evidence.as_ref());
        let reattested =
            async { reattest_device::run(&self.engine, wire::reattest_device(sent, by)?).await };
        let reattested = reattested.await;
        if let Some(platform) = platform {
            let refused = reattested.as_ref().err().map(|failure| failure.reason);
            self.metrics.verdict(platform, refused);
        }
        let reattested = reattested.map_err(|failure| self.refuse(&failure))?;
        self.note_monitored(&reattested.appraisal.checks);
        let renewed = &reattested.renewed;
        self.note_key_rate(&renewed.device, renewed.above_rate.as_deref());
        let next_nonce = self.engine.next_nonce();
        Ok(self.answer(wire::reattested(&self.engine, &reattested, next_nonce)))
    }

    async fn rotate_device_key(
        &self,
        request: Request<proto::RotateDeviceKeyRequest>,
    ) -> Result<Response<proto::RotateDeviceKeyResponse>, Status> {
        let by = actor(&request);
        let renewed = async {
            let request = wire::rotate_device_key(request.into_inner(), by)?;
            rotate_device_key::run(&self.engine, request).await
        };
        let renewed = renewed.await.map_err(|failure| self.refuse(&failure))?;
        self.note_key_rate(&renewed.device, renewed.above_rate.as_deref());
        let next_nonce = self.engine.next_nonce();
        Ok(self.answer(wire::renewed(&self.engine, &renewed, next_nonce)))
    }

    async fn link_device_successor(
        &self,
        request: Request<proto::LinkDeviceSuccessorRequest>,
    ) -> Result<Response<proto::LinkDeviceSuccessorResponse>, Status> {
        let by = actor(&request);
        let linked = async {
            let request = wire::link_device_successor(request.get_ref(), by)?;
            link_device_successor::run(&self.engine, request).await
        };
        let linked = linked.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::linked(&self.engine, &linked)))
    }

    async fn enrol_presence_key(
        &self,
        request: Request<proto::EnrolPresenceKeyRequest>,
    ) -> Result<Response<proto::EnrolPresenceKeyResponse>, Status> {
        let by = actor(&request);
        let enrolled = async {
            let request = wire::enrol_presence_key(request.into_inner(), by)?;
            enrol_presence_key::run(&self.engine, request).await
        };
        let enrolled = enrolled.await.map_err(|failure| self.refuse(&failure))?;
        let next_nonce = self.engine.next_nonce();
        Ok(self.answer(wire::enrolled(&self.engine, &enrolled, next_nonce)))
    }
}
