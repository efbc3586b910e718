//! One sender's conversation over TCP: lines or frames in, and answers if it asked for them.
//!
//! Owns the framing, the numbering of messages, the answers that are not written yet, and the one record that
//! may be parked. Never touches a socket, never reads a clock: bytes, receipts and time come in as arguments.

use super::answers::Answers;
use super::intake::{Intake, TCP_TOPIC, Taken};
use super::options::{Framing, TcpOptions};
use crate::event::{Outcome, Rejection};
use crate::handoff::{Address, Parked, Receipt, Record, Token};
use crate::wire::{Frames, Item, Lines};

/// The first line that switches answers on (G12).
const ACK_REQUEST: &[u8] = b"#ack";

/// Why a session took less than it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The buffer is at its high mark.
    Room,
    /// The open batch is full: hand it over and go on.
    Batch,
    /// The record's lane is full: it is parked.
    Lane,
    /// The sender does not read its answers, or must wait for the fate of what it sent.
    Answers,
    /// A page was asked for: the gateway has to show itself.
    View,
}

/// How far a session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that need not be shown again.
    pub consumed: usize,
    /// `None`: everything complete was taken, more bytes are needed.
    pub stop: Option<Stop>,
}

/// Finds messages; decided by the options or by the first byte.
#[derive(Debug)]
enum Framer {
    Undecided,
    Lines(Lines),
    Frames(Frames),
}

/// See the module's text.
#[derive(Debug)]
pub struct TcpSession {
    framer: Framer,
    max_line_bytes: usize,
    max_frame_bytes: usize,
    /// No message and no `#ack` has come yet.
    is_first: bool,
    answers: Option<Box<Answers>>,
    parked: Option<Box<Parked>>,
}

impl TcpSession {
    pub fn new(options: &TcpOptions) -> Self {
        let framer = match options.framing {
            Framing::Auto => Framer::Undecided,
            Framing::Lines => Framer::Lines(Lines::new(options.max_line_bytes)),
            Framing::Frames => Framer::Frames(Frames::new(options.max_frame_bytes)),
        };
        Self {
            framer,
            max_line_bytes: options.max_line_bytes,
            max_frame_bytes: options.max_frame_bytes,
            is_first: true,
            answers: None,
            parked: None,
        }
    }

    /// Takes messages from `input`, which begins at the first byte not consumed yet. `eof`: nothing follows it.
    /// `slot` and `generation` are this connection's, for the tokens of records that want an answer.
    pub fn receive(
        &mut self,
        input: &[u8],
        eof: bool,
        (slot, generation): (u32, u16),
        intake: &mut Intake<'_>,
    ) -> Progress {
        let mut consumed = 0;
        if let Some(stop) = self.unpark(intake) {
            return Progress { consumed, stop: Some(stop) };
        }
        loop {
            if let Some(stop) = self.obstacle(intake) {
                return Progress { consumed, stop: Some(stop) };
            }
            let rest = &input[consumed..];
            let (step, is_frame) = match &mut self.framer {
                Framer::Lines(lines) => (lines.next(rest, eof), false),
                Framer::Frames(frames) => (frames.next(rest, eof), true),
                Framer::Undecided => match rest.first() {
                    None => return Progress { consumed, stop: None },
                    Some(0) => {
                        self.framer = Framer::Frames(Frames::new(self.max_frame_bytes));
                        continue;
                    }
                    Some(_) => {
                        self.framer = Framer::Lines(Lines::new(self.max_line_bytes));
                        continue;
                    }
                },
            };
            consumed += step.consumed;
            let Some(item) = step.item else { return Progress { consumed, stop: None } };
            let taken = match item {
                Item::Message(range) => {
                    let message = &rest[range];
                    if self.is_first && !is_frame && *message == *ACK_REQUEST {
                        self.is_first = false;
                        self.answers = Some(Box::default());
                        continue;
                    }
                    let token = self.token(slot, generation, intake.now.us);
                    match is_frame {
                        false => intake.take(message, token, |p, m, now, out| p.line(m, now, out)),
                        true => intake.take(message, token, |p, m, now, out| p.frame(m, now, out)),
                    }
                }
                Item::TooLong if is_frame => intake.refuse(Rejection::FrameTooLong, b"", TCP_TOPIC),
                Item::TooLong => intake.refuse(Rejection::LineTooLong, rest, TCP_TOPIC),
                Item::Truncated => intake.refuse(Rejection::FrameTruncated, b"", TCP_TOPIC),
            };
            self.is_first = false;
            if let Some(stop) = self.note(taken, intake) {
                return Progress { consumed, stop: Some(stop) };
            }
        }
    }

