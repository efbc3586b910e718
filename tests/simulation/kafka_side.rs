//! The Kafka thread's turn in virtual time: the real feeder, lanes and accounts in the order of
//! `kafka/thread.rs`, before a pretended producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sluice::event::Outcome;
use sluice::handoff::{Cause, Clock, KafkaEnd, LaneView, Sleep, TopicId};
use sluice::kafka::accounts::Accounts;
use sluice::kafka::deadline::{Deadline, Step};
use sluice::kafka::errors::judge;
use sluice::kafka::feeder::Feeder;
use sluice::kafka::lanes::{Lanes, Layout};

use crate::broker::{Broker, ClientEvent};

/// As in `kafka/thread.rs`.
const DOZING_US: u64 = 5_000;
const DOZE_US: u64 = 1_000;
const SLEEP_US: u64 = 250_000;
const SHORT_SLEEP_US: u64 = 20_000;
const EVENTS_A_TURN: usize = 64;
const PURGE_US: u64 = 3_000_000;

pub struct KafkaSide {
    pub accounts: Accounts,
    pub broker: Broker,
    pub lanes: Lanes,
    pub rung: Arc<AtomicBool>,
    feeder: Feeder,
    /// The topic is known and a producer built.
    has_producer: bool,
    gate_us: u64,
    layout: Layout,
    is_stale: bool,
    is_fatal: bool,
    pub inside: usize,
    /// Reports that the producer before this one owes.
    owed: usize,
    deadline: Deadline,
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
    pub fn new(end: KafkaEnd, broker: Broker, max_records: usize, gate_us: u64, dozes: bool) -> Self {
        let rung = Arc::new(AtomicBool::new(false));
        let flag = rung.clone();
        end.bell.install(move || flag.store(true, SeqCst));
        Self {
            accounts: Accounts::new(end, Clock::start()),
            timeout_us: broker.moods.timeout_us,
            lanes: Lanes::new(1, max_records, broker.moods.timeout_us),
            broker,
            rung,
            feeder: Feeder::default(),
            has_producer: false,
            gate_us,
            layout: Layout::default(),
            is_stale: false,
            is_fatal: false,
            inside: 0,
            owed: 0,
            deadline: Deadline::default(),
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
            self.serve(event);
        }
        self.accounts.book();
        if !self.has_producer && now_us >= self.gate_us {
            let partitions = self.broker.layout().leaders[0].len();
            self.lanes.apply(&Layout { leaders: vec![vec![-1; partitions]], up: Vec::new() });
            self.has_producer = true;
        }
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
            self.inside += self.feeder.release(accounts, lanes, &mut self.broker, true, now_us);
        }
        let producer = self.has_producer.then_some(&mut self.broker);
        let (taken, inside) = self.feeder.feed(&mut self.accounts, &mut self.lanes, producer, now_us);
        self.inside += inside;
        if taken > 0 {
            self.last_batch_us = now_us;
        }
        self.expire(now_us.saturating_sub(self.timeout_us), Cause::DeadlinePassed);
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
        let gate_us = if self.has_producer { u64::MAX } else { self.gate_us.max(now_us + 1) };
        ((now_us + for_us).min(gate_us), sleep)
    }

    fn serve(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Delivery { token, bytes, partition, code, persistence, producer } => {
                if producer == self.broker.producer {
                    self.inside -= 1;
                    self.lanes.ended(TopicId(0), partition);
                } else {
                    self.owed -= 1;
                }
                let (outcome, cause) = judge(code, persistence);
                self.accounts.note(token, bytes, outcome, cause);
            }
            ClientEvent::Picture(layout) => {
                self.layout = layout;
                self.is_stale = true;
            }
            ClientEvent::Down(broker) => self.lanes.mark_down(broker),
            ClientEvent::Fatal => self.is_fatal = true,
        }
    }

    fn show(&mut self) {
        let view = self.lanes.view();
        if view != self.shown_lanes {
            self.shown_lanes = view.clone();
            self.accounts.end.show_lanes(Arc::new(view));
        }
        if !std::mem::take(&mut self.is_stale) || !self.has_producer {
            return;
        }
        if self.layout.leaders.is_empty() {
            self.layout.leaders = vec![vec![-1; self.lanes.count()]];
        }
        self.lanes.adjust(self.inside);
        self.lanes.apply(&self.layout);
    }

    fn expire(&mut self, before_us: u64, cause: Cause) {
        let accounts = &mut self.accounts;
        self.lanes.expire(before_us, 0, |entry| {
            accounts.note(entry.token, entry.shape.accounted_bytes(), Outcome::NotStored, cause);
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
        self.lanes.held_records() > 0 || self.owed > 0 || self.lanes.is_closed()
    }

    fn empty_producers(&mut self) {
        self.broker.give_up();
        self.owed += std::mem::take(&mut self.inside);
        while let Some(event) = self.broker.events.pop_front() {
            self.serve(event);
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
        self.expire(u64::MAX, Cause::ShuttingDown);
        self.empty_producers();
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
