//! Which segments a log keeps no longer: a decision over their sizes and ages.

use crate::config::LogConfig;

/// What retention looks at in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    /// The greatest timestamp in it; `None` when nothing in it has one.
    pub(crate) newest_timestamp: Option<i64>,
}

/// How many of the oldest segments go. The last one is the active segment; when it counts too, the whole log goes and an
/// empty segment takes its place.
///
/// As in Kafka: by age a segment goes when its newest record is older than `retention.ms`, and the first that is not stops it;
/// by weight segments go as long as what is left still weighs `retention.bytes`, and the active one stays.
pub(crate) fn expired(segments: &[Facts], config: &LogConfig, now_ms: i64) -> usize {
    by_age(segments, config, now_ms).max(by_weight(segments, config))
}

fn by_age(segments: &[Facts], config: &LogConfig, now_ms: i64) -> usize {
    let Some(retention_ms) = config.retention_ms else {
        return 0;
    };
    segments
        .iter()
        .take_while(|segment| {
            segment.newest_timestamp.is_some_and(|newest| now_ms.saturating_sub(newest) > retention_ms)
        })
        .count()
}

fn by_weight(segments: &[Facts], config: &LogConfig) -> usize {
    let Some(retention_bytes) = config.retention_bytes else {
        return 0;
    };
    let mut left: u64 = segments.iter().map(|segment| segment.size).sum();
    let sealed = segments.len().saturating_sub(1);
    segments[..sealed]
        .iter()
        .take_while(|segment| {
            let goes = left - segment.size >= retention_bytes;
            if goes {
                left -= segment.size;
            }
            goes
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        sentence: &str,
        (retention_ms, retention_bytes): (Option<i64>, Option<u64>),
        segments: &[(u64, i64)],
        want: usize,
    ) {
        let config = LogConfig { retention_ms, retention_bytes, ..LogConfig::default() };
        let facts: Vec<Facts> = segments
            .iter()
            .map(|&(size, newest)| Facts { size, newest_timestamp: (newest >= 0).then_some(newest) })
            .collect();
        assert_eq!(expired(&facts, &config, 1000), want, "{sentence}");
    }

    #[test]
    fn what_goes() {
        let three = [(10, 100), (10, 500), (10, 900)];
        check("nothing by default", (None, None), &three, 0);
        check("older than the limit", (Some(600), None), &three, 1);
        check("exactly the limit stays", (Some(500), None), &three, 1);
        check("the active one too", (Some(50), None), &three, 3);
        check("a young one keeps those behind it", (Some(600), None), &[(10, 900), (10, 100)], 0);
        check("what has no time stays", (Some(600), None), &[(10, -1), (10, 100)], 0);
        check("timestamps of the future stay", (Some(0), None), &[(10, 5000)], 0);
        check("heavier than the limit", (None, Some(20)), &three, 1);
        check("never below the limit", (None, Some(21)), &three, 0);
        check("the active one never by weight", (None, Some(0)), &three, 2);
        check("whichever takes more", (Some(600), Some(10)), &three, 2);
        check("an empty log", (Some(0), Some(0)), &[(0, -1)], 0);
        check("no log", (Some(0), Some(0)), &[], 0);
    }
}
