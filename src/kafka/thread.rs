//! The Kafka thread: feeds the producer, serves its reports, and knows at any time whether Kafka can be reached.
//!
//! A turn: sleep in the client's queue, serve what happened, take batches, release what waited, expire, show,
//! publish. Never sees a socket, never waits for room with reports unserved.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client;
use super::feeder::Feeder;
use super::lanes::Layout;
use super::native::{Alarm, Native};
use super::options::KafkaOptions;
use super::statistics::Reading;
use super::topic::TopicGate;
use super::watch::Watch;
use crate::event::{Outcome, quoted};
use crate::handoff::{BufferOptions, Cause, Clock, KafkaEnd, Sleep, lock};

/// Without a batch for so long, the thread stops dozing and sleeps, in microseconds.
const DOZING_US: u64 = 5_000;
/// Longest sleep, in milliseconds: expiry and the board are looked after at least this often.
const SLEEP_MS: i32 = 250;
/// The same while records wait, or the end is near.
const SHORT_SLEEP_MS: i32 = 20;
/// Events served before batches get their turn.
const EVENTS_A_TURN: usize = 64;
/// How long purged records may take to come back as reports.
const PURGE_US: u64 = 3_000_000;
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
        let watch = Watch::new(&options, &buffer, end, clock);
        let mut worker = Worker {
            watch,
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
    watch: Watch,
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

impl Worker {
    fn run(&mut self) {
        loop {
            self.sleep();
            self.open_gate();
            if std::mem::take(&mut self.watch.is_fatal) {
                self.rebuild();
            }
            let now_us = self.watch.clock.now_us();
            if let Some(native) = self.native.as_mut().filter(|_| self.watch.may_release(now_us)) {
                self.watch.inside +=
                    self.feeder.release(&mut self.watch.accounts, &mut self.watch.lanes, native);
            }
            let was_empty = self.watch.inside == 0;
            let (taken, inside) =
                self.feeder.feed(&mut self.watch.accounts, &mut self.watch.lanes, self.native.as_mut());
            self.watch.inside += inside;
            if was_empty && self.watch.inside > 0 {
                self.watch.progress_us = now_us;
            }
            if taken > 0 {
                self.last_batch_us = now_us;
            }
            self.watch.expire(now_us.saturating_sub(self.watch.timeout_us), Cause::DeadlinePassed);
            self.watch.show(self.native.is_some());
            self.watch.accounts.end.publish();
            if self.is_done(now_us) {
                break;
            }
        }
        self.finish();
    }

    /// Sleeps as deep as the load allows, then serves everything that happened.
    fn sleep(&mut self) {
        let end = &self.watch.accounts.end;
        let now_us = self.watch.clock.now_us();
        let is_closing = end.shared.closing_us().is_some();
        let dozes = client::dozes(&self.options) && now_us < self.last_batch_us + DOZING_US;
        end.bell.announce(if dozes { Sleep::Dozing } else { Sleep::Asleep });
        let timeout_ms = match () {
            () if end.has_work() || !end.is_silent() => 0,
            () if dozes => client::DOZE.as_millis() as i32,
            () if is_closing || self.watch.lanes.held_records() > 0 => SHORT_SLEEP_MS,
            () => SLEEP_MS,
        };
        match &mut self.native {
            None => thread::park_timeout(Duration::from_millis(timeout_ms as u64)),
            Some(native) => {
                let watch = &mut self.watch;
                let mut more = native.poll(timeout_ms, |event| watch.serve(event));
                watch.accounts.end.bell.announce(Sleep::Awake);
                for _ in 1..EVENTS_A_TURN {
                    if !more {
                        break;
                    }
                    more = native.poll(0, |event| watch.serve(event));
                }
                if is_closing && self.options.linger > Duration::from_millis(50) && watch.inside > 0 {
                    native.flush(SHORT_SLEEP_MS);
                }
            }
        }
        self.watch.accounts.end.bell.announce(Sleep::Awake);
    }

    /// Once the topic is there: the producer is built for it.
    fn open_gate(&mut self) {
        let Some(topic) = self.gate.as_ref().and_then(|gate| gate.answer()) else { return };
        self.gate = None;
        self.watch.accounts.end.shared.board.max_record_bytes[0].set(topic.max_record_bytes as u64);
        self.max_batch_bytes = topic.max_batch_bytes;
        self.watch.lanes.apply(&Layout { leaders: vec![-1; topic.partitions], up: Vec::new() });
        self.build();
    }

    fn build(&mut self) {
        let partitions = self.watch.lanes.count();
        let config =
            client::producer(&self.options, &self.buffer, &self.servers, partitions, self.max_batch_bytes);
        let built = Native::new(&config, &self.alarm).and_then(|mut native| {
            for (id, name) in self.options.topics.iter() {
                native.add_topic(id, name)?;
            }
            Ok(native)
        });
        match built {
            Ok(native) => {
                self.native = Some(native);
                self.watch.accounts.end.shared.board.producers_built.add(1);
            }
            Err(error) => {
                log::error!(target: "kafka", "producer.failed reason={}", quoted(&error));
                self.watch.is_fatal = true;
                thread::park_timeout(REBUILD_PAUSE);
            }
        }
    }

    /// A fatal producer never produces again: what is inside ends as its reports say, then a new one is built.
    fn rebuild(&mut self) {
        let board = &self.watch.accounts.end.shared.board;
        board.ready.store(false, std::sync::atomic::Ordering::SeqCst);
        *lock(&board.phase) = "producer_lost";
        log::error!(target: "kafka", "producer.rebuild inside={}", self.watch.inside);
        self.empty_producer(Cause::ProducerLost);
        self.native = None;
        self.watch.retries_before += std::mem::take(&mut self.watch.retries);
        self.watch.ended = 0;
        self.watch.lanes.settle();
        self.watch.lanes.mark_down(None);
        self.watch.reading = Reading::default();
        self.watch.is_fatal = false;
        self.build();
    }

    /// Purges the producer and serves reports until nothing is inside.
    fn empty_producer(&mut self, cause: Cause) {
        let Some(native) = &mut self.native else { return };
        self.watch.purged = cause;
        native.purge();
        let watch = &mut self.watch;
        let until_us = watch.clock.now_us() + PURGE_US;
        while watch.inside > 0 && watch.clock.now_us() < until_us {
            native.poll(SHORT_SLEEP_MS, |event| watch.serve(event));
            watch.accounts.end.publish();
        }
        if watch.inside > 0 {
            // The client library owes a report for each; without one nothing can be said of them.
            log::error!(target: "kafka", "producer.silent unknown={}", watch.inside);
            watch.accounts.end.shared.ledger.credit(Outcome::Unknown, watch.inside as u64);
            watch.inside = 0;
        }
        watch.purged = Cause::UnknownTopic;
    }

    fn is_done(&self, now_us: u64) -> bool {
        let end = &self.watch.accounts.end;
        let Some(deadline_us) = end.shared.closing_us() else { return false };
        let is_empty = self.watch.inside == 0 && self.watch.lanes.held_records() == 0 && !end.has_work();
        (is_empty && end.is_silent()) || now_us >= deadline_us
    }

    /// Accounts for whatever is left, tells it, and ends.
    fn finish(&mut self) {
        self.gate = None;
        let until_us = self.watch.clock.now_us() + PURGE_US;
        // Batches that were still on their way wait in their lanes now, and end like all others there.
        self.watch.lanes.mark_down(None);
        self.watch.accounts.end.close_inlet();
        while self.watch.accounts.end.has_work() {
            self.feeder.feed(&mut self.watch.accounts, &mut self.watch.lanes, None::<&mut Native>);
        }
        self.watch.expire(u64::MAX, Cause::ShuttingDown);
        self.empty_producer(Cause::ShuttingDown);
        self.native = None;
        self.watch.show(false);
        self.watch.accounts.end.publish();
        while !self.watch.accounts.end.is_silent() && self.watch.clock.now_us() < until_us {
            thread::park_timeout(Duration::from_millis(1));
            self.watch.accounts.end.publish();
        }
        self.watch.accounts.end.wake_poll();
    }
}
