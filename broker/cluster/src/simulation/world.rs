//! Everything there is in one run: machines with disks and processes, the ensemble, the network, and those who watch. Whatever
//! happens goes through here or through an event that was planned here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sluice_protocol::Uuid;

use super::broker::Process;
use super::broker::snapshots::META_SNAP;
use super::disk::{Disk, Failed, Key, Log, Repair};
use super::executor::{Executor, Owner};
use super::happened::{Happened, Tally};
use super::messages::Request;
use super::network::{Connection, Host, Network, Node};
use super::oracle::{CONTROLLER_EPOCH, LOG_PREFIX, Oracle, Property, registration};
use super::random::Random;
use super::setup::Setup;
use super::trace::Trace;
use super::zookeeper::{SERVERS, Zookeeper};
use crate::metadata::batch::{Hash, Head};

pub(super) struct World {
    pub(super) executor: Executor,
    pub(super) random: Random,
    pub(super) trace: Rc<Trace>,
    pub(super) setup: Setup,
    pub(super) network: Network,
    pub(super) zookeeper: Zookeeper,
    pub(super) oracle: Oracle,
    machines: RefCell<BTreeMap<i32, Machine>>,
    numbers: Cell<u64>,
    faults: Cell<u64>,
    pub(super) tally: Tally,
    /// Brokers there are: operators add some.
    brokers: Cell<i32>,
    healed: Cell<bool>,
    /// The ensemble has come back from an old copy.
    restored: Cell<bool>,
    halted: RefCell<BTreeSet<i32>>,
    watched: RefCell<BTreeSet<(Owner, i32, i32, i64)>>,
}

/// A machine that a broker runs on.
struct Machine {
    powered: bool,
    disk: Rc<RefCell<Disk>>,
    process: Option<Rc<Process>>,
}

/// More brokers would not show more.
const BROKERS_MAX: i32 = 6;

/// What a process begins its numbers with: below are the ensemble's servers.
const FIRST_NUMBER: u64 = 100;

impl World {
    pub(super) fn new(seed: u64, trace: Rc<Trace>) -> Rc<Self> {
        let random = Random::new(seed);
        let setup = Setup::draw(&random);
        let head = Head::default().encode();
        let nodes: [(&str, &[u8]); 8] = [
            (CONTROLLER_EPOCH, b"0"),
            ("/brokers", b""),
            ("/brokers/ids", b""),
            ("/cluster", b""),
            ("/meta", b""),
            ("/meta/log", b""),
            (META_SNAP, b""),
            ("/meta/head", &head),
        ];
        let world = Self {
            executor: Executor::default(),
            zookeeper: Zookeeper::new(std::array::from_fn(|server| 1 + server as Owner), &nodes),
            random,
            trace,
            setup,
            network: Network::default(),
            oracle: Oracle::default(),
            machines: RefCell::default(),
            numbers: Cell::new(FIRST_NUMBER),
            faults: Cell::new(0),
            tally: Tally::default(),
            brokers: Cell::new(0),
            healed: Cell::new(false),
            restored: Cell::new(false),
            halted: RefCell::default(),
            watched: RefCell::default(),
        };
        for _ in 0..world.setup.brokers {
            world.add_machine();
        }
        Rc::new(world)
    }

    pub(super) fn new_number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    pub(super) fn new_owner(&self) -> Owner {
        self.new_number()
    }

    pub(super) fn broker_ids(&self) -> impl Iterator<Item = i32> + use<> {
        1..=self.brokers.get()
    }

    /// Gives the broker that is to run on it.
    fn add_machine(&self) -> i32 {
        let id = self.brokers.get() + 1;
        let machine = Machine { powered: true, disk: Rc::new(RefCell::new(self.empty_disk())), process: None };
        self.machines.borrow_mut().insert(id, machine);
        self.brokers.set(id);
        id
    }

    /// One broker more.
    pub(super) fn add_broker(self: &Rc<Self>) -> bool {
        if self.brokers.get() >= BROKERS_MAX {
            return false;
        }
        let id = self.add_machine();
        note!(self, "FAULT broker {id} is added");
        for process in self.running().into_iter().filter_map(|other| self.process(other)) {
            process.follow_broker(id);
        }
        self.start(id);
        true
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.broker_ids().map(Node::Broker).chain((0..SERVERS).map(Node::Zookeeper)).chain([Node::Clients]).collect()
    }

