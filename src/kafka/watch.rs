//! What the Kafka thread knows and decides, without the producer itself: events served, the cluster's picture,
//! readiness, and what is shown of it.
//!
//! Owns accounts and lanes. Never polls and never produces: that is the thread's part, which can therefore hand an
//! event over while it holds the producer.

use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::accounts::Accounts;
use super::deadline::{Deadline, Step};
use super::errors::judge;
use super::lanes::Lanes;
use super::letters::{self, Failed, Letters, Stage};
use super::native::{Deliveries, Delivery, Event};
use super::options::{DEAD_LETTERS, KafkaOptions, Topics};
use super::statistics::{self, Reading};
use crate::event::{Outcome, excerpt};
use crate::handoff::{
    BufferOptions, Cause, Clock, KafkaEnd, LaneView, Place, TOPICS_MAX, TopicId, lock, unix_ms,
};
use crate::metrics::Throttle;

/// Records inside the client library without any report for so long: Kafka is stuck, and readiness falls within the
/// three seconds that it promises. A topic that was deleted shows in no other way for half a minute.
const STUCK_US: u64 = 2_500_000;
/// Time between two records that try whether a topic that refused writes takes them again, in microseconds.
const TRIAL_US: u64 = 1_000_000;
/// Client errors are counted by code, client log lines by level behind these.
const ERROR_KINDS: usize = 64;
/// Time between two lines about records that expired, in microseconds.
const EXPIRED_US: u64 = 1_000_000;

/// Everything but the producer itself, so that events can be served while it is polled.
pub struct Watch {
    pub accounts: Accounts,
    pub lanes: Lanes,
    pub clock: Clock,
    topics: Topics,
    pub idempotence: bool,
    pub reading: Reading,
    /// The picture changed, or lanes were marked down since it was applied.
    pub is_stale: bool,
    pub inside: usize,
    /// Records that the producer before the present one has not reported yet.
    pub owed: usize,
    /// While the client library lets go: which lanes had records past their deadline when it was told to.
    late: Vec<bool>,
    /// The same for the producer before the present one.
    owed_late: Vec<bool>,
    /// Records of the present producer that have ended.
    pub ended: u64,
    /// Records that the present producer sent again, and all those before it.
    pub retries: u64,
    pub retries_before: u64,
    /// Moment of the last sign that records get through.
    pub progress_us: u64,
    pub is_fatal: bool,
    deadline: Deadline,
    /// The present producer has not shown itself yet, after another.
    is_new: bool,
    /// The gateway ends: that is why the client library gives records up.
    pub is_ending: bool,
    pub shown_ready: Option<&'static str>,
    pub shown_lanes: LaneView,
    pub errors: Throttle,
    pub next_look_us: u64,
    /// When the next record may try whether the topic takes writes again.
    pub next_trial_us: u64,
    /// Records that expired and stand in no log line yet: for good, and those that go on as dead letters.
    pub expired: [u64; 2],
    pub next_expired_us: u64,
    pub timeout_us: u64,
    pub logs_deliveries: bool,
}

impl Watch {
    pub fn new(options: &KafkaOptions, buffer: &BufferOptions, end: KafkaEnd, clock: Clock) -> Self {
        let bell = end.bell.clone();
        let mut accounts = Accounts::new(end, clock);
        accounts.letters = Letters::new(options, buffer.max_records, move || bell.ring(true));
        Self {
            accounts,
            lanes: Lanes::new(
                options.topics.count(),
                buffer.max_records,
                options.delivery_timeout.as_micros() as u64,
            )
            .lingering(options.linger.as_micros() as u64),
            clock,
            topics: options.topics.clone(),
            idempotence: options.idempotence,
            reading: Reading::default(),
            is_stale: false,
            inside: 0,
            owed: 0,
            late: Vec::new(),
            owed_late: Vec::new(),
            ended: 0,
            retries: 0,
            retries_before: 0,
            progress_us: 0,
            is_fatal: false,
            deadline: Deadline::default(),
            is_new: false,
            is_ending: false,
            shown_ready: None,
            shown_lanes: LaneView::default(),
            errors: Throttle::default(),
            next_look_us: 0,
            next_trial_us: 0,
            expired: [0; 2],
            next_expired_us: 0,
            timeout_us: options.delivery_timeout.as_micros() as u64,
            logs_deliveries: log::log_enabled!(target: "kafka", log::Level::Debug),
        }
    }

