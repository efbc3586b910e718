//! Bodies of HTTP requests to Kafka records: `POST /events` (S3, CloudEvents) and `POST /api/v1/events` (S4).
//!
//! Three steps, each a function of its arguments: [`body_kind`] reads the Content-Type, [`items`] finds the events of a
//! body, [`event`] appends one event's key, value and headers. Time, fresh ids and the request's headers come in
//! [`Circumstances`]. Whatever a peer sent, nothing panics, and on a fault `out` is as it was.
//!
//! What holds on both routes:
//! - A value is its client's object byte for byte, without blanks around it: order, escapes, blanks and large numbers
//!   inside stay. What we add goes to the object's front; what we replace (an `id` that is null or empty) is replaced
//!   in its place.
//! - Strict JSON in UTF-8, [`MAX_DEPTH`](super::MAX_DEPTH) levels, nothing behind it. A known member comes once, however
//!   its name is escaped; unknown members may repeat. A lone surrogate is refused anywhere: it is no text.
//! - Of several faults one is told: what cannot be read first, then a member that came twice, then the members in the
//!   order of the route's own list.
//!
//! Where S3 and S4 leave room:
//! - Null in an optional member counts as absent: clients with fixed structures send it.
//! - On both routes an empty id counts as absent. S3's `timestamp` that is absent becomes the moment of arrival.
//! - A client's own `ingested_at` (S4) is replaced, as in the original: it is the gateway's to say.
//! - S4's route refuses `\u0000` in any string, as PostgreSQL's `jsonb` does.
//! - `id` is written to answers' headers, so it has 128 bytes at most and no control characters.

mod cloud;
mod compose;
mod ids;
mod items;
mod media;
mod members;
mod plain;
mod players;
mod repeats;
mod time;

#[cfg(test)]
mod body_tests;
#[cfg(test)]
mod cloud_tests;
#[cfg(test)]
mod players_tests;
#[cfg(test)]
mod tests;

pub use ids::{EVENT_ID_MAX_BYTES, EventId, IDEMPOTENCY_KEY_MAX_BYTES, IdempotencyKey, NAMESPACE};
pub use items::{Items, items};
pub use media::body_kind;
pub use repeats::client_ids;
pub use time::Moment;

use crate::event::{Rejection, headers};

/// Why a request or an event of it was refused: the same words as everywhere.
pub type EventFault = Rejection;

/// Most bytes of a traceparent or tracestate that is passed through; a longer one is left out, as W3C allows.
const TRACE_MAX_BYTES: usize = 512;

/// Which service's rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /events`: S3's fields, or CloudEvents.
    Events,
    /// `POST /api/v1/events`: S4's fields.
    PlayerEvents,
}

impl Route {
    /// The path, which is also part of the name of a derived id.
    pub const fn path(self) -> &'static str {
        match self {
            Route::Events => "/events",
            Route::PlayerEvents => "/api/v1/events",
        }
    }
}

/// How a record of `/events` looks. S4's route has one layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `PROFILE=all`: null key, no headers of ours.
    #[default]
    Plain,
    /// S3's original: the id is the key and the header `trace_id`.
    Ingest,
}

/// Which UUIDs our own ids are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdVersion {
    /// Random.
    #[default]
    V4,
    /// The moment of arrival, then random: sorts by time.
    V7,
}

/// What the configuration says about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRules {
    /// The top-level member (of a CloudEvent: the attribute) whose string or integer becomes the key on `/events`.
    /// Absent, null or empty it leaves the key null: librdkafka treats an empty key badly (librdkafka#4510).
    pub key_field: Option<String>,
    /// The layout of `/events`. A `key_field` beats the key of [`Layout::Ingest`].
    pub layout: Layout,
    /// Most events of one body: what the buffer could ever hold.
    pub max_items: usize,
    /// Our own ids.
    pub ids: IdVersion,
}

impl Default for EventRules {
    fn default() -> Self {
        Self { key_field: None, layout: Layout::Plain, max_items: 10_000, ids: IdVersion::V4 }
    }
}

/// What a body is, by its Content-Type and the presence of `ce-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// One JSON object, or an array of objects.
    Json,
    /// JSON objects, one a line.
    Ndjson,
    /// One CloudEvent in JSON.
    CloudStructured,
    /// An array of CloudEvents in JSON.
    CloudBatch,
    /// One CloudEvent: its data is the body, its attributes are headers.
    CloudBinary,
}

