//! What a broker on a developer's own machine needs and nobody should have to make by hand.

pub mod certs;
pub(crate) mod cluster;
