//! The network between phones and the service, which loses requests and answers.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

use super::scale::Dice;

/// The longest a call that is cut off was under way.
const CUT_WITHIN_MICROS: u64 = 5000;
/// The longest a request is late.
const LATE_WITHIN_MILLIS: u64 = 30;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Carried,
    NeverSent,
    AnswerLost,
    /// The caller hangs up while it is under way.
    CutOff,
    /// The caller hears nothing and goes on; the request arrives later.
    Late,
}

/// How bad it is, for everybody at once.
#[derive(Debug)]
pub(super) struct Network {
    /// Of a hundred requests, and of a hundred answers, so many are lost.
    percent: AtomicU64,
    lost: AtomicU64,
    dice: Mutex<Dice>,
}

type Lost = Box<dyn std::error::Error + Send + Sync>;

impl Network {
    pub(super) fn new(dice: &mut Dice, percent: u64) -> Arc<Self> {
        Arc::new(Self {
            percent: AtomicU64::new(percent),
            lost: AtomicU64::new(0),
            dice: Mutex::new(dice.split()),
        })
    }

    /// Calls of which the caller heard nothing.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    fn fate(&self) -> (Fate, u64) {
        let percent = self.percent.load(Ordering::SeqCst);
        let mut dice = self.dice.lock().unwrap();
        let (request, answer) = (dice.percent(percent), dice.percent(percent));
        let (kind, span) = (dice.below(3), dice.below(u64::MAX));
        drop(dice);
        let fate = match (request, answer, kind) {
            (true, _, 0) => Fate::Late,
            (true, ..) => Fate::NeverSent,
            (false, true, 0) => Fate::CutOff,
            (false, true, _) => Fate::AnswerLost,
            (false, false, _) => Fate::Carried,
        };
        if fate != Fate::Carried {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        (fate, span)
    }
}

/// A connection over that network.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) network: Arc<Network>,
}

impl Service<http::Request<Body>> for Line {
    type Response = http::Response<Body>;
    type Error = Lost;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Lost>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (fate, span) = self.network.fate();
        if fate == Fate::NeverSent {
            return Box::pin(async { Err("the request was lost".into()) });
        }
        let call = self.channel.call(request);
        Box::pin(async move {
            match fate {
                Fate::Late => {
                    tokio::spawn(async move {
                        let late = Duration::from_millis(span % LATE_WITHIN_MILLIS);
                        tokio::time::sleep(late).await;
                        let _ = call.await;
                    });
                    Err("no answer in time".into())
                }
                Fate::CutOff => {
                    let within = Duration::from_micros(span % CUT_WITHIN_MICROS);
                    let _ = tokio::time::timeout(within, call).await;
                    Err("the connection was cut".into())
                }
                Fate::AnswerLost => {
                    let _ = call.await;
                    Err("the answer was lost".into())
                }
                Fate::Carried | Fate::NeverSent => Ok(call.await?),
            }
        })
    }
}
