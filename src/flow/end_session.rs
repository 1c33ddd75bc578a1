//! EndSession: logout. It answers the same whatever it found (RFC 7009, 2.2).

use super::settle::settle;
use super::state::{Changes, keep_for};
use super::{Engine, Failure};
use crate::id::SessionId;
use crate::secret::Secret;
use crate::session::{Actor, EndReason, EventKind, Session, end};
use crate::store::{Durability, keys};
use crate::token::refresh;

/// The request.
#[derive(Debug, Clone)]
pub enum EndSession {
    /// By refresh token, current or not, but for one that RotateSession has made void.
    Token(Secret<String>),
    /// By id.
    Id(SessionId),
}

/// Ends a session. Two trips to the store.
///
/// # Errors
/// `CONFLICT`, `STATE_STORE_UNAVAILABLE`. A token or id that leads nowhere is no error.
pub async fn run(engine: &Engine, request: EndSession, by: &Actor) -> Result<(), Failure> {
    let now = engine.clock.now();
    let (id, token) = match &request {
        EndSession::Id(id) => (*id, None),
        EndSession::Token(text) => match refresh::parse(text.expose()) {
            Ok(token) => (token.claimed_session(), Some(token)),
            Err(_) => return Ok(()),
        },
    };
    settle(|| async {
        let loaded = engine.load_one::<Session>(keys::session(&id)).await?;
        let Some(session) = &loaded.value else {
            return Ok(Some(()));
        };
        // Whoever logs out need not hold the key, but the token has to be one we made for it, and not
        // void since.
        if let Some(token) = &token {
            let token = token.verify(&engine.keyring, &session.session_key, now);
            if !token.is_ok_and(|token| !session.is_cut_from(token.claims().generation)) {
                return Ok(Some(()));
            }
        }
        let why = EndReason::LoggedOut;
        let ended = end(session, why, now);
        if ended == *session {
            return Ok(Some(()));
        }
        let changes = Changes {
            items: vec![loaded.put(engine, &ended, Some(keep_for(&ended, now)))?],
            events: vec![ended.event(EventKind::SessionEnded, why.as_str(), by, now)],
            ..Changes::default()
        };
        let done = engine
            .commit(id.bucket(), changes, Durability::Local)
            .await?;
        Ok(done.map(|_| ()))
    })
    .await
}
