//! Topics: made and removed. Each topic of a request is decided for itself, as Kafka's admin calls answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::configs::{InvalidConfig, check_new};
use super::name::{NameError, check_name, check_not_reserved};
use super::placement::spread::Start;
use super::placement::{Placement, PlacementError, place};
use super::{Change, Decided, Given, Never};
use crate::metadata::{Image, MetadataRecord, PartitionRegistration, Source, Topic, fold};

/// Makes topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// Only say whether they would be made.
    pub validate_only: bool,
}

/// A topic to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub placement: Placement,
    /// Its configs as they came.
    pub configs: Vec<(String, Option<String>)>,
    /// For the brokers' own use.
    pub internal: bool,
}

/// A topic that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCreated {
    /// Its id; zero when it was only asked about.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: Vec<PartitionRegistration>,
    /// The configs that are set.
    pub configs: Vec<(String, String)>,
}

/// Why a topic is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CreateTopicError {
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is a topic's or a view's.
    #[error("{kind} {name} exists")]
    Exists {
        /// The name.
        name: String,
        /// What has it.
        kind: SourceKind,
    },
    /// A name in use differs only in `.` and `_`.
    #[error("the name collides with {taken}: metrics write '.' and '_' alike")]
    Collides {
        /// The name in use.
        taken: String,
    },
    /// The partitions can't be placed so.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A config can't be set so.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A topic.
    Topic,
    /// A view.
    View,
}

/// The request is too big to be decided at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{asked} partitions are asked for at once; at most {max} are made in one request")]
pub struct TooManyPartitions {
    /// Partitions in the request.
    pub asked: usize,
    /// How many can be.
    pub max: usize,
}

impl CreateTopics {
    /// Partitions made in one request: as Kafka's controller, and small enough for one entry of the metadata log.
    pub const PARTITIONS_MAX: usize = 10_000;
}

impl Change for CreateTopics {
    const KIND: u16 = 1;
    type Answer = Vec<(String, Result<TopicCreated, CreateTopicError>)>;
    type Error = TooManyPartitions;

    /// Answers each topic in the order asked.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, TooManyPartitions> {
        let asked = self.topics.iter().map(|topic| topic.placement.partitions()).sum();
        if asked > Self::PARTITIONS_MAX {
            return Err(TooManyPartitions { asked, max: Self::PARTITIONS_MAX });
        }
        let mut news = News { image, names: BTreeSet::new(), folds: BTreeMap::new(), ids: BTreeSet::new() };
        let mut records = Vec::new();
        let answer = self.topics.iter().map(|topic| {
            let made = news.create(topic, given).map(|(made, created)| {
                records.extend(made);
                created
            });
            (topic.name.clone(), made)
        });
        let mut answer: Self::Answer = answer.collect();
        if self.validate_only {
            records.clear();
            answer.iter_mut().filter_map(|(_, made)| made.as_mut().ok()).for_each(|made| made.id = Uuid::ZERO);
        }
        Ok(Decided::new(records, answer))
    }
}

/// Removes topics, with their gates. Views of them stay and answer that their topic id is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTopics {
    /// The topics.
    pub topics: Vec<TopicRef>,
}

/// A topic by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

/// Why a topic is not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DeleteTopicError {
    /// There is none.
    #[error("there is no topic {topic}")]
    Unknown {
        /// As asked.
        topic: TopicRef,
    },
    /// It is a view; removing a view is asked for otherwise.
    #[error("{name} is a view of topic {base}, not a topic")]
    IsView {
        /// The view.
        name: String,
        /// Its topic's id.
        base: Uuid,
    },
}

impl Change for DeleteTopics {
    const KIND: u16 = 2;
    type Answer = Vec<(TopicRef, Result<(String, Uuid), DeleteTopicError>)>;
    type Error = Never;

