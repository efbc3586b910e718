//! What the gateway shows of itself: metrics, health, readiness, the state dump, the status page's numbers.
//!
//! Owns nothing; puts together what the rooms count. Asked by the poll thread only.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;

use super::options::GatewayOptions;
use super::status;
use crate::event::Outcome;
use crate::handoff::{Clock, Shared, lock, unix_ms};
use crate::metrics::{self, BrokerRtt, ListenerSnapshot, ProcessSnapshot, Snapshot};
use crate::net::{Host, HubStats};
use crate::session::{AdminView, Now};

/// The Kafka thread turns at least every 250 ms; without a turn for so long it hangs, in microseconds.
const BEAT_US: u64 = 5_000_000;

/// Fixed facts and shared counters behind every answer.
pub struct Face {
    pub shared: Arc<Shared>,
    pub clock: Clock,
    pub options: GatewayOptions,
    pub memory_worst_case: u64,
    pub kafka_thread: JoinHandle<()>,
    pub next_metrics_us: u64,
}

impl Face {
    fn snapshot(&self, stats: &HubStats) -> Snapshot {
        let account = self.shared.ledger.account();
        let (budget, board) = (&self.shared.budget, &self.shared.board);
        let limits = budget.limits();
        let round_trips = lock(&board.round_trips);
        let last_delivery_ms = board.last_delivery_unix_ms.get();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.clock.now_us() as f64 / 1e6,
            ready: board.ready.load(SeqCst),
            listeners: [
                ListenerSnapshot {
                    connections: stats.tcp_connections as u64,
                    accepted: stats.accepted_connections,
                    accept_errors: stats.accept_errors,
                    refused: stats.refused[0],
                    paused_seconds: stats.paused_seconds,
                },
                ListenerSnapshot {
                    connections: stats.http_connections as u64,
                    accepted: stats.http_accepted,
                    refused: stats.refused[1],
                    ..ListenerSnapshot::default()
                },
                ListenerSnapshot {
                    connections: stats.health_connections as u64,
                    accepted: stats.health_accepted,
                    ..ListenerSnapshot::default()
                },
            ],
            paused: [stats.paused_queue, stats.paused_lane, stats.paused_memory, stats.paused_answers]
                .map(|connections| connections as u64),
            records_received: account.accepted,
            records: account.outcomes,
            rejects: stats.rejects.clone(),
            reject_letters_dropped: stats.rejects_left_out + self.shared.board.rejects_lost.get(),
            records_lost: account.lost,
            unread_bytes: stats.unread_bytes,
            rate_limited: stats.rate_limited,
            rate_limit_crowded_out: stats.crowded_out,
            http_responses: stats.responses,
            request_duration: stats.request_duration.clone(),
            retries_answered: [stats.keys.replayed, stats.keys.joined, stats.keys.conflicts],
            queue_records: budget.records() as u64,
            queue_bytes: budget.bytes() as u64,
            queue_limit_records: limits.max_records as u64,
            queue_limit_bytes: limits.max_bytes as u64,
            inflight_records: board.client_records.get(),
            memory_accounted_bytes: (budget.bytes() + stats.held_bytes) as u64,
            memory_worst_case_bytes: self.memory_worst_case,
            record_ack: self.shared.latency.snapshot(),
            resume: self.shared.resume.snapshot(),
            brokers_up: board.brokers_up.get(),
            brokers_down: board.brokers_down.get(),
            broker_rtt: round_trips
                .iter()
                .map(|(broker, us)| BrokerRtt { broker: *broker, seconds: *us as f64 / 1e6 })
                .collect(),
            retries: board.retries.get(),
            produce_errors: account.of(Outcome::NotStored) + account.of(Outcome::Unknown),
            producer_rebuilds: board.producers_built.get().saturating_sub(1),
            last_delivery_unix_seconds: (last_delivery_ms > 0).then_some(last_delivery_ms as f64 / 1e3),
            partitions: board.partitions.get(),
            lanes_held: board.lanes_down.get(),
            loop_turns: stats.loop_turns,
            loop_idle_turns: stats.loop_idle_turns,
            log_suppressed: metrics::suppressed_lines(),
            process: ProcessSnapshot::default(),
        }
    }

    fn state_text(&self, stats: &HubStats, body: &mut String) {
        let account = self.shared.ledger.account();
        let (budget, board) = (&self.shared.budget, &self.shared.board);
        let outcomes =
            Outcome::ALL.map(|outcome| format!("{}={}", outcome.name(), account.of(outcome))).join(" ");
        let lines = [
            format!("state phase={} ready={}", *lock(&board.phase), board.ready.load(SeqCst)),
            format!(
                "ledger accepted={} {outcomes} in_flight={} lost={}",
                account.accepted,
                account.in_flight(),
                account.lost
            ),
            format!(
                "buffer records={}/{} bytes={}/{} held={} client={}",
                budget.records(),
                budget.limits().max_records,
                budget.bytes(),
                budget.limits().max_bytes,
                board.held_records.get(),
                board.client_records.get()
            ),
            format!(
                "lanes partitions={} down={} full={} brokers_up={} brokers_down={} producers_built={}",
                board.partitions.get(),
                board.lanes_down.get(),
                board.lanes_full.get(),
                board.brokers_up.get(),
                board.brokers_down.get(),
                board.producers_built.get()
            ),
            format!(
                "connections tcp={} http={} health={} paused_queue={} paused_lane={} paused_memory={} paused_answers={} paused_seconds={:.3}",
                stats.tcp_connections,
                stats.http_connections,
                stats.health_connections,
                stats.paused_queue,
                stats.paused_lane,
                stats.paused_memory,
                stats.paused_answers,
                stats.paused_seconds
            ),
        ];
        for line in lines {
            body.push_str(&line);
            body.push('\n');
        }
        for (peer, reason) in &stats.paused {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "paused peer={peer} reason={reason}");
        }
        if let Some((at_ms, error)) = lock(&board.last_error).as_ref() {
            let _ = writeln!(
                body,
                "last_error age_ms={} reason=\"{}\"",
                unix_ms() - at_ms,
                crate::event::excerpt(error.as_bytes())
            );
        }
    }
}

