//! A disk in memory that does to a log what disks do: for the crash tests of this crate and of those above it.
//!
//! It keeps what was written and what was made durable apart. [`MemDisk::crash`] gives the disk as the next start would find
//! it: unsynced writes are kept, lost, or torn sector by sector; files made, renamed and removed in a folder that was not
//! synced happened or did not. Between crashes it runs full, fails the calls it is told to fail, flips bits, cuts files, and
//! holds syncs back until it is told to let them go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use sluice_protocol::records::ReadAt;

use crate::disk::{Disk, DiskFile, Entry, LockGuard};

mod file;
mod random;

use file::Inode;
pub use random::Random;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    syncs: Condvar,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    /// What was done to names since their folder was synced, in order.
    renamings: Vec<Renaming>,
    locks: HashSet<PathBuf>,
    capacity: Option<u64>,
    failing: Vec<(Call, u32, io::ErrorKind)>,
    /// Folders that are on a disk that does not answer.
    away: BTreeSet<PathBuf>,
    syncs_held: bool,
    syncs_waiting: usize,
    syncs_done: usize,
    writes_done: usize,
}

#[derive(Clone, Default)]
struct Names {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, usize>,
}

/// One change to the names of a folder.
#[derive(Clone)]
enum Renaming {
    MakeFolder(PathBuf),
    MakeFile(PathBuf, usize),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Making or emptying a file.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file: half of the bytes arrive.
    Write,
    /// Taking blocks ahead.
    Allocate,
    /// Cutting a file.
    Truncate,
    /// Making a file durable.
    Sync,
    /// Making a folder's names durable.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing a file.
    Remove,
}

/// What a crash does to what was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; the system goes on and loses nothing.
    Killed,
    /// The power goes, and with it everything that was not synced.
    PowerCut,
    /// The power goes while the system was writing: some sectors made it, some names, by this seed.
    Torn(u64),
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as the next start finds it. This one goes on by itself.
    #[must_use]
    pub fn crash(&self, how: Crash) -> Self {
        let state = self.0.state.lock();
        let mut random = Random::new(if let Crash::Torn(seed) = how { seed } else { 0 });
        let mut fresh = State::default();
        match how {
            // What was not synced still is not: a power cut may follow.
            Crash::Killed => {
                fresh.names = state.names.clone();
                fresh.durable_names = state.durable_names.clone();
                fresh.renamings = state.renamings.clone();
            }
            Crash::PowerCut => fresh.settle(state.durable_names.reachable()),
            Crash::Torn(_) => {
                let mut names = state.durable_names.clone();
                for renaming in &state.renamings {
                    if random.one_in(2) {
                        names.apply(renaming);
                    }
                }
                fresh.settle(names.reachable());
            }
        }
        fresh.inodes = state.inodes.iter().map(|inode| inode.after(how, &mut random)).collect();
        Self(Arc::new(Shared { state: Mutex::new(fresh), syncs: Condvar::new() }))
    }

    /// Has room for so many bytes in all files, or for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.0.state.lock().used()
    }

    /// Fails the call of this kind that comes after `passing` others, once.
    pub fn fail(&self, call: Call, passing: u32, kind: io::ErrorKind) {
        self.0.state.lock().failing.push((call, passing, kind));
    }

    /// Fails whatever asks for a folder or something in it by name, or stops doing so: the disk mounted there is away.
    pub fn fail_under(&self, folder: &Path, failing: bool) {
        let away = &mut self.0.state.lock().away;
        if failing {
            away.insert(folder.to_owned())
        } else {
            away.remove(folder)
        };
    }

    /// Holds `sync_data` back from now on, or lets those waiting go.
    pub fn hold_syncs(&self, held: bool) {
        self.0.state.lock().syncs_held = held;
        self.0.syncs.notify_all();
    }

    /// Waits until so many calls of `sync_data` are held back.
    pub fn await_held_syncs(&self, count: usize) {
        let mut state = self.0.state.lock();
        while state.syncs_waiting < count {
            self.0.syncs.wait(&mut state);
        }
    }

    /// Calls of `sync_data` that were done.
    pub fn syncs_done(&self) -> usize {
        self.0.state.lock().syncs_done
    }

    /// Calls of `write_all_at` that were done.
    pub fn writes_done(&self) -> usize {
        self.0.state.lock().writes_done
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.state.lock().names.files.keys().cloned().collect()
    }

    /// A file's bytes.
    ///
    /// # Panics
    /// When there is no such file, as for the other methods that name one.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        self.0.state.lock().inode(path).bytes().to_vec()
    }

    /// Cuts a file, as no log ever would.
    pub fn cut(&self, path: &Path, len: usize) {
        self.0.state.lock().inode(path).overwrite(|bytes| bytes.truncate(len));
    }

    /// Changes a file's byte, as no log ever would.
    pub fn flip(&self, path: &Path, at: usize, bits: u8) {
        self.0.state.lock().inode(path).overwrite(|bytes| bytes[at] ^= bits);
    }

    fn state(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.0.state.lock();
        state.called(call)?;
        Ok(state)
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("MemDisk").field("files", &state.names.files.len()).field("bytes", &state.used()).finish()
    }
}

