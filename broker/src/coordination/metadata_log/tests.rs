//! Appends whose outcome is unknown, and writers that are no longer to write, on a session that fails as told.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sluice_cluster::metadata::batch::Entry;
use sluice_protocol::Uuid;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::Registering;
use super::super::coordinator::{Coordinator, Node, SessionState, Watch};
use super::super::founding::cluster_id;
use super::super::local::LocalStore;
use super::super::seat::{self, Contest, TakeError, be_present};
use super::super::snapshots::SnapshotEvery;
use super::super::znodes::{Holder, Presence};
use super::*;

/// What becomes of one multi.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    /// It is done, and nobody hears of it.
    DoneUnheard,
    /// It is lost on the way, and nobody hears of it.
    Lost,
    /// It arrives just before the next one, and nobody hears of it.
    Late,
    /// It is not sent.
    NotConnected,
    /// The coordinator does not let us.
    Denied,
    /// What it is about is not there any more.
    NoNode,
}

#[tokio::test]
async fn outcomes_that_are_unknown() {
    use Fate::{Denied, Done, DoneUnheard, Late, Lost, NoNode, NotConnected};
    check("done", &[Done], Ok(())).await;
    check("done, unheard of", &[DoneUnheard], Ok(())).await;
    check("lost, and done at the second try", &[Lost, Done], Ok(())).await;
    check("lost, and done unheard of at the second try", &[Lost, DoneUnheard], Ok(())).await;
    check("late, so that the second try collides with it", &[Late, Done], Ok(())).await;
    check("lost for ever", &[Lost, Lost, Lost, Lost], Err(doubt("unheard of"))).await;
    check("never sent", &[NotConnected], Err(AppendError::NotDone { why: "the session is not connected".into() }))
        .await;
    check("lost, and then not connected", &[Lost, NotConnected], Err(doubt("unheard of"))).await;
    let refused = |why: &str| format!("change 0 refused: {why}");
    let (denied, no_node) = (refused("not allowed: the test says so"), refused("no such node"));
    check("not allowed, which says nothing of the seat", &[Denied], Err(not_done(&denied))).await;
    check("what is missing neither", &[NoNode], Err(not_done(&no_node))).await;
    check("lost, and then not allowed", &[Lost, Denied], Err(doubt(&denied))).await;
    check("done unheard of, and then not allowed", &[DoneUnheard, Denied], Ok(())).await;
}

#[tokio::test]
async fn the_deposed_write_nothing() {
    let cluster = Cluster::new().await;
    let (mut first, old_seat) = cluster.controller(1).await;
    first.append(old_seat, 1, ids(1_000)).await.unwrap();
    let (mut second, seat) = cluster.controller(1).await;
    assert_eq!(seat.epoch, old_seat.epoch + 1);
    assert_eq!(first.append(old_seat, 2, ids(2_000)).await, Err(AppendError::Deposed));
    second.append(seat, 3, ids(3_000)).await.unwrap();
    assert_eq!(
        first.append(old_seat, 4, ids(4_000)).await,
        Err(AppendError::Deposed),
        "another's entry is in its place"
    );
    let mut reader = cluster.log().await;
    reader.catch_up(Place::default()).await.unwrap();
    assert_eq!((reader.image().producer_ids_next(), reader.image().next_seq()), (3_000, 2));
}

#[tokio::test]
async fn a_write_of_the_reign_before_that_comes_late_is_refused() {
    let cluster = Cluster::new().await;
    let (mut log, old_seat) = cluster.controller(1).await;
    cluster.plan(&[Fate::Late, Fate::Lost, Fate::Lost, Fate::Lost]);
    // What is late arrives just before the next multi: here before a try that is lost, so it lands, and the last look finds it.
    assert_eq!(log.append(old_seat, 1, ids(1_000)).await, Ok(()));
    let (mut again, seat) = cluster.controller(1).await;
    again.append(seat, 2, ids(2_000)).await.unwrap();
    assert_eq!(again.image().next_seq(), 2);
}

