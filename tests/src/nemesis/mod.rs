//! What goes wrong with a cluster, chosen by a seed, and done to it.
//!
//! ```text
//!   seed ──> Nemesis::round(n): some kinds of fault, some steps of those ──> inflict, with times ──> heal ──> whole again?
//! ```
//! Faults come in rounds. Each mixes a few kinds only, so that rare combinations come up (a swarm finds more than everything
//! always at once); after each the cluster is healed and has to be whole and storing again, so that a fault it does not get
//! over is seen when it happens. What operators do (brokers added, drained, ended for good, replicas moved) comes in between: it may
//! fail while things do, and has to work when all is healed. The same seed and shapes give the same rounds; what a cluster makes of
//! them is up to time.
//!
//! In reading order: `fault` (what can be done), `plan` (which, by seed), `inflict` (doing it), `random`.

mod fault;
mod inflict;
mod plan;
mod random;

pub use fault::{Fault, Step};
pub use inflict::Inflicted;
pub use plan::{Nemesis, Shape};