impl Names {
    /// The root is always there.
    fn has_folder(&self, path: &Path) -> bool {
        path.parent().is_none() || self.folders.contains(path)
    }

    fn apply(&mut self, renaming: &Renaming) {
        match renaming {
            Renaming::MakeFolder(path) => {
                self.folders.insert(path.clone());
            }
            Renaming::MakeFile(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            Renaming::Move(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                } else if self.folders.remove(from) {
                    self.move_folder(from, to);
                }
            }
            Renaming::Remove(path) => {
                self.files.remove(path);
                self.folders.remove(path);
            }
        }
    }

    fn move_folder(&mut self, from: &Path, to: &Path) {
        let moved = |path: &Path| path.strip_prefix(from).map(|rest| to.join(rest)).ok();
        self.folders.insert(to.to_owned());
        self.folders = self.folders.iter().map(|path| moved(path).unwrap_or_else(|| path.clone())).collect();
        let files = std::mem::take(&mut self.files);
        self.files = files.into_iter().map(|(path, inode)| (moved(&path).unwrap_or(path), inode)).collect();
    }

    /// Only what is in folders that are there.
    fn reachable(&self) -> Self {
        let there = |path: &Path| path.ancestors().skip(1).all(|above| self.has_folder(above));
        Self {
            folders: self.folders.iter().filter(|path| there(path)).cloned().collect(),
            files: self
                .files
                .iter()
                .filter(|(path, _)| there(path))
                .map(|(path, inode)| (path.clone(), *inode))
                .collect(),
        }
    }
}

impl Renaming {
    /// Whether syncing this folder makes it durable.
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::MakeFolder(path) | Self::MakeFile(path, _) | Self::Remove(path) | Self::Move(path, _) => {
                path.parent() == Some(folder)
            }
        }
    }
}

impl State {
    fn called(&mut self, call: Call) -> io::Result<()> {
        let Some(at) = self.failing.iter().position(|(failing, ..)| *failing == call) else {
            return Ok(());
        };
        let (_, passing, kind) = &mut self.failing[at];
        if *passing > 0 {
            *passing -= 1;
            return Ok(());
        }
        let kind = *kind;
        self.failing.remove(at);
        Err(kind.into())
    }

