//! A row for each rule: facts, and the registration that follows from them.

use super::*;

#[test]
fn a_leader_goes() {
    check("the next in sync leads", Facts::default().without(&[1]), "leader 2 isr 2,3 elr  epoch 1");
    check(
        "in the order of the assignment",
        Facts { replicas: &[3, 1, 2], ..Facts::default() }.without(&[1]),
        "leader 3 isr 3,2 elr  epoch 1",
    );
    check("who serves", Facts::default().without(&[1, 2]), "leader 3 isr 3 elr  epoch 1");
    check(
        "nobody does: all of them had all of it",
        Facts::default().without(&[1, 2, 3]),
        "leader -1 isr  elr 1,2,3 epoch 1",
    );
    check("the last one", Facts { isr: &[1], ..Facts::default() }.without(&[1]), "leader -1 isr  elr 1 epoch 1");
    check(
        "out of sync is not enough",
        Facts { isr: &[1], ..Facts::default() }.without(&[1]),
        "leader -1 isr  elr 1 epoch 1",
    );
}

#[test]
fn a_follower_goes() {
    check("the leader stays", Facts::default().without(&[3]), "leader 1 isr 1,2 elr  epoch 0");
    check("one that was out of sync", Facts { isr: &[1, 2], ..Facts::default() }.without(&[3]), UNCHANGED);
    check("nobody", Facts::default(), UNCHANGED);
    check("the same members in another order", Facts { isr: &[3, 1, 2], ..Facts::default() }, UNCHANGED);
}

/// KIP-966: the last replica standing is not the only one that has it all.
#[test]
fn kip_966_last_replica_standing() {
    let two = |isr, elr| Facts { isr, elr, min_insync_replicas: 2, ..Facts::default() };
    check("enough are left", two(&[1, 2, 3], &[]).without(&[3]), "leader 1 isr 1,2 elr  epoch 0");
    check("too few are left: who goes stays eligible", two(&[1, 2], &[]).without(&[2]), "leader 1 isr 1 elr 2 epoch 0");
    check("the last one goes as well", two(&[1], &[2]).without(&[1, 2]), "leader -1 isr  elr 1,2 epoch 1");
    check("an eligible one leads", two(&[1], &[2]).without(&[1]), "leader 2 isr 2 elr 1 epoch 1");
    let waits = Facts { leader: -1, ..two(&[], &[1, 2]) };
    check("whoever of them comes back first", waits.clone().without(&[1]), "leader 2 isr 2 elr 1 epoch 1");
    check("but nobody else", waits.clone().without(&[1, 2]), UNCHANGED);
    let one = Facts { min_insync_replicas: 1, ..waits };
    check("less is asked for now: the rest of them count no more", one.without(&[1]), "leader 2 isr 2 elr  epoch 1");
    let enough = Facts { isr: &[1], elr: &[2], wanted: Some(&[1, 3]), ..two(&[], &[]) };
    check("enough again: nobody else is eligible", enough, "leader 1 isr 1,3 elr  epoch 0");
    let more = Facts { min_insync_replicas: 9, ..Facts::default() };
    check("more than there are replicas can't be asked for", more, UNCHANGED);
}

#[test]
fn a_broker_may_have_lost_what_it_held() {
    let two = |isr, elr| Facts { isr, elr, min_insync_replicas: 2, lossy: Some(3), ..Facts::default() };
    check("in sync", two(&[1, 2, 3], &[]), "leader 1 isr 1,2 elr  epoch 0");
    check("in sync with few others", two(&[1, 3], &[2]), "leader 1 isr 1 elr 2 epoch 0");
    check("eligible", two(&[1], &[2, 3]), "leader 1 isr 1 elr 2 epoch 0");
    check("eligible, the last of all", Facts { leader: -1, ..two(&[], &[3]) }, "leader -1 isr  elr  epoch 0");
    check("neither", two(&[1, 2], &[]), UNCHANGED);
}

