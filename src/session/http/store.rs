//! The store of answers that all HTTP connections share (HTTP_ANSWER_STORE_BYTES): what waits for receipts, and what
//! its peer has not read.
//!
//! Owns how much an answer may take and who may add one. Each connection has [`ANSWER_FREE_BYTES`] of its own, the rest
//! comes out of the store; a connection gets at most as much as it leaves to the others, so that one that does not read
//! never takes all. Where there is no room:
//!
//! - No further request is taken from a connection that owes answers ([`HttpSession::is_answer_bound`]). It waits for its
//!   own answers alone: each receipt, deadline or write of its own looks again, and once it owes nothing it goes on,
//!   whatever the store says. So nobody waits for room that others must give back, and no wake-up can be lost.
//! - A batch is answered with 503, as its length is known only once its body is here: to hold the body until there is
//!   room would fill the store of bodies with those who wait for the store of answers. One that could never fit is 413.
//! - The same goes for a page.
//!
//! Room is asked for before anything is taken, for the longest answer that may follow; what a connection really holds is
//! booked after each turn and each write.

use std::collections::VecDeque;

use super::HttpSession;
use super::answer::Problem;
use super::cors::ORIGIN_BYTES_MAX;
use super::exchange::{Item, Manner};
use super::{Answer, Intake};
use crate::pipeline::events::EVENT_ID_MAX_BYTES;

/// Bytes of answers that a connection holds for nothing.
pub const ANSWER_FREE_BYTES: usize = 2048;
/// The longest answer to a request that is no batch; and what it holds while it waits.
pub(super) const ANSWER_BYTES_MAX: usize = 1024 + ORIGIN_BYTES_MAX + 128;
/// An item of a batch in words, without its id.
pub(super) const ITEM_BYTES_MAX: usize = 240;
/// An id of ours with its quotes, and any id: nothing but quotes and backslashes is escaped in it.
const OWN_ID_BYTES: usize = 38;
const ID_BYTES_MAX: usize = 2 * EVENT_ID_MAX_BYTES + 2;

/// What the answer to a batch takes at most, from the items that are known to the text that is written. An id of the
/// peer's is never longer than the text in the body that it was read from.
pub(super) fn batch_bytes(items: usize, body: usize) -> usize {
    let ids = items.saturating_mul(OWN_ID_BYTES).saturating_add(body).min(items.saturating_mul(ID_BYTES_MAX));
    let each = const { if size_of::<Item>() > ITEM_BYTES_MAX { size_of::<Item>() } else { ITEM_BYTES_MAX } };
    items.saturating_mul(each).saturating_add(ids).saturating_add(ANSWER_BYTES_MAX)
}

/// The least store in which a request of `items` events, or as many as its body can hold, finds room.
pub fn answer_store_bytes_min(items: usize, body: usize) -> usize {
    batch_bytes(items.min(body / 2), body).saturating_mul(2)
}

/// The refusal of a page or a batch whose answer finds no room.
pub(super) fn no_room() -> Problem<'static> {
    let detail = "no room for the answer: try again later, and read answers as they come";
    Problem { retryable: true, ..Problem::of(503, "overloaded", detail) }
}

impl HttpSession {
    /// What its answers hold of memory, those aside that are being written.
    fn answer_bytes(&self) -> usize {
        self.ready.capacity() + self.held + self.answers.capacity() * size_of::<Answer>()
    }

    /// Whether one more answer of so many bytes may be owed.
    pub(super) fn fits(&self, bytes: usize, answers_held: usize) -> bool {
        let charge = (self.answer_bytes() + bytes).saturating_sub(ANSWER_FREE_BYTES);
        let others = answers_held - self.charged;
        charge == 0 || charge.saturating_mul(2).saturating_add(others) <= self.options.answer_store_bytes
    }

    /// Refuses a batch whose answer finds no room.
    pub(super) fn refuse_answer(
        &mut self,
        items: usize,
        bytes: usize,
        manner: Manner,
        intake: &mut Intake<'_>,
    ) {
        if bytes.saturating_mul(2) > self.options.answer_store_bytes {
            let detail =
                "more events than an answer may name (HTTP_ANSWER_STORE_BYTES): send fewer in a request";
            return self.refuse(Problem::of(413, "too_many_events", detail), manner, &[]);
        }
        intake.turn_away(items);
        self.refuse(Problem { outcome: Some("not_stored"), ..no_room() }, manner, &[]);
    }

    /// Books what its answers hold of the store now; `unwritten`: what the connection holds to be written.
    pub fn book(&mut self, unwritten: usize, answers_held: &mut usize) {
        let mut bytes = self.answer_bytes() + unwritten;
        if bytes <= ANSWER_FREE_BYTES && self.charged == 0 {
            return;
        }
        if self.ready.is_empty() {
            self.ready = Vec::new();
        }
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
        bytes = self.answer_bytes() + unwritten;
        let charge = bytes.saturating_sub(ANSWER_FREE_BYTES);
        *answers_held = *answers_held - self.charged + charge;
        self.charged = charge;
    }

    /// Gives back what it holds of the store: the connection ends.
    pub fn release_answers(&mut self, answers_held: &mut usize) {
        *answers_held -= std::mem::take(&mut self.charged);
    }
}
