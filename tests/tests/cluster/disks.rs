//! Disks that fail under a broker that has others.

use sluice_tests::checker::TopicPartition;
use sluice_tests::{Cluster, Disk, PATIENCE, Workload, poll_until};

use crate::{HEALED, TWO_OF_THREE};

const PARTITIONS: i32 = 6;

#[test]
fn kafka_10778_a_disk_that_fails_takes_its_replicas_with_it_and_the_broker_stays() {
    let Some(disk) = Disk::try_new() else { return };
    let mut cluster = Cluster::builder().without_brokers();
    let folders = format!("{},{}", cluster.log_dir(1).display(), disk.data().display());
    cluster.set_of(1, "log.dirs", folders);
    cluster.start_brokers();
    cluster.create_topic("disks", PARTITIONS, 3, TWO_OF_THREE);
    cluster.await_whole("disks", HEALED);
    let is_on_disk = |cluster: &Cluster, index| {
        // It is whole as soon as it is decided on; the log is made when the broker hears of it.
        let folder = poll_until(PATIENCE, || cluster.folder_of(1, &TopicPartition::new("disks", index)).ok_or(()));
        folder.expect("it has a log of each") == disk.data()
    };
    let all: Vec<i32> = (0..PARTITIONS).collect();
    let (failing, working): (Vec<i32>, Vec<i32>) = all.iter().partition(|&&index| is_on_disk(&cluster, index));
    assert!(!failing.is_empty() && !working.is_empty(), "{failing:?} and {working:?}");
    let workload = Workload::on("disks", PARTITIONS).start(&cluster.contact());
    workload.await_stored(500, PATIENCE);

    disk.fail();
    workload.mark();
    cluster.await_topic("disks", HEALED, "the disk's replicas are out of sync, and no others", |told| {
        told.iter().all(|one| {
            let is_out = !one.isr.contains(&1) && one.leader.is_some_and(|leader| leader != 1);
            if failing.contains(&one.index) { is_out } else { one.is_whole() }
        })
    });
    workload.await_first_stored(&all, PATIENCE);
    assert_eq!(cluster.metric(1, "sluice_offline_log_dirs"), 1.0);
    assert_eq!(cluster.metric(1, "sluice_offline_replicas"), failing.len() as f64);
    cluster.create_topic("new", 2, 3, TWO_OF_THREE);
    cluster.await_whole("new", HEALED);

    // Not in order, as far as that disk goes: it is opened as after a crash.
    cluster.stop(1);
    disk.mend();
    cluster.restart(1);
    cluster.await_whole("disks", HEALED);
    workload.mark();
    workload.await_first_stored(&all, PATIENCE);
    assert!(failing.iter().all(|&index| is_on_disk(&cluster, index)), "each log is where it was");
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}
