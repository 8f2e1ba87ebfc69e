//! What every coordination service promises, case by case; the same cases run on both.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sluice::coordination::NODE_BYTES_MAX;
use sluice::coordination::coordinator::{Change, Lifetime, Node, Refusal, Session, SessionState, WriteError};

use crate::ground::Ground;
use crate::soon;

type Case = fn(Ground) -> BoxFuture<'static, ()>;

const CASES: &[(&str, Case)] = &[
    ("a-node-is-made-changed-and-removed", |ground| made_changed_removed(ground).boxed()),
    ("what-cannot-be-done-changes-nothing", |ground| refused_whole(ground).boxed()),
    ("nodes-go-with-their-session", |ground| ephemerals(ground).boxed()),
    ("nodes-of-a-name-are-told-apart", |ground| created_rises(ground).boxed()),
    ("a-watch-fires-once-for-each-kind-of-change", |ground| watches(ground).boxed()),
    ("a-watch-on-children-fires-as-they-come-and-go", |ground| child_watches(ground).boxed()),
    ("an-ended-session-does-nothing-more", |ground| ended(ground).boxed()),
    ("what-is-too-long-is-refused-before-it-is-sent", |ground| sizes(ground).boxed()),
    ("one-of-two-wins-the-seat-and-the-deposed-write-nothing", |ground| seat(ground).boxed()),
    ("after-sync-what-others-wrote-is-seen", |ground| synced(ground).boxed()),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_local_service_keeps_its_promises() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::local()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_keeps_its_promises() {
    let server = sluice_tests::ZooKeeper::start();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::zookeeper(&server, name)).await;
    }
}

async fn made_changed_removed(ground: Ground) {
    let (_client, session) = ground.session().await;
    assert_eq!(session.read("/a").await.unwrap(), None);
    assert_eq!(session.children("/a").await.unwrap(), Vec::<String>::new());
    session.multi(vec![create("/a", b"one"), create("/a/b", b""), create("/a/c", b"")]).await.unwrap();
    let made = read(&session, "/a").await;
    assert_eq!((made.data.as_slice(), made.version, made.owner), (&b"one"[..], 0, None));
    let mut children = session.children("/a").await.unwrap();
    children.sort();
    assert_eq!(children, ["b", "c"]);
    session.multi(vec![set("/a", b"two", 0), check("/a", 1), set("/a", b"three", 1)]).await.unwrap();
    let changed = read(&session, "/a").await;
    assert_eq!((changed.data.as_slice(), changed.version, changed.created), (&b"three"[..], 2, made.created));
    session.multi(vec![delete("/a/b", 0), delete("/a/c", 0), delete("/a", 2)]).await.unwrap();
    assert_eq!(session.read("/a").await.unwrap(), None);
}

async fn refused_whole(ground: Ground) {
    let (_client, session) = ground.session().await;
    session.multi(vec![create("/a", b""), create("/a/b", b""), ephemeral("/e", b"")]).await.unwrap();
    let refused = async |what: &str, change: Change, why: Refusal| {
        let changes = vec![create("/new", b""), set("/a", b"new", 0), change];
        let expected = WriteError::Refused { index: 2, refusal: why };
        assert_eq!(session.multi(changes).await, Err(expected), "{what}");
        assert_eq!(session.read("/new").await.unwrap(), None, "{what}");
        assert_eq!(read(&session, "/a").await.version, 0, "{what}");
    };
    refused("made twice", create("/a/b", b""), Refusal::Exists).await;
    refused("made in nothing", create("/x/y", b""), Refusal::NoNode).await;
    refused("another version changed", set("/a/b", b"", 1), Refusal::BadVersion).await;
    refused("nothing changed", set("/x", b"", 0), Refusal::NoNode).await;
    refused("another version removed", delete("/a/b", 7), Refusal::BadVersion).await;
    refused("nothing removed", delete("/x", 0), Refusal::NoNode).await;
    refused("another version", check("/a/b", 3), Refusal::BadVersion).await;
    refused("nothing there", check("/x", 0), Refusal::NoNode).await;
    refused("children left behind", delete("/a", 1), Refusal::NotEmpty).await;
    let below_ephemeral = session.multi(vec![create("/e/f", b"")]).await;
    assert!(
        matches!(below_ephemeral, Err(WriteError::Refused { index: 0, refusal: Refusal::Denied { .. } })),
        "{below_ephemeral:?}"
    );
}

