//! One peer's HTTP/1.1 conversation: requests in, events into the buffer, answers in the order of the requests.
//!
//! Owns what is answered and when. Never reads a clock, never waits: a request whose sender wants to hear of delivery
//! stays in a queue until its receipts have come or its time is over. Overload is answered, never waited out: the
//! bytes of a request are always taken, so that the rest of the connection stays usable.
//!
//! Bounded: a head by the codec's limits, a body by HTTP_MAX_BODY_BYTES and by the store that all connections share,
//! unwritten answers by [`OUT_BYTES_MAX`], requests that wait by [`WAITING_MAX`], and both over all connections by the
//! store of answers (`store.rs`).

mod answer;
mod cors;
mod exchange;
mod gate;
mod idempotency;
mod intake;
mod keyed;
mod openapi;
mod options;
mod reading;
mod refusing;
mod request;
mod store;
mod taking;

use std::collections::VecDeque;
use std::sync::Arc;

pub use cors::{Cors, ORIGIN_BYTES_MAX};
pub use idempotency::{Ended, IdempotencyOptions, KeyCounts, Settled, Waiter, Window};
pub use intake::{EventRefusal, Web};
pub use openapi::DOCUMENT as OPENAPI;
pub use options::{Ack, HttpOptions, RouteOptions};
pub use request::Page;
pub use store::{ANSWER_FREE_BYTES, answer_store_bytes_min};

use super::admin::{AdminView, OUT_BYTES_MAX};
use super::intake::{Intake, Now, RETRY_AFTER_STUCK};
use super::tcp::{Progress, Stop};
use crate::handoff::{Address, PATIENCE_US, Receipt, Token};
use crate::metrics::Responses;
use crate::pipeline::events::{self, Circumstances, IdempotencyKey, Route};
use crate::wire::http1::{self, Chunked, Coding, Fault, Framing, HEADERS_MAX, HeaderSlots, Limits, Parsed};
use answer::Problem;
use exchange::{Item, Manner, Taken};
use keyed::Recalled;
use request::Post;

/// Answers of one connection that may wait at a time: for delivery, or behind one that does.
pub const WAITING_MAX: usize = 64;
/// Memory of those answers after which no further request is taken.
const HELD_BYTES_MAX: usize = 1 << 20;
/// A refused body is read away up to so many times the longest one; beyond it the connection is closed.
const AWAY_TIMES: u64 = 4;
/// The Kafka thread takes a record out within this time after its deadline; only then does silence mean that the
/// client library has it.
const GRACE_US: u64 = 200_000;
/// A peer has so long to notice that we have closed our side.
const LINGER_US: u64 = 2_000_000;
const LIMITS: Limits = Limits { head_bytes: 16 << 10, headers: HEADERS_MAX };

/// What the session expects next.
enum Stage {
    Head,
    Body(Box<Incoming>),
    /// A body that nobody wants.
    Away(Framed),
    /// A page, once the gateway shows itself.
    Page(Page, Manner),
    /// Nothing more is taken.
    Over,
}

/// A body on its way.
struct Incoming {
    post: Post,
    framed: Framed,
    bytes: Vec<u8>,
    /// What the body holds of the store that all connections share, and what its head does.
    reserved: usize,
    head_bytes: usize,
}

/// Where a body ends.
enum Framed {
    Length(u64),
    Chunked(Chunked),
}

/// An answer in its place.
enum Answer {
    /// A response, and when its request's head was read.
    Ready(Vec<u8>, u64),
    Waiting(Taken),
}

impl Answer {
    fn bytes(&self) -> usize {
        match self {
            Answer::Ready(bytes, _) => bytes.capacity(),
            Answer::Waiting(taken) => taken.reserved.max(taken.items.capacity() * size_of::<Item>()),
        }
    }
}

