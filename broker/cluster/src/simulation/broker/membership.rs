//! A broker's place among those that are there: a session, the metadata log replayed, a node that lives with the session, and
//! all of it again whenever the session ends.

use std::rc::Rc;

use super::super::network::Node as Address;
use super::super::sync::{First, race};
use super::super::zookeeper::session::{Session, Standing, Unavailable, WriteError};
use super::super::zookeeper::{Change, Node};
use super::Process;
use super::seat;
use crate::Image;
use crate::metadata::BrokerRegistration;
use crate::metadata::batch::Head;
use crate::planted::{Bug, planted};
use sluice_protocol::Uuid;

pub(super) const META_HEAD: &str = "/meta/head";
pub(super) const BROKER_IDS: &str = "/brokers/ids";

/// Between tries at what did not work.
const RETRY_MS: i64 = 40;

/// A broker that says it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    pub(super) uuid: Uuid,
    pub(super) clean: bool,
}

impl Presence {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = self.uuid.0.to_vec();
        bytes.push(u8::from(self.clean));
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (uuid, clean) = bytes.split_first_chunk::<16>().expect("as it was written");
        Self { uuid: Uuid(*uuid), clean: clean == [1] }
    }
}

pub(super) async fn run(process: Rc<Process>) {
    loop {
        let from = Address::Broker(process.id);
        match Session::connect(&process.world, process.owner, from).await {
            Some(session) => {
                note!(process.world, "broker {} has session {}", process.id, session.id);
                process.session.replace(Some(Rc::clone(&session)));
                // Ends with the session, whatever waits in it: nothing of one session goes on in the next.
                let _: First<_, _> = race(ended(&session), serve(&process, &session)).await;
                process.reigns.set(false);
            }
            None => process.sleep(RETRY_MS).await,
        }
    }
}

async fn ended(session: &Session) {
    loop {
        session.doubtful().await;
        if session.settled().await == Standing::Ended {
            return;
        }
    }
}

async fn serve(process: &Rc<Process>, session: &Rc<Session>) {
    while catch_up(process, session).await.is_err() {
        process.sleep(RETRY_MS).await;
    }
    race(follow(process, session), race(stay_present(process, session), seat::contest(process, session))).await;
}

/// Replays what there is.
pub(super) async fn catch_up(process: &Rc<Process>, session: &Session) -> Result<Head, Unavailable> {
    let known = process.image.borrow().next_seq();
    session.sync().await?;
    let node = session.read(META_HEAD).await?.ok_or(Unavailable)?;
    let head = Head::decode(&node.data).expect("a head, as it was written");
    // What this life knows, and what any life of this broker has seen.
    let seen = process.seen_at_start.max(known);
    if head.next_seq < seen && !planted(Bug::LogRegressUnnoticed) {
        note!(process.world, "broker {} halts: the log ends before {}, it has seen {seen}", process.id, head.next_seq);
        process.world.on_halt(process.id);
        return Err(Unavailable);
    }
    loop {
        let seq = process.image.borrow().next_seq();
        if seq >= head.next_seq {
            return Ok(head);
        }
        match head.snapshot {
            Some(at) if seq == 0 => process.load(session, at).await?,
            snapshot => match (session.read(&entry(seq)).await?, snapshot) {
                (Some(entry), _) => process.replay(seq, &entry.data),
                (None, Some(at)) if at.next_seq > seq => process.load(session, at).await?,
                // The session has moved to a server that is behind.
                (None, _) => return Err(Unavailable),
            },
        }
    }
}

pub(super) fn entry(seq: u64) -> String {
    format!("{}{seq:020}", super::super::oracle::LOG_PREFIX)
}

/// Replays what comes.
async fn follow(process: &Rc<Process>, session: &Session) {
    loop {
        let Ok((_, changed)) = session.read_and_watch(META_HEAD).await else {
            process.sleep(RETRY_MS).await;
            continue;
        };
        match catch_up(process, session).await {
            Ok(_) => drop(changed.await),
            Err(Unavailable) => process.sleep(RETRY_MS).await,
        }
    }
}

