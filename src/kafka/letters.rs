//! Dead letters: records that failed for good while nobody waits for their outcome, and where they go instead.
//!
//! First choice is the topic of dead letters, on its own lanes of the same producer; second the file; what neither
//! takes is named in the log and lost. A letter keeps its place in the buffer and its open end in the ledger until it
//! has arrived, so both bounds hold for letters too. Nothing here waits: a topic without a way and a disk that hangs
//! cost the letters that were for them, and nobody else.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::value::RawValue;

use super::accounts::Accounts;
use super::held::{Entry, Held};
use super::lanes::Lanes;
use super::options::{DEAD_LETTERS, KafkaOptions, LetterOptions, Topics};
use super::report::Delivery;
use crate::event::{Outcome, excerpt, headers, quoted};
use crate::handoff::{Cause, KEYED_TAKEN_SLOT, Shape, TOPICS_MAX, Target, Token, TopicId, murmur2, unix_ms};
use crate::letters::{self, Done, Job, Letter, Piece, Writer};

/// How a log line names the outcome of a record that goes on as a dead letter: its end follows.
pub const PENDING: &str = "dead_letter";

/// Bytes that a record grows by as a dead letter at most, beside its topic's name: six headers, and what headers cost
/// the client library.
pub const GROWTH_BYTES: usize = 450;

/// The disk has taken no letter for so long: it hangs, in microseconds.
const STUCK_US: u64 = 5_000_000;

/// At which point a record failed: `dlq.stage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While it waited on our side.
    Wait,
    /// When it was given to the client library.
    Send,
    /// As the client library reported.
    Deliver,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Send => "send",
            Self::Deliver => "deliver",
        }
    }

    /// How often the client library had it: what that does by itself within the delivery timeout is one attempt.
    fn attempts(self) -> &'static [u8] {
        if self == Self::Wait { b"0" } else { b"1" }
    }
}

/// A record that failed, wherever it was.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    pub token: Token,
    pub topic: TopicId,
    pub accounted_bytes: usize,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    headers: &'a [u8],
    stage: Stage,
}

impl<'a> Failed<'a> {
    /// One on our side.
    pub fn waiting(entry: &Entry<'a>, stage: Stage) -> Self {
        let record = entry.outgoing();
        Self {
            token: entry.token,
            topic: entry.shape.topic,
            accounted_bytes: entry.shape.accounted_bytes(),
            key: record.key,
            value: record.value,
            headers: record.headers,
            stage,
        }
    }

    /// One that the client library had.
    pub fn reported(delivery: &'a Delivery<'_>) -> Self {
        Self {
            token: delivery.token,
            topic: delivery.topic,
            accounted_bytes: delivery.accounted_bytes,
            key: delivery.key,
            value: delivery.value,
            headers: &delivery.headers,
            stage: Stage::Deliver,
        }
    }
}

impl Failed<'_> {
    /// Whether it is the letter of a message that was refused at the door: its sender knows.
    pub fn is_reject(&self) -> bool {
        self.topic == DEAD_LETTERS && is_reject(self.headers)
    }
}

/// By what its letter says of the stage.
fn is_reject(record_headers: &[u8]) -> bool {
    headers::iter(record_headers)
        .any(|(name, stage)| name == "dlq.stage" && stage == headers::STAGE_CHECK.as_bytes())
}

/// What [`Letters::take`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Not,
    /// It goes on as a dead letter, and counts for so many bytes more.
    Longer(usize),
}

/// Where a letter can go now.
enum Way {
    Topic,
    File,
    Nowhere,
}

/// See the module's text.
pub struct Letters {
    topics: Topics,
    has_topic: bool,
    /// By the id that a topic is written under.
    is_source: [bool; TOPICS_MAX],
    /// On their way to the topic, or to the file.
    fresh: Held,
    /// The topic did not take them.
    tried: Held,
    writer: Option<Writer>,
    /// Letters that the writer has.
    writing: usize,
    /// When the writer last showed that it works.
    progress_us: u64,
    /// Letters that may wait for a topic that takes none now.
    waiting_max: usize,
    parts: Vec<u8>,
}

