//! Several brokers and their ZooKeepers as real processes: how they are set up, and everything that can happen to them.
//!
//! ```text
//!   clients ──> broker 1 ── Proxy ── broker 2 ── Proxy ── broker 3        INTERNAL, a link each way between any two
//!                  └──── Proxy ────────┴──── Proxy ─────────┘──> Ensemble     a link from each broker to each server
//! ```
//! With [`ClusterBuilder::proxied`] every link but the clients' goes through a proxy of ours, and can be cut. Processes are
//! ended by their id, when the cluster is dropped at the latest.
//!
//! In reading order: `builder` (how it is set up), `software` (whose brokers), `member` (one broker), `links` (what is between them), `status` (what the
//! cluster says of itself, and waiting for it), `disks` (what is in its folders), `faults` (verbs for whoever does not look).

mod builder;
mod disks;
mod faults;
mod links;
mod member;
mod software;
mod status;

pub use builder::ClusterBuilder;
pub use software::Software;
pub use status::Partition;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;

use crate::clients::{Connection, Rdkafka};
use crate::proxy::Clients;
use crate::{Certificates, Contact, Ensemble, Network, Process, Ran};
use member::Member;

/// A running cluster. Dropping it ends all its processes; after a failure they are heard first.
#[derive(Debug)]
pub struct Cluster {
    members: BTreeMap<i32, Member>,
    /// The cluster's ZooKeepers, for tests that hurt them.
    pub zookeeper: Ensemble,
    /// Where its processes are, if not beside the tests: it goes after them.
    network: Option<Network>,
    /// The cluster's certificates.
    pub certificates: Certificates,
    software: Software,
    settings: BTreeMap<String, String>,
    /// Whether brokers reach each other and ZooKeeper through proxies, and whose connections those know.
    proxied: Option<Clients>,
    folder: TempDir,
}

impl Cluster {
    /// Three brokers and a ZooKeeper.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A cluster with settings of its own.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The ids of all its brokers, whatever became of them.
    pub fn ids(&self) -> Vec<i32> {
        self.members.keys().copied().collect()
    }

    /// The ids of the brokers that run and are not paused.
    pub fn running(&self) -> Vec<i32> {
        self.members.values().filter(|member| member.answers()).map(|member| member.id).collect()
    }

    /// How the cluster is reached: all of its brokers for the clients, one that runs for the admin API.
    pub fn contact(&self) -> Contact<'_> {
        let bootstrap: Vec<_> = self.members.values().map(Member::bootstrap).collect();
        let admin = self.members.values().find(|member| member.answers()).map(Member::admin).unwrap_or_default();
        Contact::new(bootstrap.join(","), admin, &self.certificates, self.folder.path())
    }

    /// How one broker is reached.
    pub fn contact_of(&self, id: i32) -> Contact<'_> {
        let member = self.member(id);
        Contact::new(member.bootstrap(), member.admin(), &self.certificates, self.folder.path())
    }

    /// A librdkafka client that knows all brokers.
    pub fn rdkafka(&self) -> Rdkafka {
        self.contact().rdkafka()
    }

    /// A TLS connection to one broker.
    pub fn connection(&self, id: i32) -> Connection {
        self.contact_of(id).connection()
    }

    /// Runs the `sluice` command line against the cluster.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.contact().cli(arguments)
    }

    /// Ends a broker as a crash does.
    pub fn kill(&mut self, id: i32) {
        self.member_mut(id).kill();
    }

    /// Ends a broker as an operator does, with SIGTERM, and waits for its end.
    pub fn stop(&mut self, id: i32) -> ExitStatus {
        self.member_mut(id).stop()
    }

    /// Ends all brokers as an operator does, together.
    ///
    /// # Panics
    /// When one does not end in order.
    pub fn stop_brokers(&mut self) {
        let there: Vec<i32> =
            self.members.values().filter(|member| member.is_there()).map(|member| member.id).collect();
        for &id in &there {
            self.begin_stop(id);
        }
        for id in there {
            let said = self.stop(id);
            assert!(said.success(), "broker {id} ended with {said}");
        }
    }

    /// Sends a broker SIGTERM without waiting for its end: [`Self::stop`] does that later.
    pub fn begin_stop(&mut self, id: i32) {
        self.member_mut(id).begin_stop();
    }

    /// Stops a broker's process without ending it.
    pub fn pause(&mut self, id: i32) {
        self.member_mut(id).pause();
    }

    /// Lets a paused broker go on.
    pub fn resume(&mut self, id: i32) {
        self.member_mut(id).resume();
    }

    /// Starts a broker that was ended, on its folder and at its addresses, and waits until it serves.
    pub fn restart(&mut self, id: i32) {
        self.launch(id);
        self.member_mut(id).await_serving();
    }

    /// Starts a broker that was ended, without waiting until it serves.
    pub fn launch(&mut self, id: i32) {
        let (common, folder) = (self.settings.clone(), self.folder.path().to_owned());
        let member = self.member_mut(id);
        let process = member.spawn(&common, &[], &folder);
        member.runs(process);
    }

    /// Waits until a broker that was launched serves.
    pub fn await_serving(&mut self, id: i32) {
        self.member_mut(id).await_serving();
    }

    /// Starts another process with a broker's settings, some of them changed: for tests of brokers that must not serve.
    pub fn impostor(&self, id: i32, changed: &[(&str, &str)]) -> Process {
        self.member(id).spawn(&self.settings, changed, self.folder.path())
    }

    /// Waits for a broker to end by itself.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn await_own_end(&mut self, id: i32, within: Duration) -> ExitStatus {
        self.member_mut(id).await_own_end(within)
    }

    /// Empties the folder of a broker that was ended: a disk replaced.
    pub fn wipe(&mut self, id: i32) {
        self.member(id).wipe();
    }

    /// Adds a broker, with the next free id, and waits until it serves.
    pub fn add_broker(&mut self) -> i32 {
        let id = self.prepare_broker();
        self.restart(id);
        id
    }

    /// Forgets a broker that was ended for good.
    pub fn remove(&mut self, id: i32) {
        assert!(!self.member(id).is_there(), "broker {id} was ended before");
        self.members.remove(&id);
    }

    /// Changes a setting of all brokers for their next start.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.insert(key.to_owned(), value.to_string());
    }

    /// Changes a setting of one broker for its next start.
    pub fn set_of(&mut self, id: i32, key: &str, value: impl ToString) {
        self.member_mut(id).set(key, value.to_string());
    }

    /// A folder for a test's own files, gone with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a broker has said since it was last started.
    pub fn said(&self, id: i32) -> String {
        self.member(id).said()
    }

    /// A broker's process.
    pub fn process(&self, id: i32) -> &Process {
        self.member(id).process()
    }

    /// A broker's data folder.
    pub fn log_dir(&self, id: i32) -> PathBuf {
        self.member(id).data()
    }

    fn member(&self, id: i32) -> &Member {
        self.members.get(&id).unwrap_or_else(|| panic!("there is no broker {id}"))
    }

    fn member_mut(&mut self, id: i32) -> &mut Member {
        self.members.get_mut(&id).unwrap_or_else(|| panic!("there is no broker {id}"))
    }
}
