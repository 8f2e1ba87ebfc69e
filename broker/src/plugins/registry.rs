//! The chains in force on this broker: one for each gate and each view of the metadata.
//!
//! One task follows the metadata ([`Registry::follow`]) and is the only one to change what is in force. Readers take what is
//! there and pin it; a switch ends when the last pin of the old chain is gone, and only then does the change count as applied.
//! `gate set` waits for that: when it returns, no batch will enter the log through the old chain, or through none.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use sluice_cluster::decide::{AddPlugin, AddPluginError, PluginAdded};
use sluice_cluster::{Binding, Image, PluginKinds, PluginUse};
use sluice_plugin_host::{BindError, BindingName, Bound, BoundStats, Host, Kind, Limits, LoadError, Refusal, inspect};
use sluice_protocol::Uuid;
use tokio::sync::watch;
use tokio::time::Instant;

use super::chain::{Chain, Link, Pinned};
use super::marks::GateMarks;
use super::store::{Store, StoreError};
use super::threads::Places;
use crate::coordination::{Metadata, SubmitError};
use crate::partition::Manager;
use crate::slow;

/// What stands before a topic's log.
pub(crate) enum GateState {
    /// Nothing.
    None,
    /// A chain, pinned.
    Ready(Pinned),
    /// A chain is being made: see [`Registry::settled`].
    BeingMade,
    /// A gate is bound and cannot run here, for this reason.
    NotReady(String),
}

/// The chains in force, and the plugins to make more of them.
pub(crate) struct Registry {
    host: Arc<Host>,
    store: Arc<Store>,
    metadata: Metadata,
    partitions: Arc<Manager>,
    marks: Arc<GateMarks>,
    gates: ArcSwap<Slots>,
    views: ArcSwap<Slots>,
    /// How much of the metadata log is in force here.
    applied: watch::Sender<u64>,
}

/// By the id of the topic or view.
type Slots = HashMap<Uuid, Slot>;

#[derive(Clone)]
struct Slot {
    revision: u64,
    chain: Result<Arc<Chain>, String>,
    made: Instant,
}

impl Slot {
    /// Works, or failed so lately that trying again would only be work.
    fn is_settled(&self) -> bool {
        self.chain.is_ok() || self.made.elapsed() < RETRY_AFTER
    }
}

/// Why a binding does not run that the metadata has and this broker has not come to yet.
const BEING_SET_UP: &str = "it is being set up";

/// How long a binding that could not be made is left alone: its plugin may have to be compiled for each try.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Bindings made at a time: the host compiles one plugin at a time anyway, the others load what is compiled.
const PREPARED_AT_A_TIME: usize = 8;

/// Why a binding does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("plugin `{plugin}` version {version}: {cause}")]
    Store {
        plugin: String,
        version: u32,
        #[source]
        cause: StoreError,
    },
    #[error("plugin `{plugin}` version {version}: {cause}")]
    Load {
        plugin: String,
        version: u32,
        #[source]
        cause: LoadError,
    },
    #[error("plugin `{plugin}` version {version}: {cause}")]
    Bind {
        plugin: String,
        version: u32,
        #[source]
        cause: BindError,
    },
    #[error("the broker is shutting down")]
    Stopped,
}

/// Why a plugin was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("it cannot be loaded: {0}")]
    Load(#[from] LoadError),
    #[error("it could not be stored: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Submit(#[from] SubmitError<AddPluginError>),
    #[error("the broker is shutting down")]
    Stopped,
}

