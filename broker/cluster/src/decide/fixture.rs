//! A cluster for the tests of decisions: every change that is decided is replayed at once, through bytes, as a broker would.

mod brokers;
mod lives;

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{
    AddPlugin, Change, ConfigRules, CreateTopics, CreateView, Given, NewBinding, NewPluginUse, NewTopic, Placement,
    TakeSeat,
};
use crate::metadata::batch::Entry;
use crate::metadata::{FeatureLevels, Image, OnError, PluginKinds, PluginLimits};

pub(super) use lives::register;

#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) image: Image,
    /// Stands in for randomness: counts.
    drawn: u128,
}

impl Cluster {
    /// With one broker of that id.
    pub(super) fn serving(id: i32) -> Self {
        let mut cluster = Self::default();
        cluster.done(&TakeSeat { id, epoch: 1, cluster_id: "test".into(), features: FeatureLevels::OURS });
        cluster.done(&register(id, 10));
        cluster
    }

    pub(super) fn topic(mut self, name: &str, partitions: i32) -> Self {
        self.create(name, partitions, &[], false);
        self
    }

    pub(super) fn topic_with(mut self, name: &str, configs: &[(&str, &str)]) -> Self {
        self.create(name, 1, configs, false);
        self
    }

    pub(super) fn internal_topic(mut self, name: &str) -> Self {
        self.create(name, 1, &[], true);
        self
    }

    /// The next version of a plugin that is a gate and a view.
    pub(super) fn plugin(self, name: &str) -> Self {
        self.plugin_of(name, PluginKinds { gate: true, view: true })
    }

    pub(super) fn gate_plugin(self, name: &str) -> Self {
        self.plugin_of(name, PluginKinds { gate: true, view: false })
    }

    pub(super) fn view_plugin(self, name: &str) -> Self {
        self.plugin_of(name, PluginKinds { gate: false, view: true })
    }

    /// Seen through the plugin `select`.
    pub(super) fn view(mut self, name: &str, base: &str) -> Self {
        if self.image.plugin_latest("select").is_none() {
            self = self.plugin("select");
        }
        let view = CreateView {
            name: name.into(),
            base: base.into(),
            binding: new_binding("select"),
            allow_unfiltered: false,
        };
        self.done(&view);
        self
    }

    /// Decides and replays.
    pub(super) fn decide<C: Change>(&mut self, change: &C) -> Result<C::Answer, C::Error> {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            drawn.to_be_bytes()
        };
        let decided = change.decide(&self.image, &mut Given { now_ms: 1_000, random: &mut random, configs: &Rules })?;
        let entry = Entry { controller_epoch: 1, nonce: 0, previous: self.image.hash(), records: decided.records };
        self.image = self.image.after(&entry.encode().0).expect("what was decided can be replayed");
        Ok(decided.answer)
    }

    fn done<C: Change<Error: Debug>>(&mut self, change: &C) -> C::Answer {
        self.decide(change).expect("the fixture asks for what can be done")
    }

    fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)], internal: bool) {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let placement = Placement::Count { partitions, replication_factor: 1 };
        let topic = NewTopic { name: name.into(), placement, configs, internal };
        let answers = self.done(&CreateTopics { topics: vec![topic], validate_only: false });
        answers.into_iter().for_each(|(_, made)| assert!(made.is_ok(), "{made:?}"));
    }

    fn plugin_of(mut self, name: &str, kinds: PluginKinds) -> Self {
        let version = self.image.plugin_version_last(name) + 1;
        let digest = [u8::try_from(version).expect("few versions"); 32];
        self.done(&AddPlugin { name: name.into(), version: None, digest, size: 10, kinds });
        self
    }
}

pub(super) fn new_binding(plugin: &str) -> NewBinding {
    NewBinding { chain: vec![plugin_use(plugin, None, "{}")], limits: PluginLimits::default(), on_error: OnError::Fail }
}

pub(super) fn plugin_use(plugin: &str, version: Option<u32>, config: &str) -> NewPluginUse {
    NewPluginUse { plugin: plugin.into(), version, config: config.into() }
}

/// The topic's configs as `name=value`.
pub(super) fn configs(image: &Image, topic: &str) -> Vec<String> {
    let topic = image.topic(topic).expect("a topic of the fixture");
    topic.configs.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// A number and a list.
struct Rules;

impl ConfigRules for Rules {
    fn check(&self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "retention.ms" => value.parse::<i64>().map(drop).map_err(|_| format!("{value:?} is not a number")),
            "cleanup.policy" if value.is_empty() => Err(format!("{value:?} is not a policy")),
            "cleanup.policy" | "sluice.flush.mode" => Ok(()),
            "min.insync.replicas" => value.parse::<usize>().map(drop).map_err(|_| format!("{value:?} is not a number")),
            "unclean.leader.election.enable" => {
                value.parse::<bool>().map(drop).map_err(|_| format!("{value:?} is neither true nor false"))
            }
            _ => Err("there is no such config".to_owned()),
        }
    }

    fn list_default(&self, name: &str) -> Option<String> {
        (name == "cleanup.policy").then(|| "delete".to_owned())
    }

    fn value(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<String> {
        let default = match name {
            "cleanup.policy" => "delete",
            "min.insync.replicas" => "1",
            "sluice.flush.mode" => "group",
            "unclean.leader.election.enable" => "false",
            _ => return None,
        };
        Some(configs.get(name).map_or(default, String::as_str).to_owned())
    }

    fn check_broker(&self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "leader.replication.throttled.rate" => {
                value.parse::<i64>().map(drop).map_err(|_| format!("{value:?} is not a number"))
            }
            _ => Err("there is no such config".to_owned()),
        }
    }
}