    /// What answers at an address now.
    pub(super) fn host(&self, node: Node) -> Host {
        match node {
            Node::Zookeeper(server) => self.zookeeper.host(server),
            Node::Clients => Host::Empty,
            Node::Broker(id) => match self.machines.borrow().get(&id) {
                Some(Machine { powered: true, process: Some(process), .. }) => Host::Process(process.owner),
                Some(Machine { powered: true, process: None, .. }) => Host::Empty,
                Some(_) | None => Host::Off,
            },
        }
    }

    /// A request has arrived where it was sent.
    pub(super) fn serve(self: &Rc<Self>, connection: &Rc<Connection>, call: u64, request: Request) {
        match (connection.to, request) {
            (Node::Zookeeper(server), Request::Zookeeper { session, ask }) => {
                Zookeeper::serve(self, server, connection, call, session, ask);
            }
            (Node::Broker(id), request) => {
                if let Some(process) = self.process(id) {
                    process.serve(connection, call, request);
                }
            }
            (Node::Zookeeper(_) | Node::Clients, _) => unreachable!("nobody asks that there"),
        }
    }

    pub(super) fn process(&self, id: i32) -> Option<Rc<Process>> {
        self.machines.borrow().get(&id)?.process.clone()
    }

    /// Brokers whose process is there, frozen or not.
    pub(super) fn running(&self) -> Vec<i32> {
        self.machines.borrow().iter().filter(|(_, machine)| machine.process.is_some()).map(|(id, _)| *id).collect()
    }

    /// The broker that holds the seat and knows it.
    pub(super) fn controller(&self) -> Option<i32> {
        self.running().into_iter().find(|id| self.process(*id).is_some_and(|process| process.reigns()))
    }

    /// Shows the epoch and the disk of a broker whose process is there.
    pub(super) fn with_running(&self, id: i32, show: impl FnOnce(Option<i64>, &Disk)) {
        if let Some(process) = self.process(id) {
            show(process.epoch.get(), &process.disk().borrow());
        }
    }

    /// Starts a broker that is not running. Its machine gets power if it has none.
    pub(super) fn start(self: &Rc<Self>, id: i32) {
        let disk = {
            let mut machines = self.machines.borrow_mut();
            let Some(machine) = machines.get_mut(&id) else { return };
            machine.powered = true;
            if machine.process.is_some() || self.halted.borrow().contains(&id) {
                return;
            }
            Rc::clone(&machine.disk)
        };
        self.find_repaired(id, &disk);
        let process = Process::start(self, id, &disk);
        if let Some(machine) = self.machines.borrow_mut().get_mut(&id) {
            machine.process = Some(process);
        }
    }

    /// The process ends where it is.
    pub(super) fn kill(self: &Rc<Self>, id: i32) {
        self.end(id, true);
    }

    /// A process has ended in order.
    pub(super) fn on_exit(self: &Rc<Self>, id: i32, owner: Owner) {
        if self.process(id).is_some_and(|process| process.owner == owner) {
            note!(self, "broker {id} has ended");
            self.end(id, true);
            if self.is_healed() {
                self.start(id);
            }
        }
    }

    fn end(self: &Rc<Self>, id: i32, audible: bool) {
        let process = self.machines.borrow_mut().get_mut(&id).and_then(|machine| machine.process.take());
        if let Some(process) = process {
            self.executor.kill(process.owner);
            if !process.disk().borrow().clean {
                self.on_unclean(id);
            }
            self.network.on_death(self, process.owner, audible);
        }
    }

    /// A broker is taken for one that may have lost what was not synced.
    pub(super) fn on_unclean(&self, id: i32) {
        self.oracle.on_unclean(id, |_, topic| self.setup.topic(topic).os);
    }

    /// The machine stops, and with it what was not synced is gone.
    pub(super) fn lose_power(self: &Rc<Self>, id: i32) {
        self.end(id, false);
        let disk = {
            let mut machines = self.machines.borrow_mut();
            let Some(machine) = machines.get_mut(&id) else { return };
            machine.powered = false;
            Rc::clone(&machine.disk)
        };
        let keys: Vec<Key> = disk.borrow().logs.keys().copied().collect();
        for key in keys {
            let lost = disk.borrow_mut().logs.get_mut(&key).is_some_and(|log| log.lose_power(&self.random));
            if lost && self.is_os(key) {
                self.oracle.on_lost(id, key);
            }
        }
    }

