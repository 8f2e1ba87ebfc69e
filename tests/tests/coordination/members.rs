//! Several brokers, one cluster: who decides, who hears of it, and what happens when one of them is gone, silent or taken for
//! either. On both services.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sluice::coordination::{ChangeFailed, Halt, LogError, Metadata, ReturnLeaders};
use sluice_cluster::decide::{AllocateProducerIds, Change as _, ShutDownBroker, TakeSeat};
use sluice_cluster::{Image, PartitionRegistration};
use sluice_protocol::Uuid;

use crate::broker::{Broker, Settings};
use crate::clusters::forget_last_entry;
use crate::ground::{Client, Ground, SESSION};
use crate::soon;
use crate::switchboard::Switchboard;

type Case = fn(Ground) -> BoxFuture<'static, ()>;

const CASES: &[(&str, Case)] = &[
    ("all-replay-what-one-decides", |ground| all_replay(ground).boxed()),
    ("the-seat-passes-on-when-its-holder-ends", |ground| seat_passes(ground).boxed()),
    ("a-silent-controller-falls-with-its-session", |ground| silent_controller(ground).boxed()),
    ("a-silent-broker-falls-with-its-session", |ground| silent_broker(ground).boxed()),
    ("a-broker-whose-process-is-gone-is-fenced-at-once", |ground| gone_broker(ground).boxed()),
    ("a-controller-whose-process-is-gone-is-replaced-at-once", |ground| gone_controller(ground).boxed()),
    ("a-broker-that-comes-back-before-its-session-ends-has-a-new-life", |ground| bounce(ground).boxed()),
    ("a-broker-taken-for-gone-registers-again", |ground| taken_for_gone(ground).boxed()),
    ("a-broker-that-only-one-cannot-reach-is-not-gone", |ground| only_one(ground).boxed()),
    ("who-ends-in-order-hands-over-first", |ground| hands_over(ground).boxed()),
    ("a-replaced-data-folder-waits-for-the-session-of-the-old-one", |ground| replaced_folder(ground).boxed()),
    ("leaders-go-back-by-themselves", |ground| leaders_return(ground).boxed()),
    ("what-a-life-left-behind-is-cleared-before-the-next-has-opened-its-logs", |ground| leftovers(ground).boxed()),
    ("of-two-copies-of-a-data-folder-one-gives-up", |ground| copies(ground).boxed()),
    ("a-log-that-goes-back-halts-everyone", |ground| goes_back(ground).boxed()),
    ("what-is-not-to-be-forwarded-is-refused", |ground| not_forwarded(ground).boxed()),
];

#[tokio::test(flavor = "multi_thread")]
async fn members_on_the_local_service() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::local()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_zookeeper() {
    let server = sluice_tests::ZooKeeper::start();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::zookeeper(&server, name)).await;
    }
}

/// A cluster of brokers, each with a way of its own to the service.
struct Cluster {
    ground: Ground,
    switchboard: Switchboard,
    members: Vec<Member>,
}

struct Member {
    client: Client,
    settings: Settings,
    broker: Broker,
}

impl Cluster {
    async fn of(ground: Ground, brokers: i32) -> Self {
        let mut cluster = Self { ground, switchboard: Switchboard::default(), members: Vec::new() };
        for id in 1..=brokers {
            cluster.add(id).await;
        }
        cluster
    }

    async fn add(&mut self, id: i32) {
        let client = self.ground.client().await;
        let settings = Settings::new(&client.coordinator, id, &self.ground.data(&id.to_string()));
        let mut settings = settings.on(&self.switchboard);
        settings.return_leaders = Some(ReturnLeaders { every: Duration::from_millis(500), percentage: 10 });
        let broker = settings.start().await;
        self.members.push(Member { client, settings, broker });
    }

