//! Leaders go back to the first replicas of their partitions, where these are in sync again: looked at from time to time, decided from
//! the image alone, so that nothing is lost when the controller changes.

use std::time::Duration;

use sluice_cluster::decide::{ElectLeaders, ElectionKind, leaders_to_return};
use tracing::info;

use super::super::metadata_log::MetadataLog;
use super::super::seat::Seat;
use super::{Member, Over};

/// How leaders go back (`auto.leader.rebalance.enable`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnLeaders {
    /// `leader.imbalance.check.interval.seconds`.
    pub every: Duration,
    /// `leader.imbalance.per.broker.percentage`: what a broker may lead less than it should.
    pub percentage: u32,
}

impl Member {
    /// Has them go back.
    pub(super) async fn return_leaders(&mut self, log: &mut MetadataLog, seat: Seat) -> Result<(), Over> {
        let Some(ReturnLeaders { percentage, .. }) = self.config.return_leaders else { return Ok(()) };
        let partitions = leaders_to_return(log.image(), percentage);
        if partitions.is_empty() {
            return Ok(());
        }
        info!("{} leaders go back to the first replicas of their partitions", partitions.len());
        let elect = ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(partitions) };
        match self.change(log, seat, &elect).await? {
            Ok(_) => {}
            Err(never) => match never {},
        }
        Ok(())
    }
}
