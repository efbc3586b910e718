//! The crossing: batches go one way, reports come back, nothing else passes between the threads.
//!
//! Neither end ever waits for the other. A batch that finds the channel full stays with its sender and takes
//! more records; receipts that find theirs full stay with theirs. Both are bounded by the [`Budget`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::batch::{Batch, Record};
use super::bell::Bell;
use super::board::{Board, lock};
use super::budget::Budget;
use super::hosts::HostReceipts;
use super::ledger::Ledger;
use super::options::BufferOptions;
use super::partitioner::partition_of;
use super::receipt::Receipt;
use crate::event::Outcome;
use crate::metrics::Histogram;

/// Batches in the channel at most, and as many empty ones on their way back.
pub const CHANNEL_BATCHES: usize = 32;
/// So many waiting records are worth waking a Kafka thread that would look by itself within a few milliseconds.
const WORTH_WAKING_RECORDS: usize = 512;

/// What all threads share. Everything in it is counters.
#[derive(Debug)]
pub struct Shared {
    pub budget: Budget,
    pub ledger: Ledger,
    pub board: Board,
    /// Acceptance to receipt.
    pub latency: Histogram,
    /// Low mark to connections read again.
    pub resume: Histogram,
    /// 0, or the moment (gateway's clock, microseconds) at which the low mark was reached during a pause.
    low_mark_us: AtomicU64,
    /// The poll thread wants to hear of the low mark.
    pub paused: AtomicBool,
    /// The poll thread wants to hear when the channel has room again.
    pub channel_was_full: AtomicBool,
    /// 0, or the moment (gateway's clock, microseconds) at which the Kafka thread purges and ends.
    closing_us: AtomicU64,
    /// Records of host threads, see [`Inlet`].
    pub inlet: Inlet,
    /// Host threads that wait for outcomes.
    pub hosts: HostReceipts,
}

impl Shared {
    pub fn new(buffer: BufferOptions) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(buffer),
            ledger: Ledger::default(),
            board: Board::default(),
            latency: Histogram::default(),
            resume: Histogram::default(),
            low_mark_us: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            channel_was_full: AtomicBool::new(false),
            closing_us: AtomicU64::new(0),
            inlet: Inlet::default(),
            hosts: HostReceipts::default(),
        })
    }

    /// The moment noted for the pause that has just ended, once.
    pub fn take_low_mark(&self) -> Option<u64> {
        Some(self.low_mark_us.swap(0, SeqCst)).filter(|at| *at != 0)
    }

    /// Nothing more will be sent: deliver what there is until `deadline_us`, then account for the rest and end.
    pub fn close(&self, deadline_us: u64) {
        self.closing_us.store(deadline_us.max(1), SeqCst);
    }

    pub fn closing_us(&self) -> Option<u64> {
        Some(self.closing_us.load(SeqCst)).filter(|at| *at != 0)
    }
}

/// The open batch of an embedding host: its threads add to it, the Kafka thread takes it as a whole.
#[derive(Debug)]
pub struct Inlet {
    /// `None` once it is closed.
    open: Mutex<Option<Batch>>,
    filled: AtomicBool,
}

impl Default for Inlet {
    fn default() -> Self {
        Self { open: Mutex::new(Some(Batch::default())), filled: AtomicBool::new(false) }
    }
}

impl Inlet {
    /// Works on the open batch; the result is what `add` returns, `None` once the inlet is closed.
    pub fn add<T>(&self, add: impl FnOnce(&mut Batch) -> T) -> Option<T> {
        let mut open = lock(&self.open);
        let batch = open.as_mut()?;
        let result = add(batch);
        self.filled.store(!batch.is_empty(), SeqCst);
        Some(result)
    }

    /// Takes nothing more; what is still in it.
    fn close(&self) -> Option<Batch> {
        let last = lock(&self.open).take().filter(|batch| !batch.is_empty());
        self.filled.store(false, SeqCst);
        last
    }

    /// Exchanges the open batch for the empty one given, if there is anything in it.
    pub fn take(&self, empty: &mut Batch) -> bool {
        if !self.filled.load(SeqCst) {
            return false;
        }
        if let Some(batch) = lock(&self.open).as_mut() {
            std::mem::swap(batch, empty);
            self.filled.store(false, SeqCst);
        }
        !empty.is_empty()
    }

