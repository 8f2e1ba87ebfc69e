//! The bytes of every variant, as they were when it was first written. A row that breaks means that logs already written can't be
//! read any more: add a variant instead.

use super::super::binding::{OnError, PluginLimits, PluginUse};
use super::*;

#[test]
fn golden_bytes() {
    for (record, golden) in goldens() {
        let bytes = postcard::to_stdvec(&record).unwrap();
        assert_eq!(hex(&bytes), golden, "{record:?}");
        assert_eq!(postcard::from_bytes::<MetadataRecord>(&bytes).unwrap(), record);
    }
}

#[test]
fn every_variant_has_its_bytes() {
    let numbers: Vec<String> = goldens().iter().map(|(_, golden)| golden[..2].to_owned()).collect();
    let expected: Vec<String> = (0..VARIANTS).map(|number| format!("{number:02x}")).collect();
    assert_eq!(numbers, expected);
}

/// Raised with each variant that is added, and a row with it.
const VARIANTS: usize = 22;

fn goldens() -> Vec<(MetadataRecord, &'static str)> {
    let id = Uuid([0xaa; 16]);
    let base = Uuid([0xbb; 16]);
    let endpoint = Endpoint { listener: "SSL".into(), host: "h".into(), port: 9093, security_protocol: "SSL".into() };
    let configs: BTreeMap<String, String> = [("k".to_owned(), "v".to_owned())].into();
    let partition = PartitionRegistration {
        replicas: vec![1, 2],
        isr: vec![1],
        elr: vec![2],
        adding: vec![3],
        removing: vec![4],
        leader: -1,
        leader_epoch: 5,
        partition_epoch: 6,
        recovering: true,
    };
    let binding = |on_error| Binding {
        chain: vec![PluginUse { plugin: "p".into(), version: 2, digest: [0xdd; 32], config: "{}".into() }],
        limits: PluginLimits {
            memory_bytes: 1,
            cpu_ms: 2,
            wall_ms: 3,
            output_bytes: 4,
            log_bytes_per_second: 5,
            metric_names: 6,
        },
        on_error,
        revision: 300,
    };
    let broker = BrokerRecord {
        id: 1,
        uuid: id,
        epoch: 70,
        endpoints: vec![endpoint],
        rack: Some("r".into()),
        clean: true,
        fenced: false,
    };
    vec![
        (MetadataRecord::Cluster { cluster_id: "c".into() }, "000163"),
        (MetadataRecord::ControllerElected { id: 1, epoch: 2 }, "010204"),
        (
            MetadataRecord::BrokerRegistered(broker),
            "0202aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8c01010353534c016885470353534c0101720100",
        ),
        (MetadataRecord::BrokerFenced { id: 1, epoch: 70 }, "03028c01"),
        (
            MetadataRecord::Topic { id, name: "t".into(), internal: true, configs: configs.clone() },
            "04aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01740101016b0176",
        ),
        (
            MetadataRecord::Partitions { topic: id, partitions: vec![(0, partition)] },
            "05aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01000202040102010401060108010a0c01",
        ),
        (
            MetadataRecord::TopicConfig { topic: id, name: "k".into(), value: Some("v".into()) },
            "06aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa016b010176",
        ),
        (MetadataRecord::TopicRemoved { id }, "07aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (MetadataRecord::ProducerIds { next: 1000 }, "08d00f"),
        (
            MetadataRecord::Plugin {
                name: "p".into(),
                version: 2,
                digest: [0xdd; 32],
                size: 300,
                kinds: PluginKinds { gate: true, view: false },
                at_ms: 7,
            },
            "09017002ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddac0201000e",
        ),
        (MetadataRecord::PluginRemoved { name: "p".into(), version: 2 }, "0a017002"),
        (
            MetadataRecord::Gate { topic: id, binding: binding(OnError::Fail) },
            "0baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01017002dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
             027b7d01020304050600ac02",
        ),
        (MetadataRecord::GateRemoved { topic: id }, "0caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (
            MetadataRecord::View {
                id,
                name: "w".into(),
                base,
                binding: binding(OnError::Pass),
                allow_unfiltered: true,
                configs,
            },
            "0daaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0177bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb01017002\
             dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd027b7d01020304050601ac020101016b0176",
        ),
        (MetadataRecord::ViewRemoved { id }, "0eaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (MetadataRecord::BindingRevision { last: 300 }, "0fac02"),
        (MetadataRecord::BrokerShuttingDown { id: 1, epoch: 70 }, "10028c01"),
        (MetadataRecord::BrokerDraining { id: 1, draining: true }, "110201"),
        (MetadataRecord::BrokerUnregistered { id: 1 }, "1202"),
        (
            MetadataRecord::BrokerFeatures { id: 1, epoch: 70, features: FeatureLevels { lowest: 1, highest: 300 } },
            "13028c0101ac02",
        ),
        (MetadataRecord::FeatureLevel { level: 2 }, "1402"),
        (
            MetadataRecord::BrokerConfig { broker: Some(1), name: "k".into(), value: Some("v".into()) },
            "150102016b010176",
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
