//! What can be done to a cluster, and said of it.

use std::fmt;
use std::time::Duration;

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL to a broker.
    Kill(i32),
    /// SIGKILL to all brokers that run.
    KillAll,
    /// SIGTERM to a broker, and its end awaited.
    Stop(i32),
    /// SIGKILL to a broker, and its folder emptied.
    Wipe(i32),
    /// A broker that was ended starts again.
    Start(i32),
    /// SIGSTOP to a broker.
    Pause(i32),
    /// SIGCONT to a broker.
    Resume(i32),
    /// Nothing gets from one broker to the other, nor back.
    Cut(i32, i32),
    /// Nothing gets from the first broker to the second.
    CutOneWay(i32, i32),
    /// Nothing gets from a broker to any other, nor back.
    Isolate(i32),
    /// What two brokers send each other comes later.
    Delay(i32, i32, Duration),
    /// Connections between two brokers are reset, new ones too.
    Reset(i32, i32),
    /// Connections between two brokers lose one end, and the other does not know.
    HalfOpen(i32, i32),
    /// Nothing gets from a broker to ZooKeeper, nor back.
    CutZooKeeper(i32),
    /// A broker's connections to ZooKeeper are reset, new ones too.
    ResetZooKeeper(i32),
    /// What a broker and ZooKeeper send each other comes later.
    DelayZooKeeper(i32, Duration),
    /// All links are open again.
    Mend,
    /// SIGKILL to a ZooKeeper server.
    KillZooKeeper(usize),
    /// A ZooKeeper server that was ended starts again.
    StartZooKeeper(usize),
    /// SIGSTOP to a ZooKeeper server.
    PauseZooKeeper(usize),
    /// SIGCONT to a ZooKeeper server.
    ResumeZooKeeper(usize),
    /// A new broker joins.
    Add,
    /// A broker is emptied, and when everything is healed ended for good.
    Retire(i32),
    /// A broker is to be emptied.
    Drain(i32),
    /// And now it is not.
    Undrain(i32),
    /// A partition's replicas move to the brokers that follow one in the order of all.
    Reassign(i32, usize),
    /// Partitions are evened over brokers.
    Balance,
    /// Preferred leaders lead again.
    Elect,
}

/// A fault and how long after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Time to let pass first.
    pub after: Duration,
    /// What is then done.
    pub fault: Fault,
}

impl Fault {
    /// Whether it makes something better, and is no fault to count.
    pub fn heals(self) -> bool {
        matches!(
            self,
            Self::Start(_) | Self::Resume(_) | Self::Mend | Self::StartZooKeeper(_) | Self::ResumeZooKeeper(_)
        )
    }

    /// Whether it is what operators do, and has to go well whatever else does not.
    pub fn operates(self) -> bool {
        matches!(
            self,
            Self::Add
                | Self::Retire(_)
                | Self::Drain(_)
                | Self::Undrain(_)
                | Self::Reassign(..)
                | Self::Balance
                | Self::Elect
        )
    }

    /// Its kind in a word or two, to count by.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::KillAll => "kill all",
            Self::Stop(_) => "stop",
            Self::Wipe(_) => "wipe",
            Self::Start(_) => "start",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Cut(..) => "cut",
            Self::CutOneWay(..) => "cut one way",
            Self::Isolate(_) => "isolate",
            Self::Delay(..) => "delay",
            Self::Reset(..) => "reset",
            Self::HalfOpen(..) => "half open",
            Self::CutZooKeeper(_) => "cut off ZooKeeper",
            Self::ResetZooKeeper(_) => "reset to ZooKeeper",
            Self::DelayZooKeeper(..) => "delay to ZooKeeper",
            Self::Mend => "mend",
            Self::KillZooKeeper(_) => "kill ZooKeeper",
            Self::StartZooKeeper(_) => "start ZooKeeper",
            Self::PauseZooKeeper(_) => "pause ZooKeeper",
            Self::ResumeZooKeeper(_) => "resume ZooKeeper",
            Self::Add => "add",
            Self::Retire(_) => "retire",
            Self::Drain(_) => "drain",
            Self::Undrain(_) => "undrain",
            Self::Reassign(..) => "reassign",
            Self::Balance => "balance",
            Self::Elect => "elect",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(id) => write!(f, "kill broker {id}"),
            Self::KillAll => write!(f, "kill all brokers"),
            Self::Stop(id) => write!(f, "stop broker {id}"),
            Self::Wipe(id) => write!(f, "kill broker {id} and empty its folder"),
            Self::Start(id) => write!(f, "start broker {id}"),
            Self::Pause(id) => write!(f, "pause broker {id}"),
            Self::Resume(id) => write!(f, "resume broker {id}"),
            Self::Cut(one, other) => write!(f, "cut brokers {one} and {other} off each other"),
            Self::CutOneWay(from, to) => write!(f, "cut the way from broker {from} to {to}"),
            Self::Isolate(id) => write!(f, "cut broker {id} off all others"),
            Self::Delay(one, other, by) => write!(f, "delay between brokers {one} and {other} by {by:?}"),
            Self::Reset(one, other) => write!(f, "reset between brokers {one} and {other}"),
            Self::HalfOpen(one, other) => write!(f, "leave connections of brokers {one} and {other} half open"),
            Self::CutZooKeeper(id) => write!(f, "cut broker {id} off ZooKeeper"),
            Self::ResetZooKeeper(id) => write!(f, "reset between broker {id} and ZooKeeper"),
            Self::DelayZooKeeper(id, by) => write!(f, "delay between broker {id} and ZooKeeper by {by:?}"),
            Self::Mend => write!(f, "mend all links"),
            Self::KillZooKeeper(server) => write!(f, "kill ZooKeeper {server}"),
            Self::StartZooKeeper(server) => write!(f, "start ZooKeeper {server}"),
            Self::PauseZooKeeper(server) => write!(f, "pause ZooKeeper {server}"),
            Self::ResumeZooKeeper(server) => write!(f, "resume ZooKeeper {server}"),
            Self::Add => write!(f, "add a broker"),
            Self::Retire(id) => write!(f, "drain broker {id}, for good"),
            Self::Drain(id) => write!(f, "drain broker {id}"),
            Self::Undrain(id) => write!(f, "undrain broker {id}"),
            Self::Reassign(partition, first) => {
                write!(f, "reassign partition {partition}, from the broker at {first} on")
            }
            Self::Balance => write!(f, "balance"),
            Self::Elect => write!(f, "elect preferred leaders"),
        }
    }
}
