//! The account that a sender with `#ack` gets: which of its messages are stored, which are not, and why (G12).
//!
//! Owns the fate of every message whose answer is not written yet, in the order of their numbers. Never writes
//! more than the caller makes room for: text is made late, from eight bytes a message.

use std::collections::VecDeque;

use crate::event::{Outcome, Rejection};
use crate::handoff::{Address, Cause};
use crate::wire::ack;

/// Answers that a connection may always have outstanding; beyond them it takes from the shared store.
pub const FREE_ANSWERS: usize = 32;
/// Bytes of one outstanding answer.
pub const ANSWER_BYTES: usize = size_of::<Fate>();

/// Moments of acceptance are kept in units of 16 microseconds: 32 bits of them last 19 hours.
const MOMENT_SHIFT: u32 = 4;

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open { accepted: u32 },
    Stored,
    Refused(Rejection),
    Ended { outcome: Outcome, cause: Cause },
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Answers {
    /// Number of the message at the front of `fates`, minus 1.
    told: u64,
    fates: VecDeque<Fate>,
    /// The highest number stored that no `+` has named yet.
    stored_to: Option<u64>,
    closed: bool,
}

impl Answers {
    /// Messages so far, whatever became of them.
    pub fn count(&self) -> u64 {
        self.told + self.fates.len() as u64
    }

    /// The sequence that the next message's token carries.
    pub fn next_sequence(&self) -> u32 {
        ((self.count() + 1) % Address::SEQUENCE_MODULUS) as u32
    }

    pub fn accept(&mut self, now_us: u64) {
        self.fates.push_back(Fate::Open { accepted: (now_us >> MOMENT_SHIFT) as u32 });
    }

    pub fn refuse(&mut self, rejection: Rejection) {
        self.fates.push_back(Fate::Refused(rejection));
    }

    /// Messages without a written answer that count against the shared store.
    pub fn stored_outside(&self) -> usize {
        self.fates.len().saturating_sub(FREE_ANSWERS)
    }

    /// Too many answers are open or unread: take nothing more for now. `room`: what the shared store has left.
    /// A connection may hold as much of the store as it leaves to others: one that never reads its answers takes
    /// half of it at most, a second one a third, and nobody is starved by them.
    pub fn is_full(&self, room: usize) -> bool {
        self.fates.len() >= FREE_ANSWERS && self.stored_outside() >= room
    }

    /// Notes the end of one message; the time since its acceptance in microseconds, or `None` for a number
    /// that is not open.
    pub fn settle(&mut self, sequence: u32, outcome: Outcome, cause: Cause, now_us: u64) -> Option<u64> {
        let first = (self.told + 1) % Address::SEQUENCE_MODULUS;
        let index = (u64::from(sequence) + Address::SEQUENCE_MODULUS - first) % Address::SEQUENCE_MODULUS;
        let fate = self.fates.get_mut(index as usize)?;
        let Fate::Open { accepted } = *fate else { return None };
        *fate = match outcome {
            Outcome::Stored => Fate::Stored,
            _ => Fate::Ended { outcome, cause },
        };
        let passed = ((now_us >> MOMENT_SHIFT) as u32).wrapping_sub(accepted);
        Some(u64::from(passed) << MOMENT_SHIFT)
    }

    /// Whether every message has its answer written.
    pub fn is_settled(&self) -> bool {
        self.fates.is_empty() && self.stored_to.is_none()
    }

