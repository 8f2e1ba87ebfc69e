//! What decisions cost a controller of a large cluster: 200,000 partitions on 30 brokers, three replicas each. A broker that
//! leads 20,000 of them dies; what was decided is replayed by every broker; an ISR of one partition changes; a new controller
//! reads a snapshot. The sums are what a failover waits for.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::Criterion;
use sluice_cluster::decide::{
    AlterPartition, Change, ConfigRules, ElectLeaders, ElectionKind, FenceBroker, Given, RegisterBroker, TakeSeat,
    leaders_to_return,
};
use sluice_cluster::metadata::batch::Entry;
use sluice_cluster::metadata::snapshot;
use sluice_cluster::partition::ProposedIsr;
use sluice_cluster::{FeatureLevels, Image, MetadataRecord, PartitionRegistration};
use sluice_protocol::Uuid;

const BROKERS: i32 = 30;
const TOPICS: u8 = 200;
const PARTITIONS: i32 = 1_000;
/// The broker that dies leads so many partitions.
const MOVED: usize = 20_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let image = image();
    let fence = FenceBroker { id: 1, epoch: 1, why: "its process is gone".into() };
    let records = decide(&image, &fence);
    let moved = records.iter().map(|record| match record {
        MetadataRecord::Partitions { partitions, .. } => {
            partitions.iter().filter(|(_, it)| it.leader_epoch == 1).count()
        }
        _ => 0,
    });
    assert_eq!(moved.sum::<usize>(), MOVED, "the figures are of moving this many leaders");
    criterion.bench_function("decide on 20,000 leaders", |bench| bench.iter(|| decide(black_box(&image), &fence)));

    let entry = entry(&image, records);
    eprintln!("20,000 leaders move in {} bytes", entry.len());
    criterion.bench_function("replay 20,000 leaders", |bench| bench.iter(|| image.after(black_box(&entry)).unwrap()));
    let moved = image.after(&entry).expect("what was decided can be replayed");
    criterion.bench_function("find leaders to return", |bench| bench.iter(|| leaders_to_return(black_box(&moved), 10)));

    let away = led_by_others(&image);
    let elect = ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(leaders_to_return(&away, 10)) };
    criterion.bench_function("return 20,000 leaders", |bench| bench.iter(|| decide(black_box(&away), &elect)));

    let topic = image.topics().next().expect("topics were made").id;
    let isr = vec![(2, 1), (3, 1)];
    let proposal = ProposedIsr { topic, index: 1, leader_epoch: 0, partition_epoch: 0, isr, recovered: true };
    let alter = AlterPartition { broker: 2, broker_epoch: 1, partitions: vec![proposal] };
    criterion.bench_function("decide on and replay one ISR", |bench| {
        bench.iter(|| {
            let entry = self::entry(&image, decide(black_box(&image), &alter));
            image.after(&entry).unwrap()
        });
    });

    let bytes = snapshot::encode(&image);
    eprintln!("a snapshot of 200,000 partitions is {} bytes", bytes.len());
    criterion.bench_function("write a snapshot", |bench| bench.iter(|| snapshot::encode(black_box(&image))));
    criterion.bench_function("read a snapshot", |bench| bench.iter(|| snapshot::decode(black_box(&bytes)).unwrap()));
    criterion.final_summary();
}

/// 200 topics of 1,000 partitions. Broker 1 is the first replica of a tenth of the partitions, the others share the rest.
fn image() -> Image {
    let mut image = Image::default();
    let seat = TakeSeat { id: 1, epoch: 1, cluster_id: "bench".into(), features: FeatureLevels::OURS };
    replay(&mut image, decide(&Image::default(), &seat));
    for id in 1..=BROKERS {
        let uuid = Uuid([u8::try_from(id).expect("few brokers"); 16]);
        let features = FeatureLevels::OURS;
        let register = RegisterBroker { id, uuid, epoch: 1, endpoints: Vec::new(), rack: None, clean: true, features };
        let records = decide(&image, &register);
        replay(&mut image, records);
    }
    for topic in 0..TOPICS {
        let id = Uuid([topic + 1; 16]);
        let configs = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
        let made = MetadataRecord::Topic { id, name: format!("topic-{topic}"), internal: false, configs };
        let partitions = (0..PARTITIONS).map(|index| (index, PartitionRegistration::new(replicas(index)))).collect();
        replay(&mut image, vec![made, MetadataRecord::Partitions { topic: id, partitions }]);
    }
    image
}

/// What broker 1 should lead is led by the second replica, and broker 1 is in sync again.
fn led_by_others(image: &Image) -> Image {
    let mut away = image.clone();
    for topic in image.topics() {
        let of_first = (0..).zip(&topic.partitions).filter(|(_, partition)| partition.leader == 1);
        let partitions = of_first.map(|(index, partition)| {
            let leader = partition.replicas[1];
            (index, PartitionRegistration { leader, leader_epoch: 1, partition_epoch: 1, ..partition.clone() })
        });
        let partitions = partitions.collect();
        replay(&mut away, vec![MetadataRecord::Partitions { topic: topic.id, partitions }]);
    }
    away
}

fn replicas(index: i32) -> Vec<i32> {
    let first = if index % 10 == 0 { 1 } else { 2 + (index - 1) % (BROKERS - 1) };
    (0..3).map(|nth| 1 + (first - 1 + nth) % BROKERS).collect()
}

fn replay(image: &mut Image, records: Vec<MetadataRecord>) {
    records.iter().for_each(|record| image.replay(record).expect("the bench's records fit"));
}

fn decide<C: Change>(image: &Image, change: &C) -> Vec<MetadataRecord> {
    let given = &mut Given { now_ms: 0, random: &mut || [0; 16], configs: &Rules };
    match change.decide(image, given) {
        Ok(decided) => decided.records,
        Err(error) => panic!("the bench asks for what can be done: {error}"),
    }
}

fn entry(image: &Image, records: Vec<MetadataRecord>) -> Vec<u8> {
    Entry { controller_epoch: 1, nonce: 0, previous: image.hash(), records }.encode().0
}

/// What a broker answers of a topic's configs, as text, as it does.
struct Rules;

impl ConfigRules for Rules {
    fn check(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn list_default(&self, _: &str) -> Option<String> {
        None
    }

    fn value(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<String> {
        configs.get(name).cloned()
    }

    fn check_broker(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}
