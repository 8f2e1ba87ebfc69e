//! What is in a partition's segment files: the batches, byte for byte, in order.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sluice_protocol::records::{Batch, BatchHeader, HEADER_LEN};

/// The batches of a partition under `log_dir`, the broker's data folder.
///
/// A segment may end in zeroes: the room it was given ahead.
pub fn stored_batches(log_dir: &Path, topic: &str, partition: i32) -> Vec<Batch> {
    segments(log_dir, topic, partition).iter().flat_map(|segment| batches(segment)).collect()
}

/// The segment files of a partition, oldest first: their names are their base offsets, padded.
fn segments(log_dir: &Path, topic: &str, partition: i32) -> Vec<PathBuf> {
    let folder = log_dir.join(format!("{topic}-{partition}"));
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).filter_map(Result::ok);
    let mut segments: Vec<_> =
        files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    segments.sort();
    segments
}

fn batches(segment: &Path) -> Vec<Batch> {
    let mut bytes = Bytes::from(fs::read(segment).expect("a segment can be read"));
    let mut batches = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADER_LEN>().filter(|header| header.iter().any(|&byte| byte != 0)) {
        let header = BatchHeader::parse(header).unwrap_or_else(|error| panic!("{}: {error}", segment.display()));
        let batch = bytes.split_to(header.size());
        batches.extend(Batch::split(batch.into()).unwrap_or_else(|error| panic!("{}: {error}", segment.display())));
    }
    batches
}
