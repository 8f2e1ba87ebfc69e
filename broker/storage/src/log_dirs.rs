//! The log directories of a broker: each a disk of its own, locked, identified and failed by itself.
//!
//! ```text
//!   /disk-a  orders-0 orders-3        open
//!   /disk-b  orders-1                 failed: its partitions are offline, and stay its own
//!   /disk-c  ?                        away since the start: what it holds is not known
//! ```
//! A partition's log is in one directory, and stays there. A new one goes where the fewest are. A log that may be in a
//! directory that is away is not made again elsewhere (KAFKA-16234): the other copy would be empty, and the first back one day.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_protocol::Uuid;

use crate::dir_state::OnFailure;
use crate::flusher::Flusher;
use crate::log::Log;
use crate::log_dir::{
    DirFailed, Identity, LockedLogDir, LogDir, LogDirOptions, MarkCleanError, OpenError, Opened, Owner,
};
use crate::partition_dir::PartitionDir;
use crate::siblings::Siblings;

/// Log directories that are locked and not opened yet.
#[derive(Debug)]
pub struct LockedLogDirs {
    dirs: Vec<(LockedLogDir, Uuid)>,
    away: Vec<Away>,
    siblings: Siblings,
}

/// A directory that could not be locked or read at the start.
#[derive(Debug)]
pub struct Away {
    /// Where it should be.
    pub path: PathBuf,
    /// Why it is not used.
    pub why: OpenError,
}

/// The log directories of a broker.
#[derive(Debug)]
pub struct LogDirs {
    dirs: Vec<LogDir>,
    away: Vec<Away>,
    /// Where each log is, or will be.
    placed: Mutex<HashMap<PartitionDir, usize>>,
}

/// Whether this broker may have a replica's log already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// It was assigned to this broker while it ran: there is no log of it, or it is in a directory that was open since.
    New,
    /// It was this broker's before.
    Known,
}

/// Why a log has no directory now.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlaceError {
    /// The directory that has it has failed.
    #[error(transparent)]
    Failed(#[from] DirFailed),
    /// It is in none of the directories that are open, and one is away that may have it.
    #[error("no open log directory has it, and {} is away", path.display())]
    MayBeAway {
        /// The directory.
        path: PathBuf,
    },
}

impl LockedLogDirs {
    /// Locks directories, made if need be. One that does not read is away as long as another does.
    ///
    /// `new_id` gives new directories their ids, and the set one if a member was lost: random, and the caller's. It is asked at most
    /// once for each path, and once more.
    ///
    /// # Errors
    /// [`OpenError`] of the first, if none can be used, or if one is another's.
    ///
    /// # Panics
    /// Without any path.
    pub fn lock(
        paths: &[PathBuf],
        options: &LogDirOptions,
        mut new_id: impl FnMut() -> Uuid,
    ) -> Result<Self, OpenError> {
        assert!(!paths.is_empty(), "a broker has a log directory");
        let (mut dirs, mut away, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let locked = LockedLogDir::lock_with(path, options.clone()).and_then(|dir| {
                let copy = Siblings::read(&*options.disk, path);
                Ok((dir, copy.map_err(|cause| OpenError::Io { path: path.clone(), cause })?))
            });
            match locked {
                Ok((dir, copy)) => {
                    let id = dir.owner().map_or_else(&mut new_id, |owner| owner.directory_id);
                    dirs.push((dir, id));
                    copies.extend(copy);
                }
                Err(why) => set_aside(&mut away, path, why)?,
            }
        }
        if dirs.is_empty() {
            return Err(away.swap_remove(0).why);
        }
        let known = copies.into_iter().max_by_key(|copy| copy.generation);
        let ids = |owned: bool| -> Vec<Uuid> {
            dirs.iter().filter(|(dir, _)| dir.owner().is_some() == owned).map(|(_, id)| *id).collect()
        };
        let siblings = Siblings::after(known, &ids(true), &ids(false), away.len(), new_id());
        Ok(Self { dirs, away, siblings })
    }

    /// Whose they are: the first's owner that has one. That all agree shows when they are opened.
    pub fn owner(&self) -> Option<&Owner> {
        self.dirs.iter().find_map(|(dir, _)| dir.owner())
    }

    /// The first that works: a place for what a broker keeps besides logs.
    pub fn home(&self) -> &Path {
        self.dirs[0].0.path()
    }

