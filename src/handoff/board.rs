//! What the Kafka thread knows of the cluster, for whoever shows it or decides readiness.
//!
//! Written by the Kafka thread, read by the poll thread; plain numbers, no order between them is promised.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Topics that a gateway writes to at most.
pub const TOPICS_MAX: usize = 4;

/// A number on the board.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Board {
    /// A record handed over now can be stored (G15).
    pub ready: AtomicBool,
    /// Why not, or `ready`.
    pub phase: Mutex<&'static str>,
    pub partitions: Cell,
    /// Partitions whose leader is not up.
    pub lanes_down: Cell,
    /// Partitions that take no more for now because their broker holds its share of the buffer.
    pub lanes_full: Cell,
    pub brokers_up: Cell,
    pub brokers_down: Cell,
    /// Records that wait on our side for their lane.
    pub held_records: Cell,
    /// Records inside the client library.
    pub client_records: Cell,
    /// Records that the client library sent again, S0's `retried`.
    pub retries: Cell,
    pub producers_built: Cell,
    pub last_delivery_unix_ms: Cell,
    /// Letters of refused messages that neither the topic nor the folder of dead letters took.
    pub rejects_lost: Cell,
    /// Microseconds on the gateway's clock at the Kafka thread's last turn.
    pub beat_us: Cell,
    /// Largest record that each topic and its brokers take, in bytes; 0 while unknown.
    pub max_record_bytes: [Cell; TOPICS_MAX],
    /// (broker id, average round trip in microseconds).
    pub round_trips: Mutex<Vec<(i32, u64)>>,
    /// The last error the client library spoke of: when (Unix ms), and what.
    pub last_error: Mutex<Option<(i64, String)>>,
}

/// Locks, whatever happened to a thread that held it: the data are plain values.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
