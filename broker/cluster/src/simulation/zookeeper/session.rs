//! A session as a client has it: one connection at a time to one server, pings, another server when one falls silent, and what
//! the client believes of the session, which may be wrong for a while in both directions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::executor::Owner;
use super::super::messages::{Reply, Request};
use super::super::network::{CallError, Connection, Node as Address};
use super::super::sync::{First, Receiver, Signal, race};
use super::super::world::World;
use super::{Ask, Change, Node, Refusal, SERVERS, Told};

/// Where a session stands, as far as the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Standing {
    Connected,
    Doubtful,
    Ended,
}

/// Nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Unavailable;

/// Why a multi was not done, if it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum WriteError {
    Refused(usize, Refusal),
    NotConnected,
    Unknown,
}

pub(in super::super) struct Session {
    pub(in super::super) id: i64,
    world: Rc<World>,
    owner: Owner,
    from: Address,
    connection: RefCell<Rc<Connection>>,
    standing: Cell<Standing>,
    pub(in super::super) changed: Signal,
    heard: Cell<i64>,
}

/// Between tries to reach another server.
const RETRY_MS: i64 = 60;

impl Session {
    /// Tries once, with some server.
    pub(in super::super) async fn connect(world: &Rc<World>, owner: Owner, from: Address) -> Option<Rc<Self>> {
        let server = Address::Zookeeper(world.random.below(SERVERS));
        let connection = Connection::open(world, owner, from, server);
        let deadline = world.setup.session_timeout_ms / 2;
        let request = Request::Zookeeper { session: 0, ask: Ask::Open };
        let Ok(Reply::Zookeeper(Told::Session(id))) = connection.call(world, request, deadline).await else {
            return None;
        };
        let session = Rc::new(Self {
            id,
            world: Rc::clone(world),
            owner,
            from,
            connection: RefCell::new(connection),
            standing: Cell::new(Standing::Connected),
            changed: Signal::default(),
            heard: Cell::new(world.executor.now()),
        });
        world.executor.spawn(owner, Rc::clone(&session).keep());
        Some(session)
    }

    pub(in super::super) fn standing(&self) -> Standing {
        self.standing.get()
    }

    /// Until it is no longer connected.
    pub(in super::super) async fn doubtful(&self) {
        while self.standing() == Standing::Connected {
            let seen = self.changed.seen();
            self.changed.after(seen).await;
        }
    }

    /// Until it is connected again, or has ended.
    pub(in super::super) async fn settled(&self) -> Standing {
        while self.standing() == Standing::Doubtful {
            let seen = self.changed.seen();
            self.changed.after(seen).await;
        }
        self.standing()
    }

    pub(in super::super) async fn read(&self, path: &str) -> Result<Option<Node>, Unavailable> {
        match self.ask(Ask::Read { path: path.to_owned(), watch: None }).await {
            Ok(Told::Node(node)) => Ok(node),
            _ => Err(Unavailable),
        }
    }

    /// What is there, and what resolves when it changes, or when the connection goes that would have told.
    pub(in super::super) async fn read_and_watch(
        &self,
        path: &str,
    ) -> Result<(Option<Node>, Receiver<()>), Unavailable> {
        let (number, fired) = self.connection.borrow().watch();
        match self.ask(Ask::Read { path: path.to_owned(), watch: Some(number) }).await {
            Ok(Told::Node(node)) => Ok((node, fired)),
            _ => Err(Unavailable),
        }
    }

    pub(in super::super) async fn children_and_watch(
        &self,
        path: &str,
    ) -> Result<(Vec<String>, Receiver<()>), Unavailable> {
        let (number, fired) = self.connection.borrow().watch();
        match self.ask(Ask::Children { path: path.to_owned(), watch: number }).await {
            Ok(Told::Children(names)) => Ok((names, fired)),
            _ => Err(Unavailable),
        }
    }

    pub(in super::super) async fn sync(&self) -> Result<(), Unavailable> {
        self.ask(Ask::Sync).await.map(drop).map_err(|_| Unavailable)
    }

