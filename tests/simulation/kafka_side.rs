//! The Kafka thread's turn in virtual time: the real feeder, lanes and accounts in the order of
//! `kafka/thread.rs`, before a pretended producer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sluice::event::Outcome;
use sluice::handoff::{Cause, Clock, KafkaEnd, LaneView, Sleep, TopicId};
use sluice::kafka::accounts::Accounts;
use sluice::kafka::deadline::{Deadline, Step};
use sluice::kafka::errors::{Code, Persistence, judge};
use sluice::kafka::feeder::Feeder;
use sluice::kafka::lanes::{Lanes, Layout};
use sluice::kafka::letters::{Failed, Letters, Stage};
use sluice::kafka::{DEAD_LETTERS, Delivery, KafkaOptions};

use crate::broker::{Broker, ClientEvent, Record};
use crate::truth::Truth;

/// As in `kafka/thread.rs`.
const DOZING_US: u64 = 5_000;
const DOZE_US: u64 = 1_000;
const SLEEP_US: u64 = 250_000;
const SHORT_SLEEP_US: u64 = 20_000;
const EVENTS_A_TURN: usize = 64;
const PURGE_US: u64 = 3_000_000;
/// As in `kafka/watch.rs`.
const TRIAL_US: u64 = 1_000_000;

pub struct KafkaSide {
    pub accounts: Accounts,
    pub broker: Broker,
    pub lanes: Lanes,
    pub rung: Arc<AtomicBool>,
    feeder: Feeder,
    truth: Rc<RefCell<Truth>>,
    /// When each topic is found; the first one brings the producer.
    gates_us: Vec<u64>,
    found: Vec<bool>,
    has_producer: bool,
    layout: Layout,
    is_stale: bool,
    is_fatal: bool,
    pub inside: usize,
    /// Reports that the producer before this one owes.
    owed: usize,
    deadline: Deadline,
    next_trial_us: u64,
    is_ending: bool,
    last_batch_us: u64,
    shown_lanes: LaneView,
    timeout_us: u64,
    dozes: bool,
    /// The last act: told until then at most.
    finishing_until_us: Option<u64>,
    pub ended: bool,
    pub rebuilt: u32,
    /// Times that lanes were closed for the sake of late records, and that all was let go of.
    pub closed: u32,
    pub let_go: u32,
}

impl KafkaSide {
    pub fn new(
        end: KafkaEnd,
        broker: Broker,
        options: &KafkaOptions,
        max_records: usize,
        gates_us: Vec<u64>,
        dozes: bool,
        truth: Rc<RefCell<Truth>>,
    ) -> Self {
        let rung = Arc::new(AtomicBool::new(false));
        let flag = rung.clone();
        end.bell.install(move || flag.store(true, SeqCst));
        let mut accounts = Accounts::new(end, Clock::start());
        accounts.letters = Letters::new(options, max_records, || {});
        Self {
            accounts,
            timeout_us: broker.moods.timeout_us,
            lanes: Lanes::new(gates_us.len(), max_records, broker.moods.timeout_us),
            truth,
            found: vec![false; gates_us.len()],
            gates_us,
            broker,
            rung,
            feeder: Feeder::default(),
            has_producer: false,
            layout: Layout::default(),
            is_stale: false,
            is_fatal: false,
            inside: 0,
            owed: 0,
            deadline: Deadline::default(),
            next_trial_us: 0,
            is_ending: false,
            last_batch_us: 0,
            shown_lanes: LaneView::default(),
            dozes,
            finishing_until_us: None,
            ended: false,
            rebuilt: 0,
            closed: 0,
            let_go: 0,
        }
    }