/// What stands around an event: bytes, time and ids from outside.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// What [`body_kind`] said.
    pub kind: BodyKind,
    /// When the request came; formatted once for all its events.
    pub moment: &'a Moment,
    /// 16 fresh random bytes for this event alone.
    pub fresh: [u8; 16],
    /// Place in a batch from 0, nothing for a single event: tells the events of one `Idempotency-Key` apart.
    pub index: Option<u32>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<IdempotencyKey<'a>>,
    /// Who sent it, as far as keys are scoped: part of the name of a derived id. Empty for everybody.
    pub identity: &'a str,
    /// `traceparent`, passed through unread.
    pub traceparent: Option<&'a [u8]>,
    /// `tracestate`, passed through unread.
    pub tracestate: Option<&'a [u8]>,
    /// `Content-Type`: of use to [`BodyKind::CloudBinary`] alone.
    pub content_type: Option<&'a [u8]>,
    /// The request's `ce-*` headers, prefix included, in the form of [`headers`]; others among them are passed over.
    pub attributes: &'a [u8],
}

impl<'a> Circumstances<'a> {
    /// No headers at all.
    pub fn new(kind: BodyKind, moment: &'a Moment, fresh: [u8; 16]) -> Self {
        Self {
            kind,
            moment,
            fresh,
            index: None,
            idempotency_key: None,
            identity: "",
            traceparent: None,
            tracestate: None,
            content_type: None,
            attributes: &[],
        }
    }
}

/// Where a record lies at the end of `out`: key, value and headers, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// False for a null key. A key is never empty.
    pub has_key: bool,
    /// Bytes of the key.
    pub key_len: u32,
    /// Bytes of the value.
    pub value_len: u32,
    /// Bytes of the headers, in the form of [`headers`].
    pub headers_len: u32,
    /// The id to answer with.
    pub event_id: EventId,
}

/// Appends the record of one event to `out`. `item` is a span that [`items`] found.
///
/// # Errors
/// The rule that the event breaks; `out` is then untouched.
pub fn event(
    route: Route,
    rules: &EventRules,
    item: &[u8],
    circumstances: &Circumstances<'_>,
    out: &mut Vec<u8>,
) -> Result<EventRecord, EventFault> {
    let start = out.len();
    let result = match (route, circumstances.kind) {
        (Route::Events, BodyKind::Json | BodyKind::Ndjson) => plain::event(rules, item, circumstances, out),
        (Route::PlayerEvents, BodyKind::Json | BodyKind::Ndjson) => {
            players::event(rules, item, circumstances, out)
        }
        (Route::Events, BodyKind::CloudStructured | BodyKind::CloudBatch) => {
            cloud::structured(rules, item, circumstances, out)
        }
        (Route::Events, BodyKind::CloudBinary) => cloud::binary(rules, item, circumstances, out),
        (Route::PlayerEvents, _) => Err(Rejection::UnsupportedMediaType),
    };
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// The status that a fault of a whole request is answered with; of an item in a batch it is the item's.
pub const fn status(fault: EventFault) -> u16 {
    match fault {
        Rejection::UnsupportedMediaType => 415,
        Rejection::TooManyItems | Rejection::RecordTooLarge => 413,
        _ => 400,
    }
}

/// The headers that any record carries if its request did.
fn pass_through(circumstances: &Circumstances<'_>, out: &mut Vec<u8>) {
    if let Some(key) = circumstances.idempotency_key {
        headers::push(out, "idempotency-key", key.as_str().as_bytes());
    }
    for (name, value) in
        [("traceparent", circumstances.traceparent), ("tracestate", circumstances.tracestate)]
    {
        if let Some(value) = value.filter(|value| (1..=TRACE_MAX_BYTES).contains(&value.len())) {
            headers::push(out, name, value);
        }
    }
}

/// Takes note of where key, value and headers end while they are appended.
struct Marks {
    key_from: usize,
    value_from: usize,
    headers_from: usize,
}

impl Marks {
    /// A record whose parts are below 4 GiB each, as bodies and headers of requests are.
    fn record(&self, end: usize, event_id: EventId) -> EventRecord {
        let key_len = (self.value_from - self.key_from) as u32;
        EventRecord {
            has_key: key_len > 0,
            key_len,
            value_len: (self.headers_from - self.value_from) as u32,
            headers_len: (end - self.headers_from) as u32,
            event_id,
        }
    }
}
