//! What is to be sent and when: arithmetic only, so that a schedule cannot drift with the threads that keep it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lines::Corpus;

/// Bytes a write in closed loop, when the plan does not say.
const BULK_WRITE_BYTES: usize = 64 << 10;

/// Where the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Stdout,
}

/// What is to be sent, and how long that may take.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub connections: u32,
    /// Events a second over all connections; 0 = as fast as taken.
    pub rate: u64,
    /// Events over all connections.
    pub count: u64,
    /// Whether the end of `sending` is a normal end, not a cut.
    pub by_time: bool,
    pub sending: Duration,
    pub settle: Duration,
    /// Lines a write; 0 = the mode's own.
    pub per_write: u32,
    pub ack: bool,
    /// Whether the gateway's counters are read.
    pub watched: bool,
}

impl Plan {
    /// Events that connection `i` sends.
    pub fn quota(&self, i: u32) -> u64 {
        let connections = u64::from(self.connections);
        self.count / connections + u64::from(u64::from(i) < self.count % connections)
    }

    /// When event `k` of connection `i` is due, in nanoseconds of the run: event `k * connections + i` of all.
    pub fn due_ns(&self, i: u32, k: u64) -> u64 {
        let n = u128::from(k) * u128::from(self.connections) + u128::from(i);
        u64::try_from(n * 1_000_000_000 / u128::from(self.rate.max(1))).unwrap_or(u64::MAX)
    }

    pub fn lines_a_write(&self, corpus: &Corpus) -> usize {
        match (self.per_write, self.rate) {
            (0, 0) => (BULK_WRITE_BYTES / corpus.run(0, 1).bytes.len()).max(1),
            (0, _) => 1,
            (n, _) => n as usize,
        }
    }

    /// Threads that share an open loop: one can make some 100,000 writes a second.
    pub fn pacers(&self) -> usize {
        let writes = self.rate / u64::from(self.per_write.max(1));
        usize::try_from(writes / 60_000 + 1).unwrap_or(1).min(self.connections as usize)
    }

    /// End of sending in nanoseconds of the run.
    pub fn sending_ns(&self) -> u64 {
        u64::try_from(self.sending.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Where in the ring connection `i` begins.
    pub fn ring_start(&self, i: u32, corpus: &Corpus) -> u64 {
        u64::from(i) * corpus.len() as u64 / u64::from(self.connections)
    }

    /// One connection to nowhere.
    #[cfg(test)]
    pub fn small(rate: u64, count: u64) -> Self {
        Self {
            target: Target::Stdout,
            connections: 1,
            rate,
            count,
            by_time: false,
            sending: Duration::from_secs(5),
            settle: Duration::ZERO,
            per_write: 0,
            ack: false,
            watched: false,
        }
    }
}

/// The run's time, shared by all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that reads 0 at `start`, and before it.
    pub fn starting(start: Instant) -> Self {
        Self(start)
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn sleep_until(&self, ns: u64) {
        let target = self.0 + Duration::from_nanos(ns);
        let left = target.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_add_up_and_the_schedule_interleaves() {
        let mut plan = Plan::small(1000, 10);
        plan.connections = 4;
        assert_eq!([0, 1, 2, 3].map(|i| plan.quota(i)), [3, 3, 2, 2]);
        assert_eq!([plan.due_ns(0, 0), plan.due_ns(1, 0), plan.due_ns(0, 1)], [0, 1_000_000, 4_000_000]);
        plan.connections = 3;
        assert_eq!([0, 1, 2].map(|i| plan.quota(i)), [4, 3, 3]);
    }
}