#[tokio::test]
async fn a_seat_taken_unheard_of_is_taken_once() {
    for fates in [&[Fate::DoneUnheard][..], &[Fate::Lost, Fate::DoneUnheard], &[Fate::Late, Fate::Done]] {
        let cluster = Cluster::new().await;
        cluster.plan(fates);
        let seat = take(cluster.session.as_ref(), 1).await;
        assert_eq!(seat, Seat { epoch: 1, epoch_version: 1 }, "{fates:?}");
        let presence = Presence::new(1, UUID, &Registering::default());
        cluster.plan(fates);
        let epoch = be_present(cluster.session.as_ref(), &presence, None).await.unwrap();
        assert_eq!(be_present(cluster.session.as_ref(), &presence, None).await, Ok(epoch), "{fates:?}");
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_named_says_nothing_of_the_seat() {
    let cluster = Cluster::new().await;
    let (mut log, seat) = cluster.controller(1).await;
    log.append(seat, 1, ids(1_000)).await.unwrap();
    cluster.plan(&[Fate::Denied]);
    let named = log.name_snapshot(seat, SnapshotAt { next_seq: 1, chunks: 1 }).await;
    assert_eq!(named, Err(not_done("change 0 refused: not allowed: the test says so")));
}

#[tokio::test]
async fn what_has_grown_has_grown_after_a_doubt() {
    let cluster = Cluster::new().await;
    let (mut log, seat) = cluster.controller(1).await;
    let enough = |log: &MetadataLog, entries| log.grown().is_enough(SnapshotEvery { entries, bytes: u64::MAX });
    for round in 1..=3 {
        log.append(seat, round, ids(i64::try_from(round).unwrap() * 1_000)).await.unwrap();
        if round == 2 {
            log.begin_to_count_anew();
            assert!(!enough(&log, 1), "a snapshot is on its way");
        }
        log = log.again(Arc::clone(&cluster.session) as Arc<dyn Session>);
        log.catch_up(Place::default()).await.unwrap();
        assert!(enough(&log, round) && !enough(&log, round + 1), "{round} entries, and no snapshot is named");
    }
    log.begin_to_count_anew();
    log.name_snapshot(seat, SnapshotAt { next_seq: 3, chunks: 1 }).await.unwrap();
    log = log.again(Arc::clone(&cluster.session) as Arc<dyn Session>);
    log.catch_up(Place::default()).await.unwrap();
    assert!(!enough(&log, 1), "a snapshot is named");
}

#[tokio::test]
async fn no_epoch_comes_after_the_last() {
    for (epoch, why) in [(i32::MAX.to_string(), "no epoch comes after 2147483647"), ("-1".into(), "no number")] {
        let cluster = Cluster::new().await;
        let path = CONTROLLER_EPOCH.to_owned();
        let garbled = Change::Set { path, data: epoch.into_bytes(), version: 0 };
        cluster.session.multi(vec![garbled]).await.unwrap();
        let taken = seat::contest(cluster.session.as_ref(), 1, UUID, None).await;
        assert_eq!(taken, Err(TakeError::Unreadable { path: CONTROLLER_EPOCH, why: why.into() }));
    }
}

#[tokio::test]
async fn a_seat_is_taken_from_nobody_else() {
    let cluster = Cluster::new().await;
    let session = cluster.session.as_ref();
    take(session, 1).await;
    let contest = async |id: i32, deposed: Option<&Holder>| {
        seat::contest(session, id, Uuid([u8::try_from(id).unwrap(); 16]), deposed).await.unwrap()
    };
    let Contest::Held(first) = contest(2, None).await else { panic!("it is held") };
    assert_eq!((first.id, first.epoch), (1, 1));
    let Contest::Taken(seat) = contest(2, Some(&first)).await else { panic!("its holder is gone") };
    assert_eq!(seat, Seat { epoch: 2, epoch_version: 2 });
    let Contest::Held(second) = contest(3, Some(&first)).await else { panic!("another has it by now") };
    assert_eq!((second.id, second.epoch), (2, 2));
}

#[tokio::test]
async fn the_log_has_to_pass_where_we_have_been() {
    let cluster = Cluster::new().await;
    let (mut log, seat) = cluster.controller(1).await;
    for next in 1..=100 {
        log.append(seat, 0, ids(next * 1_000)).await.unwrap();
    }
    let at_the_end = Place { next_seq: log.image().next_seq(), hash: log.image().hash() };
    let read = async |seen: Place| {
        let mut reader = cluster.log().await;
        reader.catch_up(seen).await.map(|()| reader.image().producer_ids_next())
    };
    assert_eq!(read(Place::default()).await, Ok(100_000));
    assert_eq!(read(at_the_end).await, Ok(100_000));
    let elsewhere = Place { next_seq: 50, hash: Hash([9; 32]) };
    assert!(matches!(read(elsewhere).await, Err(CatchUpError::Log(LogError::WentBack { found_seq: 50, .. }))));
    let beyond = Place { next_seq: 101, hash: Hash([9; 32]) };
    assert!(matches!(read(beyond).await, Err(CatchUpError::Log(LogError::WentBack { found_seq: 100, .. }))));
}

async fn check(what: &str, fates: &[Fate], expected: Result<(), AppendError>) {
    let cluster = Cluster::new().await;
    let (mut log, seat) = cluster.controller(1).await;
    cluster.plan(fates);
    let appended = log.append(seat, 7, ids(1_000)).await;
    assert_eq!(appended, expected, "{what}");
    cluster.plan(&[]);
    if appended.is_ok() {
        log.append(seat, 8, ids(2_000)).await.unwrap();
    }
    let mut reader = cluster.log().await;
    reader.catch_up(Place::default()).await.unwrap();
    let nonces: Vec<u64> = if appended.is_ok() { vec![7, 8] } else { vec![] };
    let mut found = Vec::new();
    for seq in 0..reader.image().next_seq() {
        let node = cluster.session.read(&entry(seq)).await.unwrap().unwrap();
        found.push(Entry::decode(&node.data).unwrap().nonce);
    }
    assert_eq!(found, nonces, "{what}");
}

const UUID: Uuid = Uuid([1; 16]);

struct Cluster {
    _folder: TempDir,
    session: Arc<Fated>,
}

impl Cluster {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("coordination")).unwrap();
        let session = store.connect().await.unwrap();
        cluster_id(session.as_ref(), UUID, false).await.unwrap();
        let session = Arc::new(Fated { session, plan: Mutex::default(), late: Mutex::default() });
        Self { _folder: folder, session }
    }

    fn plan(&self, fates: &[Fate]) {
        *self.session.plan.lock() = fates.iter().copied().collect();
    }

    async fn log(&self) -> MetadataLog {
        let lag = Arc::new(MetadataLag::new(Instant::now()));
        MetadataLog::new(Arc::clone(&self.session) as Arc<dyn Session>, Image::default(), lag)
    }

    async fn controller(&self, id: i32) -> (MetadataLog, Seat) {
        let seat = take(self.session.as_ref(), id).await;
        let mut log = self.log().await;
        log.catch_up(Place::default()).await.unwrap();
        (log, seat)
    }
}