    pub(in super::super) async fn multi(&self, changes: Vec<Change>) -> Result<(), WriteError> {
        if self.standing() != Standing::Connected {
            return Err(WriteError::NotConnected);
        }
        match self.ask(Ask::Multi(changes)).await {
            Ok(Told::Done) => Ok(()),
            Ok(Told::Refused(index, refusal)) => Err(WriteError::Refused(index, refusal)),
            Ok(Told::Expired) => Err(WriteError::NotConnected),
            Ok(_) | Err(Unavailable) => Err(WriteError::Unknown),
        }
    }

    pub(in super::super) async fn close(&self) {
        // Done or not: an ended session is the server's business.
        let _ = race(self.ask(Ask::Close), self.world.executor.sleep(RETRY_MS * 5)).await;
        self.stand(Standing::Ended);
        self.connection.borrow().close(&self.world);
    }

    async fn ask(&self, ask: Ask) -> Result<Told, Unavailable> {
        if self.standing() != Standing::Connected {
            return Err(Unavailable);
        }
        let connection = Rc::clone(&self.connection.borrow());
        match connection.ask(&self.world, Request::Zookeeper { session: self.id, ask }).await {
            Some(Reply::Zookeeper(told)) => {
                self.heard.set(self.world.executor.now());
                if let Told::Expired = told {
                    self.stand(Standing::Ended);
                }
                Ok(told)
            }
            _ => Err(Unavailable),
        }
    }

    /// Pings; changes servers; gives the session up.
    async fn keep(self: Rc<Self>) {
        let (world, timeout) = (Rc::clone(&self.world), self.world.setup.session_timeout_ms);
        loop {
            match self.standing() {
                Standing::Ended => return,
                Standing::Connected => {
                    let connection = Rc::clone(&self.connection.borrow());
                    let ping = Request::Zookeeper { session: self.id, ask: Ask::Ping };
                    let told = connection.call(&world, ping, timeout / 3).await;
                    self.on_ping(told);
                    if self.standing() == Standing::Connected {
                        // Woken early when the connection breaks for somebody else.
                        let seen = self.changed.seen();
                        let _: First<_, _> = race(self.changed.after(seen), world.executor.sleep(timeout / 3)).await;
                    }
                }
                Standing::Doubtful => {
                    world.executor.sleep(RETRY_MS).await;
                    self.reconnect().await;
                }
            }
        }
    }

    fn on_ping(&self, told: Result<Reply, CallError>) {
        match told {
            Ok(Reply::Zookeeper(Told::Expired)) => self.stand(Standing::Ended),
            Ok(_) => self.heard.set(self.world.executor.now()),
            Err(_) => self.stand(Standing::Doubtful),
        }
    }

    async fn reconnect(&self) {
        let (world, timeout) = (&self.world, self.world.setup.session_timeout_ms);
        // As the client library does: after 1.4 times the session's timeout it takes the session for expired, whether it is or not.
        if world.executor.now() - self.heard.get() > timeout * 7 / 5 {
            self.stand(Standing::Ended);
            return;
        }
        let server = Address::Zookeeper(world.random.below(SERVERS));
        let connection = Connection::open(world, self.owner, self.from, server);
        let attach = Request::Zookeeper { session: self.id, ask: Ask::Attach };
        match connection.call(world, attach, timeout / 3).await {
            Ok(Reply::Zookeeper(Told::Done)) => {
                self.heard.set(world.executor.now());
                self.connection.replace(connection);
                self.stand(Standing::Connected);
            }
            Ok(_) => self.stand(Standing::Ended),
            Err(_) => {}
        }
    }

    fn stand(&self, standing: Standing) {
        if self.standing.get() != standing && self.standing.get() != Standing::Ended {
            self.standing.set(standing);
            note!(self.world, "{:?}: session {} is {standing:?}", self.from, self.id);
            self.changed.raise();
        }
    }
}