    /// One turn; when the next one is due if nobody rings, and how deep it sleeps until then.
    pub fn turn(&mut self, now_us: u64) -> (u64, Sleep) {
        self.accounts.end.bell.announce(Sleep::Awake);
        self.broker.advance(now_us);
        if let Some(until_us) = self.finishing_until_us {
            return self.go_on_finishing(now_us, until_us);
        }
        for _ in 0..EVENTS_A_TURN {
            let Some(event) = self.broker.events.pop_front() else { break };
            self.serve(event, now_us);
        }
        self.accounts.book();
        self.open_gates(now_us);
        let was_closed = self.lanes.is_closed();
        match self.deadline.step(&mut self.lanes, self.inside, self.is_fatal, now_us) {
            Step::LetGo => self.broker.let_go(),
            Step::GoOn => self.let_go += 1,
            Step::Rebuild if self.owed == 0 => self.rebuild(),
            Step::Rebuild | Step::Nothing => {}
        }
        self.closed += u32::from(!was_closed && self.lanes.is_closed() && !self.is_fatal);
        if self.has_producer {
            let (accounts, lanes) = (&mut self.accounts, &mut self.lanes);
            let may_try = now_us >= self.next_trial_us;
            self.inside += self.feeder.release(accounts, lanes, &mut self.broker, may_try, now_us);
        }
        let producer = self.has_producer.then_some(&mut self.broker);
        let (taken, inside) = self.feeder.feed(&mut self.accounts, &mut self.lanes, producer, now_us);
        self.inside += inside;
        if taken > 0 {
            self.last_batch_us = now_us;
        }
        self.expire(now_us.saturating_sub(self.timeout_us), Cause::DeadlinePassed, now_us);
        self.post_letters(now_us);
        self.show();
        self.accounts.end.publish();
        let owed = self.undelivered(|producer| producer < self.broker.producer);
        assert_eq!(self.owed, owed, "records that are owed");
        let undelivered = self.undelivered(|producer| producer == self.broker.producer);
        assert_eq!(self.inside, self.broker.inside + undelivered, "records inside the producer");
        self.broker.advance(now_us);
        if self.is_done(now_us) {
            self.finish(now_us);
            return (now_us + 1_000, Sleep::Asleep);
        }
        self.sleep(now_us)
    }

    fn undelivered(&self, of: impl Fn(u32) -> bool) -> usize {
        let events = self.broker.events.iter();
        events
            .filter(|event| matches!(event, ClientEvent::Delivery { producer, .. } if of(*producer)))
            .count()
    }

    fn sleep(&mut self, now_us: u64) -> (u64, Sleep) {
        let end = &self.accounts.end;
        let dozes = self.dozes && now_us < self.last_batch_us + DOZING_US;
        let sleep = if dozes { Sleep::Dozing } else { Sleep::Asleep };
        end.bell.announce(sleep);
        let for_us = match () {
            () if end.has_work() || !end.is_silent() || !self.broker.events.is_empty() => 1,
            () if dozes => DOZE_US,
            () if end.shared.closing_us().is_some() || self.is_unsettled() => SHORT_SLEEP_US,
            () => SLEEP_US,
        };
        let closed = self.gates_us.iter().zip(&self.found).filter(|(_, is_found)| !**is_found);
        let gate_us = closed.map(|(gate_us, _)| (*gate_us).max(now_us + 1)).min().unwrap_or(u64::MAX);
        ((now_us + for_us).min(gate_us), sleep)
    }

    /// Topics are found one after the other, each at its time.
    fn open_gates(&mut self, now_us: u64) {
        let before = self.found.clone();
        for (is_found, gate_us) in self.found.iter_mut().zip(&self.gates_us) {
            *is_found |= now_us >= *gate_us;
        }
        if self.found == before {
            return;
        }
        self.has_producer = true;
        self.layout.leaders.resize(self.found.len(), Vec::new());
        for (id, leaders) in self.layout.leaders.iter_mut().enumerate() {
            if self.found[id] && leaders.is_empty() {
                *leaders = vec![-1; self.broker.count(TopicId(id as u8))];
            }
        }
        self.is_stale = true;
        self.look();
    }

    fn serve(&mut self, event: ClientEvent, now_us: u64) {
        match event {
            ClientEvent::Delivery { record, partition, code, persistence, producer } => {
                let is_present = producer == self.broker.producer;
                if is_present {
                    self.inside -= 1;
                    self.lanes.ended(record.topic, partition);
                } else {
                    self.owed -= 1;
                }
                let (outcome, cause) = judge(code, persistence);
                if is_present && outcome == Outcome::Stored {
                    self.lanes.trust(record.topic);
                } else if is_present && matches!(cause, Cause::NotAuthorized | Cause::UnknownTopic) {
                    self.lanes.suspect(record.topic);
                    self.next_trial_us = now_us + TRIAL_US;
                }
                self.book(&record, partition, code, persistence, now_us);
            }
            ClientEvent::Picture(layout) => {
                self.layout = layout;
                self.is_stale = true;
            }
            ClientEvent::Down(broker) => self.lanes.mark_down(broker),
            ClientEvent::Fatal => self.is_fatal = true,
        }
    }

    fn book(&mut self, record: &Record, partition: i32, code: Code, persistence: Persistence, now_us: u64) {
        let (outcome, cause) = judge(code, persistence);
        if outcome != Outcome::Stored {
            let delivery = Delivery {
                token: record.token,
                topic: record.topic,
                accounted_bytes: record.accounted_bytes(),
                code,
                persistence,
                partition,
                offset: -1,
                key: record.key.as_deref(),
                value: &record.value,
                headers: record.headers.clone(),
            };
            self.accounts.fail(&Failed::reported(&delivery), outcome, cause, now_us);
            return;
        }
        let outcome = if record.topic == DEAD_LETTERS { Outcome::DeadLettered } else { outcome };
        self.accounts.note(record.token, record.accounted_bytes(), outcome, cause);
    }

