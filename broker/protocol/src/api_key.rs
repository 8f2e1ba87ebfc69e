//! Kafka's calls, by number and name, and from which version each is flexible.
//!
//! Every key of Kafka 4.3 is here, served or not: the header of a request can only be read by knowing whether its version
//! is flexible (KIP-482). Keys 4 to 7, the calls of ZooKeeper's days between brokers, are absent: no client sends them.

macro_rules! api_keys {
    ($($key:literal $name:ident $flexible:tt $(..)?,)*) => {
        /// A call of Kafka's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", $key, ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every key, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The key of that number, if Kafka 4.3 has one.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name: `Produce`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The first version with compact lengths and tagged fields, if there is one.
            #[must_use]
            pub const fn flexible_from(self) -> Option<i16> {
                match self {
                    $(Self::$name => first!($flexible),)*
                }
            }
        }
    };
}

macro_rules! first {
    (never) => {
        None
    };
    ($version:literal) => {
        Some($version)
    };
}

api_keys! {
    0 Produce 9..,
    1 Fetch 12..,
    2 ListOffsets 6..,
    3 Metadata 9..,
    8 OffsetCommit 8..,
    9 OffsetFetch 6..,
    10 FindCoordinator 3..,
    11 JoinGroup 6..,
    12 Heartbeat 4..,
    13 LeaveGroup 4..,
    14 SyncGroup 4..,
    15 DescribeGroups 5..,
    16 ListGroups 3..,
    17 SaslHandshake never,
    18 ApiVersions 3..,
    19 CreateTopics 5..,
    20 DeleteTopics 4..,
    21 DeleteRecords 2..,
    22 InitProducerId 2..,
    23 OffsetForLeaderEpoch 4..,
    24 AddPartitionsToTxn 3..,
    25 AddOffsetsToTxn 3..,
    26 EndTxn 3..,
    27 WriteTxnMarkers 0..,
    28 TxnOffsetCommit 3..,
    29 DescribeAcls 2..,
    30 CreateAcls 2..,
    31 DeleteAcls 2..,
    32 DescribeConfigs 4..,
    33 AlterConfigs 2..,
    34 AlterReplicaLogDirs 2..,
    35 DescribeLogDirs 2..,
    36 SaslAuthenticate 2..,
    37 CreatePartitions 2..,
    38 CreateDelegationToken 2..,
    39 RenewDelegationToken 2..,
    40 ExpireDelegationToken 2..,
    41 DescribeDelegationToken 2..,
    42 DeleteGroups 2..,
    43 ElectLeaders 2..,
    44 IncrementalAlterConfigs 1..,
    45 AlterPartitionReassignments 0..,
    46 ListPartitionReassignments 0..,
    47 OffsetDelete never,
    48 DescribeClientQuotas 1..,
    49 AlterClientQuotas 1..,
    50 DescribeUserScramCredentials 0..,
    51 AlterUserScramCredentials 0..,
    52 Vote 0..,
    53 BeginQuorumEpoch 1..,
    54 EndQuorumEpoch 1..,
    55 DescribeQuorum 0..,
    56 AlterPartition 0..,
    57 UpdateFeatures 0..,
    58 Envelope 0..,
    59 FetchSnapshot 0..,
    60 DescribeCluster 0..,
    61 DescribeProducers 0..,
    62 BrokerRegistration 0..,
    63 BrokerHeartbeat 0..,
    64 UnregisterBroker 0..,
    65 DescribeTransactions 0..,
    66 ListTransactions 0..,
    67 AllocateProducerIds 0..,
    68 ConsumerGroupHeartbeat 0..,
    69 ConsumerGroupDescribe 0..,
    70 ControllerRegistration 0..,
    71 GetTelemetrySubscriptions 0..,
    72 PushTelemetry 0..,
    73 AssignReplicasToDirs 0..,
    74 ListConfigResources 0..,
    75 DescribeTopicPartitions 0..,
    76 ShareGroupHeartbeat 0..,
    77 ShareGroupDescribe 0..,
    78 ShareFetch 0..,
    79 ShareAcknowledge 0..,
    80 AddRaftVoter 0..,
    81 RemoveRaftVoter 0..,
    82 UpdateRaftVoter 0..,
    83 InitializeShareGroupState 0..,
    84 ReadShareGroupState 0..,
    85 WriteShareGroupState 0..,
    86 DeleteShareGroupState 0..,
    87 ReadShareGroupStateSummary 0..,
    88 StreamsGroupHeartbeat 0..,
    89 StreamsGroupDescribe 0..,
    90 DescribeShareGroupOffsets 0..,
    91 AlterShareGroupOffsets 0..,
    92 DeleteShareGroupOffsets 0..,
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether that version, known or not, has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.flexible_from() {
            Some(first) => version >= first,
            None => false,
        }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(key.code()), Some(*key));
        }
        assert_eq!(ApiKey::from_code(18).map(ApiKey::name), Some("ApiVersions"));
        for code in [-1, 4, 7, 93, i16::MAX] {
            assert_eq!(ApiKey::from_code(code), None, "key {code}");
        }
    }

    #[test]
    fn flexible_versions() {
        let flexible = |key: ApiKey, version| key.is_flexible(version);
        assert!(!flexible(ApiKey::Produce, 8) && flexible(ApiKey::Produce, 9));
        assert!(flexible(ApiKey::DescribeCluster, 0));
        assert!(!flexible(ApiKey::SaslHandshake, i16::MAX));
    }
}