    /// Another disk, with nothing on it.
    pub(super) fn wipe(self: &Rc<Self>, id: i32) {
        let fresh = self.empty_disk();
        let held = match self.machines.borrow_mut().get_mut(&id) {
            Some(machine) => machine.disk.replace(fresh),
            None => return,
        };
        for key in held.logs.keys() {
            self.oracle.on_lost(id, *key);
        }
        self.oracle.on_unclean(id, |_, _| true);
    }

    /// A disk fails under a broker that has another one. Gives whether it did.
    pub(super) fn fail_disk(self: &Rc<Self>, id: i32, directory: usize) -> bool {
        let Some(process) = self.process(id) else { return false };
        let offline = {
            let disk = &mut *process.disk().borrow_mut();
            if disk.failed.is_some() {
                return false;
            }
            disk.failed = Some(Failed { directory, repair: None });
            disk.offline()
        };
        note!(self, "FAULT disk {directory} of broker {id} fails");
        self.oracle.on_unclean(id, |key, topic| offline.contains(key) && self.setup.topic(topic).os);
        process.on_disk_failed();
        true
    }

    /// Somebody sees to a disk that failed; the broker finds out when it starts. Gives whether there was anything to see to.
    pub(super) fn repair_disk(&self, id: i32, repair: Repair) -> bool {
        let machines = self.machines.borrow();
        let Some(machine) = machines.get(&id) else { return false };
        let failed = &mut machine.disk.borrow_mut().failed;
        failed.iter_mut().for_each(|failed| failed.repair = Some(repair));
        failed.is_some()
    }

    pub(super) fn is_offline(&self, id: i32, key: &Key) -> bool {
        self.machines.borrow().get(&id).is_some_and(|machine| machine.disk.borrow().is_offline(key))
    }

    /// What a process finds that begins on a disk that has been seen to. Of what is not survived, nothing was lost after all.
    fn find_repaired(&self, id: i32, disk: &RefCell<Disk>) {
        let Some(Failed { repair: Some(repair), directory }) = disk.borrow().failed else { return };
        let is_replaced = repair == Repair::Replaced && self.may_wipe(id);
        note!(self, "disk {directory} of broker {id} is {}", if is_replaced { "another one" } else { "mended" });
        let offline = disk.borrow().offline();
        disk.borrow_mut().failed = None;
        if is_replaced {
            (disk.borrow_mut().uuid, disk.borrow_mut().clean) = (Uuid(self.random.bytes()), false);
            self.oracle.on_unclean(id, |_, _| true);
        }
        for key in offline {
            let is_lost = if is_replaced {
                disk.borrow_mut().logs.remove(&key).is_some()
            } else {
                let may_lose = !self.is_os(key) || self.setup.beyond || self.oracle.may_lose(id, |it| it == key);
                let mut disk = disk.borrow_mut();
                let log = disk.logs.get_mut(&key).filter(|_| may_lose);
                log.is_some_and(|log| log.lose_power(&self.random)) && self.is_os(key)
            };
            if is_lost {
                self.oracle.on_lost(id, key);
            }
        }
    }

    /// Gives whose tasks are no longer polled.
    pub(super) fn freeze(&self, id: i32) -> Option<Owner> {
        let owner = self.process(id)?.owner;
        self.executor.freeze(owner);
        Some(owner)
    }

    pub(super) fn thaw(&self, id: i32) {
        if let Some(process) = self.process(id) {
            self.executor.thaw(process.owner);
        }
    }

    /// Whether a loss of its power is among what is survived. What is synced before it counts survives any.
    pub(super) fn may_lose_power(&self, id: i32) -> bool {
        self.setup.beyond || self.oracle.may_lose(id, |key| self.is_os(key))
    }

    pub(super) fn may_wipe(&self, id: i32) -> bool {
        self.setup.beyond || self.oracle.may_lose(id, |_| true)
    }

