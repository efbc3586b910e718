//! The METRICS log line of S0 (section 7): the same numbers as `/metrics`, for a person who reads the log.

use std::fmt::Write;

use super::snapshot::{Snapshot, outcome};

/// `METRICS ts=… accepted=… published=… rejected=… buffered=…`, S0's keys first and in S0's order, then ours. `accepted`
/// is every complete message read, `published` what is stored, `buffered` what waits for a receipt.
pub fn line(s: &Snapshot, unix_seconds: u64) -> String {
    let mut line = format!(
        "METRICS ts={unix_seconds} accepted={} published={} rejected={} buffered={}",
        s.records_received,
        s.records[outcome::STORED],
        s.records[outcome::REJECTED],
        s.queue_records,
    );
    let more = [
        ("retried", s.retries),
        ("not_stored", s.records[outcome::NOT_STORED]),
        ("unknown", s.records[outcome::UNKNOWN]),
        ("dropped", s.records[outcome::DROPPED]),
        ("dead_lettered", s.records[outcome::DEAD_LETTERED]),
        ("lost", s.records_lost),
        ("buffered_bytes", s.queue_bytes),
        ("inflight", s.inflight_records),
        ("connections", s.connections_total()),
        ("paused", s.paused_total()),
        ("brokers_up", s.brokers_up),
        ("brokers_down", s.brokers_down),
        ("lanes_held", s.lanes_held),
        ("ready", u64::from(s.ready)),
    ];
    for (key, value) in more {
        // Writing to a String cannot fail.
        let _ = write!(line, " {key}={value}");
    }
    for (key, q) in [("ack_p50_ms", 0.5), ("ack_p99_ms", 0.99)] {
        if let Some(seconds) = s.record_ack.quantile(q) {
            let _ = write!(line, " {key}={:.1}", seconds * 1e3);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S0-R8, S0-NFR5: the example of the source document, key for key.
    #[test]
    fn begins_exactly_as_in_the_source_document() {
        let s = Snapshot {
            records_received: 12_500,
            records: [12_460, 10, 0, 0, 0, 0],
            queue_records: 30,
            retries: 7,
            ..Snapshot::default()
        };
        let line = line(&s, 1_730_000_000);
        let start = "METRICS ts=1730000000 accepted=12500 published=12460 rejected=10 buffered=30 retried=7 ";
        assert!(line.starts_with(start), "{line}");
    }

    #[test]
    fn is_one_line_of_pairs_with_each_key_once() {
        let mut s = Snapshot { paused: [1, 2, 3, 4], ..Snapshot::default() };
        s.record_ack.record_n(4_000, 10);
        let line = line(&s, 0);
        let pairs: Vec<_> = line.split(' ').skip(1).map(|p| p.split_once('=').expect(&line)).collect();
        let keys: std::collections::HashSet<_> = pairs.iter().map(|(k, _)| *k).collect();
        assert_eq!(keys.len(), pairs.len());
        assert!(pairs.iter().all(|(_, v)| v.parse::<f64>().is_ok()), "{line}");
        assert!(pairs.contains(&("paused", "10")) && pairs.contains(&("ack_p50_ms", "4.0")), "{line}");
    }
}
