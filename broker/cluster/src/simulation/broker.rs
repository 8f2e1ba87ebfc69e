//! One life of a broker's process. It does what the real one does where decisions depend on it, in the same order: has a session,
//! replays the metadata log, says that it is there, contests the controller's seat, leads and follows partitions by the real
//! [`Leader`](crate::partition::Leader) and [`Follower`](crate::partition::Follower), decides by the real changes.
//!
//! What it keeps in memory dies with it; what it keeps on [`Disk`] may not.

mod controller;
mod failures;
mod fetcher;
mod isr;
mod membership;
mod replicas;
mod seat;
mod served;
pub(super) mod snapshots;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::disk::{Disk, Key};
use super::executor::Owner;
use super::messages::{Answered, Asked, Reply, Request};
use super::network::{Connection, Node};
use super::sync::{Sender, Signal};
use super::world::World;
use super::zookeeper::session::Session;
use crate::Image;
use crate::planted::{Bug, planted};
use replicas::Replica;

pub(super) struct Process {
    pub(super) id: i32,
    pub(super) owner: Owner,
    world: Rc<World>,
    disk: Rc<RefCell<Disk>>,
    /// How far into the metadata log earlier lives have been.
    seen_at_start: u64,
    /// The life before ended in order; and this one has said so.
    ended_clean: Cell<bool>,
    /// The epoch of this broker, once it has said that it is there.
    pub(super) epoch: Cell<Option<i64>>,
    image: RefCell<Image>,
    published: Signal,
    session: RefCell<Option<Rc<Session>>>,
    replicas: RefCell<BTreeMap<Key, Replica>>,
    /// A log grew, or a high watermark or a role changed.
    moved: Signal,
    /// Something waits to be synced.
    unsynced: Signal,
    /// Somebody may join an ISR.
    review: Signal,
    /// Holds the controller's seat.
    reigns: Cell<bool>,
    changes: RefCell<VecDeque<Pending>>,
    asked: Signal,
    stopping: Cell<bool>,
    /// Until then its disks hardly answer.
    pub(super) slow_until: Cell<i64>,
}

/// How often it is looked whether disks are still slow.
const SLOW_LOOK_MS: i64 = 50;

/// A change that waits for the controller.
struct Pending {
    asked: Asked,
    answer: Sender<Answered>,
}

impl Process {
    /// A process begins on what the disk holds.
    pub(super) fn start(world: &Rc<World>, id: i32, disk: &Rc<RefCell<Disk>>) -> Rc<Self> {
        let clean = std::mem::replace(&mut disk.borrow_mut().clean, false);
        {
            let disk = &mut *disk.borrow_mut();
            let failed = disk.offline();
            disk.logs.iter_mut().filter(|(key, _)| !failed.contains(key)).for_each(|(_, log)| log.recover());
        }
        let process = Rc::new(Self {
            id,
            owner: world.new_owner(),
            world: Rc::clone(world),
            disk: Rc::clone(disk),
            seen_at_start: disk.borrow().seen.0,
            ended_clean: Cell::new(clean),
            epoch: Cell::new(None),
            image: RefCell::default(),
            published: Signal::default(),
            session: RefCell::default(),
            replicas: RefCell::default(),
            moved: Signal::default(),
            unsynced: Signal::default(),
            review: Signal::default(),
            reigns: Cell::new(false),
            changes: RefCell::default(),
            asked: Signal::default(),
            stopping: Cell::new(false),
            slow_until: Cell::new(0),
        });
        note!(world, "broker {id} starts {}", if clean { "after an orderly end" } else { "uncleanly" });
        let executor = &world.executor;
        executor.spawn(process.owner, membership::run(Rc::clone(&process)));
        executor.spawn(process.owner, replicas::sync(Rc::clone(&process)));
        executor.spawn(process.owner, isr::run(Rc::clone(&process)));
        executor.spawn(process.owner, failures::run(Rc::clone(&process)));
        for leader in world.broker_ids().filter(|leader| *leader != id) {
            process.follow_broker(leader);
        }
        process
    }

