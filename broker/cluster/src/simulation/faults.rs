//! What goes wrong, and what operators do meanwhile. Each kind strikes somebody at random, and undoes itself after a while; what
//! replication does not promise to survive is not done to it, except in the runs that are about that.

use std::rc::Rc;

use sluice_protocol::Uuid;

use super::clients::Producer;
use super::disk::{DIRECTORIES, Key, Repair};
use super::executor::WORLD;
use super::happened::Happened;
use super::messages::{Answered, Asked, Reply, Request};
use super::network::{Connection, Node};
use super::oracle::registration;
use super::world::World;
use super::zookeeper::SERVERS;
use crate::Image;
use crate::decide::{
    AlterReassignments, CreateTopics, DeleteTopics, Drain, ElectLeaders, ElectionKind, NewTopic, Placement, Recover,
    TopicRef, Undrain,
};
use crate::metadata::Topic;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A process dies; another begins at once, or later.
    Kill,
    Bounce,
    /// Another begins, and is asked to end almost before it has.
    EndAtStart,
    /// A machine loses its power, and what was not synced.
    PowerLoss,
    /// All of them.
    PowerLossOfAll,
    /// A machine comes back with an empty disk.
    Wipe,
    /// One of its disks fails, and the broker lives on; later it is mended, or another one is in its place.
    DiskFails,
    /// Its disks hardly answer for a while, and it is otherwise well: what it follows falls behind.
    SlowDisk,
    /// A process is stopped and goes on later.
    Freeze,
    /// The controller is.
    FreezeController,
    KillController,
    KillLeader,
    /// A leader dies, and whoever leads then dies soon after.
    FailOverTwice,
    CutOneWay,
    Isolate,
    CutFromZookeeper,
    Reset,
    ZookeeperServer,
    ZookeeperGone,
    ShutDown,
    Reassign,
    RemakeTopic,
    /// A topic is removed and made again while a broker is away that has a replica of it.
    RemakeTopicOfOneAway,
    Retention,
    /// Operators at work.
    AddBroker,
    Drain,
    Undrain,
    ElectPreferred,
}

