//! Several log directories: where logs go, what one takes with it when it fails, and what it leaves alone.

mod support;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use sluice_protocol::Uuid;
use sluice_storage::testing::{Call, Crash, MemDisk};
use sluice_storage::{
    AppendError, Disk, LockedLogDirs, Log, LogDirOptions, LogDirs, MarkCleanError, OpenError, Opened, PartitionDir,
    PlaceError, Replica,
};
use support::{NOW_MS, append, batch, config};

fn options(disk: &MemDisk) -> LogDirOptions {
    LogDirOptions { disk: Arc::new(disk.clone()), checkpoint_interval: None, on_sync: None }
}

fn paths() -> Vec<PathBuf> {
    ["/a", "/b", "/c"].map(PathBuf::from).to_vec()
}

fn lock(disk: &MemDisk) -> Result<LockedLogDirs, OpenError> {
    let mut ids = 0;
    LockedLogDirs::lock(&paths(), &options(disk), || {
        ids += 1;
        Uuid([ids; 16])
    })
}

/// The directories, what was found in them, and where their failures are heard of.
struct Dirs {
    dirs: LogDirs,
    opened: Vec<Opened>,
    failures: mpsc::Receiver<PathBuf>,
}

fn open(disk: &MemDisk) -> Dirs {
    let (failed, failures) = mpsc::sync_channel(8);
    let on_failure = Arc::new(move |why: &sluice_storage::DirFailed| {
        failed.send(why.path.clone()).expect("heard");
    });
    let (dirs, opened) = lock(disk).expect("locked").open("cluster", 1, on_failure).expect("they open");
    Dirs { dirs, opened, failures }
}

fn partition(index: i32) -> PartitionDir {
    PartitionDir::new("orders", index, Uuid([1; 16])).expect("a name")
}

fn log(dirs: &LogDirs, index: i32, replica: Replica) -> Log {
    let dir = dirs.place(&partition(index), replica).expect("placed");
    Log::open(dir, &partition(index), config(), NOW_MS).expect("it opens").0
}

fn write(log: &mut Log) {
    append(log, &batch(0, 1), 0).expect("appended");
}

/// A broker that has run and ended cleanly, with a log in each directory.
fn settled() -> MemDisk {
    let disk = MemDisk::new();
    let Dirs { dirs, .. } = open(&disk);
    for index in 0..3 {
        let mut log = log(&dirs, index, Replica::New);
        write(&mut log);
        log.close_clean().expect("closed");
    }
    dirs.mark_clean().expect("marked");
    disk.crash(Crash::PowerCut)
}

#[test]
fn logs_go_where_the_fewest_are_and_are_found_there_again() {
    let disk = MemDisk::new();
    let Dirs { dirs, .. } = open(&disk);
    let mut open_logs: Vec<Log> = (0..7).map(|index| log(&dirs, index, Replica::New)).collect();
    open_logs.iter_mut().for_each(write);
    let counts: Vec<usize> = dirs.dirs().iter().map(|dir| dir.partitions().len()).collect();
    assert_eq!(counts, [3, 2, 2]);
    drop(open_logs);
    let Dirs { dirs, opened, .. } = open(&disk.crash(Crash::Killed));
    assert_eq!(opened.iter().map(|opened| opened.partitions.len()).collect::<Vec<_>>(), counts);
    let again: Vec<Log> = (0..7).map(|index| log(&dirs, index, Replica::Known)).collect();
    assert!(again.iter().all(|log| log.reader().log_end_offset() == 1), "none was made anew");
}

