//! What one HTTP sender was told, held against what was promised and against what really happened.

use serde_json::Value;
use sluice::event::Outcome;

use super::post::{Ack, Post, What};
use super::reader::{Reader, Reply};
use super::script::{Ask, Closes, Exchange, Script};
use crate::truth::Truth;

/// What one event was told.
#[derive(Clone, Debug)]
pub struct Item {
    pub status: u16,
    pub code: String,
    pub outcome: String,
    pub event_id: Option<String>,
}

impl Item {
    fn of(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Self {
            status: json["status"].as_u64().expect("a status is a number") as u16,
            code: text("code").unwrap_or_default(),
            outcome: text("outcome").unwrap_or_default(),
            event_id: text("event_id"),
        }
    }
}

/// The answer to one request: its events' ends in their order, or none where it was refused as a whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The request with events that it answers.
    pub post: Option<usize>,
    pub items: Vec<Item>,
    /// Bytes up to its end.
    pub end: usize,
}

/// The answers as their reader understands them.
#[derive(Debug, Default)]
pub struct Told {
    reader: Reader,
    /// One for each request from the first.
    pub answers: Vec<Answer>,
    /// The next request has been told to go on.
    is_continued: bool,
    pub is_closed: bool,
}

/// What else the reader must know.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    /// Bytes that the sender had sent by then.
    pub sent: usize,
    /// A drain may end any connection.
    pub may_drain: bool,
}

impl Told {
    /// How far the sender may go on: it waits where a request waits for 100.
    pub fn may_send(&self, script: &Script) -> usize {
        let rest = script.exchanges.iter().enumerate().skip(self.answers.len());
        let mut waiting =
            rest.filter(|(at, next)| next.pauses && !(self.is_continued && *at == self.answers.len()));
        waiting.next().map_or(script.bytes.len(), |(_, next)| next.head_end)
    }

    /// Nothing is cut in half.
    pub fn is_whole(&self) -> bool {
        self.reader.is_empty()
    }

    /// Every request that is to be answered was.
    pub fn is_complete(&self, script: &Script) -> bool {
        let answered = self.answers.len();
        let has_ended = answered > 0 && script.exchanges[answered - 1].is_end;
        let may_have = answered > 0 && script.exchanges[answered - 1].may_end;
        self.is_closed
            || has_ended
            || may_have
            || script.exchanges[answered..].iter().all(|exchange| exchange.is_cut)
    }

    /// The sender reads more answers.
    pub fn read(&mut self, bytes: &[u8], since: Since, script: &Script, truth: &Truth) {
        self.reader.feed(bytes);
        loop {
            let at = self.answers.len();
            let is_head = script.exchanges.get(at).is_some_and(|exchange| exchange.is_head);
            let Some(reply) = self.reader.next(is_head) else { break };
            assert!(!self.is_closed, "{reply:?} after the last one");
            assert!(at == 0 || !script.exchanges[at - 1].is_end, "{reply:?} behind the end");
            let exchange = script.exchanges.get(at).unwrap_or_else(|| panic!("{reply:?} answers nothing"));
            assert!(since.sent > exchange.start, "{reply:?} before its request");
            self.take(&reply, exchange, since, script.bytes.len(), truth);
        }
        assert!(!self.is_closed || self.reader.is_empty(), "bytes after the last answer");
    }

    fn take(&mut self, reply: &Reply, exchange: &Exchange, since: Since, total: usize, truth: &Truth) {
        if reply.status == 100 {
            assert!(exchange.expects && !self.is_continued, "100 that nobody waits for");
            assert!(since.sent >= exchange.head_end, "100 before the head is whole");
            self.is_continued = true;
            return;
        }
        self.is_continued = false;
        self.is_closed = reply.closes;
        // Its sender may have ended: then the last answer says so too.
        let may_close = exchange.closes != Closes::Never || since.may_drain || since.sent == total;
        assert!(!reply.closes || may_close || reply.status == 408, "closed without a cause: {reply:?}");
        let must_close = exchange.closes == Closes::Always && !exchange.is_cut;
        assert!(reply.closes || !must_close, "{reply:?} does not end the connection");
        assert_eq!(reply.retry_after.is_some(), is_overload(reply), "Retry-After of {reply:?}");
        let (post, items) = match exchange.ask {
            Ask::Fixed(statuses) => {
                assert!(
                    statuses.contains(&reply.status) || reply.status == 408,
                    "{reply:?}, not {statuses:?}"
                );
                (None, Vec::new())
            }
            Ask::Post(number) => {
                let is_sent = since.sent >= exchange.end && !exchange.is_cut;
                (Some(number), check_post(reply, number, is_sent, truth))
            }
        };
        self.answers.push(Answer { status: reply.status, post, items, end: self.reader.taken });
    }
}

/// 429, 503, and a batch with an event that was told 503.
fn is_overload(reply: &Reply) -> bool {
    let items = (reply.status == 207).then(|| reply.json()["items"].as_array().cloned()).flatten();
    let is_item = items.into_iter().flatten().any(|item| item["status"] == 503);
    // A page that says "not ready" asks to come again as well, and one that says "not alive".
    matches!(reply.status, 429 | 503) || is_item
}

