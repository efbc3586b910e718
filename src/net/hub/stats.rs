//! What the hub shows of its connections; counted when somebody asks.

use std::net::SocketAddr;

use super::{Hub, Wait};
use crate::metrics::{HistogramSnapshot, STATUSES};
use crate::net::stream::Stream;
use crate::session::{KeyCounts, Rejected};

/// What the connections look like, for metrics and the state dump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HubStats {
    pub tcp_connections: usize,
    pub http_connections: usize,
    pub health_connections: usize,
    /// Paused connections: the buffer is full, their lane is full, there is no room for the start of their message,
    /// they do not read their answers.
    pub paused_queue: usize,
    pub paused_lane: usize,
    pub paused_memory: usize,
    pub paused_answers: usize,
    pub paused_seconds: f64,
    /// Bytes of messages and answers held over all connections.
    pub held_bytes: usize,
    pub rejects: Vec<(&'static str, u64)>,
    /// Refused messages that were to become dead letters and found no room.
    pub rejects_left_out: u64,
    pub unread_bytes: u64,
    pub accepted_connections: u64,
    pub health_accepted: u64,
    pub http_accepted: u64,
    pub accept_errors: u64,
    /// Connections that were not let in: TCP, HTTP.
    pub refused: [u64; 2],
    /// Requests that found no token, and identities that lost a bucket before it was full.
    pub rate_limited: u64,
    pub crowded_out: u64,
    pub keys: KeyCounts,
    /// In the order of [`STATUSES`](crate::metrics::STATUSES).
    pub responses: [u64; STATUSES.len()],
    pub request_duration: HistogramSnapshot,
    pub loop_turns: u64,
    pub loop_idle_turns: u64,
    /// Paused connections by name, at most [`HubStats::MAX_NAMED`] of them (G7).
    pub paused: Vec<(SocketAddr, &'static str)>,
}

impl HubStats {
    pub const MAX_NAMED: usize = 100;
}

impl<S: Stream> Hub<S> {
    pub fn tcp_connections(&self) -> usize {
        self.table.len() - self.admins - self.https
    }

    pub fn admin_connections(&self) -> usize {
        self.admins
    }

    pub fn stats(&self) -> HubStats {
        let mut stats = HubStats {
            tcp_connections: self.tcp_connections(),
            http_connections: self.https,
            health_connections: self.admins,
            paused_seconds: self.paused_us as f64 / 1e6,
            held_bytes: self.desk.partial_held() + self.desk.web.window.bytes() + self.desk.web.answers_held,
            rejects: self.desk.rejects.by_reason(),
            rejects_left_out: self.desk.rejects.rejected.as_ref().map_or(0, Rejected::left_out),
            unread_bytes: self.unread_bytes,
            refused: self.desk.refused,
            rate_limited: self.desk.door.limited(),
            crowded_out: self.desk.door.crowded_out(),
            keys: self.desk.web.window.counts,
            responses: self.desk.web.responses.by_status(),
            request_duration: self.desk.web.responses.durations(),
            ..HubStats::default()
        };
        for (_, conn) in self.table.iter() {
            let reason = match conn.wait {
                Wait::Turn if self.blocked && !conn.is_admin() && !conn.is_http() => "queue",
                Wait::Lane => "lane",
                Wait::Answers => "answers",
                // Its start lies in the kernel, for want of room here.
                Wait::Bytes if conn.left_in_kernel() > 0 => "memory",
                _ => continue,
            };
            match reason {
                "queue" => stats.paused_queue += 1,
                "lane" => stats.paused_lane += 1,
                "memory" => stats.paused_memory += 1,
                _ => stats.paused_answers += 1,
            }
            if stats.paused.len() < HubStats::MAX_NAMED {
                stats.paused.push((conn.client, reason));
            }
        }
        stats
    }
}
