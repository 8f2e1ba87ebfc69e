//! The file layer: everything the log asks of an operating system, behind one seam.
//!
//! Two implementations: [`RealDisk`], on the system's calls through `rustix`, and [`MemDisk`](crate::testing::MemDisk), which
//! loses unsynced writes, flips bits and runs full when told to. Nothing else in this crate opens a file.
//!
//! What the rest of the crate relies on, and the fake holds it to: bytes written are safe after `sync_data` of their file, names
//! after `sync_dir` of their folder, and neither before.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;
use sluice_protocol::records::ReadAt;

/// A file system, as far as a log needs one.
pub trait Disk: Send + Sync + Debug {
    /// Makes a folder and those above it; nothing happens when it is there.
    ///
    /// # Errors
    /// What the system said, as for every method here.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// What a folder holds, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a file that exists.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or folder another name, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Who has it open goes on reading it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: files made, renamed and removed.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;

    /// Takes the exclusive lock on `path`, a file made for it, until the answer is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when someone holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
}

/// An open file. Reads and writes name their position, so any number of threads share one.
pub trait DiskFile: ReadAt {
    /// Writes all the slices, one after the other, from `position` on; in one system call when they are no more than
    /// `IOV_MAX`. The slices are used up.
    ///
    /// # Errors
    /// What the system said, as for every method here. Some of the bytes may have been written.
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes the file `len` bytes long, the new ones zero and their blocks taken.
    ///
    /// # Errors
    /// `Unsupported` where the file system has no such call.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes, or extends it with zeroes that have no blocks yet.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far durable, and the length.
    fn sync_data(&self) -> io::Result<()>;

    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// A lock held; dropping it lets go.
pub trait LockGuard: Send + Sync + Debug {}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the folder's.
    pub name: String,
    /// Bytes, for a file; `None` for a folder.
    pub len: Option<u64>,
}

/// Whether the disk refused for want of room, which passes, rather than failed, which does not.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The whole content of a small file.
pub(crate) fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut content = vec![0; len];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The machine's own file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours: all of ours are ASCII.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let len = if entry.file_type()?.is_dir() { None } else { Some(entry.metadata()?.len()) };
            entries.push(Entry { name, len });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(File::open(folder)?)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(FileLock { _file: file, _path: path.to_owned() }))
    }
}

/// Slices one `pwritev` takes: `IOV_MAX` of Linux.
const SLICES_PER_WRITE: usize = 1024;

#[derive(Debug)]
struct RealFile(File);

impl ReadAt for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, buf, position)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

impl DiskFile for RealFile {
    fn write_all_at(&self, mut slices: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(SLICES_PER_WRITE)];
            match rustix::io::pwritev(&self.0, batch, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let from = self.len()?;
        if len <= from {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), from, len - from) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            other => Ok(other?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&self.0, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Holds the `flock`, which goes with the file's last descriptor; children do not inherit it (`O_CLOEXEC`).
#[derive(Debug)]
struct FileLock {
    _file: File,
    _path: PathBuf,
}

impl LockGuard for FileLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_beyond_one_call_arrive_whole_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RealDisk.create(&folder.path().join("file")).expect("a file");
        let bytes: Vec<[u8; 3]> = (0..3000u32).map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        let mut slices: Vec<IoSlice<'_>> = bytes.iter().map(|b| IoSlice::new(b)).collect();
        slices.insert(5, IoSlice::new(&[]));
        file.write_all_at(&mut slices, 10).expect("written");
        let mut back = vec![0; 9000];
        file.read_exact_at(&mut back, 10).expect("read");
        assert_eq!(back, bytes.concat());
        assert_eq!(file.len().expect("length"), 9010);
    }

    #[test]
    fn allocated_bytes_are_zero_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RealDisk.create(&folder.path().join("file")).expect("a file");
        file.write_all_at(&mut [IoSlice::new(b"abc")], 0).expect("written");
        file.allocate(100_000).expect("allocated");
        file.allocate(10).expect("a smaller one changes nothing");
        assert_eq!(file.len().expect("length"), 100_000);
        let mut back = vec![1; 5];
        file.read_exact_at(&mut back, 0).expect("read");
        assert_eq!(back, b"abc\0\0");
    }

    #[test]
    fn a_lock_is_held_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".lock");
        let held = RealDisk.lock(&path).expect("free");
        assert_eq!(RealDisk.lock(&path).expect_err("held").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealDisk.lock(&path).expect("free again");
    }
}
