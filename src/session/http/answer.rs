//! The words of an answer: success bodies as the originals give them, problem bodies (RFC 9457), batches.
//!
//! Never decides what happened to an event; says it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use super::exchange::{Fate, Item, Manner, Taken};
use crate::event::{Field, Outcome};
use crate::handoff::{Cause, Place};
use crate::pipeline::events::{self, EventFault, EventId, Route};
use crate::wire::http1::{Response, decimal};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// A refusal in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem<'a> {
    pub status: u16,
    /// Stable word.
    pub code: &'static str,
    /// One sentence of ours.
    pub detail: &'a str,
    /// `stored`, `not_stored` or `unknown`, where an event is concerned.
    pub outcome: Option<&'static str>,
    pub retryable: bool,
    /// JSON Pointer of the member at fault.
    pub pointer: Option<&'a str>,
    pub event_id: Option<&'a EventId>,
}

impl Problem<'_> {
    /// A refusal of something that is no event yet.
    pub fn of(status: u16, code: &'static str, detail: &'static str) -> Problem<'static> {
        Problem { status, code, detail, outcome: None, retryable: false, pointer: None, event_id: None }
    }

    /// Appends the whole response. `more`: headers beside the usual ones; `retry_after`: in seconds, where it is owed.
    pub fn write(&self, manner: Manner, retry_after: u32, more: &[(&str, &str)], out: &mut Vec<u8>) {
        let mut body = String::with_capacity(256);
        let title = crate::wire::http1::reason(self.status);
        let Self { status, code, detail, .. } = self;
        // Writing to a String cannot fail.
        let _ = write!(
            body,
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":{},"code":"{code}","retryable":{}"#,
            Quoted(detail),
            self.retryable
        );
        if let Some(outcome) = self.outcome {
            let _ = write!(body, r#","outcome":"{outcome}""#);
        }
        if let Some(event_id) = self.event_id {
            let _ = write!(body, r#","event_id":{}"#, Quoted(event_id.as_str()));
        }
        if let Some(pointer) = self.pointer {
            let (pointer, detail) = (Quoted(pointer), Quoted(detail));
            let _ = write!(body, r#","errors":[{{"pointer":{pointer},"code":"{code}","detail":{detail}}}]"#);
        }
        // Clients of the originals read this member.
        let _ = writeln!(body, r#","error":{}}}"#, Quoted(detail));
        let seconds = retry_after.to_string();
        let mut headers = vec![("X-Content-Type-Options", "nosniff")];
        if matches!(self.status, 429 | 503) {
            headers.push(("Retry-After", &seconds));
        }
        headers.extend_from_slice(more);
        respond(self.status, PROBLEM, &headers, body.as_bytes(), manner, out);
    }
}

/// Appends a response of ours.
pub(super) fn respond(
    status: u16,
    content_type: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    manner: Manner,
    out: &mut Vec<u8>,
) {
    let Manner { keep_alive, head_only, http10, .. } = manner;
    Response { status, content_type, headers, body, keep_alive, head_only, http10 }.write(out);
}

/// The same for JSON whose text comes in parts: most answers, and none of them has to be put together first.
fn respond_in_parts(status: u16, headers: &[(&str, &str)], body: &[&str], manner: Manner, out: &mut Vec<u8>) {
    let Manner { keep_alive, head_only, http10, .. } = manner;
    let head = Response { status, content_type: JSON, headers, body: b"", keep_alive, head_only, http10 };
    if head.write_head(body.iter().map(|part| part.len()).sum(), out) {
        body.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    }
}

/// Appends the answer to a request whose events have all come to an end that its sender is to hear of. `more`: headers
/// beside the usual ones.
pub(super) fn taken(taken: &Taken, retry_after: u32, more: &[(&str, &str)], out: &mut Vec<u8>) {
    match taken.items.as_slice() {
        [item] if !taken.is_batch => single(taken, item, retry_after, more, out),
        _ => batch(taken, retry_after, more, out),
    }
}

fn single(taken: &Taken, item: &Item, retry_after: u32, more: &[(&str, &str)], out: &mut Vec<u8>) {
    let manner = taken.manner;
    let (status, word) = match item.fate {
        Fate::Queued | Fate::Open => (202, "accepted"),
        Fate::Ended { outcome: Outcome::Stored, .. } => (200, "stored"),
        fate => {
            let problem = Problem { event_id: item.event_id.as_ref(), ..problem_of(fate) };
            return problem.write(manner, retry_after, more, out);
        }
    };
    let id = item.event_id.as_ref().map_or("", EventId::as_str);
    let is_plain = item.event_id.as_ref().is_some_and(EventId::is_plain);
    let text = if is_plain { Cow::Borrowed(id) } else { Cow::Owned(Escaped(id).to_string()) };
    // S4's body is read by its clients: success means delivered.
    let s4_word = if status == 200 { "success" } else { word };
    let place = place_of(taken, item);
    let body: &[&str] = match taken.route {
        Route::PlayerEvents => &[r#"{"status":""#, s4_word, r#"","event_id":""#, &text, "\"", &place, "}"],
        Route::Events => {
            &[r#"{"id":""#, &text, r#"","status":""#, word, r#"","event_id":""#, &text, "\"", &place, "}\n"]
        }
    };
    let request_id = [("X-Request-Id", id)];
    let is_visible = is_plain || id.bytes().all(|byte| byte.is_ascii_graphic());
    let headers = if is_visible && !id.is_empty() { &request_id[..] } else { &[] };
    respond_in_parts(status, &with(headers, more), body, manner, out);
}

/// Where the event of a stored record is, for who asked: members behind others. Nothing for anybody else.
fn place_of(taken: &Taken, item: &Item) -> String {
    let is_stored = matches!(item.fate, Fate::Ended { outcome: Outcome::Stored, .. });
    match item.place.filter(|_| taken.shows_place && is_stored) {
        None => String::new(),
        Some(Place { partition, offset }) => format!(r#","partition":{partition},"offset":{offset}"#),
    }
}

/// Two lists of headers as one; nearly always the second is empty.
fn with<'h>(headers: &'h [(&'h str, &'h str)], more: &[(&'h str, &'h str)]) -> Cow<'h, [(&'h str, &'h str)]> {
    if more.is_empty() { Cow::Borrowed(headers) } else { Cow::Owned([headers, more].concat()) }
}

fn batch(taken: &Taken, retry_after: u32, more: &[(&str, &str)], out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(taken.reserved);
    let (mut accepted, mut lowest, mut highest, mut is_overload) = (0, u16::MAX, 0, false);
    append(&mut body, &[r#"{"items":["#]);
    for (index, item) in taken.items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let problem = match item.fate {
            Fate::Queued | Fate::Open | Fate::Ended { outcome: Outcome::Stored, .. } => None,
            fate => Some(problem_of(fate)),
        };
        let status = match (&problem, item.fate) {
            (Some(problem), _) => problem.status,
            (None, Fate::Ended { .. }) => 200,
            (None, _) => 202,
        };
        (lowest, highest) = (lowest.min(status), highest.max(status));
        is_overload |= status == 503;
        append(&mut body, &[r#"{"index":"#]);
        decimal(&mut body, index);
        append(&mut body, &[r#","status":"#]);
        decimal(&mut body, usize::from(status));
        if let Some(id) = &item.event_id {
            append(&mut body, &[r#","event_id":"#]);
            if id.is_plain() {
                [b"\"", id.as_bytes(), b"\""].into_iter().for_each(|part| body.extend_from_slice(part));
            } else {
                quote(id.as_str(), &mut body);
            }
        }
        match problem {
            None => {
                accepted += 1;
                append(&mut body, &[&place_of(taken, item)]);
            }
            // While the buffer is full this is what most of the work goes into: no fmt here.
            Some(problem) => {
                append(&mut body, &[r#","code":""#, problem.code, r#"","detail":"#]);
                quote(problem.detail, &mut body);
                if let Some(outcome) = problem.outcome {
                    append(&mut body, &[r#","outcome":""#, outcome, "\""]);
                }
                if let Some(pointer) = problem.pointer {
                    append(&mut body, &[r#","pointer":"#]);
                    quote(pointer, &mut body);
                }
            }
        }
        body.push(b'}');
    }
    let refused = taken.items.len() - accepted;
    let _ = writeln!(body, r#"],"accepted":{accepted},"refused":{refused}}}"#);
    let status = match taken.items.len() {
        0 => 200,
        _ if lowest == highest && refused == 0 => lowest,
        _ => 207,
    };
    let seconds = retry_after.to_string();
    let wait = [("Retry-After", seconds.as_str())];
    let headers = if is_overload { &wait[..] } else { &[] };
    respond(status, JSON, &with(headers, more), &body, taken.manner, out);
}

/// What to say of an event that is not stored, or not known to be.
fn problem_of(fate: Fate) -> Problem<'static> {
    match fate {
        Fate::Refused(fault) => of_fault(fault),
        Fate::NoRoom => Problem {
            outcome: Some("not_stored"),
            retryable: true,
            ..Problem::of(503, "overloaded", "the buffer is full: try again later")
        },
        Fate::Ended { outcome: Outcome::Unknown, cause } => unknown(cause.code(), cause.detail()),
        Fate::OutOfTime => {
            unknown("TIMEOUT", "Kafka had not confirmed it when the time was over; it may be stored")
        }
        Fate::Ended { outcome: Outcome::Rejected, cause } => Problem {
            outcome: Some("not_stored"),
            ..Problem::of(if cause == Cause::TooLarge { 413 } else { 422 }, cause.code(), cause.detail())
        },
        // Only a retry that came while the first request, which was told 202, was in flight hears of it.
        Fate::Ended { outcome: Outcome::DeadLettered, .. } => Problem {
            outcome: Some("not_stored"),
            retryable: true,
            ..Problem::of(503, "DEAD_LETTER", "Kafka did not take it: it is among the dead letters")
        },
        Fate::Ended { cause, .. } => Problem {
            outcome: Some("not_stored"),
            retryable: true,
            ..Problem::of(503, cause.code(), cause.detail())
        },
        Fate::Open | Fate::Queued => unknown("OPEN", "its end is not known"),
    }
}

/// A broken rule.
pub(super) fn of_fault(fault: EventFault) -> Problem<'static> {
    Problem {
        outcome: Some("not_stored"),
        pointer: fault.field().and_then(Field::pointer),
        ..Problem::of(events::status(fault), fault.code(), fault.detail())
    }
}

fn unknown(code: &'static str, detail: &'static str) -> Problem<'static> {
    Problem { outcome: Some("unknown"), retryable: true, ..Problem::of(504, code, detail) }
}

#[inline]
fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a text as a JSON string: most have nothing to escape, so all bytes are looked at, many at a time.
fn quote(text: &str, out: &mut Vec<u8>) {
    match text.bytes().fold(false, |any, byte| any | must_be_escaped(byte)) {
        false => append(out, &["\"", text, "\""]),
        true => _ = write!(out, "{}", Quoted(text)), // writing to a Vec cannot fail
    }
}

#[inline]
fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0x7f) || byte < 0x20
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", Escaped(self.0))
    }
}

/// The same without its quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(must_be_escaped) {
            f.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                byte @ (b'"' | b'\\') => write!(f, "\\{}", char::from(byte))?,
                byte => write!(f, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}