impl Host for Face {
    fn view<'a>(&'a self, stats: &'a HubStats, draining: bool) -> Box<dyn AdminView + 'a> {
        Box::new(View { face: self, stats, draining })
    }

    fn tick(&mut self, stats: &dyn Fn() -> HubStats, now: Now) {
        let interval_us = self.options.metrics_interval.as_micros() as u64;
        if interval_us == 0 || now.us < self.next_metrics_us {
            return;
        }
        self.next_metrics_us = now.us + interval_us;
        let line = metrics::line(&self.snapshot(&stats()), (now.unix_ms / 1000).max(0) as u64);
        log::info!(target: "metrics", "{line}");
    }

    fn dump(&mut self, stats: &HubStats) {
        let mut text = String::new();
        self.state_text(stats, &mut text);
        for (part, pairs) in text.lines().filter_map(|line| line.split_once(' ')) {
            log::info!(target: "gateway", "gateway.state part={part} {pairs}");
        }
    }

    fn kafka_has_ended(&self) -> bool {
        self.kafka_thread.is_finished()
    }
}

struct View<'a> {
    face: &'a Face,
    stats: &'a HubStats,
    draining: bool,
}

impl AdminView for View<'_> {
    fn health(&self, body: &mut String) -> bool {
        let board = &self.face.shared.board;
        let age_us = self.face.clock.now_us().saturating_sub(board.beat_us.get());
        let is_alive = age_us < BEAT_US || self.draining;
        let status = if is_alive { "OK" } else { "STUCK" };
        let _ = write!(
            body,
            r#"{{"status":"{status}","poll":"OK","kafka_thread_beat_ms":{},"kafka":"{}"}}"#,
            age_us / 1000,
            *lock(&board.phase)
        );
        is_alive
    }

    fn ready(&self, body: &mut String) -> bool {
        let board = &self.face.shared.board;
        let is_ready = board.ready.load(SeqCst) && !self.draining;
        let reason = if self.draining { "draining" } else { *lock(&board.phase) };
        let status = if is_ready { "ready" } else { "not_ready" };
        let _ = write!(
            body,
            r#"{{"status":"{status}","kafka":"{reason}","partitions":{},"lanes_down":{},"brokers_up":{},"brokers_down":{},"queue_records":{},"queue_limit_records":{}}}"#,
            board.partitions.get(),
            board.lanes_down.get(),
            board.brokers_up.get(),
            board.brokers_down.get(),
            self.face.shared.budget.records(),
            self.face.shared.budget.limits().max_records
        );
        is_ready
    }

    fn metrics(&self, body: &mut String) {
        let mut snapshot = self.face.snapshot(self.stats);
        snapshot.process = ProcessSnapshot::read();
        metrics::prometheus(&snapshot, body);
    }

    fn state(&self, body: &mut String) {
        self.face.state_text(self.stats, body);
    }

    fn status(&self, body: &mut String) {
        let mut snapshot = self.face.snapshot(self.stats);
        snapshot.process = ProcessSnapshot::read();
        let status = status::status(&snapshot, &self.face.shared.board, self.draining);
        // Writing to a String cannot fail.
        let _ = write!(body, "{status}");
    }
}