    /// Writes what is certain, until `out` holds `limit` bytes. `+` goes last, so that one covers many.
    pub fn write(&mut self, out: &mut Vec<u8>, limit: usize) {
        while out.len() < limit {
            let Some(fate) = self.fates.front() else { break };
            let number = self.told + 1;
            match *fate {
                Fate::Open { .. } => break,
                Fate::Stored => self.stored_to = Some(number),
                Fate::Refused(rejection) => {
                    self.write_stored(out);
                    ack::fix(out, number, rejection.code(), rejection.detail());
                }
                Fate::Ended { outcome, cause } => {
                    self.write_stored(out);
                    match outcome {
                        Outcome::Rejected => ack::fix(out, number, cause.code(), cause.detail()),
                        Outcome::Unknown => ack::unknown(out, number, cause.code()),
                        _ => ack::retry(out, number, cause.code(), cause.detail()),
                    }
                }
            }
            self.fates.pop_front();
            self.told = number;
        }
        self.write_stored(out);
        if self.fates.is_empty() && self.fates.capacity() > FREE_ANSWERS {
            self.fates.shrink_to(0);
        }
    }

    fn write_stored(&mut self, out: &mut Vec<u8>) {
        if let Some(number) = self.stored_to.take() {
            ack::stored(out, number);
        }
    }

    /// Writes the last line, once.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true) {
            ack::closed(out, self.count());
        }
    }

    /// Messages known as not stored whose answer was never written: the sender is gone.
    pub fn untold(&self) -> u64 {
        let not_stored = |fate: &&Fate| matches!(fate, Fate::Ended { outcome: Outcome::NotStored, .. });
        self.fates.iter().filter(not_stored).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answers: &mut Answers) -> String {
        let mut out = Vec::new();
        answers.write(&mut out, 1 << 16);
        String::from_utf8(out).unwrap()
    }

    /// `+` is cumulative, coalesced, and never passes a number whose fate is open.
    #[test]
    fn plus_stops_at_the_first_open_number() {
        let mut answers = Answers::default();
        for _ in 0..5 {
            answers.accept(16);
        }
        for sequence in [1, 2, 4, 5] {
            assert_eq!(answers.settle(sequence, Outcome::Stored, Cause::Delivered, 32), Some(16));
        }
        assert_eq!(text(&mut answers), "+ 2\n");
        answers.settle(3, Outcome::Unknown, Cause::TimedOut, 30);
        assert_eq!(text(&mut answers), "? 3 MSG_TIMED_OUT\n+ 5\n");
        assert!(answers.is_settled());
    }

    #[test]
    fn foreign_and_repeated_receipts_change_nothing() {
        let mut answers = Answers::default();
        answers.accept(0);
        assert_eq!(answers.settle(2, Outcome::Stored, Cause::Delivered, 1), None);
        assert_eq!(answers.settle(0, Outcome::Stored, Cause::Delivered, 1), None);
        assert!(answers.settle(1, Outcome::Stored, Cause::Delivered, 1).is_some());
        assert_eq!(answers.settle(1, Outcome::NotStored, Cause::ShuttingDown, 1), None);
        assert_eq!(text(&mut answers), "+ 1\n");
    }

    #[test]
    fn an_answer_is_eight_bytes_and_the_first_ones_are_free() {
        assert_eq!(ANSWER_BYTES, 8);
        let mut answers = Answers::default();
        for _ in 0..FREE_ANSWERS {
            assert!(!answers.is_full(0));
            answers.accept(0);
        }
        assert!(answers.is_full(0) && !answers.is_full(1));
        answers.accept(0);
        assert_eq!(answers.stored_outside(), 1);
    }

    /// One that never reads its answers leaves half of the shared store to the others.
    #[test]
    fn nobody_takes_the_whole_store() {
        let mut room = 100;
        for expected in [50, 25, 13] {
            let mut greedy = Answers::default();
            while !greedy.is_full(room) {
                greedy.accept(0);
                room -= usize::from(greedy.stored_outside() > 0);
            }
            assert_eq!(greedy.stored_outside(), expected);
        }
    }

    #[test]
    fn text_waits_for_room() {
        let mut answers = Answers::default();
        for sequence in 1..=3 {
            answers.accept(0);
            answers.settle(sequence, Outcome::NotStored, Cause::ShuttingDown, 1);
        }
        let mut out = Vec::new();
        answers.write(&mut out, 1);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(answers.untold(), 2);
    }
}
