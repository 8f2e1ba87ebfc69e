//! Several brokers in this process, over real sockets: one is killed, and what was acknowledged is there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_protocol::records::Compression;
use tokio::time::sleep;

use super::*;
use crate::broker::CompilerCommand;
use crate::client::{Client, ClientConfig, ClientTls, Consumer, NewRecord, NewTopic, Producer, Start, TopicInfo};
use crate::config::from_flags;
use crate::dev::cluster::Cluster;

/// Nothing here takes long; what takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(50);

struct Setting {
    cluster: Cluster,
    tls: ClientTls,
    _folder: tempfile::TempDir,
}

async fn start(brokers: u16) -> Setting {
    let logging = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO);
    // Other tests of this crate may have been first.
    let _ = logging.try_init();
    let folder = tempfile::tempdir().expect("a folder");
    let set = from_flags(&["sluice.plugin.threads=1".to_owned()]).expect("a setting");
    let Prepared { configs, store, certificates } =
        prepare(folder.path(), brokers, Ports::ANY, &set).expect("prepares");
    let compiler = CompilerCommand(vec!["/nothing/is/compiled/here".into()]);
    let (mut cluster, _halts) = Cluster::new(configs, &store, compiler);
    cluster.start().await.expect("starts");
    let identity = Some((certificates.client.clone(), certificates.client));
    Setting { cluster, tls: ClientTls { ca: certificates.ca, identity }, _folder: folder }
}

impl Setting {
    async fn client(&self) -> Client {
        let config = ClientConfig::new(bootstrap(&self.cluster), Some(self.tls.clone()));
        Client::connect(config).await.expect("connects")
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// Waits until the topic is as it should be.
async fn until(client: &mut Client, topic: &str, what: &str, is: impl Fn(&TopicInfo) -> bool) -> TopicInfo {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Ok(found) = client.topic(topic).await {
            if is(&found) {
                return found;
            }
            assert!(Instant::now() < give_up, "{what}: {found:?}");
        }
        assert!(Instant::now() < give_up, "{what}: nobody answers");
        sleep(LOOK_EVERY).await;
    }
}

fn is_whole(topic: &TopicInfo) -> bool {
    topic.partitions.iter().all(|partition| partition.isr.len() == 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_one_after_the_other_and_what_was_acknowledged_is_there() {
    let mut setting = start(3).await;
    let mut client = setting.client().await;
    let new = NewTopic { name: "t".to_owned(), partitions: Some(3), ..NewTopic::default() };
    client.create_topic(&new).await.expect("is made");
    let mut topic = until(&mut client, "t", "three replicas", is_whole).await;
    let mut leaders: Vec<i32> = topic.partitions.iter().map(|partition| partition.leader).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 2, 3], "each broker leads one");
    let mut producer = Producer::new(&mut client, Compression::None).await.expect("a producer id");
    let mut acknowledged = 0_u32;
    for down in [1, 2, 3] {
        for step in 0..30 {
            if step == 10 {
                setting.cluster.kill(down);
            }
            let value = Some(Bytes::from(acknowledged.to_string()));
            // What is old is deleted: a closed segment does not outlive its records' time.
            let record = NewRecord { value, timestamp: now_ms(), ..NewRecord::default() };
            let partition = step % 3;
            producer.send(&mut client, &mut topic, partition, &[record]).await.expect("is acknowledged");
            acknowledged += 1;
        }
        until(&mut client, "t", "the others lead", |topic| {
            topic.partitions.iter().all(|partition| partition.leader != down && !partition.isr.contains(&down))
        })
        .await;
        setting.cluster.start().await.expect("comes back");
        topic = until(&mut client, "t", "all replicas in sync again", is_whole).await;
    }
    let mut consumer = Consumer::new(&mut client, topic, &[], Start::Beginning).await.expect("positions");
    let mut read = Vec::new();
    let give_up = Instant::now() + PATIENCE;
    while read.len() < acknowledged as usize || !consumer.is_at_end() {
        for record in consumer.poll(&mut client).await.expect("reads") {
            let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("a number");
            read.push(value.parse::<u32>().expect("a number"));
        }
        assert!(Instant::now() < give_up, "{} of {acknowledged} are there: {consumer:?}", read.len());
    }
    read.sort_unstable();
    assert_eq!(read, (0..acknowledged).collect::<Vec<_>>(), "each once");
    assert!(setting.cluster.stop().await, "all end in order");
}
