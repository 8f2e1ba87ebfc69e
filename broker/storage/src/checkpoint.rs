//! Small files that must be whole or not there: text with a title and a checksum, put in place by renaming.
//!
//! ```text
//!   sluice leader epochs 1      <- title, with the format's version
//!   2 10                        <- lines
//!   crc 1c291ca3                <- CRC-32C of all before
//! ```
//! A crash leaves the old file or the new one. A file that is neither is damage, and its reader says so.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::disk::Disk;

/// What a file is written under until it is whole.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The content is not what [`encode`] wrote under that title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointError;

/// The content of a file.
pub(crate) fn encode(title: &str, lines: impl Iterator<Item = String>) -> Vec<u8> {
    let mut content = format!("{title}\n");
    for line in lines {
        debug_assert!(!line.contains('\n'));
        content.push_str(&line);
        content.push('\n');
    }
    let crc = crc_fast::crc32_iscsi(content.as_bytes());
    content.push_str(&format!("crc {crc:08x}\n"));
    content.into_bytes()
}

/// The lines of a file.
pub(crate) fn decode<'a>(title: &str, content: &'a [u8]) -> Result<Vec<&'a str>, CheckpointError> {
    let text = std::str::from_utf8(content).map_err(|_| CheckpointError)?;
    let text = text.strip_suffix('\n').ok_or(CheckpointError)?;
    let end = text.rfind('\n').ok_or(CheckpointError)? + 1;
    let (body, last) = text.split_at(end);
    let crc = last.strip_prefix("crc ").ok_or(CheckpointError)?;
    if crc != format!("{:08x}", crc_fast::crc32_iscsi(body.as_bytes())) {
        return Err(CheckpointError);
    }
    let mut lines = body.lines();
    if lines.next() != Some(title) {
        return Err(CheckpointError);
    }
    Ok(lines.collect())
}

/// Whether a file's name has to be durable when [`replace`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The folder is synced here.
    Durable,
    /// The caller syncs the folder, or can do without.
    Later,
}

/// Puts `content` in the place of whatever is at `path`. The bytes are durable before they get the name.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, content: &[u8], naming: Naming) -> io::Result<()> {
    let unfinished = path.with_added_extension(&UNFINISHED[1..]);
    let file = disk.create(&unfinished)?;
    file.write_all_at(&mut [IoSlice::new(content)], 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, path)?;
    if naming == Naming::Durable {
        disk.sync_dir(path.parent().unwrap_or(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<u8> {
        encode("title 1", lines.iter().map(ToString::to_string))
    }

    #[test]
    fn lines_come_back() {
        for content in [&[][..], &["a"], &["a", "", "crc 00000000"]] {
            assert_eq!(decode("title 1", &lines(content)).as_deref(), Ok(content));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let good = lines(&["a 1", "b 2"]);
        assert_eq!(decode("title 2", &good), Err(CheckpointError), "another title");
        for cut in 0..good.len() {
            assert_eq!(decode("title 1", &good[..cut]), Err(CheckpointError), "cut at {cut}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(decode("title 1", &flipped), Err(CheckpointError), "bit {bit} of byte {at}");
            }
        }
    }
}
