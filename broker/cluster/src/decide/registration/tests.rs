//! What a new life is counted on for.

use super::super::fixture::{Cluster, register};
use super::*;

#[test]
fn every_life_leads_in_a_new_epoch() {
    let mut cluster = Cluster::registered(&[1]).topic_on("orders", &[1], &[]);
    let before = cluster.partition("orders").clone();
    cluster.returns(1);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ");
    assert!(cluster.partition("orders").leader_epoch > before.leader_epoch, "readers see that its tail may be gone");
}

#[test]
fn brokers_that_cannot_register() {
    let mut cluster = Cluster::registered(&[1]);
    let stale = RegisterError::StaleEpoch { id: 1, epoch: 9, known: 10 };
    assert_eq!(cluster.decide(&register(1, 9)), Err(stale));
}
