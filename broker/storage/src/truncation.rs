//! A truncation that spans files: announced in the folder before the first file goes, done again at the next start if it was
//! not finished. So a crash leaves the log as it was, or as it was to become.
//!
//! ```text
//!   truncation.tmp ──rename, sync──> truncation ──> files removed, cut, synced ──> truncation removed, sync
//!                                        |                                              |
//!   crash before: the old log            '--- crash here: done again at the start ------'
//! ```
//! Doing it again changes nothing that is done: nothing is appended before the announcement is gone for good.

use std::io;

use crate::checkpoint::{self, Naming};
use crate::disk::{read_whole, remove_if_there};
use crate::durability::LogPoint;
use crate::leader_epoch;
use crate::partition_dir::{Folder, Kind, parse_file_name};

/// The file in a partition's folder.
pub(crate) const FILE: &str = "truncation";

/// First line of the file.
const TITLE: &str = "sluice truncation 1";

/// What becomes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// It ends here.
    To(LogPoint),
    /// It is empty, and starts at this offset.
    StartAt(i64),
}

impl Truncation {
    /// Where the log ends then.
    pub(crate) fn end(self) -> LogPoint {
        match self {
            Self::To(point) => point,
            Self::StartAt(offset) => LogPoint { offset, segment: offset, position: 0 },
        }
    }

    /// Announces it, durably.
    pub(crate) fn announce(self, folder: &Folder) -> io::Result<()> {
        let line = match self {
            Self::To(LogPoint { offset, segment, position }) => format!("to {offset} {segment} {position}"),
            Self::StartAt(offset) => format!("start {offset}"),
        };
        let content = checkpoint::encode(TITLE, [line].into_iter());
        checkpoint::replace(folder.disk(), &folder.file(FILE), &content, Naming::Durable)
    }

    /// The truncation that was announced and not finished; `None` when the file says no such thing.
    pub(crate) fn announced(folder: &Folder) -> io::Result<Option<Self>> {
        read_whole(folder.disk(), &folder.file(FILE)).map(|content| Self::from_file(&content))
    }

    fn from_file(content: &[u8]) -> Option<Self> {
        let lines = checkpoint::decode(TITLE, content).ok()?;
        let [line] = lines[..] else { return None };
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["to", offset, segment, position] => Some(Self::To(LogPoint {
                offset: offset.parse().ok()?,
                segment: segment.parse().ok()?,
                position: position.parse().ok()?,
            })),
            ["start", offset] => Some(Self::StartAt(offset.parse().ok()?)),
            _ => None,
        }
    }

    /// Takes the announcement back, durably: from here on the log may be written.
    pub(crate) fn finish(folder: &Folder) -> io::Result<()> {
        remove_if_there(folder.disk(), &folder.file(FILE))?;
        folder.disk().sync_dir(&folder.path)
    }

    /// Does it to the files, durably.
    pub(crate) fn apply(self, folder: &Folder) -> io::Result<()> {
        let disk = folder.disk();
        let end = self.end();
        if let Self::StartAt(offset) = self {
            // First of all: a folder without a segment would be a new log's.
            disk.create(&folder.file_at(offset, Kind::Log))?.sync_data()?;
            disk.sync_dir(&folder.path)?;
            // Epochs of batches below the start would be taken for its own; those beyond an end are not.
            remove_if_there(disk, &folder.file(leader_epoch::FILE))?;
        }
        for entry in disk.list(&folder.path)? {
            let Some((offset, kind)) = parse_file_name(&entry.name) else { continue };
            let goes = match (self, kind) {
                (Self::To(_), Kind::Snapshot) => offset > end.offset,
                (Self::StartAt(_), Kind::Snapshot) => true,
                (Self::To(_), _) => offset > end.segment,
                (Self::StartAt(_), _) => offset != end.segment,
            };
            if goes {
                remove_if_there(disk, &folder.file(&entry.name))?;
            }
        }
        // Those of the segment that stays are of a longer one, or, once it has grown again, of another as long.
        for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
            remove_if_there(disk, &folder.file_at(end.segment, kind))?;
        }
        let file = disk.open(&folder.file_at(end.segment, Kind::Log))?;
        file.truncate(end.position)?;
        file.sync_data()?;
        disk.sync_dir(&folder.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_one_truncation() {
        let to = LogPoint { offset: 70, segment: 50, position: 99 };
        for (line, want) in [
            ("to 70 50 99", Some(Truncation::To(to))),
            ("start 70", Some(Truncation::StartAt(70))),
            ("to 70", None),
            ("start", None),
            ("start x", None),
            ("", None),
        ] {
            let content = checkpoint::encode(TITLE, [line.to_owned()].into_iter());
            assert_eq!(Truncation::from_file(&content), want, "{line:?}");
        }
        let two = checkpoint::encode(TITLE, ["start 1".to_owned(), "start 2".to_owned()].into_iter());
        assert_eq!(Truncation::from_file(&two), None);
    }
}
