//! What was sent, what the gateway said of it, and what is to be sent next: `send --ack` without socket or clock.
//!
//! Owns every line from the input until its fate is settled, in one ring of bytes and one of entries, so that
//! memory has a bound (see [`Limits`]) and no line costs an allocation. Never reads, writes, sleeps or prints;
//! the time is an argument. Believes nothing: an answer that cannot be true is a [`Violation`], after which the
//! caller hangs up and what was open is unknown.
//!
//! Entries stand in the order of sending: `[sent, open or settled][unsent]`. The front is dropped as it settles;
//! a line to be sent again is copied to the back. Numbers on the wire are positions: `first` + index.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outcome::{Failure, Fate, Totals, Violation};
use crate::wire::ack::Answer;

/// First pause after the gateway said `retry`; doubles up to [`PAUSE_MAX`] until something is stored.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How much may wait for its fate. What is kept is at most three times this: lines that wait, and copies of
/// lines answered `retry` whose old places cannot be dropped yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) lines: usize,
    /// Line ends included. One line longer than this passes alone.
    pub(super) bytes: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    line: u64,
    /// Where its bytes begin, counted from the first byte ever kept.
    at: u64,
    len: u32,
    settled: bool,
    /// The gateway said `retry` of it at least once.
    retried: bool,
}

pub(super) struct Account {
    limits: Limits,
    resend_unknown: bool,
    bytes: VecDeque<u8>,
    /// `at` of the ring's first byte.
    dropped: u64,
    entries: VecDeque<Entry>,
    /// Entries at the front that went out on this connection.
    sent: usize,
    /// Number on this connection of the first entry.
    first: u64,
    /// The highest number that an answer named, and the highest that `+` did.
    named: u64,
    confirmed: u64,
    closed: bool,
    live_lines: usize,
    live_bytes: usize,
    settled_lines: usize,
    settled_bytes: usize,
    resume_at: Option<Instant>,
    pause: Duration,
    last_retry: String,
    moved_at: Instant,
    totals: Totals,
    failures: Vec<Failure>,
}

impl Account {
    pub(super) fn new(limits: Limits, resend_unknown: bool, now: Instant) -> Self {
        Self {
            limits,
            resend_unknown,
            bytes: VecDeque::new(),
            dropped: 0,
            entries: VecDeque::new(),
            sent: 0,
            first: 1,
            named: 0,
            confirmed: 0,
            closed: false,
            live_lines: 0,
            live_bytes: 0,
            settled_lines: 0,
            settled_bytes: 0,
            resume_at: None,
            pause: PAUSE_MIN,
            last_retry: String::new(),
            moved_at: now,
            totals: Totals::default(),
            failures: Vec::new(),
        }
    }

