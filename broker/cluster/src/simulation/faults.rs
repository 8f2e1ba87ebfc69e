//! What goes wrong, and what operators do meanwhile. Each kind strikes somebody at random, and undoes itself after a while; what
//! replication does not promise to survive is not done to it, except in the runs that are about that.

use std::rc::Rc;

use sluice_protocol::Uuid;

use super::clients::Producer;
use super::disk::Key;
use super::executor::WORLD;
use super::messages::{Answered, Asked, Reply, Request};
use super::network::{Connection, Node};
use super::oracle::registration;
use super::world::World;
use super::zookeeper::SERVERS;
use crate::Image;
use crate::decide::{AlterReassignments, CreateTopics, DeleteTopics, NewTopic, Placement, Recover, TopicRef};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process dies; another begins at once, or later.
    Kill,
    Bounce,
    /// A machine loses its power, and what was not synced.
    PowerLoss,
    /// All of them.
    PowerLossOfAll,
    /// A machine comes back with an empty disk.
    Wipe,
    /// A process is stopped and goes on later.
    Freeze,
    /// The controller is.
    FreezeController,
    KillController,
    KillLeader,
    CutOneWay,
    Isolate,
    CutFromZookeeper,
    Reset,
    ZookeeperServer,
    ZookeeperGone,
    ShutDown,
    Reassign,
    RemakeTopic,
    Retention,
}

impl Kind {
    pub(super) const ALL: [Self; 19] = [
        Self::Kill,
        Self::Bounce,
        Self::PowerLoss,
        Self::PowerLossOfAll,
        Self::Wipe,
        Self::Freeze,
        Self::FreezeController,
        Self::KillController,
        Self::KillLeader,
        Self::CutOneWay,
        Self::Isolate,
        Self::CutFromZookeeper,
        Self::Reset,
        Self::ZookeeperServer,
        Self::ZookeeperGone,
        Self::ShutDown,
        Self::Reassign,
        Self::RemakeTopic,
        Self::Retention,
    ];
}

/// Until it is time to heal.
pub(super) async fn nemesis(world: Rc<World>) {
    loop {
        let pause = world.random.between(world.setup.fault_every_ms / 4..=world.setup.fault_every_ms * 2);
        world.executor.sleep(pause).await;
        if world.is_healed() {
            return;
        }
        let kind = *world.random.pick(&world.setup.faults).expect("every run has some");
        if strike(&world, kind) {
            world.count_fault();
        }
    }
}

/// Gives whether anybody was struck.
fn strike(world: &Rc<World>, kind: Kind) -> bool {
    let running = world.running();
    let Some(&broker) = world.random.pick(&running) else { return false };
    let down = world.random.between(20..=3 * world.setup.session_timeout_ms);
    match kind {
        Kind::Kill => kill(world, broker, down),
        Kind::Bounce => kill(world, broker, world.random.between(1..=60)),
        Kind::KillController => world.controller().is_some_and(|controller| kill(world, controller, down)),
        Kind::KillLeader => a_leader(world).is_some_and(|leader| kill(world, leader, down)),
        Kind::PowerLoss => world.may_lose_power(broker) && power_loss(world, &[broker], down),
        Kind::PowerLossOfAll => world.may_all_lose_power() && power_loss(world, &running, down),
        Kind::Wipe => world.may_wipe(broker) && wipe(world, broker, down),
        Kind::Freeze => freeze(world, broker, down),
        Kind::FreezeController => world.controller().is_some_and(|controller| freeze(world, controller, down)),
        Kind::CutOneWay => cut(world, down, |world, broker, other| vec![(broker, other), (broker, zookeeper(world))]),
        Kind::Isolate => {
            cut(world, down, |world, broker, _| world.nodes().into_iter().map(|it| (broker, it)).collect())
        }
        Kind::CutFromZookeeper => {
            cut(world, down, |_, broker, _| (0..SERVERS).map(|it| (broker, Node::Zookeeper(it))).collect())
        }
        Kind::Reset => (0..4).filter(|_| world.network.reset_one(world).is_some()).count() > 0,
        Kind::ZookeeperServer => stop_servers(world, 1, down),
        Kind::ZookeeperGone => stop_servers(world, SERVERS, down),
        Kind::ShutDown => shut_down(world, broker, down),
        Kind::Reassign => ask(world, reassign),
        Kind::RemakeTopic => remake(world),
        Kind::Retention => world.retain(broker),
    }
}

