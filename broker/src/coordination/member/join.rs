//! From a session to a replayed log: the cluster is there, and ours, and what an earlier life of this broker left in it is gone.

use sluice_protocol::Uuid;

use super::super::coordinator::Session;
use super::super::founding::{FoundError, cluster_id};
use super::super::metadata_log::{CatchUpError, MetadataLog};
use super::super::seat::{TakeError, clear_leftovers};
use super::super::{Halt, Joined};
use super::{Member, Over, random_bytes};

impl Member {
    /// Replays all that is there. Nothing is made but a cluster, where there is none and the data folder is new.
    pub(super) async fn join(&mut self, session: &dyn Session, log: &mut MetadataLog) -> Result<(), Over> {
        let (identity, seen) = (self.identity.clone(), self.seen.place());
        let is_new = self.joining.is_some();
        let joined = async {
            let cluster_id = found(session, identity.cluster_id.as_deref()).await?;
            if is_new {
                clear_leftovers(session, identity.id, identity.uuid).await?;
            }
            log.catch_up(seen).await?;
            match log.image().cluster_id() {
                Some(log) if log != cluster_id => {
                    let found = Some(log.to_owned());
                    Err(Over::Halt(Halt::OtherCluster { data: cluster_id, found }))
                }
                _ => Ok(cluster_id),
            }
        };
        let cluster_id = self.connected(session, joined).await?;
        self.publish(log)?;
        self.config.peers.speak_as(&cluster_id, self.presence.life_in(session));
        self.identity.cluster_id = Some(cluster_id.clone());
        if let Some(joining) = self.joining.take() {
            self.said = None;
            // Nobody waits for it any more: then the handles are gone, and this ends at once.
            let _ = joining.reply.send(Ok(Joined { cluster_id }));
        }
        Ok(())
    }
}

async fn found(session: &dyn Session, data: Option<&str>) -> Result<String, Over> {
    let found = match cluster_id(session, random_id(), data.is_some()).await {
        Ok(found) => Some(found),
        Err(FoundError::None) => None,
        Err(FoundError::Unavailable { why }) => return Err(Over::Doubt(why)),
        Err(error @ (FoundError::Unreadable | FoundError::Denied { .. })) => {
            return Err(Over::Halt(Halt::Coordinator { why: error.to_string() }));
        }
    };
    match (data, found) {
        (None, Some(found)) => Ok(found),
        (Some(data), Some(found)) if data == found => Ok(found),
        (data, found) => Err(Over::Halt(Halt::OtherCluster { data: data.unwrap_or_default().to_owned(), found })),
    }
}

fn random_id() -> Uuid {
    let mut bytes = random_bytes();
    // As for topics: no id begins with '-' in text.
    bytes[0] &= 0x7f;
    Uuid(bytes)
}

impl From<TakeError> for Over {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::SameId { id } => Self::Halt(Halt::IdInUse { id }),
            TakeError::Unreadable { .. } | TakeError::Denied { .. } => {
                Self::Halt(Halt::Coordinator { why: error.to_string() })
            }
            TakeError::Unavailable { why } => Self::Doubt(why),
        }
    }
}

impl From<CatchUpError> for Over {
    fn from(error: CatchUpError) -> Self {
        match error {
            CatchUpError::Unavailable(error) => Self::Doubt(error.to_string()),
            CatchUpError::Log(error) => Self::Halt(Halt::Log(error)),
        }
    }
}

impl From<Halt> for Over {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}
