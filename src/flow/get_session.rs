//! GetSession: a session, and whether it may be used.

use super::state::Place;
use super::{Engine, Failure};
use crate::id::SessionId;
use crate::reason::Reason;
use crate::session::{Refusal, Session};
use crate::store::keys;

/// The answer.
#[derive(Debug, Clone)]
pub struct Found {
    /// The session.
    pub session: Session,
    /// Whether its holder would be let in now.
    pub standing: Result<(), Refusal>,
    /// Whether nothing has cut it: it may be used, or may again once its app is enabled and its device
    /// resumed.
    pub may_come_back: bool,
}

/// One session. Two trips to the store. It is found for a day after its time, too.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, id: &SessionId) -> Result<Found, Failure> {
    let now = engine.clock.now();
    let loaded = engine.load_one::<Session>(keys::session(id)).await?;
    let session = loaded.value.ok_or(Reason::ResourceNotFound)?;
    let place = Place {
        device: session.device,
        subject: engine.keyring.subject_tag(&session.subject),
    };
    let (state, _) = engine.load(place, None).await?;
    let app = engine.standing(&session.app);
    let around = state.surroundings(app);
    Ok(Found {
        standing: around.check(&session, now),
        may_come_back: around.may_come_back(&session, now),
        session,
    })
}
