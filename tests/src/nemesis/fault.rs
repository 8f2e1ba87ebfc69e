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
        }
    }
}
