//! Bodies of requests with events: the two routes' events, good and bad, alone, in arrays and as NDJSON.

use std::fmt::Write as _;

use fastrand::Rng;
use sluice::handoff::TopicId;

/// `POST /events`.
pub const EVENTS: TopicId = TopicId(1);
/// `POST /api/v1/events`.
pub const PLAYERS: TopicId = TopicId(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Single,
    Array,
    Ndjson,
}

/// What an event of a body is meant to be.
#[derive(Clone, Copy, Debug)]
pub enum Meant {
    /// Taken; under this player's key, if it has one.
    Good(Option<u32>),
    /// Refused with this status and code.
    Bad(u16, &'static str),
}

/// A body, which several requests may carry.
#[derive(Clone, Debug)]
pub struct Body {
    /// Its number in the run.
    pub number: usize,
    pub topic: TopicId,
    /// Number of the `Idempotency-Key` that it goes with.
    pub key: Option<usize>,
    pub shape: Shape,
    pub bytes: Vec<u8>,
    pub items: Vec<Meant>,
    /// Refused as a whole.
    pub fault: Option<(u16, &'static str)>,
}

/// Limits and proportions of one sender's bodies.
#[derive(Clone, Debug)]
pub struct BodyStyle {
    pub bad_percent: u32,
    pub items_max: usize,
    pub keys: u32,
    pub max_body_bytes: usize,
    /// What the buffer holds: more events than that are refused as a whole.
    pub max_records: usize,
}

/// Events that are refused on /events, on /api/v1/events; those that are no JSON would break an array.
const BAD_EVENTS: &[(&str, &str)] = &[
    (r#"{"type":1}"#, "mistyped"),
    (r#""text""#, "not_an_object"),
    (r#"{"payload":[]}"#, "mistyped"),
    (r#"{"timestamp":"yesterday"}"#, "not_rfc3339"),
    (r#"{"id":"a","id":"b"}"#, "duplicate_member"),
    (r#"{"type":"\ud800"}"#, "lone_surrogate"),
];
const BAD_PLAYERS: &[(&str, &str)] = &[
    ("{}", "missing"),
    ("7", "not_an_object"),
    (r#"{"event_type":"","player_id":"k1","game_id":"g"}"#, "empty"),
    (r#"{"event_type":"t","player_id":"k1","game_id":"g","timestamp":"now"}"#, "not_rfc3339"),
    (
        r#"{"event_type":"t","player_id":"k1","game_id":"g","timestamp":"2026-01-31T23:59:59Z","event_id":"x"}"#,
        "not_uuid",
    ),
];
const NO_JSON: &[&str] = &[r#"{"type":"#, "{'a':1}", r#"{"a":1} {"#, "nonsense"];

impl Body {
    pub fn write(
        number: usize,
        topic: TopicId,
        key: Option<usize>,
        style: &BodyStyle,
        rng: &mut Rng,
    ) -> Self {
        let shape = [Shape::Single, Shape::Single, Shape::Array, Shape::Ndjson][rng.usize(..4)];
        let count = if shape == Shape::Single { 1 } else { rng.usize(0..=style.items_max) };
        let mut body = Self { number, topic, key, shape, bytes: Vec::new(), items: Vec::new(), fault: None };
        let texts: Vec<String> = (0..count).map(|index| body.item(index, style, rng)).collect();
        match shape {
            Shape::Single => body.bytes.extend(texts[0].as_bytes()),
            Shape::Array => {
                let blank = ["", " ", "\n", "\r\n "][rng.usize(..4)];
                body.bytes.extend(format!("{blank}[{blank}{}]{blank}", texts.join(",")).as_bytes());
            }
            Shape::Ndjson => {
                for text in &texts {
                    let end = ["\n", "\r\n", "\n\n"][rng.usize(..3)];
                    body.bytes.extend(text.as_bytes());
                    body.bytes.extend(end.as_bytes());
                }
            }
        }
        body.spoil(style, rng);
        body
    }

    /// Faults of the body as a whole; those that it has, and now and then one more.
    fn spoil(&mut self, style: &BodyStyle, rng: &mut Rng) {
        let is_bad = rng.u32(..400) < style.bad_percent;
        match rng.u32(..3) {
            0 if is_bad && self.shape == Shape::Array => {
                self.bytes.truncate(self.bytes.iter().rposition(|byte| *byte == b']').unwrap_or(0));
                self.fault = Some((400, "not_json"));
            }
            1 if is_bad => {
                self.bytes = b" \r\n"[..rng.usize(..4)].to_vec();
                self.fault = Some((400, "empty"));
            }
            2 if is_bad && style.max_body_bytes < 10_000 => {
                let excess = [1, style.max_body_bytes * 4][rng.usize(..2)];
                self.bytes.resize(style.max_body_bytes + excess, b' ');
            }
            _ => {}
        }
        if self.fault.is_none() && self.shape == Shape::Ndjson && self.items.is_empty() {
            self.fault = Some((400, "empty"));
        }
        if self.fault.is_none() && self.items.len() > style.max_records {
            self.fault = Some((413, "too_many_events"));
        }
        if self.bytes.len() > style.max_body_bytes {
            self.fault = Some((413, "body_too_large"));
        }
    }

    fn item(&mut self, index: usize, style: &BodyStyle, rng: &mut Rng) -> String {
        if rng.u32(..100) >= style.bad_percent {
            return self.good(index, style, rng);
        }
        let bad = if self.topic == EVENTS { BAD_EVENTS } else { BAD_PLAYERS };
        if self.shape != Shape::Array && rng.u32(..3) == 0 {
            self.items.push(Meant::Bad(400, "not_json"));
            return NO_JSON[rng.usize(..NO_JSON.len())].to_owned();
        }
        let (text, code) = bad[rng.usize(..bad.len())];
        self.items.push(Meant::Bad(400, code));
        text.to_owned()
    }

    fn good(&mut self, index: usize, style: &BodyStyle, rng: &mut Rng) -> String {
        let number = self.number;
        let blank = ["", " ", "\t"][rng.usize(..3)];
        let mut text = format!("{{{blank}\"n\":{index},\"body\":{number}");
        let has_own_id = rng.u32(..3) == 0;
        // Writing to a String cannot fail.
        if self.topic == EVENTS {
            self.items.push(Meant::Good(None));
            if has_own_id {
                let _ = write!(text, r#","id":"own-{number}-{index}""#);
            }
            if rng.bool() {
                let pad = "x".repeat(rng.usize(..60));
                let _ = write!(text, r#","type":"t","payload":{{"big":12345678901234567890,"pad":"{pad}"}}"#);
            }
        } else {
            let player = rng.u32(..style.keys);
            self.items.push(Meant::Good(Some(player)));
            let _ = write!(text, r#","event_type":"t","player_id":"k{player}","game_id":"g""#);
            let _ = write!(text, r#","timestamp":"2026-01-31T23:59:59.5+01:00""#);
            if has_own_id {
                let _ = write!(text, r#","event_id":"00000000-0000-4000-8000-{number:06}{index:06}""#);
            }
        }
        text + blank + "}"
    }
}