    fn controllers(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].broker.metadata.is_controller()).collect()
    }

    /// The one that decides.
    fn controller(&self) -> usize {
        match self.controllers()[..] {
            [at] => at,
            ref others => panic!("one decides, not {others:?}"),
        }
    }

    /// One that doesn't.
    fn other(&self) -> usize {
        let controller = self.controller();
        (0..self.members.len()).find(|at| *at != controller).expect("there are several")
    }

    /// Until all have replayed as much as any of them.
    async fn settle(&self) {
        let most = self.members.iter().map(|member| member.broker.metadata.image().next_seq()).max().unwrap_or(0);
        join_all(
            self.members.iter().map(|member| member.broker.knows("all is replayed", |image| image.next_seq() >= most)),
        )
        .await;
    }

    async fn stop(self) {
        for member in self.members {
            member.broker.stops().await;
        }
    }
}

fn serving(image: &Image) -> Vec<i32> {
    image.serving().map(|broker| broker.id).collect()
}

async fn all_replay(ground: Ground) {
    let cluster = Cluster::of(ground, 3).await;
    let other = cluster.other();
    let made = cluster.members[other].broker.create_topic("orders", 2).await.unwrap();
    let here = cluster.members[other].broker.metadata.image();
    assert_eq!(here.topic("orders").map(|topic| topic.id), Some(made.id), "whoever asked has replayed the answer");
    let blocks =
        join_all(cluster.members.iter().map(|member| member.broker.metadata.submit(AllocateProducerIds))).await;
    let mut firsts: Vec<i64> = blocks.into_iter().map(|block| block.unwrap().first).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [0, 1_000, 2_000], "each block once");
    cluster.settle().await;
    let images: Vec<Arc<Image>> = cluster.members.iter().map(|member| member.broker.metadata.image()).collect();
    assert!(images.iter().all(|image| *image == images[0]), "one log, one image");
    assert_eq!(serving(&images[0]), [1, 2, 3]);
    cluster.stop().await;
}

async fn seat_passes(ground: Ground) {
    let mut cluster = Cluster::of(ground, 3).await;
    while cluster.members.len() > 1 {
        let controller = cluster.controller();
        let before = cluster.members[controller].broker.metadata.image().controller_epoch();
        let left = cluster.members.remove(controller);
        let id = left.settings.identity.id;
        left.broker.stops().await;
        for member in &cluster.members {
            let passed = |image: &Image| image.controller_epoch() > before && !serving(image).contains(&id);
            member.broker.knows("another decides, and the one that left is fenced", passed).await;
        }
        let name = format!("after-{id}");
        cluster.members[0].broker.create_topic(&name, 1).await.unwrap();
    }
    cluster.stop().await;
}

async fn silent_controller(ground: Ground) {
    if !ground.has_line() {
        // A client in this process is always heard.
        return;
    }
    let mut cluster = Cluster::of(ground, 3).await;
    let silent = cluster.members.remove(cluster.controller());
    let id = silent.settings.identity.id;
    let since = Instant::now();
    silent.client.proxy().cut();
    cluster.switchboard.cut(id);
    silent.broker.doubts().await;
    let (others, asked) = (&cluster.members, Instant::now());
    let made = soon("a change while nobody decides", others[0].broker.create_topic("orders", 1)).await;
    made.expect("it waits for the next controller");
    eprintln!("decided {:?} after the cut, {:?} after it was asked", since.elapsed(), asked.elapsed());
    assert!(since.elapsed() >= SESSION / 3, "silence is no evidence: {:?}", since.elapsed());
    for member in others {
        member.broker.knows("the silent one is fenced", |image| !serving(image).contains(&id)).await;
    }
    silent.client.proxy().mend();
    cluster.switchboard.mend(id);
    silent.broker.serves().await;
    silent.broker.knows("it has heard of all", |image| image.topic("orders").is_some()).await;
    assert!(!silent.broker.metadata.is_controller());
    cluster.members.push(silent);
    cluster.settle().await;
    cluster.stop().await;
}

async fn silent_broker(ground: Ground) {
    if !ground.has_line() {
        return;
    }
    let cluster = Cluster::of(ground, 2).await;
    let (controller, silent) = (&cluster.members[cluster.controller()].broker, &cluster.members[cluster.other()]);
    let (id, life) = (silent.settings.identity.id, silent.broker.epoch());
    silent.client.proxy().cut();
    silent.broker.doubts().await;
    assert!(silent.broker.metadata.is_doubtful());
    controller.knows("it is fenced", |image| !serving(image).contains(&id)).await;
    silent.client.proxy().mend();
    silent.broker.serves().await;
    assert!(silent.broker.epoch() > life && !silent.broker.metadata.is_doubtful());
    controller.knows("it is counted on again", |image| serving(image).contains(&id)).await;
    cluster.stop().await;
}

