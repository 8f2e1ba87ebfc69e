//! broker/protocol
