//! What a consumer shows: its numbers at one moment, and their Prometheus text.
//!
//! Names and labels are public, as the gateway's are. Counters are there at 0 from the start; the lag of a partition is
//! there once both its ends are known.

use super::ProcessSnapshot;
use super::exposition::Exposition;

/// How a record ended, in the order in which they are shown.
pub const CONSUMER_OUTCOMES: [&str; 4] = ["stored", "duplicate", "dead_lettered", "dropped"];

/// Plain numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerSnapshot {
    pub version: &'static str,
    /// `event-log` and its like.
    pub consumer: &'static str,
    pub ready: bool,
    /// Partitions that are ours.
    pub partitions: u64,
    pub rows: u64,
    pub doubles: u64,
    pub dead_lettered: u64,
    pub dropped: u64,
    pub batches: u64,
    pub last_batch_records: u64,
    pub retries: u64,
    pub last_commit_unix_seconds: Option<f64>,
    /// (partition, records behind).
    pub lag: Vec<(i32, i64)>,
    pub process: ProcessSnapshot,
}

/// Appends everything in Prometheus text format 0.0.4.
pub fn consumer_prometheus(s: &ConsumerSnapshot, out: &mut String) {
    let mut text = Exposition::new(out);
    text.gauges(
        "consumer_build_info",
        "Version of the program; the value is always 1.",
        "version",
        [(s.version, 1)],
    );
    text.gauges(
        "consumer_ready",
        "1 if what is read now is stored now, else 0.",
        "consumer",
        [(s.consumer, u8::from(s.ready))],
    );
    text.gauge("consumer_partitions", "Partitions that this member of the group reads.", s.partitions);
    text.counters(
        "consumer_records_total",
        "Records that ended, by how they ended.",
        "outcome",
        CONSUMER_OUTCOMES.into_iter().zip([s.rows, s.doubles, s.dead_lettered, s.dropped]),
    );
    text.counter("consumer_batches_total", "Batches stored.", s.batches);
    text.gauge("consumer_last_batch_records", "Records of the last batch stored.", s.last_batch_records);
    text.counter(
        "consumer_retries_total",
        "Tries that failed because a database or a broker was away or busy.",
        s.retries,
    );
    if let Some(at) = s.last_commit_unix_seconds {
        text.gauge("consumer_last_commit_timestamp_seconds", "Unix time of the last batch stored.", at);
    }
    text.gauges(
        "consumer_lag_records",
        "Records of a partition that are not stored yet.",
        "partition",
        s.lag.iter().copied(),
    );
    s.process.families(&mut text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_there_from_the_start() {
        let mut text = String::new();
        consumer_prometheus(
            &ConsumerSnapshot { lag: vec![(3, 7)], ..ConsumerSnapshot::default() },
            &mut text,
        );
        for line in [
            "consumer_records_total{outcome=\"stored\"} 0\n",
            "consumer_records_total{outcome=\"dropped\"} 0\n",
            "consumer_lag_records{partition=\"3\"} 7\n",
            "consumer_batches_total 0\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("last_commit"), "never committed");
    }
}
