//! broker/storage
