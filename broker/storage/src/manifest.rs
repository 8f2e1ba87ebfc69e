//! What a log directory writes down about all its logs together: recovery points while it runs, ends when it stops.
//!
//! One line a log: topic id, folder, then numbers. The id keeps a line from being taken for a later topic of the same name.

use std::collections::BTreeMap;

use sluice_protocol::Uuid;

use crate::checkpoint;
use crate::durability::LogPoint;

/// First line of the recovery points.
pub(crate) const POINTS_TITLE: &str = "sluice recovery points 1";

/// First line of the offsets.
pub(crate) const OFFSETS_TITLE: &str = "sluice log offsets 1";

/// First line of the clean-shutdown manifest.
pub(crate) const CLEAN_TITLE: &str = "sluice clean shutdown 1";

/// Something known about the log in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionLine<T> {
    pub(crate) folder: String,
    pub(crate) topic_id: Uuid,
    pub(crate) value: T,
}

/// What the batches of a log do not say of it. Written down without hurry: an older value makes consumers wait for the
/// replicas once more, or shows them records that were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOffsets {
    /// Up to where its records were known to be committed.
    pub(crate) high_watermark: i64,
    /// Below which its records were given up; at or above the first segment's base.
    pub(crate) log_start: i64,
}

/// How a log ended.
pub(crate) type CleanEnd = PartitionLine<LogEnd>;

/// The end of a log that was closed cleanly: with it, opening reads no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) log_end: i64,
    /// Producers remembered; 0 saves looking for a snapshot.
    pub(crate) producers: usize,
    /// Base offset and bytes of each segment, in order; the last is the active one.
    pub(crate) segments: Vec<(i64, u64)>,
}

/// The recovery point of a log that was closed cleanly: its end.
pub(crate) fn point_of(end: &CleanEnd) -> PartitionLine<LogPoint> {
    let (segment, position) = end.value.segments.last().copied().unwrap_or_default();
    PartitionLine {
        folder: end.folder.clone(),
        topic_id: end.topic_id,
        value: LogPoint { offset: end.value.log_end, segment, position },
    }
}

impl PartitionLine<LogPoint> {
    /// `<topic id> <folder> <offset> <segment> <position>`
    pub(crate) fn to_line(&self) -> String {
        let LogPoint { offset, segment, position } = self.value;
        format!("{} {} {offset} {segment} {position}", self.topic_id, self.folder)
    }
}

impl PartitionLine<LogOffsets> {
    /// `<topic id> <folder> <high watermark> <log start>`
    pub(crate) fn to_line(&self) -> String {
        let LogOffsets { high_watermark, log_start } = self.value;
        format!("{} {} {high_watermark} {log_start}", self.topic_id, self.folder)
    }
}

impl CleanEnd {
    /// `<topic id> <folder> <log end> <producers> <segment>:<bytes>,...`
    pub(crate) fn to_line(&self) -> String {
        let segments: Vec<String> = self.value.segments.iter().map(|(base, size)| format!("{base}:{size}")).collect();
        let LogEnd { log_end, producers, .. } = self.value;
        format!("{} {} {log_end} {producers} {}", self.topic_id, self.folder, segments.join(","))
    }
}

/// Reads the recovery points.
pub(crate) fn read_points(content: &[u8]) -> Option<BTreeMap<String, PartitionLine<LogPoint>>> {
    read(POINTS_TITLE, content, |rest| {
        let [offset, segment, position] = fields(rest)?;
        Some(LogPoint {
            offset: offset.parse().ok()?,
            segment: segment.parse().ok()?,
            position: position.parse().ok()?,
        })
    })
}

/// Reads the offsets.
pub(crate) fn read_offsets(content: &[u8]) -> Option<BTreeMap<String, PartitionLine<LogOffsets>>> {
    read(OFFSETS_TITLE, content, |rest| {
        let [high_watermark, log_start] = fields(rest)?;
        Some(LogOffsets { high_watermark: high_watermark.parse().ok()?, log_start: log_start.parse().ok()? })
    })
}

/// Reads the clean-shutdown manifest.
pub(crate) fn read_clean_ends(content: &[u8]) -> Option<BTreeMap<String, CleanEnd>> {
    read(CLEAN_TITLE, content, |rest| {
        let [log_end, producers, segments] = fields(rest)?;
        let segments = segments
            .split(',')
            .map(|segment| {
                let (base, size) = segment.split_once(':')?;
                Some((base.parse().ok()?, size.parse().ok()?))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(LogEnd { log_end: log_end.parse().ok()?, producers: producers.parse().ok()?, segments })
    })
}

fn read<T>(
    title: &str,
    content: &[u8],
    value: impl Fn(&str) -> Option<T>,
) -> Option<BTreeMap<String, PartitionLine<T>>> {
    let lines = checkpoint::decode(title, content).ok()?;
    lines
        .into_iter()
        .map(|line| {
            let (topic_id, rest) = line.split_once(' ')?;
            let (folder, rest) = rest.split_once(' ')?;
            let line =
                PartitionLine { folder: folder.to_owned(), topic_id: topic_id.parse().ok()?, value: value(rest)? };
            Some((line.folder.clone(), line))
        })
        .collect()
}

fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    let fields: Vec<&str> = text.split(' ').collect();
    fields.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_read_back() {
        let end = CleanEnd {
            folder: "orders-1".to_owned(),
            topic_id: Uuid([3; 16]),
            value: LogEnd { log_end: 70, producers: 2, segments: vec![(0, 512), (50, 99)] },
        };
        let content = checkpoint::encode(CLEAN_TITLE, [end.to_line()].into_iter());
        let ends = read_clean_ends(&content).expect("our own");
        assert_eq!(ends.values().collect::<Vec<_>>(), [&end]);

        let point = point_of(&end);
        assert_eq!(point.value, LogPoint { offset: 70, segment: 50, position: 99 });
        let content = checkpoint::encode(POINTS_TITLE, [point.to_line()].into_iter());
        let points = read_points(&content).expect("our own");
        assert_eq!(points.values().collect::<Vec<_>>(), [&point]);

        let offsets = PartitionLine {
            folder: end.folder,
            topic_id: end.topic_id,
            value: LogOffsets { high_watermark: 60, log_start: 20 },
        };
        let content = checkpoint::encode(OFFSETS_TITLE, [offsets.to_line()].into_iter());
        assert_eq!(read_offsets(&content).expect("our own").values().collect::<Vec<_>>(), [&offsets]);
    }

    #[test]
    fn lines_of_another_shape_are_refused() {
        let id = Uuid::ZERO;
        for line in [
            String::new(),
            "x orders-1 1 2 3".to_owned(),
            format!("{id} orders-1 1 2"),
            format!("{id} orders-1 1 2 3 4"),
            format!("{id} orders-1 1 2 -3"),
        ] {
            let content = checkpoint::encode(POINTS_TITLE, [line.clone()].into_iter());
            assert_eq!(read_points(&content), None, "{line:?}");
        }
    }
}
