//! Partitions added to topics (KIP-195). A topic never has fewer: records of one key would be found in two partitions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::placement::spread::Start;
use super::placement::{Placement, PlacementError, place};
use super::reassign::target;
use super::topics::TooManyPartitions;
use super::{Change, CreateTopics, Decided, Given};
use crate::metadata::{Image, MetadataRecord, PartitionRegistration, Source, Topic};

/// Gives topics more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePartitions {
    /// The topics.
    pub topics: Vec<MorePartitions>,
    /// Only say whether they would be made.
    pub validate_only: bool,
}

/// A topic and how many partitions it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MorePartitions {
    /// The topic.
    pub topic: String,
    /// How many partitions, together with those it has.
    pub count: i32,
    /// The replicas of each new one, the preferred leader first; none: the cluster places them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Why a topic gets no more partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CreatePartitionsError {
    /// There is none.
    #[error("there is no topic {topic}")]
    Unknown {
        /// As asked.
        topic: String,
    },
    /// A view has its topic's partitions.
    #[error("{topic} is a view; it has the partitions of the topic with id {base}")]
    IsView {
        /// As asked.
        topic: String,
        /// The topic it shows.
        base: Uuid,
    },
    /// The brokers' own topics have the partitions they have.
    #[error("{topic} is the broker's own topic")]
    Internal {
        /// As asked.
        topic: String,
    },
    /// It is named twice.
    #[error("the topic is named twice")]
    Twice,
    /// It has as many, or more.
    #[error("the topic has {known} partitions, which {count} would not increase")]
    NotMore {
        /// Partitions there are.
        known: usize,
        /// As asked.
        count: i32,
    },
    /// An assignment has to name the replicas of every new partition.
    #[error("{assigned} assignments for {new} new partitions")]
    Assignments {
        /// Partitions that are assigned.
        assigned: usize,
        /// Partitions that would be new.
        new: usize,
    },
    /// The partitions can't be placed so.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

impl Change for CreatePartitions {
    const KIND: u16 = 20;
    type Answer = Vec<(String, Result<usize, CreatePartitionsError>)>;
    type Error = TooManyPartitions;

    /// Answers each topic in the order asked, with the number of partitions it has then.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, TooManyPartitions> {
        let known = |name: &str| image.topic(name).map_or(0, |topic| topic.partitions.len());
        let new = |more: &MorePartitions| usize::try_from(more.count).unwrap_or(0).saturating_sub(known(&more.topic));
        let (asked, max) = (self.topics.iter().map(new).sum(), CreateTopics::PARTITIONS_MAX);
        if asked > max {
            return Err(TooManyPartitions { asked, max });
        }
        let mut named = BTreeSet::new();
        let mut records = Vec::new();
        let answer = self.topics.iter().map(|more| {
            let first = named.insert(&more.topic);
            let made = if first { create(image, more, given) } else { Err(CreatePartitionsError::Twice) };
            let made = made.map(|(topic, partitions)| {
                let all = topic.partitions.len() + partitions.len();
                let partitions = (topic.partitions.len()..).map(index).zip(partitions).collect();
                records.push(MetadataRecord::Partitions { topic: topic.id, partitions });
                all
            });
            (more.topic.clone(), made)
        });
        let answer = answer.collect();
        if self.validate_only {
            records.clear();
        }
        Ok(Decided::new(records, answer))
    }
}

fn create<'a>(
    image: &'a Image,
    more: &MorePartitions,
    given: &mut Given<'_>,
) -> Result<(&'a Topic, Vec<PartitionRegistration>), CreatePartitionsError> {
    let topic = find(image, &more.topic)?;
    let known = topic.partitions.len();
    let new = usize::try_from(more.count).ok().and_then(|count| count.checked_sub(known)).filter(|new| *new > 0);
    let new = new.ok_or(CreatePartitionsError::NotMore { known, count: more.count })?;
    let replicas = topic.partitions.first().map_or(1, |first| target(first).len());
    let placement = match &more.assignments {
        None => {
            Placement::Count { partitions: index(new), replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX) }
        }
        Some(assigned) if assigned.len() != new => {
            return Err(CreatePartitionsError::Assignments { assigned: assigned.len(), new });
        }
        Some(assigned) => Placement::Manual((known..).map(index).zip(assigned.iter().cloned()).collect()),
    };
    let placed = place(image, &placement, known, Start::random((given.random)()))?;
    let uneven = (known..).map(index).zip(&placed).find(|(_, partition)| partition.replicas.len() != replicas);
    if let Some((partition, found)) = uneven {
        let found = found.replicas.len();
        return Err(PlacementError::UnevenReplicas { partition, found, expected: replicas }.into());
    }
    Ok((topic, placed))
}

fn find<'a>(image: &'a Image, name: &str) -> Result<&'a Topic, CreatePartitionsError> {
    let topic = name.to_owned();
    match image.resolve(name) {
        Some(Source::Topic(found)) if found.internal => Err(CreatePartitionsError::Internal { topic }),
        Some(Source::Topic(found)) => Ok(found),
        Some(Source::View(view)) => Err(CreatePartitionsError::IsView { topic, base: view.base }),
        None => Err(CreatePartitionsError::Unknown { topic }),
    }
}

