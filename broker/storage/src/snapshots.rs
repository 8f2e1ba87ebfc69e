//! The producers' snapshots in a partition's folder: `<offset>.snapshot`, the windows as of the log up to that offset.
//!
//! There is one at the start of each segment, made when the one before was rolled, and one at the log's end when it was closed:
//! wherever a log is cut back to, its windows are a snapshot and the headers of one segment at most. They go with their
//! segments. Never synced: a snapshot that is missing or torn costs a longer walk over headers, no window.

use std::io::{self, IoSlice};

use crate::disk::{read_whole, remove_if_there};
use crate::partition_dir::{Folder, Kind};
use crate::producer_state::Producers;

/// The snapshots there are, by offset.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Vec<i64>);

impl Snapshots {
    pub(crate) fn found(mut offsets: Vec<i64>) -> Self {
        offsets.sort_unstable();
        Self(offsets)
    }

    /// Writes the windows down as they are at `log_end`, and removes those at no segment's start.
    pub(crate) fn save(
        &mut self,
        folder: &Folder,
        log_end: i64,
        producers: &Producers,
        is_segment: impl Fn(i64) -> bool,
    ) -> io::Result<()> {
        let path = folder.file_at(log_end, Kind::Snapshot);
        folder.disk().create(&path)?.write_all_at(&mut [IoSlice::new(&producers.to_snapshot())], 0)?;
        if self.0.last() != Some(&log_end) {
            self.0.push(log_end);
        }
        self.keep(folder, |offset| offset == log_end || is_segment(offset)).map(drop)
    }

    /// The newest at or before `offset` that reads, and where it was taken.
    pub(crate) fn newest_before(&self, folder: &Folder, offset: i64) -> io::Result<Option<(i64, Producers)>> {
        for taken in self.0.iter().rev().filter(|taken| **taken <= offset) {
            let content = match read_whole(folder.disk(), &folder.file_at(*taken, Kind::Snapshot)) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(producers) = Producers::from_snapshot(&content) {
                return Ok(Some((*taken, producers)));
            }
        }
        Ok(None)
    }

    /// Takes out those of segments that retention gave up; their files go with the segments'.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(i64) -> bool) {
        self.0.retain(|offset| !is_gone(*offset));
    }

    /// Removes all but some; whether there were others.
    pub(crate) fn keep(&mut self, folder: &Folder, is_kept: impl Fn(i64) -> bool) -> io::Result<bool> {
        let (kept, gone): (Vec<i64>, Vec<i64>) = self.0.drain(..).partition(|offset| is_kept(*offset));
        self.0 = kept;
        for offset in &gone {
            remove_if_there(folder.disk(), &folder.file_at(*offset, Kind::Snapshot))?;
        }
        Ok(!gone.is_empty())
    }
}