/// See the module's text.
pub struct HttpSession {
    options: Arc<HttpOptions>,
    metrics_path: Option<Arc<str>>,
    stage: Stage,
    /// Answers that may be written.
    ready: Vec<u8>,
    /// Bytes of answers that were given to be written, since the start.
    given: u64,
    /// Answers that tell of events that are not stored, until they are known to be written: where each ends among all
    /// bytes of answers, and how many events.
    telling: VecDeque<(u64, u64)>,
    /// The first is a waiting one, if there is any.
    answers: VecDeque<Answer>,
    /// Bytes of memory that the answers hold.
    held: usize,
    /// What this connection holds of the store of answers.
    charged: usize,
    responses: Arc<Responses>,
    /// The present turn's moment.
    now_us: u64,
    /// Number of the next event whose sender waits.
    next: u64,
    /// No request is taken after the present one.
    closing: bool,
    /// When the last request began, or the connection.
    since_us: u64,
    /// When the first bytes of a head came whose end has not: 0 for none.
    head_since_us: u64,
    /// Seconds that an overloaded answer asks for.
    retry_after: u32,
    /// Until when bytes are read away after the end; 0 before it.
    linger_until_us: u64,
}

impl HttpSession {
    /// `metrics_path`: where metrics are (METRICS_PATH), `None` to show none; `responses`: where answers are counted.
    pub fn new(
        options: Arc<HttpOptions>,
        metrics_path: Option<Arc<str>>,
        responses: Arc<Responses>,
        now: Now,
    ) -> Self {
        Self {
            options,
            metrics_path,
            stage: Stage::Head,
            ready: Vec::new(),
            given: 0,
            telling: VecDeque::new(),
            answers: VecDeque::new(),
            held: 0,
            charged: 0,
            responses,
            now_us: now.us,
            next: 0,
            closing: false,
            since_us: now.us,
            head_since_us: 0,
            retry_after: RETRY_AFTER_STUCK,
            linger_until_us: 0,
        }
    }