/// Its events' ends.
fn check_post(reply: &Reply, number: usize, is_sent: bool, truth: &Truth) -> Vec<Item> {
    let post = &truth.posts[number];
    let json = reply.json();
    let shown = || format!("{} {json} for request {number}: {post:?}", reply.status);
    if reply.content_type == "application/json" {
        assert!(is_sent && post.fault.is_none(), "{}", shown());
        return match post.is_batch {
            true => check_batch(reply.status, &json, post, truth),
            false => {
                let item =
                    Item { status: reply.status, code: String::new(), ..Item::of(&with_status(reply)) };
                assert!(matches!(reply.status, 200 | 202), "{}", shown());
                check_item(&item, 0, post, truth);
                vec![item]
            }
        };
    }
    assert_eq!(reply.content_type, "application/problem+json", "{}", shown());
    let item = Item::of(&json);
    assert_eq!(item.status, reply.status, "{}", shown());
    let is_untaken = match (item.status, &item.code[..]) {
        (408, _) | (503, "draining") => reply.closes,
        (429, "rate_limited") | (503, "overloaded") => true,
        (400, "malformed_request") if !is_sent => reply.closes,
        (409, "idempotency_conflict") => {
            is_sent && truth.posts.iter().any(|other| other.has_key_of(post) && other.body != post.body)
        }
        (status, code) => post.fault == Some((status, code)),
    };
    if is_untaken {
        assert!(item.outcome.is_empty() || item.outcome == "not_stored", "{}", shown());
        for id in post.goods() {
            assert!(truth.goods[id].is_untouched(), "{}, but {:?}", shown(), truth.goods[id]);
        }
        return Vec::new();
    }
    assert!(is_sent && post.fault.is_none() && !post.is_batch, "{}", shown());
    check_item(&item, 0, post, truth);
    vec![item]
}

/// A single event's success says its status in the line only.
fn with_status(reply: &Reply) -> Value {
    let mut json = reply.json();
    let word = json["status"].as_str().unwrap_or_default().to_owned();
    let is_right = match reply.status {
        200 => word == "stored" || word == "success",
        _ => word == "accepted",
    };
    assert!(is_right, "{} says {word}", reply.status);
    json["status"] = reply.status.into();
    json
}

fn check_batch(status: u16, json: &Value, post: &Post, truth: &Truth) -> Vec<Item> {
    let items = json["items"].as_array().expect("a batch's answer has items");
    assert_eq!(items.len(), post.items.len(), "{json} for {post:?}");
    let (mut told, mut accepted) = (Vec::new(), 0);
    for (index, item) in items.iter().enumerate() {
        assert_eq!(item["index"], index, "{json}");
        let item = Item::of(item);
        accepted += usize::from(item.status < 300);
        check_item(&item, index, post, truth);
        told.push(item);
    }
    assert_eq!((&json["accepted"], &json["refused"]), (&accepted.into(), &(items.len() - accepted).into()));
    let all = |status| told.iter().all(|item| item.status == status);
    let expected = match () {
        () if all(200) => 200,
        () if all(202) => 202,
        () => 207,
    };
    assert_eq!(status, expected, "{json}");
    told
}

/// One event's end as it was told, against the truth. What holds once holds for ever.
fn check_item(item: &Item, index: usize, post: &Post, truth: &Truth) {
    let id = match post.items[index] {
        What::Good(id) => id,
        What::Bad(status, code) => {
            let is_expected = (item.status, &item.code[..]) == (status, code);
            assert!(is_expected || is_overloaded(item), "{item:?} for an event refused as {status} {code}");
            assert!(item.outcome == "not_stored" && item.event_id.is_none(), "{item:?}");
            return;
        }
    };
    let good = truth.goods[id];
    let is_own = post.key.is_none();
    let is_right = match item.status {
        200 => (post.ack == Ack::Delivered || !is_own) && is_stored(item, id, index, post, truth),
        202 => post.ack != Ack::Delivered && item.event_id.is_some(),
        503 if is_overloaded(item) => good.is_untouched(),
        503 => {
            let has_failed = good.own.is_expired || good.own.reported == Some(Outcome::NotStored);
            item.outcome == "not_stored" && post.is_followed() && (has_failed || !is_own)
        }
        504 => {
            let is_known = item.code == "TIMEOUT" || good.own.reported == Some(Outcome::Unknown);
            item.outcome == "unknown" && post.is_followed() && (is_known || !is_own)
        }
        413 | 422 => {
            let is_refused = good.own.reported == Some(Outcome::Rejected);
            item.outcome == "not_stored" && post.is_followed() && (is_refused || !is_own)
        }
        _ => false,
    };
    assert!(is_right, "{item:?}, but {good:?} of {post:?}");
    if item.outcome == "not_stored" {
        assert_eq!(good.own.in_log, 0, "{item:?}, but {good:?}");
    }
    assert!(
        good.letter.is_untouched() || post.ack != Ack::Delivered,
        "a dead letter of what was told: {good:?}"
    );
}

fn is_overloaded(item: &Item) -> bool {
    (item.status, &item.code[..], &item.outcome[..]) == (503, "overloaded", "not_stored")
}

/// Its record is in the topic under the id that was told; a retry may speak of another request's record.
fn is_stored(item: &Item, id: usize, index: usize, post: &Post, truth: &Truth) -> bool {
    let is_it = |id: usize| {
        let own = truth.goods[id].own;
        let is_named = item.event_id.is_some() && truth.event_ids.get(&id) == item.event_id.as_ref();
        own.in_log == 1 && own.reported == Some(Outcome::Stored) && is_named
    };
    let others = || truth.posts.iter().filter(|other| other.has_key_of(post) && other.body == post.body);
    is_it(id) || others().filter_map(|other| other.good(index)).any(is_it)
}
