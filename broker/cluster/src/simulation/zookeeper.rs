//! A ZooKeeper ensemble: one order of transactions, servers that apply it each at its own pace, sessions that end when nothing
//! was heard of them for too long. What a client may see of it is what the broker's coordinator promises and no more: reads that
//! are behind, watches that fire once, writes whose outcome is lost with the connection and that may still be carried out.
//!
//! [`session`] is the client's side.

pub(super) mod session;
mod tree;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::executor::Owner;
use super::messages::Reply;
use super::network::{Connection, Host};
use super::world::World;
use tree::Tree;
pub(super) use tree::{Change, Effect, Node, Refusal};

/// Servers of the ensemble.
pub(super) const SERVERS: usize = 3;

/// How often sessions are looked at, as `tickTime`.
const TICK_MS: i64 = 50;

/// What a client asks.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Open,
    Attach,
    Ping,
    Read { path: String, watch: Option<u64> },
    Children { path: String, watch: u64 },
    Sync,
    Multi(Vec<Change>),
    Close,
}

/// What it is told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Session(i64),
    Expired,
    Node(Option<Node>),
    Children(Vec<String>),
    Done,
    Refused(usize, Refusal),
}

pub(super) struct Zookeeper {
    state: RefCell<State>,
    sessions_made: Cell<i64>,
}

#[derive(Default)]
struct State {
    /// What is true: all transactions applied.
    truth: Tree,
    transactions: Vec<Rc<Vec<Effect>>>,
    /// As the ensemble began.
    founded: Tree,
    /// Transactions that an old copy did not have: their numbers are not given again, since a new leader begins a new epoch.
    lost: usize,
    servers: Vec<Server>,
    /// When each was last heard of.
    sessions: BTreeMap<i64, i64>,
}

#[derive(Default)]
struct Server {
    /// Of this life of the server; nothing while it is down.
    owner: Option<Owner>,
    tree: Tree,
    applied: usize,
    watches: Vec<Watch>,
    /// Requests of a connection are carried out in order: until when the ones before keep the next waiting.
    busy: BTreeMap<u64, i64>,
}

struct Watch {
    path: String,
    of_children: bool,
    connection: Rc<Connection>,
    number: u64,
}

impl Zookeeper {
    /// All servers up, and these nodes there.
    pub(super) fn new(owners: [Owner; SERVERS], nodes: &[(&str, &[u8])]) -> Self {
        let mut truth = Tree::default();
        for (path, data) in nodes {
            let node = Node { data: data.to_vec(), version: 0, created: 0, owner: None };
            truth.apply(&Effect::Put { path: (*path).to_owned(), node });
        }
        let up = |owner| Server { owner: Some(owner), tree: truth.clone(), ..Server::default() };
        let servers = owners.map(up).into();
        let state = State { founded: truth.clone(), truth, servers, ..State::default() };
        Self { state: RefCell::new(state), sessions_made: Cell::new(0) }
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        *self.state.borrow_mut() = State::default();
    }

    pub(super) fn host(&self, server: usize) -> Host {
        self.state.borrow().servers[server].owner.map_or(Host::Empty, Host::Process)
    }

    pub(super) fn servers_up(&self) -> Vec<usize> {
        let state = self.state.borrow();
        (0..SERVERS).filter(|server| state.servers[*server].owner.is_some()).collect()
    }

    /// What a node truly holds at this moment; for those who watch from outside.
    pub(super) fn peek(&self, path: &str) -> Option<Node> {
        self.state.borrow().truth.get(path).cloned()
    }

    /// A server ends; what it had not passed on is lost. Those that are too few without it turn their clients away.
    pub(super) fn stop(&self, world: &Rc<World>, server: usize) {
        let ended = self.state.borrow_mut().servers[server].end();
        let mut gone: Vec<Owner> = ended.into_iter().collect();
        if !self.has_quorum() {
            for server in &mut self.state.borrow_mut().servers {
                if let Some(owner) = server.end() {
                    gone.push(owner);
                    server.owner = Some(world.new_owner());
                }
            }
        }
        gone.into_iter().for_each(|owner| world.network.on_death(world, owner, true));
    }

