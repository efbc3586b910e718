//! What a consumer shows of itself: numbers that the loop writes and the health listener reads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::handoff::{lock, unix_ms};
use crate::kafka::consumer::Partition;
use crate::metrics::ConsumerSnapshot;

/// The loop has stopped turning if it was not heard of for so long: above every bound of a database call.
const STUCK_MS: i64 = 120_000;

/// Shared; every number stands for itself.
#[derive(Debug, Default)]
pub struct Board {
    /// Rows written.
    pub rows: AtomicU64,
    /// Records that were there already.
    pub doubles: AtomicU64,
    /// Records that went to the dead letters.
    pub dead: AtomicU64,
    /// Records read whose partition went to somebody else before they were stored; that one reads them again.
    pub dropped: AtomicU64,
    pub batches: AtomicU64,
    pub last_batch_records: AtomicU64,
    /// Tries that failed for a passing reason.
    pub retries: AtomicU64,
    /// Milliseconds since the Unix epoch; 0 for never.
    pub last_commit_ms: AtomicI64,
    pub last_turn_ms: AtomicI64,
    /// A batch or a claim waits for a database or a broker that is away.
    pub is_waiting: AtomicBool,
    /// It has joined the group.
    pub is_started: AtomicBool,
    pub is_stopping: AtomicBool,
    /// By partition that is ours: where its reading stands, `None` before it began.
    pub positions: Mutex<BTreeMap<Partition, Option<i64>>>,
    /// By partition: the offset that its next record will get.
    pub ends: Mutex<BTreeMap<Partition, i64>>,
}

impl Board {
    /// The loop turns.
    pub fn turn(&self) {
        self.last_turn_ms.store(unix_ms(), Relaxed);
    }

    pub fn is_alive(&self) -> bool {
        unix_ms() - self.last_turn_ms.load(Relaxed) < STUCK_MS
    }

    /// One word for the state; `ready` means that what is read now is stored now.
    pub fn state(&self) -> &'static str {
        if self.is_stopping.load(Relaxed) {
            "stopping"
        } else if !self.is_started.load(Relaxed) {
            "starting"
        } else if self.is_waiting.load(Relaxed) {
            "waiting"
        } else if lock(&self.positions).values().any(Option::is_none) {
            "claiming"
        } else {
            "ready"
        }
    }

    /// Records behind, by partition that is ours.
    pub fn lag(&self) -> Vec<(Partition, i64)> {
        let ends = lock(&self.ends).clone();
        let positions = lock(&self.positions);
        let known = positions.iter().filter_map(|(partition, at)| Some((*partition, (*at)?)));
        known.filter_map(|(partition, at)| Some((partition, (ends.get(&partition)? - at).max(0)))).collect()
    }

    /// All of it at one moment.
    pub fn snapshot(&self, consumer: &'static str) -> ConsumerSnapshot {
        let last_commit_ms = self.last_commit_ms.load(Relaxed);
        // Before the rest: the guard would live as long as the whole expression, and the lag takes it as well.
        let partitions = lock(&self.positions).len() as u64;
        ConsumerSnapshot {
            version: env!("CARGO_PKG_VERSION"),
            consumer,
            ready: self.state() == "ready",
            partitions,
            rows: self.rows.load(Relaxed),
            doubles: self.doubles.load(Relaxed),
            dead_lettered: self.dead.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            batches: self.batches.load(Relaxed),
            last_batch_records: self.last_batch_records.load(Relaxed),
            retries: self.retries.load(Relaxed),
            last_commit_unix_seconds: (last_commit_ms > 0).then_some(last_commit_ms as f64 / 1000.0),
            lag: self.lag(),
            process: crate::metrics::ProcessSnapshot::read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_what_stores_now() {
        let board = Board::default();
        assert_eq!(board.state(), "starting");
        board.is_started.store(true, Relaxed);
        assert_eq!(board.state(), "ready", "a member without partitions stands by");
        lock(&board.positions).insert(0, None);
        assert_eq!(board.state(), "claiming");
        lock(&board.positions).insert(0, Some(5));
        lock(&board.ends).extend([(0, 12), (1, 100)]);
        assert_eq!((board.state(), board.lag()), ("ready", vec![(0, 7)]));
        let snapshot = board.snapshot("event-log");
        assert_eq!((snapshot.partitions, snapshot.lag), (1, vec![(0, 7)]));
        board.is_waiting.store(true, Relaxed);
        assert_eq!(board.state(), "waiting");
        board.is_stopping.store(true, Relaxed);
        assert_eq!(board.state(), "stopping");
    }

    #[test]
    fn a_loop_that_does_not_turn_is_not_alive() {
        let board = Board::default();
        assert!(!board.is_alive());
        board.turn();
        assert!(board.is_alive());
    }
}
