//! How long to wait before the next try: longer each time, and never the same for two processes.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double from a tenth of a second to five, each shortened by up to half at random.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait.
    pub fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// How often in a row it did not work.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_anew() {
        let mut backoff = Backoff::default();
        let mut bound = FIRST;
        for _ in 0..40 {
            let wait = backoff.next();
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}");
            bound = (bound * 2).min(LONGEST);
        }
        assert_eq!(backoff.tries(), 40);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
