//! Everything that is shown, as plain numbers at one moment.
//!
//! Owns the label values (listener, outcome, reason). Never a client address, player or key: labels stay few.

use super::{HistogramSnapshot, ProcessSnapshot, STATUSES};

/// Listeners in the order of [`Snapshot::listeners`].
pub const LISTENERS: [&str; 3] = ["tcp", "http", "health"];

/// How a record ended, in the order of [`Snapshot::records`].
pub const OUTCOMES: [&str; 6] = ["stored", "rejected", "not_stored", "dead_lettered", "dropped", "unknown"];

/// Why a connection is not being read, in the order of [`Snapshot::paused`].
pub const PAUSE_REASONS: [&str; 4] = ["queue", "lane", "memory", "answers"];

/// How a repeated idempotency key was answered, in the order of [`Snapshot::retries_answered`].
pub const RETRY_RESULTS: [&str; 3] = ["replayed", "joined", "conflict"];

/// Places in [`Snapshot::records`].
pub mod outcome {
    pub const STORED: usize = 0;
    pub const REJECTED: usize = 1;
    pub const NOT_STORED: usize = 2;
    pub const DEAD_LETTERED: usize = 3;
    pub const DROPPED: usize = 4;
    pub const UNKNOWN: usize = 5;
}

/// Places in [`Snapshot::paused`].
pub mod pause {
    /// The buffer reached its high mark (S0-R7).
    pub const QUEUE: usize = 0;
    /// The lane of the connection's next record has no leader, or is full.
    pub const LANE: usize = 1;
    /// Room for incomplete messages is used up.
    pub const MEMORY: usize = 2;
    /// The peer does not read its answers.
    pub const ANSWERS: usize = 3;
}

/// One listener's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListenerSnapshot {
    /// Open now.
    pub connections: u64,
    /// Taken since start.
    pub accepted: u64,
    /// Closed right after being taken: too many of their address, or a bad PROXY header.
    pub refused: u64,
    /// Failed accepts since start (descriptors exhausted, peer gone).
    pub accept_errors: u64,
    /// Seconds that connections spent paused since start, summed over connections, ended pauses and current ones.
    pub paused_seconds: f64,
}

/// Round trip of one broker that is up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrokerRtt {
    /// Node id as in the cluster's metadata.
    pub broker: i32,
    /// Average over the client library's last statistics window.
    pub seconds: f64,
}

/// Everything that `/metrics` and the METRICS line show. The gateway fills it; all counters are since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Version of the program, as in its manifest.
    pub version: &'static str,
    /// Since the process started serving, by the monotonic clock.
    pub uptime_seconds: f64,
    /// A record can be stored now (G15): what `/ready` says.
    pub ready: bool,
    /// In the order of [`LISTENERS`].
    pub listeners: [ListenerSnapshot; LISTENERS.len()],
    /// Connections not being read now, in the order of [`PAUSE_REASONS`].
    pub paused: [u64; PAUSE_REASONS.len()],

    /// Complete messages read, whatever became of them.
    pub records_received: u64,
    /// Ended records in the order of [`OUTCOMES`].
    pub records: [u64; OUTCOMES.len()],
    /// Rejected records by reason. The gateway lists every reason it knows, those at 0 as well; each one once.
    pub rejects: Vec<(&'static str, u64)>,
    /// Letters of rejected records that found no room, no topic and no file.
    pub reject_letters_dropped: u64,
    /// Records not stored whose sender was never told.
    pub records_lost: u64,
    /// Bytes that our kernel acknowledged and nobody read before the connection was closed at shutdown.
    pub unread_bytes: u64,

    /// Requests answered with 429, and identities that lost a bucket before it was full.
    pub rate_limited: u64,
    pub rate_limit_crowded_out: u64,
    /// Responses of the HTTP listener, in the order of [`STATUSES`].
    pub http_responses: [u64; STATUSES.len()],
    /// From the end of a request's head until its response may be written.
    pub request_duration: HistogramSnapshot,
    /// Requests with an idempotency key that came before, in the order of [`RETRY_RESULTS`].
    pub retries_answered: [u64; RETRY_RESULTS.len()],

    /// Accepted and without a receipt: everything from the door to the broker's answer.
    pub queue_records: u64,
    pub queue_bytes: u64,
    /// High marks (BUFFER_MAX_MSGS, BUFFER_MAX_BYTES).
    pub queue_limit_records: u64,
    pub queue_limit_bytes: u64,
    /// The part of the queue that the client library holds.
    pub inflight_records: u64,
    /// Bytes of buffers, batches and records accounted for now, and the most that the configuration allows.
    pub memory_accounted_bytes: u64,
    pub memory_worst_case_bytes: u64,
    /// From a record's acceptance to its receipt.
    pub record_ack: HistogramSnapshot,
    /// From the low mark to paused connections having been read again.
    pub resume: HistogramSnapshot,

    pub brokers_up: u64,
    pub brokers_down: u64,
    /// One entry per broker that is up; each id once.
    pub broker_rtt: Vec<BrokerRtt>,
    /// Records that the client library sent again (S0-R8 "retried").
    pub retries: u64,
    /// Records that the client library refused or reported as failed, whatever the class.
    pub produce_errors: u64,
    /// Times that a producer turned fatal and was built anew.
    pub producer_rebuilds: u64,
    /// Unix time of the last report of a stored record; `None` before the first.
    pub last_delivery_unix_seconds: Option<f64>,
    /// Partitions of the topic, and those to which nothing is handed now.
    pub partitions: u64,
    pub lanes_held: u64,

    /// Turns of the poll loop, and those that ended without any work.
    pub loop_turns: u64,
    pub loop_idle_turns: u64,
    /// Log lines left out by summarising, over the whole process.
    pub log_suppressed: u64,

    /// This process as its kernel sees it; what could not be read is `None` and not shown.
    pub process: ProcessSnapshot,
}

impl Snapshot {
    /// Records that got in and did not end as stored, whatever the reason: all that ended but for those stored and
    /// those rejected at the door.
    pub fn failed_total(&self) -> u64 {
        let at_the_door: u64 = self.rejects.iter().map(|(_, count)| count).sum();
        self.ended_total().saturating_sub(self.records[outcome::STORED] + at_the_door)
    }

    /// Connections not being read now, for whatever reason.
    pub fn paused_total(&self) -> u64 {
        self.paused.iter().sum()
    }

    /// Connections open now on all listeners.
    pub fn connections_total(&self) -> u64 {
        self.listeners.iter().map(|l| l.connections).sum()
    }

    /// Records that have ended, by any outcome.
    pub fn ended_total(&self) -> u64 {
        self.records.iter().sum()
    }
}
