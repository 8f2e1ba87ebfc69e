//! The admin API over HTTPS: plugins, gates, views; whether the broker lives and is ready; its metrics.

pub mod shapes;
