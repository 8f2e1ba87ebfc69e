//! Connections between nodes: in order within one, in any order across them. A link may be cut one way, and then what was sent
//! over it waits, as TCP would send it again and again; a process that dies resets its connections, a machine that loses power
//! says nothing; what was under way when a caller hung up may still arrive.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::executor::Owner;
use super::messages::{Reply, Request};
use super::sync::{First, Receiver, Sender, oneshot, race};
use super::world::World;

/// Something with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Broker(i32),
    Zookeeper(usize),
    Clients,
}

/// What answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// The machine is without power.
    Off,
    /// It runs, and nobody listens.
    Empty,
    Process(Owner),
}

#[derive(Default)]
pub(super) struct Network {
    made: Cell<u64>,
    cut: RefCell<BTreeSet<(Node, Node)>>,
    connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
}

pub(super) struct Connection {
    id: u64,
    pub(super) from: Node,
    pub(super) to: Node,
    caller: Owner,
    /// The process that took it.
    server: Cell<Option<Owner>>,
    /// Nobody listens there.
    refused: Cell<bool>,
    open: Cell<bool>,
    /// What is under way when the caller hangs up arrives nevertheless.
    outlives: Cell<bool>,
    there: RefCell<Lane>,
    back: RefCell<Lane>,
    calls_made: Cell<u64>,
    calls: RefCell<BTreeMap<u64, Sender<Reply>>>,
    watches: RefCell<BTreeMap<u64, Sender<()>>>,
}

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    frames: VecDeque<(i64, Frame)>,
    /// An event is planned that looks at the first frame.
    pumping: bool,
}

enum Frame {
    Request(u64, Request),
    Reply(u64, Reply),
    Fired(u64),
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    There,
    Back,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// Nobody listens there: surely not done.
    Refused,
    /// Done, or not, or still to be done.
    Lost,
}

impl Network {
    pub(super) fn cut(&self, from: Node, to: Node) {
        self.cut.borrow_mut().insert((from, to));
    }

    pub(super) fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cut.borrow().contains(&(from, to))
    }

    /// Links for which `which` holds carry again what waits.
    pub(super) fn heal(&self, world: &Rc<World>, which: impl Fn(Node, Node) -> bool) {
        self.cut.borrow_mut().retain(|(from, to)| !which(*from, *to));
        let connections: Vec<Rc<Connection>> = self.connections.borrow().values().cloned().collect();
        for connection in connections {
            for direction in [Direction::There, Direction::Back] {
                connection.pump(world, direction);
            }
        }
    }

    /// A process is gone: who was connected to it hears that, unless its machine is gone too.
    pub(super) fn on_death(&self, world: &Rc<World>, owner: Owner, audible: bool) {
        let connections: Vec<Rc<Connection>> = self.connections.borrow().values().cloned().collect();
        for connection in connections {
            if connection.caller == owner {
                connection.close(world);
            }
            if connection.server.get() == Some(owner) && audible {
                // What it had answered may be lost with it.
                if world.random.chance(500) {
                    connection.back.borrow_mut().frames.clear();
                }
                connection.send(world, Direction::Back, Frame::Reset);
            }
        }
    }

    /// One of the connections between two nodes breaks under both.
    pub(super) fn reset_one(&self, world: &Rc<World>) -> Option<(Node, Node)> {
        let open: Vec<Rc<Connection>> =
            self.connections.borrow().values().filter(|it| it.open.get()).cloned().collect();
        let connection = world.random.pick(&open)?;
        connection.broken();
        Some((connection.from, connection.to))
    }

    /// Nothing holds anything any more.
    pub(super) fn clear(&self) {
        let connections = std::mem::take(&mut *self.connections.borrow_mut());
        for connection in connections.values() {
            connection.broken();
            *connection.there.borrow_mut() = Lane::default();
            *connection.back.borrow_mut() = Lane::default();
        }
    }
}

