//! Entries of all sources, brought together: flag over environment over file over default, every name known, every value
//! of its kind.

use std::{collections::BTreeMap, fmt};

use super::{
    broker::BROKER_KEYS,
    kafka_names::is_kafka_broker_name,
    key::{BadValue, Key},
    source::{Entry, Origin},
    suggest::nearest,
    topic::TOPIC_DEFAULT_KEYS,
};

/// What a setting is and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its text.
    pub value: String,
    /// Where the text stands.
    pub origin: Origin,
}

/// All that was set, by name. What nobody set is not in here: its row has the default.
#[derive(Clone, Default)]
pub struct Resolved {
    set: BTreeMap<String, Setting>,
}

impl fmt::Debug for Resolved {
    /// Names only: among the values may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.set.keys()).finish()
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What.
    pub kind: ProblemKind,
}

/// What may be wrong with a setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// No such setting.
    #[error("there is no setting `{name}`{}", Suggestion(.nearest))]
    Unknown {
        /// What was written.
        name: String,
        /// The setting written most like it.
        nearest: Option<String>,
    },
    /// Kafka has it; sluice would silently not do what it says.
    #[error("`{name}` is a Kafka setting that sluice does not act on yet; remove it")]
    NotInForce {
        /// The setting.
        name: String,
    },
    /// Its value is of another kind.
    #[error("`{name}` {cause}, and `{value}` is not")]
    Bad {
        /// The setting.
        name: String,
        /// What was written.
        value: String,
        /// What it has to be.
        cause: BadValue,
    },
    /// It does not go with another setting, or needs one.
    #[error("`{name}` {why}")]
    Conflict {
        /// The setting.
        name: String,
        /// What is wrong, as the rest of a sentence.
        why: String,
    },
}

struct Suggestion<'a>(&'a Option<String>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}", self.kind),
            origin => write!(f, "{origin}: {}", self.kind),
        }
    }
}

/// What a listener's own setting begins with: `listener.name.<listener>.ssl.keystore.location`.
const LISTENER_PREFIX: &str = "listener.name.";

impl Resolved {
    /// Brings entries together; a later one overrules an earlier one of the same name. All problems come at once.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Result<Self, Vec<Problem>> {
        let mut set = BTreeMap::new();
        let mut problems = Vec::new();
        for Entry { name, value, origin } in entries {
            match check(&name, &value) {
                Ok(()) => {
                    set.insert(name, Setting { value, origin });
                }
                Err(kind) => problems.push(Problem { origin, kind }),
            }
        }
        if problems.is_empty() { Ok(Self { set }) } else { Err(problems) }
    }

    /// A setting that somebody set.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.set.get(name)
    }

    /// The text of a setting that somebody set.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|setting| setting.value.as_str())
    }

    /// The text of a setting, its default if nobody set it.
    pub fn text_or_default(&self, name: &str) -> Option<&str> {
        self.text(name).or_else(|| broker_key(name)?.default)
    }

    /// A setting's text for one listener: its own (`listener.name.<listener>.<name>`) before everybody's.
    pub fn text_for_listener(&self, listener: &str, name: &str) -> Option<&str> {
        let own = format!("{LISTENER_PREFIX}{}.{name}", listener.to_ascii_lowercase());
        self.text(&own).or_else(|| self.text_or_default(name))
    }

    /// Where a setting's value comes from.
    pub fn origin(&self, name: &str) -> Origin {
        self.get(name).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// The settings that are some listener's own: name in full, listener, value.
    pub fn of_listeners(&self) -> impl Iterator<Item = (&str, &str, &Setting)> {
        self.set.iter().filter_map(|(name, setting)| Some((name.as_str(), listener_and_key(name)?.0, setting)))
    }
}

/// Settings that can be changed while brokers run, for one of them or for all (KIP-226).
pub const CHANGED_WHILE_RUNNING: &[&str] =
    &["leader.replication.throttled.rate", "follower.replication.throttled.rate", "sluice.balancer.enable"];

/// Whether a running broker's setting could be changed to this.
pub fn check_changed(name: &str, value: &str) -> Result<(), String> {
    check(name, value).map_err(|problem| problem.to_string())?;
    if CHANGED_WHILE_RUNNING.contains(&name) {
        return Ok(());
    }
    Err(format!("`{name}` is what the broker was started with; it cannot be changed while it runs"))
}

/// The row of a broker setting.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    broker_keys().find(|key| key.name == name)
}

/// All rows of broker settings.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    BROKER_KEYS.iter().chain(TOPIC_DEFAULT_KEYS)
}

/// The row behind a listener's own setting, which only `ssl.*` settings can be.
pub(super) fn listener_and_key(name: &str) -> Option<(&str, &'static Key)> {
    let (listener, key) = name.strip_prefix(LISTENER_PREFIX)?.split_once('.')?;
    (!listener.is_empty() && key.starts_with("ssl.")).then_some(())?;
    Some((listener, broker_key(key)?))
}

fn check(name: &str, value: &str) -> Result<(), ProblemKind> {
    let key = broker_key(name).or_else(|| Some(listener_and_key(name)?.1));
    let Some(key) = key else {
        return Err(if is_kafka_broker_name(name) {
            ProblemKind::NotInForce { name: name.to_owned() }
        } else {
            let nearest = nearest(name, broker_keys().map(|key| key.name)).map(str::to_owned);
            ProblemKind::Unknown { name: name.to_owned(), nearest }
        });
    };
    key.kind.check(value).map_err(|cause| {
        let value = if key.is_sensitive() { "[hidden]".to_owned() } else { value.to_owned() };
        ProblemKind::Bad { name: name.to_owned(), value, cause }
    })
}