/// Says that it is there, and again whenever the log says that this life of it is fenced.
async fn stay_present(process: &Rc<Process>, session: &Session) {
    let mut fenced = None;
    loop {
        let seen = process.published.seen();
        match be_present(process, session, fenced).await {
            Ok(epoch) => {
                if process.epoch.replace(Some(epoch)) != Some(epoch) {
                    note!(process.world, "broker {} is there, epoch {epoch}", process.id);
                    process.take_roles();
                }
                loop {
                    let seen = process.published.seen();
                    let is_fenced = |process: &Process| {
                        // Or a later life of ours is registered, of a node that was made late.
                        let is_over =
                            |own: &BrokerRegistration| own.epoch > epoch || (own.fenced && own.epoch == epoch);
                        process.image.borrow().broker(process.id).is_some_and(|own| is_over(own))
                    };
                    if is_fenced(process) {
                        note!(process.world, "broker {} is fenced in epoch {epoch}, and is there", process.id);
                        fenced = Some(epoch);
                        break;
                    }
                    process.published.after(seen).await;
                }
            }
            Err(_) => {
                let _: First<_, _> = race(process.published.after(seen), process.sleep(RETRY_MS)).await;
            }
        }
    }
}

/// Gives the epoch of this life. Our own node of an earlier session is removed with it, and so is one that was fenced; that of
/// another data folder never.
async fn be_present(process: &Process, session: &Session, fenced: Option<i64>) -> Result<i64, Unavailable> {
    session.sync().await?;
    let path = format!("{BROKER_IDS}/{}", process.id);
    let held = session.read(&path).await?;
    let mut changes = Vec::new();
    if let Some(Node { data, version, created, owner }) = held {
        let is_ours = owner == Some(session.id) || planted(Bug::LeftoverPresence);
        if is_ours && fenced != Some(created) {
            return Ok(created);
        }
        if Presence::decode(&data).uuid != process.disk.borrow().uuid {
            return Err(Unavailable);
        }
        changes.push(Change::Delete { path: path.clone(), version });
    }
    let presence = Presence { uuid: process.disk.borrow().uuid, clean: process.ended_clean.get() };
    changes.push(Change::Create { path: path.clone(), data: presence.encode(), ephemeral: true });
    if !presence.clean {
        process.world.on_unclean(process.id);
    }
    match session.multi(changes).await {
        // The next time it registers it is after a session that ended, and has lost nothing.
        Ok(()) => {}
        Err(WriteError::Refused(..) | WriteError::NotConnected | WriteError::Unknown) => return Err(Unavailable),
    }
    session.sync().await?;
    let own = session.read(&path).await?.filter(|node| node.owner == Some(session.id)).ok_or(Unavailable)?;
    Ok(own.created)
}

impl Process {
    /// The next entry of the log, unless it was replayed meanwhile.
    pub(super) fn replay(self: &Rc<Self>, seq: u64, bytes: &[u8]) {
        if self.image.borrow().next_seq() != seq {
            return;
        }
        let after = self.image.borrow().after(bytes);
        let image = match after {
            Ok(image) => image,
            Err(error) => panic!("broker {} can't replay: {error}", self.id),
        };
        self.publish(image);
    }

    /// What it knows from now on.
    pub(super) fn publish(self: &Rc<Self>, image: Image) {
        self.world.oracle.on_image(&self.world, self.id, &image);
        {
            let seen = &mut self.disk.borrow_mut().seen;
            if seen.0 <= image.next_seq() {
                *seen = (image.next_seq(), image.hash());
            }
        }
        let is_registered =
            self.epoch.get().is_some() && image.broker(self.id).map(|own| own.epoch) == self.epoch.get();
        if is_registered {
            self.ended_clean.set(true);
        }
        self.image.replace(image);
        self.take_roles();
        self.published.raise();
        self.review.raise();
    }
}