    pub fn serve(&mut self, event: Event<'_>) {
        match event {
            Event::Deliveries(deliveries) => {
                let before = self.inside;
                let heard = self.book(&deliveries, true);
                for (id, (stored, refused)) in heard.into_iter().enumerate() {
                    let topic = TopicId(id as u8);
                    if stored {
                        self.lanes.trust(topic);
                    } else if refused {
                        self.lanes.suspect(topic);
                        self.next_trial_us = self.clock.now_us() + TRIAL_US;
                    }
                }
                if self.inside < before {
                    self.progress_us = self.clock.now_us();
                }
            }
            Event::Statistics(json) => {
                if let Some(reading) = statistics::read(json, &self.topics, self.idempotence) {
                    // What was sent beyond every record once was sent again (S0-R8 "retried"). Records that wait
                    // inside were perhaps not sent yet: the number may lag, and never says too much.
                    let once = self.ended + self.inside as u64;
                    self.retries = self.retries.max(reading.sent.saturating_sub(once));
                    self.reading = reading;
                    self.is_stale = true;
                    self.is_new = false;
                }
            }
            Event::Error { code, reason, fatal } => self.serve_error(code, reason, fatal),
            Event::Log { level, text } => {
                let level = match level {
                    ..=3 => log::Level::Error,
                    4 => log::Level::Warn,
                    5..=6 => log::Level::Info,
                    _ => log::Level::Debug,
                };
                if self.errors.allow(ERROR_KINDS + level as usize, self.clock.now_us() / 1000) {
                    log::log!(target: "librdkafka", level, "{text}");
                }
            }
        }
    }

    /// What the producer before the present one has to say: only its reports concern anybody.
    pub fn serve_former(&mut self, event: Event<'_>) {
        if let Event::Deliveries(deliveries) = event {
            self.book(&deliveries, false);
        }
    }

    /// Books reports; by topic whether some record was stored, and whether some was refused for the topic's sake.
    fn book(&mut self, deliveries: &Deliveries<'_>, is_present: bool) -> [(bool, bool); TOPICS_MAX] {
        let mut heard = [(false, false); TOPICS_MAX];
        for delivery in deliveries.iter() {
            if is_present {
                self.inside = self.inside.saturating_sub(1);
                self.ended += 1;
                self.lanes.ended(delivery.topic, delivery.partition);
            } else {
                self.owed = self.owed.saturating_sub(1);
            }
            let (outcome, cause) = match judge(delivery.code, delivery.persistence) {
                (outcome, Cause::ShuttingDown) => (outcome, self.why_purged(&delivery, is_present)),
                ended => ended,
            };
            let (stored, refused) = &mut heard[usize::from(delivery.topic.0)];
            *stored |= outcome == Outcome::Stored;
            *refused |= matches!(cause, Cause::NotAuthorized | Cause::UnknownTopic);
            let key = delivery.key.unwrap_or_default();
            if outcome != Outcome::Stored {
                let now_us = self.clock.now_us();
                let is_letter = self.accounts.fail(&Failed::reported(&delivery), outcome, cause, now_us);
                self.accounts.complain(key, if is_letter { letters::PENDING } else { outcome.name() }, cause);
                continue;
            }
            if self.logs_deliveries {
                let (key, size) = (excerpt(key), delivery.value.len());
                log::debug!(target: "kafka", "publish.ok key=\"{key}\" size={size}");
            }
            let outcome = if delivery.topic == DEAD_LETTERS { Outcome::DeadLettered } else { outcome };
            let Delivery { partition, offset, .. } = delivery;
            let place = (offset >= 0).then_some(Place { partition, offset });
            self.accounts.note_at(delivery.token, delivery.accounted_bytes, outcome, cause, place);
        }
        self.accounts.book();
        heard
    }

