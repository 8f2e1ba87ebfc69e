//! From a session to a reign: the cluster is there and ours, nobody else serves, the seat is taken, the log replayed, and this
//! broker registered. Each step is safe to begin again.

use std::collections::BTreeMap;

use sluice_cluster::decide::{Change, FenceAbsent, RegisterBroker, RegisterError, TakeSeat};
use sluice_protocol::Uuid;
use tracing::info;

use super::super::coordinator::Session;
use super::super::founding::{FoundError, cluster_id};
use super::super::metadata::Standing;
use super::super::metadata_log::{CatchUpError, MetadataLog};
use super::super::seat::{Seat, TakeError, be_present, others, take};
use super::super::znodes::Presence;
use super::super::{Halt, Registration};
use super::reign::{append, random_bytes};
use super::{Controller, Over, Stop};

impl Controller {
    /// All of it; while it goes on, changes are refused.
    pub(super) async fn establish(
        &mut self,
        session: &dyn Session,
        log: &mut MetadataLog,
    ) -> Result<Result<Seat, Over>, Stop> {
        let (identity, seen) = (self.identity.clone(), self.seen.place());
        let prepared = self.aside(async {
            let cluster_id = found(session, identity.cluster_id.as_deref()).await?;
            if let Some(&serving) = others(session, identity.id).await?.first() {
                return Err(Over::Halt(Halt::AnotherServes { serving }));
            }
            let seat = take(session, identity.id, identity.uuid).await?;
            log.catch_up(seen).await?;
            Ok((cluster_id, seat))
        });
        let (cluster_id, seat) = match prepared.await? {
            Ok(prepared) => prepared,
            Err(over) => return Ok(Err(over)),
        };
        match self.register(session, log, seat, &cluster_id).await {
            Ok(broker_epoch) => {
                let registration = Registration { cluster_id, broker_epoch, controller_epoch: seat.epoch };
                self.established(registration);
                Ok(Ok(seat))
            }
            Err(over) => Ok(Err(over)),
        }
    }

    /// The first entries of a reign. Gives the epoch of this broker's life.
    async fn register(
        &mut self,
        session: &dyn Session,
        log: &mut MetadataLog,
        seat: Seat,
        cluster_id: &str,
    ) -> Result<i64, Over> {
        let take = TakeSeat { id: self.identity.id, epoch: seat.epoch, cluster_id: cluster_id.to_owned() };
        self.change(log, seat, &take).await?.map_err(Halt::from)?;
        // Whoever is not there is fenced, except this broker: it moves straight to its new life.
        let own = log.image().broker(self.identity.id);
        let present: BTreeMap<i32, i64> = own.map(|broker| (broker.id, broker.epoch)).into_iter().collect();
        let Ok(fenced) = self.change(log, seat, &FenceAbsent { present }).await?;
        fenced.iter().for_each(|id| info!("broker {id} is not there and is fenced"));

        let identity = &self.identity;
        let presence = Presence::new(identity.id, identity.uuid, identity.endpoints.clone(), identity.rack.clone());
        let epoch = be_present(session, &presence).await?;
        let is_registered =
            log.image().broker(identity.id).is_some_and(|broker| broker.epoch == epoch && !broker.fenced);
        if !is_registered {
            let register = RegisterBroker {
                id: identity.id,
                uuid: identity.uuid,
                epoch,
                endpoints: identity.endpoints.clone(),
                rack: identity.rack.clone(),
                clean: identity.clean,
            };
            self.change(log, seat, &register).await?.map_err(Halt::from)?;
        }
        self.publish(log)?;
        // From here on a new session is no new life of the process: what it holds it held.
        self.identity.clean = true;
        self.identity.cluster_id = Some(cluster_id.to_owned());
        Ok(epoch)
    }

    /// One change of our own, decided and appended at once.
    async fn change<C: Change>(
        &mut self,
        log: &mut MetadataLog,
        seat: Seat,
        change: &C,
    ) -> Result<Result<C::Answer, C::Error>, Over> {
        match self.decide(log.image(), change) {
            Ok(decided) => {
                append(log, seat, decided.records).await.map_err(|error| Over::Doubt(error.why))?;
                Ok(Ok(decided.answer))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn established(&mut self, registration: Registration) {
        let Registration { cluster_id, broker_epoch, controller_epoch } = &registration;
        info!(
            "broker {} epoch {broker_epoch} in cluster {cluster_id}, controller epoch {controller_epoch}",
            self.identity.id
        );
        self.said = None;
        self.standing.send_replace(Standing::Serving);
        if let Some(starting) = self.starting.take() {
            // Nobody waits for the start any more: then the handles are gone, and the reign ends at once.
            let _ = starting.reply.send(Ok(registration));
        }
    }
}

async fn found(session: &dyn Session, data: Option<&str>) -> Result<String, Over> {
    let found = match cluster_id(session, random_id(), data.is_some()).await {
        Ok(found) => Some(found),
        Err(FoundError::None) => None,
        Err(FoundError::Unavailable { why }) => return Err(Over::Doubt(why)),
        Err(error @ (FoundError::Unreadable | FoundError::Denied { .. })) => {
            return Err(Over::Halt(Halt::Coordinator { why: error.to_string() }));
        }
    };
    match (data, found) {
        (None, Some(found)) => Ok(found),
        (Some(data), Some(found)) if data == found => Ok(found),
        (data, found) => Err(Over::Halt(Halt::OtherCluster { data: data.unwrap_or_default().to_owned(), found })),
    }
}

fn random_id() -> Uuid {
    let mut bytes = random_bytes();
    // As for topics: no id begins with '-' in text.
    bytes[0] &= 0x7f;
    Uuid(bytes)
}

impl From<TakeError> for Over {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Another { id } => Self::Halt(Halt::AnotherServes { serving: id }),
            TakeError::SameId { id } => Self::Halt(Halt::IdInUse { id }),
            TakeError::Unreadable { .. } | TakeError::Denied { .. } => {
                Self::Halt(Halt::Coordinator { why: error.to_string() })
            }
            TakeError::Unavailable { why } => Self::Doubt(why),
        }
    }
}

impl From<CatchUpError> for Over {
    fn from(error: CatchUpError) -> Self {
        match error {
            CatchUpError::Unavailable(error) => Self::Doubt(error.to_string()),
            CatchUpError::Log(error) => Self::Halt(Halt::Log(error)),
        }
    }
}

impl From<Halt> for Over {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<RegisterError> for Over {
    fn from(error: RegisterError) -> Self {
        Self::Halt(Halt::Register(error))
    }
}