    /// Whether the disk answers that a path is on.
    fn reach(&self, path: &Path) -> io::Result<()> {
        let away = self.away.iter().any(|folder| path.starts_with(folder));
        if away { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    /// Starts with these names, all of them durable.
    fn settle(&mut self, names: Names) {
        self.durable_names = names.clone();
        self.names = names;
    }

    fn rename(&mut self, renaming: Renaming) {
        self.names.apply(&renaming);
        self.renamings.push(renaming);
    }

    fn used(&self) -> u64 {
        self.names.files.values().map(|inode| self.inodes[*inode].bytes().len() as u64).sum()
    }

    /// Bytes that can still be added.
    fn room(&self) -> usize {
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn inode(&mut self, path: &Path) -> &mut Inode {
        let inode = *self.names.files.get(path).unwrap_or_else(|| panic!("no file {}", path.display()));
        &mut self.inodes[inode]
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let above: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        for folder in above.into_iter().rev().filter(|folder| folder.parent().is_some()) {
            if !state.names.folders.contains(&folder) {
                state.rename(Renaming::MakeFolder(folder));
            }
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.state.lock();
        state.reach(folder)?;
        if !state.names.has_folder(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let inside = |path: &Path| path.parent() == Some(folder);
        let folders = state.names.folders.iter().filter(|path| inside(path));
        let files = state.names.files.iter().filter(|(path, _)| inside(path));
        Ok(folders
            .filter_map(|path| Some(Entry { name: name(path)?, len: None }))
            .chain(files.filter_map(|(path, inode)| {
                Some(Entry { name: name(path)?, len: Some(state.inodes[*inode].bytes().len() as u64) })
            }))
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.0.state.lock();
        state.reach(path)?;
        let inode = *state.names.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: self.clone(), inode }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state(Call::Create)?;
        state.reach(path)?;
        if !path.parent().is_some_and(|folder| state.names.folders.contains(folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match state.names.files.get(path) {
            Some(inode) => {
                let inode = *inode;
                state.inodes[inode].truncate(0);
                inode
            }
            None => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.rename(Renaming::MakeFile(path.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(MemFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state(Call::Rename)?;
        if !state.names.files.contains_key(from) && !state.names.folders.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Renaming::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state(Call::Remove)?;
        if !state.names.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(Renaming::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        if !state.names.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = state.names.files.keys().filter(|file| file.starts_with(path));
        let folders = state.names.folders.iter().rev().filter(|folder| folder.starts_with(path));
        let inside: Vec<PathBuf> = files.chain(folders).cloned().collect();
        for path in inside {
            state.rename(Renaming::Remove(path));
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state(Call::SyncDir)?;
        if !state.names.has_folder(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (durable, still): (Vec<Renaming>, Vec<Renaming>) =
            std::mem::take(&mut state.renamings).into_iter().partition(|renaming| renaming.is_in(folder));
        state.renamings = still;
        for renaming in &durable {
            state.durable_names.apply(renaming);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        if !self.0.state.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.0.state.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    inode: usize,
}

impl ReadAt for MemFile {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let state = self.disk.state(Call::Read)?;
        let from = usize::try_from(position).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = state.inodes[self.inode].bytes().get(from..from + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.disk.0.state.lock();
        let mut outcome = state.called(Call::Write);
        let len = state.inodes[self.inode].bytes().len();
        let room = len.saturating_add(state.room()).saturating_sub(position);
        if outcome.is_err() {
            bytes.truncate(bytes.len() / 2);
        } else if bytes.len() > room {
            bytes.truncate(room);
            outcome = Err(io::ErrorKind::StorageFull.into());
        }
        state.inodes[self.inode].write(position, bytes);
        state.writes_done += 1;
        outcome
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state(Call::Allocate)?;
        let wanted = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let len = state.inodes[self.inode].bytes().len();
        if wanted > len.saturating_add(state.room()) {
            // As ext4 does: what fits is taken all the same.
            let most = len.saturating_add(state.room());
            state.inodes[self.inode].extend(most);
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.inodes[self.inode].extend(wanted);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state(Call::Truncate)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.inodes[self.inode].truncate(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        state.syncs_waiting += 1;
        self.disk.0.syncs.notify_all();
        while state.syncs_held {
            self.disk.0.syncs.wait(&mut state);
        }
        state.syncs_waiting -= 1;
        state.called(Call::Sync)?;
        state.inodes[self.inode].sync();
        state.syncs_done += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.state.lock().inodes[self.inode].bytes().len() as u64)
    }
}
