//! A request that was taken and whose answer is not complete: what is known of each of its events.

use super::cors::Grant;
use crate::event::Outcome;
use crate::handoff::{Cause, Place, Receipt};
use crate::pipeline::events::{EventFault, EventId, Route};

/// How one event of a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// In the buffer; its sender waits for delivery.
    Open,
    /// In the buffer; its sender does not wait.
    Queued,
    Refused(EventFault),
    /// It found no room: not stored, and worth another try.
    NoRoom,
    Ended {
        outcome: Outcome,
        cause: Cause,
    },
    /// The sender's deadline came first; the client library has the record.
    OutOfTime,
}

/// One event of a request.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// `None` for one that was refused before it had an id.
    pub event_id: Option<EventId>,
    pub fate: Fate,
    /// Where it is in its topic, once it is stored.
    pub place: Option<Place>,
}

impl Item {
    /// One that is not stored yet.
    pub fn new(event_id: Option<EventId>, fate: Fate) -> Self {
        Self { event_id, fate, place: None }
    }

    /// Its record has ended.
    pub fn end(&mut self, receipt: &Receipt) {
        self.fate = Fate::Ended { outcome: receipt.outcome, cause: receipt.cause };
        self.place = receipt.place;
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub keep_alive: bool,
    pub head_only: bool,
    pub http10: bool,
    /// Which web page's origin may see it.
    pub grant: Grant,
}

/// A request's events, and when its sender has waited long enough.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub route: Route,
    pub manner: Manner,
    /// One answer for each item, or one for all.
    pub is_batch: bool,
    pub items: Vec<Item>,
    /// Items that are [`Fate::Open`].
    pub open: usize,
    /// The connection's number of the first item; the others follow.
    pub first: u64,
    /// When its head was read.
    pub begun_us: u64,
    pub accepted_us: u64,
    pub deadline_us: u64,
    /// What its answer takes at most while it waits and when it is written, in bytes.
    pub reserved: usize,
    /// It asked to be told of delivery.
    pub waits: bool,
    /// It asked to be told where its events are.
    pub shows_place: bool,
    /// The outcome that it waits for in the idempotency window, instead of receipts of its own.
    pub serial: Option<u64>,
    /// Another one is told the same, and counts what is not stored.
    pub is_echo: bool,
}

impl Taken {
    /// Notes the end of one item; false if it was not open.
    pub fn settle(&mut self, number: u64, receipt: &Receipt) -> bool {
        let index = number.wrapping_sub(self.first) as usize;
        if self.serial.is_some() {
            return false;
        }
        let Some(item) = self.items.get_mut(index).filter(|item| item.fate == Fate::Open) else {
            return false;
        };
        item.end(receipt);
        self.open -= 1;
        true
    }

    /// Nobody waits: what is in the buffer counts as accepted.
    pub fn queue(&mut self) {
        for item in self.items.iter_mut().filter(|item| item.fate == Fate::Open) {
            item.fate = Fate::Queued;
        }
        self.open = 0;
    }

    /// The sender waits no longer.
    pub fn give_up(&mut self) {
        for item in self.items.iter_mut().filter(|item| item.fate == Fate::Open) {
            item.fate = Fate::OutOfTime;
        }
        self.open = 0;
    }

    /// Events that are not stored, of which this answer is to tell.
    pub fn not_stored(&self) -> u64 {
        if self.is_echo {
            return 0;
        }
        let is_lost = |item: &&Item| matches!(item.fate, Fate::Ended { outcome: Outcome::NotStored, .. });
        self.items.iter().filter(is_lost).count() as u64
    }
}
