//! Which lane the records without a key go to: one for a while, then the next.
//!
//! A Produce request costs the client library and the broker nearly the same whether it holds two records or four
//! hundred, so spreading a trickle over all partitions makes every record pay for a request of its own. A stay is as
//! long as records linger, or as a request is full, whichever comes first: over time all partitions get the same.
//! Owns no lane and never looks whether one is open: that is the caller's.

/// Records that fill a request: a partition's share of the buffer, halved. With the client's own default, lanes would
/// wait the linger out.
pub fn request_records(max_records: usize, partitions: usize) -> usize {
    (max_records / (2 * partitions.max(1))).clamp(100, 10_000)
}

/// A topic's present stay.
#[derive(Debug, Default)]
pub struct Stay {
    /// How many partitions there are, and the records that fill a request of one.
    count: usize,
    most: usize,
    number: usize,
    since_us: u64,
    records: usize,
}

impl Stay {
    /// Among `count` partitions (at least 1), with a buffer of `max_records`.
    pub fn new(count: usize, max_records: usize) -> Self {
        Self { count, most: request_records(max_records, count), ..Self::default() }
    }

    /// The partition of one more record, accepted at `now_us`. A stay ends after `longest_us` or with a full request.
    pub fn take(&mut self, now_us: u64, longest_us: u64) -> usize {
        if self.records >= self.most || now_us > self.since_us + longest_us {
            self.number = if self.number + 1 < self.count { self.number + 1 } else { 0 };
            (self.since_us, self.records) = (now_us, 0);
        }
        self.records += 1;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_ends_by_time_or_when_a_request_is_full() {
        let mut stay = Stay::new(12, 10);
        assert_eq!(
            (0..100).map(|_| stay.take(5_000, 5_000)).sum::<usize>(),
            0,
            "100 fill the smallest request"
        );
        assert_eq!([stay.take(5_000, 5_000), stay.take(10_000, 5_000), stay.take(10_001, 5_000)], [1, 1, 2]);
    }

    /// Without linger the records of one moment stay together, as they come in one batch.
    #[test]
    fn without_linger_each_moment_has_its_own() {
        let mut stay = Stay::new(12, 10_000);
        assert_eq!([7, 7, 8, 8].map(|now_us| stay.take(now_us, 0)), [1, 1, 2, 2]);
    }

    #[test]
    fn all_partitions_get_their_turn() {
        let mut stay = Stay::new(12, 10_000);
        let mut taken = [0; 12];
        (0..12 * 416).for_each(|at| taken[stay.take(at, 1_000_000)] += 1);
        assert_eq!(taken, [416; 12]);
    }
}