    /// Tells these directories from any others: another one as soon as one was wiped or is missing, the same while one is only
    /// away, or when one was added. The id of the directory, where a broker never had but one.
    pub fn uuid(&self) -> Uuid {
        self.siblings.uuid
    }

    /// Whether the last run ended cleanly in all of them, and none is away. One that was added has nothing to be unclean.
    pub fn was_clean(&self) -> bool {
        let owned = || self.dirs.iter().filter(|(dir, _)| dir.owner().is_some());
        self.away.is_empty() && owned().next().is_some() && owned().all(|(dir, _)| dir.was_clean())
    }

    /// Opens them for their owner. `on_failure` is told of each that fails from here on.
    ///
    /// # Errors
    /// [`OpenError`] says whose one is, what is wrong with one, or that two hold the same partition.
    pub fn open(
        self,
        cluster_id: &str,
        broker_id: i32,
        on_failure: Arc<dyn Fn(&DirFailed) + Send + Sync>,
    ) -> Result<(LogDirs, Vec<Opened>), OpenError> {
        let Self { dirs: locked, mut away, siblings } = self;
        let several = siblings.members.len() > 1;
        let (mut dirs, mut all) = (Vec::new(), Vec::new());
        let mut placed: HashMap<PartitionDir, usize> = HashMap::new();
        for (dir, new_directory_id) in locked {
            let path = dir.path().to_owned();
            let identity = Identity { cluster_id: cluster_id.to_owned(), broker_id, new_directory_id };
            let opened = dir.open(&identity).and_then(|(dir, opened)| {
                let noted = if several { siblings.write(&*dir.state().disk, &path) } else { Ok(()) };
                noted.map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
                Ok((dir, opened))
            });
            let (dir, opened) = match opened {
                Ok(open) => open,
                Err(why) => {
                    set_aside(&mut away, &path, why)?;
                    continue;
                }
            };
            for partition in &opened.partitions {
                if let Some(other) = placed.insert(partition.clone(), dirs.len()) {
                    let [first, second] = [&dirs[other], &dir].map(|dir: &LogDir| dir.path().to_owned());
                    return Err(OpenError::Twice { partition: partition.to_string(), first, second });
                }
            }
            dir.state().on_failure(OnFailure(Arc::clone(&on_failure)));
            dirs.push(dir);
            all.push(opened);
        }
        if dirs.is_empty() {
            return Err(away.swap_remove(0).why);
        }
        Ok((LogDirs { dirs, away, placed: Mutex::new(placed) }, all))
    }
}

/// Goes on without a directory whose disk fails. What is damaged or another's is for its operator to look at first.
fn set_aside(away: &mut Vec<Away>, path: &Path, why: OpenError) -> Result<(), OpenError> {
    match why {
        OpenError::Io { .. } => {
            tracing::error!(dir = %path.display(), error = %why, "log directory is away: what it holds is offline");
            away.push(Away { path: path.to_owned(), why });
            Ok(())
        }
        other => Err(other),
    }
}

impl LogDirs {
    /// The directories that were opened, failed since or not.
    pub fn dirs(&self) -> &[LogDir] {
        &self.dirs
    }

    /// Those that were not.
    pub fn away(&self) -> &[Away] {
        &self.away
    }

