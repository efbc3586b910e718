//! What is sent: every request follows from its number, so that a record that is read back can be held against what
//! its sender wrote, without keeping any of it.

use std::fmt::Write as _;

use crate::support::request;

/// Events of one request at most; event `number` is the `number % EVENTS_MAX`th of request `number / EVENTS_MAX`.
pub const EVENTS_MAX: u64 = 8;
const UUID: &str = "00000000-0000-4000-8000-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Events,
    Players,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Single,
    Array,
    Lines,
}

/// One request, whatever becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub request: u64,
    pub route: Route,
    /// `ack=` and `timeout=`.
    query: &'static str,
    /// Its sender waits for delivery.
    pub waits: bool,
    body: Body,
    pub events: u64,
    /// Which of its events breaks a rule.
    bad: Option<u64>,
    /// It is sent again until something certain is known: it has an `Idempotency-Key`, or its events' own ids are one.
    pub is_keyed: bool,
    pub has_key: bool,
    /// Its sender closes the connection without reading on.
    pub walks_away: bool,
}

impl Plan {
    pub fn of(request: u64) -> Plan {
        let mut random = fastrand::Rng::with_seed(request ^ 0x5eed);
        let route = if random.u8(..10) < 6 { Route::Events } else { Route::Players };
        let queries = [
            "",
            "",
            "?ack=none",
            "?ack=queued",
            "?ack=queued",
            "?ack=delivered",
            "?ack=delivered",
            "?ack=delivered&timeout=20ms",
            "?ack=delivered&timeout=1s",
            "?ack=delivered&timeout=1s",
        ];
        let query = queries[random.usize(..queries.len())];
        let body = [Body::Array, Body::Lines, Body::Single][random.usize(..20).min(2)];
        let events = if body == Body::Single { 1 } else { random.u64(2..=EVENTS_MAX) };
        let (is_keyed, by_ids) = (random.u8(..10) == 0, random.bool());
        Plan {
            request,
            route,
            query,
            waits: if query.is_empty() { route == Route::Players } else { query.contains("delivered") },
            body,
            events,
            bad: (random.u8(..50) == 0).then(|| random.u64(..events)),
            is_keyed,
            has_key: is_keyed && !(by_ids && route == Route::Players),
            walks_away: random.u16(..2000) == 0,
        }
    }

    pub fn is_batch(&self) -> bool {
        self.body != Body::Single
    }

    /// The numbers of its events.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.request * EVENTS_MAX;
        first..first + self.events
    }

    pub fn is_bad(&self, number: u64) -> bool {
        self.bad == Some(number % EVENTS_MAX)
    }

    /// An event as it is written.
    pub fn event(&self, number: u64) -> String {
        let (id, is_bad) = (id(self.route, number), self.is_bad(number));
        match self.route {
            Route::Events => {
                let payload = if is_bad { "[]".into() } else { format!(r#"{{"n":{number}}}"#) };
                format!(r#"{{"id":"{id}","type":"t","payload":{payload}}}"#)
            }
            Route::Players => {
                let (player, time) = (number % 1000, if is_bad { "soon" } else { "2026-01-31T23:59:59Z" });
                format!(
                    r#"{{"event_id":"{id}","event_type":"login","player_id":"p-{player}","game_id":"g","timestamp":"{time}","data":{{"n":{number}}}}}"#
                )
            }
        }
    }

    /// The bytes of the request: the same ones each time.
    pub fn bytes(&self) -> Vec<u8> {
        let mut events = self.numbers().map(|number| self.event(number));
        let (kind, body) = match self.body {
            Body::Single => ("json", events.next().unwrap_or_default()),
            Body::Array => ("json", format!("[{}]", events.collect::<Vec<_>>().join(","))),
            Body::Lines => ("x-ndjson", events.collect::<Vec<_>>().join("\n")),
        };
        let target = match self.route {
            Route::Events => "/events",
            Route::Players => "/api/v1/events",
        };
        let (kind, mut key) = (format!("Content-Type: application/{kind}"), String::new());
        let _ = write!(key, "Idempotency-Key: key-{}", self.request); // writing to a String cannot fail
        let headers = [kind.as_str(), key.as_str()];
        let headers = if self.has_key { &headers[..] } else { &headers[..1] };
        request("POST", &format!("{target}{}", self.query), headers, body.as_bytes())
    }
}

pub fn id(route: Route, number: u64) -> String {
    match route {
        Route::Events => format!("e-{number}"),
        Route::Players => format!("{UUID}{number:012x}"),
    }
}

/// The number behind an id.
#[track_caller]
pub fn number_of(id: &str) -> u64 {
    let number = match (id.strip_prefix("e-"), id.strip_prefix(UUID)) {
        (Some(number), _) => number.parse().ok(),
        (_, Some(number)) => u64::from_str_radix(number, 16).ok(),
        _ => None,
    };
    number.unwrap_or_else(|| panic!("no id of ours: {id}"))
}

/// The number of the event that a record's value holds.
///
/// # Panics
/// When the value is not what its sender wrote, with members of the gateway in front.
#[track_caller]
pub fn number_in(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("an event in UTF-8");
    let id = ["\"event_id\":\"", "\"id\":\""].iter().find_map(|name| text.split_once(name));
    let number = number_of(id.and_then(|(_, rest)| rest.split('"').next()).expect("an event with an id"));
    let plan = Plan::of(number / EVENTS_MAX);
    let own = plan.event(number);
    assert!(text.ends_with(&own[1..]) && !plan.is_bad(number), "{text} is not {own}");
    number
}
