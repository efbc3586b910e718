//! The Kafka thread: feeds the producer, serves its reports, and knows at any time whether Kafka can be reached.
//!
//! A turn: sleep in the client's queue, serve what happened, keep the deadline, release what waited, take batches,
//! expire, show, publish. Never sees a socket, never waits for room with reports unserved.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client;
use super::deadline::Step;
use super::feeder::Feeder;
use super::former::{self, Former};
use super::native::{Alarm, Native};
use super::options::KafkaOptions;
use super::topic::{TopicGate, TopicReady};
use super::watch::Watch;
use crate::event::{Outcome, quoted};
use crate::handoff::{BufferOptions, Cause, Clock, KafkaEnd, Sleep};

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
            former: Former::default(),
            gate: None,
            feeder: Feeder::default(),
            last_batch_us: 0,
            topics: Vec::new(),
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
    former: Former,
    gate: Option<TopicGate>,
    feeder: Feeder,
    last_batch_us: u64,
    /// Those that were found.
    topics: Vec<TopicReady>,
}

impl Worker {
    fn run(&mut self) {
        loop {
            self.sleep();
            self.open_gate();
            let now_us = self.watch.clock.now_us();
            self.part_with_former(now_us);
            self.keep_deadline(now_us);
            if let Some(native) = &mut self.native {
                let may_try = self.watch.may_try(now_us);
                let (accounts, lanes) = (&mut self.watch.accounts, &mut self.watch.lanes);
                self.watch.inside += self.feeder.release(accounts, lanes, native, may_try, now_us);
            }
            let was_empty = self.watch.inside == 0;
            let (accounts, lanes) = (&mut self.watch.accounts, &mut self.watch.lanes);
            let (taken, inside) = self.feeder.feed(accounts, lanes, self.native.as_mut(), now_us);
            self.watch.inside += inside;
            if was_empty && self.watch.inside > 0 {
                self.watch.progress_us = now_us;
            }
            if taken > 0 {
                self.last_batch_us = now_us;
            }
            self.watch.expire(now_us.saturating_sub(self.watch.timeout_us), Cause::DeadlinePassed);
            self.watch.post_letters(now_us);
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
        let doze_ms = client::doze(&self.options).as_millis() as i32;
        let dozes = doze_ms > 0 && now_us < self.last_batch_us + DOZING_US;
        end.bell.announce(if dozes { Sleep::Dozing } else { Sleep::Asleep });
        let timeout_ms = match () {
            () if end.has_work() || !end.is_silent() => 0,
            () if dozes => doze_ms,
            () if is_closing || self.watch.is_unsettled() => SHORT_SLEEP_MS,
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
                let is_last_call = is_closing || watch.lanes.is_closed();
                if is_last_call && self.options.linger > Duration::from_millis(50) && watch.inside > 0 {
                    native.flush(SHORT_SLEEP_MS);
                }
            }
        }
        self.watch.accounts.end.bell.announce(Sleep::Awake);
    }

    /// Once a topic is there: the producer is built for it, or writes to it as well.
    fn open_gate(&mut self) {
        while let Some(topic) = self.gate.as_ref().and_then(|gate| gate.answer()) {
            let limits = &self.watch.accounts.end.shared.board.max_record_bytes;
            limits[usize::from(topic.id.0)].set(topic.max_record_bytes as u64);
            self.watch.found(topic.id, topic.partitions);
            self.topics.push(topic);
            match &mut self.native {
                None => self.build(),
                Some(native) => {
                    if let Err(error) = native.add_topic(topic.id, self.options.topics.name(topic.id)) {
                        log::error!(target: "kafka", "producer.failed reason={}", quoted(&error));
                    }
                }
            }
        }
        if self.topics.len() == self.options.topics.own_ids().count() {
            self.gate = None;
        }
    }

