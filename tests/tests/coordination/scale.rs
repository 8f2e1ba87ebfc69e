//! What large clusters cost in metadata alone: topics made, a controller killed, leaders handed over, a broker that is new. As many
//! partitions as `SLUICE_SCALE_PARTITIONS` says, ten thousand if it says nothing.

use std::time::{Duration, Instant};

use sluice_cluster::Image;

use crate::broker::{Broker, Settings};
use crate::ground::{Client, Ground};
use crate::switchboard::Switchboard;

/// Partitions of one topic.
const TOPIC: i32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_on_zookeeper() {
    let partitions = std::env::var("SLUICE_SCALE_PARTITIONS").ok().and_then(|count| count.parse().ok());
    let topics = partitions.unwrap_or(10_000) / TOPIC;
    let server = sluice_tests::ZooKeeper::start();
    let ground = Ground::zookeeper(&server, "scale");
    let board = Switchboard::default();
    let mut brokers: Vec<(Broker, Client)> = Vec::new();
    for id in 1..=3 {
        brokers.push(start(&ground, &board, id).await);
    }

    let since = Instant::now();
    for n in 0..topics {
        brokers[0].0.create_replicated_topic(&format!("topic-{n}"), TOPIC, 3).await.expect("it can be made");
    }
    let made = |image: &Image| image.partition_count() == usize::try_from(topics * TOPIC).unwrap_or_default();
    for (broker, _) in &brokers {
        broker.knows("all of it", made).await;
    }
    eprintln!("{} partitions made within {:?}", topics * TOPIC, since.elapsed());

    let at = brokers.iter().position(|(broker, _)| broker.metadata.is_controller()).expect("one decides");
    let (killed, client) = brokers.remove(at);
    let id = killed.id();
    let since = Instant::now();
    client.freeze();
    killed.crashes();
    for (broker, _) in &brokers {
        broker.knows("its leaders are elsewhere", |image| leads(image, id) == 0).await;
    }
    let elsewhere = since.elapsed();
    eprintln!("the controller killed, and its leaders elsewhere within {elsewhere:?}");
    assert!(elsewhere < Duration::from_secs(10), "{elsewhere:?}");

    let since = Instant::now();
    let (new, client) = start(&ground, &board, 4).await;
    assert!(made(&new.metadata.image()));
    eprintln!("a new broker registered within {:?}", since.elapsed());
    brokers.push((new, client));

    let leaving = &brokers[0].0;
    let since = Instant::now();
    leaving.metadata.hand_over(Duration::from_secs(30)).await;
    eprintln!("its leaders handed over within {:?}", since.elapsed());
    assert_eq!(leads(&leaving.metadata.image(), leaving.id()), 0);
    for (broker, _) in brokers {
        broker.stops().await;
    }
}

async fn start(ground: &Ground, board: &Switchboard, id: i32) -> (Broker, Client) {
    let client = ground.client().await;
    let settings = Settings::new(&client.coordinator, id, &ground.data(&id.to_string()));
    (settings.on(board).start().await, client)
}

fn leads(image: &Image, id: i32) -> usize {
    image.topics().flat_map(|topic| &topic.partitions).filter(|partition| partition.leader == id).count()
}
