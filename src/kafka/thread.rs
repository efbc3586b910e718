//! The Kafka thread: feeds the producer, serves its reports, and knows at any time whether Kafka can be reached.
//!
//! A turn: sleep in the client's queue, serve what happened, take batches, release what waited, expire, show,
//! publish. Never sees a socket, never waits for room with reports unserved.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::accounts::Accounts;
use super::client;
use super::errors::judge;
use super::feeder::Feeder;
use super::lanes::{Lanes, Layout};
use super::native::{Alarm, Event, Native};
use super::options::KafkaOptions;
use super::statistics::{self, Reading};
use super::topic::TopicGate;
use crate::event::{Outcome, excerpt, quoted};
use crate::handoff::{BufferOptions, Cause, Clock, KafkaEnd, Sleep, lock, unix_ms};
use crate::metrics::Throttle;

/// Without a batch for so long, the thread stops dozing and sleeps, in microseconds.
const DOZING_US: u64 = 5_000;
/// Longest sleep, in milliseconds: expiry and the board are looked after at least this often.
const SLEEP_MS: i32 = 250;
/// The same while records wait, or the end is near.
const SHORT_SLEEP_MS: i32 = 20;
/// Events served before batches get their turn.
const EVENTS_A_TURN: usize = 64;
/// Records inside the client library without any report for so long: Kafka is stuck, and readiness falls within the
/// three seconds that it promises. A topic that was deleted shows in no other way for half a minute.
const STUCK_US: u64 = 2_500_000;
/// How long purged records may take to come back as reports.
const PURGE_US: u64 = 3_000_000;
/// Client errors are counted by code, client log lines by level behind these.
const ERROR_KINDS: usize = 64;
/// Time between two lines about records that expired, in microseconds.
const EXPIRED_US: u64 = 1_000_000;
/// Pause before a producer that could not be built is tried again.
const REBUILD_PAUSE: Duration = Duration::from_millis(500);

/// Starts the thread. `servers` are the bootstrap addresses, those of the embedded broker included.
pub fn start(
    options: KafkaOptions,
    buffer: BufferOptions,
    servers: String,
    end: KafkaEnd,
    clock: Clock,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("sluice-kafka".into()).spawn(move || {
        let alarm = Alarm::default();
        let (bell_alarm, own) = (alarm.clone(), thread::current());
        end.bell.install(move || {
            bell_alarm.ring();
            own.unpark();
        });
        let bell = end.bell.clone();
        let gate = TopicGate::start(options.clone(), servers.clone(), move || bell.ring_always());
        let desk = Desk::new(&options, &buffer, end, clock);
        let mut worker = Worker {
            desk,
            options,
            buffer,
            servers,
            alarm,
            native: None,
            gate: None,
            feeder: Feeder::default(),
            last_batch_us: 0,
            max_batch_bytes: 0,
        };
        match gate {
            Ok(gate) => worker.gate = Some(gate),
            Err(error) => log::error!(target: "kafka", "thread.failed name=topic reason={}", quoted(&error)),
        }
        worker.run();
    })
}

struct Worker {
    desk: Desk,
    options: KafkaOptions,
    buffer: BufferOptions,
    servers: String,
    alarm: Alarm,
    native: Option<Native>,
    gate: Option<TopicGate>,
    feeder: Feeder,
    last_batch_us: u64,
    /// What the topic allows for a batch of records, in bytes.
    max_batch_bytes: usize,
}

/// Everything but the producer itself, so that events can be served while it is polled.
struct Desk {
    accounts: Accounts,
    lanes: Lanes,
    clock: Clock,
    topic: String,
    idempotence: bool,
    reading: Reading,
    /// The picture changed, or lanes were marked down since it was applied.
    is_stale: bool,
    inside: usize,
    /// Moment of the last sign that records get through.
    progress_us: u64,
    is_fatal: bool,
    /// Why the client library gives records up unsent. Unless we make it do so, their partition has gone.
    purged: Cause,
    shown_ready: Option<&'static str>,
    full: Vec<bool>,
    errors: Throttle,
    next_look_us: u64,
    /// Records that expired and stand in no log line yet.
    expired: u64,
    next_expired_us: u64,
    timeout_us: u64,
    logs_deliveries: bool,
}

