//! The controller's seat: taken in one multi that raises the controller epoch, which every append checks from then on. A standby
//! watches the holder's node, and its process too: with evidence that this is gone the seat is taken before the session ends.

use std::rc::Rc;

use super::super::messages::Request;
use super::super::network::{CallError, Connection, Node as Address};
use super::super::oracle::CONTROLLER_EPOCH;
use super::super::sync::{First, race};
use super::super::zookeeper::session::{Session, Unavailable};
use super::super::zookeeper::{Change, Node};
use super::{Process, controller};

pub(super) const CONTROLLER: &str = "/controller";

/// Between tries at what did not work.
const RETRY_MS: i64 = 40;
/// A broker that does not answer a probe for so long is silent, which is no evidence.
const PROBE_MS: i64 = 150;

/// The seat, as long as `/controller_epoch` has this version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) epoch: i32,
    pub(super) epoch_version: i32,
}

/// Whoever is in the seat, and in which life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    id: i32,
    broker_epoch: i64,
}

impl Holder {
    fn encode(self) -> Vec<u8> {
        format!("{} {}", self.id, self.broker_epoch).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("as it was written");
        let (id, epoch) = text.split_once(' ').expect("as it was written");
        Self { id: id.parse().expect("a number"), broker_epoch: epoch.parse().expect("a number") }
    }
}

/// Waits for the seat, takes it, reigns, and again.
pub(super) async fn contest(process: &Rc<Process>, session: &Session) {
    loop {
        if process.epoch.get().is_none() || try_once(process, session).await.is_err() {
            process.sleep(RETRY_MS).await;
        }
    }
}

async fn try_once(process: &Rc<Process>, session: &Session) -> Result<(), Unavailable> {
    let (held, changed) = session.read_and_watch(CONTROLLER).await?;
    let gone = match &held {
        Some(node) if node.owner != Some(session.id) => {
            let holder = Holder::decode(&node.data);
            match race(changed, gone(process, holder.id)).await {
                First::Left(_) => return Ok(()),
                First::Right(()) => Some(holder),
            }
        }
        _ => None,
    };
    if let Some(seat) = take(process, session, gone).await? {
        note!(process.world, "broker {} is controller in epoch {}", process.id, seat.epoch);
        controller::reign(process, session, seat).await;
        process.reigns.set(false);
        note!(process.world, "broker {} resigns, epoch {}", process.id, seat.epoch);
    }
    Ok(())
}

/// Takes the seat if it is free, ours from before, or held by `gone`. Raises the epoch also when we hold it: what of our own
/// earlier writes is still under way can't land then.
async fn take(process: &Process, session: &Session, gone: Option<Holder>) -> Result<Option<Seat>, Unavailable> {
    session.sync().await?;
    let epoch = session.read(CONTROLLER_EPOCH).await?.ok_or(Unavailable)?;
    let known: i32 = std::str::from_utf8(&epoch.data).expect("text").parse().expect("a number");
    let held = session.read(CONTROLLER).await?;
    let mut changes = Vec::new();
    if let Some(Node { data, version, .. }) = held {
        let holder = Holder::decode(&data);
        if holder.id != process.id && Some(holder) != gone {
            return Ok(None);
        }
        changes.push(Change::Delete { path: CONTROLLER.to_owned(), version });
    }
    let holder = Holder { id: process.id, broker_epoch: process.epoch.get().ok_or(Unavailable)? };
    changes.push(Change::Create { path: CONTROLLER.to_owned(), data: holder.encode(), ephemeral: true });
    let data = (known + 1).to_string().into_bytes();
    changes.push(Change::Set { path: CONTROLLER_EPOCH.to_owned(), data, version: epoch.version });
    match session.multi(changes).await {
        Ok(()) => Ok(Some(Seat { epoch: known + 1, epoch_version: epoch.version + 1 })),
        // Done or not, the next try begins by reading how things are.
        Err(_) => Err(Unavailable),
    }
}

/// Until there is evidence that the broker's process is gone: its connection was reset, and connecting again is refused.
pub(super) async fn gone(process: &Process, broker: i32) {
    loop {
        let connection = Connection::open(&process.world, process.owner, process.node(), Address::Broker(broker));
        // Never answered: this ends with the connection.
        connection.ask(&process.world, Request::Hold).await;
        let probe = Connection::open(&process.world, process.owner, process.node(), Address::Broker(broker));
        match probe.call(&process.world, Request::Probe, PROBE_MS).await {
            Err(CallError::Refused) => return,
            Ok(_) | Err(CallError::Lost) => process.sleep(PROBE_MS).await,
        }
    }
}