/// Dead letters come with HTTP's promises: a build without it leaves them out.
pub const BUILT_IN: bool = cfg!(feature = "http");

impl Letters {
    /// `None` if no topic's records become dead letters. `wake` is called when the file has taken some.
    pub fn new(options: &KafkaOptions, max_records: usize, wake: impl Fn() + Send + 'static) -> Option<Self> {
        let LetterOptions { sources, rejects, dir, max_bytes } = &options.letters;
        let mut is_source = [false; TOPICS_MAX];
        for id in sources.iter().filter(|id| !options.topics.name(**id).is_empty()) {
            is_source[usize::from(options.topics.own_id(*id).0)] = true;
        }
        if !BUILT_IN || !(*rejects || is_source.contains(&true)) {
            return None;
        }
        let start = |dir: &std::path::PathBuf| match Writer::start(dir, *max_bytes, wake) {
            Ok(writer) => Some(writer),
            Err(error) => {
                log::error!(target: "kafka", "thread.failed name=letters reason={}", quoted(&error));
                None
            }
        };
        Some(Self {
            has_topic: options.topics.own_ids().any(|id| id == DEAD_LETTERS),
            topics: options.topics.clone(),
            is_source,
            fresh: Held::default(),
            tried: Held::default(),
            writer: dir.as_ref().and_then(start),
            writing: 0,
            progress_us: 0,
            waiting_max: max_records / 4,
            parts: Vec::new(),
        })
    }

    /// Takes the letter of a message that was refused at the door.
    pub fn accept(&mut self, entry: Entry<'_>) {
        self.fresh.push(entry);
    }

    /// Takes a record that failed, if its sender was told that it is taken, and it is certainly not stored.
    pub fn take(&mut self, failed: &Failed<'_>, outcome: Outcome, cause: Cause, now_us: u64) -> Taken {
        let is_letter = failed.topic == DEAD_LETTERS && self.has_topic;
        let is_source = self.is_source.get(usize::from(failed.topic.0)).is_some_and(|is_source| *is_source);
        let is_untold = match failed.token.target() {
            Target::Nobody { .. } => true,
            Target::Peer(to) => to.slot == KEYED_TAKEN_SLOT,
        };
        if !is_untold || !(is_letter || is_source) {
            return Taken::Not;
        }
        if outcome == Outcome::Unknown && !(is_letter && self.writer.is_some()) {
            // It may be stored: a second copy would be another event.
            if !failed.is_reject() {
                self.name(failed, cause.code(), false);
            }
            return Taken::Not;
        }
        self.parts.clear();
        self.parts.extend_from_slice(failed.key.unwrap_or_default());
        self.parts.extend_from_slice(failed.value);
        let headers_from = self.parts.len();
        self.parts.extend_from_slice(failed.headers);
        if !is_letter {
            let time = UNIX_EPOCH + Duration::from_millis(unix_ms().max(0) as u64);
            let time = humantime::format_rfc3339_millis(time).to_string();
            for (name, value) in [
                ("dlq.reason", cause.detail().as_bytes()),
                ("dlq.code", cause.code().as_bytes()),
                ("dlq.stage", failed.stage.name().as_bytes()),
                ("dlq.source_topic", self.topics.name(failed.topic).as_bytes()),
                ("dlq.attempts", failed.stage.attempts()),
                ("dlq.time", time.as_bytes()),
            ] {
                // Names and values of ours are short.
                headers::push(&mut self.parts, name, value);
            }
        }
        let shape = Shape {
            topic: DEAD_LETTERS,
            key_len: failed.key.map(|key| key.len() as u32),
            value_len: failed.value.len() as u32,
            headers_len: (self.parts.len() - headers_from) as u32,
            patience: 0,
        };
        let hash = failed.key.map_or(now_us as u32, murmur2);
        let entry = Entry { token: failed.token, hash, accepted_us: now_us, shape, parts: &self.parts };
        if is_letter { &mut self.tried } else { &mut self.fresh }.push(entry);
        Taken::Longer(shape.accounted_bytes().saturating_sub(failed.accounted_bytes))
    }

