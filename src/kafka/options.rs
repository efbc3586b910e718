//! Where Kafka is, which topic is written, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::handoff::{TOPICS_MAX, TopicId};

/// The brokers to speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// `host:port` list, comma separated.
    Servers(String),
    /// librdkafka's mock cluster inside this process: memory only, for trials and tests.
    Embedded,
}

/// The topics that are written, by their ids; those that no route needs are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics([Option<String>; TOPICS_MAX]);

impl Topics {
    /// One topic, with the first id.
    pub fn of(name: &str) -> Self {
        let mut topics = Self::default();
        topics.set(TopicId(0), name);
        topics
    }

    /// TCP's topic and, in a build with HTTP, those of its routes and of dead letters.
    pub fn all(scores: &str, events: &str, player_events: &str) -> Self {
        let mut topics = Self::of(scores);
        if cfg!(feature = "http") {
            topics.set(TopicId(1), events);
            topics.set(TopicId(2), player_events);
            topics.set(DEAD_LETTERS, "events-dlq");
        }
        topics
    }

    pub fn set(&mut self, id: TopicId, name: &str) {
        if let Some(place) = self.0.get_mut(usize::from(id.0)) {
            *place = Some(name.to_owned());
        }
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.0.iter().enumerate().filter_map(|(id, name)| Some((TopicId(id as u8), name.as_deref()?)))
    }

    /// The same without those that share another's topic: each topic once, under its first id.
    pub fn own(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.iter().filter(|(id, _)| self.own_id(*id) == *id)
    }

    pub fn own_ids(&self) -> impl Iterator<Item = TopicId> {
        self.own().map(|(id, _)| id)
    }

    /// The id under which the topic of `id` is written: routes may share one.
    pub fn own_id(&self, id: TopicId) -> TopicId {
        let name = self.name(id);
        self.iter().find(|(_, other)| *other == name).map_or(id, |(own, _)| own)
    }

    /// Empty for one that is not there.
    pub fn name(&self, id: TopicId) -> &str {
        self.0.get(usize::from(id.0)).and_then(|name| name.as_deref()).unwrap_or_default()
    }

    /// One more than the highest id.
    pub fn count(&self) -> usize {
        self.iter().map(|(id, _)| usize::from(id.0) + 1).max().unwrap_or(0)
    }

    /// Each name once.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (_, name) in self.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.names().join(","))
    }
}

/// The topic of dead letters, where there is one.
pub const DEAD_LETTERS: TopicId = TopicId(3);

/// A topic that is created when it does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    pub name: String,
    /// Nothing: as many as any other.
    pub partitions: Option<i32>,
    /// How long records are kept; nothing: as long as the broker does.
    pub retention: Option<Duration>,
}

/// What becomes of records that fail when nobody waits for their outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterOptions {
    /// Topics whose records become dead letters: their senders were told that the record is taken.
    pub sources: Vec<TopicId>,
    /// Whether messages that were refused at the door come as letters (DEAD_LETTER_REJECTS).
    pub rejects: bool,
    /// Where those go that the topic of dead letters does not take.
    pub dir: Option<PathBuf>,
    /// What that folder may hold.
    pub max_bytes: u64,
}

impl Default for LetterOptions {
    fn default() -> Self {
        Self { sources: Vec::new(), rejects: false, dir: None, max_bytes: 64 << 20 }
    }
}

/// Everything the Kafka side needs. Shown for debugging, it names passed-through properties without their values.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    pub bootstrap: Bootstrap,
    pub topics: Topics,
    /// Used only when the topic is created (S0-R5), like the two that follow.
    pub partitions: i32,
    /// Topics that have a shape of their own when they are created; those that nothing writes are created too, and
    /// hold nothing back.
    pub creations: Vec<Creation>,
    pub replication_factor: i32,
    pub min_insync_replicas: i32,
    pub idempotence: bool,
    /// `all`, `1` or `0`.
    pub acks: String,
    pub linger: Duration,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// The one delivery deadline, kept by the lanes (message.timeout.ms and delivery.timeout.ms are the same knob).
    pub delivery_timeout: Duration,
    pub letters: LetterOptions,
    /// KAFKA_CONF_*: client properties passed through, as (property, value).
    pub passthrough: Vec<(String, String)>,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passthrough: Vec<&str> = self.passthrough.iter().map(|(property, _)| property.as_str()).collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("topics", &self.topics)
            .field("partitions", &self.partitions)
            .field("creations", &self.creations)
            .field("replication_factor", &self.replication_factor)
            .field("min_insync_replicas", &self.min_insync_replicas)
            .field("idempotence", &self.idempotence)
            .field("acks", &self.acks)
            .field("linger", &self.linger)
            .field("compression", &self.compression)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("letters", &self.letters)
            .field("passthrough", &passthrough)
            .finish()
    }
}

impl KafkaOptions {
    /// How a topic is created.
    #[must_use]
    pub fn creation(&self, name: &str) -> Creation {
        let own = self.creations.iter().find(|creation| creation.name == name);
        let partitions = own.and_then(|own| own.partitions).or(Some(self.partitions));
        Creation { name: name.to_owned(), partitions, retention: own.and_then(|own| own.retention) }
    }

    /// Topics that are created and not written.
    pub fn beside(&self) -> impl Iterator<Item = &str> {
        let written = self.topics.names();
        self.creations
            .iter()
            .map(|creation| creation.name.as_str())
            .filter(move |name| !written.contains(name))
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap: Bootstrap::Servers("localhost:9092".into()),
            topics: Topics::all("score_updates", "events", "player.events.raw"),
            partitions: 12,
            creations: Vec::new(),
            replication_factor: 1,
            min_insync_replicas: 1,
            idempotence: true,
            acks: "all".into(),
            linger: Duration::from_millis(5),
            compression: "lz4".into(),
            delivery_timeout: Duration::from_secs(60),
            letters: LetterOptions {
                sources: if cfg!(feature = "http") { vec![TopicId(1), TopicId(2)] } else { Vec::new() },
                ..LetterOptions::default()
            },
            passthrough: Vec::new(),
        }
    }
}
