//! The first nodes of a cluster. The id, the first epoch and the empty log appear in one multi, so that a cluster has all of them
//! or none; brokers that start at once agree on whose came first.

use sluice_cluster::metadata::batch::Head;
use sluice_protocol::Uuid;

use super::coordinator::{Change, Lifetime, ReadError, Refusal, Session, WriteError};
use super::znodes::{CLUSTER_ID, CONTROLLER_EPOCH, FOLDERS, META_HEAD};

/// Tries while others found the same cluster, or outcomes stay unknown.
const TRIES: usize = 8;

/// Why there is no cluster to join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FoundError {
    /// There is no cluster, and the caller's data is of one.
    #[error("the coordinator has no cluster")]
    None,
    /// The id is no text.
    #[error("/cluster/id is not text")]
    Unreadable,
    /// The coordinator doesn't let us.
    #[error("the coordinator refuses {path}: {why}")]
    Denied { path: String, why: String },
    /// The coordinator is away, or never settles.
    #[error("{why}")]
    Unavailable { why: String },
}

impl From<ReadError> for FoundError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable { why: error.to_string() }
    }
}

/// The id of the cluster; one is founded with the id `new` if there is none, unless `must_exist`.
pub(super) async fn cluster_id(session: &dyn Session, new: Uuid, must_exist: bool) -> Result<String, FoundError> {
    for _ in 0..TRIES {
        session.sync().await?;
        if let Some(node) = session.read(CLUSTER_ID).await? {
            return String::from_utf8(node.data).map_err(|_| FoundError::Unreadable);
        }
        if must_exist {
            return Err(FoundError::None);
        }
        for folder in FOLDERS {
            write(session, vec![create(folder, Vec::new())]).await?;
        }
        let founding = vec![
            create(CLUSTER_ID, new.to_string().into_bytes()),
            create(CONTROLLER_EPOCH, b"0".to_vec()),
            create(META_HEAD, Head::default().encode()),
        ];
        write(session, founding).await?;
    }
    Err(FoundError::Unavailable { why: "the founding of the cluster does not settle".to_owned() })
}

fn create(path: &str, data: Vec<u8>) -> Change {
    Change::Create { path: path.to_owned(), data, lifetime: Lifetime::Persistent }
}

/// Done, or there already, or unknown: the next reading says.
async fn write(session: &dyn Session, changes: Vec<Change>) -> Result<(), FoundError> {
    let path = changes.first().map(|change| change.path().to_owned()).unwrap_or_default();
    match session.multi(changes).await {
        Err(WriteError::Refused { refusal: Refusal::Denied { why }, .. }) => Err(FoundError::Denied { path, why }),
        Err(error @ (WriteError::NotConnected | WriteError::TooLarge { .. })) => {
            Err(FoundError::Unavailable { why: error.to_string() })
        }
        Ok(()) | Err(WriteError::Refused { .. } | WriteError::OutcomeUnknown { .. }) => Ok(()),
    }
}