    /// Whether none waits here or is with the writer; those in lanes are the lanes'.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.tried.is_empty() && self.writing == 0
    }

    /// Sends letters on their way and books those that have arrived. `is_ending`: the topic is closed.
    pub fn post(&mut self, accounts: &mut Accounts, lanes: &mut Lanes, is_ending: bool, now_us: u64) {
        self.book_written(accounts, now_us);
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh = self.send(fresh, accounts, lanes, !is_ending, now_us);
        let tried = std::mem::take(&mut self.tried);
        self.tried = self.send(tried, accounts, lanes, false, now_us);
    }

    /// Gives letters a way, oldest first; those that have to wait for the writer.
    fn send(
        &mut self,
        mut waiting: Held,
        accounts: &mut Accounts,
        lanes: &mut Lanes,
        may_use_topic: bool,
        now_us: u64,
    ) -> Held {
        let mut sent = 0;
        for entry in waiting.iter() {
            match self.way(lanes, may_use_topic, now_us) {
                Way::Topic => lanes.keep(entry),
                // It has its hands full.
                Way::File if self.writing >= letters::JOBS => break,
                Way::File => self.write(accounts, entry, now_us),
                Way::Nowhere => self.lose(accounts, &entry),
            }
            sent += 1;
        }
        waiting.drop_front(sent);
        waiting
    }

    fn way(&self, lanes: &Lanes, may_use_topic: bool, now_us: u64) -> Way {
        let has_topic = self.has_topic && may_use_topic;
        let is_idle = || lanes.held(DEAD_LETTERS) + lanes.inside(DEAD_LETTERS) == 0;
        if has_topic && lanes.has_way(DEAD_LETTERS) && (!lanes.is_on_trial(DEAD_LETTERS) || is_idle()) {
            Way::Topic
        } else if self.writer.is_some() && !self.is_stuck(now_us) {
            Way::File
        } else if has_topic && lanes.held(DEAD_LETTERS) < self.waiting_max {
            // Its way may come back within the delivery timeout.
            Way::Topic
        } else {
            Way::Nowhere
        }
    }

    fn is_stuck(&self, now_us: u64) -> bool {
        self.writing > 0 && now_us.saturating_sub(self.progress_us) > STUCK_US
    }

    fn write(&mut self, accounts: &mut Accounts, entry: Entry<'_>, now_us: u64) {
        let Some(writer) = &self.writer else { return self.lose(accounts, &entry) };
        let record = entry.outgoing();
        let (key, value, headers) = (record.key, record.value, record.headers);
        let mut letter = Vec::new();
        let is_encoded =
            letters::encode(&Letter { time_ms: unix_ms().max(0) as u64, key, value, headers }, &mut letter);
        let job = Job { token: entry.token, accounted_bytes: entry.shape.accounted_bytes(), letter };
        if !is_encoded || writer.write(job).is_err() {
            return self.lose(accounts, &entry);
        }
        if self.writing == 0 {
            self.progress_us = now_us;
        }
        self.writing += 1;
    }

    fn book_written(&mut self, accounts: &mut Accounts, now_us: u64) {
        while let Some(Done { job, is_written }) = self.writer.as_ref().and_then(Writer::done) {
            self.writing = self.writing.saturating_sub(1);
            self.progress_us = now_us;
            match is_written {
                true => {
                    accounts.note(job.token, job.accounted_bytes, Outcome::DeadLettered, Cause::Delivered)
                }
                false => self.lose_job(accounts, &job),
            }
        }
        if self.is_stuck(now_us) {
            while let Some(job) = self.writer.as_ref().and_then(Writer::take_back) {
                self.writing = self.writing.saturating_sub(1);
                self.lose_job(accounts, &job);
            }
        }
    }

    /// The end: whatever has not arrived is lost. One that the thread holds may be written later all the same.
    pub fn give_up(mut self, accounts: &mut Accounts) {
        for waiting in [std::mem::take(&mut self.fresh), std::mem::take(&mut self.tried)] {
            waiting.iter().for_each(|entry| self.lose(accounts, &entry));
        }
        while let Some(job) = self.writer.as_ref().and_then(Writer::take_back) {
            self.writing = self.writing.saturating_sub(1);
            self.lose_job(accounts, &job);
        }
        if self.writing > 0 {
            log::error!(target: "kafka", "letters.silent unknown={}", self.writing);
            accounts.end.shared.ledger.credit(Outcome::Unknown, self.writing as u64);
        }
    }

    fn lose(&self, accounts: &mut Accounts, entry: &Entry<'_>) {
        self.lose_failed(accounts, &Failed::waiting(entry, Stage::Wait));
    }

    /// Neither topic nor file takes it: named and lost, unless its sender knows of its refusal.
    fn lose_failed(&self, accounts: &mut Accounts, failed: &Failed<'_>) {
        let outcome = match failed.is_reject() {
            true => {
                accounts.end.shared.board.rejects_lost.add(1);
                Outcome::Rejected
            }
            false => {
                self.name(failed, "NO_DEAD_LETTER", true);
                Outcome::NotStored
            }
        };
        // A retry with the same key may wait, and is told why the event itself failed.
        let code = headers::iter(failed.headers).find(|(name, _)| *name == "dlq.code").map(|(_, code)| code);
        let cause = Cause::ALL.iter().find(|cause| Some(cause.code().as_bytes()) == code).copied();
        let cause = cause.unwrap_or(Cause::DeadlinePassed);
        accounts.note(failed.token, failed.accounted_bytes, outcome, cause);
    }

    fn lose_job(&self, accounts: &mut Accounts, job: &Job) {
        if let Some(Piece::Letter { letter, .. }) = letters::read(&job.letter).next() {
            let Letter { key, value, headers, .. } = letter;
            let (token, accounted_bytes) = (job.token, job.accounted_bytes);
            let stage = Stage::Wait;
            let failed = Failed { token, topic: DEAD_LETTERS, accounted_bytes, key, value, headers, stage };
            return self.lose_failed(accounts, &failed);
        }
        accounts.note(job.token, job.accounted_bytes, Outcome::NotStored, Cause::DeadlinePassed);
    }

    /// One line for each: a sender that was told "taken" can find its event by it.
    fn name(&self, failed: &Failed<'_>, code: &str, is_lost: bool) {
        let find = |name| headers::iter(failed.headers).find(|(known, _)| *known == name);
        let own = (code.as_bytes(), self.topics.name(failed.topic).as_bytes());
        let code = find("dlq.code").map_or(own.0, |(_, code)| code);
        let topic = find("dlq.source_topic").map_or(own.1, |(_, name)| name);
        let (id, key) = (id_of(failed.headers, failed.value), failed.key.unwrap_or_default());
        let (id, key, code, topic) = (excerpt(&id), excerpt(key), excerpt(code), excerpt(topic));
        match is_lost {
            true => {
                log::error!(target: "kafka", "event.lost id=\"{id}\" key=\"{key}\" topic={topic} code={code}");
            }
            false => {
                log::error!(target: "kafka", "event.unknown id=\"{id}\" key=\"{key}\" topic={topic} code={code}");
            }
        }
    }
}

/// The event's id, as its sender was told it: from its headers, or the value's member `event_id` or `id`. Empty for a
/// record that has none, such as TCP's.
pub fn id_of(record_headers: &[u8], value: &[u8]) -> Vec<u8> {
    for wanted in ["event_id", "ce_id", "trace_id"] {
        if let Some((_, id)) = headers::iter(record_headers).find(|(name, _)| *name == wanted) {
            return id.to_vec();
        }
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(value).unwrap_or_default();
    let id = members.get("event_id").or_else(|| members.get("id")).map(|id| id.get()).unwrap_or_default();
    // A text without its quotes; whatever else it is as it stands.
    serde_json::from_str::<String>(id).unwrap_or_else(|_| id.to_owned()).into_bytes()
}

#[cfg(test)]
#[path = "letters_tests.rs"]
mod tests;
