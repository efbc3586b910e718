//! What a session may use while it takes messages in: the open batch, the room left, the pipeline.

use std::fmt::Display;
use std::net::SocketAddr;

use super::http::Web;
use super::rejected::Rejected;
use crate::admission::Door;
use crate::event::{Rejection, excerpt};
use crate::handoff::{Batch, LaneView, Record, Room, Shape, Tally, Token, TopicId};
use crate::metrics::Throttle;
use crate::pipeline::{Encoded, Pipeline};

/// Where score updates go, from TCP and from an embedding host.
pub const TCP_TOPIC: TopicId = TopicId(0);
/// Where `POST /events` goes.
pub const EVENTS_TOPIC: TopicId = TopicId(1);
/// Where `POST /api/v1/events` goes.
pub const PLAYER_EVENTS_TOPIC: TopicId = TopicId(2);

/// Where dead letters go.
pub const LETTERS_TOPIC: TopicId = TopicId(3);

/// Seconds to ask an overloaded sender to wait while nothing drains.
pub const RETRY_AFTER_STUCK: u32 = 5;

/// The moment of a turn: two clocks, read once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Microseconds on the gateway's monotonic clock.
    pub us: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

/// Counts refused messages by reason and writes the first few of each to the log.
#[derive(Debug)]
pub struct Rejects {
    counts: [u64; Rejection::COUNT],
    throttle: Throttle,
    excerpts: bool,
    /// `None`: refused messages become no dead letters.
    pub rejected: Option<Rejected>,
}

impl Rejects {
    /// `excerpts`: whether log lines may show the start of what was sent.
    pub fn new(excerpts: bool) -> Self {
        Self { counts: [0; Rejection::COUNT], throttle: Throttle::default(), excerpts, rejected: None }
    }

    /// (reason, refused messages), every reason once, at 0 from the start.
    pub fn by_reason(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for rejection in Rejection::all() {
            let count = self.counts[rejection.index()];
            match sums.iter_mut().find(|(code, _)| *code == rejection.code()) {
                Some((_, sum)) => *sum += count,
                None => sums.push((rejection.code(), count)),
            }
        }
        sums
    }

    /// Writes one summary line for each kind that was silenced since the last call.
    pub fn summarise(&mut self, now_ms: u64) {
        for (kind, suppressed) in self.throttle.drain_suppressed(now_ms) {
            if let Some(rejection) = Rejection::all().find(|rejection| rejection.index() == kind) {
                let (event, reason) = (rejection.log_event(), rejection.code());
                log::warn!(target: "net", "{event} suppressed={suppressed} reason={reason}");
            }
        }
    }

    fn note(
        &mut self,
        rejection: Rejection,
        head: &[u8],
        peer: &dyn Display,
        component: &'static str,
        now: Now,
    ) {
        self.counts[rejection.index()] += 1;
        if !log::log_enabled!(target: component, log::Level::Warn)
            || !self.throttle.allow(rejection.index(), now.us / 1000)
        {
            return;
        }
        let (event, reason) = (rejection.log_event(), rejection.code());
        let field = rejection.field().map_or("-", |field| field.name());
        if self.excerpts {
            let bytes = excerpt(head);
            log::warn!(target: component, "{event} peer={peer} field={field} reason={reason} bytes=\"{bytes}\"");
        } else {
            log::warn!(target: component, "{event} peer={peer} field={field} reason={reason}");
        }
    }
}

/// See the module's text. Lives for one call of a session.
pub struct Intake<'a> {
    pub batch: &'a mut Batch,
    pub tally: &'a mut Tally,
    pub room: &'a mut Room,
    /// Answers that the shared store can still take.
    pub answers_room: &'a mut usize,
    pub lanes: &'a LaneView,
    pub pipeline: &'a mut Pipeline,
    pub rejects: &'a mut Rejects,
    pub now: Now,
    /// Key and value together; what each topic and the broker take.
    pub max_record_bytes: &'a [usize],
    /// What an HTTP session needs beside.
    pub web: &'a mut Web,
    /// Who speaks: the peer, or whom a trusted proxy named before the first byte.
    pub peer: SocketAddr,
    /// Whom a listener lets do what.
    pub door: &'a mut Door,
    /// Which listener's, for the log.
    pub component: &'static str,
}

/// How a message ended at the door.
pub enum Taken {
    Accepted,
    Rejected(Rejection),
    /// Accepted by the pipeline, but its lane is full: it waits as the batch's last record.
    LaneFull,
}

impl Intake<'_> {
    /// Runs one message through the pipeline into the open batch. `encode` gets the pipeline, the message, the
    /// wall clock and the arena.
    pub fn take<F>(&mut self, message: &[u8], token: Token, encode: F) -> Taken
    where
        F: FnOnce(&mut Pipeline, &[u8], i64, &mut Vec<u8>) -> Result<Encoded, Rejection>,
    {
        let before = self.batch.arena().len();
        let result = encode(self.pipeline, message, self.now.unix_ms, self.batch.arena());
        let encoded = match result {
            Ok(encoded) if (encoded.key_len + encoded.value_len) as usize > self.limit_of(TCP_TOPIC) => {
                self.batch.arena().truncate(before);
                return self.refuse(Rejection::RecordTooLarge, message, TCP_TOPIC);
            }
            Ok(encoded) => encoded,
            Err(rejection) => return self.refuse(rejection, message, TCP_TOPIC),
        };
        let shape = Shape::keyed(TCP_TOPIC, encoded.key_len, encoded.value_len);
        let record = self.batch.commit(token, shape, self.now.us);
        if !self.lanes.takes(&record) {
            return Taken::LaneFull;
        }
        self.book(&record);
        Taken::Accepted
    }

    /// Longest record of a topic: all its parts together.
    pub fn limit_of(&self, topic: TopicId) -> usize {
        self.max_record_bytes.get(usize::from(topic.0)).copied().unwrap_or(usize::MAX)
    }

    /// Counts a record that is in the batch for good.
    pub fn book(&mut self, record: &Record) {
        let bytes = record.accounted_bytes();
        self.tally.accepted += 1;
        self.tally.records += 1;
        self.tally.bytes += bytes;
        self.room.use_up(1, bytes);
    }

    /// One more answer is outstanding; `outside`: how many of its connection lie in the shared store.
    pub fn use_answer(&mut self, outside: usize) {
        if outside > 0 {
            *self.answers_room = self.answers_room.saturating_sub(1);
        }
    }

    /// Counts a message that is refused; `head` is its start, as far as known, and `topic` the one that it was for.
    /// One that goes on as a dead letter is rejected only if that does not arrive.
    pub fn refuse(&mut self, rejection: Rejection, head: &[u8], topic: TopicId) -> Taken {
        self.tally.accepted += 1;
        self.tally.rejected += u64::from(!self.dead_letter(rejection, head, topic));
        self.rejects.note(rejection, head, &self.peer, self.component, self.now);
        Taken::Rejected(rejection)
    }
}