fn kill(world: &Rc<World>, broker: i32, down: i64) -> bool {
    note!(world, "FAULT broker {broker} is killed for {down} ms");
    world.kill(broker);
    later(world, down, move |world| world.start(broker));
    true
}

fn power_loss(world: &Rc<World>, brokers: &[i32], down: i64) -> bool {
    for &broker in brokers {
        note!(world, "FAULT broker {broker} is without power for {down} ms");
        world.lose_power(broker);
        later(world, down + world.random.between(0..=200), move |world| world.start(broker));
    }
    true
}

fn wipe(world: &Rc<World>, broker: i32, down: i64) -> bool {
    note!(world, "FAULT broker {broker} comes back empty after {down} ms");
    world.kill(broker);
    world.wipe(broker);
    later(world, down, move |world| world.start(broker));
    true
}

fn freeze(world: &Rc<World>, broker: i32, down: i64) -> bool {
    note!(world, "FAULT broker {broker} is frozen for {down} ms");
    let frozen = world.freeze(broker);
    later(world, down, move |world| frozen.into_iter().for_each(|owner| world.executor.thaw(owner)));
    true
}

fn cut(world: &Rc<World>, down: i64, links: impl Fn(&World, Node, Node) -> Vec<(Node, Node)>) -> bool {
    let ids: Vec<i32> = world.broker_ids().collect();
    let (Some(&one), Some(&other)) = (world.random.pick(&ids), world.random.pick(&ids)) else { return false };
    let links = links(world, Node::Broker(one), Node::Broker(other));
    // One way, the other way, or both.
    let (there, back) = [(true, false), (false, true), (true, true)][world.random.below(3)];
    for (from, to) in &links {
        note!(world, "FAULT {from:?} and {to:?} are cut for {down} ms ({there}, {back})");
        if there {
            world.network.cut(*from, *to);
        }
        if back {
            world.network.cut(*to, *from);
        }
    }
    later(world, down, move |world| {
        world.network.heal(world, |from, to| links.iter().any(|it| *it == (from, to) || *it == (to, from)));
    });
    true
}

fn stop_servers(world: &Rc<World>, servers: usize, down: i64) -> bool {
    let up = world.zookeeper.servers_up();
    let first = world.random.below(SERVERS);
    let stopped: Vec<usize> = (0..servers).map(|n| (first + n) % SERVERS).filter(|it| up.contains(it)).collect();
    note!(world, "FAULT servers {stopped:?} of the ensemble are gone for {down} ms");
    stopped.iter().for_each(|server| world.zookeeper.stop(world, *server));
    later(world, down, move |world| stopped.iter().for_each(|server| world.zookeeper.start(world, *server)));
    true
}

fn shut_down(world: &Rc<World>, broker: i32, down: i64) -> bool {
    note!(world, "FAULT broker {broker} is asked to end");
    let Some(process) = world.process(broker) else { return false };
    world.executor.spawn(process.owner, process.shut_down());
    // One that can't end by then is killed.
    later(world, 2_000, move |world| world.kill(broker));
    later(world, 2_000 + down, move |world| world.start(broker));
    true
}

fn remake(world: &Rc<World>) -> bool {
    let image = world.oracle.image();
    let topics: Vec<(String, Uuid)> = image.topics().map(|topic| (topic.name.clone(), topic.id)).collect();
    let Some((name, id)) = world.random.pick(&topics).cloned() else { return false };
    note!(world, "FAULT topic {name} is made again");
    let there = Rc::clone(world);
    world.executor.spawn(WORLD, async move {
        // By id: asked again under its name, it might be the new one that goes.
        let delete = DeleteTopics { topics: vec![TopicRef::Id(id)] };
        insist(&there, Asked::DeleteTopics(delete), |image| image.topic_by_id(id).is_none()).await;
        create(&there, &name).await;
    });
    true
}

/// Makes a topic of the setup, and waits until it is there.
pub(super) async fn create(world: &Rc<World>, name: &str) {
    let setup = world.setup.topic(name);
    let placement = Placement::Count { partitions: setup.partitions, replication_factor: setup.replication_factor };
    let mode = if setup.os { "os" } else { "group" };
    let configs = vec![
        ("sluice.flush.mode".to_owned(), Some(mode.to_owned())),
        ("min.insync.replicas".to_owned(), Some(setup.min_insync_replicas.to_string())),
    ];
    let topic = NewTopic { name: name.to_owned(), placement, configs, internal: false };
    let change = Asked::CreateTopics(CreateTopics { topics: vec![topic], validate_only: false });
    insist(world, change, |image| image.topic(name).is_some()).await;
}

