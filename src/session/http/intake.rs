//! Events on their way into the open batch, and what HTTP sessions share while they take them in.

use std::sync::Arc;

use super::idempotency::Window;
use super::options::HttpOptions;
use crate::event::Rejection;
use crate::handoff::{Shape, Token, TopicId};
use crate::metrics::Responses;
use crate::pipeline::events::{EventFault, EventId, EventRecord, Moment};
use crate::session::ids::Ids;
use crate::session::intake::{Intake, Now, RETRY_AFTER_STUCK};

/// What HTTP sessions share.
#[derive(Debug)]
pub struct Web {
    /// Bytes that the store of bodies on their way can still take.
    pub body_room: usize,
    /// Bytes that connections hold of the store of answers.
    pub answers_held: usize,
    pub responses: Arc<Responses>,
    /// Scratch for a body that came compressed.
    pub inflated: Vec<u8>,
    pub ids: Ids,
    /// The moment of the last request, in the forms that events want: those of one millisecond share it.
    moment: (i64, Moment),
    /// Seconds until the buffer has room again, as far as can be told.
    pub retry_after: u32,
    /// What the buffer holds when it is full.
    pub max_records: usize,
    /// Requests with an `Idempotency-Key`.
    pub window: Window,
}

impl Default for Web {
    /// For tests and tools: the defaults, and the same ids every time.
    fn default() -> Self {
        Self::new(&HttpOptions::default(), 10_000, [7; 32])
    }
}

impl Web {
    /// `max_records`: what the buffer holds when it is full; `seed`: see [`Ids::new`].
    pub fn new(options: &HttpOptions, max_records: usize, seed: [u8; 32]) -> Self {
        Self {
            body_room: options.body_store_bytes,
            answers_held: 0,
            responses: Arc::default(),
            inflated: Vec::new(),
            ids: Ids::new(seed),
            moment: (0, Moment::new(0)),
            retry_after: RETRY_AFTER_STUCK,
            max_records,
            window: Window::new(&options.idempotency),
        }
    }

    /// The moment of a request.
    pub fn moment(&mut self, now: Now) -> Moment {
        if self.moment.0 != now.unix_ms {
            self.moment = (now.unix_ms, Moment::new(now.unix_ms.max(0) as u64 * 1000));
        }
        self.moment.1
    }
}

/// Why an event is not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRefusal {
    Fault(EventFault),
    /// Its lane takes no more for now.
    LaneFull,
}

impl Intake<'_> {
    /// Runs one event through `encode` into the open batch. `encode` gets the event and the arena.
    pub fn take_event<F>(
        &mut self,
        event: &[u8],
        token: Token,
        topic: TopicId,
        patience: u16,
        encode: F,
    ) -> Result<EventId, EventRefusal>
    where
        F: FnOnce(&[u8], &mut Vec<u8>) -> Result<EventRecord, EventFault>,
    {
        let before = self.batch.arena().len();
        let record =
            encode(event, self.batch.arena()).map_err(|fault| self.refuse_event(fault, event, topic))?;
        let shape = Shape {
            topic,
            key_len: record.has_key.then_some(record.key_len),
            value_len: record.value_len,
            headers_len: record.headers_len,
            patience,
        };
        if shape.len() > self.limit_of(topic) {
            self.batch.arena().truncate(before);
            return Err(self.refuse_event(Rejection::RecordTooLarge, event, topic));
        }
        let taken = self.batch.commit(token, shape, self.now.us);
        if !self.lanes.takes(&taken) {
            self.batch.drop_last();
            // It was offered and ends here; its sender is told.
            self.tally.accepted += 1;
            self.tally.turned_away += 1;
            return Err(EventRefusal::LaneFull);
        }
        self.book(&taken);
        Ok(record.event_id)
    }

    /// Counts an event that is refused; `topic` is the one that it was for.
    pub fn refuse_event(&mut self, fault: EventFault, head: &[u8], topic: TopicId) -> EventRefusal {
        self.refuse(fault, head, topic);
        EventRefusal::Fault(fault)
    }

    /// Counts events that find no room: they end here, not stored, and their sender is told.
    pub fn turn_away(&mut self, events: usize) {
        self.tally.accepted += events as u64;
        self.tally.turned_away += events as u64;
    }
}