#[test]
fn elections_that_lose_records() {
    let unclean = Facts { isr: &[1], unclean_elections: true, ..Facts::default() };
    check(
        "only where nobody may lead",
        Facts { isr: &[1, 3], ..unclean.clone() }.without(&[1]),
        "leader 3 isr 3 elr  epoch 1",
    );
    check("who serves leads", unclean.clone().without(&[1]), "leader 2 isr 2 elr  epoch 1 recovering");
    let growing = Facts { replicas: &[4, 2, 3, 1], adding: &[4], removing: &[1], ..unclean.clone() };
    let rest = "epoch 1 recovering replicas 4,2,3,1";
    check(
        "one that is being added has the least",
        growing.clone().without(&[1]),
        &format!("leader 2 isr 2 elr  {rest}"),
    );
    check("and leads if it is alone", growing.without(&[1, 2, 3]), &format!("leader 4 isr 4 elr  {rest}"));
    check("if somebody does", unclean.clone().without(&[1, 2, 3]), "leader -1 isr  elr 1 epoch 1");
    let eligible = Facts { isr: &[1], elr: &[3], min_insync_replicas: 2, ..unclean };
    check("an eligible one loses nothing", eligible.without(&[1]), "leader 3 isr 3 elr 1 epoch 1");
    let chosen = Facts { leader: -1, isr: &[], elr: &[1], election: Some(Election::Chosen(2)), ..Facts::default() };
    check("by hand", chosen.without(&[1]), "leader 2 isr 2 elr  epoch 1 recovering");
    let chosen = Facts { leader: -1, isr: &[], elr: &[1, 2], election: Some(Election::Chosen(2)), ..Facts::default() };
    check("by hand, one that has it all", chosen, "leader 2 isr 2 elr  epoch 1");
}

#[test]
fn the_first_replica_leads_again() {
    let preferred = Facts { leader: 2, election: Some(Election::Preferred), ..Facts::default() };
    check("in sync", preferred.clone(), "leader 1 isr 1,2,3 elr  epoch 1");
    check("out of sync", Facts { isr: &[2, 3], ..preferred.clone() }, UNCHANGED);
    check("about to end", Facts { ending: &[1], ..preferred.clone() }, UNCHANGED);
    check(
        "nor does the leader serve",
        Facts { isr: &[2, 3], ..preferred }.without(&[2]),
        "leader 3 isr 3 elr  epoch 1",
    );
}

#[test]
fn a_broker_is_about_to_end() {
    let ending = Facts { ending: &[1], ..Facts::default() };
    check("somebody else leads", ending.clone(), "leader 2 isr 1,2,3 elr  epoch 1");
    let alone = Facts { isr: &[1], ..ending };
    check("nobody else can", alone.clone(), UNCHANGED);
    check("nor uncleanly while it does", Facts { unclean_elections: true, ..alone }, UNCHANGED);
}

#[test]
fn reassignments_end() {
    let moving = Facts { replicas: &[4, 2, 3, 1], adding: &[4], removing: &[1], ..Facts::default() };
    check("not before what is added is in sync", Facts { isr: &[1, 2, 3], ..moving.clone() }, UNCHANGED);
    let done = Facts { wanted: Some(&[4, 1, 2, 3]), ..moving.clone() };
    check("then what is removed goes, and another leads", done, "leader 4 isr 4,2,3 elr  epoch 1 replicas 4,2,3");
    let led = Facts { leader: 2, wanted: Some(&[4, 1, 2, 3]), ..moving.clone() };
    check(
        "removed replicas don't fetch in the epoch that ended",
        led,
        "leader 2 isr 4,2,3 elr  epoch 1 replicas 4,2,3",
    );
    let few = Facts { isr: &[1], wanted: Some(&[1, 4]), min_insync_replicas: 2, ..moving.clone() };
    check("not while it is needed for what was promised", few, "leader 1 isr 4,1 elr  epoch 0 replicas 4,2,3,1");
    let more = Facts { replicas: &[1, 2, 3, 4], removing: &[], wanted: Some(&[1, 2, 3, 4]), ..moving };
    check("only added", more, "leader 1 isr 1,2,3,4 elr  epoch 0 replicas 1,2,3,4");
    let fewer = Facts { replicas: &[1, 2, 3], removing: &[3], isr: &[1], ..Facts::default() };
    check("only removed, and nothing counts on it", fewer, "leader 1 isr 1 elr  epoch 1 replicas 1,2");
    let counted = Facts {
        replicas: &[1, 2, 3],
        removing: &[3],
        isr: &[1],
        elr: &[3],
        min_insync_replicas: 2,
        ..Facts::default()
    };
    check("only removed, and it is eligible", counted, UNCHANGED);
}