    /// Follows what that broker leads.
    pub(super) fn follow_broker(self: &Rc<Self>, leader: i32) {
        self.world.executor.spawn(self.owner, fetcher::run(Rc::clone(self), leader));
    }

    pub(super) fn image(&self) -> Image {
        self.image.borrow().clone()
    }

    pub(super) fn disk(&self) -> &Rc<RefCell<Disk>> {
        &self.disk
    }

    /// Whether it holds the controller's seat, as far as it knows.
    pub(super) fn reigns(&self) -> bool {
        self.reigns.get()
    }

    /// A request has arrived.
    pub(super) fn serve(self: &Rc<Self>, connection: &Rc<Connection>, call: u64, request: Request) {
        match request {
            Request::Zookeeper { .. } => unreachable!("brokers are no servers of the ensemble"),
            Request::Probe => connection.reply(&self.world, call, Reply::Alive),
            Request::Hold => {}
            Request::Change(asked) => self.change(connection, call, asked),
            Request::Fetch(fetch) => fetcher::serve(self, connection, call, fetch),
            Request::Produce(produce) => self.produce(connection, call, produce),
            Request::Read { key, position } => {
                let read = self.read(key, position);
                connection.reply(&self.world, call, Reply::Read(read));
            }
            Request::Latest { key } => {
                let latest = self.latest(key);
                connection.reply(&self.world, call, Reply::Latest(latest));
            }
        }
    }

    /// Ends in order: leaders moved, all synced, said so on disk, session closed.
    pub(super) async fn shut_down(self: Rc<Self>) {
        note!(self.world, "broker {} shuts down", self.id);
        isr::hand_over(&self).await;
        self.stopping.set(true);
        self.moved.raise();
        self.world.executor.sleep(self.world.setup.sync_takes_ms(&self.world.random)).await;
        {
            let disk = &mut *self.disk.borrow_mut();
            let failed = disk.offline();
            disk.logs.iter_mut().filter(|(key, _)| !failed.contains(key)).for_each(|(_, log)| log.recover());
            // Only if what this life began with has been registered: else the next would hide that it began uncleanly. And only if
            // all disks have it.
            let is_known = self.ended_clean.get() || planted(Bug::FalseCleanMarker);
            disk.clean = is_known && disk.failed.is_none();
        }
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            session.close().await;
        }
        self.world.on_exit(self.id, self.owner);
    }

    fn node(&self) -> Node {
        Node::Broker(self.id)
    }

    fn now(&self) -> i64 {
        self.world.executor.now()
    }

    /// Until its disks are as fast as ever.
    async fn disks(&self) {
        while self.slow_until.get() > self.now() {
            self.sleep(SLOW_LOOK_MS).await;
        }
    }

    async fn sleep(&self, ms: i64) {
        self.world.executor.sleep(ms).await;
    }

    /// Forwarded, or from a client: only the controller decides.
    fn change(self: &Rc<Self>, connection: &Rc<Connection>, call: u64, asked: Asked) {
        let (process, connection) = (Rc::clone(self), Rc::clone(connection));
        let random = &self.world.random;
        let lost = random
            .chance(self.world.setup.changes_lost)
            .then(|| (random.chance(500), self.world.setup.change_is_late_ms(random)));
        self.world.executor.spawn(self.owner, async move {
            if let Some((is_done, late)) = lost {
                connection.reset(&process.world);
                process.sleep(late).await;
                if is_done {
                    controller::submit_here(&process, asked).await;
                }
                return;
            }
            // An ISR that is asked for again and again (KAFKA-12686): a copy comes long after the first.
            if matches!(asked, Asked::AlterPartition(_))
                && process.world.random.chance(process.world.setup.changes_lost)
            {
                let (there, again) = (Rc::clone(&process), asked.clone());
                let late = process.world.setup.change_is_late_ms(&process.world.random);
                process.world.executor.spawn(process.owner, async move {
                    there.sleep(late).await;
                    controller::submit_here(&there, again).await;
                });
            }
            let answered = controller::submit_here(&process, asked).await;
            connection.reply(&process.world, call, Reply::Changed(answered));
        });
    }
}
