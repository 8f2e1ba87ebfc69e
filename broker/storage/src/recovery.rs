//! What a log is after a stop: exactly what was written down when it was clean, else what its batches prove.
//!
//! ```text
//!    sealed        sealed         holds the recovery point                     later segments
//!   [=====|=====] [=====|=====] [ headers must follow * checksums decide ... ] [ checksums decide ... ]
//!   sizes must be right                               ^ recovery point
//!   '------ damage here: nothing is cut, the log ----'  '--- the first bad batch ends the log: it and all after it
//!           does not open and says where                     are a write that never finished
//! ```
//! A log without recovery point begins at offset 0, or was never durable. Zeroes allocated ahead are the end of a segment, not damage. What is kept after a scan is made durable before it counts.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_protocol::Uuid;
use sluice_protocol::records::BatchHeader;

use crate::checkpoint::UNFINISHED;
use crate::config::LogConfig;
use crate::dir_state::Known;
use crate::disk::{is_no_space, read_whole};
use crate::durability::LogPoint;
use crate::leader_epoch::{self, LeaderEpochs};
use crate::log_dir::DirFailed;
use crate::manifest::{LogEnd, LogOffsets};
use crate::partition_dir::{Folder, Kind, METADATA, Metadata, parse_file_name, read_metadata};
use crate::producer_state::Producers;
use crate::scan::{Damage, HEADER_WINDOW, Scan, ScanError};
use crate::segment::{Segment, remove_files};
use crate::snapshots::Snapshots;
use crate::truncation::{self, Truncation};

mod scanner;

use scanner::Scanner;

/// What opening a log found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log had been closed cleanly, so that nothing had to be looked at.
    pub clean: bool,
    /// The first offset kept.
    pub log_start: i64,
    /// The offset after the last.
    pub log_end: i64,
    /// Bytes whose checksums were compared.
    pub scanned_bytes: u64,
    /// Bytes of an unfinished write that were cut off; zeroes allocated ahead do not count.
    pub truncated_bytes: u64,
    /// Segments after the cut that were removed.
    pub dropped_segments: usize,
}

/// Why a log does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// It is open already.
    #[error("the log of {partition} is open already")]
    AlreadyOpen {
        /// Its folder.
        partition: String,
    },
    /// The folder is that of an earlier or later topic of the same name.
    #[error("{} holds topic {found}, not {expected}", path.display())]
    OtherTopic {
        /// The folder.
        path: PathBuf,
        /// The topic in its `partition.metadata`.
        found: Uuid,
        /// The topic asked for.
        expected: Uuid,
    },
    /// Batches that were durable are not there. Restore the file, or remove the partition's folder and lose them.
    #[error("{} is damaged at byte {position}: {damage}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The disk does not read, or has no room for a new log.
    #[error("{}", file.display())]
    Io {
        /// What was read or made.
        file: PathBuf,
        /// What the disk said.
        #[source]
        cause: io::Error,
    },
    /// The directory has failed.
    #[error(transparent)]
    Failed(#[from] DirFailed),
}

/// The parts of a log that was just opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Never empty; the last is the active one.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: Producers,
    pub(crate) snapshots: Snapshots,
    /// Up to where the log is known to be durable; `None` for one made now.
    pub(crate) durable: Option<LogPoint>,
    /// Whether a segment may have no durable name.
    pub(crate) names_new: bool,
    /// Whether the leader epochs' checkpoint does not say what the batches say.
    pub(crate) epochs_new: bool,
    /// Whether the folder's own files have still to be made durable.
    pub(crate) folder_made: bool,
    /// What was written down of its high watermark and start.
    pub(crate) offsets: Option<LogOffsets>,
    pub(crate) recovery: Recovery,
}

impl Recovered {
    /// The log's end.
    pub(crate) fn tail(&self) -> LogPoint {
        let active = self.segments.last().expect("a log has a segment");
        LogPoint { offset: self.recovery.log_end, segment: active.base_offset, position: active.size() }
    }
}