    fn why_purged(&self, delivery: &Delivery<'_>, is_present: bool) -> Cause {
        let late = if is_present { &self.late } else { &self.owed_late };
        match self.lanes.lane_of(delivery.topic, delivery.partition).and_then(|lane| late.get(lane)) {
            _ if self.is_ending => Cause::ShuttingDown,
            // A client that turns fatal purges what it has not sent: the gateway goes on.
            _ if is_present && self.is_fatal => Cause::ProducerLost,
            Some(true) => Cause::TimedOut,
            Some(false) => Cause::LetGo,
            None if is_present => Cause::UnknownTopic,
            None => Cause::ProducerLost,
        }
    }

    /// Looks after the deadline of what is inside.
    pub fn step(&mut self, now_us: u64) -> Step {
        let was_closed = self.lanes.is_closed();
        let step = self.deadline.step(&mut self.lanes, self.inside, self.is_fatal, now_us);
        if step == Step::LetGo && self.late.is_empty() {
            self.late = self.lanes.late();
            let late = self.late.iter().filter(|late| **late).count();
            log::error!(target: "kafka", "producer.let_go inside={} lanes_late={late}", self.inside);
        } else if step == Step::GoOn {
            self.late.clear();
        }
        if was_closed != self.lanes.is_closed() {
            // Readiness follows at once.
            self.next_look_us = 0;
        }
        step
    }

    /// The producer was given up: what is inside is owed from now on, and the lanes wait for the new one.
    pub fn start_anew(&mut self) {
        self.owed += std::mem::take(&mut self.inside);
        self.owed_late = std::mem::take(&mut self.late);
        self.retries_before += std::mem::take(&mut self.retries);
        self.ended = 0;
        self.deadline.start_anew(&mut self.lanes);
        self.lanes.mark_down(None);
        self.reading = Reading::default();
        self.is_fatal = false;
        self.is_new = true;
        self.next_look_us = 0;
    }

    pub fn serve_error(&mut self, code: Code, reason: &str, fatal: bool) {
        self.is_fatal |= fatal;
        *lock(&self.accounts.end.shared.board.last_error) = Some((unix_ms(), format!("{code:?}: {reason}")));
        match code {
            Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => self.lanes.mark_down(None),
            Code::RD_KAFKA_RESP_ERR__TRANSPORT => {
                if let Some(broker) = broker_of(reason) {
                    self.lanes.mark_down(Some(broker));
                }
            }
            _ => {}
        }
        if self
            .errors
            .allow((code as i32).rem_euclid(ERROR_KINDS as i32) as usize, self.clock.now_us() / 1000)
        {
            let reason = excerpt(reason.as_bytes());
            log::warn!(target: "kafka", "kafka.error code={code:?} fatal={fatal} reason=\"{reason}\"");
        }
    }

    /// Applies the newest picture of the cluster.
    pub fn look(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        let leaders = &mut self.reading.layout.leaders;
        leaders.resize(TOPICS_MAX, Vec::new());
        for (id, before) in self.lanes.counts() {
            let leaders = &mut leaders[usize::from(id.0)];
            // A topic that nobody knows for a moment keeps its lanes: they are down, not gone.
            if leaders.is_empty() {
                *leaders = vec![-1; before];
            }
            let now = leaders.len();
            if before != now && before > 0 {
                let name = self.topics.name(id);
                log::info!(target: "kafka", "topic.changed name={name} partitions_before={before} partitions={now}");
            }
        }
        self.lanes.apply(&self.reading.layout);
        self.lanes.adjust(self.inside);
    }