async fn gone_broker(ground: Ground) {
    let mut cluster = Cluster::of(ground, 3).await;
    let gone = cluster.members.remove(cluster.other());
    let id = gone.settings.identity.id;
    let since = Instant::now();
    gone.client.freeze();
    gone.broker.crashes();
    for member in &cluster.members {
        member.broker.knows("it is fenced", |image| !serving(image).contains(&id)).await;
    }
    eprintln!("fenced after {:?}", since.elapsed());
    assert!(since.elapsed() < SESSION / 2, "no session had to end: {:?}", since.elapsed());
    cluster.stop().await;
}

async fn gone_controller(ground: Ground) {
    let mut cluster = Cluster::of(ground, 3).await;
    let gone = cluster.members.remove(cluster.controller());
    let id = gone.settings.identity.id;
    let reign = gone.broker.metadata.image().controller_epoch();
    let since = Instant::now();
    gone.client.freeze();
    gone.broker.crashes();
    for member in &cluster.members {
        let passed = |image: &Image| image.controller_epoch() > reign && !serving(image).contains(&id);
        member.broker.knows("another decides, and it is fenced", passed).await;
    }
    eprintln!("replaced after {:?}", since.elapsed());
    assert!(since.elapsed() < SESSION / 2, "no session had to end: {:?}", since.elapsed());
    for member in &cluster.members {
        member.broker.metadata.submit(AllocateProducerIds).await.unwrap();
    }
    cluster.stop().await;
}

async fn bounce(ground: Ground) {
    let mut cluster = Cluster::of(ground, 2).await;
    for at in [cluster.other(), cluster.controller()] {
        let Member { client, mut settings, broker } = cluster.members.remove(at);
        let (id, life) = (settings.identity.id, broker.epoch());
        client.freeze();
        broker.crashes();
        let again = cluster.ground.client().await;
        settings.coordinator = Arc::clone(&again.coordinator);
        let since = Instant::now();
        let broker = settings.start().await;
        eprintln!("broker {id} is back after {:?}", since.elapsed());
        assert!(broker.epoch() > life);
        cluster.members.insert(at, Member { client: again, settings, broker });
        cluster.settle().await;
        assert_eq!(serving(&cluster.members[0].broker.metadata.image()), [1, 2]);
    }
    cluster.stop().await;
}

async fn taken_for_gone(ground: Ground) {
    let cluster = Cluster::of(ground, 3).await;
    let suspect = &cluster.members[cluster.other()];
    let (id, life) = (suspect.settings.identity.id, suspect.broker.epoch());
    let mut standing = suspect.broker.metadata.standing();
    standing.mark_unchanged();
    cluster.switchboard.unplug(id);
    soon("it hears that it is fenced", standing.changed()).await.unwrap();
    cluster.switchboard.plug_in(id, &suspect.broker.metadata);
    let metadata: &Metadata = &suspect.broker.metadata;
    suspect.broker.serves().await;
    assert!(metadata.broker_epoch().unwrap() > life, "in a new life");
    cluster.stop().await;
}

async fn only_one(ground: Ground) {
    let cluster = Cluster::of(ground, 3).await;
    let (controller, suspect) = (cluster.controller(), cluster.other());
    let ids = [controller, suspect].map(|at| cluster.members[at].settings.identity.id);
    let life = cluster.members[suspect].broker.epoch();
    cluster.switchboard.hide(ids[1], ids[0]);
    // Long enough for the witness to be asked twice. Nothing happens, so there is nothing to wait for but time.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.members[suspect].broker.epoch(), life);
    assert_eq!(serving(&cluster.members[controller].broker.metadata.image()), [1, 2, 3]);
    cluster.stop().await;
}