    pub fn has_work(&self) -> bool {
        self.filled.load(SeqCst)
    }
}

/// Which lanes (partitions) take records; the poll thread parks a record of a lane that does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// By topic, one entry a partition; empty while no lane is full, which is nearly always.
    full: Vec<Vec<bool>>,
}

impl LaneView {
    /// `full`: which partitions of which topic take no more for now.
    pub fn new(full: Vec<Vec<bool>>) -> Self {
        match full.iter().flatten().any(|is_full| *is_full) {
            true => Self { full },
            false => Self::default(),
        }
    }

    /// Whether the record's lane takes it; one without a key takes any lane of its topic.
    pub fn takes(&self, record: &Record) -> bool {
        let Some(full) = self.full.get(usize::from(record.shape.topic.0)) else { return true };
        match record.shape.key_len {
            _ if full.is_empty() => true,
            Some(_) => !full[partition_of(record.hash, full.len() as u32) as usize],
            None => full.iter().any(|is_full| !is_full),
        }
    }

    /// Partitions that take no more, over all topics.
    pub fn full_lanes(&self) -> usize {
        self.full.iter().flatten().filter(|is_full| **is_full).count()
    }
}

/// What the Kafka thread tells the poll thread.
#[derive(Debug)]
pub enum Report {
    Receipts(Vec<Receipt>),
    Lanes(Arc<LaneView>),
}

/// The poll thread's end.
pub struct PollEnd {
    pub shared: Arc<Shared>,
    pub batch: Batch,
    batches: Sender<Batch>,
    empties: Receiver<Batch>,
    reports: Receiver<Report>,
    kafka_bell: Bell,
    tally: Tally,
    unannounced: usize,
}

/// What a turn accepted, booked once a turn.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: u64,
    pub rejected: u64,
    /// Found no room, and their senders are told at once: not stored.
    pub turned_away: u64,
    /// Records and their bytes that need room in the buffer.
    pub records: usize,
    pub bytes: usize,
}

/// The Kafka thread's end.
pub struct KafkaEnd {
    pub shared: Arc<Shared>,
    pub bell: Bell,
    batches: Receiver<Batch>,
    empties: Sender<Batch>,
    reports: Sender<Report>,
    poll_bell: Bell,
    spare: Batch,
    last: Option<Batch>,
    unsent: Vec<Receipt>,
    unsent_lanes: Option<Arc<LaneView>>,
}

/// Makes both ends. `poll_bell` wakes the poll thread, `kafka_bell` the Kafka thread.
pub fn crossing(shared: &Arc<Shared>, poll_bell: Bell, kafka_bell: Bell) -> (PollEnd, KafkaEnd) {
    let (batches, batches_out) = bounded(CHANNEL_BATCHES);
    let (empties, empties_out) = bounded(CHANNEL_BATCHES);
    let (reports, reports_out) = bounded(CHANNEL_BATCHES);
    let poll = PollEnd {
        shared: shared.clone(),
        batch: Batch::default(),
        batches,
        empties: empties_out,
        reports: reports_out,
        kafka_bell: kafka_bell.clone(),
        tally: Tally::default(),
        unannounced: 0,
    };
    let kafka = KafkaEnd {
        shared: shared.clone(),
        bell: kafka_bell,
        batches: batches_out,
        empties,
        reports,
        poll_bell,
        spare: Batch::default(),
        last: None,
        unsent: Vec::new(),
        unsent_lanes: None,
    };
    (poll, kafka)
}

impl PollEnd {
    /// The open batch and the turn's tally, to be filled by a session.
    pub fn intake(&mut self) -> (&mut Batch, &mut Tally) {
        (&mut self.batch, &mut self.tally)
    }