    /// Answers name and id of each topic in the order asked.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<Self::Answer>, Never> {
        let mut removed = BTreeSet::new();
        let answer = self.topics.iter().map(|asked| {
            let topic = find(image, asked)?;
            // Named twice, by name and by id perhaps: the second time it is gone.
            let first = removed.insert(topic.id);
            first
                .then(|| (topic.name.clone(), topic.id))
                .ok_or_else(|| DeleteTopicError::Unknown { topic: asked.clone() })
        });
        let answer = self.topics.iter().cloned().zip(answer.collect::<Vec<_>>()).collect();
        let records = removed.into_iter().map(|id| MetadataRecord::TopicRemoved { id }).collect();
        Ok(Decided::new(records, answer))
    }
}

impl fmt::Display for TopicRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "with id {id}"),
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::View => "view",
        })
    }
}

/// Whether a new topic or view can have the name.
pub(super) fn check_free(image: &Image, name: &str) -> Result<(), CreateTopicError> {
    check_name(name)?;
    match image.resolve(name) {
        Some(Source::Topic(_)) => {
            return Err(CreateTopicError::Exists { name: name.to_owned(), kind: SourceKind::Topic });
        }
        Some(Source::View(_)) => {
            return Err(CreateTopicError::Exists { name: name.to_owned(), kind: SourceKind::View });
        }
        None => {}
    }
    match image.confused_with(name) {
        Some(taken) => Err(CreateTopicError::Collides { taken: taken.to_owned() }),
        None => Ok(()),
    }
}

/// An image and the topics that a request has made so far. Kept apart instead of replayed: a request that makes one topic must
/// not cost a copy of the names of all.
struct News<'a> {
    image: &'a Image,
    names: BTreeSet<String>,
    /// Those of them that could be confused with others, folded.
    folds: BTreeMap<String, String>,
    ids: BTreeSet<Uuid>,
}

impl News<'_> {
    fn create(
        &mut self,
        topic: &NewTopic,
        given: &mut Given<'_>,
    ) -> Result<(Vec<MetadataRecord>, TopicCreated), CreateTopicError> {
        if !topic.internal {
            check_not_reserved(&topic.name)?;
        }
        self.check_free(&topic.name)?;
        let partitions = place(self.image, &topic.placement, 0, Start::random((given.random)()))?;
        let configs = check_new(&topic.configs, given.configs)?;
        let id = given.new_id(|id| self.image.resolve_id(id).is_some() || self.ids.contains(&id));
        self.names.insert(topic.name.clone());
        self.folds.extend(fold(&topic.name).map(|folded| (folded, topic.name.clone())));
        self.ids.insert(id);
        let created =
            TopicCreated { id, partitions: partitions.clone(), configs: configs.clone().into_iter().collect() };
        let records = vec![
            MetadataRecord::Topic { id, name: topic.name.clone(), internal: topic.internal, configs },
            MetadataRecord::Partitions { topic: id, partitions: (0..).zip(partitions).collect() },
        ];
        Ok((records, created))
    }

    fn check_free(&self, name: &str) -> Result<(), CreateTopicError> {
        check_free(self.image, name)?;
        if self.names.contains(name) {
            return Err(CreateTopicError::Exists { name: name.to_owned(), kind: SourceKind::Topic });
        }
        match fold(name).and_then(|folded| self.folds.get(&folded)) {
            Some(taken) => Err(CreateTopicError::Collides { taken: taken.clone() }),
            None => Ok(()),
        }
    }
}

fn find<'a>(image: &'a Image, asked: &TopicRef) -> Result<&'a Topic, DeleteTopicError> {
    let source = match asked {
        TopicRef::Name(name) => image.resolve(name),
        TopicRef::Id(id) => image.resolve_id(*id),
    };
    match source {
        Some(Source::Topic(topic)) => Ok(topic),
        Some(Source::View(view)) => Err(DeleteTopicError::IsView { name: view.name.clone(), base: view.base }),
        None => Err(DeleteTopicError::Unknown { topic: asked.clone() }),
    }
}

#[cfg(test)]
mod tests;
