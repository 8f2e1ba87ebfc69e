//! Replicas that are moved, held to a rate, in Kafka's own words: a rate for all brokers, and each topic's list of replicas that
//! it is for. Only who is behind is throttled, so whoever is in sync stays so. Both are taken back when the moves are done.

use super::super::{error::CliError, output::say};
use super::text::bytes;
use crate::client::{Alter, Client, Resource};

/// For the sending side and for the fetching side, the brokers' rate and the topics' list.
const SETTINGS: [(&str, &str); 2] = [
    ("leader.replication.throttled.rate", "leader.replication.throttled.replicas"),
    ("follower.replication.throttled.rate", "follower.replication.throttled.replicas"),
];

/// All replicas of a topic.
const ALL_REPLICAS: &str = "*";

/// A rate that is in force.
#[must_use = "a rate stays in force until it is lifted"]
pub(super) struct Throttle {
    topics: Vec<String>,
}

impl Throttle {
    /// Holds what is behind of these topics to a rate, on every broker.
    pub(super) async fn set(client: &mut Client, topics: Vec<String>, rate: u64) -> Result<Self, CliError> {
        let throttle = Self { topics };
        client
            .alter_configs(throttle.settings(|| Alter::Set(rate.to_string()), || Alter::Set(ALL_REPLICAS.to_owned())))
            .await?;
        say(format_args!("copying is held to {} a second and broker until this is done", bytes(rate)));
        Ok(throttle)
    }

    /// Takes it back.
    pub(super) async fn lift(self, client: &mut Client) -> Result<(), CliError> {
        Ok(client.alter_configs(self.settings(|| Alter::Delete, || Alter::Delete)).await?)
    }

    fn settings(
        &self,
        rate: impl Fn() -> Alter,
        list: impl Fn() -> Alter,
    ) -> Vec<(Resource, Vec<(&'static str, Alter)>)> {
        let brokers = (Resource::AllBrokers, SETTINGS.map(|(name, _)| (name, rate())).to_vec());
        let topics = self
            .topics
            .iter()
            .map(|topic| (Resource::Topic(topic.clone()), SETTINGS.map(|(_, name)| (name, list())).to_vec()));
        std::iter::once(brokers).chain(topics).collect()
    }
}

/// `50MB`, `1.5 GB`, `1000000`: bytes a second.
pub(in crate::cli) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate: bytes a second, as in 50MB");
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match text.trim()[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        _ => return Err(wrong()),
    };
    let rate = digits.parse::<f64>().map_err(|_| wrong())? * factor;
    if (1.0..=1e18).contains(&rate) { Ok(rate as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, expected) in [("50MB", 50_000_000), ("1.5 GB", 1_500_000_000), ("1000", 1_000), ("2k", 2_000)] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for text in ["", "MB", "-1", "0", "1TB", "inf", "nan", "1e30"] {
            assert_eq!(rate(text), Err(format!("`{text}` is no rate: bytes a second, as in 50MB")), "{text}");
        }
    }
}