    /// Books the turn and hands the batch over. False: the channel is full, the batch stays and may grow until
    /// it is full itself.
    pub fn submit(&mut self) -> bool {
        let tally = std::mem::take(&mut self.tally);
        if tally.accepted > 0 {
            self.shared.ledger.accept(tally.accepted);
            self.shared.budget.take(tally.records, tally.bytes);
        }
        if tally.rejected > 0 {
            self.shared.ledger.credit(Outcome::Rejected, tally.rejected);
        }
        if tally.turned_away > 0 {
            self.shared.ledger.credit(Outcome::NotStored, tally.turned_away);
        }
        if self.batch.is_empty() {
            return true;
        }
        let records = self.batch.len();
        let empty = self.empties.try_recv().unwrap_or_default();
        let mut full = std::mem::replace(&mut self.batch, empty);
        for is_last_try in [false, true] {
            match self.batches.try_send(full) {
                Ok(()) => {
                    self.unannounced += records;
                    return true;
                }
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => full = back,
            }
            if !is_last_try {
                // Whoever takes a batch from now on sees the flag and rings; hence one more try.
                self.shared.channel_was_full.store(true, SeqCst);
            }
        }
        self.batch = full;
        false
    }

    /// Wakes the Kafka thread for what was submitted in this turn.
    pub fn announce(&mut self) {
        if self.unannounced > 0 {
            self.kafka_bell.ring(self.unannounced >= WORTH_WAKING_RECORDS);
            self.unannounced = 0;
        }
    }

    /// Wakes the Kafka thread whatever it does (for a shutdown).
    pub fn alarm(&self) {
        self.kafka_bell.ring_always();
    }

    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Whether another record finds a place: in the open batch, or in the one that follows it.
    pub fn has_room(&self) -> bool {
        !self.batch.is_full() || !self.batches.is_full()
    }

    pub fn next_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }
}

impl KafkaEnd {
    /// The next batch that waits; give it back with [`KafkaEnd::recycle`].
    pub fn next_batch(&mut self) -> Option<Batch> {
        if let Ok(batch) = self.batches.try_recv() {
            if self.shared.channel_was_full.swap(false, SeqCst) {
                self.poll_bell.ring(true);
            }
            return Some(batch);
        }
        if self.shared.inlet.take(&mut self.spare) {
            return Some(std::mem::take(&mut self.spare));
        }
        self.last.take()
    }

    pub fn has_work(&self) -> bool {
        !self.batches.is_empty() || self.shared.inlet.has_work() || self.last.is_some()
    }

    /// Host threads can add nothing more; what they added is the last batch.
    pub fn close_inlet(&mut self) {
        self.last = self.shared.inlet.close();
    }

    pub fn recycle(&mut self, mut batch: Batch) {
        batch.clear();
        // A full return channel means enough spare batches: this one is simply freed.
        let _ = self.empties.try_send(batch);
    }

    /// Notes a receipt for a waiting peer; sent with the next [`KafkaEnd::publish`].
    pub fn tell(&mut self, receipt: Receipt) {
        self.unsent.push(receipt);
    }

    pub fn show_lanes(&mut self, lanes: Arc<LaneView>) {
        self.unsent_lanes = Some(lanes);
    }

    /// Sends what there is to tell and wakes the poll thread if it waits for any of it.
    pub fn publish(&mut self) {
        let mut wanted = false;
        if let Some(lanes) = self.unsent_lanes.take() {
            match self.reports.try_send(Report::Lanes(lanes)) {
                Err(TrySendError::Full(Report::Lanes(lanes))) => self.unsent_lanes = Some(lanes),
                _ => wanted = true,
            }
        }
        if !self.unsent.is_empty() {
            match self.reports.try_send(Report::Receipts(std::mem::take(&mut self.unsent))) {
                Err(TrySendError::Full(Report::Receipts(back))) => self.unsent = back,
                _ => wanted = true,
            }
        }
        if wanted {
            self.poll_bell.ring(true);
        }
    }

    /// Room was given back: wakes the poll thread at once if that ends a pause. `now_us` is asked for only then.
    pub fn end_pause(&self, now_us: impl FnOnce() -> u64) {
        let shared = &self.shared;
        if shared.paused.load(SeqCst) && shared.budget.is_low() && shared.paused.swap(false, SeqCst) {
            shared.low_mark_us.store(now_us().max(1), SeqCst);
            self.poll_bell.ring(true);
        }
    }

    /// Wakes the poll thread, for instance at the end.
    pub fn wake_poll(&self) {
        self.poll_bell.ring_always();
    }

    /// True once everything told has been sent.
    pub fn is_silent(&self) -> bool {
        self.unsent.is_empty()
    }
}
