//! Brokers that must not serve: with an id that is taken, of another cluster, with a certificate that may not join.

use sluice_tests::{Cluster, PATIENCE, Process};

use crate::three_with;

/// Where such a broker would listen, if it could.
const ELSEWHERE: [(&str, &str); 2] =
    [("listeners", "SSL://127.0.0.1:0,INTERNAL://127.0.0.1:0"), ("sluice.admin.listener", "https://127.0.0.1:0")];

#[test]
fn a_broker_with_an_id_that_is_taken_ends_and_says_so() {
    let cluster = three_with("calm", 1);
    let folder = cluster.folder().join("second-2");
    let changed = [ELSEWHERE[0], ELSEWHERE[1], ("log.dirs", &*folder.to_string_lossy())];
    let second = cluster.impostor(2, &changed);
    check_refused(second, "2");
    check_calm(&cluster);
}

#[test]
fn a_broker_of_another_cluster_ends_and_says_so() {
    let cluster = three_with("calm", 1);
    let mut other = Cluster::builder().brokers(1).start();
    assert!(other.stop(1).success());
    let folder = other.log_dir(1);
    let changed = [ELSEWHERE[0], ELSEWHERE[1], ("broker.id", "4"), ("log.dirs", &*folder.to_string_lossy())];
    let stray = cluster.impostor(1, &changed);
    check_refused(stray, "cluster");
    check_calm(&cluster);
}

#[test]
fn a_broker_with_a_certificate_that_may_not_join_ends_and_says_so() {
    let cluster = three_with("calm", 1);
    // Of the same authority, and a server's, but not of the brokers' name.
    let other = cluster.certificates.other.both.display().to_string();
    let folder = cluster.folder().join("other");
    let changed = [
        ("broker.id", "4"),
        ELSEWHERE[0],
        ELSEWHERE[1],
        ("log.dirs", &*folder.to_string_lossy()),
        ("ssl.keystore.location", &*other),
    ];
    let intruder = cluster.impostor(1, &changed);
    check_refused(intruder, "certificate");
    check_calm(&cluster);
}

#[test]
fn a_second_broker_without_a_listener_for_the_first_ends_and_says_so() {
    let cluster = three_with("calm", 1);
    let folder = cluster.folder().join("deaf");
    let changed = [
        ("broker.id", "4"),
        ("listeners", "SSL://127.0.0.1:0"),
        ELSEWHERE[1],
        ("log.dirs", &*folder.to_string_lossy()),
    ];
    let deaf = cluster.impostor(1, &changed);
    check_refused(deaf, "INTERNAL");
    check_calm(&cluster);
}

#[track_caller]
fn check_refused(mut process: Process, why: &str) {
    let status = process.await_end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", process.said());
    assert!(process.said().contains(why), "it does not say why: {}", process.said());
}

/// The others did not notice.
#[track_caller]
fn check_calm(cluster: &Cluster) {
    assert!(cluster.await_whole("calm", PATIENCE).iter().all(|one| one.replicas.iter().all(|id| (1..=3).contains(id))));
    assert!(cluster.rdkafka().send("calm", ["fine"]).iter().all(Result::is_ok));
}
