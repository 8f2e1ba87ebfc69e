//! The controller's seat, and a broker's place among those that are there: both are nodes that live with the session.
//!
//! The seat is taken in one multi that raises the controller epoch, and every append checks that epoch's version: whoever held
//! the seat before can write nothing from then on, whatever it believes. Who holds it is removed in the same multi in two cases:
//! it is an earlier life of ours (same data folder, whose lock we hold, so that life is over), or there is evidence that its
//! process is gone. Should the evidence mislead, the one removed can write nothing, and hears of it.

use futures::future::try_join_all;
use sluice_protocol::Uuid;

use super::coordinator::{Change, Lifetime, Node, ReadError, Refusal, Session, Watch, WriteError};
use super::znodes::{BROKER_IDS, CONTROLLER, CONTROLLER_EPOCH, Holder, Presence, broker_id, parse_epoch};

/// Tries while others change the same nodes, or outcomes stay unknown. Each try begins by reading how things are.
const TRIES: usize = 8;

/// The seat, as long as `/controller_epoch` has this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) epoch: i32,
    pub(super) epoch_version: i32,
}

/// What came of trying to take the seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contest {
    /// It is ours.
    Taken(Seat),
    /// It is another's.
    Held(Holder),
}

/// Why the seat or the place was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TakeError {
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

/// Takes the seat if nobody holds it, in the next epoch; also when we hold it, since what of our own earlier writes is still
/// under way can't land then. `deposed` is a holder to be removed.
pub(super) async fn contest(
    session: &dyn Session,
    id: i32,
    uuid: Uuid,
    deposed: Option<&Holder>,
) -> Result<Contest, TakeError> {
    let mut tried: Option<i32> = None;
    for _ in 0..TRIES {
        session.sync().await?;
        let epoch = session.read(CONTROLLER_EPOCH).await?.ok_or_else(|| missing(CONTROLLER_EPOCH))?;
        let no_number = || TakeError::Unreadable { path: CONTROLLER_EPOCH, why: "no number".to_owned() };
        let known = parse_epoch(&epoch.data).ok_or_else(no_number)?;
        let held = session.read(CONTROLLER).await?;
        let mut changes = Vec::new();
        if let Some(node) = &held {
            let holder = holder(node)?;
            let is_own = (holder.id, holder.uuid()) == (id, uuid);
            if is_own && is_ours(node, session) && tried == Some(known) && holder.epoch == known {
                return Ok(Contest::Taken(Seat { epoch: known, epoch_version: epoch.version }));
            }
            if !is_own && deposed != Some(&holder) {
                return Ok(Contest::Held(holder));
            }
            changes.push(Change::Delete { path: CONTROLLER.to_owned(), version: node.version });
        }
        let next = known.checked_add(1).ok_or_else(|| TakeError::Unreadable {
            path: CONTROLLER_EPOCH,
            why: format!("no epoch comes after {known}"),
        })?;
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
            return Ok(Contest::Taken(Seat { epoch: next, epoch_version: epoch.version + 1 }));
        }
        tried = Some(next);
    }
    Err(TakeError::Unavailable { why: "the controller's seat does not settle".to_owned() })
}

/// Who holds the seat, and a watch that fires when that may have changed.
pub(super) async fn look(session: &dyn Session) -> Result<(Option<Held>, Watch), TakeError> {
    let (node, watch) = session.read_and_watch(CONTROLLER).await?;
    let held = node.map(|node| Ok::<_, TakeError>(Held { holder: holder(&node)?, ours: is_ours(&node, session) }));
    Ok((held.transpose()?, watch))
}

/// The seat as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) holder: Holder,
    /// By this very session.
    pub(super) ours: bool,
}

/// Whether a broker with our id and another data folder is there.
pub(super) async fn check_id(session: &dyn Session, id: i32, uuid: Uuid) -> Result<(), TakeError> {
    session.sync().await?;
    match session.read(&broker_id(id)).await? {
        Some(node) if decode(&node)?.uuid() != uuid => Err(TakeError::SameId { id }),
        _ => Ok(()),
    }
}

/// Takes away what an earlier life of ours left behind, so that nobody waits for its session to end while this one opens its logs.
pub(super) async fn clear_leftovers(session: &dyn Session, id: i32, uuid: Uuid) -> Result<(), TakeError> {
    session.sync().await?;
    let path = broker_id(id);
    let mut leftovers = Vec::new();
    if let Some(node) = session.read(&path).await?.filter(|node| !is_ours(node, session)) {
        let is_own = Presence::decode(&node.data).is_ok_and(|presence| presence.uuid() == uuid);
        leftovers.extend(is_own.then_some(Change::Delete { path, version: node.version }));
    }
    if let Some(node) = session.read(CONTROLLER).await?.filter(|node| !is_ours(node, session)) {
        let is_own = Holder::decode(&node.data).is_ok_and(|held| (held.id, held.uuid()) == (id, uuid));
        leftovers.extend(is_own.then(|| Change::Delete { path: CONTROLLER.to_owned(), version: node.version }));
    }
    if !leftovers.is_empty() {
        // Done, or gone meanwhile, or unknown: a session that has ended takes them away as well.
        done(session.multi(leftovers).await, BROKER_IDS)?;
    }
    Ok(())
}

/// Says that this broker is there. Gives the epoch of its life: the same again while the session has its node, unless that life
/// is `over`. A node in its place that this session did not make is replaced if it is an earlier life's; after a life of this
/// very session it is no earlier one's, but that of a copy of our data folder.
pub(super) async fn be_present(
    session: &dyn Session,
    presence: &Presence,
    over: Option<i64>,
) -> Result<i64, TakeError> {
    let path = broker_id(presence.id);
    for _ in 0..TRIES {
        session.sync().await?;
        let held = session.read(&path).await?;
        let mut changes = Vec::new();
        if let Some(node) = &held {
            if is_ours(node, session) && Some(node.created) != over {
                return Ok(node.created);
            }
            let is_copy = over.is_some() && !is_ours(node, session);
            if is_copy || decode(node)?.uuid() != presence.uuid() {
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

/// The brokers that are there, each with the epoch of its life, and a watch that fires when one comes or goes.
pub(super) async fn present(session: &dyn Session) -> Result<(Vec<(Presence, i64)>, Watch), TakeError> {
    let (names, watch) = session.children_and_watch(BROKER_IDS).await?;
    let nodes = names.iter().map(|name| async move { session.read(&format!("{BROKER_IDS}/{name}")).await });
    let mut present = Vec::new();
    // Gone between the two: the watch says so.
    for node in try_join_all(nodes).await?.into_iter().flatten() {
        match decode(&node) {
            Ok(presence) => present.push((presence, node.created)),
            // Of a version that we don't know: as if it weren't there, which is safe.
            Err(error) => tracing::warn!("a broker is there that can't be registered: {error}"),
        }
    }
    Ok((present, watch))
}

fn holder(node: &Node) -> Result<Holder, TakeError> {
    Holder::decode(&node.data).map_err(|error| TakeError::Unreadable { path: CONTROLLER, why: error.to_string() })
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
