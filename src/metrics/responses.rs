//! Responses of the HTTP listener by status, and how long requests took.
//!
//! Shared by all sessions of one poll thread, which alone writes: an addition is a load and a store, no locked
//! instruction. Knows the statuses that can be given; whoever gives another one adds it here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Histogram, HistogramSnapshot};

/// Statuses that are given, in the order of [`Responses::by_status`]. 100 is none: it comes before the response.
pub const STATUSES: [u16; 21] =
    [200, 202, 204, 207, 400, 404, 405, 408, 409, 411, 413, 414, 415, 417, 422, 429, 431, 501, 503, 504, 505];

/// Marks a status that is not in [`STATUSES`].
const NOWHERE: u8 = u8::MAX;

/// Places by status, from 0 up.
const PLACES: [u8; 600] = {
    let mut places = [NOWHERE; 600];
    let mut place = 0;
    while place < STATUSES.len() {
        places[STATUSES[place] as usize] = place as u8;
        place += 1;
    }
    places
};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Responses {
    by_status: [AtomicU64; STATUSES.len()],
    durations: Histogram,
}

impl Responses {
    /// Counts a response; `micros`: from the end of its request's head until it could be written.
    #[inline]
    pub fn record(&self, status: u16, micros: u64) {
        let place = PLACES.get(usize::from(status)).copied().unwrap_or(NOWHERE);
        let Some(count) = self.by_status.get(usize::from(place)) else {
            debug_assert!(status == 100, "{status} is not among the statuses that are counted");
            return;
        };
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        self.durations.record_alone(micros);
    }

    /// Responses given, in the order of [`STATUSES`].
    pub fn by_status(&self) -> [u64; STATUSES.len()] {
        self.by_status.each_ref().map(|count| count.load(Relaxed))
    }

    /// How long requests took.
    pub fn durations(&self) -> HistogramSnapshot {
        self.durations.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_own_count_and_continue_has_none() {
        let responses = Responses::default();
        for (place, status) in STATUSES.into_iter().enumerate() {
            (0..=place).for_each(|_| responses.record(status, 700));
        }
        responses.record(100, 1);
        let counts = responses.by_status();
        assert!(counts.into_iter().eq(1..=STATUSES.len() as u64), "{counts:?}");
        assert_eq!(responses.durations().count(), counts.iter().sum::<u64>());
        assert!(STATUSES.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
