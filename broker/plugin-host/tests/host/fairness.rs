//! The plugin threads: bounded, and fair between bindings.

use std::sync::{Arc, Barrier, mpsc::sync_channel};

use sluice_plugin_host::{QueueFull, Verdicts};

use crate::{
    guests,
    setup::{Setup, name, process},
};

#[test]
fn a_binding_that_loops_leaves_a_thread_to_the_others() {
    let setup = Setup::with(|config| (config.threads, config.queue) = (2, 64));
    let bad = Arc::new(setup.gate(&guests::loops()));
    let good = Arc::new(setup.gate(&guests::keeps_all()));
    let (done, finished) = sync_channel(64);
    for _ in 0..8 {
        let (bad, done) = (Arc::clone(&bad), done.clone());
        let job = move || done.send(("bad", process(&bad, ["record"]).is_err())).unwrap();
        setup.host.submit(&name("bad"), job).unwrap();
    }
    for _ in 0..8 {
        let (good, done) = (Arc::clone(&good), done.clone());
        let job = move || done.send(("good", process(&good, ["record"]) == Ok(Verdicts::KeepAll))).unwrap();
        setup.host.submit(&name("good"), job).unwrap();
    }
    drop(done);
    let order: Vec<&str> = finished
        .iter()
        .map(|(which, as_expected)| {
            assert!(as_expected, "{which}");
            which
        })
        .collect();
    assert_eq!(order.len(), 16);
    let last_good = order.iter().rposition(|&which| which == "good").unwrap();
    let bad_before = order[..last_good].iter().filter(|&&which| which == "bad").count();
    assert!(bad_before < 8, "all of the loops came first: {order:?}");
    assert_eq!(bad.stats().failures, 8);
}

#[test]
fn the_queue_is_bounded_and_one_binding_has_half_of_it() {
    let setup = Setup::with(|config| (config.threads, config.queue) = (2, 4));
    let (held, release) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    for binding in ["a", "b"] {
        let (held, release) = (Arc::clone(&held), Arc::clone(&release));
        let hold = move || {
            held.wait();
            release.wait();
        };
        setup.host.submit(&name(binding), hold).unwrap();
    }
    held.wait();
    // Both threads are held: what comes now waits.
    let submit = |binding: &str| setup.host.submit(&name(binding), || {});
    assert_eq!([submit("a"), submit("a"), submit("a")], [Ok(()), Ok(()), Err(QueueFull)], "half for one");
    assert_eq!([submit("c"), submit("d"), submit("e")], [Ok(()), Ok(()), Err(QueueFull)], "all there is");
    assert_eq!(setup.host.waiting(), 4);
    release.wait();
    let (done, finished) = sync_channel(1);
    // Taken once there is room again, which the next lines wait for.
    let mut job = Err(QueueFull);
    while job.is_err() {
        let done = done.clone();
        job = setup.host.submit(&name("e"), move || done.send(()).unwrap());
        std::thread::yield_now();
    }
    finished.recv().unwrap();
}

#[test]
fn a_job_that_panics_costs_itself() {
    let setup = Setup::with(|config| config.threads = 1);
    setup.host.submit(&name("a"), || panic!("a bug, for this test")).unwrap();
    let (done, finished) = sync_channel(1);
    setup
        .host
        .submit(&name("a"), move || done.send(std::thread::current().name().map(str::to_owned)).unwrap())
        .unwrap();
    assert_eq!(finished.recv().unwrap().as_deref(), Some("plugin-0"), "on the same thread");
}

#[test]
fn jobs_the_host_does_not_come_to_are_dropped_with_it() {
    let setup = Setup::with(|config| config.threads = 1);
    let (held, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (its_held, its_release) = (Arc::clone(&held), Arc::clone(&release));
    setup
        .host
        .submit(&name("a"), move || {
            its_held.wait();
            its_release.wait();
        })
        .unwrap();
    held.wait();
    let (answer, answered) = sync_channel::<()>(1);
    setup.host.submit(&name("a"), move || answer.send(()).unwrap()).unwrap();
    let ending = std::thread::spawn(move || drop(setup));
    assert!(answered.recv().is_err(), "who waits for it learns that it will not come");
    release.wait();
    ending.join().unwrap();
}

/// Many threads, one binding: as many instances as run at once and no more, however many batches.
#[test]
fn instances_are_reused() {
    let setup = Setup::with(|config| config.threads = 4);
    let bound = Arc::new(setup.gate(&guests::drops_x()));
    let (done, finished) = sync_channel(64);
    for _ in 0..64 {
        let (bound, done) = (Arc::clone(&bound), done.clone());
        setup.host.submit(&name("a"), move || done.send(process(&bound, ["a", "x"]).is_ok()).unwrap()).unwrap();
    }
    drop(done);
    assert!(finished.iter().all(|ok| ok));
    let stats = bound.stats();
    assert_eq!((stats.batches, stats.records), (64, 128));
    assert!(stats.instances <= 4, "{}", stats.instances);
}
