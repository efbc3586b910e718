//! What integration tests share: waiting for a condition, real Kafka, a `sluice serve` and a `sluice broker` process,
//! and reading a topic back.
//!
//! Everything talks to loopback only, and everything that waits has a deadline. Nothing here checks what Sluice does:
//! that is each test's own business. A test target takes what it needs, hence the `allow`.
#![allow(dead_code, unused_imports)]

mod broker;
mod consumer;
mod disk;
mod http;
mod lines;
#[cfg(feature = "consume")]
mod postgres;
mod process;
mod real_kafka;
mod redis;
mod senders;
mod topic;

use std::time::{Duration, Instant};

pub use broker::Broker;
pub use consumer::{Consumer, produce};
pub use disk::TinyDisk;
pub use http::{Answer, Http, chunked, request};
#[cfg(feature = "consume")]
pub use postgres::{RealPostgres, TestDatabase};
pub use process::{Sluice, command};
pub use real_kafka::RealKafka;
pub use redis::RealRedis;
pub use senders::{Fate, Senders, Sent, assert_balanced, compare, count, score_of, tally};
pub use topic::{Record, end_offsets, read_all, read_each};

/// Enough for whatever takes long only when something is broken; tests on a busy machine stay green.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
/// When `deadline` has passed without it; the message says `what` was awaited.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(deadline, what, || condition().then_some(()));
}

/// Waits until `look` finds something, and returns it. Panics as [`eventually`] does.
#[track_caller]
pub fn eventually_some<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