/// Opens or makes the log of a folder.
pub(crate) fn recover(folder: &Arc<Folder>, config: &LogConfig, now_ms: i64) -> Result<Recovered, OpenLogError> {
    folder.dir.check()?;
    let Some(mut known) = folder.dir.known(&folder.name) else {
        return Err(OpenLogError::AlreadyOpen { partition: folder.name.to_string() });
    };
    let mut files = Files::list(folder)?;
    if files.truncation {
        known = finish_truncation(folder, known)?;
        files = Files::list(folder)?;
    }
    let clean_end = known.clean_end.map(|end| end.value);
    let point = known.point.map(|point| point.value);
    let known_to_hold = clean_end.as_ref().map(|end| end.log_end).or_else(|| point.map(|point| point.offset));
    if files.logs.is_empty() {
        return match known_to_hold {
            Some(1..) => Err(missing(folder, point.map_or(0, |point| point.segment))),
            _ => create(folder),
        };
    }
    folder.dir.unmark_clean().map_err(|error| folder.dir.fail("open", error))?;
    if clean_end.is_none() && point.is_none() && !files.logs.contains_key(&0) {
        return start_anew(folder, &files);
    }
    let recorded = read_epochs(folder)?;
    let scanned = match &clean_end {
        Some(end) => trust(folder, &files, end, recorded)?,
        None => Scanner::new(folder, config, recorded, point).scan(&files)?,
    };
    let mut snapshots = Snapshots::found(files.snapshots);
    let bounds = scanned.recovery.log_start..=scanned.recovery.log_end;
    // Durably: they are of a log that was longer, or started earlier, and would be taken for this one's once it is as long.
    snapshots
        .keep(folder, |taken| bounds.contains(&taken))
        .and_then(|others| if others { folder.disk().sync_dir(&folder.path) } else { Ok(()) })
        .map_err(|error| folder.dir.fail("recovery", error))?;
    let producers = match &clean_end {
        Some(end) if end.producers == 0 => Producers::default(),
        _ => {
            let bounds = scanned.recovery.log_start..scanned.recovery.log_end;
            replay_producers(folder, &scanned.segments, bounds, &snapshots, now_ms)?
        }
    };
    Ok(Recovered {
        segments: scanned.segments,
        epochs: scanned.epochs,
        producers,
        snapshots,
        durable: Some(scanned.durable),
        names_new: scanned.names_new,
        epochs_new: scanned.epochs_new,
        folder_made: files.metadata_absent,
        offsets: known.offsets.map(|offsets| offsets.value),
        recovery: scanned.recovery,
    })
}

/// Gives up a log that lost its beginning with the power: its first segment had no durable name, so nothing of it was ever
/// durable. What retention left of a log has a recovery point.
fn start_anew(folder: &Arc<Folder>, files: &Files) -> Result<Recovered, OpenLogError> {
    let bytes = files.logs.values().sum();
    tracing::warn!(partition = %folder.name, bytes, "segments without those before them: the log never was durable");
    let disk = folder.disk();
    for base in files.logs.keys().rev() {
        remove_files(folder, *base)
            .and_then(|()| disk.sync_dir(&folder.path))
            .map_err(|error| folder.dir.fail("recovery", error))?;
    }
    crate::disk::remove_if_there(disk, &folder.file(leader_epoch::FILE))
        .map_err(|error| folder.dir.fail("recovery", error))?;
    let made = create(folder)?;
    let recovery =
        Recovery { clean: false, truncated_bytes: bytes, dropped_segments: files.logs.len(), ..made.recovery };
    Ok(Recovered { recovery, ..made })
}

/// Does a truncation again that a crash interrupted; what is known of the log then.
fn finish_truncation(folder: &Arc<Folder>, known: Known) -> Result<Known, OpenLogError> {
    let announced = Truncation::announced(folder)
        .map_err(|cause| OpenLogError::Io { file: folder.file(truncation::FILE), cause })?
        .ok_or_else(|| truncation_damaged(folder))?;
    tracing::warn!(partition = %folder.name, ?announced, "a truncation was interrupted; it is finished now");
    let known = match announced {
        // The recovery point was taken back before the announcement.
        Truncation::To(_) => Known { clean_end: None, ..known },
        Truncation::StartAt(_) => folder.dir.start_over(&folder.name, announced.end()),
    };
    folder
        .dir
        .unmark_clean()
        .and_then(|()| announced.apply(folder))
        .map_err(|error| folder.dir.fail("truncate", error))?;
    folder.dir.checkpoint()?;
    Truncation::finish(folder).map_err(|error| folder.dir.fail("truncate", error))?;
    Ok(known)
}