/// What is known of a partition: by default of replicas 1, 2 and 3, all in sync, led by 1, and all brokers serve.
#[derive(Debug, Clone)]
struct Facts<'a> {
    replicas: &'a [i32],
    adding: &'a [i32],
    removing: &'a [i32],
    isr: &'a [i32],
    elr: &'a [i32],
    leader: i32,
    min_insync_replicas: usize,
    unclean_elections: bool,
    gone: &'a [i32],
    ending: &'a [i32],
    lossy: Option<i32>,
    wanted: Option<&'a [i32]>,
    election: Option<Election>,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self {
            replicas: &[1, 2, 3],
            adding: &[],
            removing: &[],
            isr: &[1, 2, 3],
            elr: &[],
            leader: 1,
            min_insync_replicas: 1,
            unclean_elections: false,
            gone: &[],
            ending: &[],
            lossy: None,
            wanted: None,
            election: None,
        }
    }
}

impl<'a> Facts<'a> {
    fn without(self, gone: &'a [i32]) -> Self {
        Self { gone, ..self }
    }
}

const UNCHANGED: &str = "unchanged";

fn check(what: &str, facts: Facts<'_>, expected: &str) {
    let before = PartitionRegistration {
        isr: facts.isr.to_vec(),
        elr: facts.elr.to_vec(),
        adding: facts.adding.to_vec(),
        removing: facts.removing.to_vec(),
        leader: facts.leader,
        ..PartitionRegistration::new(facts.replicas.to_vec())
    };
    let serves = |id: &i32| !facts.gone.contains(id) && !facts.ending.contains(id);
    let brokers = Brokers { active: (1..=4).filter(serves).collect(), ending: facts.ending.iter().copied().collect() };
    let rules = TopicRules {
        min_insync_replicas: facts.min_insync_replicas,
        unclean_elections: facts.unclean_elections,
        counts_what_is_on_disk: true,
    };
    let isr = facts.wanted.unwrap_or(facts.isr).to_vec();
    let mut change = PartitionChange::of(&before, &brokers, rules).isr(isr).leave(|id| facts.gone.contains(&id));
    if let Some(id) = facts.lossy {
        change = change.lossy(id);
    }
    if let Some(election) = facts.election {
        change = change.election(election);
    }
    let shown = change.build().map_or_else(|| UNCHANGED.to_owned(), |after| shown(&before, &after));
    assert_eq!(shown, expected, "{what}");
}

fn shown(before: &PartitionRegistration, after: &PartitionRegistration) -> String {
    assert_eq!(after.partition_epoch, 1, "every change raises the partition epoch");
    let list = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let PartitionRegistration { replicas, isr, elr, adding, removing, leader, leader_epoch, recovering, .. } = after;
    let mut shown = format!("leader {leader} isr {} elr {} epoch {leader_epoch}", list(isr), list(elr));
    if *recovering {
        shown.push_str(" recovering");
    }
    if before.is_reassigning() {
        shown = format!("{shown} replicas {}", list(replicas));
        assert_eq!(after.is_reassigning(), !(adding.is_empty() && removing.is_empty()));
    }
    shown
}