async fn hands_over(ground: Ground) {
    let mut cluster = Cluster::of(ground, 3).await;
    let broker = &cluster.members[0].broker;
    broker.create_replicated_topic("orders", 30, 3).await.unwrap();
    broker.create_topic("alone", 30).await.unwrap();
    while cluster.members.len() > 1 {
        let left = cluster.members.remove(cluster.controller());
        let id = left.settings.identity.id;
        let since = Instant::now();
        left.broker.metadata.hand_over(Duration::from_secs(30)).await;
        eprintln!("handed over within {:?}", since.elapsed());
        let image = left.broker.metadata.image();
        let led = |name: &str| image.topic(name).unwrap().partitions.iter().filter(|it| it.leader == id).count();
        assert_eq!((led("orders"), led("alone")), (0, 10), "what nobody else has it leads to its end");
        assert!(!image.is_active(id));
        left.broker.stops().await;
        cluster.members[0].broker.knows("it has left", |image| !serving(image).contains(&id)).await;
        soon("another decides", async {
            while cluster.controllers().is_empty() {
                cluster.members[0].broker.metadata.submit(AllocateProducerIds).await.unwrap();
            }
        })
        .await;
    }
    let last = &cluster.members[0];
    let image = last.broker.metadata.image();
    let id = last.settings.identity.id;
    assert!(image.topic("orders").unwrap().partitions.iter().all(|partition| partition.leader == id));
    cluster.stop().await;
}

async fn replaced_folder(ground: Ground) {
    let mut cluster = Cluster::of(ground, 2).await;
    cluster.members[0].broker.create_replicated_topic("orders", 4, 2).await.unwrap();
    let Member { client, mut settings, broker } = cluster.members.remove(cluster.other());
    let (id, life) = (settings.identity.id, broker.epoch());
    client.freeze();
    broker.crashes();
    let again = cluster.ground.client().await;
    settings.coordinator = Arc::clone(&again.coordinator);
    settings.identity.uuid = Uuid([9; 16]);
    settings.identity.cluster_id = None;
    settings.folder = cluster.ground.data("replaced");
    let broker = settings.start().await;
    assert!(broker.epoch() > life);
    let image = broker.metadata.image();
    assert_eq!(image.broker(id).unwrap().uuid, Uuid([9; 16]));
    let counted_on = |partition: &PartitionRegistration| partition.isr.contains(&id) || partition.elr.contains(&id);
    assert!(!image.topic("orders").unwrap().partitions.iter().any(counted_on), "it holds nothing of it");
    cluster.members.push(Member { client: again, settings, broker });
    cluster.stop().await;
}

async fn leaders_return(ground: Ground) {
    let mut cluster = Cluster::of(ground, 2).await;
    cluster.members[0].broker.create_replicated_topic("orders", 4, 2).await.unwrap();
    let Member { client, mut settings, broker } = cluster.members.remove(cluster.other());
    let id = settings.identity.id;
    client.freeze();
    broker.crashes();
    let rest = &cluster.members[0].broker;
    rest.knows("it leads nothing", |image| led_by(image, id) == 0).await;
    let offline: u64 = rest.metadata.elections().counts().filter(|it| it.0 == "broker_gone").map(|it| it.1).sum();
    assert_eq!(offline, 2, "two of four leaders had to be replaced");
    let again = cluster.ground.client().await;
    settings.coordinator = Arc::clone(&again.coordinator);
    let broker = settings.start().await;
    broker.knows("it is back", |image| image.is_active(id)).await;
    assert_eq!(led_by(&broker.metadata.image(), id), 0, "it is not in sync yet");
    rest.takes_in(id, broker.epoch(), "orders").await;
    rest.knows("its leaders are back", |image| led_by(image, id) == 2).await;
    cluster.members.push(Member { client: again, settings, broker });
    cluster.stop().await;
}

fn led_by(image: &Image, id: i32) -> usize {
    image.topic("orders").unwrap().partitions.iter().filter(|partition| partition.leader == id).count()
}

