//! `/status.json`: the numbers that the status page shows, for its differences and for scripts.
//!
//! Owns the member names, which the page and scripts read. Bounded: numbers, words of our own, and one error that is
//! cut to an excerpt.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use crate::event::excerpt;
use crate::handoff::{Board, lock, unix_ms};
use crate::metrics::{LISTENERS, OUTCOMES, PAUSE_REASONS, Snapshot};

/// One moment of the gateway. Counters are since start; who wants rates asks twice.
pub fn status(s: &Snapshot, board: &Board, draining: bool) -> Value {
    let phase = if draining { "draining" } else { *lock(&board.phase) };
    let listeners = s.listeners.iter().map(|listener| listener.connections);
    let last_error = lock(&board.last_error)
        .as_ref()
        .map(|(at_ms, error)| json!({ "unix_ms": at_ms, "text": excerpt(error.as_bytes()).to_string() }));
    json!({
        "version": s.version,
        "uptime_seconds": s.uptime_seconds,
        "ready": board.ready.load(SeqCst) && !draining,
        "phase": phase,
        "records": {
            "accepted": s.records_received,
            "outcomes": object(OUTCOMES.into_iter().zip(s.records)),
            "in_flight": s.records_received.saturating_sub(s.ended_total()),
            "lost": s.records_lost,
            "rejects": object(s.rejects.iter().copied()),
            "ack_count": s.record_ack.count(),
            "ack_seconds_sum": s.record_ack.sum_seconds(),
        },
        "queue": {
            "records": s.queue_records,
            "limit_records": s.queue_limit_records,
            "bytes": s.queue_bytes,
            "limit_bytes": s.queue_limit_bytes,
            "held_records": board.held_records.get(),
            "client_records": s.inflight_records,
        },
        "connections": {
            "open": object(LISTENERS.into_iter().zip(listeners)),
            "paused": object(PAUSE_REASONS.into_iter().zip(s.paused)),
            "paused_seconds": s.listeners.iter().map(|listener| listener.paused_seconds).sum::<f64>(),
        },
        "lanes": { "count": s.partitions, "down": s.lanes_held, "full": board.lanes_full.get() },
        "kafka": {
            "brokers_up": s.brokers_up,
            "brokers_down": s.brokers_down,
            "retries": s.retries,
            "producer_rebuilds": s.producer_rebuilds,
            "last_delivery_unix_seconds": s.last_delivery_unix_seconds,
        },
        "memory": {
            "resident_bytes": s.process.resident_bytes,
            "accounted_bytes": s.memory_accounted_bytes,
            "worst_case_bytes": s.memory_worst_case_bytes,
        },
        "unix_ms": unix_ms(),
        "last_error": last_error,
    })
}

fn object<'n>(members: impl Iterator<Item = (&'n str, u64)>) -> Value {
    members.map(|(name, number)| (name.to_owned(), Value::from(number))).collect()
}