/// A partition's first start.
fn create(folder: &Arc<Folder>) -> Result<Recovered, OpenLogError> {
    let disk = folder.disk();
    let segment = folder
        .dir
        .unmark_clean()
        .and_then(|()| disk.create_dir_all(&folder.path))
        .and_then(|()| crate::durability::write_metadata(folder))
        .and_then(|_| Segment::create(Arc::clone(folder), 0))
        .map_err(|cause| match is_no_space(&cause) {
            true => OpenLogError::Io { file: folder.path.clone(), cause },
            false => folder.dir.fail("create", cause).into(),
        })?;
    Ok(Recovered {
        segments: vec![Arc::new(segment)],
        epochs: LeaderEpochs::default(),
        producers: Producers::default(),
        snapshots: Snapshots::default(),
        durable: None,
        names_new: true,
        epochs_new: false,
        folder_made: true,
        offsets: None,
        recovery: Recovery {
            clean: true,
            log_start: 0,
            log_end: 0,
            scanned_bytes: 0,
            truncated_bytes: 0,
            dropped_segments: 0,
        },
    })
}

/// The files of a folder.
#[derive(Debug, Default)]
struct Files {
    /// Bytes of each segment's file, by base offset.
    logs: BTreeMap<i64, u64>,
    snapshots: Vec<i64>,
    metadata_absent: bool,
    /// A truncation was announced.
    truncation: bool,
}

impl Files {
    /// Lists them, and removes what a crash left unfinished and indexes of segments that are gone.
    fn list(folder: &Folder) -> Result<Self, OpenLogError> {
        let disk = folder.disk();
        let io = |cause| OpenLogError::Io { file: folder.path.clone(), cause };
        let entries = match disk.list(&folder.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(error)),
        };
        let mut files = Self::default();
        match read_metadata(disk, &folder.path).map_err(io)? {
            Metadata::Topic(found) if found != folder.name.topic_id() => {
                return Err(OpenLogError::OtherTopic {
                    path: folder.path.clone(),
                    found,
                    expected: folder.name.topic_id(),
                });
            }
            Metadata::Topic(_) => {}
            Metadata::Absent => files.metadata_absent = true,
            Metadata::Unreadable => {
                return Err(OpenLogError::Damaged {
                    file: folder.file(METADATA),
                    position: 0,
                    damage: Damage::Metadata,
                });
            }
        }
        let mut indexes = Vec::new();
        for entry in entries {
            match parse_file_name(&entry.name) {
                Some((base, Kind::Log)) => {
                    files.logs.insert(base, entry.len.unwrap_or(0));
                }
                Some((offset, Kind::Snapshot)) => files.snapshots.push(offset),
                Some((base, _)) => indexes.push((base, entry.name)),
                None if entry.name == truncation::FILE => files.truncation = true,
                None if entry.name.ends_with(UNFINISHED) => {
                    disk.remove_file(&folder.file(&entry.name)).map_err(io)?;
                }
                None => {}
            }
        }
        for (base, name) in indexes {
            if !files.logs.contains_key(&base) {
                disk.remove_file(&folder.file(&name)).map_err(io)?;
            }
        }
        Ok(files)
    }
}

/// The batches' part of a recovery.
struct Scanned {
    segments: Vec<Arc<Segment>>,
    epochs: LeaderEpochs,
    durable: LogPoint,
    names_new: bool,
    epochs_new: bool,
    recovery: Recovery,
}

/// Takes a log that was closed cleanly for what its manifest says, if the files are as long as that.
fn trust(
    folder: &Arc<Folder>,
    files: &Files,
    end: &LogEnd,
    recorded: Option<LeaderEpochs>,
) -> Result<Scanned, OpenLogError> {
    let first = end.segments.first().map_or(0, |(base, _)| *base);
    for base in files.logs.keys() {
        if *base < first {
            // Retention had taken it out; the crash of the file system that brought it back does not put it in again.
            Segment::existing(Arc::clone(folder), *base, 0)
                .remove()
                .map_err(|error| folder.dir.fail("recovery", error))?;
        } else if !end.segments.iter().any(|(known, _)| known == base) {
            return Err(OpenLogError::Damaged {
                file: folder.file_at(*base, Kind::Log),
                position: 0,
                damage: Damage::Offset { expected: end.log_end, found: *base },
            });
        }
    }
    let mut segments = Vec::with_capacity(end.segments.len());
    for (base, size) in &end.segments {
        let len = *files.logs.get(base).ok_or_else(|| missing(folder, *base))?;
        if len < *size {
            return Err(short(folder, *base, len, *size));
        }
        let segment = Segment::existing(Arc::clone(folder), *base, *size);
        if len > *size {
            cut(folder, &segment, *size)?;
        }
        segments.push(Arc::new(segment));
    }
    let (segment, position) = end.segments.last().copied().unwrap_or_default();
    let log_end = end.log_end;
    let epochs_new = recorded.is_none();
    let epochs = match recorded {
        Some(epochs) => epochs,
        None => epochs_of(folder, &segments)?,
    };
    Ok(Scanned {
        segments,
        epochs,
        durable: LogPoint { offset: log_end, segment, position },
        names_new: false,
        epochs_new,
        recovery: Recovery {
            clean: true,
            log_start: first,
            log_end,
            scanned_bytes: 0,
            truncated_bytes: 0,
            dropped_segments: 0,
        },
    })
}