async fn leftovers(ground: Ground) {
    let mut cluster = Cluster::of(ground, 3).await;
    for round in 0..2 {
        let Member { client, mut settings, broker } = cluster.members.remove(cluster.controller());
        let id = settings.identity.id;
        client.freeze();
        // Nobody notices: as if the next process took the place of this one at once.
        drop(broker);
        let again = cluster.ground.client().await;
        settings.coordinator = Arc::clone(&again.coordinator);
        // A process that is gone writes nothing; here its task may, for a moment. The next one has the same folder elsewhere.
        let folder = cluster.ground.data(&format!("again-{round}"));
        fs::copy(settings.folder.join("metadata.seen"), folder.join("metadata.seen")).expect("it has seen the log");
        settings.folder = folder;
        let (opening, _) = settings.try_join().await.expect("it can join");
        let rest = &cluster.members[0].broker;
        rest.knows("it is not counted on any more", |image| !serving(image).contains(&id)).await;
        rest.metadata.submit(AllocateProducerIds).await.expect("somebody decides");
        opening.register(settings.registering.clone()).await.unwrap();
        rest.knows("it is counted on again", |image| serving(image).contains(&id)).await;
        opening.shutdown().await;
        cluster.switchboard.unplug(id);
        rest.knows("it has left", |image| !serving(image).contains(&id)).await;
        let broker = settings.start().await;
        cluster.members.push(Member { client: again, settings, broker });
    }
    cluster.stop().await;
}

async fn copies(ground: Ground) {
    let cluster = Cluster::of(ground, 2).await;
    let Member { settings, broker, .. } = &cluster.members[cluster.other()];
    let client = cluster.ground.client().await;
    let mut copy = settings.clone();
    copy.coordinator = Arc::clone(&client.coordinator);
    copy.folder = cluster.ground.data("copy");
    let second = copy.start().await;
    let halt = soon("the first notices", broker.metadata.halted()).await;
    assert_eq!(halt, Halt::IdInUse { id: settings.identity.id });
    second.create_topic("orders", 1).await.expect("the second goes on");
    second.stops().await;
    cluster.stop().await;
}

async fn goes_back(ground: Ground) {
    let cluster = Cluster::of(ground, 3).await;
    let (_restoring, session) = cluster.ground.session().await;
    cluster.members[0].broker.create_topic("orders", 1).await.unwrap();
    cluster.settle().await;
    forget_last_entry(session.as_ref()).await;
    let asked = &cluster.members[cluster.controller()].broker;
    // Whoever decides finds out when it wants to write.
    let refused = soon("an answer", asked.metadata.submit(AllocateProducerIds)).await;
    assert!(refused.is_err(), "nothing is written on top of it: {refused:?}");
    for member in &cluster.members {
        let halt = soon("it notices", member.broker.metadata.halted()).await;
        assert!(matches!(halt, Halt::Log(LogError::WentBack { .. })), "{halt:?}");
    }
    cluster.stop().await;
}

async fn not_forwarded(ground: Ground) {
    let cluster = Cluster::of(ground, 2).await;
    let (controller, other) = (&cluster.members[cluster.controller()].broker, &cluster.members[cluster.other()].broker);
    let usurp = TakeSeat::KIND;
    for (kind, what) in [(usurp, "the controller's own"), (60_000, "of a later version")] {
        let refused = controller.metadata.handle_forwarded(2, kind, b"").await;
        assert!(matches!(refused, Err(ChangeFailed::Unavailable { .. })), "{what}: {refused:?}");
    }
    let shut_down = ShutDownBroker { id: 7, epoch: 1 };
    let body = postcard::to_allocvec(&shut_down).unwrap();
    let refused = controller.metadata.handle_forwarded(2, ShutDownBroker::KIND, &body).await;
    assert!(matches!(refused, Err(ChangeFailed::Unavailable { .. })), "in another's name: {refused:?}");
    let refused = controller.metadata.handle_forwarded(7, ShutDownBroker::KIND, &body).await;
    assert!(matches!(refused, Err(ChangeFailed::Refused(_))), "decided, against one that there is not: {refused:?}");
    let kind = AllocateProducerIds::KIND;
    let astray = other.metadata.handle_forwarded(1, kind, b"").await;
    let controller = controller.metadata.image().controller_id();
    assert_eq!(astray, Err(ChangeFailed::NotController { controller }), "nothing is passed on twice");
    cluster.stop().await;
}
