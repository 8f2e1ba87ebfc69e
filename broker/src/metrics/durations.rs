//! How long things took, counted in buckets that no thread waits for.
//!
//! Observed on the data path, once for each batch appended, each sync and each request: two additions to atomics. The library's own
//! histogram takes a lock that all threads of the broker share, and who is preempted while it has it would hold up the
//! appends of every partition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use sluice_storage::SyncObserver;

/// A histogram of seconds. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durations(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// One for each bound, and one for what is above all of them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

/// Upper bounds of the buckets: from a write into the page cache to a disk, or a client's fetch, that takes its time. Close enough
/// for a quantile that is right within a factor of two and a half.
const BOUNDS: [Duration; 19] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

impl Durations {
    /// Something took so long.
    pub(crate) fn observe(&self, took: Duration) {
        let at = BOUNDS.partition_point(|bound| *bound < took);
        self.0.counts[at].fetch_add(1, Ordering::Relaxed);
        // Wraps after 584 years of waiting.
        self.0.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl SyncObserver for Durations {
    fn synced(&self, took: Duration) {
        self.observe(took);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Of the very counts that are shown: some are added to meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn each_is_counted_in_its_bucket_and_those_above() {
        let durations = Durations::default();
        for micros in [0, 10, 11, 2_500, 3_000, 10_000_000, 60_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("t", "Times", durations);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes it");
        for (line, what) in [
            ("t_bucket{le=\"0.00001\"} 2", "a bound is in its bucket"),
            ("t_bucket{le=\"0.000025\"} 3", "above one, up to the next"),
            ("t_bucket{le=\"0.0025\"} 4", "all below too"),
            ("t_bucket{le=\"10.0\"} 6", "the last bound"),
            ("t_bucket{le=\"+Inf\"} 7", "what is above all"),
            ("t_count 7", "as many as were observed"),
            ("t_sum 70.005521", "in seconds"),
        ] {
            assert!(text.lines().any(|found| found == line), "{what}: no {line} in\n{text}");
        }
    }
}
