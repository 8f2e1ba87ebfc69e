//! The metadata log seen as data: what its records are ([`record`]), how a batch of them is written and chained to the one
//! before ([`batch`], in the bytes of [`sealed`]), what they add up to ([`Image`]), and the same sum as a [`snapshot`].

pub mod batch;
mod binding;
mod image;
mod names;
mod record;
pub mod sealed;
pub mod snapshot;

pub use binding::{Binding, OnError, PluginKinds, PluginLimits, PluginUse};
pub use image::{BrokerRegistration, Image, Plugin, ReplayError, Source, Topic, View};
pub(crate) use names::fold;
pub use record::{BrokerRecord, Endpoint, FeatureLevels, MetadataRecord, PartitionRegistration};
