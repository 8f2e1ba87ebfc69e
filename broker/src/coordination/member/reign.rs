//! While the seat is held: brokers are registered and fenced as they come and go, and changes are decided.
//!
//! What has to be noticed comes first: a session that is in doubt, a seat that is another's, a broker that is gone. Only then
//! comes the next change.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::super::coordinator::{Session, Watch};
use super::super::metadata::{Request, SeatView};
use super::super::metadata_log::MetadataLog;
use super::super::pending::Pending;
use super::super::seat;
use super::super::suspicion::Gone;
use super::compact::Compaction;
use super::follow::{Accession, at, fired};
use super::preferred::ReturnLeaders;
use super::{CONNECTION_LOST, Member, Over, leaves_connected};

/// Changes decided together. A bound on what fails together when an append does.
const GATHERED_MAX: usize = 256;

impl Member {
    /// Until the session is in doubt, the seat is lost, or we are asked to stop.
    pub(super) async fn reign(
        &mut self,
        session: &Arc<dyn Session>,
        log: &mut MetadataLog,
        accession: Accession,
    ) -> Over {
        let over: Result<std::convert::Infallible, Over> = self.try_reign(session, log, accession).await;
        self.told.seat.send_replace(SeatView::default());
        self.suspicions.only(&BTreeSet::new());
        match over {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn try_reign(
        &mut self,
        session: &Arc<dyn Session>,
        log: &mut MetadataLog,
        accession: Accession,
    ) -> Result<std::convert::Infallible, Over> {
        let Accession { seat, gone } = accession;
        let mut state = session.state();
        let shared = session;
        let session = session.as_ref();
        let (held, watch) = self.connected(session, seat::look(session)).await?;
        if !held.is_some_and(|held| held.ours && held.holder.epoch == seat.epoch) {
            return Err(Over::Deposed);
        }
        let mut throne = Some(watch);
        self.accede(session, log, seat).await?;
        if let Some(gone) = gone {
            self.fence(log, seat, gone).await?;
        }
        let mut brokers: Option<Watch> = None;
        let mut compaction = Compaction::new(Arc::clone(shared), seat, self.config.snapshot_every);
        let mut leaders = due(self.config.return_leaders);
        loop {
            if brokers.is_none() {
                brokers = Some(self.attend(session, log, seat).await?);
            }
            let must_wait = self.keep_registered(session, log).await?;
            self.told.seat.send_if_modified(|known| !std::mem::replace(&mut known.ours, true));
            self.suspicions.only(&self.others(log));
            if self.presence.is_news() {
                continue;
            }
            compaction.begin_if_due(log);
            let renewal = self.presence.renewal().filter(|_| must_wait);
            tokio::select! {
                biased;
                () = leaves_connected(&mut state) => return Err(Over::Doubt(CONNECTION_LOST.to_owned())),
                () = fired(&mut throne) => return Err(Over::Deposed),
                gone = self.suspicions.next() => self.fence(log, seat, gone).await?,
                () = fired(&mut brokers) => {}
                step = compaction.finished() => compaction.go_on(log, step).await?,
                () = at(renewal) => {}
                () = at(leaders) => {
                    leaders = due(self.config.return_leaders);
                    self.return_leaders(log, seat).await?;
                }
                request = self.requests.recv() => match request {
                    Some(Request::Change(first)) => {
                        let (gathered, then) = self.gather(first).await;
                        self.commit(log, seat, gathered).await?;
                        then?;
                    }
                    Some(other) => self.on_request(other)?,
                    None => return Err(Over::Stop(None)),
                },
            }
        }
    }

    /// Waits a moment for changes that share an entry with the first. A stop comes after them.
    async fn gather(&mut self, first: Box<dyn Pending>) -> (Vec<Box<dyn Pending>>, Result<(), Over>) {
        let (until, mut gathered) = (Instant::now() + self.config.linger, vec![first]);
        while gathered.len() < GATHERED_MAX {
            match timeout_at(until, self.requests.recv()).await {
                Ok(Some(Request::Change(pending))) => gathered.push(pending),
                Ok(Some(other)) => {
                    if let Err(over) = self.on_request(other) {
                        return (gathered, Err(over));
                    }
                }
                Ok(None) => return (gathered, Err(Over::Stop(None))),
                Err(_) => break,
            }
        }
        (gathered, Ok(()))
    }

    /// The other brokers that are counted on.
    fn others(&self, log: &MetadataLog) -> BTreeSet<Gone> {
        let serving = log.image().serving().filter(|broker| broker.id != self.identity.id);
        serving.map(|broker| Gone { id: broker.id, epoch: broker.epoch }).collect()
    }
}

/// When leaders are to go back next.
fn due(return_leaders: Option<ReturnLeaders>) -> Option<Instant> {
    return_leaders.map(|leaders| Instant::now() + leaders.every)
}
