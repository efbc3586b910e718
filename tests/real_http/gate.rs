//! Lets senders have numbers of requests as the scenario grants them, and tells it how far they are.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    granted: u64,
    taken: u64,
    written: u64,
    is_closed: bool,
}

#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a sender is to do.
pub enum Turn {
    Send(Range<u64>),
    /// Nothing new before the moment that it named.
    Wake,
    End,
}

impl Gate {
    /// A gate whose first request has this number.
    pub fn from(first: u64) -> Gate {
        let state = State { granted: first, taken: first, written: first, is_closed: false };
        Gate { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Lets `count` requests more through at once.
    pub fn grant(&self, count: u64) {
        self.lock().granted += count;
        self.changed.notify_all();
    }

    /// Spreads them over `time`: what comes while Kafka is away comes all the while.
    pub fn pace(&self, count: u64, time: Duration) {
        let steps = 100;
        for step in 0..steps {
            self.grant(count * (step + 1) / steps - count * step / steps);
            std::thread::sleep(time / steps as u32);
        }
    }

    /// Nothing more comes after what was granted.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until everything granted has been written.
    #[track_caller]
    pub fn await_written(&self, patience: Duration) {
        let left = |state: &mut State| state.written < state.granted;
        let (state, result) = self.changed.wait_timeout_while(self.lock(), patience, left).unwrap();
        assert!(!result.timed_out(), "{} of {} requests written", state.written, state.granted);
    }

    /// The next requests of a sender, at most so many; waits for them until `until`.
    pub fn take(&self, most: u64, until: Option<Instant>) -> Turn {
        let mut state = self.lock();
        loop {
            if state.taken < state.granted && most > 0 {
                let first = state.taken;
                state.taken = state.granted.min(first + most);
                return Turn::Send(first..state.taken);
            }
            if state.is_closed && state.taken == state.granted {
                return Turn::End;
            }
            let time =
                until.map_or(Duration::from_secs(1), |until| until.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return Turn::Wake;
            }
            state = self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// A sender has written, or given up, so many of those that it took.
    pub fn wrote(&self, count: u64) {
        self.lock().written += count;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