async fn ephemerals(ground: Ground) {
    let (_watching, watcher) = ground.session().await;
    let (_closing, closed) = ground.session().await;
    let (expiring, expired) = ground.session().await;
    assert!(watcher.id() != closed.id() && closed.id() != expired.id());
    closed.multi(vec![ephemeral("/closed", b"x"), create("/stays", b"")]).await.unwrap();
    expired.multi(vec![ephemeral("/expired", b"y")]).await.unwrap();
    watcher.sync().await.unwrap();
    assert_eq!(read(&watcher, "/closed").await.owner, Some(closed.id()));
    assert_eq!(read(&watcher, "/expired").await.owner, Some(expired.id()));

    let (_, gone) = watcher.read_and_watch("/closed").await.unwrap();
    closed.close().await;
    soon("a closed session's node goes", gone).await;
    assert_eq!(watcher.read("/closed").await.unwrap(), None);
    assert!(watcher.read("/stays").await.unwrap().is_some());

    let (_, gone) = watcher.read_and_watch("/expired").await.unwrap();
    expiring.expire(expired.as_ref()).await;
    soon("an expired session's node goes", gone).await;
    assert_eq!(watcher.read("/expired").await.unwrap(), None);

    let again = expiring.session().await;
    again.multi(vec![ephemeral("/expired", b"z")]).await.unwrap();
    assert_eq!(read(&again, "/expired").await.owner, Some(again.id()));
}

async fn created_rises(ground: Ground) {
    let (_client, session) = ground.session().await;
    session.multi(vec![ephemeral("/a", b"")]).await.unwrap();
    let first = read(&session, "/a").await;
    session.multi(vec![delete("/a", 0), ephemeral("/a", b"")]).await.unwrap();
    let second = read(&session, "/a").await;
    assert!(second.created > first.created, "{first:?} {second:?}");
}

async fn watches(ground: Ground) {
    let (_client, session) = ground.session().await;
    let (_other, other) = ground.session().await;

    let (absent, made) = session.read_and_watch("/a").await.unwrap();
    assert_eq!(absent, None);
    other.multi(vec![create("/unrelated", b"")]).await.unwrap();
    let mut made = made;
    assert!((&mut made).now_or_never().is_none(), "nothing happened to it");
    other.multi(vec![create("/a", b"")]).await.unwrap();
    soon("made", made).await;

    let (_, changed) = session.read_and_watch("/a").await.unwrap();
    other.multi(vec![set("/a", b"1", 0)]).await.unwrap();
    soon("changed", changed).await;

    let (node, removed) = session.read_and_watch("/a").await.unwrap();
    assert_eq!(node.map(|node| node.data), Some(b"1".to_vec()));
    other.multi(vec![delete("/a", 1)]).await.unwrap();
    soon("removed", removed).await;

    let (_, ended) = session.read_and_watch("/a").await.unwrap();
    session.close().await;
    soon("the session ended", ended).await;
}

async fn child_watches(ground: Ground) {
    let (_watching, session) = ground.session().await;
    let (_changing, other) = ground.session().await;
    assert!(session.children_and_watch("/a").await.is_err(), "what is not there has no children to come");
    other.multi(vec![create("/a", b""), create("/a/stays", b"")]).await.unwrap();
    session.sync().await.unwrap();
    let (names, mut came) = session.children_and_watch("/a").await.unwrap();
    assert_eq!(names, ["stays"]);
    other.multi(vec![set("/a", b"1", 0), set("/a/stays", b"1", 0), create("/a/stays/below", b"")]).await.unwrap();
    assert!((&mut came).now_or_never().is_none(), "no child came or went");
    other.multi(vec![ephemeral("/a/goes", b"")]).await.unwrap();
    soon("a child came", came).await;

    let (names, replaced) = session.children_and_watch("/a").await.unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    other.multi(vec![delete("/a/goes", 0), ephemeral("/a/goes", b"")]).await.unwrap();
    soon("a child was replaced", replaced).await;

    let (_, went) = session.children_and_watch("/a").await.unwrap();
    other.close().await;
    soon("a child went with its session", went).await;
    let (names, ended) = session.children_and_watch("/a").await.unwrap();
    assert_eq!(names, ["stays"]);
    session.close().await;
    soon("the session ended", ended).await;
}

