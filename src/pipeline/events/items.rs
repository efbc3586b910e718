//! Where the events of a body lie.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{BodyKind, EventFault};
use crate::event::Rejection;

/// The events of a body, as spans of it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    spans: Spans,
}

/// One event costs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spans {
    One(Range<usize>),
    Batch(Vec<Range<usize>>),
}

impl Items {
    /// Whether the answer is per item: an array or NDJSON, of whatever length. An array may be empty.
    pub fn is_batch(&self) -> bool {
        matches!(self.spans, Spans::Batch(_))
    }

    /// The spans.
    pub fn spans(&self) -> &[Range<usize>] {
        match &self.spans {
            Spans::One(span) => std::slice::from_ref(span),
            Spans::Batch(spans) => spans,
        }
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.spans().len()
    }

    /// Whether it is an array without elements.
    pub fn is_empty(&self) -> bool {
        self.spans().is_empty()
    }
}

/// Splits a body into its events without judging them: a bad one never harms its neighbours.
///
/// A body that is one event is not looked at; blank lines of NDJSON are passed over. An array is read once, so that a
/// body that is no JSON is one fault.
///
/// # Errors
/// The body is empty, is no array where it must be one, or holds more than `max_items`.
pub fn items(body: &[u8], kind: BodyKind, max_items: usize) -> Result<Items, EventFault> {
    let first = body.iter().find(|byte| !b" \t\r\n".contains(byte));
    let spans = match (kind, first) {
        // Its body may be anything; an event without data is refused as such.
        (BodyKind::CloudBinary, _) => Spans::One(0..body.len()),
        (_, None) => return Err(Rejection::BodyEmpty),
        (BodyKind::Ndjson, _) => Spans::Batch(lines(body, max_items)?),
        (BodyKind::Json | BodyKind::CloudBatch, Some(b'[')) => Spans::Batch(elements(body, max_items)?),
        (BodyKind::CloudBatch, _) => return Err(Rejection::NotAnArray),
        (BodyKind::Json | BodyKind::CloudStructured, _) => Spans::One(0..body.len()),
    };
    Ok(Items { spans })
}

fn lines(body: &[u8], max_items: usize) -> Result<Vec<Range<usize>>, EventFault> {
    let lines = memchr::memchr_iter(b'\n', body).count() + 1;
    let mut spans = Vec::with_capacity(lines.min(max_items));
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        if body[start..end].iter().any(|byte| !b" \t\r".contains(byte)) {
            if spans.len() == max_items {
                return Err(Rejection::TooManyItems);
            }
            spans.push(start..end);
        }
        start = end + 1;
    }
    Ok(spans)
}

fn elements(body: &[u8], max_items: usize) -> Result<Vec<Range<usize>>, EventFault> {
    let text = std::str::from_utf8(body).map_err(|_| Rejection::BodyNotUtf8)?;
    let mut spans = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Elements { text, max_items, spans: &mut spans }.deserialize(&mut reader);
    match read.and_then(|()| reader.end()) {
        // Reading stopped at the one too many, which serde_json takes for a broken array.
        _ if spans.len() > max_items => Err(Rejection::TooManyItems),
        Ok(()) => Ok(spans),
        Err(_) => Err(Rejection::BodyNotJson),
    }
}

struct Elements<'t, 's> {
    text: &'t str,
    max_items: usize,
    spans: &'s mut Vec<Range<usize>>,
}

impl<'de> DeserializeSeed<'de> for Elements<'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            let value = value.get();
            let start = value.as_ptr().addr() - self.text.as_ptr().addr();
            self.spans.push(start..start + value.len());
            if self.spans.len() > self.max_items {
                break;
            }
        }
        Ok(())
    }
}
