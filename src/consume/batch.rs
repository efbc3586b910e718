//! The records of one batch: bytes in one arena, an entry for each, in the order in which they were read.
//!
//! Owns copies, so that nothing of the client library is held while a database takes its time. Recycled: cleared, it
//! keeps its memory. Bounded by whoever fills it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::kafka::consumer::{Message, Partition};

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub partition: Partition,
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the broker keeps them.
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// As `event::headers` writes them.
    pub headers: &'a [u8],
}

/// What a batch holds of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub partition: Partition,
    /// The offset behind its last record: where reading goes on.
    pub next: i64,
}

struct Entry {
    partition: Partition,
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// See the module's text.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    /// Appends a copy of a record.
    pub fn push(&mut self, message: &Message<'_>) {
        let Self { bytes, entries } = self;
        let key = message.key().map(|key| append(bytes, key));
        let value = message.value().map(|value| append(bytes, value));
        let headers_from = bytes.len();
        message.push_headers(bytes);
        entries.push(Entry {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp_ms(),
            key,
            value,
            headers: headers_from..bytes.len(),
        });
    }

    /// The same from its parts: for tests of sinks.
    pub fn push_record(&mut self, record: &Record<'_>) {
        let key = record.key.map(|key| append(&mut self.bytes, key));
        let value = record.value.map(|value| append(&mut self.bytes, value));
        let headers = append(&mut self.bytes, record.headers);
        let Record { partition, offset, timestamp_ms, .. } = *record;
        self.entries.push(Entry { partition, offset, timestamp_ms, key, value, headers });
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// In the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record {
            partition: entry.partition,
            offset: entry.offset,
            timestamp_ms: entry.timestamp_ms,
            key: entry.key.clone().map(|key| &self.bytes[key]),
            value: entry.value.clone().map(|value| &self.bytes[value]),
            headers: &self.bytes[entry.headers.clone()],
        })
    }

    /// One span a partition, in ascending order.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = BTreeMap::new();
        for entry in &self.entries {
            spans.insert(entry.partition, entry.offset + 1);
        }
        spans.into_iter().map(|(partition, next)| Span { partition, next }).collect()
    }

    /// Leaves out the records of these partitions; how many there were.
    pub fn drop_partitions(&mut self, partitions: &[Partition]) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !partitions.contains(&entry.partition));
        if self.entries.is_empty() {
            self.bytes.clear();
        }
        before - self.entries.len()
    }

    /// Empties it. A batch that was unusually large gives its memory back.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > 2 * keep_bytes {
            self.bytes.shrink_to(keep_bytes);
        }
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let from = bytes.len();
    bytes.extend_from_slice(part);
    from..bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[(Partition, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (partition, offset) in records {
            let value = Some(&b"v"[..]);
            batch.push_record(&Record {
                partition: *partition,
                offset: *offset,
                timestamp_ms: None,
                key: None,
                value,
                headers: b"h",
            });
        }
        batch
    }

    #[test]
    fn spans_end_behind_the_last_record_of_each_partition() {
        let batch = batch(&[(1, 5), (0, 7), (1, 9), (0, 8)]);
        assert_eq!(batch.spans(), [Span { partition: 0, next: 9 }, Span { partition: 1, next: 10 }]);
    }

    #[test]
    fn a_partition_that_is_lost_leaves_the_others_whole() {
        let mut batch = batch(&[(1, 5), (0, 7), (1, 6)]);
        assert_eq!(batch.drop_partitions(&[1]), 2);
        let left: Vec<_> = batch.iter().map(|record| (record.partition, record.offset)).collect();
        assert_eq!((left, batch.bytes()), (vec![(0, 7)], 6));
        let record = batch.iter().next().unwrap();
        assert_eq!((record.key, record.value, record.headers), (None, Some(&b"v"[..]), &b"h"[..]));
        assert_eq!(batch.drop_partitions(&[0]), 1);
        assert_eq!(batch.bytes(), 0);
    }
}