    /// A topic was found: its lanes are there, and down until the client has heard of their leaders.
    pub fn found(&mut self, topic: TopicId, partitions: usize) {
        let leaders = &mut self.reading.layout.leaders;
        leaders.resize(TOPICS_MAX, Vec::new());
        if leaders[usize::from(topic.0)].is_empty() {
            leaders[usize::from(topic.0)] = vec![-1; partitions];
        }
        self.is_stale = true;
        self.look();
    }

    pub fn expire(&mut self, before_us: u64, cause: Cause) {
        let (accounts, expired) = (&mut self.accounts, &mut self.expired);
        let now_us = self.clock.now_us();
        self.lanes.expire(before_us, now_us, |entry| {
            let failed = Failed::waiting(entry, Stage::Wait);
            let is_letter = accounts.fail(&failed, Outcome::NotStored, cause, now_us);
            expired[usize::from(is_letter)] += 1;
        });
        accounts.book();
        // In an outage some expire in every turn: one line a second says how many.
        if self.expired != [0, 0] && (now_us >= self.next_expired_us || before_us == u64::MAX) {
            self.next_expired_us = now_us + EXPIRED_US;
            let expired = std::mem::take(&mut self.expired);
            for (records, outcome) in expired.into_iter().zip([Outcome::NotStored.name(), letters::PENDING]) {
                if records > 0 {
                    log::error!(target: "kafka", "publish.error code={} outcome={outcome} records={records}", cause.code());
                }
            }
        }
    }

    /// Sends dead letters on their way, and books those that have arrived.
    pub fn post_letters(&mut self, now_us: u64) {
        // Taken out meanwhile: what happens to them is booked in the accounts.
        if let Some(mut letters) = self.accounts.letters.take().filter(|_| letters::BUILT_IN) {
            letters.post(&mut self.accounts, &mut self.lanes, self.is_ending, now_us);
            self.accounts.letters = Some(letters);
            self.accounts.book();
        }
    }

    /// Dead letters that are neither in a lane nor in the client library.
    pub fn has_letters(&self) -> bool {
        letters::BUILT_IN && self.accounts.letters.as_ref().is_some_and(|letters| !letters.is_empty())
    }

    /// Whatever dead letters are left have no way any more.
    pub fn give_up_letters(&mut self) {
        if let Some(letters) = self.accounts.letters.take().filter(|_| letters::BUILT_IN) {
            letters.give_up(&mut self.accounts);
            self.accounts.book();
        }
    }

    /// Whether records wait on our side, or for the end of a producer.
    pub fn is_unsettled(&self) -> bool {
        self.lanes.held_records() > 0 || self.owed > 0 || self.lanes.is_closed() || self.has_letters()
    }

    /// Whether the topic's refusal is the last that was heard: somebody waits to try, tries, or has just tried.
    fn is_trial_pending(&self, topic: TopicId, now_us: u64) -> bool {
        self.lanes.inside(topic) > 0 || self.lanes.held(topic) > 0 || now_us < self.next_trial_us
    }

    /// Whether a record of a topic that refused writes may try again: not too often.
    pub fn may_try(&self, now_us: u64) -> bool {
        now_us >= self.next_trial_us
    }

