//! The one place where a name or a topic id becomes a topic or a view.
//!
//! Every handler asks here, once for each topic of its request, and from then on works with what it got: a view is never taken
//! for a topic further in. A view whose base is gone is gone as well: the base made again under its name is another topic.

use std::sync::Arc;

use sluice_cluster::{Image, Source as Named, Topic, View};
use sluice_protocol::{ErrorCode, Uuid};

/// What a name or a topic id stands for.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A topic, with records of its own.
    Topic(Arc<Topic>),
    /// A topic seen through plugins.
    View {
        /// The view.
        view: Arc<View>,
        /// The topic it shows.
        base: Arc<Topic>,
    },
}

impl Source {
    /// What a name of the metadata stands for. A view without its base stands for nothing.
    pub(crate) fn of(image: &Image, named: Named<'_>) -> Result<Self, NotFound> {
        match named {
            Named::Topic(topic) => Ok(Self::Topic(Arc::clone(topic))),
            Named::View(view) => {
                let base = image.topic_by_id(view.base).ok_or(NotFound::Id)?;
                Ok(Self::View { view: Arc::clone(view), base: Arc::clone(base) })
            }
        }
    }

    /// The topic whose log is read: itself, or a view's base.
    pub(crate) fn base(&self) -> &Arc<Topic> {
        match self {
            Self::Topic(topic) | Self::View { base: topic, .. } => topic,
        }
    }

    /// The name clients know it by.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Topic(topic) => &topic.name,
            Self::View { view, .. } => &view.name,
        }
    }

    /// The id clients know it by.
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::Topic(topic) => topic.id,
            Self::View { view, .. } => view.id,
        }
    }
}

/// What a client asked for by name or by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// A name.
    Name(&'a str),
    /// A topic id (KIP-516).
    Id(Uuid),
}

impl<'a> Wanted<'a> {
    /// The one of the two that the request's version has.
    pub(crate) fn of(version: i16, ids_from: i16, name: &'a str, id: Uuid) -> Self {
        if version < ids_from { Self::Name(name) } else { Self::Id(id) }
    }
}

/// Nothing goes by that name or id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// No topic or view has that name.
    Name,
    /// No topic or view has that id, or the view's base is gone.
    Id,
}

impl NotFound {
    /// Kafka's answer: clients that asked by name look it up again by name, those with an id forget the id.
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::Name => ErrorCode::UnknownTopicOrPartition,
            Self::Id => ErrorCode::UnknownTopicId,
        }
    }
}

/// Resolves what a client wants against the metadata as it stands.
pub(crate) fn resolve(image: &Image, wanted: Wanted<'_>) -> Result<Source, NotFound> {
    let named = match wanted {
        Wanted::Name(name) => image.resolve(name).ok_or(NotFound::Name)?,
        Wanted::Id(id) => image.resolve_id(id).ok_or(NotFound::Id)?,
    };
    Source::of(image, named)
}