    fn post_letters(&mut self, now_us: u64) {
        if let Some(mut letters) = self.accounts.letters.take() {
            letters.post(&mut self.accounts, &mut self.lanes, self.is_ending, now_us);
            self.accounts.letters = Some(letters);
            self.accounts.book();
        }
    }

    fn has_letters(&self) -> bool {
        self.accounts.letters.as_ref().is_some_and(|letters| !letters.is_empty())
    }

    fn show(&mut self) {
        let view = self.lanes.view();
        if view != self.shown_lanes {
            self.shown_lanes = view.clone();
            self.accounts.end.show_lanes(Arc::new(view));
        }
        self.look();
    }

    fn look(&mut self) {
        if !std::mem::take(&mut self.is_stale) || !self.has_producer {
            return;
        }
        self.layout.leaders.resize(self.found.len(), Vec::new());
        for (id, before) in self.lanes.counts() {
            let leaders = &mut self.layout.leaders[usize::from(id.0)];
            match self.found[usize::from(id.0)] {
                // Nobody has asked for it yet.
                false => leaders.clear(),
                // One that nobody knows for a moment keeps its lanes.
                true if leaders.is_empty() => *leaders = vec![-1; before],
                true => {}
            }
        }
        self.lanes.apply(&self.layout);
        self.lanes.adjust(self.inside);
    }

    fn expire(&mut self, before_us: u64, cause: Cause, now_us: u64) {
        let (accounts, truth) = (&mut self.accounts, &mut *self.truth.borrow_mut());
        self.lanes.expire(before_us, now_us, |entry| {
            let (topic, record) = (entry.shape.topic, entry.outgoing());
            let id = truth.id_of(topic, record.key, record.value, record.headers);
            truth.expire(topic, id, now_us);
            accounts.fail(&Failed::waiting(entry, Stage::Wait), Outcome::NotStored, cause, now_us);
        });
        accounts.book();
    }

    /// The reports come in the turns that follow.
    fn rebuild(&mut self) {
        self.rebuilt += 1;
        self.broker.give_up();
        self.owed += std::mem::take(&mut self.inside);
        self.deadline.start_anew(&mut self.lanes);
        self.lanes.mark_down(None);
        self.layout = Layout::default();
        self.is_fatal = false;
    }

    fn is_unsettled(&self) -> bool {
        self.lanes.held_records() > 0 || self.owed > 0 || self.lanes.is_closed() || self.has_letters()
    }

    fn empty_producers(&mut self, now_us: u64) {
        self.is_ending = true;
        self.broker.give_up();
        self.owed += std::mem::take(&mut self.inside);
        while let Some(event) = self.broker.events.pop_front() {
            self.serve(event, now_us);
        }
        assert_eq!(self.owed, 0, "records without a report at the end");
        self.accounts.book();
        self.accounts.end.publish();
    }

    fn is_done(&self, now_us: u64) -> bool {
        let end = &self.accounts.end;
        let Some(deadline_us) = end.shared.closing_us() else { return false };
        let is_empty = self.inside == 0 && !self.is_unsettled() && !end.has_work();
        (is_empty && end.is_silent()) || now_us >= deadline_us
    }

    fn finish(&mut self, now_us: u64) {
        self.lanes.mark_down(None);
        self.accounts.end.close_inlet();
        while self.accounts.end.has_work() {
            self.feeder.feed(&mut self.accounts, &mut self.lanes, None::<&mut Broker>, 0);
        }
        self.expire(u64::MAX, Cause::ShuttingDown, now_us);
        self.empty_producers(now_us);
        self.post_letters(now_us);
        if let Some(letters) = self.accounts.letters.take() {
            letters.give_up(&mut self.accounts);
            self.accounts.book();
        }
        self.show();
        self.finishing_until_us = Some(now_us + PURGE_US);
    }

    fn go_on_finishing(&mut self, now_us: u64, until_us: u64) -> (u64, Sleep) {
        self.accounts.end.publish();
        if self.accounts.end.is_silent() || now_us >= until_us {
            assert!(self.accounts.end.is_silent(), "receipts that nobody fetched at the end");
            self.ended = true;
            self.accounts.end.wake_poll();
            return (u64::MAX, Sleep::Asleep);
        }
        (now_us + 1_000, Sleep::Asleep)
    }
}
