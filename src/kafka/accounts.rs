//! How records end: ledger and buffer credited, waiting peers told, errors logged. The Kafka thread's book.

use super::letters::{self, Failed, Letters, Taken};
use crate::event::{Outcome, excerpt};
use crate::handoff::{Cause, Clock, KafkaEnd, Place, Receipt, Target, Token, unix_ms};
use crate::metrics::Throttle;

/// Books outcomes; a run of equal ones is booked once.
pub struct Accounts {
    pub end: KafkaEnd,
    clock: Clock,
    throttle: Throttle,
    open: Run,
    /// `None`: nothing becomes a dead letter.
    pub letters: Option<Letters>,
}

/// Outcomes that are not booked yet.
#[derive(Default)]
struct Run {
    records: usize,
    bytes: usize,
    outcomes: [u64; Outcome::COUNT],
    lost: u64,
    /// Records of one moment of acceptance, for the histogram.
    accepted_us: u64,
    same_moment: u64,
    /// The moment of this run, read once: reports of one event came together.
    now_us: Option<u64>,
}

impl Accounts {
    pub fn new(end: KafkaEnd, clock: Clock) -> Self {
        Self { end, clock, throttle: Throttle::default(), open: Run::default(), letters: None }
    }

    /// Notes one record's end; `bytes` is what it counted for in the buffer. Call [`Accounts::book`] after the last one.
    pub fn note(&mut self, token: Token, bytes: usize, outcome: Outcome, cause: Cause) {
        self.note_at(token, bytes, outcome, cause, None);
    }

    /// The same for a record of which Kafka says where it is.
    pub fn note_at(
        &mut self,
        token: Token,
        bytes: usize,
        outcome: Outcome,
        cause: Cause,
        place: Option<Place>,
    ) {
        self.open.records += 1;
        self.open.bytes += bytes;
        self.open.outcomes[outcome.index()] += 1;
        match token.target() {
            Target::Peer(to) => self.end.tell(Receipt { to, outcome, cause, place }),
            Target::Nobody { accepted_us } => {
                if accepted_us != self.open.accepted_us {
                    self.book_latency();
                    self.open.accepted_us = accepted_us;
                }
                self.open.same_moment += u64::from(outcome == Outcome::Stored);
                self.open.lost += u64::from(outcome == Outcome::NotStored);
            }
        }
    }

    /// Notes a record that failed, unless it goes on as a dead letter; true if it does. Its end then comes later.
    /// `now_us`: gateway's clock, microseconds.
    pub fn fail(&mut self, failed: &Failed<'_>, outcome: Outcome, cause: Cause, now_us: u64) -> bool {
        let taken = match self.letters.as_mut().filter(|_| letters::BUILT_IN) {
            Some(letters) => letters.take(failed, outcome, cause, now_us),
            None => Taken::Not,
        };
        match taken {
            Taken::Not => {
                let outcome = if failed.is_reject() { Outcome::Rejected } else { outcome };
                self.note(failed.token, failed.accounted_bytes, outcome, cause);
            }
            Taken::Longer(bytes) => self.end.shared.budget.take(0, bytes),
        }
        taken != Taken::Not
    }

    fn book_latency(&mut self) {
        if self.open.same_moment > 0 {
            let now_us = *self.open.now_us.get_or_insert_with(|| self.clock.now_us());
            let latency_us = now_us.saturating_sub(self.open.accepted_us);
            self.end.shared.latency.record_n(latency_us, self.open.same_moment);
            self.open.same_moment = 0;
        }
    }

    /// Books what was noted.
    pub fn book(&mut self) {
        self.book_latency();
        let run = std::mem::take(&mut self.open);
        if run.records == 0 {
            return;
        }
        let shared = &self.end.shared;
        for outcome in Outcome::ALL {
            match run.outcomes[outcome.index()] {
                0 => {}
                count => shared.ledger.credit(outcome, count),
            }
        }
        if run.lost > 0 {
            shared.ledger.lose(run.lost);
        }
        if run.outcomes[Outcome::Stored.index()] > 0 {
            shared.board.last_delivery_unix_ms.set(unix_ms().max(0) as u64);
        }
        shared.budget.give_back(run.records, run.bytes);
        self.end.end_pause(|| self.clock.now_us());
    }

    /// Writes the first few failures of each kind to the log (S0-E3), the rest as a sum.
    pub fn complain(&mut self, key: &[u8], outcome: &str, cause: Cause) {
        if self.throttle.allow(cause as usize, self.clock.now_us() / 1000) {
            let (key, code) = (excerpt(key), cause.code());
            log::error!(target: "kafka", "publish.error key=\"{key}\" code={code} outcome={outcome}");
        }
    }

    /// One line for each kind of failure that was silenced.
    pub fn summarise(&mut self) {
        for (kind, suppressed) in self.throttle.drain_suppressed(self.clock.now_us() / 1000) {
            if let Some(cause) = Cause::ALL.get(kind) {
                log::error!(target: "kafka", "publish.error suppressed={suppressed} code={}", cause.code());
            }
        }
    }
}
