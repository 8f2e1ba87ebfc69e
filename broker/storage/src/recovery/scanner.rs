//! Finds the end of a log that was not closed: sizes below the recovery point, checksums above it.

use std::io;
use std::sync::Arc;

use sluice_protocol::records::BatchHeader;

use super::{Files, OpenLogError, Recovery, Scanned, cut, epochs_of, missing, open_error, short};
use crate::config::LogConfig;
use crate::durability::LogPoint;
use crate::indexes::{Indexes, Summary};
use crate::leader_epoch::LeaderEpochs;
use crate::partition_dir::{Folder, Kind};
use crate::scan::{BODY_WINDOW, Damage, Found, HEADER_WINDOW, Scan, ScanError};
use crate::segment::Segment;

/// Finds the end of a log that was not closed.
pub(super) struct Scanner<'a> {
    folder: &'a Arc<Folder>,
    interval: u32,
    /// The leader epochs' checkpoint; `None` when it is not there or not one.
    recorded: Option<LeaderEpochs>,
    point: Option<LogPoint>,
    epochs: LeaderEpochs,
    segments: Vec<Arc<Segment>>,
    log_end: i64,
    scanned_bytes: u64,
    truncated_bytes: u64,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(
        folder: &'a Arc<Folder>,
        config: &LogConfig,
        recorded: Option<LeaderEpochs>,
        point: Option<LogPoint>,
    ) -> Self {
        Self {
            folder,
            interval: config.index_interval_bytes,
            recorded,
            point,
            epochs: LeaderEpochs::default(),
            segments: Vec::new(),
            log_end: 0,
            scanned_bytes: 0,
            truncated_bytes: 0,
        }
    }

    pub(super) fn scan(mut self, files: &Files) -> Result<Scanned, OpenLogError> {
        let logs: Vec<(i64, u64)> = files.logs.iter().map(|(base, len)| (*base, *len)).collect();
        let log_start = logs[0].0;
        // Without a point, or with one in a segment that retention has removed since, everything is beyond it.
        let point = self.point.filter(|point| point.segment >= log_start).unwrap_or(LogPoint {
            offset: log_start,
            segment: log_start,
            position: 0,
        });
        let Some(holding) = logs.iter().position(|(base, _)| *base == point.segment) else {
            return Err(missing(self.folder, point.segment));
        };
        for (i, (base, len)) in logs[..holding].iter().enumerate() {
            self.check_sealed(*base, *len, logs[i + 1].0)?;
        }
        self.know_epochs_before(point.segment)?;
        self.log_end = point.segment;
        let mut dropped = Vec::new();
        for (i, (base, len)) in logs[holding..].iter().enumerate() {
            if *base != self.log_end {
                // The segment before it lost its end.
                dropped = logs[holding + i..].to_vec();
                break;
            }
            let durable = if i == 0 { point.position } else { 0 };
            let whole = self.scan_tail(*base, *len, durable, point.offset)?;
            if !whole {
                dropped = logs[holding + i + 1..].to_vec();
                break;
            }
        }
        self.drop_segments(&dropped)?;
        self.cut_tails(&logs[holding..])?;
        let epochs_new = self.recorded.as_ref() != Some(&self.epochs);
        self.epochs.forget_before(log_start);
        // A recovery point is written down when the segment it lies in has a durable name.
        let named = self.point.map(|point| point.segment);
        let names_new = named != self.segments.last().map(|segment| segment.base_offset);
        Ok(Scanned {
            segments: self.segments,
            epochs: self.epochs,
            durable: point,
            names_new,
            epochs_new,
            recovery: Recovery {
                clean: false,
                log_start,
                log_end: self.log_end,
                scanned_bytes: self.scanned_bytes,
                truncated_bytes: self.truncated_bytes,
                dropped_segments: dropped.len(),
            },
        })
    }

    /// A segment below the recovery point has the size its index gives it, or its headers lead to the next segment.
    fn check_sealed(&mut self, base: i64, len: u64, next: i64) -> Result<(), OpenLogError> {
        let summary = Summary::load(self.folder, base).map_err(|error| self.io(base, error))?;
        let segment = match summary {
            Some(summary) if summary.end_offset == next => {
                if len < summary.log_size {
                    return Err(short(self.folder, base, len, summary.log_size));
                }
                Segment::existing(Arc::clone(self.folder), base, summary.log_size)
            }
            _ => {
                let segment = Segment::existing(Arc::clone(self.folder), base, len);
                let end = self.walk_headers(&segment, len, next)?;
                segment.set_size(end);
                segment
            }
        };
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    /// Walks a sealed segment that has no index, and gives it one. Its end.
    fn walk_headers(&self, segment: &Segment, len: u64, next: i64) -> Result<u64, OpenLogError> {
        let base = segment.base_offset;
        let file = segment.file().map_err(|error| self.io(base, error))?;
        let indexes = Indexes::new(base);
        let mut scan = Scan::new(&*file, (base, 0), len, HEADER_WINDOW);
        while let Some(found) = scan.next().map_err(|error| open_error(self.folder, base, error))? {
            indexes.note(&found.header, found.position, self.interval);
        }
        if scan.next_offset() != next {
            return Err(OpenLogError::Damaged {
                file: self.folder.file_at(base, Kind::Log),
                position: scan.position(),
                damage: Damage::Offset { expected: scan.next_offset(), found: next },
            });
        }
        segment.set_indexes(indexes);
        Ok(scan.position())
    }

    /// Takes the epochs that began before the walk from the checkpoint, or from the batches when there is none.
    fn know_epochs_before(&mut self, offset: i64) -> Result<(), OpenLogError> {
        self.epochs = match &self.recorded {
            Some(recorded) => {
                let mut epochs = recorded.clone();
                epochs.truncate(offset);
                epochs
            }
            None => epochs_of(self.folder, &self.segments)?,
        };
        Ok(())
    }

    /// Walks a segment from its start: headers up to `durable`, where offset `point` has to follow, checksums from there.
    /// Whether it is whole to its end.
    fn scan_tail(&mut self, base: i64, len: u64, durable: u64, point: i64) -> Result<bool, OpenLogError> {
        if len < durable {
            return Err(short(self.folder, base, len, durable));
        }
        let segment = Segment::existing(Arc::clone(self.folder), base, 0);
        let file = segment.file().map_err(|error| self.io(base, error))?;
        let indexes = Indexes::new(base);
        let mut headers = Scan::new(&*file, (base, 0), durable, HEADER_WINDOW);
        while let Some(found) = headers.next().map_err(|error| open_error(self.folder, base, error))? {
            self.note_epoch(&found.header, Known::Durable).map_err(|damage| {
                let error = headers.refuse(&found, damage);
                open_error(self.folder, base, error)
            })?;
            indexes.note(&found.header, found.position, self.interval);
        }
        if headers.position() != durable || (durable > 0 && headers.next_offset() != point) {
            return Err(OpenLogError::Damaged {
                file: self.folder.file_at(base, Kind::Log),
                position: headers.position(),
                damage: Damage::Offset { expected: point, found: headers.next_offset() },
            });
        }
        let mut scan = Scan::new(&*file, (headers.next_offset(), durable), len, BODY_WINDOW);
        let end = loop {
            match self.next_checked(&mut scan) {
                Ok(Some(found)) => indexes.note(&found.header, found.position, self.interval),
                Ok(None) => break Ok(scan.position()),
                Err(ScanError::Io(error)) => return Err(self.io(base, error)),
                Err(ScanError::Damaged { position, damage }) => break Err((position, damage)),
            }
        };
        self.log_end = scan.next_offset();
        let whole = end.is_ok();
        let size = end.unwrap_or_else(|(position, damage)| {
            tracing::warn!(
                partition = %self.folder.name, segment = base, position, %damage,
                "an unfinished write ends the log"
            );
            self.truncated_bytes += len - position;
            position
        });
        self.scanned_bytes += size - durable;
        segment.set_size(size);
        if size > durable || len > size {
            // What was found may be in the page cache only, and what is cut off may come back, until the next sync.
            segment.set_unsynced();
        }
        segment.set_indexes(indexes);
        self.segments.push(Arc::new(segment));
        Ok(whole)
    }

    /// The next batch of a walk, its checksum and epoch right.
    fn next_checked(&mut self, scan: &mut Scan<'_>) -> Result<Option<Found>, ScanError> {
        let Some(found) = scan.next()? else {
            return Ok(None);
        };
        let checked = match scan.check_crc(&found) {
            Err(ScanError::Damaged { damage, .. }) => Err(damage),
            Err(error) => return Err(error),
            Ok(()) => self.note_epoch(&found.header, Known::Written),
        };
        match checked {
            Ok(()) => Ok(Some(found)),
            Err(damage) => Err(scan.refuse(&found, damage)),
        }
    }

    /// Compares a batch's epoch with what is recorded for its offset; beyond the record epochs only rise.
    ///
    /// The record is made durable before the batches it is about count as such, so below the recovery point it has to agree.
    fn note_epoch(&mut self, batch: &BatchHeader, known: Known) -> Result<(), Damage> {
        let (epoch, offset) = (batch.partition_leader_epoch, batch.base_offset);
        let certain = self
            .recorded
            .as_ref()
            .filter(|recorded| known == Known::Durable || recorded.covers(offset))
            .and_then(|recorded| recorded.at(offset));
        let wrong = match (certain, self.epochs.latest()) {
            (Some(recorded), _) if recorded != epoch => Some(recorded),
            (_, Some(latest)) if latest > epoch => Some(latest),
            _ => None,
        };
        if let Some(recorded) = wrong {
            return Err(Damage::Epoch { offset, recorded, found: epoch });
        }
        self.epochs.note(epoch, offset);
        Ok(())
    }

    /// Removes the segments after the log's end, the newest first, so that a crash leaves no hole.
    fn drop_segments(&mut self, dropped: &[(i64, u64)]) -> Result<(), OpenLogError> {
        for (base, len) in dropped.iter().rev() {
            self.truncated_bytes += len;
            Segment::existing(Arc::clone(self.folder), *base, 0)
                .remove()
                .and_then(|()| self.folder.disk().sync_dir(&self.folder.path))
                .map_err(|error| self.folder.dir.fail("recovery", error))?;
        }
        Ok(())
    }

    /// Cuts what was scanned to its batches, writes the indexes of what is sealed, and leaves the syncing to the log.
    fn cut_tails(&self, logs: &[(i64, u64)]) -> Result<(), OpenLogError> {
        let last = self.segments.len() - 1;
        for (i, segment) in self.segments.iter().enumerate() {
            let Some((_, len)) = logs.iter().find(|(base, _)| *base == segment.base_offset) else {
                continue;
            };
            if *len > segment.size() {
                cut(self.folder, segment, segment.size())?;
            }
            if i < last {
                let end = self.segments[i + 1].base_offset;
                if let Err(error) = segment.save_indexes(end) {
                    // The indexes stay in memory.
                    tracing::warn!(partition = %self.folder.name, %error, "indexes not written");
                }
            }
        }
        Ok(())
    }

    fn io(&self, base: i64, cause: io::Error) -> OpenLogError {
        open_error(self.folder, base, ScanError::Io(cause))
    }
}

/// What is known of a batch before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It is below the recovery point.
    Durable,
    /// It may have been written.
    Written,
}