    fn build(&mut self) {
        let partitions = self.topics.iter().map(|topic| topic.partitions).max().unwrap_or(1);
        let batch_bytes = self.topics.iter().map(|topic| topic.max_batch_bytes).min().unwrap_or(usize::MAX);
        let config = client::producer(&self.options, &self.buffer, &self.servers, partitions, batch_bytes);
        let built = Native::new(&config, &self.alarm).and_then(|mut native| {
            for topic in &self.topics {
                native.add_topic(topic.id, self.options.topics.name(topic.id))?;
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

    /// Does what is to be done about records inside that have passed their deadline.
    fn keep_deadline(&mut self, now_us: u64) {
        let step = self.watch.step(now_us);
        match (step, &self.native) {
            (Step::LetGo, Some(native)) => native.let_go(self.watch.lanes.counts()),
            (Step::GoOn, Some(native)) => native.go_on(self.watch.lanes.counts()),
            (Step::Rebuild, _) if !self.former.is_there() => self.rebuild(now_us),
            _ => {}
        }
    }

    /// The producer never produces again: what is inside ends as its reports say, and a new one is built at once.
    fn rebuild(&mut self, now_us: u64) {
        let reason = if self.watch.is_fatal { "fatal" } else { "silent" };
        log::error!(target: "kafka", "producer.rebuild reason={reason} inside={}", self.watch.inside);
        if let Some(native) = self.native.take() {
            self.former.take(native, now_us);
        }
        self.watch.start_anew();
        self.build();
    }

    /// Serves the reports that the producer before this one still owes, and ends it after the last one.
    fn part_with_former(&mut self, now_us: u64) {
        let watch = &mut self.watch;
        self.former.serve(EVENTS_A_TURN, now_us, |event| watch.serve_former(event));
        if watch.owed == 0
            && let Err(error) = self.former.end()
        {
            log::error!(target: "kafka", "thread.failed name=former reason={}", quoted(&error));
        }
    }

    /// Gives up on everything inside and serves reports until nothing is.
    fn empty_producers(&mut self) {
        self.watch.is_ending = true;
        let clock = self.watch.clock;
        let (until_us, mut again_us) = (clock.now_us() + PURGE_US, 0);
        while self.watch.inside + self.watch.owed > 0 && clock.now_us() < until_us {
            let now_us = clock.now_us();
            match &mut self.native {
                None => thread::park_timeout(Duration::from_millis(1)),
                Some(native) => {
                    if now_us >= again_us {
                        again_us = now_us + former::AGAIN_US;
                        native.give_up();
                    }
                    let watch = &mut self.watch;
                    native.poll(SHORT_SLEEP_MS, |event| watch.serve(event));
                }
            }
            self.part_with_former(now_us);
            self.watch.accounts.end.publish();
        }
        let silent = std::mem::take(&mut self.watch.inside) + std::mem::take(&mut self.watch.owed);
        if silent > 0 {
            // The client library owes a report for each; without one nothing can be said of them.
            log::error!(target: "kafka", "producer.silent unknown={silent}");
            self.watch.accounts.end.shared.ledger.credit(Outcome::Unknown, silent as u64);
        }
    }

    /// Only the file is open to dead letters now, and for a moment only.
    fn end_letters(&mut self) {
        let clock = self.watch.clock;
        let until_us = clock.now_us() + PURGE_US;
        self.watch.post_letters(clock.now_us());
        while self.watch.has_letters() && clock.now_us() < until_us {
            thread::park_timeout(Duration::from_millis(1));
            self.watch.post_letters(clock.now_us());
        }
        self.watch.give_up_letters();
    }

    fn is_done(&self, now_us: u64) -> bool {
        let end = &self.watch.accounts.end;
        let Some(deadline_us) = end.shared.closing_us() else { return false };
        let is_empty = self.watch.inside == 0 && !self.watch.is_unsettled() && !end.has_work();
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
            self.feeder.feed(&mut self.watch.accounts, &mut self.watch.lanes, None::<&mut Native>, 0);
        }
        self.watch.expire(u64::MAX, Cause::ShuttingDown);
        self.empty_producers();
        self.end_letters();
        (self.native, self.former) = (None, Former::default());
        self.watch.show(false);
        self.watch.accounts.end.publish();
        while !self.watch.accounts.end.is_silent() && self.watch.clock.now_us() < until_us {
            thread::park_timeout(Duration::from_millis(1));
            self.watch.accounts.end.publish();
        }
        self.watch.accounts.end.wake_poll();
    }
}