async fn ended(ground: Ground) {
    let (client, session) = ground.session().await;
    assert_eq!(*session.state().borrow(), SessionState::Connected);
    client.expire(session.as_ref()).await;
    let write = session.multi(vec![create("/a", b"")]).await;
    assert_eq!(write, Err(WriteError::NotConnected));
    assert!(session.read("/a").await.is_err() && session.sync().await.is_err() && session.children("/").await.is_err());
    let again = client.session().await;
    assert_eq!(again.read("/a").await.unwrap(), None);
}

async fn sizes(ground: Ground) {
    let (_client, session) = ground.session().await;
    let most = vec![7; NODE_BYTES_MAX];
    session.multi(vec![create("/most", &most)]).await.unwrap();
    assert_eq!(read(&session, "/most").await.data, most);
    let bytes = NODE_BYTES_MAX + 1;
    let refused = session.multi(vec![create("/more", &vec![7; bytes])]).await;
    assert_eq!(refused, Err(WriteError::TooLarge { bytes }));
    let together = session.multi(vec![create("/more", &most), set("/most", b"1", 0)]).await;
    assert_eq!(together, Err(WriteError::TooLarge { bytes }));
    assert_eq!(session.read("/more").await.unwrap(), None);
    assert_eq!(*session.state().borrow(), SessionState::Connected, "nothing was sent that would end the connection");
}

/// As the seat of the controller is taken, and as what it writes is fenced.
async fn seat(ground: Ground) {
    let (_one, one) = ground.session().await;
    let (_two, two) = ground.session().await;
    one.multi(vec![create("/epoch", b"0"), create("/log", b"")]).await.unwrap();
    let take = |version| vec![ephemeral("/seat", b""), set("/epoch", b"1", version)];
    let (first, second) = tokio::join!(one.multi(take(0)), two.multi(take(0)));
    let (winner, loser) = match (&first, &second) {
        (Ok(()), Err(_)) => (&one, &two),
        (Err(_), Ok(())) => (&two, &one),
        _ => panic!("both or neither took the seat: {first:?} {second:?}"),
    };
    let lost = first.and(second);
    assert_eq!(lost, Err(WriteError::Refused { index: 0, refusal: Refusal::Exists }));
    let write = |seq: u32, epoch| vec![check("/epoch", epoch), create(&format!("/log/{seq}"), b"")];
    winner.multi(write(0, 1)).await.unwrap();

    // Deposed while its session lives: nothing it writes lands, whatever it believes.
    let depose = vec![delete("/seat", 0), ephemeral("/seat", b""), set("/epoch", b"2", 1)];
    loser.multi(depose).await.unwrap();
    let deposed = winner.multi(write(1, 1)).await;
    assert_eq!(deposed, Err(WriteError::Refused { index: 0, refusal: Refusal::BadVersion }));
    loser.multi(write(1, 2)).await.unwrap();
    loser.sync().await.unwrap();
    assert_eq!(loser.children("/log").await.unwrap().len(), 2);
}

async fn synced(ground: Ground) {
    let (_one, one) = ground.session().await;
    let (_two, two) = ground.session().await;
    one.multi(vec![create("/n", b"")]).await.unwrap();
    for version in 0..20 {
        one.multi(vec![set("/n", b"", version)]).await.unwrap();
        two.sync().await.unwrap();
        assert_eq!(read(&two, "/n").await.version, version + 1);
    }
}

async fn read(session: &Arc<dyn Session>, path: &str) -> Node {
    session.read(path).await.unwrap().unwrap_or_else(|| panic!("{path} is not there"))
}

fn create(path: &str, data: &[u8]) -> Change {
    Change::Create { path: path.into(), data: data.into(), lifetime: Lifetime::Persistent }
}

fn ephemeral(path: &str, data: &[u8]) -> Change {
    Change::Create { path: path.into(), data: data.into(), lifetime: Lifetime::Session }
}

fn set(path: &str, data: &[u8], version: i32) -> Change {
    Change::Set { path: path.into(), data: data.into(), version }
}

fn delete(path: &str, version: i32) -> Change {
    Change::Delete { path: path.into(), version }
}

fn check(path: &str, version: i32) -> Change {
    Change::Check { path: path.into(), version }
}