fn reassign(world: &World, image: &Image) -> Option<Asked> {
    let key = a_partition(world, image)?;
    let at = registration(image, key)?;
    if !at.adding.is_empty() || !at.removing.is_empty() {
        return world.random.chance(300).then(|| {
            let partitions = vec![(key.0, key.1, None)];
            Asked::Reassign(AlterReassignments { partitions, allow_replication_factor_change: false })
        });
    }
    let mut brokers: Vec<i32> = world.broker_ids().collect();
    let replicas = (0..at.replicas.len()).map(|_| brokers.swap_remove(world.random.below(brokers.len()))).collect();
    let partitions = vec![(key.0, key.1, Some(replicas))];
    Some(Asked::Reassign(AlterReassignments { partitions, allow_replication_factor_change: false }))
}

/// An operator asks once, through whichever broker.
fn ask(world: &Rc<World>, change: impl FnOnce(&World, &Image) -> Option<Asked>) -> bool {
    let Some(asked) = change(world, &world.oracle.image()) else { return false };
    note!(world, "FAULT an operator asks: {asked:?}");
    let there = Rc::clone(world);
    world.executor.spawn(WORLD, async move { submit(&there, asked).await });
    true
}

async fn submit(world: &Rc<World>, asked: Asked) {
    let Some(controller) = world.oracle.image().controller_id() else { return };
    let connection = Connection::open(world, WORLD, Node::Clients, Node::Broker(controller));
    let answered = connection.call(world, Request::Change(asked), 1_000).await;
    match answered {
        Ok(Reply::Changed(Answered::Refused(why))) => note!(world, "the operator is refused: {why}"),
        Ok(Reply::Changed(answered)) => note!(world, "the operator is told {answered:?}"),
        Ok(_) | Err(_) => {}
    }
    connection.close(world);
}

/// Asks until it is so.
async fn insist(world: &Rc<World>, asked: Asked, done: impl Fn(&Image) -> bool) {
    while !done(&world.oracle.image()) {
        submit(world, asked.clone()).await;
        world.executor.sleep(100).await;
    }
}

/// Puts an offline partition with nobody to elect to the replica that has the most, as an operator would once all are there.
pub(super) async fn recover(world: &Rc<World>, key: Key) {
    let image = world.oracle.image();
    let Some(at) = registration(&image, key) else { return };
    let most = at.replicas.iter().filter_map(|replica| {
        let process = world.process(*replica)?;
        let disk = process.disk().borrow();
        let log = disk.logs.get(&key)?;
        Some((log.latest_epoch(), log.end(), *replica))
    });
    let Some((_, _, leader)) = most.max() else { return };
    note!(world, "an operator recovers {} on broker {leader}", super::oracle::Name(key));
    submit(world, Asked::Recover(Recover { topic: key.0, index: key.1, leader })).await;
}

/// Everything works again.
pub(super) fn heal(world: &Rc<World>) {
    note!(world, "HEALED");
    world.network.heal(world, |_, _| true);
    (0..SERVERS).for_each(|server| world.zookeeper.start(world, server));
    for broker in world.broker_ids() {
        world.thaw(broker);
        world.start(broker);
    }
}

/// One batch more to every partition.
pub(super) fn last_producers(world: &Rc<World>) -> Vec<Rc<Producer>> {
    let image = world.oracle.image();
    let partitions =
        image.topics().flat_map(|topic| (0..topic.partitions.len() as i32).map(|index| (topic.name.clone(), index)));
    partitions.map(|(name, index)| Producer::start(world, &name, index, true)).collect()
}

fn later(world: &Rc<World>, ms: i64, then: impl FnOnce(&Rc<World>) + 'static) {
    let there = Rc::clone(world);
    world.executor.after(ms, move || {
        if !there.is_healed() {
            then(&there);
        }
    });
}

fn zookeeper(world: &World) -> Node {
    Node::Zookeeper(world.random.below(SERVERS))
}

fn a_partition(world: &World, image: &Image) -> Option<Key> {
    let keys: Vec<Key> =
        image.topics().flat_map(|topic| (0..topic.partitions.len() as i32).map(|index| (topic.id, index))).collect();
    world.random.pick(&keys).copied()
}

fn a_leader(world: &World) -> Option<i32> {
    let image = world.oracle.image();
    let leader = registration(&image, a_partition(world, &image)?)?.leader;
    world.running().into_iter().find(|id| *id == leader)
}
