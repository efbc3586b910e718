//! From batches to the client library: gathered, sorted by partition, handed over in one call a partition.
//!
//! Sorting is what makes it fast: records of one partition become neighbours in memory and take one lock, on
//! every thread of the client library (feasibility figures in docs/decisions). Within a partition the order
//! stays as it came.

use super::accounts::Accounts;
use super::errors::{Code, Persistence, judge};
use super::held::Entry;
use super::lanes::{Lanes, Place};
use super::letters::{self, Failed, Stage};
use super::producer::Producer;
use crate::handoff::Batch;

/// Records gathered from several batches before they are sorted and handed over.
const GATHER_RECORDS: usize = 4096;
/// Held records handed over in one call.
const RELEASE_RECORDS: usize = 1000;

#[derive(Clone, Copy, Debug, Default)]
struct Pick {
    lane: u32,
    batch: u32,
    record: u32,
}

/// Buffers of one hand-over, kept from turn to turn.
#[derive(Default)]
pub struct Feeder {
    gathered: Vec<Batch>,
    picks: Vec<Pick>,
    sorted: Vec<Pick>,
    starts: Vec<u32>,
    refused: Vec<(usize, Code)>,
}

impl Feeder {
    /// Takes what waits in the channel, at most one gathering; records that entered the client library.
    /// The number of records taken comes first.
    pub fn feed<P: Producer>(
        &mut self,
        accounts: &mut Accounts,
        lanes: &mut Lanes,
        producer: Option<&mut P>,
        now_us: u64,
    ) -> (usize, usize) {
        let mut taken = 0;
        while taken < GATHER_RECORDS {
            let Some(batch) = accounts.end.next_batch() else { break };
            let position = self.gathered.len() as u32;
            let since_us = lanes.since_us(batch.accepted_us(), now_us);
            for (index, record) in batch.records().iter().enumerate() {
                if let Place::Go(lane) = lanes.place(&batch, record, since_us) {
                    self.picks.push(Pick { lane, batch: position, record: index as u32 });
                }
            }
            taken += batch.len();
            self.gathered.push(batch);
        }
        let inside = match producer {
            Some(producer) if !self.picks.is_empty() => self.hand_over(accounts, lanes, producer),
            _ => 0,
        };
        for batch in self.gathered.drain(..) {
            accounts.end.recycle(batch);
        }
        self.picks.clear();
        (taken, inside)
    }

    fn hand_over(
        &mut self,
        accounts: &mut Accounts,
        lanes: &mut Lanes,
        producer: &mut impl Producer,
    ) -> usize {
        self.sort(lanes.count());
        let (gathered, refused) = (&self.gathered, &mut self.refused);
        refused.clear();
        let (mut inside, mut start) = (0, 0);
        for run in self.sorted.chunk_by(|one, next| one.lane == next.lane) {
            let records = run.iter().map(|pick| {
                let batch = &gathered[pick.batch as usize];
                Entry::of(batch, &batch.records()[pick.record as usize]).outgoing()
            });
            inside += producer.produce(lanes.partition(run[0].lane), records, |position, code| {
                refused.push((start + position, code))
            });
            start += run.len();
        }
        for (position, code) in self.refused.drain(..) {
            let pick = self.sorted[position];
            let batch = &self.gathered[pick.batch as usize];
            let record = &batch.records()[pick.record as usize];
            let entry = Entry::of(batch, record);
            if code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
                lanes.hold_back(pick.lane, entry);
            } else {
                lanes.leave(pick.lane);
                refuse(accounts, entry, code);
            }
        }
        accounts.book();
        inside
    }

    /// A stable counting sort by lane.
    fn sort(&mut self, lanes: usize) {
        self.starts.clear();
        self.starts.resize(lanes + 1, 0);
        for pick in &self.picks {
            self.starts[pick.lane as usize + 1] += 1;
        }
        for lane in 0..lanes {
            self.starts[lane + 1] += self.starts[lane];
        }
        self.sorted.clear();
        self.sorted.resize(self.picks.len(), Pick::default());
        for pick in &self.picks {
            let place = &mut self.starts[pick.lane as usize];
            self.sorted[*place as usize] = *pick;
            *place += 1;
        }
    }

    /// Hands over what waited in lanes that are up again, a single record of a topic that is on trial where `may_try` says so; records that
    /// entered the client library.
    pub fn release(
        &mut self,
        accounts: &mut Accounts,
        lanes: &mut Lanes,
        producer: &mut impl Producer,
        may_try: bool,
        now_us: u64,
    ) -> usize {
        let mut total = 0;
        let mut from = 0;
        while let Some(lane) = lanes.next_release(from, may_try) {
            let waiting = lanes.waiting(lane);
            let is_trial = lanes.is_on_trial(lanes.partition(lane).topic);
            let count = waiting.len().min(if is_trial { 1 } else { RELEASE_RECORDS });
            let records = waiting.iter().take(count).map(|entry| entry.outgoing());
            self.refused.clear();
            let inside = producer.produce(lanes.partition(lane), records, |position, code| {
                self.refused.push((position, code))
            });
            let full = self.refused.iter().find(|(_, code)| *code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL);
            let left = full.map_or(count, |(position, _)| *position);
            for (position, code) in self.refused.iter().take_while(|(position, _)| *position < left) {
                if let Some(entry) = lanes.waiting(lane).iter().nth(*position) {
                    refuse(accounts, entry, *code);
                }
            }
            lanes.released(lane, left, inside, now_us);
            total += inside;
            from = lane + 1;
            if left < count {
                break;
            }
        }
        accounts.book();
        total
    }
}

/// The client library took it not at all: it is certainly not stored.
fn refuse(accounts: &mut Accounts, entry: Entry<'_>, code: Code) {
    let (outcome, cause) = judge(code, Persistence::Never);
    let is_letter = accounts.fail(&Failed::waiting(&entry, Stage::Send), outcome, cause);
    accounts.complain(entry.key(), if is_letter { letters::PENDING } else { outcome.name() }, cause);
}
