//! Producers that send until they are told that it is stored, and readers that tail. Each is of one partition, under the topic's
//! name: when that is made again, they begin again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::disk::Key;
use super::executor::WORLD;
use super::messages::{NotServed, Produce, ProduceError, Reply, Request};
use super::network::{Connection, Node};
use super::sync::{First, race};
use super::world::World;

/// A client waits so long for an answer.
const DEADLINE_MS: i64 = 1_500;
/// And so long before it tries again.
const RETRY_MS: i64 = 60;

/// A producer with idempotence: one sequence of batches, in order, each until it is acknowledged.
pub(super) struct Producer {
    world: Rc<World>,
    topic: String,
    index: i32,
    all: bool,
    /// Its id: another one after the topic was made again, or after an `acks=1` producer lost its place.
    id: Cell<i32>,
    key: Cell<Option<Key>>,
    next: Cell<i32>,
    unanswered: RefCell<VecDeque<Produce>>,
}

impl Producer {
    pub(super) fn start(world: &Rc<World>, topic: &str, index: i32, all: bool) -> Rc<Self> {
        let producer = Rc::new(Self {
            world: Rc::clone(world),
            topic: topic.to_owned(),
            index,
            all,
            id: Cell::new(0),
            key: Cell::new(None),
            next: Cell::new(0),
            unanswered: RefCell::default(),
        });
        world.executor.spawn(WORLD, Rc::clone(&producer).run());
        producer
    }

    /// Everything it sent is answered.
    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.borrow().is_empty()
    }

    pub(super) fn key(&self) -> Option<Key> {
        self.key.get()
    }

    async fn run(self: Rc<Self>) {
        loop {
            self.begin_again_if_made_again();
            self.fill();
            if !self.is_idle() && self.send().await.is_err() {
                self.world.executor.sleep(RETRY_MS).await;
            }
            let pause = self.world.setup.produce_every_ms;
            self.world.executor.sleep(self.world.random.between(1..=pause)).await;
        }
    }

    fn begin_again_if_made_again(&self) {
        let key = self.world.known_key(&self.topic, self.index);
        if key.is_some() && key != self.key.get() {
            self.key.set(key);
            self.begin_again();
        }
    }

    fn begin_again(&self) {
        self.id.set(self.world.new_number() as i32);
        self.next.set(0);
        self.unanswered.borrow_mut().clear();
    }

    fn fill(&self) {
        let Some(key) = self.key.get() else { return };
        let mut unanswered = self.unanswered.borrow_mut();
        // Once all is healed, what is under way is brought to its end; who begins then sends one batch.
        let more = match self.world.is_healed() {
            true => usize::from(self.next.get() == 0),
            false => 1 + self.world.random.below(self.world.setup.in_flight),
        };
        while unanswered.len() < more {
            let sequence = self.next.replace(self.next.get() + 1);
            let (producer, value) = (self.id.get(), self.world.new_number());
            let records = self.world.random.between(1..=3);
            unanswered.push_back(Produce { key, producer, sequence, records, value, all: self.all });
        }
    }

    /// Whether what was acknowledged may be gone: for who did not wait for all, or once more was lost than is survived.
    fn may_have_lost(&self, key: Key) -> bool {
        !self.all || self.world.oracle.is_forgiven(key)
    }

    /// All that is unanswered, in order over one connection; the answers in order too.
    async fn send(&self) -> Result<(), ()> {
        let key = self.key.get().ok_or(())?;
        let leader = self.world.known_leader(key).ok_or(())?;
        let connection = Connection::open(&self.world, WORLD, Node::Clients, Node::Broker(leader));
        let batches: Vec<Produce> = self.unanswered.borrow().iter().copied().collect();
        let answers: Vec<_> =
            batches.iter().map(|batch| connection.ask(&self.world, Request::Produce(*batch))).collect();
        let mut result = Ok(());
        for answer in answers {
            match race(answer, self.world.executor.sleep(DEADLINE_MS)).await {
                First::Left(Some(Reply::Produced(Ok(())))) => drop(self.unanswered.borrow_mut().pop_front()),
                First::Left(Some(Reply::Produced(Err(ProduceError::OutOfOrder)))) if self.may_have_lost(key) => {
                    // It has lost its place.
                    self.begin_again();
                    result = Err(());
                    break;
                }
                First::Left(_) | First::Right(_) => {
                    result = Err(());
                    break;
                }
            }
        }
        connection.close(&self.world);
        result
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.unanswered.borrow();
        write!(
            f,
            "producer {} of {}/{}, {} batches, the first {:?}",
            self.id.get(),
            self.topic,
            self.index,
            waiting.len(),
            waiting.front()
        )
    }
}

/// Tails a partition, of the leader or of any replica; asks for its end at times.
pub(super) async fn read(world: Rc<World>, topic: String, index: i32) {
    let (mut known, mut position) = (None, 0);
    loop {
        world.executor.sleep(world.random.between(10..=120)).await;
        let key = world.known_key(&topic, index);
        if key != known {
            (known, position) = (key, 0);
        }
        let Some(key) = key else { continue };
        let leader = world.known_leader(key);
        let from_any = world.random.chance(250);
        let broker = if from_any { world.known_replica(key) } else { leader };
        let Some(broker) = broker else { continue };
        let connection = Connection::open(&world, WORLD, Node::Clients, Node::Broker(broker));
        let request = if world.random.chance(200) { Request::Latest { key } } else { Request::Read { key, position } };
        match connection.call(&world, request, DEADLINE_MS).await {
            // Some go on at the end, as readers do that only want what is new.
            Ok(Reply::Latest(Some(latest))) if world.random.chance(100) => position = position.max(latest),
            Ok(Reply::Read(Ok(batches))) => position = batches.last().map_or(position, |last| last.end),
            Ok(Reply::Read(Err(NotServed::StartsAt(start)))) if !from_any => position = position.max(start),
            Ok(_) | Err(_) => {}
        }
        connection.close(&world);
    }
}
