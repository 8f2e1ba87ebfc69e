//! The clients that people use, each told how to reach one broker over TLS.
//!
//! All but the raw connection are other people's code, run as they come: they are what "compatible" means.

pub mod calls;
mod connection;
mod java;
mod kcat;
mod python;
mod rdkafka;

pub use connection::Connection;
pub use java::Java;
pub use kcat::Kcat;
pub use python::{Python, PythonClient};
pub use rdkafka::{Delivery, Producer, Rdkafka, ReadRecord};

use std::env;
use std::path::PathBuf;

/// Where scripts/prerequisites put the Python and the Java clients.
fn fetched(what: &str) -> PathBuf {
    let path = cached(what);
    assert!(path.exists(), "{} is not there: run scripts/prerequisites", path.display());
    path
}

/// Where scripts/prerequisites puts what it fetches.
pub(crate) fn cached(what: &str) -> PathBuf {
    let cache = env::var_os("SLUICE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/sluice")));
    cache.expect("HOME or SLUICE_CACHE is set").join(what)
}
