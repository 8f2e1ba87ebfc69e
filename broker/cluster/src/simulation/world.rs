//! Everything there is in one run: machines with disks and processes, the ensemble, the network, and those who watch. Whatever
//! happens goes through here or through an event that was planned here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sluice_protocol::Uuid;

use super::broker::Process;
use super::disk::{Disk, Key, Log};
use super::executor::{Executor, Owner};
use super::messages::Request;
use super::network::{Connection, Host, Network, Node};
use super::oracle::{CONTROLLER_EPOCH, Oracle, registration};
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
    healed: Cell<bool>,
    watched: RefCell<BTreeSet<(Owner, i32, i32, i64)>>,
}

/// A machine that a broker runs on.
struct Machine {
    powered: bool,
    disk: Rc<RefCell<Disk>>,
    process: Option<Rc<Process>>,
}

/// What a process begins its numbers with: below are the ensemble's servers.
const FIRST_NUMBER: u64 = 100;

impl World {
    pub(super) fn new(seed: u64, trace: Rc<Trace>) -> Rc<Self> {
        let random = Random::new(seed);
        let setup = Setup::draw(&random);
        let head = Head::default().encode();
        let nodes: [(&str, &[u8]); 7] = [
            (CONTROLLER_EPOCH, b"0"),
            ("/brokers", b""),
            ("/brokers/ids", b""),
            ("/cluster", b""),
            ("/meta", b""),
            ("/meta/log", b""),
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
            healed: Cell::new(false),
            watched: RefCell::default(),
        };
        for id in world.broker_ids() {
            let machine = Machine { powered: true, disk: Rc::new(RefCell::new(world.empty_disk())), process: None };
            world.machines.borrow_mut().insert(id, machine);
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
        1..=self.setup.brokers
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
            if machine.process.is_some() {
                return;
            }
            Rc::clone(&machine.disk)
        };
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
        self.oracle.on_unclean(id, |topic| self.setup.topic(topic).os);
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
        self.oracle.on_unclean(id, |_| true);
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

    /// Lets go of everything: what is here holds what holds this.
    pub(super) fn clear(&self) {
        self.executor.clear();
        self.network.clear();
        self.zookeeper.clear();
        let machines = std::mem::take(&mut *self.machines.borrow_mut());
        drop(machines);
    }

    fn empty_disk(&self) -> Disk {
        Disk { uuid: Uuid(self.random.bytes()), logs: BTreeMap::new(), clean: true, seen: (0, Hash::default()) }
    }
}