#[test]
fn a_directory_that_fails_takes_its_own_partitions_with_it_and_no_others() {
    let disk = settled();
    let Dirs { dirs, failures, .. } = open(&disk);
    let mut logs: Vec<Log> = (0..3).map(|index| log(&dirs, index, Replica::Known)).collect();
    disk.fail(Call::Write, 0, io::ErrorKind::Other);
    let error = append(&mut logs[1], &batch(1, 1), 0).expect_err("EIO");
    assert!(matches!(&error, AppendError::Storage(failed) if failed.path == *"/b"), "{error}");
    assert_eq!(failures.try_recv(), Ok(PathBuf::from("/b")));
    assert_eq!(dirs.offline(), [partition(1)]);
    assert!(!dirs.all_failed());
    for index in [0, 2] {
        append(&mut logs[index], &batch(1, 1), 0).expect("its disk works");
    }
    assert!(failures.try_recv().is_err(), "told once");
    // Its partition is offline, not made again where there is a disk that works; new ones are.
    let replaced = dirs.place(&partition(1), Replica::Known).map(|dir| dir.path().to_owned());
    assert!(matches!(replaced, Err(PlaceError::Failed(_))), "{replaced:?}");
    for index in 3..7 {
        assert_ne!(dirs.place(&partition(index), Replica::New).expect("placed").path(), PathBuf::from("/b"));
    }
    // KAFKA-15375: what did not end cleanly is not marked so; what did is.
    for log in logs {
        let on_b = log.name() == &partition(1);
        assert_eq!(log.close_clean().is_err(), on_b);
    }
    let error = dirs.mark_clean().expect_err("one has failed");
    assert!(matches!(error, MarkCleanError::Failed(_)), "{error}");
    drop(dirs);
    let locked = lock(&disk.crash(Crash::Killed)).expect("locked");
    assert!(!locked.was_clean(), "and all of it counts as unclean");
    let Dirs { opened, .. } = {
        drop(locked);
        open(&disk.crash(Crash::Killed))
    };
    assert_eq!(opened.iter().map(|opened| opened.clean).collect::<Vec<_>>(), [true, false, true]);
}

/// KAFKA-15375: a directory whose logs were never all opened is not clean, however orderly the end.
#[test]
fn a_start_that_did_not_come_to_all_logs_leaves_no_clean_mark() {
    let disk = settled();
    let killed = {
        let Dirs { dirs, .. } = open(&disk);
        let mut first = log(&dirs, 0, Replica::Known);
        append(&mut first, &batch(1, 1), 0).expect("appended");
        disk.crash(Crash::Killed)
    };
    let Dirs { dirs, .. } = open(&killed);
    let error = dirs.mark_clean().expect_err("nothing was opened, so nothing was looked at");
    assert!(matches!(error, MarkCleanError::NotClosed { .. }), "{error}");
    drop(dirs);
    assert!(!lock(&killed).expect("locked").was_clean());
}

/// KAFKA-16234: a disk that is away for a while must not have its replicas made again, empty, on another.
#[test]
fn a_replica_on_a_disk_that_is_away_is_not_made_again_elsewhere() {
    let disk = settled();
    let uuid = lock(&disk).expect("locked").uuid();
    disk.fail_under(&PathBuf::from("/b"), true);
    let locked = lock(&disk).expect("the others do");
    assert!(!locked.was_clean(), "what it is like there is not known");
    assert_eq!(locked.uuid(), uuid, "nothing is lost, for all that is known");
    drop(locked);
    let Dirs { dirs, .. } = open(&disk);
    assert_eq!(dirs.away().iter().map(|away| away.path.clone()).collect::<Vec<_>>(), [PathBuf::from("/b")]);
    let placed = dirs.place(&partition(1), Replica::Known).map(|dir| dir.path().to_owned());
    assert!(matches!(placed, Err(PlaceError::MayBeAway { .. })), "{placed:?}");
    assert_eq!(log(&dirs, 0, Replica::Known).reader().log_end_offset(), 1);
    drop(log(&dirs, 7, Replica::New));
    drop(dirs);
    disk.fail_under(&PathBuf::from("/b"), false);
    assert_eq!(lock(&disk).expect("locked").uuid(), uuid);
    let Dirs { dirs, .. } = open(&disk);
    assert_eq!(log(&dirs, 1, Replica::Known).reader().log_end_offset(), 1, "back, with what it had");
}

