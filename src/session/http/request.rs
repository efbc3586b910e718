//! What a request's head asks for: the route, when to answer, how the body is to be read.

use crate::admission::Network;
use crate::event::headers;
use crate::pipeline::events::{self, BodyKind, EventFault, IdempotencyKey, Route};
use crate::wire::http1::{self, Coding, Fault, Head, Method};

use super::exchange::Manner;
use super::openapi;
use super::options::{Ack, HttpOptions, RouteOptions};

/// Attributes of a CloudEvent in headers, names and values together, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 16 << 10;

/// A page of the gateway's own, served beside the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Health,
    Ready,
    Metrics,
    /// The description of the routes.
    OpenApi,
}

/// What a head asks for.
pub(super) enum Asked {
    Events(Box<Post>),
    Page(Page),
    /// OPTIONS: what is allowed here.
    Allowed(&'static str),
}

/// Events that are announced.
pub(super) struct Post {
    pub route: Route,
    pub manner: Manner,
    /// Whom it is held against; known once the head is read.
    pub client: Network,
    pub ack: Ack,
    /// Time that the sender waits for delivery, in microseconds.
    pub timeout_us: u64,
    /// `?offsets=1`: the answer says where in the topic its events are (G22); nobody is told unasked.
    pub shows_place: bool,
    pub kind: BodyKind,
    pub coding: Coding,
    /// Checked: an [`IdempotencyKey`].
    pub idempotency_key: Option<Box<[u8]>>,
    pub traceparent: Option<Box<[u8]>>,
    pub tracestate: Option<Box<[u8]>>,
    /// Of a CloudEvent in binary form alone.
    pub content_type: Option<Box<[u8]>>,
    /// Its `ce-*` headers, as `event::headers` writes them.
    pub attributes: Vec<u8>,
}

impl Post {
    /// What it keeps of its head while its body comes.
    pub fn heap_bytes(&self) -> usize {
        let kept = [&self.idempotency_key, &self.traceparent, &self.tracestate, &self.content_type];
        kept.into_iter().flatten().map(|value| value.len()).sum::<usize>() + self.attributes.capacity()
    }
}

/// Why a head is refused.
pub(super) enum Refusal {
    Http(Fault),
    Event(EventFault),
    NotFound,
    /// What would be allowed.
    Method(&'static str),
    /// The rule that a parameter of the query or a preference breaks.
    Parameter(&'static str),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Http(fault)
    }
}

impl From<EventFault> for Refusal {
    fn from(fault: EventFault) -> Self {
        Self::Event(fault)
    }
}

const FOR_EVENTS: &str = "POST, OPTIONS";
const FOR_PAGES: &str = "GET, HEAD, OPTIONS";

/// Reads a head; `metrics_path` is where metrics are, if anywhere.
pub(super) fn read(
    head: &Head<'_>,
    options: &HttpOptions,
    metrics_path: Option<&str>,
) -> Result<Asked, Refusal> {
    let page = match head.path {
        "/health" | "/health/live" => Some(Page::Health),
        "/ready" | "/health/ready" => Some(Page::Ready),
        openapi::PATH => Some(Page::OpenApi),
        path if Some(path) == metrics_path => Some(Page::Metrics),
        _ => None,
    };
    if let Some(page) = page {
        return match head.method {
            Method::Get | Method::Head => Ok(Asked::Page(page)),
            Method::Options => Ok(Asked::Allowed(FOR_PAGES)),
            _ => Err(Refusal::Method(FOR_PAGES)),
        };
    }
    let (route, route_options) = match head.path {
        "/events" if options.events.is_on => (Route::Events, &options.events),
        "/api/v1/events" if options.player_events.is_on => (Route::PlayerEvents, &options.player_events),
        _ => return Err(Refusal::NotFound),
    };
    match head.method {
        Method::Post => Ok(Asked::Events(Box::new(post(head, route, route_options)?))),
        Method::Options => Ok(Asked::Allowed(FOR_EVENTS)),
        _ => Err(Refusal::Method(FOR_EVENTS)),
    }
}

/// The first line of each header that a request for events is read by, found in one pass: a look-up each is what a
/// small request would notice.
#[derive(Default)]
struct Lines<'h> {
    prefer: Option<&'h [u8]>,
    content_type: Option<&'h [u8]>,
    has_coding: bool,
    has_specversion: bool,
    idempotency_key: Option<&'h [u8]>,
    traceparent: Option<&'h [u8]>,
    tracestate: Option<&'h [u8]>,
}

impl<'h> Lines<'h> {
    fn of(head: &Head<'h>) -> Self {
        let mut lines = Self::default();
        for (name, value) in head.headers() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let place = match name.len() {
                6 if is("prefer") => &mut lines.prefer,
                10 if is("tracestate") => &mut lines.tracestate,
                11 if is("traceparent") => &mut lines.traceparent,
                12 if is("content-type") => &mut lines.content_type,
                15 if is("idempotency-key") => &mut lines.idempotency_key,
                14 if is("ce-specversion") => {
                    lines.has_specversion = true;
                    continue;
                }
                16 if is("content-encoding") => {
                    lines.has_coding = true;
                    continue;
                }
                _ => continue,
            };
            place.get_or_insert(value);
        }
        lines
    }
}

