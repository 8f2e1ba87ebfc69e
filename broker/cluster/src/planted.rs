//! Bugs that are known from systems like this one, planted on purpose: the simulator shows by finding them that it would find the
//! next one. Outside of its tests there is no way to plant any, and what asks for one is compiled away.

/// A bug of the kind that a cluster's decisions have had elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(test), expect(dead_code, reason = "some are planted in the simulator, which only tests have"))]
pub(crate) enum Bug {
    /// KAFKA-6082: what a controller appends doesn't check that it still holds the seat.
    ControllerEpochUnchecked,
    /// KAFKA-1387: a node that an earlier session left behind passes for the present one's.
    LeftoverPresence,
    /// KAFKA-7235 and the ABA case of KIP-966: a broker that is back before it was missed passes for the one that was there.
    BounceUnnoticed,
    /// KIP-903: whoever joins an ISR may be in another life than the one that caught up.
    MemberEpochsUnchecked,
    /// KAFKA-14140: a broker that shuts down, or is fenced, is let into an ISR.
    InactiveJoins,
    /// KIP-497: while a change of the ISR is asked for, the high watermark waits only for the ISR that is known.
    MaximalIsrUnused,
    /// KAFKA-14144: a proposal that was not answered is taken for refused.
    IsrRevertedOnUnknown,
    /// The high watermark passes what its members have only written.
    DurableIgnored,
    /// KAFKA-15583: the high watermark advances with an ISR below the minimum.
    MinIsrIgnored,
    /// KIP-101: a follower truncates to its high watermark when its leader changes.
    HighWatermarkTruncation,
    /// KAFKA-6880, KAFKA-7164: logs are taken to be the same without comparing epochs.
    DivergenceUnchecked,
    /// KIP-966: an unclean restart leaves the replica among the eligible leaders.
    UncleanStaysEligible,
    /// And so does a restart with an empty data folder.
    WipedStaysEligible,
    /// KIP-966: the last replica that may be elected is elected, whatever it has lost.
    LastReplicaStanding,
    /// KIP-966: whoever leaves an ISR that is too small is forgotten as an eligible leader.
    EligibleForgotten,
    /// KAFKA-2729, KAFKA-9672: an ISR is taken that was proposed for a registration that is over, with replicas that were removed.
    StaleProposal,
    /// KAFKA-12257: a topic that was made again under its name has the logs of the one before.
    TopicsByName,
    /// A broker is fenced on evidence about a life of it that is over.
    StaleFence,
    /// KAFKA-9769: another leader begins in the epoch of the one before.
    EpochNotRaised,
    /// KAFKA-15375: a broker says that it ended in order though what it began with was never registered.
    FalseCleanMarker,
    /// KAFKA-7128: a follower joins an ISR once it has what its leader knows to be committed, which at the beginning of a reign
    /// is less than what is.
    EpochStartUnchecked,
    /// KAFKA-9491, KAFKA-3978: a follower that begins its log anew keeps a high watermark that is not in it.
    WatermarkOutsideLog,
    /// KAFKA-6361 (KIP-279): a follower's log is taken for the leader's because it ends before the leader's log does in that epoch,
    /// though its last record is of an epoch that the leader has nothing of.
    LaterEpochUnchecked,
    /// KAFKA-10301: what is known of the followers is cleared, and who has not been heard of is not waited for.
    StateCleared,
    /// ZOOKEEPER-4785, ZOOKEEPER-4925: the metadata log went back, and whoever has seen more of it goes on.
    LogRegressUnnoticed,
    /// KAFKA-10778: a sync that failed is tried again and taken for one that was done, and the broker leads on.
    FailedSyncCounts,
    /// KIP-858: a disk failed, the broker lives, and what it led from that disk it is left the leader of.
    FailedDiskLeads,
    /// KAFKA-16234: a replica whose disk failed is made again, empty, on another one.
    MadeAgainElsewhere,
    /// KAFKA-13091: the high watermark stays where it was when nobody is left to wait for.
    ShrinkUnnoticed,
}

#[cfg(test)]
impl Bug {
    pub(crate) const ALL: [Self; 29] = [
        Self::ControllerEpochUnchecked,
        Self::LeftoverPresence,
        Self::BounceUnnoticed,
        Self::MemberEpochsUnchecked,
        Self::InactiveJoins,
        Self::MaximalIsrUnused,
        Self::IsrRevertedOnUnknown,
        Self::DurableIgnored,
        Self::MinIsrIgnored,
        Self::HighWatermarkTruncation,
        Self::DivergenceUnchecked,
        Self::UncleanStaysEligible,
        Self::WipedStaysEligible,
        Self::LastReplicaStanding,
        Self::EligibleForgotten,
        Self::StaleProposal,
        Self::TopicsByName,
        Self::StaleFence,
        Self::EpochNotRaised,
        Self::FalseCleanMarker,
        Self::EpochStartUnchecked,
        Self::WatermarkOutsideLog,
        Self::LaterEpochUnchecked,
        Self::StateCleared,
        Self::LogRegressUnnoticed,
        Self::FailedSyncCounts,
        Self::FailedDiskLeads,
        Self::MadeAgainElsewhere,
        Self::ShrinkUnnoticed,
    ];
}

/// Whether this bug is planted: never, outside of the simulator's own tests.
#[cfg(not(test))]
#[inline]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug in this thread, or none.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}