    /// What all replicas have together.
    pub(super) fn stored(&self) -> i64 {
        let machines = self.machines.borrow();
        let of_each = machines.values().map(|machine| machine.disk.borrow().logs.values().map(Log::end).sum::<i64>());
        of_each.sum()
    }

    /// Whether all may lose their power at once.
    pub(super) fn may_all_lose_power(&self) -> bool {
        self.setup.beyond || self.setup.topics.iter().all(|topic| !topic.os)
    }

    /// A leader's log begins later, below its high watermark.
    pub(super) fn retain(self: &Rc<Self>, id: i32) -> bool {
        self.process(id).is_some_and(|process| process.retain())
    }

    fn is_os(&self, key: Key) -> bool {
        self.oracle.image().topic_by_id(key.0).is_some_and(|topic| self.setup.topic(&topic.name).os)
    }

    /// The partition of that name as some broker knows it.
    pub(super) fn known_key(&self, topic: &str, index: i32) -> Option<Key> {
        let image = self.some_process()?.image();
        image.topic(topic).map(|topic| (topic.id, index))
    }

    /// Its leader as some broker knows it.
    pub(super) fn known_leader(&self, key: Key) -> Option<i32> {
        let image = self.some_process()?.image();
        registration(&image, key).map(|it| it.leader).filter(|leader| *leader > 0)
    }

    pub(super) fn known_replica(&self, key: Key) -> Option<i32> {
        let image = self.some_process()?.image();
        self.random.pick(&registration(&image, key)?.replicas).copied()
    }

    /// What clients ask for metadata.
    fn some_process(&self) -> Option<Rc<Process>> {
        self.process(*self.random.pick(&self.running())?)
    }

    pub(super) fn topic_ids(&self, name: &str) -> Vec<Uuid> {
        self.oracle.topic_ids(name)
    }

    /// Whether a controller has no watcher yet of that life of a broker; from now on it has.
    pub(super) fn watched(&self, by: Owner, seat: i32, id: i32, epoch: i64) -> bool {
        self.watched.borrow_mut().insert((by, seat, id, epoch))
    }

    pub(super) fn count_fault(&self) {
        self.faults.set(self.faults.get() + 1);
    }

    pub(super) fn faults(&self) -> u64 {
        self.faults.get()
    }

    /// Faults are over.
    pub(super) fn is_healed(&self) -> bool {
        self.healed.get()
    }

    pub(super) fn set_healed(&self) {
        self.healed.set(true);
    }

    /// A broker has found that the metadata log went back, and ends for good.
    pub(super) fn on_halt(self: &Rc<Self>, id: i32) {
        if !self.restored.get() {
            self.oracle.fail(self, Property::WentOn, format_args!("broker {id} halts, and nothing went back"));
        }
        self.tally.count(Happened::Halted);
        self.halted.borrow_mut().insert(id);
        self.end(id, true);
    }

    pub(super) fn has_halted(&self, id: i32) -> bool {
        self.halted.borrow().contains(&id)
    }

    pub(super) fn is_restored(&self) -> bool {
        self.restored.get()
    }

    /// The ensemble comes back from a copy that lacks something every broker has seen. Gives whether there is such a copy.
    pub(super) fn restore_old_copy(self: &Rc<Self>) -> bool {
        let seen = self.machines.borrow().values().map(|machine| machine.disk.borrow().seen.0).min().unwrap_or(0);
        if seen < 2 {
            return false;
        }
        let lost_from = self.random.between((seen as i64 - 4).max(1)..=seen as i64 - 1);
        note!(self, "the ensemble is back from a copy that ends before entry {lost_from}");
        self.restored.set(true);
        self.zookeeper.restore(self, &format!("{LOG_PREFIX}{lost_from:020}"));
        true
    }

    /// Lets go of everything: what is here holds what holds this.
    pub(super) fn clear(&self) {
        self.executor.clear();
        self.network.clear();
        self.zookeeper.clear();
        let machines = std::mem::take(&mut *self.machines.borrow_mut());
        drop(machines);
    }

    fn empty_disk(&self) -> Disk {
        Disk {
            uuid: Uuid(self.random.bytes()),
            logs: BTreeMap::new(),
            logs_made: 0,
            clean: true,
            seen: (0, Hash::default()),
            failed: None,
        }
    }
}
