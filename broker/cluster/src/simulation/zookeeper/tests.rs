//! What the simulated ZooKeeper promises, and what it does not, one case at a time.

use std::cell::Cell;

use super::super::executor::WORLD;
use super::super::network::Node as Address;
use super::super::trace::Trace;
use super::session::{Session, Standing, WriteError};
use super::*;

const FROM: Address = Address::Clients;

#[test]
fn ephemerals_end_with_their_session_and_watches_tell() {
    let seen = Rc::new(Cell::new(0));
    drive(|world| {
        let seen = Rc::clone(&seen);
        async move { seen.set(seen.get() + usize::from(see_an_ephemeral_end(&world).await.is_some())) }
    });
    assert!(seen.get() >= 10, "connections last in most worlds, and in {} of 20 here", seen.get());
}

/// Nothing, where a connection is lost on the way: that says nothing of ephemerals.
async fn see_an_ephemeral_end(world: &Rc<World>) -> Option<()> {
    let (one, other) = (connect(world).await, connect(world).await);
    one.multi(vec![create("/brokers/ids/1", true)]).await.ok()?;
    other.sync().await.ok()?;
    let (names, changed) = other.children_and_watch("/brokers/ids").await.ok()?;
    assert_eq!(names, ["1"]);
    let (node, gone) = other.read_and_watch("/brokers/ids/1").await.ok()?;
    assert_eq!(node.map(|node| (node.version, node.owner)), Some((0, Some(one.id))));
    one.close().await;
    assert_eq!((changed.await, gone.await), (Some(()), Some(())));
    assert_eq!(other.read("/brokers/ids/1").await.ok()?, None);
    Some(())
}

#[test]
fn a_session_that_is_cut_off_expires_before_its_client_knows() {
    drive(|world| async move {
        let session = connect_with_ephemeral(&world).await;
        for server in 0..SERVERS {
            world.network.cut(Address::Zookeeper(server), FROM);
            world.network.cut(FROM, Address::Zookeeper(server));
        }
        while world.zookeeper.peek("/brokers/ids/1").is_some() {
            world.executor.sleep(10).await;
        }
        assert_ne!(session.standing(), Standing::Ended, "the client can't know yet");
        assert_eq!(session.multi(vec![create("/x", false)]).await, Err(WriteError::NotConnected));
        world.network.heal(&world, |_, _| true);
        assert_eq!(session.settled().await, Standing::Ended);
    });
}

#[test]
fn an_answer_that_is_lost_leaves_the_outcome_open() {
    let outcomes: Rc<RefCell<std::collections::BTreeSet<bool>>> = Rc::default();
    for seed in 0..40 {
        let seen = Rc::clone(&outcomes);
        drive_seed(seed, |world| async move {
            let session = connect(&world).await;
            let there = Rc::clone(&world);
            let when = world.random.between(0..=12);
            world.executor.after(when, move || (0..SERVERS).for_each(|server| there.zookeeper.stop(&there, server)));
            if session.multi(vec![create("/x", false)]).await == Err(WriteError::Unknown) {
                seen.borrow_mut().insert(world.zookeeper.peek("/x").is_some());
            }
        });
    }
    assert_eq!(*outcomes.borrow(), [false, true].into(), "done in some runs, and not in others");
}

#[test]
fn the_ensemble_gone_for_long_ends_no_session_that_comes_back_in_time() {
    drive(|world| async move {
        let session = connect_with_ephemeral(&world).await;
        (0..SERVERS).for_each(|server| world.zookeeper.stop(&world, server));
        session.doubtful().await;
        (0..SERVERS).for_each(|server| world.zookeeper.start(&world, server));
        assert_eq!(session.settled().await, Standing::Connected);
        assert!(world.zookeeper.peek("/brokers/ids/1").is_some());
        assert_eq!(
            session.multi(vec![create("/brokers/ids/1", true)]).await,
            Err(WriteError::Refused(0, Refusal::Exists))
        );
    });
}

async fn connect(world: &Rc<World>) -> Rc<Session> {
    loop {
        if let Some(session) = Session::connect(world, WORLD, FROM).await {
            return session;
        }
    }
}

/// A session that has a node. Where connections are slow, one may be lost with the answer.
async fn connect_with_ephemeral(world: &Rc<World>) -> Rc<Session> {
    loop {
        let session = connect(world).await;
        if session.multi(vec![create("/brokers/ids/1", true)]).await == Ok(()) {
            return session;
        }
        session.close().await;
    }
}

fn create(path: &str, ephemeral: bool) -> Change {
    Change::Create { path: path.into(), data: vec![1], ephemeral }
}

fn drive<F: Future<Output = ()> + 'static>(test: impl Fn(Rc<World>) -> F) {
    (0..20).for_each(|seed| drive_seed(seed, &test));
}

/// Runs a test in a world without brokers.
fn drive_seed<F: Future<Output = ()> + 'static>(seed: u64, test: impl FnOnce(Rc<World>) -> F) {
    let world = World::new(seed, Rc::new(Trace::new(false)));
    Zookeeper::tick(&world);
    let done = Rc::new(Cell::new(false));
    let (future, finished) = (test(Rc::clone(&world)), Rc::clone(&done));
    world.executor.spawn(WORLD, async move {
        future.await;
        finished.set(true);
    });
    world.executor.run_until(60_000);
    assert!(done.get(), "seed {seed}: the test waits for ever");
    world.clear();
}
