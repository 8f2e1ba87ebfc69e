//! Views: read-only topics that are another one seen through plugins. A view binds to the base's id, so a topic made again under
//! the base's name is not shown by it, and a view made again has a new id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::bindings::{As, BindingError, NewBinding, bind, is_same};
use super::name::check_not_reserved;
use super::topics::{CreateTopicError, SourceKind, check_free};
use super::{Change, Decided, Given};
use crate::metadata::{Binding, Image, MetadataRecord, OnError, Source, View};

/// Makes a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateView {
    /// Its name, in the namespace of topics.
    pub name: String,
    /// The topic it shows.
    pub base: String,
    /// The plugins it is seen through.
    pub binding: NewBinding,
    /// Records may be shown unseen by the plugin when that fails; needed for [`OnError::Pass`].
    pub allow_unfiltered: bool,
}

/// Changes what a view is seen through: plugin, configuration, limits, error policy. Its id stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterView {
    /// Its name.
    pub name: String,
    /// The plugins it is seen through from now on.
    pub binding: NewBinding,
}

/// Removes a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveView {
    /// Its name.
    pub name: String,
}

/// Why a view is not made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ViewError {
    /// The name can't be the new view's.
    #[error(transparent)]
    Name(#[from] CreateTopicError),
    /// No topic has the base's name.
    #[error("there is no topic {base}")]
    UnknownBase {
        /// As asked.
        base: String,
    },
    /// Views of views are not made: one chain says all of it.
    #[error("{base} is a view; a view shows a topic")]
    BaseIsView {
        /// As asked.
        base: String,
    },
    /// What brokers keep for themselves is not shown.
    #[error("{base} is the brokers' own topic")]
    BaseIsInternal {
        /// As asked.
        base: String,
    },
    /// Under `pass` a failing plugin lets records be seen that it would have held back.
    #[error(
        "with on_error = pass a failing plugin shows what it should hide; say allow_unfiltered when the view is made"
    )]
    PassUnfiltered,
    /// No view has this name.
    #[error("there is no view {name}{}", if *is_topic { ", it is a topic" } else { "" })]
    UnknownView {
        /// As asked.
        name: String,
        /// A topic has the name.
        is_topic: bool,
    },
    /// The plugins can't be bound so.
    #[error(transparent)]
    Binding(#[from] BindingError),
}

impl Change for CreateView {
    const KIND: u16 = 9;
    type Answer = (Uuid, Binding);
    type Error = ViewError;

    /// Answers the view's id and binding.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<(Uuid, Binding)>, ViewError> {
        check_not_reserved(&self.name).map_err(CreateTopicError::from)?;
        check_free(image, &self.name)?;
        let base = match image.resolve(&self.base) {
            Some(Source::Topic(topic)) if topic.internal => {
                return Err(ViewError::BaseIsInternal { base: self.base.clone() });
            }
            Some(Source::Topic(topic)) => topic.id,
            Some(Source::View(_)) => {
                return Err(ViewError::BaseIsView { base: self.base.clone() });
            }
            None => {
                return Err(ViewError::UnknownBase { base: self.base.clone() });
            }
        };
        check_policy(&self.binding, self.allow_unfiltered)?;
        let binding = bind(image, &self.binding, As::View)?;
        let id = given.new_id(|id| image.resolve_id(id).is_some());
        let record = MetadataRecord::View {
            id,
            name: self.name.clone(),
            base,
            binding: binding.clone(),
            allow_unfiltered: self.allow_unfiltered,
            configs: BTreeMap::new(),
        };
        Ok(Decided::new(vec![record], (id, binding)))
    }
}

impl Change for AlterView {
    const KIND: u16 = 10;
    type Answer = (Uuid, Binding);
    type Error = ViewError;

    /// Answers the view's id and binding.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<(Uuid, Binding)>, ViewError> {
        let view = find(image, &self.name)?;
        check_policy(&self.binding, view.allow_unfiltered)?;
        let binding = bind(image, &self.binding, As::View)?;
        if is_same(&view.binding, &binding) {
            return Ok(Decided::new(Vec::new(), (view.id, view.binding.as_ref().clone())));
        }
        let View { id, name, base, binding: _, allow_unfiltered, configs } = view.clone();
        let record = MetadataRecord::View { id, name, base, binding: binding.clone(), allow_unfiltered, configs };
        Ok(Decided::new(vec![record], (id, binding)))
    }
}

impl Change for RemoveView {
    const KIND: u16 = 11;
    type Answer = Uuid;
    type Error = ViewError;

    /// Answers the id the view had.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<Uuid>, ViewError> {
        let id = find(image, &self.name)?.id;
        Ok(Decided::new(vec![MetadataRecord::ViewRemoved { id }], id))
    }
}

fn find<'a>(image: &'a Image, name: &str) -> Result<&'a View, ViewError> {
    match image.resolve(name) {
        Some(Source::View(view)) => Ok(view),
        Some(Source::Topic(_)) => Err(ViewError::UnknownView { name: name.to_owned(), is_topic: true }),
        None => Err(ViewError::UnknownView { name: name.to_owned(), is_topic: false }),
    }
}

