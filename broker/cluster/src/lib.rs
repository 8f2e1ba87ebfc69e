//! broker/cluster
