//! The controller's seat, and a broker's place among those that are there: both are nodes that live with the session.
//!
//! The seat is taken in one multi that raises the controller epoch, and every append checks that epoch's version: whoever held
//! the seat before can write nothing from then on, whatever it believes. Our own node of an earlier life (same data folder, whose
//! lock we hold, so that life is over) is removed in the same multi; another's never is.

use sluice_protocol::Uuid;

use super::coordinator::{Change, Lifetime, Node, ReadError, Refusal, Session, WriteError};
use super::znodes::{BROKER_IDS, CONTROLLER, CONTROLLER_EPOCH, Holder, Presence, broker_id, parse_epoch};

/// Tries while others change the same nodes, or outcomes stay unknown. Each try begins by reading how things are.
const TRIES: usize = 8;

/// The seat, as long as `/controller_epoch` has this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) epoch: i32,
    pub(super) epoch_version: i32,
}

/// Why the seat or the place was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TakeError {
    /// Another broker is there.
    #[error("broker {id} is there")]
    Another { id: i32 },
    /// A broker with our id and another data folder is there.
    #[error("broker {id} is there with another data folder")]
    SameId { id: i32 },
    /// What is there isn't ours to understand.
    #[error("{path} can't be read: {why}")]
    Unreadable { path: &'static str, why: String },
    /// The coordinator doesn't let us.
    #[error("the coordinator refuses {path}: {why}")]
    Denied { path: &'static str, why: String },
    /// The coordinator is away, or never settles.
    #[error("{why}")]
    Unavailable { why: String },
}

impl From<ReadError> for TakeError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { why: error.to_string() }
    }
}

/// Takes the seat in the next epoch, also when we hold it: what of our own earlier writes is still under way can't land then.
pub(super) async fn take(session: &dyn Session, id: i32, uuid: Uuid) -> Result<Seat, TakeError> {
    let mut tried: Option<i32> = None;
    for _ in 0..TRIES {
        session.sync().await?;
        let epoch = session.read(CONTROLLER_EPOCH).await?.ok_or_else(|| missing(CONTROLLER_EPOCH))?;
        let no_number = || TakeError::Unreadable { path: CONTROLLER_EPOCH, why: "no number".to_owned() };
        let known = parse_epoch(&epoch.data).ok_or_else(no_number)?;
        let held = session.read(CONTROLLER).await?;
        let mut changes = Vec::new();
        if let Some(node) = &held {
            let holder = Holder::decode(&node.data)
                .map_err(|error| TakeError::Unreadable { path: CONTROLLER, why: error.to_string() })?;
            if holder.id != id {
                return Err(TakeError::Another { id: holder.id });
            }
            if holder.uuid() != uuid {
                return Err(TakeError::SameId { id });
            }
            if is_ours(node, session) && tried == Some(known) && holder.epoch == known {
                return Ok(Seat { epoch: known, epoch_version: epoch.version });
            }
            changes.push(Change::Delete { path: CONTROLLER.to_owned(), version: node.version });
        }
        let next = known + 1;
        changes.push(Change::Create {
            path: CONTROLLER.to_owned(),
            data: Holder::new(id, uuid, next).encode(),
            lifetime: Lifetime::Session,
        });
        changes.push(Change::Set {
            path: CONTROLLER_EPOCH.to_owned(),
            data: next.to_string().into_bytes(),
            version: epoch.version,
        });
        if done(session.multi(changes).await, CONTROLLER)? {
            return Ok(Seat { epoch: next, epoch_version: epoch.version + 1 });
        }
        tried = Some(next);
    }
    Err(TakeError::Unavailable { why: "the controller's seat does not settle".to_owned() })
}

/// Says that this broker is there. Gives the epoch of its life: the same again while the session has its node.
pub(super) async fn be_present(session: &dyn Session, presence: &Presence) -> Result<i64, TakeError> {
    let path = broker_id(presence.id);
    for _ in 0..TRIES {
        session.sync().await?;
        let held = session.read(&path).await?;
        let mut changes = Vec::new();
        if let Some(node) = &held {
            if is_ours(node, session) {
                return Ok(node.created);
            }
            if decode(node)?.uuid() != presence.uuid() {
                return Err(TakeError::SameId { id: presence.id });
            }
            changes.push(Change::Delete { path: path.clone(), version: node.version });
        }
        changes.push(Change::Create { path: path.clone(), data: presence.encode(), lifetime: Lifetime::Session });
        // Done or not, the next reading says so, and in which life.
        done(session.multi(changes).await, BROKER_IDS)?;
    }
    Err(TakeError::Unavailable { why: "this broker's registration does not settle".to_owned() })
}

/// Brokers that are there, except `id` itself.
pub(super) async fn others(session: &dyn Session, id: i32) -> Result<Vec<i32>, TakeError> {
    session.sync().await?;
    let names = session.children(BROKER_IDS).await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).filter(|other| *other != id).collect())
}

fn is_ours(node: &Node, session: &dyn Session) -> bool {
    node.owner == Some(session.id())
}

fn decode(node: &Node) -> Result<Presence, TakeError> {
    Presence::decode(&node.data).map_err(|error| TakeError::Unreadable { path: BROKER_IDS, why: error.to_string() })
}

/// Whether it was done for sure. What was refused, or is unknown, is worth another look.
fn done(written: Result<(), WriteError>, path: &'static str) -> Result<bool, TakeError> {
    match written {
        Ok(()) => Ok(true),
        Err(WriteError::Refused { refusal: Refusal::Denied { why }, .. }) => Err(TakeError::Denied { path, why }),
        Err(WriteError::Refused { .. } | WriteError::OutcomeUnknown { .. }) => Ok(false),
        Err(error @ (WriteError::NotConnected | WriteError::TooLarge { .. })) => {
            Err(TakeError::Unavailable { why: error.to_string() })
        }
    }
}

fn missing(path: &'static str) -> TakeError {
    TakeError::Unreadable { path, why: "it is not there".to_owned() }
}