    /// Takes requests from `input`, which begins at the first byte not consumed yet. `eof`: nothing follows it.
    /// `slot` and `generation` are this connection's, for the tokens of records whose sender waits.
    pub fn receive(
        &mut self,
        input: &[u8],
        eof: bool,
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) -> Progress {
        (self.retry_after, self.now_us) = (intake.web.retry_after, intake.now.us);
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if matches!(self.stage, Stage::Over) {
                return Progress { consumed: input.len(), stop: None };
            }
            if let Some(stop) = self.obstacle(intake) {
                return Progress { consumed, stop: Some(stop) };
            }
            let (count, goes_on) = match &mut self.stage {
                Stage::Head => self.head(rest, eof, address, intake),
                Stage::Body(_) => self.body(rest, address, intake),
                Stage::Away(_) => self.away(rest),
                Stage::Page(..) => return Progress { consumed, stop: Some(Stop::View) },
                Stage::Over => (rest.len(), false),
            };
            consumed += count;
            if !goes_on {
                if eof {
                    self.release_body(&mut intake.web.body_room);
                    self.stage = Stage::Over;
                    self.closing = true;
                }
                return Progress { consumed, stop: None };
            }
        }
    }

    /// Why no further request may be taken, if so.
    fn obstacle(&self, intake: &Intake<'_>) -> Option<Stop> {
        if self.is_answer_bound(intake.web.answers_held) {
            Some(Stop::Answers)
        } else if intake.batch.is_full() {
            Some(Stop::Batch)
        } else {
            None
        }
    }

    fn push_taken(&mut self, taken: Taken) {
        if taken.open == 0 && self.answers.is_empty() {
            let at = self.ready.len();
            let granted = self.options.cors.headers(taken.manner.grant);
            answer::taken(&taken, self.retry_after, &granted, &mut self.ready);
            return self.count(at, taken.begun_us);
        }
        self.queue(Answer::Waiting(taken));
    }

    /// Puts the response to the present request in its place.
    fn push(&mut self, bytes: Vec<u8>) {
        if !self.answers.is_empty() {
            return self.queue(Answer::Ready(bytes, self.since_us));
        }
        let at = self.ready.len();
        self.ready.extend_from_slice(&bytes);
        self.count(at, self.since_us);
    }

    fn queue(&mut self, answer: Answer) {
        self.held += answer.bytes();
        self.answers.push_back(answer);
    }

    /// Counts the response that begins at `at` in what may be written, by what it says.
    fn count(&self, at: usize, begun_us: u64) {
        if let Some(status) = http1::status(&self.ready[at..]) {
            self.responses.record(status, self.now_us.saturating_sub(begun_us));
        }
    }

    /// Moves what is certain at the front of the queue into what may be written.
    fn ripen(&mut self, now_us: u64) {
        self.now_us = now_us;
        if self.answers.is_empty() {
            return;
        }
        let is_between = matches!(self.stage, Stage::Head | Stage::Over);
        loop {
            let is_last = self.answers.len() == 1 && self.closing && is_between;
            let at = self.ready.len();
            let bytes = match self.answers.front_mut() {
                Some(answer @ Answer::Ready(..)) => answer.bytes(),
                Some(answer) => {
                    let bytes = answer.bytes();
                    let Answer::Waiting(taken) = answer else { return };
                    if taken.open > 0 {
                        return;
                    }
                    // It was taken before anybody knew that nothing would follow it.
                    taken.manner.keep_alive &= !is_last;
                    let granted = self.options.cors.headers(taken.manner.grant);
                    answer::taken(taken, self.retry_after, &granted, &mut self.ready);
                    let not_stored = taken.not_stored();
                    if not_stored > 0 {
                        self.telling.push_back((self.given + self.ready.len() as u64, not_stored));
                    }
                    bytes
                }
                None => break,
            };
            let begun_us = match self.answers.pop_front() {
                Some(Answer::Ready(bytes, begun_us)) => {
                    self.ready.extend_from_slice(&bytes);
                    begun_us
                }
                Some(Answer::Waiting(taken)) => taken.begun_us,
                None => break,
            };
            self.count(at, begun_us);
            self.held -= bytes;
            if is_last {
                self.stage = Stage::Over;
            }
        }
        if is_between {
            // From here on the peer is idle.
            self.since_us = now_us;
        }
    }

    /// Takes the outcome of one record; the time from acceptance to now in microseconds.
    pub fn settle(&mut self, receipt: &Receipt, now_us: u64) -> Option<u64> {
        let modulus = Address::SEQUENCE_MODULUS;
        let behind = (self.next % modulus + modulus - u64::from(receipt.to.sequence)) % modulus;
        let number = self.next.checked_sub(behind)?;
        let found = self.answers.iter_mut().find_map(|answer| match answer {
            Answer::Waiting(taken) => taken.settle(number, receipt).then_some(taken.accepted_us),
            Answer::Ready(..) => None,
        });
        self.ripen(now_us);
        found.map(|accepted_us| now_us.saturating_sub(accepted_us))
    }

    /// Shows the page that was asked for, if there is room for it.
    pub fn show(&mut self, view: &dyn AdminView, answers_held: usize) {
        let Stage::Page(page, manner) = self.stage else { return };
        let (status, content_type, body) = super::admin::page(page, view);
        if !self.fits(body.len() + store::ANSWER_BYTES_MAX, answers_held) {
            self.refuse(store::no_room(), manner, &[]);
            return self.after_request();
        }
        let mut out = Vec::new();
        let headers = [("Cache-Control", "no-store"), ("Retry-After", "1")];
        let headers = if status == 503 { &headers[..] } else { &headers[..1] };
        let headers = [headers, &self.options.cors.headers(manner.grant)].concat();
        answer::respond(status, content_type, &headers, body.as_bytes(), manner, &mut out);
        self.push(out);
        self.after_request();
    }

    /// Whether it waits for [`HttpSession::show`].
    pub fn wants_view(&self) -> bool {
        matches!(self.stage, Stage::Page(..))
    }

    /// Appends what may be written. An empty `out` says that all before it is.
    pub fn write_answers(&mut self, out: &mut Vec<u8>) {
        while out.is_empty() && self.telling.front().is_some_and(|(end, _)| *end <= self.given) {
            self.telling.pop_front();
        }
        self.given += self.ready.len() as u64;
        match out.is_empty() {
            true => std::mem::swap(out, &mut self.ready),
            false => {
                out.reserve_exact(self.ready.len());
                out.append(&mut self.ready);
            }
        }
    }

    /// Whether everything taken has its answer.
    pub fn is_settled(&self) -> bool {
        self.answers.is_empty() && self.ready.is_empty()
    }

    /// Whether the connection is to be closed once all is written.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether it must not be read until answers are written or receipts have come. `answers_held`: what all connections
    /// hold of the store of answers. A connection that owes no answer is never bound.
    pub fn is_answer_bound(&self, answers_held: usize) -> bool {
        self.ready.len() >= OUT_BYTES_MAX
            || self.answers.len() >= WAITING_MAX
            || self.held >= HELD_BYTES_MAX
            || (!self.is_settled() && !self.fits(store::ANSWER_BYTES_MAX, answers_held))
    }

    /// No request is taken after those that are here: the gateway drains.
    pub fn drain(&mut self) {
        self.closing = true;
    }

    /// The gateway stops reading: whoever is in the middle of a body is told that nothing of it was taken.
    pub fn cut_off(&mut self, body_room: &mut usize) {
        if matches!(self.stage, Stage::Body(_)) {
            self.release_body(body_room);
            self.refuse_and_close_with(Problem {
                retryable: true,
                outcome: Some("not_stored"),
                ..Problem::of(503, "draining", "the gateway stops: try again, or elsewhere")
            });
        }
    }

    /// All is written and our side is closed: what still comes is read away for a while, as an end with bytes unread
    /// would take the last answer from the peer (RFC 9112 9.6).
    pub fn linger(&mut self, now_us: u64) {
        self.stage = Stage::Over;
        self.linger_until_us = now_us + LINGER_US;
    }

    /// When [`HttpSession::on_time`] is due.
    pub fn due_us(&self) -> u64 {
        if self.linger_until_us > 0 {
            return self.linger_until_us;
        }
        let options = &self.options;
        let (since_us, time) = match self.stage {
            Stage::Head if self.head_since_us > 0 => (self.head_since_us, options.header_timeout),
            Stage::Body(_) | Stage::Away(_) => (self.since_us, options.body_timeout),
            Stage::Head | Stage::Page(..) | Stage::Over => (self.since_us, options.idle_timeout),
        };
        let waiting = self.answers.iter().filter_map(|answer| match answer {
            Answer::Waiting(taken) if taken.open > 0 => Some(taken.deadline_us + GRACE_US),
            _ => None,
        });
        waiting.min().unwrap_or(since_us + time.as_micros() as u64)
    }

    /// Time has passed: answers whose deadline is over are given, slow senders are told so. True: close it.
    pub fn on_time(&mut self, now_us: u64, body_room: &mut usize) -> bool {
        for answer in &mut self.answers {
            match answer {
                Answer::Waiting(taken) if taken.open > 0 && now_us >= taken.deadline_us + GRACE_US => {
                    taken.give_up()
                }
                _ => {}
            }
        }
        self.ripen(now_us);
        if !self.answers.is_empty() || now_us < self.due_us() {
            return false;
        }
        if matches!(self.stage, Stage::Head) {
            // There is no request whose time could be taken.
            self.since_us = now_us;
        }
        match self.stage {
            Stage::Head if self.head_since_us == 0 => return self.ready.is_empty(),
            Stage::Head => self.refuse_and_close_with(Problem::of(
                408,
                "head_too_slow",
                "the request head took too long",
            )),
            Stage::Body(_) => {
                self.release_body(body_room);
                self.refuse_and_close_with(Problem::of(408, "body_too_slow", "the body took too long"));
            }
            Stage::Away(_) | Stage::Page(..) | Stage::Over => return true,
        }
        // Whoever is told so has as long as an idle peer to read it.
        self.since_us = now_us;
        false
    }

    /// Gives the store of bodies back what this connection holds of it.
    pub fn release_body(&mut self, body_room: &mut usize) {
        if let Stage::Body(incoming) = &mut self.stage {
            *body_room += std::mem::take(&mut incoming.reserved) + std::mem::take(&mut incoming.head_bytes);
            incoming.bytes = Vec::new();
        }
    }

    /// Events that are not stored, of a sender that is gone before it could be told. `unwritten`: how many of the bytes
    /// that were given to be written are not.
    pub fn untold(&self, unwritten: usize) -> u64 {
        let written = self.given.saturating_sub(unwritten as u64);
        let cut = self.telling.iter().filter(|(end, _)| *end > written).map(|(_, not_stored)| not_stored);
        let waiting = self.answers.iter().filter_map(|answer| match answer {
            Answer::Waiting(taken) => Some(taken.not_stored()),
            Answer::Ready(..) => None,
        });
        waiting.sum::<u64>() + cut.sum::<u64>()
    }
}

#[cfg(test)]
mod bodies_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