impl Registry {
    pub(crate) fn new(
        host: Arc<Host>,
        store: Arc<Store>,
        metadata: Metadata,
        partitions: Arc<Manager>,
        marks: Arc<GateMarks>,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            store,
            metadata,
            partitions,
            marks,
            gates: ArcSwap::default(),
            views: ArcSwap::default(),
            applied: watch::Sender::new(0),
        })
    }

    /// The gate of a topic whose mark is set.
    pub(crate) fn gate(&self, topic: Uuid) -> GateState {
        loop {
            let chain = match self.gates.load().get(&topic) {
                None => return GateState::BeingMade,
                Some(Slot { chain: Err(why), .. }) => return GateState::NotReady(why.clone()),
                Some(Slot { chain: Ok(chain), .. }) => Arc::clone(chain),
            };
            let pinned = Pinned::new(&chain);
            // Between the look and the pin it may have been taken out of force, and its switch not have waited for us.
            if is_in_force(&self.gates.load(), topic, &chain) {
                return GateState::Ready(pinned);
            }
        }
    }

    /// The chain of a view, if it can run here.
    pub(crate) fn view(&self, view: Uuid) -> Option<Pinned> {
        match self.views.load().get(&view)? {
            Slot { chain: Ok(chain), .. } => Some(Pinned::new(chain)),
            Slot { chain: Err(_), .. } => None,
        }
    }

    /// The number of the first entry of the metadata log of which this is not so.
    pub(crate) fn in_force(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Waits until what the metadata says now is in force here.
    pub(crate) async fn settled(&self) {
        let wanted = self.metadata.image().next_seq();
        let mut applied = self.applied.subscribe();
        // The sender lives as long as this registry, so it cannot have gone.
        let _ = applied.wait_for(|seq| *seq >= wanted).await;
    }

    /// Follows the metadata until it ends. What could not be made is tried again from time to time.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changed = self.metadata.changed();
        loop {
            changed.mark_unchanged();
            self.apply(&self.metadata.image()).await;
            tokio::select! {
                changed = changed.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(RETRY_AFTER), if self.has_failed() => {}
            }
        }
    }

    fn has_failed(&self) -> bool {
        [self.gates.load(), self.views.load()].iter().any(|slots| slots.values().any(|slot| slot.chain.is_err()))
    }

    /// Puts in force what the metadata says. Returns when the chains that were replaced are out of use.
    pub(crate) async fn apply(&self, image: &Image) {
        let gates = image.topics().filter_map(|topic| Some((topic.id, topic.name.clone(), topic.gate.clone()?)));
        let views = image.views().map(|view| (view.id, view.name.clone(), Arc::clone(&view.binding)));
        let new_gates = self.slots(Kind::Gate, &self.gates.load_full(), gates.collect()).await;
        let new_views = self.slots(Kind::View, &self.views.load_full(), views.collect()).await;
        let gated: Vec<Uuid> = new_gates.keys().copied().collect();
        // A mark goes before its slot does: who finds a mark and no chain is told to come again.
        self.marks.only(&gated, image.next_seq());
        let old_gates = self.gates.swap(Arc::new(new_gates));
        // Against pins: see `Pinned::new`.
        fence(Ordering::SeqCst);
        self.views.store(Arc::new(new_views));
        for topic in &gated {
            self.marks.set(*topic, image.next_seq());
        }
        self.marks.retain(|topic| image.topic_by_id(topic).is_some());
        // A batch that saw the mark before it was set holds the partition's lock now, if it is not in the log already.
        self.partitions.wait_for_appends(&gated);
        for (topic, slot) in old_gates.iter() {
            if let Ok(chain) = &slot.chain
                && !is_in_force(&self.gates.load(), *topic, chain)
            {
                chain.drained().await;
            }
        }
        self.applied.send_replace(image.next_seq());
    }

    /// The slots that the metadata asks for: what is in force already is taken over, the rest is made side by side.
    async fn slots(&self, kind: Kind, old: &Slots, bindings: Vec<(Uuid, String, Arc<Binding>)>) -> Slots {
        let slots = bindings.into_iter().map(|(id, name, binding)| async move {
            if let Some(slot) = old.get(&id).filter(|slot| slot.revision == binding.revision && slot.is_settled()) {
                return (id, slot.clone());
            }
            let chain = self.prepare(kind, &name, &binding).await.map_err(|error| {
                tracing::error!(%name, %error, "a binding cannot run here");
                error.to_string()
            });
            (id, Slot { revision: binding.revision, chain, made: Instant::now() })
        });
        futures::stream::iter(slots).buffer_unordered(PREPARED_AT_A_TIME).collect().await
    }

    /// Makes a chain of a binding. Also how `gate set` and `view create` learn, before anything is written, whether it works.
    pub(crate) async fn prepare(&self, kind: Kind, name: &str, binding: &Binding) -> Result<Arc<Chain>, PrepareError> {
        let binding_name = BindingName::new(format!(
            "{}:{name}",
            match kind {
                Kind::Gate => "gate",
                Kind::View => "view",
            }
        ));
        let mut links = Vec::with_capacity(binding.chain.len());
        for wanted in &binding.chain {
            let bound = self.bind(kind, wanted, binding, binding_name.clone()).await?;
            links.push(Link { plugin: format!("{} v{}", wanted.plugin, wanted.version), bound });
        }
        let places = Places::new(Arc::clone(&self.host), binding_name);
        Ok(Chain::new(binding.on_error, links, places))
    }

    async fn bind(
        &self,
        kind: Kind,
        wanted: &PluginUse,
        binding: &Binding,
        name: BindingName,
    ) -> Result<Bound, PrepareError> {
        let (plugin, version) = (wanted.plugin.clone(), wanted.version);
        let wasm = self.store.read(wanted.digest).await.map_err(|cause| PrepareError::Store {
            plugin: plugin.clone(),
            version,
            cause,
        })?;
        let (host, config, digest) = (Arc::clone(&self.host), wanted.config.clone(), wanted.digest);
        let limits = limits(binding);
        let bound = slow::aside(move || {
            let loaded = host.load(digest, &wasm).map_err(|cause| PrepareError::Load {
                plugin: plugin.clone(),
                version,
                cause,
            })?;
            host.bind(&loaded, kind, &config, limits, name).map_err(|cause| PrepareError::Bind {
                plugin,
                version,
                cause,
            })
        });
        bound.await.unwrap_or(Err(PrepareError::Stopped))
    }

    /// Takes a plugin in: checked, compiled once, stored, and written into the metadata.
    pub(crate) async fn push(&self, name: String, wasm: bytes::Bytes) -> Result<PluginAdded, PushError> {
        let manifest = inspect(&wasm)?;
        let digest = Sha256::digest(&wasm).into();
        let (host, compiled) = (Arc::clone(&self.host), wasm.clone());
        slow::aside(move || host.load(digest, &compiled)).await.ok_or(PushError::Stopped)??;
        self.store.write(digest, &wasm).await?;
        let change = AddPlugin {
            name,
            version: None,
            digest,
            size: wasm.len() as u64,
            kinds: PluginKinds { gate: manifest.kinds.gate, view: manifest.kinds.view },
        };
        Ok(self.metadata.submit(change).await?)
    }

    /// What the chains in force have done, each with its binding's name.
    pub(crate) fn stats(&self) -> Vec<(Kind, Uuid, BoundStats)> {
        let of = |kind, slots: &Slots| {
            let chains = slots.iter().filter_map(|(id, slot)| Some((*id, slot.chain.as_ref().ok()?)));
            chains
                .flat_map(|(id, chain)| chain.links().iter().map(move |link| (kind, id, link.bound.stats())))
                .collect::<Vec<_>>()
        };
        let mut stats = of(Kind::Gate, &self.gates.load());
        stats.extend(of(Kind::View, &self.views.load()));
        stats
    }

    /// Why a binding does not run here, if it does not.
    pub(crate) fn why_not_ready(&self, kind: Kind, id: Uuid) -> Option<String> {
        let slots = match kind {
            Kind::Gate => self.gates.load(),
            Kind::View => self.views.load(),
        };
        match slots.get(&id) {
            // Another broker was asked for it, and this one is about to follow.
            None => Some(BEING_SET_UP.to_owned()),
            Some(slot) => slot.chain.as_ref().err().cloned(),
        }
    }
}

fn is_in_force(slots: &Slots, id: Uuid, chain: &Arc<Chain>) -> bool {
    slots.get(&id).is_some_and(|slot| slot.chain.as_ref().is_ok_and(|current| Arc::ptr_eq(current, chain)))
}

/// Limits as the metadata has them, as the host takes them.
fn limits(binding: &Binding) -> Limits {
    let given = &binding.limits;
    Limits {
        memory_bytes: usize::try_from(given.memory_bytes).unwrap_or(usize::MAX),
        cpu: Duration::from_millis(given.cpu_ms.into()),
        wall: Duration::from_millis(given.wall_ms.into()),
        output_bytes: usize::try_from(given.output_bytes).unwrap_or(usize::MAX),
        log_bytes: usize::try_from(given.log_bytes_per_second).unwrap_or(usize::MAX),
        metric_names: usize::try_from(given.metric_names).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}
