//! A disk of its own, which can fail while it is in use and be mended: a file with a file system in it, mounted. It fails as the
//! kernel lets a file system fail whose device returned an error (`errors=remount-ro`): from then on no write and no flush on it
//! succeeds, in files that are open too.
//!
//! It takes root and loop devices; where they are not, whoever asks is told why and does without. It is gone when it is
//! dropped; what a killed run left is removed by the next.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{command, is_left_over, new_name, undo};

/// A mounted disk. Whoever has files on it ends before it is mended or dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

/// What its folder's name begins with.
const PREFIX: &str = "sluice-disk-";

/// In its folder: the file, and where it is mounted.
const IMAGE: &str = "image";
const MOUNTED: &str = "mounted";

/// Its size; the file has holes, and takes what is written.
const SIZE: u64 = 1 << 30;

impl Disk {
    /// An empty one. `None` where it can't be had, which is said.
    pub fn try_new() -> Option<Self> {
        sweep();
        let disk = Self { folder: std::env::temp_dir().join(format!("{PREFIX}{}", new_name())) };
        fs::create_dir_all(disk.mounted()).expect("the temporary folder can be written");
        let image = fs::File::create(disk.image()).and_then(|image| image.set_len(SIZE));
        image.expect("the temporary folder can be written");
        let made = command(&format!("mkfs.ext4 -q -F {}", disk.image().display())).and_then(|()| disk.mount());
        let made = made.and_then(|()| match disk.switch() {
            Some(switch) if switch.exists() => Ok(()),
            switch => Err(format!("no switch to let it fail by: {switch:?}")),
        });
        match made {
            Ok(()) => Some(disk),
            Err(why) => {
                eprintln!("skipped: no disk of its own can be had here: {why}");
                None
            }
        }
    }

    /// A folder on it, for a broker's logs.
    pub fn data(&self) -> PathBuf {
        self.mounted().join("data")
    }

    /// It fails: from now on nothing can be written.
    pub fn fail(&self) {
        let switch = self.switch().expect("it is mounted");
        fs::write(&switch, "1").unwrap_or_else(|error| panic!("{}: {error}", switch.display()));
        let written = fs::write(self.mounted().join("probe"), "");
        assert!(written.is_err(), "{} still takes writes", self.mounted().display());
    }

    /// It is taken out, checked, and put back with what had reached it.
    pub fn mend(&self) {
        let checked = command(&format!("umount {}", self.mounted().display()));
        // That it changed something is how a check of a disk that failed ends well.
        let checked = checked.map(|()| command(&format!("e2fsck -fy {}", self.image().display())));
        drop(checked.unwrap_or_else(|why| panic!("{why}")));
        self.mount().unwrap_or_else(|why| panic!("{why}"));
    }

    fn mount(&self) -> Result<(), String> {
        let (image, mounted) = (self.image(), self.mounted());
        command(&format!("mount -o loop,errors=remount-ro {} {}", image.display(), mounted.display()))
    }

    /// The file by which the kernel is told to take the file system for broken.
    fn switch(&self) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            (rest.split(' ').next()? == self.mounted().to_str()?).then_some(device)
        });
        Some(Path::new("/sys/fs/ext4").join(device?.strip_prefix("/dev/")?).join("trigger_fs_error"))
    }

    fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    fn mounted(&self) -> PathBuf {
        self.folder.join(MOUNTED)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes what runs that were killed have left.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)).is_some_and(is_left_over) {
            remove(&entry.path());
        }
    }
}

fn remove(folder: &Path) {
    let mounted = folder.join(MOUNTED);
    let is_mounted = fs::read_to_string("/proc/mounts")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(1) == mounted.to_str()));
    if is_mounted {
        undo(&format!("umount {}", mounted.display()));
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("left behind: {}: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn it_fails_in_use_and_has_what_was_flushed_when_it_is_mended() {
        let Some(disk) = Disk::try_new() else { return };
        fs::create_dir(disk.data()).unwrap();
        let mut open = fs::File::create(disk.data().join("log")).unwrap();
        open.write_all(b"kept").unwrap();
        open.sync_all().unwrap();
        disk.fail();
        open.write_all(b"lost").unwrap_err();
        open.sync_all().unwrap_err();
        drop(open);
        disk.mend();
        assert_eq!(fs::read(disk.data().join("log")).unwrap(), b"kept");
        fs::write(disk.data().join("more"), "").unwrap();
        let folder = disk.folder.clone();
        drop(disk);
        assert!(!folder.exists());
    }
}
