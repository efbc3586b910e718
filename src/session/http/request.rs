//! What a request's head asks for: the route, when to answer, how the body is to be read.

use crate::pipeline::events::{self, BodyKind, EventFault, Route};
use crate::wire::http1::{self, Coding, Fault, Head, Method};

use super::exchange::Manner;
use super::options::{Ack, HttpOptions, RouteOptions};

/// Longest Idempotency-Key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest traceparent and tracestate that are passed on, in bytes.
const TRACE_BYTES_MAX: usize = 512;

/// A page of the gateway's own, served beside the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Health,
    Ready,
    Metrics,
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
    pub ack: Ack,
    /// Time that the sender waits for delivery, in microseconds.
    pub timeout_us: u64,
    pub kind: BodyKind,
    pub coding: Coding,
    pub idempotency_key: Option<Box<str>>,
    pub traceparent: Option<Box<[u8]>>,
    pub tracestate: Option<Box<[u8]>>,
}

/// Why a head is refused.
pub(super) enum Refusal {
    Http(Fault),
    Event(EventFault),
    NotFound,
    /// What would be allowed.
    Method(&'static str),
    /// A parameter of the query or a header: its name, and the rule.
    Parameter(&'static str, &'static str),
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
        "/events" => (Route::Events, options.events.as_ref()),
        "/api/v1/events" => (Route::PlayerEvents, options.player_events.as_ref()),
        _ => return Err(Refusal::NotFound),
    };
    let route_options = route_options.ok_or(Refusal::NotFound)?;
    match head.method {
        Method::Post => Ok(Asked::Events(Box::new(post(head, route, route_options)?))),
        Method::Options => Ok(Asked::Allowed(FOR_EVENTS)),
        _ => Err(Refusal::Method(FOR_EVENTS)),
    }
}

fn post(head: &Head<'_>, route: Route, options: &RouteOptions) -> Result<Post, Refusal> {
    let (mut ack, mut timeout_us) = (options.ack, options.timeout.as_micros() as u64);
    if let Some(prefer) = head.header("prefer").and_then(|value| std::str::from_utf8(value).ok()) {
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
    }
    let coding = match head.header("content-encoding") {
        None => Coding::Identity,
        Some(value) => Coding::parse(value)?,
    };
    let own = |name, longest| {
        let value = head.header(name).filter(|value| value.len() <= longest);
        value.map(Box::<[u8]>::from)
    };
    Ok(Post {
        route,
        manner: Manner { keep_alive: head.keep_alive, head_only: false },
        ack,
        timeout_us,
        kind: events::body_kind(route, head.headers())?,
        coding,
        idempotency_key: match head.header("idempotency-key") {
            None => None,
            Some(value) => Some(key_of(value)?),
        },
        traceparent: own("traceparent", TRACE_BYTES_MAX),
        tracestate: own("tracestate", TRACE_BYTES_MAX),
    })
}

fn ack_of(value: &str) -> Result<Ack, Refusal> {
    match value {
        "none" => Ok(Ack::None),
        "queued" => Ok(Ack::Queued),
        "delivered" => Ok(Ack::Delivered),
        _ => Err(Refusal::Parameter("ack", "ack must be none, queued or delivered")),
    }
}

/// `250ms`, `5s`; at least a millisecond.
fn timeout_of(value: &str) -> Result<u64, Refusal> {
    let (number, unit_us) = match value.strip_suffix("ms") {
        Some(number) => (number, 1_000),
        None => (value.strip_suffix('s').unwrap_or(""), 1_000_000),
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_us));
    time.filter(|time| *time > 0)
        .ok_or(Refusal::Parameter("timeout", "timeout must be a time such as 250ms or 5s"))
}

/// Visible ASCII, as header values are; a structured string's quotes are taken off.
fn key_of(value: &[u8]) -> Result<Box<str>, Refusal> {
    let text = std::str::from_utf8(value).ok().map(|text| text.trim_matches('"'));
    text.filter(|text| !text.is_empty() && text.len() <= KEY_BYTES_MAX)
        .filter(|text| text.bytes().all(|byte| (0x20..0x7f).contains(&byte)))
        .map(Box::from)
        .ok_or(Refusal::Parameter("Idempotency-Key", "Idempotency-Key must be 1 to 255 visible ASCII characters"))
}