/// A session whose multis meet their fate, one after the other; then all goes well.
#[derive(Debug)]
struct Fated {
    session: Arc<dyn Session>,
    plan: Mutex<VecDeque<Fate>>,
    late: Mutex<Vec<Vec<Change>>>,
}

#[async_trait]
impl Session for Fated {
    async fn multi(&self, changes: Vec<Change>) -> Result<(), WriteError> {
        let late = std::mem::take(&mut *self.late.lock());
        for changes in late {
            // Nobody hears of it, whatever comes of it.
            let _ = self.session.multi(changes).await;
        }
        let unheard = WriteError::OutcomeUnknown { why: "unheard of".into() };
        let fate = self.plan.lock().pop_front().unwrap_or(Fate::Done);
        match fate {
            Fate::Done => self.session.multi(changes).await,
            Fate::DoneUnheard => {
                self.session.multi(changes).await.expect("it can be done");
                Err(unheard)
            }
            Fate::Lost => Err(unheard),
            Fate::Late => {
                self.late.lock().push(changes);
                Err(unheard)
            }
            Fate::NotConnected => Err(WriteError::NotConnected),
            Fate::Denied => {
                Err(WriteError::Refused { index: 0, refusal: Refusal::Denied { why: "the test says so".into() } })
            }
            Fate::NoNode => Err(WriteError::Refused { index: 0, refusal: Refusal::NoNode }),
        }
    }

    fn id(&self) -> i64 {
        self.session.id()
    }

    fn timeout(&self) -> Duration {
        self.session.timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    async fn read(&self, path: &str) -> Result<Option<Node>, ReadError> {
        self.session.read(path).await
    }

    async fn read_and_watch(&self, path: &str) -> Result<(Option<Node>, Watch), ReadError> {
        self.session.read_and_watch(path).await
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ReadError> {
        self.session.children(path).await
    }

    async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError> {
        self.session.children_and_watch(path).await
    }

    async fn sync(&self) -> Result<(), ReadError> {
        self.session.sync().await
    }

    async fn close(&self) {
        self.session.close().await;
    }
}

fn ids(next: i64) -> Vec<MetadataRecord> {
    vec![MetadataRecord::ProducerIds { next }]
}

fn not_done(why: &str) -> AppendError {
    AppendError::NotDone { why: why.into() }
}

fn doubt(why: &str) -> AppendError {
    AppendError::Doubt { why: why.into() }
}

async fn take(session: &dyn Session, id: i32) -> Seat {
    match seat::contest(session, id, UUID, None).await.unwrap() {
        Contest::Taken(seat) => seat,
        Contest::Held(holder) => panic!("{holder:?}"),
    }
}
