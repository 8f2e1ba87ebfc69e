//! What a new controller does first, and again whenever brokers come or go: the log is replayed to its end, the reign is written
//! into it, and the registrations follow the presence nodes.

use std::collections::BTreeMap;

use sluice_cluster::decide::{FenceAbsent, FenceBroker, RegisterBroker, TakeSeat};
use tracing::{info, warn};

use super::super::Halt;
use super::super::coordinator::{Session, Watch};
use super::super::metadata_log::MetadataLog;
use super::super::seat::{self, Seat};
use super::super::suspicion::Gone;
use super::{Member, Over};

impl Member {
    /// The first entry of a reign.
    pub(super) async fn accede(
        &mut self,
        session: &dyn Session,
        log: &mut MetadataLog,
        seat: Seat,
    ) -> Result<(), Over> {
        self.connected(session, log.catch_up(self.seen.place())).await?;
        self.publish(log)?;
        let cluster_id = self.identity.cluster_id.clone().unwrap_or_default();
        let features = self.presence.features();
        let take = TakeSeat { id: self.identity.id, epoch: seat.epoch, cluster_id, features };
        self.change(log, seat, &take).await?.map_err(|error| Over::Halt(Halt::Seat(error)))?;
        info!("broker {} is the controller, epoch {}", self.identity.id, seat.epoch);
        Ok(())
    }

    /// Registers who is there in a new life, and fences who isn't there any more. Gives a watch that fires when that changes.
    pub(super) async fn attend(
        &mut self,
        session: &dyn Session,
        log: &mut MetadataLog,
        seat: Seat,
    ) -> Result<Watch, Over> {
        let (present, watch) = self.connected(session, seat::present(session)).await?;
        let lives: BTreeMap<i32, i64> = present.iter().map(|(presence, epoch)| (presence.id, *epoch)).collect();
        let Ok(fenced) = self.change(log, seat, &FenceAbsent { present: lives }).await?;
        fenced.iter().for_each(|id| info!("broker {id} is not there any more and is fenced"));
        for (presence, epoch) in present {
            if log.image().broker(presence.id).is_some_and(|known| known.epoch >= epoch) {
                continue;
            }
            let (id, uuid) = (presence.id, presence.uuid());
            let register = RegisterBroker {
                id,
                uuid,
                epoch,
                endpoints: presence.endpoints,
                rack: presence.rack,
                clean: presence.clean,
                features: presence.features,
            };
            match self.change(log, seat, &register).await? {
                Ok(()) => {
                    info!("broker {id} registers with epoch {epoch}{}", if presence.clean { "" } else { ", unclean" });
                }
                Err(error) => warn!("broker {id} can't register: {error}"),
            }
        }
        Ok(watch)
    }

    /// Counts on a broker no longer whose process is gone.
    pub(super) async fn fence(&mut self, log: &mut MetadataLog, seat: Seat, gone: Gone) -> Result<(), Over> {
        let Gone { id, epoch } = gone;
        let why = "its connections ended and its listener refuses".to_owned();
        warn!("broker {id} epoch {epoch} is fenced: {why}");
        let Ok(_) = self.change(log, seat, &FenceBroker { id, epoch, why }).await?;
        Ok(())
    }
}
