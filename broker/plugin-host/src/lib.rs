//! broker/plugin-host
