//! One exchange: the request with its token, the answer, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Uri};

use crate::attestation::apple::Environment;
use crate::attestation::apple::receipt::refresh::{
    Answer, Holder, Reply, Request, Step, next, read,
};
use crate::flow::{Engine, Failure, HeldReceipt, RECEIPT_LEASE_FOR, keep_receipt, receipt_jitter};
use crate::outbound::{self, Call, Outbound};
use crate::policy::Posture;
use crate::session::Device;
use crate::time::Timestamp;
use crate::token::device_check::DeviceCheckKey;
use crate::token::keyring::SigningFailed;

/// How long an exchange may take. Shorter than [`receipt::LEASE_FOR`].
const EXCHANGE_FOR_MAX: Duration = Duration::from_secs(30);

/// Largest body that is read. A receipt has a few kilobytes; errors may come as a page.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(EXCHANGE_FOR_MAX.as_secs() < RECEIPT_LEASE_FOR.as_secs());

/// What an exchange needs to know.
#[derive(Clone)]
pub(super) struct Exchanging {
    pub(super) engine: Arc<Engine>,
    pub(super) outbound: Outbound,
    pub(super) key: Arc<DeviceCheckKey>,
    pub(super) app_id: String,
    pub(super) url: Option<String>,
}

/// What an exchange tells of the app's standing with Apple.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    pub(super) next_at: Option<Timestamp>,
}

/// Why a receipt could not be exchanged, other than by Apple's doing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Flow(#[from] Failure),
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    #[error("the address or a header of the request has no valid form")]
    Form,
}

impl From<http::uri::InvalidUri> for ExchangeError {
    fn from(_: http::uri::InvalidUri) -> Self {
        Self::Form
    }
}

impl From<http::header::InvalidHeaderValue> for ExchangeError {
    fn from(_: http::header::InvalidHeaderValue) -> Self {
        Self::Form
    }
}

/// Where the device's key comes from; `None` when the device is none of Apple's.
pub(super) const fn environment(device: &Device) -> Option<Environment> {
    match &device.posture {
        Posture::Apple(posture) => posture.environment,
        Posture::Android(_) => None,
    }
}

impl Exchanging {
    pub(super) async fn exchange(self, held: HeldReceipt) -> Result<Exchanged, ExchangeError> {
        let sent_at = self.engine.clock.now();
        let environment = environment(&held.device).ok_or(ExchangeError::Form)?;
        let Step::Send(request) = held.record.step(environment, sent_at) else {
            return Err(ExchangeError::Form);
        };
        let call = self.call(request, sent_at)?;
        let answer = self.outbound.call(call).await;
        let now = self.engine.clock.now();
        let holder = Holder {
            app_id: &self.app_id,
            key: &held.device.key,
            environment,
            roots: &self.engine.roots.apple,
        };
        let answer = match &answer {
            Ok(answer) => read(reply(answer), &held.record, holder, now),
            Err(_) => Answer::Unavailable(None),
        };
        let new = next(held.record.clone(), &answer, now, receipt_jitter()?);
        keep_receipt(&self.engine, &held, &new).await?;
        let next_at = new.due_at();
        Ok(Exchanged { answer, next_at })
    }

    fn call(&self, request: Request, now: Timestamp) -> Result<Call, ExchangeError> {
        let mut headers = HeaderMap::new();
        let token = self.key.authorization(now)?;
        let mut token = HeaderValue::from_str(token.expose())?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let agent = concat!("assay/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let url = self.url.as_deref().unwrap_or(request.url);
        Ok(Call {
            method: Method::POST,
            url: url.parse::<Uri>()?,
            headers,
            body: request.body.into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
            within: EXCHANGE_FOR_MAX,
        })
    }
}

fn reply(answer: &outbound::Answer) -> Reply<'_> {
    let retry_after = answer.headers.get(RETRY_AFTER);
    Reply {
        status: answer.status.as_u16(),
        body: &answer.body,
        retry_after: retry_after.and_then(|value| value.to_str().ok()),
    }
}