    /// Whether a line of this many bytes (without its line end) may be pushed, or refused.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let told = self.failures.len() < self.limits.lines;
        let fits = self.live_lines < self.limits.lines && self.live_bytes + len < self.limits.bytes;
        told && (fits || self.live_lines == 0)
    }

    /// Takes a line of the input, without its line end. The caller has asked [`Account::has_room`].
    pub(super) fn push(&mut self, line: u64, text: &[u8], now: Instant) {
        if self.live_lines == 0 {
            self.moved_at = now; // nothing waited until now
        }
        self.totals.lines += 1;
        let at = self.dropped + self.bytes.len() as u64;
        self.bytes.extend(text);
        self.bytes.push_back(b'\n');
        self.append(Entry { line, at, len: text.len() as u32 + 1, settled: false, retried: false });
    }

    /// Takes a line that is never sent: its text is not kept.
    pub(super) fn refuse(&mut self, line: u64, code: &str, detail: String) {
        self.totals.lines += 1;
        self.fail(line, Fate::Rejected, code, &detail);
    }

    /// Moves unsent lines to `out` until it holds about `max` bytes. Nothing while a pause lasts, after the
    /// account was closed, or while too many settled lines wait behind an open one.
    pub(super) fn poll_send(&mut self, out: &mut Vec<u8>, max: usize, now: Instant) {
        let crowded =
            self.settled_lines > self.limits.lines || self.settled_bytes > self.limits.bytes.max(max);
        if self.closed || crowded || self.pause_left(now).is_some() {
            return;
        }
        let Some(first) = self.entries.get(self.sent) else { return };
        let (begin, mut end) = (first.at, first.at);
        while let Some(entry) = self.entries.get(self.sent)
            && (out.len() as u64 + end - begin) < max as u64
        {
            end = entry.at + u64::from(entry.len);
            self.sent += 1;
        }
        self.copy(begin, end, out);
    }

    /// How long nothing is to be sent because the gateway said `retry`.
    pub(super) fn pause_left(&self, now: Instant) -> Option<Duration> {
        let left = self.resume_at?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Takes one answer.
    ///
    /// Errors: it cannot be true; the caller hangs up.
    pub(super) fn handle_answer(&mut self, answer: Answer<'_>, now: Instant) -> Result<(), Violation> {
        if self.closed {
            return Err(Violation::AfterClose);
        }
        match answer {
            Answer::Stored(n) => self.stored(n, now)?,
            Answer::Closed(n) => self.close(n, now)?,
            Answer::Retry { n, code, detail } => {
                let index = self.name(n)?;
                self.last_retry = format!("{code} {detail}").trim_end().to_owned();
                self.entries[index].retried = true;
                self.send_again(index);
                if self.pause_left(now).is_none() {
                    self.resume_at = Some(now + self.pause);
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
            }
            Answer::Fix { n, code, detail } => {
                let index = self.name(n)?;
                self.settle(index, now);
                self.fail(self.entries[index].line, Fate::Rejected, code, detail);
            }
            Answer::Unknown { n, code } => {
                let index = self.name(n)?;
                self.unknown(index, code, now);
            }
        }
        self.drop_settled();
        Ok(())
    }

    /// The connection ended. `unwritten` bytes of what [`Account::poll_send`] gave last never left us. What went
    /// out and was not answered is unknown, or goes out again if that was asked for.
    pub(super) fn handle_disconnect(&mut self, unwritten: usize, now: Instant) {
        let mut unwritten = unwritten as u64;
        while let Some(last) = self.sent.checked_sub(1).and_then(|at| self.entries.get(at))
            && !last.settled // answered before it was written: no gateway does that
            && u64::from(last.len) <= unwritten
        {
            unwritten -= u64::from(last.len);
            self.sent -= 1;
        }
        for index in 0..self.sent {
            if !self.entries[index].settled {
                self.unknown(index, "connection_lost", now);
            }
        }
        // Lines that go out again stand behind the sent ones now, and all of those are settled.
        self.drop_settled();
        debug_assert_eq!(self.sent, 0);
        (self.first, self.named, self.confirmed, self.closed) = (1, 0, 0, false);
    }

    /// Gives up: what went out is unknown, what did not is not stored.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.resend_unknown = false;
        self.handle_disconnect(0, now);
        let detail = self.last_retry.clone();
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            let (code, detail) = if entry.retried { ("gave_up", detail.as_str()) } else { ("not_sent", "") };
            self.sent = index + 1;
            self.settle(index, now);
            self.fail(entry.line, Fate::NotStored, code, detail);
        }
        self.drop_settled();
    }

    /// Lines whose fate is open or that are still to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.live_lines
    }

    /// Messages sent on this connection.
    pub(super) fn sent_count(&self) -> u64 {
        self.first + self.sent as u64 - 1
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How long lines have waited without any of them being settled.
    pub(super) fn stalled(&self, now: Instant) -> Duration {
        if self.live_lines == 0 { Duration::ZERO } else { now.saturating_duration_since(self.moved_at) }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Moves the failures since the last call to `out`.
    pub(super) fn take_failures(&mut self, out: &mut Vec<Failure>) {
        out.append(&mut self.failures);
    }

    fn stored(&mut self, n: u64, now: Instant) -> Result<(), Violation> {
        self.check_sent(n)?;
        if n < self.confirmed {
            return Err(Violation::Backwards { n, after: self.confirmed });
        }
        self.confirmed = n;
        self.named = self.named.max(n);
        while self.sent > 0 && self.first <= n {
            if !self.entries[0].settled {
                self.settle(0, now);
                self.totals.stored += 1;
                self.pause = PAUSE_MIN;
            }
            self.drop_front();
        }
        Ok(())
    }

    fn close(&mut self, n: u64, now: Instant) -> Result<(), Violation> {
        self.check_sent(n)?;
        if n < self.named {
            return Err(Violation::Backwards { n, after: self.named });
        }
        let counted = (n + 1).saturating_sub(self.first) as usize;
        for index in 0..counted {
            if !self.entries[index].settled {
                self.unknown(index, "unaccounted", now);
            }
        }
        // The rest was never read: it is as good as unsent.
        self.sent = counted;
        self.closed = true;
        Ok(())
    }

    fn check_sent(&self, n: u64) -> Result<(), Violation> {
        let sent = self.sent_count();
        if n > sent { Err(Violation::Beyond { n, sent }) } else { Ok(()) }
    }

    /// The index of an open message that an answer names.
    fn name(&mut self, n: u64) -> Result<usize, Violation> {
        self.check_sent(n)?;
        let index = n.checked_sub(self.first).ok_or(Violation::Twice { n })? as usize;
        if self.entries[index].settled {
            return Err(Violation::Twice { n });
        }
        self.named = self.named.max(n);
        Ok(index)
    }

    fn unknown(&mut self, index: usize, code: &str, now: Instant) {
        if self.resend_unknown {
            return self.send_again(index);
        }
        self.settle(index, now);
        self.fail(self.entries[index].line, Fate::Unknown, code, "");
    }

    fn fail(&mut self, line: u64, fate: Fate, code: &str, detail: &str) {
        match fate {
            Fate::Rejected => self.totals.rejected += 1,
            Fate::NotStored => self.totals.not_stored += 1,
            Fate::Unknown => self.totals.unknown += 1,
        }
        self.failures.push(Failure { line, fate, code: code.to_owned(), detail: detail.to_owned() });
    }

    fn settle(&mut self, index: usize, now: Instant) {
        self.moved_at = now;
        self.retire(index);
    }

    /// Copies a line to the back of what is to be sent; its old place counts as settled.
    fn send_again(&mut self, index: usize) {
        self.totals.resent += 1;
        let entry = self.entries[index];
        let mut copy = Vec::with_capacity(entry.len as usize);
        self.copy(entry.at, entry.at + u64::from(entry.len), &mut copy);
        self.retire(index);
        let at = self.dropped + self.bytes.len() as u64;
        self.bytes.extend(&copy);
        self.append(Entry { at, settled: false, ..entry });
    }

    fn append(&mut self, entry: Entry) {
        self.live_lines += 1;
        self.live_bytes += entry.len as usize;
        self.entries.push_back(entry);
    }

    fn retire(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        debug_assert!(!entry.settled && index < self.sent);
        entry.settled = true;
        self.live_lines -= 1;
        self.live_bytes -= entry.len as usize;
        self.settled_lines += 1;
        self.settled_bytes += entry.len as usize;
    }

    fn drop_settled(&mut self) {
        while self.sent > 0 && self.entries[0].settled {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        debug_assert!(entry.settled && self.sent > 0);
        self.bytes.drain(..entry.len as usize);
        self.dropped += u64::from(entry.len);
        self.settled_lines -= 1;
        self.settled_bytes -= entry.len as usize;
        self.sent -= 1;
        self.first += 1;
    }

    fn copy(&self, begin: u64, end: u64, out: &mut Vec<u8>) {
        let (begin, end) = ((begin - self.dropped) as usize, (end - self.dropped) as usize);
        let (front, back) = self.bytes.as_slices();
        let split = front.len();
        out.extend_from_slice(&front[begin.min(split)..end.min(split)]);
        out.extend_from_slice(&back[begin.max(split) - split..end.max(split) - split]);
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