impl Kind {
    pub(super) const ALL: [Self; 28] = [
        Self::Kill,
        Self::Bounce,
        Self::EndAtStart,
        Self::PowerLoss,
        Self::PowerLossOfAll,
        Self::Wipe,
        Self::DiskFails,
        Self::SlowDisk,
        Self::Freeze,
        Self::FreezeController,
        Self::KillController,
        Self::KillLeader,
        Self::FailOverTwice,
        Self::CutOneWay,
        Self::Isolate,
        Self::CutFromZookeeper,
        Self::Reset,
        Self::ZookeeperServer,
        Self::ZookeeperGone,
        Self::ShutDown,
        Self::Reassign,
        Self::RemakeTopic,
        Self::RemakeTopicOfOneAway,
        Self::Retention,
        Self::AddBroker,
        Self::Drain,
        Self::Undrain,
        Self::ElectPreferred,
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
            world.tally.count(Happened::Struck(kind));
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
        Kind::EndAtStart => end_at_start(world, broker, down),
        Kind::KillController => world.controller().is_some_and(|controller| kill(world, controller, down)),
        Kind::KillLeader => a_leader(world).is_some_and(|leader| kill(world, leader, down)),
        Kind::FailOverTwice => fail_over_twice(world),
        Kind::PowerLoss => world.may_lose_power(broker) && power_loss(world, &[broker], down),
        Kind::PowerLossOfAll => world.may_all_lose_power() && power_loss(world, &running, down),
        Kind::Wipe => world.may_wipe(broker) && wipe(world, broker, down),
        Kind::DiskFails => disk_fails(world, broker, down),
        Kind::SlowDisk => slow_disk(world, broker, down),
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
        Kind::RemakeTopic => remake(world, |_| true),
        Kind::RemakeTopicOfOneAway => remake(world, |topic| holds(topic, broker)) && kill(world, broker, down),
        Kind::Retention => world.retain(broker),
        Kind::AddBroker => world.add_broker(),
        Kind::Drain => ask(world, |_, _| Some(Asked::Drain(Drain { id: broker }))),
        Kind::Undrain => ask(world, |world, image| {
            let draining: Vec<i32> = draining(image).collect();
            world.random.pick(&draining).map(|id| Asked::Undrain(Undrain { id: *id }))
        }),
        Kind::ElectPreferred => {
            ask(world, |_, _| Some(Asked::Elect(ElectLeaders { kind: ElectionKind::Preferred, partitions: None })))
        }
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

fn fail_over_twice(world: &Rc<World>) -> bool {
    let image = world.oracle.image();
    let Some(key) = a_partition(world, &image) else { return false };
    let kill_leader = move |world: &Rc<World>| {
        let leader = registration(&world.oracle.image(), key).map(|it| it.leader);
        let leader = leader.filter(|leader| world.process(*leader).is_some());
        leader.is_some_and(|leader| kill(world, leader, world.random.between(1..=900)))
    };
    if !kill_leader(world) {
        return false;
    }
    later(world, world.random.between(50..=700), move |world| {
        kill_leader(world);
    });
    true
}

/// A broker that ends uncleanly, and whose next life ends in order before anybody has heard of it: a supervisor that restarts it,
/// and an operator who stops it.
fn end_at_start(world: &Rc<World>, broker: i32, down: i64) -> bool {
    if world.may_lose_power(broker) {
        power_loss(world, &[broker], down);
    } else {
        kill(world, broker, down);
    }
    // The process may be there by then, has perhaps a session, and is seldom registered.
    let begun = down + world.random.between(1..=300);
    later(world, begun, move |world| {
        let down = world.random.between(1..=300);
        shut_down(world, broker, down);
    });
    true
}

fn disk_fails(world: &Rc<World>, broker: i32, down: i64) -> bool {
    if !world.fail_disk(broker, world.random.below(DIRECTORIES)) {
        return false;
    }
    // Some begin again on the disk that is still broken.
    if world.random.chance(400) {
        later(world, down / 2, move |world| {
            kill(world, broker, world.random.between(1..=100));
        });
    }
    let repair = if world.random.chance(600) { Repair::Mended } else { Repair::Replaced };
    later(world, down, move |world| {
        world.repair_disk(broker, repair);
        let down = world.random.between(1..=300);
        if world.random.chance(500) {
            shut_down(world, broker, down)
        } else {
            kill(world, broker, down)
        };
    });
    true
}

fn slow_disk(world: &Rc<World>, broker: i32, down: i64) -> bool {
    let Some(process) = world.process(broker) else { return false };
    note!(world, "FAULT the disks of broker {broker} are slow for {down} ms");
    process.slow_until.set(world.executor.now() + down);
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

fn holds(topic: &Topic, broker: i32) -> bool {
    topic.partitions.iter().any(|partition| partition.replicas.contains(&broker))
}

fn draining(image: &Image) -> impl Iterator<Item = i32> {
    image.brokers().filter(|broker| broker.draining).map(|broker| broker.id)
}

fn remake(world: &Rc<World>, which: impl Fn(&Topic) -> bool) -> bool {
    let image = world.oracle.image();
    let topics = image.topics().filter(|topic| which(topic));
    let topics: Vec<(String, Uuid)> = topics.map(|topic| (topic.name.clone(), topic.id)).collect();
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
        let process = world.process(*replica).filter(|_| !world.is_offline(*replica, &key))?;
        let disk = process.disk().borrow();
        let log = disk.logs.get(&key)?;
        Some((log.latest_epoch(), log.end(), *replica))
    });
    let Some((_, _, leader)) = most.max() else { return };
    note!(world, "an operator recovers {} on broker {leader}", super::oracle::Name(key));
    submit(world, Asked::Recover(Recover { topic: key.0, index: key.1, leader })).await;
}

/// Where brokers are being emptied that others can't do without, operators think again.
pub(super) fn undrain_all(world: &Rc<World>) {
    for id in draining(&world.oracle.image()) {
        let there = Rc::clone(world);
        world.executor.spawn(WORLD, async move { submit(&there, Asked::Undrain(Undrain { id })).await });
    }
}

/// Everything works again.
pub(super) fn heal(world: &Rc<World>) {
    note!(world, "HEALED");
    world.network.heal(world, |_, _| true);
    (0..SERVERS).for_each(|server| world.zookeeper.start(world, server));
    for broker in world.broker_ids() {
        world.thaw(broker);
        if let Some(process) = world.process(broker) {
            process.slow_until.set(0);
        }
        if world.repair_disk(broker, Repair::Mended) {
            world.kill(broker);
        }
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
