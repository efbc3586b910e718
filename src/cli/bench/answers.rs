//! The answers of one connection under `#ack`: which messages ended how, and how long `stored` took.
//!
//! `+ N` settles every message up to N that was not named otherwise, `- N retry|fix CODE detail` and
//! `? N CODE` name one message, `. N` closes the account. Holds no socket and no clock.

use std::collections::{BTreeSet, VecDeque};

use hdrhistogram::Histogram;

/// Messages handed to one write, and when they were due, in nanoseconds of the run.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Number of the last message of the write.
    pub last: u64,
    pub at_ns: u64,
}

/// What the answers of one connection, or of all, add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub stored: u64,
    pub retry: u64,
    pub fix: u64,
    pub unknown: u64,
    /// Answers that break the protocol: not understood, or settling a message twice.
    pub strange: u64,
    /// Connections whose account was closed by `. N` with N = messages sent.
    pub closed: u64,
}

impl Totals {
    /// Messages that have an answer.
    pub fn answered(&self) -> u64 {
        self.stored + self.retry + self.fix + self.unknown
    }

    pub fn add(&mut self, other: &Totals) {
        self.stored += other.stored;
        self.retry += other.retry;
        self.fix += other.fix;
        self.unknown += other.unknown;
        self.strange += other.strange;
        self.closed += other.closed;
    }
}

/// Account of one connection's answers.
pub struct Answers {
    pub totals: Totals,
    /// Due time to answer, in microseconds, of stored messages only.
    pub latency_us: Histogram<u64>,
    /// When the last answer came, in nanoseconds of the run.
    pub last_ns: u64,
    /// Number that `. N` named.
    pub account_closed_at: Option<u64>,
    settled_to: u64,
    named: BTreeSet<u64>,
}

impl Answers {
    pub fn new() -> Self {
        Self {
            totals: Totals::default(),
            latency_us: histogram(),
            last_ns: 0,
            account_closed_at: None,
            settled_to: 0,
            named: BTreeSet::new(),
        }
    }

    /// Takes one answer without its LF. `due` holds the writes not fully settled, oldest first.
    pub fn handle_line(&mut self, line: &[u8], now_ns: u64, due: &mut VecDeque<Due>) {
        self.last_ns = now_ns;
        let mut words = line.split(|b| *b == b' ');
        let (sign, number) = (words.next(), words.next().and_then(number));
        match (sign, number) {
            (Some(b"+"), Some(n)) if n > self.settled_to => self.settle_to(n, now_ns, due),
            (Some(b"-"), Some(n)) if self.name(n) => match words.next() {
                Some(b"retry") => self.totals.retry += 1,
                Some(b"fix") => self.totals.fix += 1,
                _ => self.totals.strange += 1,
            },
            (Some(b"?"), Some(n)) if self.name(n) => self.totals.unknown += 1,
            (Some(b"."), Some(n)) if self.account_closed_at.is_none() => self.account_closed_at = Some(n),
            _ => self.totals.strange += 1,
        }
    }

    fn name(&mut self, n: u64) -> bool {
        n > self.settled_to && self.named.insert(n)
    }

    fn settle_to(&mut self, n: u64, now_ns: u64, due: &mut VecDeque<Due>) {
        while self.settled_to < n {
            let Some(write) = due.front().copied() else {
                self.totals.strange += 1; // a number that was never sent
                self.settled_to = n;
                break;
            };
            let to = write.last.min(n);
            let named = self.named.range(self.settled_to + 1..=to).count() as u64;
            let stored = to - self.settled_to - named;
            record(&mut self.latency_us, now_ns.saturating_sub(write.at_ns), stored);
            self.totals.stored += stored;
            self.settled_to = to;
            if to == write.last {
                due.pop_front();
            }
        }
        self.named = self.named.split_off(&(n + 1));
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// An empty histogram in microseconds, three digits exact, growing with what it sees.
pub fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, 1_000_000, 3).expect("constant bounds: 1 <= 2 * 1, 3 digits");
    histogram.auto(true);
    histogram
}

/// Records `count` events of `ns` nanoseconds.
pub fn record(histogram: &mut Histogram<u64>, ns: u64, count: u64) {
    // Fails only when the histogram cannot grow, which `auto` excludes below u64::MAX microseconds.
    let _ = histogram.record_n((ns / 1000).max(1), count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(script: &[(&str, u64)], due: &[(u64, u64)]) -> (Answers, usize) {
        let mut waiting = due.iter().map(|&(last, at_ns)| Due { last, at_ns }).collect();
        let mut answers = Answers::new();
        for (line, now_ns) in script {
            answers.handle_line(line.as_bytes(), *now_ns, &mut waiting);
        }
        (answers, waiting.len())
    }

    #[test]
    fn plus_settles_all_that_was_not_named() {
        let script = [
            ("- 2 fix score_missing score: missing", 10),
            ("? 5 unknown", 20),
            ("- 6 retry away", 20),
            ("+ 7", 2_000_000),
            (". 7", 3_000_000),
        ];
        let (answers, waiting) = played(&script, &[(4, 0), (7, 1_000_000)]);
        let expected = Totals { stored: 4, retry: 1, fix: 1, unknown: 1, strange: 0, closed: 0 };
        assert_eq!((answers.totals.clone(), waiting), (expected, 0));
        assert_eq!(answers.totals.answered(), 7);
        assert_eq!((answers.account_closed_at, answers.last_ns), (Some(7), 3_000_000));
        assert_eq!((answers.latency_us.len(), answers.latency_us.count_between(1900, 2100)), (4, 3));
    }

    #[test]
    fn a_write_may_be_settled_in_parts() {
        let (answers, waiting) = played(&[("+ 3", 5_000), ("+ 10", 9_000)], &[(10, 0)]);
        assert_eq!((answers.totals.stored, answers.latency_us.len(), waiting), (10, 10, 0));
        assert_eq!(answers.latency_us.max(), 9);
    }

    #[test]
    fn what_breaks_the_protocol_is_counted_and_settles_nothing_twice() {
        let script = [
            ("+ 3", 1),
            ("+ 3", 2),
            ("- 2 fix x", 3),
            ("+ x", 4),
            ("hello", 5),
            ("+ 9", 6),
            (". 3", 7),
            (". 3", 8),
        ];
        let (answers, _) = played(&script, &[(3, 0)]);
        assert_eq!((answers.totals.stored, answers.totals.strange), (3, 6));
    }
}
