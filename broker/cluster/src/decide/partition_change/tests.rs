//! A row for each rule.

use super::*;

#[test]
fn a_leader_goes() {
    let led = Facts { isr: &[1, 2, 3], ..Facts::default() };
    check("the next in sync leads", led.clone().without(&[1]), "leader 2 isr 2,3 elr  epoch 1");
    let few = Facts { isr: &[1, 2], min_insync_replicas: 2, ..Facts::default() };
    check("with too few left, it stays eligible", few.clone().without(&[1]), "leader 2 isr 2 elr 1 epoch 1");
}

/// What is known of a partition of replicas 1, 2 and 3, led by 1.
#[derive(Debug, Clone)]
struct Facts<'a> {
    isr: &'a [i32],
    elr: &'a [i32],
    leader: i32,
    min_insync_replicas: usize,
    gone: &'a [i32],
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self { isr: &[1, 2, 3], elr: &[], leader: 1, min_insync_replicas: 1, gone: &[] }
    }
}

impl<'a> Facts<'a> {
    fn without(self, gone: &'a [i32]) -> Self {
        Self { gone, ..self }
    }
}

fn check(what: &str, facts: Facts<'_>, expected: &str) {
    let before = PartitionRegistration {
        isr: facts.isr.to_vec(),
        elr: facts.elr.to_vec(),
        leader: facts.leader,
        ..PartitionRegistration::new(vec![1, 2, 3])
    };
    let active = [1, 2, 3].into_iter().filter(|id| !facts.gone.contains(id)).collect();
    let brokers = Brokers { active, ending: BTreeSet::new() };
    let rules = TopicRules {
        min_insync_replicas: facts.min_insync_replicas,
        unclean_elections: false,
        counts_what_is_on_disk: true,
    };
    let change = PartitionChange::of(&before, &brokers, rules).leave(|id| facts.gone.contains(&id));
    let after = change.build().unwrap_or(before);
    let list = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let shown = format!(
        "leader {} isr {} elr {} epoch {}",
        after.leader,
        list(&after.isr),
        list(&after.elr),
        after.leader_epoch
    );
    assert_eq!(shown, expected, "{what}");
}
