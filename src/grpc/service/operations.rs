//! OperationsService.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::watching::Messages;
use super::{Services, actor};
use crate::flow::reappraise_devices::{Finding, Run, STEP_PAUSE};
use crate::flow::run_drill::Drill;
use crate::flow::{Engine, Failure, erase_subject, export_subject, list_audit_events, run_drill};
use crate::grpc::proto::operations_service_server::OperationsService;
use crate::grpc::{proto, status, wire};
use crate::reason::Reason;

/// A message at least so often, as promised.
const MESSAGE_EVERY: Duration = Duration::from_secs(1);

/// Findings in one message, as promised.
const FINDINGS_MAX: usize = 100;

/// Messages that wait for a slow caller before the run waits as well.
const MESSAGES_WAITING_MAX: usize = 4;

type Message = Result<proto::ReappraiseDevicesResponse, Status>;

#[tonic::async_trait]
impl OperationsService for Services {
    type ReappraiseDevicesStream = Pin<Box<dyn Stream<Item = Message> + Send>>;

    /// The run is bounded by the devices there are and ends with its caller: the deadline of other
    /// requests is for the head of the answer, which is there at once.
    async fn reappraise_devices(
        &self,
        request: Request<proto::ReappraiseDevicesRequest>,
    ) -> Result<Response<Self::ReappraiseDevicesStream>, Status> {
        let by = actor(&request);
        let run = wire::reappraise_devices(request.get_ref(), by)
            .map_err(|failure| self.refuse(&failure))?;
        let slot = Arc::clone(&self.reappraisals).try_acquire_owned();
        let slot = slot.map_err(|_| status::status(Reason::Overloaded))?;
        let (messages, answer) = mpsc::channel(MESSAGES_WAITING_MAX);
        tokio::spawn(self.clone().reappraise(run, messages, slot));
        Ok(Response::new(Box::pin(ReceiverStream::new(answer))))
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

    async fn export_subject(
        &self,
        request: Request<proto::ExportSubjectRequest>,
    ) -> Result<Response<proto::ExportSubjectResponse>, Status> {
        let export = async {
            export_subject::run(&self.engine, wire::export_subject(request.get_ref())?).await
        };
        let export = export.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::exported(&self.engine, &export)))
    }

    async fn erase_subject(
        &self,
        request: Request<proto::EraseSubjectRequest>,
    ) -> Result<Response<proto::EraseSubjectResponse>, Status> {
        let by = actor(&request);
        let erased = async {
            erase_subject::run(&self.engine, wire::erase_subject(request.get_ref(), by)?).await
        };
        let erased = erased.await.map_err(|failure| self.refuse(&failure))?;
        Ok(Response::new(wire::erased(&erased)))
    }

    type RunDrillStream = Messages<proto::RunDrillResponse>;

    async fn run_drill(
        &self,
        request: Request<proto::RunDrillRequest>,
    ) -> Result<Response<Self::RunDrillStream>, Status> {
        let by = actor(&request);
        let drill = wire::run_drill(request.get_ref(), by)
            .and_then(|request| run_drill::begin(&self.engine, request))
            .map_err(|failure| self.refuse(&failure))?;
        let slot = Arc::clone(&self.drills).try_acquire_owned();
        let slot = slot.map_err(|_| status::status(Reason::Overloaded))?;
        let (messages, answer) = mpsc::channel(MESSAGES_WAITING_MAX);
        tokio::spawn(drill_on(Arc::clone(&self.engine), drill, messages, slot));
        Ok(Response::new(Box::pin(ReceiverStream::new(answer))))
    }
}

/// Drills to the end: when the caller goes away, what was written is still deleted.
async fn drill_on(
    engine: Arc<Engine>,
    mut drill: Drill,
    messages: mpsc::Sender<Result<proto::RunDrillResponse, Status>>,
    slot: OwnedSemaphorePermit,
) {
    while !drill.is_over() {
        for line in drill.step(&engine).await {
            let message = wire::drilled(line, drill.session());
            let sent = messages.send_timeout(Ok(message), MESSAGE_EVERY).await;
            if sent.is_err() {
                drill.abandon();
            }
        }
        if messages.is_closed() {
            drill.abandon();
        }
        tokio::time::sleep(drill.pause()).await;
    }
    drop(slot);
}

/// The caller went away.
struct Gone;

impl Services {
    /// Runs until the end, a failure, or the caller goes away.
    async fn reappraise(
        self,
        run: Run,
        messages: mpsc::Sender<Message>,
        slot: OwnedSemaphorePermit,
    ) {
        tokio::select! {
            () = messages.closed() => {}
            _ = self.tell(run, &messages) => {}
        }
        drop(slot);
    }

    async fn tell(&self, mut run: Run, messages: &mpsc::Sender<Message>) -> Result<(), Gone> {
        let mut second = tokio::time::interval(MESSAGE_EVERY);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let before = wire::Progress::of(&run);
            let counted = run.counts();
            let stepped = {
                let mut step = pin!(run.step(&self.engine));
                loop {
                    tokio::select! {
                        stepped = &mut step => break stepped,
                        _ = second.tick() => send(messages, before.unfinished(), Vec::new()).await?,
                    }
                }
            };
            self.metrics_of(&run, &counted);
            match stepped {
                Ok(findings) => tell_findings(messages, (&run, before), findings).await?,
                Err(failure) => return self.fail(messages, &failure).await,
            }
            if run.is_done() {
                break;
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
        if run.counts().not_durable > 0 {
            let failure = Failure::from(Reason::RevocationNotDurable);
            return self.fail(messages, &failure).await;
        }
        send(messages, wire::Progress::of(&run), Vec::new()).await
    }

    /// What only would be done is not counted as done.
    fn metrics_of(&self, run: &Run, before: &crate::session::Counts) {
        if !run.is_rehearsal() {
            self.metrics.reappraised(&run.counts().since(before));
        }
    }

    async fn fail(&self, messages: &mpsc::Sender<Message>, failure: &Failure) -> Result<(), Gone> {
        let refused = Err(self.refuse(failure));
        messages.send(refused).await.map_err(|_| Gone)
    }
}

/// What a step found, in messages of bounded length. Until the last of them another call would have to
/// go on where the step began, so that none of its findings is lost.
async fn tell_findings(
    messages: &mpsc::Sender<Message>,
    (run, before): (&Run, wire::Progress),
    mut findings: Vec<Finding>,
) -> Result<(), Gone> {
    let now = wire::Progress::of(run).unfinished();
    while findings.len() > FINDINGS_MAX {
        let rest = findings.split_off(FINDINGS_MAX);
        send(messages, now.resumed_where(before), findings).await?;
        findings = rest;
    }
    if findings.is_empty() {
        return Ok(());
    }
    send(messages, now, findings).await
}

async fn send(
    messages: &mpsc::Sender<Message>,
    progress: wire::Progress,
    findings: Vec<Finding>,
) -> Result<(), Gone> {
    let message = wire::reappraising(&progress, findings);
    messages.send(Ok(message)).await.map_err(|_| Gone)
}
