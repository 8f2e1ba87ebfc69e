//! Compiled code kept on this machine's disk, so that a restart compiles nothing. A cache: the plugin's binary is the
//! truth, and a file that is missing, broken or of other settings is compiled again, never loaded.
//!
//! ```text
//!   <key in hex>.code     magic | key | length | SHA-256 of the code | code
//!                          8      32     8        32
//! ```
//! The key is a digest of the plugin's digest and the engine's fingerprint, so a new version, another setting or
//! another processor finds nothing. Files are written whole beside their name and renamed; the folder is this user's
//! alone, as code in it is run.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::compile::CODE_BYTES_MAX;

/// What the folder may come to; beyond it the files longest unused go. Some hundred plugins of usual size.
const CACHE_BYTES_MAX: u64 = 1 << 30;

/// Begins every file; the digit is the version of its layout.
const MAGIC: [u8; 8] = *b"SLCODE1\0";

const HEADER_BYTES: usize = 8 + 32 + 8 + 32;

const SUFFIX: &str = "code";
const SUFFIX_UNFINISHED: &str = "tmp";

/// The folder with compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    fingerprint: [u8; 32],
    /// Makes names of unfinished files differ within the process; the process's id makes them differ between processes.
    unfinished: AtomicU64,
}

/// Why a folder cannot hold code that will be run.
#[derive(Debug, thiserror::Error)]
pub enum CacheFolderError {
    /// It could not be made or read.
    #[error("the folder {} for compiled plugins", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Someone else could put code there.
    #[error("the folder {} for compiled plugins must belong to this user and be writable by no one else: chmod 700", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
    },
}

impl Cache {
    pub(crate) fn open(dir: &Path, fingerprint: [u8; 32]) -> Result<Self, CacheFolderError> {
        let io = |cause| CacheFolderError::Io { path: dir.to_owned(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let metadata = fs::symlink_metadata(dir).map_err(io)?;
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || !ours || metadata.mode() & 0o022 != 0 {
            return Err(CacheFolderError::Open { path: dir.to_owned() });
        }
        let cache = Self { dir: dir.to_owned(), fingerprint, unfinished: AtomicU64::new(0) };
        cache.sweep();
        Ok(cache)
    }

    /// The code kept for a plugin; `None` when there is none, or none that is whole.
    pub(crate) fn get(&self, plugin: &[u8; 32]) -> Option<Vec<u8>> {
        let key = self.key(plugin);
        let path = self.path(&key, SUFFIX);
        match read(&path, &key) {
            Ok(code) => {
                // Says that it was used; if that cannot be noted it is the sooner swept, no more.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(code)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code is not usable, compiling again");
                None
            }
        }
    }

    /// Keeps a plugin's code. A failure costs the next start a compilation, so it is said and not passed on.
    pub(crate) fn put(&self, plugin: &[u8; 32], code: &[u8]) {
        let key = self.key(plugin);
        if let Err(error) = self.write(&key, code) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code could not be kept");
        }
        self.sweep();
    }

    fn write(&self, key: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let n = self.unfinished.fetch_add(1, Relaxed);
        let unfinished = self.path(key, &format!("{}-{n}.{SUFFIX_UNFINISHED}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(&MAGIC)?;
            file.write_all(key)?;
            file.write_all(&(code.len() as u64).to_le_bytes())?;
            file.write_all(&Sha256::digest(code))?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.path(key, SUFFIX))?;
            File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            // Gone already when the rename was done; else the next sweep takes it.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Removes files that were never finished, and those longest unused while all come to more than the folder may
    /// hold.
    fn sweep(&self) {
        let mut files = Vec::new();
        let listed = fs::read_dir(&self.dir).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                // A file may go while the folder is read: another broker process sweeps it too.
                let Ok(metadata) = entry.metadata() else { continue };
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                match entry.path().extension().and_then(OsStr::to_str) {
                    Some(SUFFIX) => files.push((modified, metadata.len(), entry.path())),
                    Some(SUFFIX_UNFINISHED) if is_old(modified) => drop(fs::remove_file(entry.path())),
                    _ => {}
                }
            }
            Ok(())
        });
        if let Err(error) = listed {
            tracing::warn!(dir = %self.dir.display(), %error, "the folder for compiled plugins could not be swept");
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= CACHE_BYTES_MAX {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
    }

    fn key(&self, plugin: &[u8; 32]) -> [u8; 32] {
        Sha256::new().chain_update(plugin).chain_update(self.fingerprint).finalize().into()
    }

    fn path(&self, key: &[u8; 32], suffix: &str) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("{name}.{suffix}"))
    }
}

/// Whether an unfinished file was left behind: a compilation takes less than a minute, writing its code less than that.
fn is_old(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age.as_secs() > 600)
}

/// The code of a file, once all that stands before it agrees with it.
fn read(path: &Path, key: &[u8; 32]) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = size.checked_sub(HEADER_BYTES as u64).ok_or_else(|| broken("shorter than its header"))?;
    if length > CODE_BYTES_MAX as u64 {
        return Err(broken("longer than code may be"));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let (expected, digest) = header.split_at(HEADER_BYTES - 32);
    if expected != [&MAGIC[..], key, &length.to_le_bytes()].concat() {
        return Err(broken("of another layout, plugin or length"));
    }
    let mut code = Vec::with_capacity(usize::try_from(length).map_err(|_| broken("longer than memory"))?);
    file.take(length).read_to_end(&mut code)?;
    if Sha256::digest(&code)[..] != *digest {
        return Err(broken("its checksum does not match"));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PLUGIN: [u8; 32] = [7; 32];

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("code"), [1; 32]).unwrap();
        (dir, cache)
    }

    fn only_file(cache: &Cache) -> PathBuf {
        let mut files = fs::read_dir(&cache.dir).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one file, finished");
        file
    }

    #[test]
    fn keeps_what_was_put_for_this_user_alone() {
        let (_dir, cache) = cache();
        assert_eq!(cache.get(&PLUGIN), None);
        cache.put(&PLUGIN, b"code");
        assert_eq!(cache.get(&PLUGIN).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get(&[8; 32]), None, "another plugin");
        assert_eq!(fs::metadata(&cache.dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(only_file(&cache)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn other_settings_find_nothing() {
        let (_dir, cache) = cache();
        cache.put(&PLUGIN, b"code");
        let other = Cache::open(&cache.dir, [2; 32]).unwrap();
        assert_eq!(other.get(&PLUGIN), None);
    }

    #[test]
    fn a_file_with_any_byte_changed_or_missing_is_not_code() {
        let (_dir, cache) = cache();
        cache.put(&PLUGIN, b"some code");
        let path = only_file(&cache);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            assert_eq!(cache.get(&PLUGIN), None, "byte {at} flipped");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.get(&PLUGIN), None, "cut at {at}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(cache.get(&PLUGIN), None, "a byte more");
        cache.put(&PLUGIN, b"some code");
        assert_eq!(cache.get(&PLUGIN).as_deref(), Some(&b"some code"[..]), "written anew");
    }

    #[test]
    fn a_file_of_another_plugin_under_this_name_is_not_code() {
        let (_dir, cache) = cache();
        cache.put(&PLUGIN, b"code");
        fs::rename(only_file(&cache), cache.path(&cache.key(&[8; 32]), SUFFIX)).unwrap();
        assert_eq!(cache.get(&[8; 32]), None);
    }

    #[test]
    fn a_folder_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Cache::open(dir.path(), [1; 32]), Err(CacheFolderError::Open { .. })));
    }
}