    fn token(&self, slot: u32, generation: u16, now_us: u64) -> Token {
        match &self.answers {
            None => Token::nobody(now_us),
            Some(answers) => Token::peer(Address { slot, generation, sequence: answers.next_sequence() }),
        }
    }

    /// Puts the parked record into the batch if its lane takes it now.
    fn unpark(&mut self, intake: &mut Intake<'_>) -> Option<Stop> {
        let parked = self.parked.take()?;
        let stop = match self.obstacle(intake) {
            None if intake.lanes.takes(parked.record()) => None,
            None => Some(Stop::Lane),
            stop => stop,
        };
        if stop.is_some() {
            self.parked = Some(parked);
            return stop;
        }
        let record = intake.batch.unpark(*parked, intake.now.us);
        intake.book(&record);
        if let Some(answers) = &mut self.answers {
            answers.accept(intake.now.us);
            intake.use_answer(answers.stored_outside());
        }
        None
    }

    /// Why no further message may be taken, if so.
    fn obstacle(&self, intake: &Intake<'_>) -> Option<Stop> {
        if !intake.room.is_open() {
            Some(Stop::Room)
        } else if intake.batch.is_full() {
            Some(Stop::Batch)
        } else if self.answers.as_ref().is_some_and(|answers| answers.is_full(*intake.answers_room)) {
            Some(Stop::Answers)
        } else {
            None
        }
    }

    fn note(&mut self, taken: Taken, intake: &mut Intake<'_>) -> Option<Stop> {
        match (taken, &mut self.answers) {
            (Taken::LaneFull, _) => {
                self.parked = intake.batch.park_last().map(Box::new);
                return Some(Stop::Lane);
            }
            (Taken::Accepted, Some(answers)) => {
                answers.accept(intake.now.us);
                intake.use_answer(answers.stored_outside());
            }
            (Taken::Rejected(rejection), Some(answers)) => {
                answers.refuse(rejection);
                intake.use_answer(answers.stored_outside());
            }
            (_, None) => {}
        }
        None
    }

    /// Takes the outcome of one record; the time from acceptance to now in microseconds.
    pub fn settle(&mut self, receipt: &Receipt, now_us: u64) -> Option<u64> {
        let answers = self.answers.as_mut()?;
        answers.settle(receipt.to.sequence, receipt.outcome, receipt.cause, now_us)
    }

    /// Writes the answers that are certain, until `out` holds `limit` bytes.
    pub fn write_answers(&mut self, out: &mut Vec<u8>, limit: usize) {
        if let Some(answers) = &mut self.answers {
            answers.write(out, limit);
        }
    }

    /// Writes the last line of the account, once every message has its answer. False: some have not.
    pub fn close_account(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.answers {
            None => true,
            Some(answers) if answers.is_settled() && self.parked.is_none() => {
                answers.close(out);
                true
            }
            Some(_) => false,
        }
    }

    pub fn wants_answers(&self) -> bool {
        self.answers.is_some()
    }

    /// Whether this sender must wait until answers are written, with `room` left in the shared store.
    pub fn is_answer_bound(&self, room: usize) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.is_full(room))
    }

    /// Answers of this sender that lie in the shared store.
    pub fn stored_outside(&self) -> usize {
        self.answers.as_ref().map_or(0, |answers| answers.stored_outside())
    }

    /// The parked record, while there is one.
    pub fn parked(&self) -> Option<&Record> {
        self.parked.as_ref().map(|parked| parked.record())
    }

    /// A parked record at the end of all things: it was read, and is not stored. Its sender is told if it
    /// asked for answers; false if there was none, `Some(told)` otherwise.
    pub fn give_up_parked(&mut self, cause: crate::handoff::Cause, now_us: u64) -> Option<bool> {
        self.parked.take()?;
        let Some(answers) = &mut self.answers else { return Some(false) };
        let sequence = answers.next_sequence();
        answers.accept(now_us);
        answers.settle(sequence, Outcome::NotStored, cause, now_us);
        Some(true)
    }

    /// Not-stored records of a sender that is gone before it could be told.
    pub fn untold(&self) -> u64 {
        self.answers.as_ref().map_or(0, |answers| answers.untold())
    }
}
