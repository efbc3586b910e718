//! What really happened to every good message: who sent it, whether it lies in a topic, what the pretended
//! broker reported of it. The oracle holds everything that is told against this.

use std::collections::HashMap;

use prost::Message as _;
use sluice::event::pb::ScoreUpdate;
use sluice::event::{Outcome, headers};
use sluice::handoff::TopicId;
use sluice::kafka::DEAD_LETTERS;

use crate::web::post::Post;

/// Where a record got, and what became of it there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// How often it is in the topic.
    pub in_log: u32,
    /// What the producer's report or refusal made of it.
    pub reported: Option<Outcome>,
    /// It was taken out on our side.
    pub is_expired: bool,
    /// When the client library took it, and when it ended, in virtual time.
    pub entered_us: Option<u64>,
    pub ended_us: Option<u64>,
}

impl Place {
    /// Certainly not stored, as far as the gateway can know.
    fn has_failed(&self) -> bool {
        self.is_expired || matches!(self.reported, Some(Outcome::NotStored | Outcome::Rejected))
    }

    /// Nothing is known of it: it was never taken, or is on its way.
    pub fn is_untouched(&self) -> bool {
        self.in_log == 0 && self.reported.is_none() && !self.is_expired
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Good {
    pub conn: usize,
    pub topic: TopicId,
    /// None: without a key.
    pub key: Option<u32>,
    /// In its own topic.
    pub own: Place,
    /// As a dead letter.
    pub letter: Place,
    /// Of the things that happened to it, by their number in the run: the first and the last.
    pub span: Option<(u64, u64)>,
    /// The HTTP request that it came with, and its place there.
    pub post: Option<(usize, usize)>,
}

impl Good {
    /// It ended as not stored, and no dead letter of it is, or may be, anywhere.
    pub fn is_gone(&self) -> bool {
        let is_letter = matches!(self.letter.reported, Some(Outcome::Stored | Outcome::Unknown));
        self.own.has_failed() && !is_letter
    }

    /// It ended where its sender was promised that it would, or may have.
    pub fn is_kept(&self) -> bool {
        let ended = [self.own.reported, self.letter.reported];
        ended.into_iter().flatten().any(|outcome| matches!(outcome, Outcome::Stored | Outcome::Unknown))
    }

    pub fn is_untouched(&self) -> bool {
        self.own.is_untouched() && self.letter.is_untouched()
    }
}

#[derive(Debug, Default)]
pub struct Truth {
    pub goods: Vec<Good>,
    /// Every HTTP request with events, whoever sends it.
    pub posts: Vec<Post>,
    /// What stands in a record as its event's id, by good message.
    pub event_ids: HashMap<usize, String>,
    /// The last id in a partition of (topic, partition, connection, key).
    last: HashMap<(TopicId, usize, usize, u32), usize>,
    /// Reports by [`Outcome::index`]: of records in their own topics, and of dead letters.
    pub reports: [u64; Outcome::COUNT],
    pub letter_reports: [u64; Outcome::COUNT],
    happened: u64,
}

impl Truth {
    /// A sender is about to send a good message; its number.
    pub fn expect(
        &mut self,
        conn: usize,
        topic: TopicId,
        key: Option<u32>,
        post: Option<(usize, usize)>,
    ) -> usize {
        let (own, letter) = (Place::default(), Place::default());
        self.goods.push(Good { conn, topic, key, own, letter, span: None, post });
        self.goods.len() - 1
    }

    /// Which message a record is.
    pub fn id_of(
        &mut self,
        topic: TopicId,
        key: Option<&[u8]>,
        value: &[u8],
        record_headers: &[u8],
    ) -> usize {
        let source = match topic {
            DEAD_LETTERS => header(record_headers, "dlq.source_topic").expect("a dead letter says whence"),
            TopicId(id) => TOPICS[usize::from(id)],
        };
        let id = match source {
            "scores" => self.id_of_update(key, value),
            _ => self.id_of_event(source, key, value, record_headers),
        };
        let good = &self.goods[id];
        assert_eq!(TOPICS[usize::from(good.topic.0)], source, "another topic: {good:?}");
        assert_eq!(key, good.key.map(|key| format!("k{key}")).as_deref().map(str::as_bytes), "another key");
        if topic == DEAD_LETTERS {
            let is_certain = good.own.has_failed() && good.own.in_log == 0;
            assert!(
                is_certain && good.letter.reported.is_none(),
                "a dead letter of what is no dead one: {good:?}"
            );
        }
        id
    }

    fn id_of_update(&self, key: Option<&[u8]>, value: &[u8]) -> usize {
        let update = ScoreUpdate::decode(value).expect("a value is a ScoreUpdate");
        let id = update.score as usize;
        let good = self.goods.get(id).unwrap_or_else(|| panic!("nobody sent {update:?}"));
        let name = crate::script::conn_name(good.conn);
        assert_eq!(update.leaderboard_id, name, "another sender's record: {update:?}");
        assert_eq!(Some(update.player_id.as_bytes()), key, "the record's key is the player");
        id
    }

    fn id_of_event(
        &mut self,
        source: &str,
        key: Option<&[u8]>,
        value: &[u8],
        record_headers: &[u8],
    ) -> usize {
        let shown = value.escape_ascii();
        let number = header(record_headers, "traceparent").and_then(|text| text.strip_prefix("post-"));
        let number: usize =
            number.and_then(|text| text.parse().ok()).expect("an event's record names its request");
        let event: serde_json::Value = serde_json::from_slice(value).expect("an event's value is JSON");
        let post = &self.posts[number];
        let index = event["n"].as_u64().expect("events are numbered") as usize;
        assert_eq!(event["body"], post.body, "another body's event: {shown}");
        assert_eq!(header(record_headers, "idempotency-key"), post.key_text().as_deref(), "{shown}");
        let id = post
            .good(index)
            .unwrap_or_else(|| panic!("event {index} of request {number} is refused: {shown}"));
        let (is_player, event_id) = match source {
            "players" => (true, &event["event_id"]),
            _ => (false, &event["id"]),
        };
        let event_id = event_id.as_str().filter(|id| !id.is_empty()).expect("an event has an id").to_owned();
        if is_player {
            assert_eq!(header(record_headers, "event_id"), Some(&event_id[..]), "{shown}");
            assert_eq!(event["player_id"].as_str().map(str::as_bytes), key, "{shown}");
        }
        let known = self.event_ids.entry(id).or_insert_with(|| event_id.clone());
        assert_eq!(*known, event_id, "an event changed its id");
        id
    }

    fn happens(&mut self, id: usize) {
        self.happened += 1;
        let first = self.goods[id].span.map_or(self.happened, |(first, _)| first);
        self.goods[id].span = Some((first, self.happened));
    }

    fn place(&mut self, topic: TopicId, id: usize) -> &mut Place {
        self.happens(id);
        match topic {
            DEAD_LETTERS => &mut self.goods[id].letter,
            _ => &mut self.goods[id].own,
        }
    }

    /// The broker appends a record.
    pub fn append(&mut self, topic: TopicId, partition: usize, id: usize) {
        let place = self.place(topic, id);
        place.in_log += 1;
        assert_eq!(place.in_log, 1, "message {id} is in topic {topic:?} twice");
        let Some(key) = self.goods[id].key.filter(|_| topic != DEAD_LETTERS) else { return };
        let last = self.last.insert((topic, partition, self.goods[id].conn, key), id);
        assert!(
            last.is_none_or(|last| last < id),
            "message {id} overtaken by {last:?} in partition {partition} of {topic:?}"
        );
    }

    /// The client library takes a record.
    pub fn enter(&mut self, topic: TopicId, id: usize, now_us: u64) {
        self.place(topic, id).entered_us = Some(now_us);
    }

    /// A report or refusal of the producer.
    pub fn report(&mut self, topic: TopicId, id: usize, outcome: Outcome, now_us: u64) {
        let place = self.place(topic, id);
        assert!(place.reported.is_none() && !place.is_expired, "message {id} ends twice");
        (place.reported, place.ended_us) = (Some(outcome), Some(now_us));
        match topic {
            DEAD_LETTERS => self.letter_reports[outcome.index()] += 1,
            _ => self.reports[outcome.index()] += 1,
        }
    }

    /// A record is taken out on our side.
    pub fn expire(&mut self, topic: TopicId, id: usize, now_us: u64) {
        let place = self.place(topic, id);
        assert!(place.is_untouched(), "message {id} is taken out after its end: {place:?}");
        (place.is_expired, place.ended_us) = (true, Some(now_us));
    }
}

/// Names of the topics, by id.
pub const TOPICS: [&str; 4] = ["scores", "events", "players", "letters"];

fn header<'a>(record_headers: &'a [u8], name: &str) -> Option<&'a str> {
    let (_, value) = headers::iter(record_headers).find(|(known, _)| *known == name)?;
    std::str::from_utf8(value).ok()
}
