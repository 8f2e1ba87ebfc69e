//! Who leads when brokers go.

use super::super::fixture::Cluster;
use super::*;

#[test]
fn a_broker_without_a_session_is_fenced() {
    let mut cluster = Cluster::registered(&[1]).topic_on("orders", &[1], &[]);
    let absent = |present: &[(i32, i64)]| FenceAbsent { present: present.iter().copied().collect() };
    assert_eq!(cluster.decide(&absent(&[(1, 10)])), Ok(vec![]));
    assert_eq!(cluster.decide(&absent(&[(1, 11)])), Ok(vec![1]), "another life's session");
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
    assert_eq!(cluster.decide(&absent(&[])), Ok(vec![]), "fenced already");
}
