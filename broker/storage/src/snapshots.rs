//! The producers' snapshots in a partition's folder: `<offset>.snapshot`, the windows as of the log up to that offset.
//!
//! Never synced: a snapshot that is missing or torn costs a longer walk over headers, no window.

use std::io::{self, IoSlice};

use crate::disk::{read_whole, remove_if_there};
use crate::partition_dir::{Folder, Kind};
use crate::producer_state::Producers;

/// Snapshots kept: the newest, and the one before in case that is torn.
const KEPT: usize = 2;

/// The snapshots there are, by offset.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Vec<i64>);

impl Snapshots {
    pub(crate) fn found(mut offsets: Vec<i64>) -> Self {
        offsets.sort_unstable();
        Self(offsets)
    }

    /// Writes the windows down as they are at `log_end`, and removes older ones.
    pub(crate) fn save(&mut self, folder: &Folder, log_end: i64, producers: &Producers) -> io::Result<()> {
        let path = folder.file_at(log_end, Kind::Snapshot);
        folder.disk().create(&path)?.write_all_at(&mut [IoSlice::new(&producers.to_snapshot())], 0)?;
        if self.0.last() != Some(&log_end) {
            self.0.push(log_end);
        }
        let superfluous = self.0.len().saturating_sub(KEPT);
        for offset in self.0.drain(..superfluous) {
            remove_if_there(folder.disk(), &folder.file_at(offset, Kind::Snapshot))?;
        }
        Ok(())
    }

    /// The newest that reads, and its offset.
    pub(crate) fn newest(&self, folder: &Folder) -> io::Result<Option<(i64, Producers)>> {
        for offset in self.0.iter().rev() {
            let content = match read_whole(folder.disk(), &folder.file_at(*offset, Kind::Snapshot)) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(producers) = Producers::from_snapshot(&content) {
                return Ok(Some((*offset, producers)));
            }
        }
        Ok(None)
    }

    /// Removes those of a log that was longer, or started earlier.
    pub(crate) fn keep_within(&mut self, folder: &Folder, log_start: i64, log_end: i64) -> io::Result<()> {
        let (kept, gone): (Vec<i64>, Vec<i64>) =
            self.0.drain(..).partition(|offset| (log_start..=log_end).contains(offset));
        self.0 = kept;
        for offset in gone {
            remove_if_there(folder.disk(), &folder.file_at(offset, Kind::Snapshot))?;
        }
        Ok(())
    }
}