/// What was counted on there is gone: the broker must not pass for the one that had it.
#[test]
fn a_disk_that_was_wiped_makes_another_broker_and_one_that_was_added_does_not() {
    let disk = settled();
    let uuid = lock(&disk).expect("locked").uuid();
    let more: Vec<PathBuf> = paths().into_iter().chain([PathBuf::from("/d")]).collect();
    let lock_all =
        |disk: &MemDisk, id: u8| LockedLogDirs::lock(&more, &options(disk), || Uuid([id; 16])).expect("locked");
    let added = lock_all(&disk, 40);
    assert!(added.was_clean() && added.uuid() == uuid, "added");
    drop(added.open("cluster", 1, Arc::new(|_| {})).expect("they open"));
    let wiped = disk.crash(Crash::PowerCut);
    wiped.remove_dir_all(&PathBuf::from("/b")).expect("removed");
    let locked = lock_all(&wiped, 50);
    assert_ne!(locked.uuid(), uuid, "wiped");
    let then = locked.uuid();
    drop(locked.open("cluster", 1, Arc::new(|_| {})).expect("they open"));
    assert_eq!(lock_all(&wiped.crash(Crash::PowerCut), 60).uuid(), then, "and it stays that one");
    // Without its place in the configuration its logs are missing as well.
    let disk = disk.crash(Crash::PowerCut);
    let fewer = LockedLogDirs::lock(&paths(), &options(&disk), || Uuid([70; 16])).expect("locked");
    assert_ne!(fewer.uuid(), uuid, "taken away");
}

#[test]
fn without_any_disk_that_works_there_is_no_start() {
    let disk = settled();
    for path in paths() {
        disk.fail_under(&path, true);
    }
    let error = lock(&disk).expect_err("none works");
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn a_partition_in_two_directories_is_for_its_operator_to_judge() {
    let disk = settled();
    for (from, to) in [("/a/orders-0", "/b/orders-0")] {
        disk.create_dir_all(&PathBuf::from(to)).expect("made");
        for file in disk.files().into_iter().filter(|file| file.starts_with(from)) {
            let copy = PathBuf::from(to).join(file.file_name().expect("a name"));
            let content = disk.content(&file);
            let made = disk.create(&copy).expect("made");
            made.write_all_at(&mut [io::IoSlice::new(&content)], 0).expect("written");
        }
    }
    let error = lock(&disk).expect("locked").open("cluster", 1, Arc::new(|_| {})).expect_err("twice");
    assert!(matches!(&error, OpenError::Twice { partition, .. } if partition == "orders-0"), "{error}");
}

#[test]
fn a_damaged_log_whose_topic_is_gone_does_not_keep_later_ends_from_being_clean() {
    let disk = settled();
    let killed = {
        let Dirs { dirs, .. } = open(&disk);
        drop(log(&dirs, 0, Replica::Known));
        disk.crash(Crash::Killed)
    };
    let segment = killed
        .files()
        .into_iter()
        .find(|file| file.starts_with("/a/orders-0") && file.ends_with("00000000000000000000.log"));
    killed.cut(&segment.expect("its segment"), 3);
    let Dirs { dirs, .. } = open(&killed);
    let dir = dirs.place(&partition(0), Replica::Known).expect("there");
    Log::open(dir, &partition(0), config(), NOW_MS).expect_err("damaged");
    let (removed, failures) = dirs.remove_strays(|found| *found == partition(0));
    assert_eq!((removed, failures.len()), (vec![partition(0)], 0));
    for index in 1..3 {
        log(&dirs, index, Replica::Known).close_clean().expect("closed");
    }
    dirs.mark_clean().expect("nothing is left that was not closed");
    drop(dirs);
    assert!(lock(&killed).expect("locked").was_clean());
}

#[test]
fn directories_of_another_broker_or_in_use_are_refused_not_set_aside() {
    let disk = settled();
    let held = lock(&disk).expect("locked");
    let error = lock(&disk).expect_err("in use");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    let error = held.open("cluster", 2, Arc::new(|_| {})).expect_err("another broker's");
    assert!(matches!(error, OpenError::OtherBroker { .. }), "{error}");
}
