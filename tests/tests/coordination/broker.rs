//! A broker as far as coordination is concerned: an identity, a data folder, and what it is asked to change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::coordination::{
    BrokerIdentity, CoordinationConfig, Coordinator, Joined, Metadata, Registering, ReturnLeaders, SnapshotEvery,
    Standing, StartError, SubmitError, join,
};
use sluice_cluster::decide::{
    AddPlugin, AlterPartition, ConfigRules, CreateTopics, NewTopic, Placement, TooManyPartitions, TopicCreated,
};
use sluice_cluster::partition::ProposedIsr;
use sluice_cluster::{Endpoint, FeatureLevels, Image, PluginKinds};
use sluice_protocol::Uuid;

use crate::soon;
use crate::switchboard::Switchboard;

/// Who starts where.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) identity: BrokerIdentity,
    pub(crate) registering: Registering,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) connection_timeout: Duration,
    pub(crate) snapshot_every: SnapshotEvery,
    pub(crate) return_leaders: Option<ReturnLeaders>,
    /// How it reaches the others, and they it.
    pub(crate) switchboard: Switchboard,
}

/// One that serves.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) metadata: Metadata,
    pub(crate) cluster_id: String,
    id: i32,
    switchboard: Switchboard,
}

impl Settings {
    /// Broker `id` with a data folder that nobody has used.
    pub(crate) fn new(coordinator: &Arc<dyn Coordinator>, id: i32, folder: &Path) -> Self {
        let endpoint =
            Endpoint { listener: "SSL".into(), host: "localhost".into(), port: 9093, security_protocol: "SSL".into() };
        let identity = BrokerIdentity { id, uuid: Uuid([u8::try_from(id).expect("small ids"); 16]), cluster_id: None };
        Self {
            coordinator: Arc::clone(coordinator),
            identity,
            registering: Registering {
                endpoints: vec![endpoint],
                rack: None,
                clean: true,
                features: FeatureLevels::OURS,
            },
            folder: folder.to_owned(),
            connection_timeout: Duration::from_secs(30),
            snapshot_every: SnapshotEvery::default(),
            return_leaders: None,
            switchboard: Switchboard::default(),
        }
    }

    pub(crate) fn on(mut self, switchboard: &Switchboard) -> Self {
        self.switchboard = switchboard.clone();
        self
    }

    /// Joins, and can be called, but is not registered: as while it opens its logs.
    pub(crate) async fn try_join(&self) -> Result<(Metadata, Joined), StartError> {
        let config = CoordinationConfig {
            coordinator: Arc::clone(&self.coordinator),
            connection_timeout: self.connection_timeout,
            seen_path: self.folder.join("metadata.seen"),
            linger: CoordinationConfig::LINGER,
            snapshot_every: self.snapshot_every,
            return_leaders: self.return_leaders,
            peers: self.switchboard.line_of(self.identity.id),
        };
        let joining = join(config, self.identity.clone(), Arc::new(AnyConfig));
        let (metadata, joined) = soon("a join that succeeds or fails", joining).await?;
        self.switchboard.plug_in(self.identity.id, &metadata);
        Ok((metadata, joined))
    }

    pub(crate) async fn try_start(&self) -> Result<Broker, StartError> {
        let (metadata, joined) = self.try_join().await?;
        soon("a registration that succeeds or fails", metadata.register(self.registering.clone())).await?;
        let (id, switchboard) = (self.identity.id, self.switchboard.clone());
        Ok(Broker { metadata, cluster_id: joined.cluster_id, id, switchboard })
    }

    /// Starts, and remembers the cluster as a data folder does.
    pub(crate) async fn start(&mut self) -> Broker {
        let broker = self.try_start().await.expect("it can start");
        self.identity.cluster_id = Some(broker.cluster_id.clone());
        broker
    }
}

impl Broker {
    pub(crate) async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
    ) -> Result<TopicCreated, SubmitError<TooManyPartitions>> {
        self.create_replicated_topic(name, partitions, 1).await
    }

    pub(crate) async fn create_replicated_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
    ) -> Result<TopicCreated, SubmitError<TooManyPartitions>> {
        let placement = Placement::Count { partitions, replication_factor };
        let topic = NewTopic { name: name.into(), placement, configs: Vec::new(), internal: false };
        let answers = self.metadata.submit(CreateTopics { topics: vec![topic], validate_only: false }).await?;
        Ok(answers.into_iter().next().expect("an answer a topic").1.expect("the topic can be made"))
    }

    /// Says, as a leader does of a follower that has caught up, that another broker is in sync with what this one leads.
    pub(crate) async fn takes_in(&self, other: i32, life: i64, topic: &str) {
        let image = self.metadata.image();
        let topic = image.topic(topic).expect("a topic of that name");
        let partitions = (0..).zip(&topic.partitions).filter(|(_, partition)| {
            partition.leader == self.id && partition.replicas.contains(&other) && !partition.isr.contains(&other)
        });
        let epoch = |id: i32| image.broker(id).expect("members of an ISR are known").epoch;
        let proposed = partitions.map(|(index, partition)| ProposedIsr {
            topic: topic.id,
            index,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: partition.isr.iter().map(|member| (*member, epoch(*member))).chain([(other, life)]).collect(),
            recovered: true,
        });
        let proposed: Vec<ProposedIsr> = proposed.collect();
        assert!(!proposed.is_empty(), "it leads something that the other one has");
        let alter = AlterPartition { broker: self.id, broker_epoch: self.epoch(), partitions: proposed };
        let answers = self.metadata.submit(alter).await.expect("it is decided");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    pub(crate) async fn add_plugin(&self, name: &str) {
        let kinds = PluginKinds { gate: true, view: true };
        let plugin = AddPlugin { name: name.into(), version: None, digest: [7; 32], size: 1, kinds };
        self.metadata.submit(plugin).await.expect("the plugin can be added");
    }

    /// Until it serves, after whatever happened.
    pub(crate) async fn serves(&self) {
        self.stands("it serves", |standing| matches!(standing, Standing::Serving { .. })).await;
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// The epoch of its present life.
    pub(crate) fn epoch(&self) -> i64 {
        self.metadata.broker_epoch().expect("it serves")
    }

    /// Until its image is so.
    pub(crate) async fn knows(&self, what: &str, so: impl Fn(&Image) -> bool) {
        let mut changed = self.metadata.changed();
        soon(what, changed.wait_for(|_| so(&self.metadata.image()))).await.expect("it follows the log");
    }

    /// Until it is in doubt.
    pub(crate) async fn doubts(&self) {
        self.stands("it is in doubt", |standing| matches!(standing, Standing::Doubtful { .. })).await;
    }

    pub(crate) async fn stops(self) {
        soon("it stops", self.metadata.shutdown()).await;
        self.switchboard.unplug(self.id);
        assert_eq!(*self.metadata.standing().borrow(), Standing::Stopped);
    }

    /// Ends as a crash does: nobody is told but who held a connection. Its session stays until the service ends it.
    pub(crate) fn crashes(self) {
        self.switchboard.unplug(self.id);
    }

    async fn stands(&self, what: &str, so: impl FnMut(&Standing) -> bool) {
        soon(what, self.metadata.standing().wait_for(so)).await.expect("it says how it stands");
    }
}

struct AnyConfig;

impl ConfigRules for AnyConfig {
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
