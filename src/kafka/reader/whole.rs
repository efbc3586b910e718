//! A topic up to where it ended when reading began: for `tail --until-end` and for tests.
//!
//! Owns the rule of when that end is reached. Never waits for what comes later.

use std::time::{Duration, Instant};

use super::{Next, ReadError, Reader, ReaderOptions, Span, Start, left};

/// Knows when every partition has been read up to where it ended at the start.
#[derive(Debug)]
pub struct UntilEnd {
    /// (partition, first offset not wanted), unfinished partitions only.
    open: Vec<(i32, i64)>,
}

impl UntilEnd {
    pub fn new(spans: &[Span]) -> Self {
        Self { open: spans.iter().filter(|s| s.start < s.high).map(|s| (s.partition, s.high)).collect() }
    }

    /// Whether the record belongs to what was there at the start.
    pub fn wants(&mut self, partition: i32, offset: i64) -> bool {
        let Some(at) = self.open.iter().position(|(p, _)| *p == partition) else { return false };
        let high = self.open[at].1;
        if offset + 1 >= high {
            self.open.swap_remove(at);
        }
        offset < high
    }

    /// The partition has nothing more: its last offsets may hold no record (transaction markers, compaction).
    pub fn ended(&mut self, partition: i32) {
        self.open.retain(|(p, _)| *p != partition);
    }

    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }
}

/// A record with everything copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch; -1 when the broker keeps none.
    pub timestamp_ms: i64,
    /// Empty when the record has none.
    pub key: Vec<u8>,
    /// Empty when the record has none.
    pub value: Vec<u8>,
}

/// Everything that the topic holds at the moment of the call, in order within each partition.
///
/// What retention has taken is not in it; the embedded broker keeps about 5 MiB a partition.
/// Errors: as [`Reader::open`], and [`ReadError::Timeout`] when the end is not reached in `timeout`.
pub fn read_all(bootstrap: &str, topic: &str, timeout: Duration) -> Result<Vec<ReadRecord>, ReadError> {
    let deadline = Instant::now() + timeout;
    let reader = Reader::open(&whole(bootstrap, topic, timeout))?;
    let mut until_end = UntilEnd::new(reader.spans());
    let mut records = Vec::new();
    while !until_end.is_done() {
        match reader.next(left(deadline).min(Duration::from_millis(100)))? {
            Next::Record(record) if until_end.wants(record.partition(), record.offset()) => {
                records.push(ReadRecord {
                    partition: record.partition(),
                    offset: record.offset(),
                    timestamp_ms: record.timestamp_ms().unwrap_or(-1),
                    key: record.key().unwrap_or_default().to_vec(),
                    value: record.value().unwrap_or_default().to_vec(),
                });
            }
            Next::EndOf(partition) => until_end.ended(partition),
            Next::Record(_) | Next::Nothing | Next::Trouble(_) => {}
        }
        if Instant::now() >= deadline && !until_end.is_done() {
            return Err(ReadError::Timeout { read: records.len() });
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// The sum of all high watermarks: how many records were ever written, deleted ones and markers included.
pub fn watermark_sum(bootstrap: &str, topic: &str, timeout: Duration) -> Result<u64, ReadError> {
    let mut options = whole(bootstrap, topic, timeout);
    options.start = Start::End;
    let reader = Reader::open(&options)?;
    Ok(reader.spans().iter().map(|span| span.high.max(0).unsigned_abs()).sum())
}

fn whole(bootstrap: &str, topic: &str, timeout: Duration) -> ReaderOptions {
    ReaderOptions {
        bootstrap: bootstrap.into(),
        topic: topic.into(),
        partition: None,
        start: Start::Beginning,
        timeout,
        passthrough: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_end_stops_at_the_first_seen_end_and_skips_what_came_later() {
        let span = |partition, start, high| Span { partition, low: 0, high, start };
        let mut until_end = UntilEnd::new(&[span(0, 0, 2), span(1, 5, 5), span(2, 0, 9)]);
        assert!(until_end.wants(0, 0) && until_end.wants(0, 1));
        assert!(!until_end.wants(0, 2), "arrived after the start");
        assert!(!until_end.wants(1, 5), "was empty at the start");
        assert!(!until_end.is_done());
        until_end.ended(2);
        assert!(until_end.is_done());
    }

    #[test]
    fn an_offset_past_the_end_ends_its_partition_without_being_wanted() {
        let mut until_end = UntilEnd::new(&[Span { partition: 0, low: 0, high: 3, start: 0 }]);
        assert!(!until_end.wants(0, 3) && until_end.is_done());
    }
}