    /// Why a topic cannot take a record now, if so.
    fn trouble(&self, topic: TopicId, now_us: u64) -> Option<&'static str> {
        match () {
            () if !self.lanes.has_way(topic) => Some("no_leader_up"),
            () if self.lanes.is_on_trial(topic) && self.is_trial_pending(topic, now_us) => {
                Some("writes_refused")
            }
            () => None,
        }
    }

    /// Why no topic can take a record, if none can: one that is stuck does not hold the others back.
    fn common_trouble(&self, now_us: u64) -> Option<&'static str> {
        // Dead letters that can be written make nobody ready.
        let sources = self.topics.own_ids().filter(|topic| *topic != DEAD_LETTERS);
        let mut troubles = sources.map(|topic| self.trouble(topic, now_us));
        let first = troubles.next().flatten()?;
        troubles.all(|trouble| trouble.is_some()).then_some(first)
    }

    /// Why Kafka cannot take a record now, or "ready" (G15).
    pub fn state(&self, has_producer: bool) -> &'static str {
        let now_us = self.clock.now_us();
        match () {
            () if self.accounts.end.shared.closing_us().is_some() => "draining",
            () if self.is_new || self.is_fatal => "producer_lost",
            () if self.lanes.is_closed() => "deadline_passed",
            () if !has_producer => "waiting_for_topic",
            () if self.common_trouble(now_us) == Some("no_leader_up") => "no_leader_up",
            () if !self.reading.has_producer_id => "waiting_for_producer_id",
            () if self.common_trouble(now_us).is_some() => "writes_refused",
            () if self.inside > 0 && now_us.saturating_sub(self.progress_us) > STUCK_US => {
                "no_delivery_reports"
            }
            () => "ready",
        }
    }

    pub fn show(&mut self, has_producer: bool) {
        let view = self.lanes.view();
        if view != self.shown_lanes {
            self.shown_lanes = view.clone();
            self.accounts.end.show_lanes(std::sync::Arc::new(view));
        }
        let now_us = self.clock.now_us();
        let board = &self.accounts.end.shared.board;
        board.beat_us.set(now_us);
        board.client_records.set((self.inside + self.owed) as u64);
        if now_us < self.next_look_us && !self.is_stale {
            return;
        }
        self.next_look_us = now_us + 100_000;
        self.look();
        let board = &self.accounts.end.shared.board;
        board.held_records.set(self.lanes.held_records() as u64);
        board.partitions.set(self.lanes.count() as u64);
        board.lanes_down.set(self.lanes.down() as u64);
        board.lanes_full.set(self.shown_lanes.full_lanes() as u64);
        board.brokers_up.set(self.reading.layout.up.len() as u64);
        board.brokers_down.set(self.reading.brokers_down as u64);
        board.retries.set(self.retries_before + self.retries);
        *lock(&board.round_trips) = self.reading.round_trips.clone();
        let state = self.state(has_producer);
        board.ready.store(state == "ready", std::sync::atomic::Ordering::SeqCst);
        *lock(&board.phase) = state;
        if self.shown_ready != Some(state) {
            self.shown_ready = Some(state);
            match state {
                "ready" => {
                    log::info!(target: "kafka", "kafka.ready partitions={} brokers={}", self.lanes.count(), self.reading.layout.up.len())
                }
                _ => {
                    log::info!(target: "kafka", "kafka.not_ready reason={state} held={} inside={}", self.lanes.held_records(), self.inside)
                }
            }
        }
        self.accounts.summarise();
    }
}

/// The broker's id in a reason such as "127.0.0.1:9092/1: Disconnected" or "sasl_ssl://[::1]:9092/1: Disconnected".
fn broker_of(reason: &str) -> Option<i32> {
    let (name, _) = reason.split_once(": ")?;
    let (_, id) = name.rsplit_once('/')?;
    id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_broker_of_a_reason() {
        assert_eq!(broker_of("127.0.0.1:9092/13: Disconnected (after 2ms)"), Some(13));
        assert_eq!(broker_of("127.0.0.1:9092/bootstrap: Connect failed"), None);
        assert_eq!(broker_of("sasl_plaintext://kafka:9092/2: Disconnected"), Some(2));
        assert_eq!(broker_of("ssl://[::1]:9093/7: Connect to ipv6#[::1]:9093 failed"), Some(7));
        assert_eq!(broker_of("ssl://kafka:9093/bootstrap: Connect failed"), None);
        assert_eq!(broker_of("no broker at all"), None);
    }
}