fn post(head: &Head<'_>, route: Route, options: &RouteOptions) -> Result<Post, Refusal> {
    let lines = Lines::of(head);
    let (mut ack, mut timeout_us) = (options.ack, options.timeout.as_micros() as u64);
    let mut shows_place = false;
    if let Some(prefer) = lines.prefer.and_then(|value| std::str::from_utf8(value).ok()) {
        // RFC 7240: preferences that mean nothing here are passed over.
        for preference in prefer.split([',', ';']) {
            if let Some((name, value)) = preference.split_once('=')
                && name.trim().eq_ignore_ascii_case("ack")
            {
                ack = ack_of(value.trim().trim_matches('"'))?;
            }
        }
    }
    if let Some(query) = head.query {
        if let Some(value) = http1::query_param(query, "ack")? {
            ack = ack_of(&value)?;
        }
        if let Some(value) = http1::query_param(query, "timeout")? {
            timeout_us = timeout_us.min(timeout_of(&value)?);
        }
        if let Some(value) = http1::query_param(query, "offsets")? {
            shows_place = flag_of(&value)?;
        }
    }
    let own = |value: Option<&[u8]>| value.map(Box::<[u8]>::from);
    let kind = events::body_kind(route, lines.content_type, lines.has_specversion)?;
    let is_binary = kind == BodyKind::CloudBinary;
    if let Some(key) = lines.idempotency_key {
        IdempotencyKey::new(key)?;
    }
    Ok(Post {
        route,
        manner: Manner { keep_alive: head.keep_alive, head_only: false, http10: head.http10, grant: 0 },
        client: Network::V4(0),
        ack,
        timeout_us,
        shows_place,
        kind,
        coding: if lines.has_coding { Coding::of(head)? } else { Coding::Identity },
        idempotency_key: own(lines.idempotency_key),
        traceparent: own(lines.traceparent),
        tracestate: own(lines.tracestate),
        content_type: own(lines.content_type.filter(|_| is_binary)),
        attributes: if is_binary { attributes(head) } else { Vec::new() },
    })
}

fn ack_of(value: &str) -> Result<Ack, Refusal> {
    match value {
        "none" => Ok(Ack::None),
        "queued" => Ok(Ack::Queued),
        "delivered" => Ok(Ack::Delivered),
        _ => Err(Refusal::Parameter("ack must be none, queued or delivered")),
    }
}

fn flag_of(value: &str) -> Result<bool, Refusal> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Refusal::Parameter("offsets must be 1 or 0")),
    }
}

/// `250ms`, `5s`; at least a millisecond. Digits and a unit, however many: what is too long has no effect anyway.
fn timeout_of(value: &str) -> Result<u64, Refusal> {
    let (number, unit_us) = match value.strip_suffix("ms") {
        Some(number) => (number, 1_000),
        None => (value.strip_suffix('s').unwrap_or(""), 1_000_000),
    };
    let mut digits = number.bytes().map(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')));
    digits
        .try_fold(0_u64, |number, digit| Some(number.saturating_mul(10).saturating_add(digit?)))
        .map(|number| number.saturating_mul(unit_us))
        .filter(|time| *time > 0)
        .ok_or(Refusal::Parameter("timeout must be a time such as 250ms or 5s"))
}

/// The attributes of a CloudEvent in binary form, as far as they fit; one that is required and missing is refused later.
fn attributes(head: &Head<'_>) -> Vec<u8> {
    let mut attributes = Vec::new();
    for (name, value) in head.headers() {
        let is_one = name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ce-"));
        if is_one && attributes.len() + name.len() + value.len() <= ATTRIBUTES_BYTES_MAX {
            headers::push(&mut attributes, &name.to_ascii_lowercase(), value);
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let long = "9".repeat(250) + "ms";
        for (text, us) in [
            ("1ms", 1_000),
            ("250ms", 250_000),
            ("5s", 5_000_000),
            ("007s", 7_000_000),
            ("18446744073709551616s", u64::MAX),
            (&long, u64::MAX),
        ] {
            assert_eq!(timeout_of(text).ok(), Some(us), "{text}");
        }
        for text in [
            "", "s", "ms", "0s", "000ms", "5", "+5s", "-5s", " 5s", "5 s", "5s ", "1.5s", "5m", "5sms",
            "\u{661}s",
        ] {
            assert!(timeout_of(text).is_err(), "{text}");
        }
    }
}
