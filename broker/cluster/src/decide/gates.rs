//! Gates: at most one binding on a topic's produce path.

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::bindings::{As, BindingError, NewBinding, bind, is_same};
use super::{Change, Decided, Given};
use crate::metadata::{Binding, Image, MetadataRecord, Source, Topic};

/// Binds a chain to a topic's produce path, in place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetGate {
    /// The topic's name.
    pub topic: String,
    /// The gate.
    pub binding: NewBinding,
}

/// Takes a topic's gate away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveGate {
    /// The topic's name.
    pub topic: String,
}

/// Why a gate is not set or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GateError {
    /// No topic has this name.
    #[error("there is no topic {topic}")]
    UnknownTopic {
        /// As asked.
        topic: String,
    },
    /// Nothing is produced to a view.
    #[error("{view} is a view of topic {base}; a gate belongs to a topic")]
    IsView {
        /// As asked.
        view: String,
        /// Its topic's id.
        base: Uuid,
    },
    /// What brokers write for themselves passes no plugin.
    #[error("{topic} is the brokers' own topic")]
    Internal {
        /// As asked.
        topic: String,
    },
    /// There is no gate to remove.
    #[error("topic {topic} has no gate")]
    NoGate {
        /// As asked.
        topic: String,
    },
    /// The plugins can't be bound so.
    #[error(transparent)]
    Binding(#[from] BindingError),
}

impl Change for SetGate {
    const KIND: u16 = 7;
    type Answer = Binding;
    type Error = GateError;

    /// Answers the binding; setting what is set already changes nothing, not even the revision.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<Binding>, GateError> {
        let topic = find(image, &self.topic)?;
        let binding = bind(image, &self.binding, As::Gate)?;
        if let Some(known) = topic.gate.as_deref().filter(|known| is_same(known, &binding)) {
            return Ok(Decided::new(Vec::new(), known.clone()));
        }
        Ok(Decided::new(vec![MetadataRecord::Gate { topic: topic.id, binding: binding.clone() }], binding))
    }
}

impl Change for RemoveGate {
    const KIND: u16 = 8;
    type Answer = Uuid;
    type Error = GateError;

    /// Answers the topic's id.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<Uuid>, GateError> {
        let topic = find(image, &self.topic)?;
        if topic.gate.is_none() {
            return Err(GateError::NoGate { topic: self.topic.clone() });
        }
        Ok(Decided::new(vec![MetadataRecord::GateRemoved { topic: topic.id }], topic.id))
    }
}

fn find<'a>(image: &'a Image, name: &str) -> Result<&'a Topic, GateError> {
    match image.resolve(name) {
        Some(Source::Topic(topic)) if topic.internal => Err(GateError::Internal { topic: name.to_owned() }),
        Some(Source::Topic(topic)) => Ok(topic),
        Some(Source::View(view)) => Err(GateError::IsView { view: name.to_owned(), base: view.base }),
        None => Err(GateError::UnknownTopic { topic: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cluster, plugin_use};
    use super::super::{Limit, LimitOutOfRange, NewPluginUse};
    use super::*;
    use crate::metadata::{OnError, PluginLimits, PluginUse};

    #[test]
    fn a_gate_is_set_changed_and_removed() {
        let mut cluster = Cluster::serving(1).topic("orders", 1).plugin("redact").plugin("redact");
        let first = cluster.decide(&gate("orders", plugin_use("redact", Some(1), "{}"))).unwrap();
        assert_eq!((first.chain[0].version, first.revision), (1, 1));
        assert_eq!(cluster.decide(&gate("orders", plugin_use("redact", Some(1), "{}"))).unwrap(), first, "said twice");
        let second = cluster.decide(&gate("orders", plugin_use("redact", None, "{}"))).unwrap();
        assert_eq!((second.chain[0].version, second.revision), (2, 2), "the highest version, and a revision further");
        assert_eq!(cluster.image.topic("orders").unwrap().gate.as_deref(), Some(&second));
        cluster.decide(&RemoveGate { topic: "orders".into() }).unwrap();
        assert_eq!(cluster.image.topic("orders").unwrap().gate, None);
        let third = cluster.decide(&gate("orders", plugin_use("redact", None, "{}"))).unwrap();
        assert_eq!(third.revision, 3, "a revision never comes again");
    }

    #[test]
    fn gates_that_cannot_be() {
        let unknown = |version| BindingError::UnknownPlugin { plugin: "hash".into(), version };
        check(
            "no topic",
            gate("payments", plugin_use("redact", None, "{}")),
            GateError::UnknownTopic { topic: "payments".into() },
        );
        check(
            "internal",
            gate("__plugins", plugin_use("redact", None, "{}")),
            GateError::Internal { topic: "__plugins".into() },
        );
        check("no plugin", gate("orders", plugin_use("hash", None, "{}")), unknown(None).into());
        check("no such version", gate("orders", plugin_use("hash", Some(4), "{}")), unknown(Some(4)).into());
        let wrong = BindingError::WrongKind { plugin: "show".into(), version: 1, wanted: As::Gate };
        check("a view's plugin", gate("orders", plugin_use("show", None, "{}")), wrong.into());
        let long =
            BindingError::ConfigTooLong { plugin: "redact".into(), length: 49_153, max: PluginUse::CONFIG_BYTES_MAX };
        check("long config", gate("orders", plugin_use("redact", None, &" ".repeat(49_153))), long.into());
        let mut two = gate("orders", plugin_use("redact", None, "{}"));
        two.binding.chain.push(plugin_use("redact", None, "{}"));
        check("two plugins", two, BindingError::ChainLength { length: 2 }.into());
        let mut huge = gate("orders", plugin_use("redact", None, "{}"));
        huge.binding.limits.memory_bytes = 2 << 30;
        let limit = LimitOutOfRange { limit: Limit::MemoryBytes, value: 2 << 30, least: 1 << 20, most: 1 << 30 };
        check("memory of 2 GiB", huge, BindingError::Limit(limit).into());
    }

    #[test]
    fn a_view_has_no_gate() {
        let mut cluster = Cluster::serving(1).topic("orders", 1).plugin("redact").view("big", "orders");
        let base = cluster.image.topic("orders").unwrap().id;
        let refused = cluster.decide(&gate("big", plugin_use("redact", None, "{}")));
        assert_eq!(refused, Err(GateError::IsView { view: "big".into(), base }));
        let refused = cluster.decide(&RemoveGate { topic: "orders".into() });
        assert_eq!(refused, Err(GateError::NoGate { topic: "orders".into() }));
    }

    fn check(what: &str, gate: SetGate, why: GateError) {
        let mut cluster =
            Cluster::serving(1).topic("orders", 1).internal_topic("__plugins").plugin("redact").view_plugin("show");
        assert_eq!(cluster.decide(&gate), Err(why), "{what}");
    }

    fn gate(topic: &str, link: NewPluginUse) -> SetGate {
        let binding = NewBinding { chain: vec![link], limits: PluginLimits::default(), on_error: OnError::Fail };
        SetGate { topic: topic.into(), binding }
    }
}
