//! What a run measured, added up over its connections.

use hdrhistogram::Histogram;

use super::answers::{Answers, Totals, histogram};
use super::process::Usage;
use super::scrape::Outcomes;
use super::send::Sent;

/// Everything that was measured.
pub struct Measured {
    pub lines: u64,
    pub bytes: u64,
    pub malformed: u64,
    pub send_us: Histogram<u64>,
    /// End of the last write, in nanoseconds of the run.
    pub sent_ns: u64,
    pub torn: u64,
    pub faults: Vec<String>,
    /// Answers of all connections, if they were asked for.
    pub answers: Option<Heard>,
    /// The gateway's counters at the end, if they were read.
    pub outcomes: Option<Outcomes>,
    /// When the counters first covered all that was sent.
    pub settled_ns: Option<u64>,
    pub gateway: Option<Result<Usage, String>>,
    pub generator_cpu_ns: u64,
}

/// Answers of all connections.
pub struct Heard {
    pub totals: Totals,
    pub stored_us: Histogram<u64>,
    pub last_ns: u64,
}

impl Measured {
    pub fn empty() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            malformed: 0,
            send_us: histogram(),
            sent_ns: 0,
            torn: 0,
            faults: Vec::new(),
            answers: None,
            outcomes: None,
            settled_ns: None,
            gateway: None,
            generator_cpu_ns: 0,
        }
    }

    /// Adds what one connection sent.
    pub fn add(&mut self, sent: Sent) {
        self.lines += sent.lines;
        self.bytes += sent.bytes;
        self.malformed += sent.malformed;
        self.sent_ns = self.sent_ns.max(sent.last_ns);
        self.torn += u64::from(sent.torn);
        self.faults.extend(sent.fault);
        let _ = self.send_us.add(&sent.latency_us); // both grow by themselves: never out of range
    }
}

impl Default for Heard {
    fn default() -> Self {
        Self { totals: Totals::default(), stored_us: histogram(), last_ns: 0 }
    }
}

impl Heard {
    /// Adds the answers of one connection that sent `messages`.
    pub fn add(&mut self, mut answers: Answers, messages: u64) {
        answers.totals.closed = u64::from(answers.account_closed_at == Some(messages));
        self.totals.add(&answers.totals);
        self.last_ns = self.last_ns.max(answers.last_ns);
        let _ = self.stored_us.add(&answers.latency_us); // both grow by themselves: never out of range
    }
}