/// Partitions are counted as Kafka does; there are never so many that it would matter.
fn index(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn a_topic_grows() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).replicated("orders", 2, 2);
        assert_eq!(grow(&mut cluster, "orders", 5, None), Ok(5));
        let topic = cluster.image.topic("orders").unwrap();
        assert_eq!(topic.partitions.len(), 5);
        assert!(topic.partitions.iter().all(|partition| partition.replicas.len() == 2 && partition.leader_epoch == 0));
        assert_eq!(grow(&mut cluster, "orders", 7, Some(&[&[3, 1], &[2, 3]])), Ok(7));
        let replicas = |index: usize| cluster.image.topic("orders").unwrap().partitions[index].replicas.clone();
        assert_eq!((replicas(5), replicas(6)), (vec![3, 1], vec![2, 3]));
    }

    #[test]
    fn what_is_refused() {
        let check = |what: &str, topic: &str, count: i32, assigned: Option<&[&[i32]]>, why: CreatePartitionsError| {
            let mut cluster = Cluster::of(&[(1, ""), (2, "")]).replicated("orders", 2, 2).view("big", "orders");
            let before = cluster.image.partition_count();
            assert_eq!(grow(&mut cluster, topic, count, assigned), Err(why), "{what}");
            assert_eq!(cluster.image.partition_count(), before, "{what}");
        };
        let not_more = |count| CreatePartitionsError::NotMore { known: 2, count };
        check("as many as there are", "orders", 2, None, not_more(2));
        check("fewer", "orders", 1, None, not_more(1));
        check("less than none", "orders", -1, None, not_more(-1));
        check("no such topic", "x", 3, None, CreatePartitionsError::Unknown { topic: "x".into() });
        let base = |cluster: &Cluster| cluster.image.topic("orders").unwrap().id;
        let base = base(&Cluster::of(&[(1, ""), (2, "")]).replicated("orders", 2, 2));
        check("a view", "big", 3, None, CreatePartitionsError::IsView { topic: "big".into(), base });
        let assignments = CreatePartitionsError::Assignments { assigned: 1, new: 2 };
        check("too few are assigned", "orders", 4, Some(&[&[1, 2]]), assignments);
        let uneven = PlacementError::UnevenReplicas { partition: 2, found: 1, expected: 2 };
        check("fewer replicas than the others have", "orders", 3, Some(&[&[1]]), uneven.into());
        let unknown = PlacementError::UnknownBroker { partition: 2, broker: 9 };
        check("a broker that there is not", "orders", 3, Some(&[&[1, 9]]), unknown.into());
        let repeated = PlacementError::RepeatedBroker { partition: 2, broker: 1 };
        check("a broker twice", "orders", 3, Some(&[&[1, 1]]), repeated.into());
    }

    #[test]
    fn each_topic_is_decided_for_itself() {
        let mut cluster = Cluster::of(&[(1, "")]).replicated("a", 1, 1).replicated("b", 1, 1);
        let more = |topic: &str, count| MorePartitions { topic: topic.into(), count, assignments: None };
        let topics = vec![more("a", 3), more("a", 4), more("b", 1), more("b", 2)];
        let validate = CreatePartitions { topics: topics.clone(), validate_only: true };
        let made = |answer: Vec<(String, Result<usize, CreatePartitionsError>)>| {
            answer.into_iter().map(|(_, made)| made.ok()).collect::<Vec<_>>()
        };
        assert_eq!(made(cluster.decide(&validate).unwrap()), [Some(3), None, None, None]);
        assert_eq!(cluster.image.partition_count(), 2, "only asked");
        let answer = cluster.decide(&CreatePartitions { topics, validate_only: false }).unwrap();
        assert_eq!(made(answer), [Some(3), None, None, None]);
        assert_eq!(cluster.image.partition_count(), 4);
    }

    #[test]
    fn too_many_at_once() {
        let mut cluster = Cluster::of(&[(1, "")]).replicated("a", 1, 1);
        let more = MorePartitions { topic: "a".into(), count: 10_002, assignments: None };
        let refused = cluster.decide(&CreatePartitions { topics: vec![more], validate_only: true });
        assert_eq!(refused, Err(TooManyPartitions { asked: 10_001, max: 10_000 }));
    }

    fn grow(
        cluster: &mut Cluster,
        topic: &str,
        count: i32,
        assigned: Option<&[&[i32]]>,
    ) -> Result<usize, CreatePartitionsError> {
        let assignments = assigned.map(|assigned| assigned.iter().map(|replicas| replicas.to_vec()).collect());
        let topics = vec![MorePartitions { topic: topic.into(), count, assignments }];
        let mut answer = cluster.decide(&CreatePartitions { topics, validate_only: false }).unwrap();
        answer.remove(0).1
    }
}
