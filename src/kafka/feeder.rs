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
use super::options::DEAD_LETTERS;
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
                // A message that was refused at the door.
                if record.shape.topic == DEAD_LETTERS
                    && let Some(letters) = &mut accounts.letters
                {
                    letters.accept(Entry::of(&batch, record));
                    continue;
                }
                if let Place::Go(lane) = lanes.place(&batch, record, since_us) {
                    self.picks.push(Pick { lane, batch: position, record: index as u32 });
                }
            }
            taken += batch.len();
            self.gathered.push(batch);
        }
        let inside = match producer {
            Some(producer) if !self.picks.is_empty() => self.hand_over(accounts, lanes, producer, now_us),
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
        now_us: u64,
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
            if may_wait(code) {
                lanes.hold_back(pick.lane, entry);
                if code == UNKNOWN_PARTITION {
                    lanes.lane_down(pick.lane);
                }
            } else {
                lanes.leave(pick.lane);
                refuse(accounts, entry, code, now_us);
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
            let stopped = self.refused.iter().find(|(_, code)| may_wait(*code)).copied();
            let left = stopped.map_or(count, |(position, _)| position);
            for (position, code) in self.refused.iter().take_while(|(position, _)| *position < left) {
                if let Some(entry) = lanes.waiting(lane).iter().nth(*position) {
                    refuse(accounts, entry, *code, now_us);
                }
            }
            lanes.released(lane, left, inside, now_us);
            total += inside;
            from = lane + 1;
            match stopped {
                Some((_, UNKNOWN_PARTITION)) => lanes.lane_down(lane),
                Some(_) => break,
                None => {}
            }
        }
        accounts.book();
        total
    }
}

/// The client library knows fewer partitions than we do: a topic that was made anew. The next picture of the cluster
/// says which, and moves what waits.
const UNKNOWN_PARTITION: Code = Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;

/// Refused for now, and not for good: the record waits on our side.
fn may_wait(code: Code) -> bool {
    matches!(code, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL | UNKNOWN_PARTITION)
}

/// The client library took it not at all: it is certainly not stored.
fn refuse(accounts: &mut Accounts, entry: Entry<'_>, code: Code, now_us: u64) {
    let (outcome, cause) = judge(code, Persistence::Never);
    let is_letter = accounts.fail(&Failed::waiting(&entry, Stage::Send), outcome, cause, now_us);
    accounts.complain(entry.key(), if is_letter { letters::PENDING } else { outcome.name() }, cause);
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Layout;
    use super::super::producer::{Outgoing, Partition};
    use super::*;
    use crate::handoff::{Bell, BufferOptions, Clock, Shape, Shared, Token, TopicId, crossing};

    /// Knows so many partitions.
    struct Knows(u32, usize);

    impl Producer for Knows {
        fn produce<'a>(
            &mut self,
            partition: Partition,
            records: impl Iterator<Item = Outgoing<'a>>,
            mut refused: impl FnMut(usize, Code),
        ) -> usize {
            if partition.number < self.0 {
                let count = records.count();
                self.1 += count;
                return count;
            }
            (0..records.count()).for_each(|position| refused(position, UNKNOWN_PARTITION));
            0
        }
    }

    /// A topic made anew with fewer partitions: until we have heard of it, its records wait and none is refused.
    #[test]
    fn records_of_a_partition_that_is_gone_wait_for_the_next_picture() {
        let shared = Shared::new(BufferOptions { max_records: 1_000, max_bytes: 1 << 20 });
        let (mut poll, kafka) = crossing(&shared, Bell::default(), Bell::default());
        for number in 0..100 {
            let key = format!("player-{number}");
            poll.batch.arena().extend_from_slice(key.as_bytes());
            let shape = Shape::keyed(TopicId(0), key.len() as u32, 0);
            poll.batch.commit(Token::nobody(1), shape, 1);
        }
        poll.submit();
        let mut accounts = Accounts::new(kafka, Clock::start());
        let mut lanes = Lanes::new(1, 1_000, 60_000_000);
        lanes.apply(&Layout { leaders: vec![vec![1; 12]], up: vec![1] });
        let (mut feeder, mut producer) = (Feeder::default(), Knows(6, 0));
        feeder.feed(&mut accounts, &mut lanes, Some(&mut producer), 1);
        assert!(producer.1 > 0 && lanes.held_records() == 100 - producer.1, "{}", producer.1);
        assert_eq!(
            feeder.release(&mut accounts, &mut lanes, &mut producer, true, 1),
            0,
            "their lanes are down"
        );
        lanes.apply(&Layout { leaders: vec![vec![1; 6]], up: vec![1] });
        feeder.release(&mut accounts, &mut lanes, &mut producer, true, 1);
        assert_eq!((producer.1, lanes.held_records()), (100, 0));
    }
}