    /// The directory of a partition's log: the one that has it, else, for a log to be made, the one with the fewest.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn place(&self, partition: &PartitionDir, replica: Replica) -> Result<&LogDir, PlaceError> {
        let mut placed = self.placed.lock();
        let named = || self.dirs.iter().position(|dir| dir.failed().is_none() && dir.state().has_folder(partition));
        if let Some(at) = placed.get(partition).copied().or_else(named) {
            let dir = &self.dirs[at];
            match dir.failed() {
                Some(failed) if dir.state().has_folder(partition) => return Err(failed.clone().into()),
                // It was to be made there.
                Some(_) => {}
                None => {
                    placed.insert(partition.clone(), at);
                    return Ok(dir);
                }
            }
        }
        if replica == Replica::Known
            && let Some(away) = self.away.first()
        {
            return Err(PlaceError::MayBeAway { path: away.path.clone() });
        }
        let mut logs = vec![0usize; self.dirs.len()];
        for at in placed.values() {
            logs[*at] += 1;
        }
        let works = |at: &usize| self.dirs[*at].failed().is_none();
        match (0..self.dirs.len()).filter(works).min_by_key(|at| logs[*at]) {
            Some(at) => {
                placed.insert(partition.clone(), at);
                Ok(&self.dirs[at])
            }
            None => {
                Err(self.dirs.iter().find_map(LogDir::failed).cloned().map_or_else(
                    || unreachable!("there is a directory, and it works or has failed"),
                    PlaceError::Failed,
                ))
            }
        }
    }

    /// Where flushes of a log are asked for.
    ///
    /// # Panics
    /// When the log is of none of these directories.
    pub fn flusher(&self, log: &Log) -> &Flusher {
        self.dirs[self.dir_of(log)].flusher()
    }

    fn dir_of(&self, log: &Log) -> usize {
        let of = |dir: &LogDir| Arc::ptr_eq(dir.state(), log.dir());
        self.dirs.iter().position(of).expect("the log was opened in one of these")
    }

    /// The directories that have failed.
    pub fn failed(&self) -> impl Iterator<Item = &DirFailed> {
        self.dirs.iter().filter_map(LogDir::failed)
    }

    /// Whether none is left to write to.
    pub fn all_failed(&self) -> bool {
        self.failed().count() == self.dirs.len()
    }

    /// The partitions whose logs are in directories that have failed.
    pub fn offline(&self) -> Vec<PartitionDir> {
        let failed = self.dirs.iter().filter(|dir| dir.failed().is_some());
        failed.flat_map(LogDir::partitions).collect()
    }

    /// Removes the folder of a partition that has no open log, wherever it is.
    ///
    /// # Errors
    /// Its directory has failed.
    pub fn remove(&self, partition: &PartitionDir) -> Result<(), DirFailed> {
        let at = self.placed.lock().get(partition).copied();
        let named = || self.dirs.iter().position(|dir| dir.state().has_folder(partition));
        if let Some(at) = at.or_else(named) {
            self.dirs[at].remove(partition)?;
            self.forget(partition);
        }
        Ok(())
    }

    /// As [`LogDir::delete`], each log in its directory: one that fails over it keeps no other from being rid of its own. Their
    /// names may be placed anew. Returns those that are gone, and the directories that failed.
    ///
    /// # Panics
    /// When a log is of none of these directories.
    pub fn delete(&self, logs: Vec<Log>) -> (Vec<PartitionDir>, Vec<DirFailed>) {
        let mut of_dirs: Vec<Vec<Log>> = self.dirs.iter().map(|_| Vec::new()).collect();
        for log in logs {
            of_dirs[self.dir_of(&log)].push(log);
        }
        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for (dir, logs) in self.dirs.iter().zip(of_dirs).filter(|(_, logs)| !logs.is_empty()) {
            let names: Vec<PartitionDir> = logs.iter().map(|log| log.name().clone()).collect();
            names.iter().for_each(|name| self.forget(name));
            match dir.delete(logs) {
                Ok(()) => deleted.extend(names),
                Err(failed) => failures.push(failed),
            }
        }
        (deleted, failures)
    }

    fn forget(&self, partition: &PartitionDir) {
        self.placed.lock().remove(partition);
    }

    /// As [`LogDir::remove_strays`], in every directory that works. Returns which, and the directories that failed over it.
    pub fn remove_strays(&self, is_stray: impl Fn(&PartitionDir) -> bool) -> (Vec<PartitionDir>, Vec<DirFailed>) {
        let (mut removed, mut failures) = (Vec::new(), Vec::new());
        for dir in self.dirs.iter().filter(|dir| dir.failed().is_none()) {
            match dir.remove_strays(&is_stray) {
                Ok(strays) => removed.extend(strays),
                Err(failed) => failures.push(failed),
            }
        }
        for stray in &removed {
            self.forget(stray);
        }
        (removed, failures)
    }

    /// As [`LogDir::mark_clean`], for each by itself: one that failed does not keep the others from being taken for clean.
    ///
    /// # Errors
    /// The first directory that could not be marked; the next start then is an unclean one.
    pub fn mark_clean(&self) -> Result<(), MarkCleanError> {
        // All of them, whichever fails.
        let marked: Vec<Result<(), MarkCleanError>> = self.dirs.iter().map(LogDir::mark_clean).collect();
        marked.into_iter().collect()
    }
}