fn check_policy(binding: &NewBinding, allow_unfiltered: bool) -> Result<(), ViewError> {
    match binding.on_error {
        OnError::Pass if !allow_unfiltered => Err(ViewError::PassUnfiltered),
        OnError::Pass | OnError::Fail => Ok(()),
    }
}

impl ViewError {
    /// Whether the view is refused because its name is in use, and by what.
    #[must_use]
    pub fn name_taken_by(&self) -> Option<SourceKind> {
        match self {
            Self::Name(CreateTopicError::Exists { kind, .. }) => Some(*kind),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cluster, new_binding};
    use super::super::{DeleteTopics, NameError, TopicRef};
    use super::*;

    #[test]
    fn a_view_made_again_is_another() {
        let mut cluster = cluster().view("big", "orders");
        let first = cluster.image.view("big").unwrap().id;
        assert_eq!(cluster.decide(&RemoveView { name: "big".into() }), Ok(first));
        assert!(cluster.image.resolve("big").is_none() && cluster.image.resolve_id(first).is_none());
        let (second, _) = cluster.decide(&create("big", "orders")).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_view_outlives_its_base_and_shows_no_other() {
        let mut cluster = cluster().view("big", "orders");
        let base = cluster.image.view("big").unwrap().base;
        cluster.decide(&DeleteTopics { topics: vec![TopicRef::Name("orders".into())] }).unwrap();
        let mut cluster = cluster.topic("orders", 1);
        assert_eq!(cluster.image.view("big").unwrap().base, base);
        assert!(cluster.image.topic_by_id(base).is_none(), "the new topic is not the view's");
        assert!(cluster.decide(&RemoveView { name: "big".into() }).is_ok());
    }

    #[test]
    fn a_view_changes_in_place() {
        let mut cluster = cluster().view("big", "orders");
        let before = cluster.image.view("big").unwrap().clone();
        let mut binding = new_binding("select");
        assert_eq!(
            cluster.decide(&AlterView { name: "big".into(), binding: binding.clone() }).unwrap().1,
            *before.binding
        );
        binding.limits.cpu_ms = 50;
        let (id, after) = cluster.decide(&AlterView { name: "big".into(), binding: binding.clone() }).unwrap();
        assert_eq!((id, after.revision), (before.id, before.binding.revision + 1));
        assert_eq!(cluster.image.view("big").unwrap().binding.limits.cpu_ms, 50);
        binding.on_error = OnError::Pass;
        let refused = cluster.decide(&AlterView { name: "big".into(), binding });
        assert_eq!(refused, Err(ViewError::PassUnfiltered), "what was not allowed at its creation");
    }

    #[test]
    fn views_that_cannot_be() {
        let exists = |kind| ViewError::Name(CreateTopicError::Exists { name: "taken".into(), kind });
        check("a topic's name", cluster().topic("taken", 1), create("taken", "orders"), exists(SourceKind::Topic));
        check("a view's name", cluster().view("taken", "orders"), create("taken", "orders"), exists(SourceKind::View));
        let collides = CreateTopicError::Collides { taken: "a.b".into() };
        check("a name like another", cluster().topic("a.b", 1), create("a_b", "orders"), collides.into());
        check(
            "no name",
            cluster(),
            create("a b", "orders"),
            CreateTopicError::Name(NameError::Character { found: ' ' }).into(),
        );
        check("no base", cluster(), create("big", "payments"), ViewError::UnknownBase { base: "payments".into() });
        check(
            "of a view",
            cluster().view("v", "orders"),
            create("big", "v"),
            ViewError::BaseIsView { base: "v".into() },
        );
        let internal = ViewError::BaseIsInternal { base: "__plugins".into() };
        check("internal", cluster().internal_topic("__plugins"), create("big", "__plugins"), internal);
        let mut pass = create("big", "orders");
        pass.binding.on_error = OnError::Pass;
        check("pass", cluster(), pass.clone(), ViewError::PassUnfiltered);
        pass.allow_unfiltered = true;
        assert!(cluster().decide(&pass).is_ok(), "pass, and said so");
        let mut gate_only = create("big", "orders");
        gate_only.binding = new_binding("guard");
        let wrong = BindingError::WrongKind { plugin: "guard".into(), version: 1, wanted: As::View };
        check("a gate's plugin", cluster().gate_plugin("guard"), gate_only, wrong.into());
    }

    #[test]
    fn views_that_are_not_there() {
        let remove = |name: &str| cluster().decide(&RemoveView { name: name.into() });
        assert_eq!(remove("orders"), Err(ViewError::UnknownView { name: "orders".into(), is_topic: true }));
        assert_eq!(remove("big"), Err(ViewError::UnknownView { name: "big".into(), is_topic: false }));
    }

    fn check(what: &str, mut cluster: Cluster, create: CreateView, why: ViewError) {
        assert_eq!(cluster.decide(&create), Err(why), "{what}");
    }

    fn cluster() -> Cluster {
        Cluster::serving(1).topic("orders", 1).plugin("select")
    }

    fn create(name: &str, base: &str) -> CreateView {
        CreateView { name: name.into(), base: base.into(), binding: new_binding("select"), allow_unfiltered: false }
    }
}
