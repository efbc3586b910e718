//! How much may be between acceptance and receipt, and the two marks.
//!
//! Taken by whoever accepts, given back by the Kafka thread the moment a record's outcome is known: one number
//! for batches, held records and those inside the client library (S0-R7, S0-E4).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use super::options::BufferOptions;

/// Records and bytes in flight against their high marks; the low marks are 80 % of them.
#[derive(Debug)]
pub struct Budget {
    records: AtomicUsize,
    bytes: AtomicUsize,
    /// Records that were given back since the start.
    ended: AtomicU64,
    high: BufferOptions,
}

/// What still fits below the high marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub records: usize,
    pub bytes: usize,
}

impl Room {
    /// Whether another message may be taken. Bytes may be overrun by one message, records never.
    pub fn is_open(self) -> bool {
        self.records > 0 && self.bytes > 0
    }

    pub fn use_up(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Budget {
    pub fn new(high: BufferOptions) -> Self {
        assert!(high.max_records > 0 && high.max_bytes > 0, "a buffer of nothing passes nothing");
        Self { records: AtomicUsize::new(0), bytes: AtomicUsize::new(0), ended: AtomicU64::new(0), high }
    }

    pub fn take(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Takes room for one record unless a mark is reached (several threads may compete).
    pub fn try_take_one(&self, bytes: usize) -> bool {
        let fits = |now: usize| (now < self.high.max_records).then_some(now + 1);
        if self.bytes.load(Relaxed) >= self.high.max_bytes
            || self.records.fetch_update(Relaxed, Relaxed, fits).is_err()
        {
            return false;
        }
        self.bytes.fetch_add(bytes, Relaxed);
        true
    }

    /// Ordered before a look at the poll thread's bell, as [`Budget::is_low`] is after the announcement of its
    /// sleep: one of the two sees the other.
    pub fn give_back(&self, records: usize, bytes: usize) {
        let before = self.records.fetch_sub(records, SeqCst);
        debug_assert!(before >= records, "more receipts than records");
        self.bytes.fetch_sub(bytes, SeqCst);
        self.ended.fetch_add(records as u64, Relaxed);
    }

    pub fn room(&self) -> Room {
        Room {
            records: self.high.max_records.saturating_sub(self.records.load(Relaxed)),
            bytes: self.high.max_bytes.saturating_sub(self.bytes.load(Relaxed)),
        }
    }

    /// Below both low marks: paused connections may go on.
    pub fn is_low(&self) -> bool {
        self.records.load(SeqCst) * 5 <= self.high.max_records * 4
            && self.bytes.load(SeqCst) / 4 * 5 <= self.high.max_bytes
    }

    pub fn records(&self) -> usize {
        self.records.load(Relaxed)
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Records that have left the buffer since the start, for the rate at which it drains.
    pub fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    pub fn limits(&self) -> &BufferOptions {
        &self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S0-R7: stop at the mark, go on below 80 %.
    #[test]
    fn marks() {
        let budget = Budget::new(BufferOptions { max_records: 10, max_bytes: 1000 });
        budget.take(10, 100);
        assert!(!budget.room().is_open() && !budget.try_take_one(1));
        budget.give_back(1, 10);
        assert!(!budget.is_low());
        assert_eq!(budget.ended(), 1);
        budget.give_back(1, 10);
        assert!(budget.is_low() && budget.try_take_one(920));
        assert!(!budget.room().is_open(), "the byte mark counts as well");
    }
}
