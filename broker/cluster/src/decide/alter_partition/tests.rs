//! One row a check, in their order.

use super::super::fixture::Cluster;

#[test]
fn an_isr_grows_and_shrinks() {
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    cluster.in_sync("orders", &[1, 2]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2 elr ");
    cluster.in_sync("orders", &[1]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr 2", "whoever left it with too few stays eligible");
    cluster.in_sync("orders", &[1, 3]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,3 elr ", "until there are enough again");
}
