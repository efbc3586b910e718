//! Latency in fixed buckets.
//!
//! Owns the bucket bounds. [`HistogramSnapshot`] is plain and for one thread; [`Histogram`] is shared. A thread that
//! counts millions a second fills a plain one and merges it once a turn. Neither allocates, locks or reads a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds in microseconds (a value on a bound belongs to it), half a millisecond to a minute. Roughly
/// log-spaced, with more of them where a stored record's time lies with a linger of 0 to 10 ms.
pub const BOUNDS_MICROS: [u32; 24] = [
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 150_000,
    200_000, 300_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000,
    60_000_000,
];

/// The bounds' buckets and one for everything above.
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// By the number of significant bits in a value: how many bounds lie below all values of that many bits.
const BELOW: [u8; 33] = {
    let mut below = [0; 33];
    let mut bits = 1;
    while bits < 33 {
        let least = 1_u32 << (bits - 1);
        let mut place = below[bits - 1];
        while (place as usize) < BOUNDS_MICROS.len() && BOUNDS_MICROS[place as usize] < least {
            place += 1;
        }
        below[bits] = place;
        bits += 1;
    }
    below
};

/// The bounds, and two that no value exceeds, so that [`bucket_of`] may look two places ahead.
const PADDED: [u32; BUCKETS + 1] = {
    let mut padded = [u32::MAX; BUCKETS + 1];
    let mut place = 0;
    while place < BOUNDS_MICROS.len() {
        padded[place] = BOUNDS_MICROS[place];
        place += 1;
    }
    padded
};

/// Place of the bucket that takes `micros`, without a branch. No more than two bounds share their highest bit (the
/// test tries both sides of every bound and power of two), so two compares end what the table began.
fn bucket_of(micros: u64) -> usize {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    let place = usize::from(BELOW[(u32::BITS - micros.leading_zeros()) as usize]);
    place + usize::from(micros > PADDED[place]) + usize::from(micros > PADDED[place + 1])
}

/// A histogram's numbers at one moment, or one thread's own count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl HistogramSnapshot {
    /// Counts `n` events that each took `micros`. The sum wraps after some 580,000 years of summed latency (years of
    /// uptime with 100,000 records waiting all the time), which a reader takes for a restart.
    #[inline]
    pub fn record_n(&mut self, micros: u64, n: u64) {
        self.counts[bucket_of(micros)] += n;
        self.sum_micros = self.sum_micros.wrapping_add(micros.wrapping_mul(n));
    }

    /// Events in each bucket, not cumulative; the last one is for what lies above all bounds.
    pub fn buckets(&self) -> &[u64] {
        &self.counts
    }

    /// Events counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all events' times in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Estimate of the time in seconds below which a share `q` (0 to 1) of the events lies: linear inside a bucket, as
    /// Prometheus does it, and at most the last bound. `None` when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let (mut below, mut low_micros) = (0.0, 0.0);
        for (&bound, &count) in BOUNDS_MICROS.iter().zip(&self.counts) {
            let (high_micros, count) = (f64::from(bound), count as f64);
            if count > 0.0 && below + count >= rank {
                return Some((low_micros + (high_micros - low_micros) * (rank - below) / count) / 1e6);
            }
            below += count;
            low_micros = high_micros;
        }
        Some(low_micros / 1e6)
    }
}

/// A histogram that any thread may add to. Readers may see a sum that is an event ahead of the counts.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts `n` events that each took `micros`: two uncontended atomic additions.
    #[inline]
    pub fn record_n(&self, micros: u64, n: u64) {
        self.counts[bucket_of(micros)].fetch_add(n, Relaxed);
        self.sum_micros.fetch_add(micros.wrapping_mul(n), Relaxed);
    }

    /// Counts one event for the only thread that ever adds: loads and stores, no locked instruction.
    #[inline]
    pub fn record_alone(&self, micros: u64) {
        let add = |counter: &AtomicU64, n| counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
        add(&self.counts[bucket_of(micros)], 1);
        add(&self.sum_micros, micros);
    }

    /// Adds all of one thread's own count; touches only buckets that it used.
    pub fn merge(&self, own: &HistogramSnapshot) {
        for (shared, &count) in self.counts.iter().zip(&own.counts) {
            if count > 0 {
                shared.fetch_add(count, Relaxed);
            }
        }
        self.sum_micros.fetch_add(own.sum_micros, Relaxed);
    }

    /// The numbers now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut counts = [0; BUCKETS];
        for (plain, shared) in counts.iter_mut().zip(&self.counts) {
            *plain = shared.load(Relaxed);
        }
        HistogramSnapshot { counts, sum_micros: self.sum_micros.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_reach_from_half_a_millisecond_to_a_minute() {
        assert!(BOUNDS_MICROS.windows(2).all(|w| w[0] < w[1]));
        assert_eq!((BOUNDS_MICROS[0], BOUNDS_MICROS[23]), (500, 60_000_000));
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_it_and_anything_above_all_goes_last() {
        for (place, &bound) in BOUNDS_MICROS.iter().enumerate() {
            assert_eq!(bucket_of(u64::from(bound)), place);
            assert_eq!(bucket_of(u64::from(bound) + 1), place + 1);
        }
        for near in (0..34).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]) {
            let below = BOUNDS_MICROS.iter().filter(|&&bound| u64::from(bound) < near).count();
            assert_eq!(bucket_of(near), below, "{near}");
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << 32), BUCKETS - 1, "must not wrap to 0");
    }

    #[test]
    fn shared_and_own_counts_agree() {
        let (shared, merged) = (Histogram::default(), Histogram::default());
        let mut own = HistogramSnapshot::default();
        for (micros, n) in [(0, 1), (499, 2), (4_300, 500), (7_400, 5), (61_000_000, 3)] {
            shared.record_n(micros, n);
            own.record_n(micros, n);
        }
        merged.merge(&own);
        assert_eq!(shared.snapshot(), own);
        assert_eq!(merged.snapshot(), own);
        assert_eq!(own.count(), 511);
        let sum = (998 + 4_300 * 500 + 7_400 * 5 + 61_000_000 * 3) as f64 / 1e6;
        assert!((own.sum_seconds() - sum).abs() < 1e-9);
        merged.merge(&own);
        assert_eq!(merged.snapshot().count(), 1_022);
    }

    #[test]
    fn additions_of_several_threads_all_arrive() {
        let shared = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|i| shared.record_n(i, 1)));
            }
        });
        assert_eq!(shared.snapshot().count(), 40_000);
        assert!((shared.snapshot().sum_seconds() - 4.0 * 49.995).abs() < 1e-6);
    }

    #[test]
    fn quantiles_lie_in_the_right_bucket() {
        let mut own = HistogramSnapshot::default();
        assert_eq!(own.quantile(0.5), None);
        own.record_n(4_000, 99); // between 3 and 5 ms
        own.record_n(90_000_000, 1); // above all bounds
        let p50 = own.quantile(0.5).unwrap();
        assert!((0.003..=0.005).contains(&p50), "{p50}");
        assert_eq!(own.quantile(0.99), Some(0.005));
        assert_eq!(own.quantile(1.0), Some(60.0), "no guess beyond the last bound");
        assert_eq!(own.quantile(0.0), Some(0.003));
        assert_eq!(own.quantile(7.0), own.quantile(1.0));
    }
}