impl Connection {
    /// Whether somebody answers shows with the first call.
    pub(super) fn open(world: &World, caller: Owner, from: Node, to: Node) -> Rc<Self> {
        let network = &world.network;
        let id = network.made.replace(network.made.get() + 1);
        let connection = Rc::new(Self {
            id,
            from,
            to,
            caller,
            server: Cell::new(None),
            refused: Cell::new(false),
            open: Cell::new(true),
            outlives: Cell::new(false),
            there: RefCell::default(),
            back: RefCell::default(),
            calls_made: Cell::new(0),
            calls: RefCell::default(),
            watches: RefCell::default(),
        });
        network.connections.borrow_mut().insert(id, Rc::clone(&connection));
        connection
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Asks and waits for the answer. Without one in time the connection is given up.
    pub(super) async fn call(
        self: &Rc<Self>,
        world: &Rc<World>,
        request: Request,
        deadline: i64,
    ) -> Result<Reply, CallError> {
        let answer = self.ask(world, request);
        match race(answer, world.executor.sleep(deadline)).await {
            First::Left(Some(reply)) => Ok(reply),
            First::Left(None) if self.refused.get() => Err(CallError::Refused),
            First::Left(None) => Err(CallError::Lost),
            First::Right(_) => {
                self.close(world);
                Err(CallError::Lost)
            }
        }
    }

    /// Asks. The receiver ends without a value when the connection does.
    pub(super) fn ask(self: &Rc<Self>, world: &Rc<World>, request: Request) -> Receiver<Reply> {
        let (sender, answer) = oneshot();
        if self.open.get() {
            let call = self.calls_made.replace(self.calls_made.get() + 1);
            self.calls.borrow_mut().insert(call, sender);
            self.send(world, Direction::There, Frame::Request(call, request));
        }
        answer
    }

    /// A watch that the other side may fire: its number, and what resolves when it fired or the connection ended.
    pub(super) fn watch(&self) -> (u64, Receiver<()>) {
        let (sender, fired) = oneshot();
        let number = self.calls_made.replace(self.calls_made.get() + 1);
        if self.open.get() {
            self.watches.borrow_mut().insert(number, sender);
        }
        (number, fired)
    }

    /// Answers a call. Nobody may be there to hear it.
    pub(super) fn reply(self: &Rc<Self>, world: &Rc<World>, call: u64, reply: Reply) {
        self.send(world, Direction::Back, Frame::Reply(call, reply));
    }

    /// The server breaks it off.
    pub(super) fn reset(self: &Rc<Self>, world: &Rc<World>) {
        self.send(world, Direction::Back, Frame::Reset);
    }

    pub(super) fn fire(self: &Rc<Self>, world: &Rc<World>, watch: u64) {
        self.send(world, Direction::Back, Frame::Fired(watch));
    }

    /// The caller hangs up. What it has sent may be under way.
    pub(super) fn close(&self, world: &World) {
        if self.open.get() {
            self.outlives.set(world.random.chance(500));
            self.broken();
        }
    }

    fn broken(&self) {
        self.open.set(false);
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        let watches = std::mem::take(&mut *self.watches.borrow_mut());
        // Outside the borrow: who waits is woken.
        drop((calls, watches));
    }

    fn send(self: &Rc<Self>, world: &Rc<World>, direction: Direction, frame: Frame) {
        let outlives = direction == Direction::There && self.outlives.get();
        if !self.open.get() && !outlives {
            return;
        }
        let ready = world.executor.now() + world.setup.network.delay(&world.random, world.is_healed());
        self.lane(direction).borrow_mut().frames.push_back((ready, frame));
        self.pump(world, direction);
    }

    fn lane(&self, direction: Direction) -> &RefCell<Lane> {
        match direction {
            Direction::There => &self.there,
            Direction::Back => &self.back,
        }
    }

    /// Plans the first frame's arrival, unless the link is cut: healing it does.
    fn pump(self: &Rc<Self>, world: &Rc<World>, direction: Direction) {
        let (from, to) = match direction {
            Direction::There => (self.from, self.to),
            Direction::Back => (self.to, self.from),
        };
        let mut lane = self.lane(direction).borrow_mut();
        if lane.pumping || world.network.is_cut(from, to) {
            return;
        }
        let Some((ready, _)) = lane.frames.front() else {
            if !self.open.get() {
                world.network.connections.borrow_mut().remove(&self.id);
            }
            return;
        };
        let wait = ready - world.executor.now();
        lane.pumping = true;
        let (connection, arriving) = (Rc::clone(self), Rc::clone(world));
        world.executor.after(wait, move || {
            connection.lane(direction).borrow_mut().pumping = false;
            if !arriving.network.is_cut(from, to) {
                let frame = connection.lane(direction).borrow_mut().frames.pop_front();
                if let Some((_, frame)) = frame {
                    connection.arrive(&arriving, frame);
                }
            }
            connection.pump(&arriving, direction);
        });
    }

    fn arrive(self: &Rc<Self>, world: &Rc<World>, frame: Frame) {
        match frame {
            Frame::Request(call, request) => self.arrive_there(world, call, request),
            Frame::Reply(call, reply) => {
                let waiting = self.calls.borrow_mut().remove(&call);
                if let Some(waiting) = waiting {
                    waiting.send(reply);
                }
            }
            Frame::Fired(watch) => {
                let waiting = self.watches.borrow_mut().remove(&watch);
                if let Some(waiting) = waiting {
                    waiting.send(());
                }
            }
            Frame::Reset => {
                // From a host on which nobody listens; one that breaks under way was never said to be refused.
                self.refused.set(self.server.get().is_none());
                self.broken();
            }
        }
    }

    fn arrive_there(self: &Rc<Self>, world: &Rc<World>, call: u64, request: Request) {
        if !self.open.get() && !self.outlives.get() {
            return;
        }
        match world.host(self.to) {
            Host::Off => {}
            Host::Process(owner) if self.server.get().is_none_or(|server| server == owner) => {
                self.server.set(Some(owner));
                let (connection, there) = (Rc::clone(self), Rc::clone(world));
                world.executor.arrive(owner, move || there.serve(&connection, call, request));
            }
            Host::Empty | Host::Process(_) => self.send(world, Direction::Back, Frame::Reset),
        }
    }
}