    /// The ensemble is back from an old copy, which has nothing from the transaction on that made that node.
    pub(super) fn restore(&self, world: &Rc<World>, path: &str) {
        (0..SERVERS).for_each(|server| self.stop(world, server));
        {
            let mut state = self.state.borrow_mut();
            let State { truth, transactions, servers, founded, lost, .. } = &mut *state;
            let makes = |transaction: &Rc<Vec<Effect>>| transaction.iter().any(|effect| effect.path() == path);
            let kept = transactions.iter().position(makes).unwrap_or(transactions.len());
            *lost += transactions.len() - kept;
            transactions.truncate(kept);
            *truth = founded.clone();
            transactions.iter().flat_map(|it| it.iter()).for_each(|effect| truth.apply(effect));
            for server in servers {
                (server.tree, server.applied) = (truth.clone(), kept);
            }
        }
        (0..SERVERS).for_each(|server| self.start(world, server));
    }

    /// A server is back. If none was, sessions are given their full time again, as a new leader does.
    pub(super) fn start(&self, world: &Rc<World>, server: usize) {
        let had_quorum = self.servers_up().len() * 2 > SERVERS;
        let mut state = self.state.borrow_mut();
        state.servers[server].owner.get_or_insert_with(|| world.new_owner());
        if !had_quorum {
            state.sessions.values_mut().for_each(|heard| *heard = world.executor.now());
        }
    }

    pub(super) fn has_quorum(&self) -> bool {
        self.servers_up().len() * 2 > SERVERS
    }

    /// Looks at the sessions from time to time, for ever.
    pub(super) fn tick(world: &Rc<World>) {
        let zookeeper = &world.zookeeper;
        if zookeeper.has_quorum() {
            let oldest = world.executor.now() - world.setup.session_timeout_ms;
            let expired: Vec<i64> = zookeeper
                .state
                .borrow()
                .sessions
                .iter()
                .filter(|(_, heard)| **heard < oldest)
                .map(|(id, _)| *id)
                .collect();
            for session in expired {
                note!(world, "zookeeper: session {session} expires");
                zookeeper.end(world, session);
            }
        }
        let again = Rc::clone(world);
        world.executor.after(TICK_MS, move || Self::tick(&again));
    }

    /// A request arrives at a server. Those of one connection are carried out in order.
    pub(super) fn serve(
        world: &Rc<World>,
        server: usize,
        connection: &Rc<Connection>,
        call: u64,
        session: i64,
        ask: Ask,
    ) {
        let now = world.executor.now();
        let takes = match ask {
            Ask::Multi(_) | Ask::Open | Ask::Close => world.setup.zookeeper_commit_ms(&world.random),
            _ => 0,
        };
        let (owner, until) = {
            let mut state = world.zookeeper.state.borrow_mut();
            let server = &mut state.servers[server];
            let busy = server.busy.entry(connection.id()).or_default();
            *busy = now.max(*busy) + takes;
            (server.owner, *busy)
        };
        let (there, connection) = (Rc::clone(world), Rc::clone(connection));
        let carry_out = move || {
            let zookeeper = &there.zookeeper;
            let same_life = zookeeper.state.borrow().servers[server].owner == owner;
            if same_life && zookeeper.has_quorum() {
                let told = zookeeper.carry_out(&there, server, &connection, session, ask);
                connection.reply(&there, call, Reply::Zookeeper(told));
            }
        };
        if until == now { carry_out() } else { world.executor.after(until - now, carry_out) }
    }