/// The windows of a log's producers as of the end of `bounds`: the newest snapshot before it, and the batches since.
pub(crate) fn replay_producers(
    folder: &Folder,
    segments: &[Arc<Segment>],
    bounds: Range<i64>,
    snapshots: &Snapshots,
    now_ms: i64,
) -> Result<Producers, OpenLogError> {
    let snapshot = snapshots
        .newest_before(folder, bounds.end)
        .map_err(|cause| OpenLogError::Io { file: folder.path.clone(), cause })?;
    let (from, mut producers) = snapshot.unwrap_or_else(|| (bounds.start, Producers::default()));
    if from < bounds.end {
        let first = segments.partition_point(|segment| segment.base_offset <= from);
        let after = segments.partition_point(|segment| segment.base_offset < bounds.end);
        for segment in &segments[first.saturating_sub(1)..after] {
            walk(folder, segment, from..bounds.end, |batch| producers.replay(batch, now_ms))?;
        }
    }
    Ok(producers)
}

/// The leader epochs of some segments, read from every batch.
fn epochs_of(folder: &Folder, segments: &[Arc<Segment>]) -> Result<LeaderEpochs, OpenLogError> {
    let mut epochs = LeaderEpochs::default();
    for segment in segments {
        walk(folder, segment, segment.base_offset..i64::MAX, |batch| {
            epochs.note(batch.partition_leader_epoch, batch.base_offset);
        })?;
    }
    Ok(epochs)
}

/// Shows the headers of a segment's batches that start within `bounds`.
fn walk(
    folder: &Folder,
    segment: &Segment,
    bounds: Range<i64>,
    mut show: impl FnMut(&BatchHeader),
) -> Result<(), OpenLogError> {
    let mut walked = || -> Result<(), ScanError> {
        let start = segment.indexes()?.offsets.floor(bounds.start);
        let file = segment.file()?;
        let mut scan = Scan::new(&*file, (start.offset, start.position), segment.size(), HEADER_WINDOW);
        while scan.next_offset() < bounds.end
            && let Some(found) = scan.next()?
        {
            if found.header.base_offset >= bounds.start {
                show(&found.header);
            }
        }
        Ok(())
    };
    walked().map_err(|error| open_error(folder, segment.base_offset, error))
}

/// Reads the leader epochs' checkpoint; `None` when it is not there, or not one.
fn read_epochs(folder: &Folder) -> Result<Option<LeaderEpochs>, OpenLogError> {
    let file = folder.file(leader_epoch::FILE);
    match read_whole(folder.disk(), &file) {
        Ok(content) => Ok(LeaderEpochs::from_file(&content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(OpenLogError::Io { file, cause }),
    }
}

fn cut(folder: &Folder, segment: &Segment, size: u64) -> Result<(), OpenLogError> {
    segment.file().and_then(|file| file.truncate(size)).map_err(|error| folder.dir.fail("recovery", error).into())
}

fn missing(folder: &Folder, base: i64) -> OpenLogError {
    OpenLogError::Damaged { file: folder.file_at(base, Kind::Log), position: 0, damage: Damage::Missing }
}

fn truncation_damaged(folder: &Folder) -> OpenLogError {
    OpenLogError::Damaged { file: folder.file(truncation::FILE), position: 0, damage: Damage::Truncation }
}

fn short(folder: &Folder, base: i64, len: u64, durable: u64) -> OpenLogError {
    OpenLogError::Damaged {
        file: folder.file_at(base, Kind::Log),
        position: len,
        damage: Damage::Short { len, durable },
    }
}

fn open_error(folder: &Folder, base: i64, error: ScanError) -> OpenLogError {
    let file = folder.file_at(base, Kind::Log);
    match error {
        ScanError::Io(cause) => OpenLogError::Io { file, cause },
        ScanError::Damaged { position, damage } => OpenLogError::Damaged { file, position, damage },
    }
}