impl Desk {
    fn new(options: &KafkaOptions, buffer: &BufferOptions, end: KafkaEnd, clock: Clock) -> Self {
        Self {
            accounts: Accounts::new(end, clock),
            lanes: Lanes::new(buffer.max_records),
            clock,
            topic: options.topic.clone(),
            idempotence: options.idempotence,
            reading: Reading::default(),
            is_stale: false,
            inside: 0,
            progress_us: 0,
            is_fatal: false,
            purged: Cause::UnknownTopic,
            shown_ready: None,
            full: Vec::new(),
            errors: Throttle::default(),
            next_look_us: 0,
            expired: 0,
            next_expired_us: 0,
            timeout_us: options.delivery_timeout.as_micros() as u64,
            logs_deliveries: log::log_enabled!(target: "kafka", log::Level::Debug),
        }
    }

    fn serve(&mut self, event: Event<'_>) {
        match event {
            Event::Deliveries(deliveries) => {
                let before = self.inside;
                for delivery in deliveries.iter() {
                    self.inside = self.inside.saturating_sub(1);
                    self.lanes.ended(delivery.partition);
                    let (outcome, cause) = match judge(delivery.code, delivery.persistence) {
                        // A client that turns fatal purges what it has not sent: the gateway goes on.
                        (outcome, Cause::ShuttingDown) if self.is_fatal => (outcome, Cause::ProducerLost),
                        (outcome, Cause::ShuttingDown) => (outcome, self.purged),
                        ended => ended,
                    };
                    if outcome != Outcome::Stored {
                        self.accounts.complain(delivery.key, outcome, cause);
                    } else if self.logs_deliveries {
                        let (key, size) = (excerpt(delivery.key), delivery.value_len);
                        log::debug!(target: "kafka", "publish.ok key=\"{key}\" size={size}");
                    }
                    let bytes = delivery.key.len() + delivery.value_len;
                    self.accounts.note(delivery.token, bytes, outcome, cause);
                }
                self.accounts.book();
                if self.inside < before {
                    self.progress_us = self.clock.now_us();
                }
            }
            Event::Statistics(json) => {
                if let Some(reading) = statistics::read(json, &self.topic, self.idempotence) {
                    self.reading = reading;
                    self.is_stale = true;
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

    fn serve_error(&mut self, code: Code, reason: &str, fatal: bool) {
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
    fn look(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        // A topic that nobody knows for a moment keeps its lanes: they are down, not gone.
        if self.reading.layout.leaders.is_empty() {
            self.reading.layout.leaders = vec![-1; self.lanes.count()];
        }
        let before = self.lanes.count();
        let now = self.reading.layout.leaders.len();
        if before != now {
            log::info!(target: "kafka", "topic.changed name={} partitions_before={before} partitions={now}", self.topic);
        }
        self.lanes.apply(&self.reading.layout);
        self.lanes.adjust(self.inside);
    }

    fn expire(&mut self, before_us: u64, cause: Cause) {
        let (accounts, expired) = (&mut self.accounts, &mut self.expired);
        self.lanes.expire(before_us, |token, bytes| {
            *expired += 1;
            accounts.note(token, bytes, Outcome::NotStored, cause);
        });
        accounts.book();
        // In an outage some expire in every turn: one line a second says how many.
        let now_us = self.clock.now_us();
        if self.expired > 0 && (now_us >= self.next_expired_us || before_us == u64::MAX) {
            self.next_expired_us = now_us + EXPIRED_US;
            let records = std::mem::take(&mut self.expired);
            log::error!(target: "kafka", "publish.error code={} outcome=not_stored records={records}", cause.code());
        }
    }

    /// Why Kafka cannot take a record now, or "ready" (G15).
    fn state(&self, has_producer: bool) -> &'static str {
        let now_us = self.clock.now_us();
        match () {
            () if self.accounts.end.shared.closing_us().is_some() => "draining",
            () if !has_producer => "waiting_for_topic",
            () if self.lanes.count() == 0 || self.lanes.down() == self.lanes.count() => "no_leader_up",
            () if !self.reading.has_producer_id => "waiting_for_producer_id",
            () if self.inside > 0 && now_us.saturating_sub(self.progress_us) > STUCK_US => {
                "no_delivery_reports"
            }
            () => "ready",
        }
    }

    fn show(&mut self, has_producer: bool) {
        let view = self.lanes.view();
        if view.full != self.full {
            self.full = view.full.clone();
            self.accounts.end.show_lanes(std::sync::Arc::new(view));
        }
        let now_us = self.clock.now_us();
        let board = &self.accounts.end.shared.board;
        board.beat_us.set(now_us);
        board.client_records.set(self.inside as u64);
        if now_us < self.next_look_us && !self.is_stale {
            return;
        }
        self.next_look_us = now_us + 100_000;
        self.look();
        let board = &self.accounts.end.shared.board;
        board.held_records.set(self.lanes.held_records() as u64);
        board.partitions.set(self.lanes.count() as u64);
        board.lanes_down.set(self.lanes.down() as u64);
        board.lanes_full.set(self.full.iter().filter(|full| **full).count() as u64);
        board.brokers_up.set(self.reading.layout.up.len() as u64);
        board.brokers_down.set(self.reading.brokers_down as u64);
        board.retries.set(self.reading.retries);
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

impl Worker {
    fn run(&mut self) {
        loop {
            self.sleep();
            self.open_gate();
            if std::mem::take(&mut self.desk.is_fatal) {
                self.rebuild();
            }
            let now_us = self.desk.clock.now_us();
            if let Some(native) = &mut self.native {
                self.desk.inside +=
                    self.feeder.release(&mut self.desk.accounts, &mut self.desk.lanes, native);
            }
            let was_empty = self.desk.inside == 0;
            let (taken, inside) =
                self.feeder.feed(&mut self.desk.accounts, &mut self.desk.lanes, self.native.as_mut());
            self.desk.inside += inside;
            if was_empty && self.desk.inside > 0 {
                self.desk.progress_us = now_us;
            }
            if taken > 0 {
                self.last_batch_us = now_us;
            }
            self.desk.expire(now_us.saturating_sub(self.desk.timeout_us), Cause::DeadlinePassed);
            self.desk.show(self.native.is_some());
            self.desk.accounts.end.publish();
            if self.is_done(now_us) {
                break;
            }
        }
        self.finish();
    }

    /// Sleeps as deep as the load allows, then serves everything that happened.
    fn sleep(&mut self) {
        let end = &self.desk.accounts.end;
        let now_us = self.desk.clock.now_us();
        let is_closing = end.shared.closing_us().is_some();
        let dozes = client::dozes(&self.options) && now_us < self.last_batch_us + DOZING_US;
        end.bell.announce(if dozes { Sleep::Dozing } else { Sleep::Asleep });
        let timeout_ms = match () {
            () if end.has_work() || !end.is_silent() => 0,
            () if dozes => client::DOZE.as_millis() as i32,
            () if is_closing || self.desk.lanes.held_records() > 0 => SHORT_SLEEP_MS,
            () => SLEEP_MS,
        };
        match &mut self.native {
            None => thread::park_timeout(Duration::from_millis(timeout_ms as u64)),
            Some(native) => {
                let desk = &mut self.desk;
                let mut more = native.poll(timeout_ms, |event| desk.serve(event));
                desk.accounts.end.bell.announce(Sleep::Awake);
                for _ in 1..EVENTS_A_TURN {
                    if !more {
                        break;
                    }
                    more = native.poll(0, |event| desk.serve(event));
                }
                if is_closing && self.options.linger > Duration::from_millis(50) && desk.inside > 0 {
                    native.flush(SHORT_SLEEP_MS);
                }
            }
        }
        self.desk.accounts.end.bell.announce(Sleep::Awake);
    }

    /// Once the topic is there: the producer is built for it.
    fn open_gate(&mut self) {
        let Some(topic) = self.gate.as_ref().and_then(|gate| gate.answer()) else { return };
        self.gate = None;
        self.desk.accounts.end.shared.board.max_record_bytes.set(topic.max_record_bytes as u64);
        self.max_batch_bytes = topic.max_batch_bytes;
        self.desk.lanes.apply(&Layout { leaders: vec![-1; topic.partitions], up: Vec::new() });
        self.build();
    }

    fn build(&mut self) {
        let partitions = self.desk.lanes.count();
        let config =
            client::producer(&self.options, &self.buffer, &self.servers, partitions, self.max_batch_bytes);
        match Native::new(&config, &self.options.topic, &self.alarm) {
            Ok(native) => {
                self.native = Some(native);
                self.desk.accounts.end.shared.board.producers_built.add(1);
            }
            Err(error) => {
                log::error!(target: "kafka", "producer.failed reason={}", quoted(&error));
                self.desk.is_fatal = true;
                thread::park_timeout(REBUILD_PAUSE);
            }
        }
    }

    /// A fatal producer never produces again: what is inside ends as its reports say, then a new one is built.
    fn rebuild(&mut self) {
        let board = &self.desk.accounts.end.shared.board;
        board.ready.store(false, std::sync::atomic::Ordering::SeqCst);
        *lock(&board.phase) = "producer_lost";
        log::error!(target: "kafka", "producer.rebuild inside={}", self.desk.inside);
        self.empty_producer(Cause::ProducerLost);
        self.native = None;
        self.desk.lanes.settle();
        self.desk.lanes.mark_down(None);
        self.desk.reading = Reading::default();
        self.desk.is_fatal = false;
        self.build();
    }

    /// Purges the producer and serves reports until nothing is inside.
    fn empty_producer(&mut self, cause: Cause) {
        let Some(native) = &mut self.native else { return };
        self.desk.purged = cause;
        native.purge();
        let desk = &mut self.desk;
        let until_us = desk.clock.now_us() + PURGE_US;
        while desk.inside > 0 && desk.clock.now_us() < until_us {
            native.poll(SHORT_SLEEP_MS, |event| desk.serve(event));
            desk.accounts.end.publish();
        }
        if desk.inside > 0 {
            // The client library owes a report for each; without one nothing can be said of them.
            log::error!(target: "kafka", "producer.silent unknown={}", desk.inside);
            desk.accounts.end.shared.ledger.credit(Outcome::Unknown, desk.inside as u64);
            desk.inside = 0;
        }
        desk.purged = Cause::UnknownTopic;
    }

    fn is_done(&self, now_us: u64) -> bool {
        let end = &self.desk.accounts.end;
        let Some(deadline_us) = end.shared.closing_us() else { return false };
        let is_empty = self.desk.inside == 0 && self.desk.lanes.held_records() == 0 && !end.has_work();
        (is_empty && end.is_silent()) || now_us >= deadline_us
    }

    /// Accounts for whatever is left, tells it, and ends.
    fn finish(&mut self) {
        self.gate = None;
        let until_us = self.desk.clock.now_us() + PURGE_US;
        // Batches that were still on their way wait in their lanes now, and end like all others there.
        self.desk.lanes.mark_down(None);
        self.desk.accounts.end.close_inlet();
        while self.desk.accounts.end.has_work() {
            self.feeder.feed(&mut self.desk.accounts, &mut self.desk.lanes, None::<&mut Native>);
        }
        self.desk.expire(u64::MAX, Cause::ShuttingDown);
        self.empty_producer(Cause::ShuttingDown);
        self.native = None;
        self.desk.show(false);
        self.desk.accounts.end.publish();
        while !self.desk.accounts.end.is_silent() && self.desk.clock.now_us() < until_us {
            thread::park_timeout(Duration::from_millis(1));
            self.desk.accounts.end.publish();
        }
        self.desk.accounts.end.wake_poll();
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
