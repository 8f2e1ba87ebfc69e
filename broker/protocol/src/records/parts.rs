//! What an answer is made of: bytes in memory, and ranges of files that need not pass through memory at all.
//!
//! A fetch is answered from segment files. Its answer carries the ranges themselves, so that whoever writes to the socket
//! chooses how: `sendfile` where the connection is plain, a read into the buffer being encrypted where it is TLS. The file
//! stays open as long as a part refers to it, even when retention has removed its name.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// A file that can be read at any position by several readers at once. Storage implements it; faults are injected below it.
pub trait ReadAt: Send + Sync + Debug {
    /// Fills `buf` from `position` on.
    ///
    /// # Errors
    /// What the system said, or `UnexpectedEof` when the file ends first; `buf` then holds nothing of use.
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()>;

    /// The descriptor to hand to `sendfile`, for files that have one. Bytes read through it are the same as by
    /// [`ReadAt::read_exact_at`].
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// `len` bytes of a file from `position` on.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file, kept open by this reference.
    pub file: Arc<dyn ReadAt>,
    /// Where the range starts, in bytes from the start of the file.
    pub position: u64,
    /// How many bytes it has.
    pub len: usize,
}

impl FileRange {
    /// Fills `buf` from `at` bytes into the range.
    ///
    /// # Errors
    /// `InvalidInput` when `buf` would reach beyond the range, else what the file said.
    pub fn read_at(&self, buf: &mut [u8], at: usize) -> io::Result<()> {
        if at.checked_add(buf.len()).is_none_or(|end| end > self.len) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a read beyond the range"));
        }
        self.file.read_exact_at(buf, self.position + at as u64)
    }

    /// Reads the whole range. For those who need the bytes (plugins, TLS); the size is the caller's to bound, by asking
    /// storage for no more than it wants in memory.
    ///
    /// # Errors
    /// What the file said.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(self.len);
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.freeze())
    }
}

impl PartialEq for FileRange {
    /// The same range of the same open file.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && self.position == other.position && self.len == other.len
    }
}

impl Eq for FileRange {}

/// A piece of an answer. A whole answer is a `Vec<Part>`, written in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes still in a file.
    File(FileRange),
}

impl Part {
    /// How many bytes it puts on the wire.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.len,
        }
    }

    /// Whether it puts none there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, read from the file if that is where they are.
    ///
    /// # Errors
    /// What the file said.
    pub fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(range) => range.read(),
        }
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<FileRange> for Part {
    fn from(range: FileRange) -> Self {
        Self::File(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Memory(&'static [u8]);

    impl ReadAt for Memory {
        fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
            let bytes = usize::try_from(position).ok().and_then(|from| self.0.get(from..from.checked_add(buf.len())?));
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    fn range(position: u64, len: usize) -> FileRange {
        FileRange { file: Arc::new(Memory(b"0123456789")), position, len }
    }

    #[test]
    fn a_range_is_read_within_its_bounds() {
        assert_eq!(range(2, 5).read().expect("inside"), "23456");
        let mut two = [0; 2];
        range(2, 5).read_at(&mut two, 3).expect("inside");
        assert_eq!(&two, b"56");
        assert_eq!(range(2, 5).read_at(&mut two, 4).expect_err("beyond the range").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            range(2, 5).read_at(&mut two, usize::MAX).expect_err("overflows").kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(range(8, 5).read().expect_err("beyond the file").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn parts_count_what_they_write() {
        let parts = [Part::from(Bytes::from_static(b"ab")), Part::from(range(0, 7)), Part::from(Bytes::new())];
        assert_eq!(parts.iter().map(Part::len).sum::<usize>(), 9);
        assert!(parts[2].is_empty());
        assert_eq!(parts[1].read().expect("inside"), "0123456");
    }

    #[test]
    fn equal_ranges_are_of_the_same_open_file() {
        let one = range(1, 2);
        assert_eq!(one, one.clone());
        assert_ne!(one, range(1, 2), "another file with the same bytes");
        assert_ne!(one, FileRange { len: 3, ..one.clone() });
    }
}
