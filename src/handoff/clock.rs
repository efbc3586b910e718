//! One epoch for all threads. Only net and kafka read it; everything below takes time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the gateway's start, monotonic: a jump of the wall clock never moves a deadline.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Wall clock in milliseconds since the Unix epoch; 0 if the clock stands before it.
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
