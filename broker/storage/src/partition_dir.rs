//! A partition's folder: its name, and the names of the files in it. Both are Kafka's.
//!
//! ```text
//!   orders-3/
//!     partition.metadata                      the topic's id (KIP-516)
//!     leader-epoch-checkpoint
//!     00000000000000000000.log                batches, from offset 0
//!     00000000000000000000.index .timeindex   once the segment is rolled
//!     00000000000000004711.log                the active segment, allocated ahead
//!     00000000000000004711.snapshot           producers as of offset 4711
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_protocol::Uuid;

use crate::dir_state::DirState;
use crate::disk::{Disk, read_whole};

/// The file that holds the topic's id.
pub(crate) const METADATA: &str = "partition.metadata";

/// How the folder of a deleted partition ends until its files are gone. No partition's does: theirs end in a number.
pub(crate) const DELETED: &str = ".deleted";

/// The greatest length of a topic's name, as in Kafka: with a partition's number it still is a file name.
const TOPIC_NAME_MAX: usize = 249;

/// Which partition a log is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionDir {
    topic: String,
    partition: i32,
    topic_id: Uuid,
}

/// The name cannot be a folder's: Kafka's rules for topics, or a negative partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{topic:?} partition {partition} does not name a folder")]
pub struct PartitionDirError {
    /// The topic's name as given.
    pub topic: String,
    /// The partition as given.
    pub partition: i32,
}

impl PartitionDir {
    /// Names the folder of a partition. The rules for topics' names are held again here, because the name becomes a path.
    ///
    /// # Errors
    /// When topic or partition break them.
    pub fn new(topic: &str, partition: i32, topic_id: Uuid) -> Result<Self, PartitionDirError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let named = !matches!(topic, "" | "." | "..") && topic.len() <= TOPIC_NAME_MAX && topic.bytes().all(legal);
        if !named || partition < 0 {
            return Err(PartitionDirError { topic: topic.to_owned(), partition });
        }
        Ok(Self { topic: topic.to_owned(), partition, topic_id })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The topic's id, which tells a topic from one of the same name made later.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Reads a folder's name: everything up to the last dash is the topic's.
    pub(crate) fn parse(name: &str, topic_id: Uuid) -> Option<Self> {
        let (topic, partition) = name.rsplit_once('-')?;
        let parsed = Self::new(topic, partition.parse().ok()?, topic_id).ok()?;
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The folder's name once the partition is deleted: short enough for any topic, and its own.
    pub(crate) fn deleted_name(&self) -> String {
        format!("{}-{}{DELETED}", self.topic_id, self.partition)
    }
}

impl fmt::Display for PartitionDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A partition's folder on its disk, shared by all that touch its files.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: Arc<DirState>,
    pub(crate) name: PartitionDir,
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: Arc<DirState>, name: PartitionDir) -> Arc<Self> {
        let path = dir.path.join(name.to_string());
        Arc::new(Self { dir, name, path })
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.dir.disk
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn file_at(&self, offset: i64, kind: Kind) -> PathBuf {
        self.path.join(file_name(offset, kind))
    }
}

/// What a file named after an offset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    OffsetIndex,
    TimeIndex,
    Snapshot,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::Snapshot];

    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::Snapshot => "snapshot",
        }
    }
}

/// `00000000000000004711.log`.
pub(crate) fn file_name(offset: i64, kind: Kind) -> String {
    format!("{offset:020}.{}", kind.extension())
}

/// Reads a file's name back.
pub(crate) fn parse_file_name(name: &str) -> Option<(i64, Kind)> {
    let (digits, extension) = name.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let offset = digits.parse().ok()?;
    (file_name(offset, kind) == name).then_some((offset, kind))
}

/// The content of `partition.metadata`: as Kafka writes it.
pub(crate) fn metadata_content(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}\n")
}

/// What a folder says of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// The topic's id.
    Topic(Uuid),
    /// No file, or an empty one: the folder was made and never made durable, so nothing in it was acknowledged as such.
    Absent,
    /// Something else.
    Unreadable,
}

/// Reads a folder's `partition.metadata`.
pub(crate) fn read_metadata(disk: &dyn Disk, folder: &Path) -> io::Result<Metadata> {
    let content = match read_whole(disk, &folder.join(METADATA)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Metadata::Absent),
        Err(error) => return Err(error),
    };
    if content.iter().all(|byte| *byte == 0) {
        return Ok(Metadata::Absent);
    }
    let topic_id = std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix("version: 0\ntopic_id: "))
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(|id| id.parse().ok());
    Ok(topic_id.map_or(Metadata::Unreadable, Metadata::Topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_kafkas() {
        let id = Uuid([7; 16]);
        let name = PartitionDir::new("my-topic.v1", 12, id).expect("legal");
        assert_eq!(name.to_string(), "my-topic.v1-12");
        assert_eq!(PartitionDir::parse("my-topic.v1-12", id), Some(name));
        for other in ["topic", "-1", "topic-", "topic-x", "topic-01", "topic-+1", "a/b-1", ".lock"] {
            assert_eq!(PartitionDir::parse(other, id), None, "{other:?}");
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        let long = "x".repeat(TOPIC_NAME_MAX + 1);
        for topic in ["", ".", "..", "../x", "a/b", "a b", "ä", "a\0", &long] {
            assert!(PartitionDir::new(topic, 0, Uuid::ZERO).is_err(), "{topic:?}");
        }
        assert!(PartitionDir::new("a", -1, Uuid::ZERO).is_err());
    }

    #[test]
    fn files_are_named_after_offsets() {
        assert_eq!(file_name(4711, Kind::Log), "00000000000000004711.log");
        for kind in Kind::ALL {
            assert_eq!(parse_file_name(&file_name(i64::MAX, kind)), Some((i64::MAX, kind)));
        }
        for other in ["4711.log", "00000000000000004711", "00000000000000004711.txt", ".log"] {
            assert_eq!(parse_file_name(other), None, "{other:?}");
        }
    }
}