    fn carry_out(&self, world: &Rc<World>, server: usize, connection: &Rc<Connection>, session: i64, ask: Ask) -> Told {
        let now = world.executor.now();
        if let Ask::Open = ask {
            let session = self.sessions_made.get() + 1;
            self.sessions_made.set(session);
            self.state.borrow_mut().sessions.insert(session, now);
            return Told::Session(session);
        }
        match self.state.borrow_mut().sessions.get_mut(&session) {
            Some(heard) => *heard = now,
            None => return Told::Expired,
        }
        match ask {
            Ask::Open => unreachable!("answered above"),
            Ask::Attach | Ask::Ping => Told::Done,
            Ask::Read { path, watch } => {
                let mut state = self.state.borrow_mut();
                let server = &mut state.servers[server];
                let node = server.tree.get(&path).cloned();
                server.watches.extend(watch.map(|number| Watch {
                    path,
                    of_children: false,
                    connection: Rc::clone(connection),
                    number,
                }));
                Told::Node(node)
            }
            Ask::Children { path, watch } => {
                let mut state = self.state.borrow_mut();
                let server = &mut state.servers[server];
                let children = server.tree.children(&path);
                server.watches.push(Watch {
                    path,
                    of_children: true,
                    connection: Rc::clone(connection),
                    number: watch,
                });
                Told::Children(children)
            }
            Ask::Sync => {
                let all = self.state.borrow().transactions.len();
                self.catch_up(world, server, all);
                Told::Done
            }
            Ask::Multi(changes) => {
                let bytes: usize = changes.iter().map(Change::bytes).sum();
                world.oracle.on_write(world, bytes);
                let created = self.state.borrow().next_number();
                let decided = self.state.borrow().truth.decide(&changes, session, created);
                match decided {
                    Err((index, refusal)) => Told::Refused(index, refusal),
                    Ok(effects) => {
                        self.commit(world, effects);
                        let all = self.state.borrow().transactions.len();
                        self.catch_up(world, server, all);
                        Told::Done
                    }
                }
            }
            Ask::Close => {
                self.end(world, session);
                Told::Done
            }
        }
    }

    fn end(&self, world: &Rc<World>, session: i64) {
        let removed: Vec<Effect> = {
            let mut state = self.state.borrow_mut();
            state.sessions.remove(&session);
            state.truth.owned_by(session).into_iter().map(|path| Effect::Remove { path }).collect()
        };
        if !removed.is_empty() {
            self.commit(world, removed);
        }
    }

    /// True from now on; each server learns of it in its own time.
    fn commit(&self, world: &Rc<World>, effects: Vec<Effect>) {
        let all = {
            let mut state = self.state.borrow_mut();
            effects.iter().for_each(|effect| state.truth.apply(effect));
            state.transactions.push(Rc::new(effects.clone()));
            state.transactions.len()
        };
        world.oracle.on_transaction(world, &effects);
        for server in 0..SERVERS {
            let there = Rc::clone(world);
            let lag = world.setup.zookeeper_lag_ms(&world.random);
            world.executor.after(lag, move || there.zookeeper.catch_up(&there, server, all));
        }
    }

    fn catch_up(&self, world: &Rc<World>, server: usize, until: usize) {
        let mut fired = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let State { transactions, servers, lost, .. } = &mut *state;
            // What was still to be passed on may be lost meanwhile.
            let until = until.min(transactions.len());
            let server = &mut servers[server];
            while server.applied < until {
                let created = (*lost + server.applied) as i64 + 1;
                for effect in transactions[server.applied].iter() {
                    let parent = effect.path().rsplit_once('/').map_or("", |(parent, _)| parent);
                    let children_change = match effect {
                        Effect::Put { node, .. } => node.created == created,
                        Effect::Remove { .. } => true,
                    };
                    let touched = |watch: &mut Watch| {
                        if watch.of_children {
                            children_change && watch.path == parent
                        } else {
                            watch.path == effect.path()
                        }
                    };
                    fired.extend(server.watches.extract_if(.., touched));
                    server.tree.apply(effect);
                }
                server.applied += 1;
            }
        }
        for watch in fired {
            watch.connection.fire(world, watch.number);
        }
    }
}

impl State {
    fn next_number(&self) -> i64 {
        (self.lost + self.transactions.len()) as i64 + 1
    }
}

impl Server {
    fn end(&mut self) -> Option<Owner> {
        self.watches.clear();
        self.busy.clear();
        self.owner.take()
    }
}

#[cfg(test)]
mod tests;
