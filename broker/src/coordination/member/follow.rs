//! While another broker holds the seat, or nobody does: the log's head and the seat are watched, what is new is replayed, and the
//! seat is taken when it is free or its holder is gone.
//!
//! A watch is a hint that fires once. It is set together with each reading, so that nothing that comes after the reading is
//! missed, and what comes in quick succession is read together.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::super::coordinator::{Session, Watch};
use super::super::metadata::SeatView;
use super::super::metadata_log::MetadataLog;
use super::super::seat::{self, Contest, Held, Seat};
use super::super::suspicion::Gone;
use super::super::znodes::Holder;
use super::{CONNECTION_LOST, Member, Over, leaves_connected};

/// A seat that was taken.
pub(super) struct Accession {
    pub(super) seat: Seat,
    /// Whose process is gone, so that the seat could be taken.
    pub(super) gone: Option<Gone>,
}

impl Member {
    /// Until the seat is ours.
    pub(super) async fn follow(&mut self, session: &dyn Session, log: &mut MetadataLog) -> Result<Accession, Over> {
        let mut state = session.state();
        let (mut head, mut seat): (Option<Watch>, Option<Watch>) = (None, None);
        let mut held: Option<Held> = None;
        loop {
            if head.is_none() {
                self.told.lag.may_have_grown(Instant::now());
                head = Some(self.connected(session, log.follow(self.seen.place())).await?);
                self.publish(log)?;
            }
            let must_wait = self.keep_registered(session, log).await?;
            if seat.is_none() {
                let (found, watch) = self.connected(session, seat::look(session)).await?;
                (held, seat) = (found, Some(watch));
                self.tell_seat(held.as_ref());
            }
            // Also when we hold it, or held it in an earlier life.
            let own = (self.identity.id, self.identity.uuid);
            let is_free = held.as_ref().is_none_or(|held| (held.holder.id, held.holder.uuid()) == own);
            if is_free && self.presence.is_there(session) {
                if let Some(taken) = self.contest(session, None).await? {
                    return Ok(Accession { seat: taken, gone: None });
                }
                seat = None;
                continue;
            }
            let suspect = held.as_ref().and_then(|held| self.life_of(&held.holder));
            self.suspicions.only(&suspect.into_iter().collect::<BTreeSet<_>>());
            if self.presence.is_news() {
                continue;
            }
            let renewal = self.presence.renewal().filter(|_| must_wait);
            tokio::select! {
                biased;
                () = leaves_connected(&mut state) => return Err(Over::Doubt(CONNECTION_LOST.to_owned())),
                () = fired(&mut seat) => {}
                () = fired(&mut head) => {}
                gone = self.suspicions.next(), if self.presence.is_there(session) => {
                    let holder = held.as_ref().map(|held| held.holder.clone());
                    warn!("broker {} holds the seat, and its process is gone: taking it", gone.id);
                    if let Some(taken) = self.contest(session, holder.as_ref()).await? {
                        return Ok(Accession { seat: taken, gone: Some(gone) });
                    }
                    seat = None;
                }
                () = at(renewal) => {}
                request = self.requests.recv() => self.turn_away(request)?,
            }
        }
    }

    /// The seat, if it could be taken.
    async fn contest(&mut self, session: &dyn Session, deposed: Option<&Holder>) -> Result<Option<Seat>, Over> {
        let (id, uuid) = (self.identity.id, self.identity.uuid);
        match self.connected(session, seat::contest(session, id, uuid, deposed)).await? {
            Contest::Taken(seat) => Ok(Some(seat)),
            Contest::Held(holder) => {
                info!("broker {} is the controller, epoch {}", holder.id, holder.epoch);
                Ok(None)
            }
        }
    }

    /// Who changes are to be forwarded to.
    fn tell_seat(&self, held: Option<&Held>) {
        let holder = held.filter(|held| !held.ours).map(|held| held.holder.id);
        self.told.seat.send_if_modified(|known| {
            let view = SeatView { holder, ours: false };
            std::mem::replace(known, view.clone()) != view
        });
    }

    /// The life in which another holder of the seat is registered.
    fn life_of(&self, holder: &Holder) -> Option<Gone> {
        if holder.id == self.identity.id {
            return None;
        }
        let image = self.told.image.load();
        let broker = image.broker(holder.id).filter(|broker| broker.uuid == holder.uuid())?;
        Some(Gone { id: broker.id, epoch: broker.epoch })
    }
}

/// Resolves when the watch fires, and takes it away then.
pub(super) async fn fired(watch: &mut Option<Watch>) {
    match watch {
        Some(armed) => armed.await,
        None => std::future::pending().await,
    }
    *watch = None;
}

/// At that time, if there is one.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
