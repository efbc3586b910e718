//! Lanes: one per partition. Which take records, which hold them back, and what waits on our side.
//!
//! A record is handed to the client library only while the leader of its partition is up; until then it waits
//! here, where it can still be taken out and answered "not stored". A leader that is slow may fill its share of
//! the buffer, not all of it: its lanes are then full, and whoever sends to them waits alone.
//! Pure: no client library, no clock. The simulation runs this code.

use super::held::{Entry, Held};
use super::inside::Inside;
use crate::handoff::{Batch, LaneView, Record, Token, partition_of};

/// What the cluster is known to look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Leader of each partition; -1 = none.
    pub leaders: Vec<i32>,
    /// Ids of brokers that answer.
    pub up: Vec<i32>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Position of its leader in `Lanes::loads`.
    leader: usize,
    is_up: bool,
    held: Held,
    inside: Inside,
    /// Its oldest record inside has passed the deadline, as of the last look.
    is_late: bool,
}

/// What one broker's lanes hold together.
#[derive(Debug)]
struct Load {
    broker: i32,
    records: usize,
    is_full: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    loads: Vec<Load>,
    /// Records that came before the partition count was known.
    early: Held,
    max_records: usize,
    /// The topic refused writes: one record at a time goes, until one is stored.
    on_trial: bool,
    /// The client library is to be left alone: nothing goes.
    is_closed: bool,
    /// The delivery timeout.
    timeout_us: u64,
    /// What a record may spend inside at least, however long it waited before.
    grace_us: u64,
    /// How exactly deadlines inside are kept.
    grain_us: u64,
}

/// What a record may spend inside at least, in microseconds: a broker that has just come up takes a moment.
const LEAST_GRACE_US: u64 = 1_000_000;
/// Deadlines inside are not kept more exactly than this, in microseconds.
const LEAST_GRAIN_US: u64 = 10_000;

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the client library, as part of this lane.
    Go(u32),
    /// It waits here.
    Hold,
}

impl Lanes {
    /// `max_records`: the buffer's high mark; `timeout_us`: the delivery timeout.
    pub fn new(max_records: usize, timeout_us: u64) -> Self {
        Self {
            lanes: Vec::new(),
            loads: Vec::new(),
            early: Held::default(),
            max_records,
            on_trial: false,
            is_closed: false,
            timeout_us,
            grace_us: (timeout_us / 4).max(LEAST_GRACE_US),
            grain_us: (timeout_us / 64).max(LEAST_GRAIN_US),
        }
    }

    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Takes a new picture of the cluster in. A partition count that changed moves held records to the lanes
    /// that are theirs now; each key's order stays, as all records of a key come from one lane.
    pub fn apply(&mut self, layout: &Layout) {
        if layout.leaders.len() != self.lanes.len() {
            self.reshape(layout.leaders.len());
        }
        let mut brokers: Vec<i32> = layout.leaders.clone();
        brokers.sort_unstable();
        brokers.dedup();
        self.loads =
            brokers.iter().map(|broker| Load { broker: *broker, records: 0, is_full: false }).collect();
        for (lane, leader) in self.lanes.iter_mut().zip(&layout.leaders) {
            lane.leader = brokers.binary_search(leader).unwrap_or(0);
            lane.is_up = *leader >= 0 && layout.up.contains(leader);
            self.loads[lane.leader].records += lane.inside.len() + lane.held.len();
        }
    }

    fn reshape(&mut self, count: usize) {
        let mut waiting = vec![std::mem::take(&mut self.early)];
        let mut before = std::mem::take(&mut self.lanes);
        waiting.extend(before.iter_mut().map(|lane| std::mem::take(&mut lane.held)));
        // What is inside stays in the partition that it was given to, whatever is added beside it.
        let inside = before.into_iter().map(|lane| Lane { inside: lane.inside, ..Lane::default() });
        self.lanes = inside.chain(std::iter::repeat_with(Lane::default)).take(count).collect();
        // Oldest lane first would be wrong only between keys, never within one.
        for held in &waiting {
            for entry in held.iter() {
                let lane = match count {
                    0 => &mut self.early,
                    _ => &mut self.lanes[partition_of(entry.hash, count as u32) as usize].held,
                };
                lane.push(entry);
            }
        }
    }

    /// Every lane of these brokers (all, if `None`) is down until the next picture says otherwise.
    pub fn mark_down(&mut self, broker: Option<i32>) {
        for lane in &mut self.lanes {
            if broker.is_none_or(|id| self.loads[lane.leader].broker == id) {
                lane.is_up = false;
            }
        }
    }

    /// The topic refuses writes (no right, no such topic): a flood would only be refused as fast as it comes, so
    /// records wait here, and one at a time tries.
    pub fn suspect(&mut self) {
        self.on_trial = true;
    }

    /// A record was stored: all may go again.
    pub fn trust(&mut self) {
        self.on_trial = false;
    }

    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// The client library is to be left alone: everything new waits here.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    pub fn open(&mut self) {
        self.is_closed = false;
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What the deadline inside counts from for a record that enters now: its acceptance, but that it has its grace.
    pub fn since_us(&self, accepted_us: u64, now_us: u64) -> u64 {
        accepted_us.max((now_us + self.grace_us).saturating_sub(self.timeout_us))
    }

    /// Looks which lanes have a record inside that has passed its deadline; whether any has.
    pub fn find_late(&mut self, now_us: u64) -> bool {
        let patience_us = self.timeout_us + self.grain_us;
        let mut any = false;
        for lane in &mut self.lanes {
            lane.is_late = lane.inside.oldest_us().is_some_and(|since_us| since_us + patience_us <= now_us);
            any |= lane.is_late;
        }
        any
    }

    /// Whether records are inside that may be stored in time: their leader is up, and none before them is late.
    pub fn have_hope(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_up && !lane.is_late && lane.inside.len() > 0)
    }

    /// Which lanes were late at the last look.
    pub fn late(&self) -> Vec<bool> {
        self.lanes.iter().map(|lane| lane.is_late).collect()
    }

    /// Decides for one new record; [`Place::Hold`] keeps a copy of it. `since_us` as [`Lanes::since_us`] has it for
    /// its batch.
    pub fn place(&mut self, batch: &Batch, record: &Record, since_us: u64) -> Place {
        if self.lanes.is_empty() {
            self.early.push(Entry::of(batch, record));
            return Place::Hold;
        }
        let index = partition_of(record.hash, self.lanes.len() as u32);
        let lane = &mut self.lanes[index as usize];
        self.loads[lane.leader].records += 1;
        if lane.is_up && lane.held.is_empty() && !self.on_trial && !self.is_closed {
            lane.inside.enter(since_us, self.grain_us);
            return Place::Go(index);
        }
        lane.held.push(Entry::of(batch, record));
        Place::Hold
    }

    /// The client library had no room for a record that was to go: it waits here, in its place.
    pub fn hold_back(&mut self, lane: u32, entry: Entry<'_>) {
        let lane = &mut self.lanes[lane as usize];
        lane.inside.undo();
        lane.held.push(entry);
    }

    /// Lanes that are up and have records waiting that may go.
    pub fn next_release(&self, from: u32) -> Option<u32> {
        (from as usize..self.lanes.len())
            .filter(|_| !self.is_closed)
            .find(|index| self.lanes[*index].is_up && !self.lanes[*index].held.is_empty())
            .map(|index| index as u32)
    }

    /// The records that wait in one lane, oldest first.
    pub fn waiting(&self, lane: u32) -> &Held {
        &self.lanes[lane as usize].held
    }

    /// The `count` oldest records of a lane have left; `inside` of them are in the client library now.
    pub fn released(&mut self, lane: u32, count: usize, inside: usize, now_us: u64) {
        let least_us = self.since_us(0, now_us);
        let lane = &mut self.lanes[lane as usize];
        for entry in lane.held.iter().take(inside) {
            lane.inside.enter(entry.accepted_us.max(least_us), self.grain_us);
        }
        lane.held.drop_front(count);
        let load = &mut self.loads[lane.leader];
        load.records = load.records.saturating_sub(count - inside);
    }

    /// A record that was to go, or was inside, has ended. `partition` as the client library says.
    pub fn ended(&mut self, partition: i32) {
        let Some(lane) = usize::try_from(partition).ok().and_then(|index| self.lanes.get_mut(index)) else {
            return;
        };
        lane.inside.leave();
        let load = &mut self.loads[lane.leader];
        load.records = load.records.saturating_sub(1);
    }

    /// Nothing is inside the client library: counts start anew.
    pub fn settle(&mut self) {
        self.adjust(0);
    }

    /// So many records are inside the client library. Counts drift while it knows of partitions that we have not
    /// heard of, or the other way round: a record that was counted in one lane ends in another. What is too much
    /// shrinks in proportion, or a lane could be full for ever of records that have long ended.
    pub fn adjust(&mut self, inside: usize) {
        let counted: usize = self.lanes.iter().map(|lane| lane.inside.len()).sum();
        for load in &mut self.loads {
            load.records = 0;
        }
        for lane in &mut self.lanes {
            if counted > inside {
                lane.inside.shrink(lane.inside.len() * inside / counted);
            }
            self.loads[lane.leader].records += lane.inside.len() + lane.held.len();
        }
    }

    /// Takes out what was accepted before `before_us` (`u64::MAX`: all) and shows each record.
    pub fn expire(&mut self, before_us: u64, mut show: impl FnMut(Token, usize)) {
        let is_due = |held: &Held| held.front().is_some_and(|entry| entry.accepted_us < before_us);
        while is_due(&self.early) {
            show_front(&self.early, &mut show);
            self.early.drop_front(1);
        }
        for index in 0..self.lanes.len() {
            while is_due(&self.lanes[index].held) {
                show_front(&self.lanes[index].held, &mut show);
                self.released(index as u32, 1, 0, 0);
            }
        }
    }

    pub fn held_records(&self) -> usize {
        self.early.len() + self.lanes.iter().map(|lane| lane.held.len()).sum::<usize>()
    }

    pub fn down(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.is_up).count()
    }

    /// A broker may fill this many records of the buffer: all of it if it is the only one, more than its equal
    /// share and less than all otherwise.
    fn share(&self) -> usize {
        match self.loads.len() {
            0 | 1 => usize::MAX,
            leaders => (self.max_records * (leaders + 1) / (2 * leaders)).max(1),
        }
    }

    /// Which lanes take no more for now; a full one is open again below 80 % of its broker's share.
    pub fn view(&mut self) -> LaneView {
        let share = self.share();
        for load in &mut self.loads {
            let low = share - share.div_ceil(5);
            load.is_full = if load.is_full { load.records > low } else { load.records >= share };
        }
        if self.loads.iter().all(|load| !load.is_full) {
            return LaneView::default();
        }
        LaneView { full: self.lanes.iter().map(|lane| self.loads[lane.leader].is_full).collect() }
    }
}

fn show_front(held: &Held, show: &mut impl FnMut(Token, usize)) {
    if let Some(entry) = held.front() {
        show(entry.token, entry.key.len() + entry.value.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::murmur2;

    const TIMEOUT_US: u64 = 60_000_000;

    fn batch_of(keys: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for (index, key) in keys.iter().enumerate() {
            batch.arena().extend_from_slice(key.as_bytes());
            batch.commit(Token::nobody(index as u64), key.len() as u32, 0, 100);
        }
        batch
    }

    fn layout(leaders: &[i32], up: &[i32]) -> Layout {
        Layout { leaders: leaders.to_vec(), up: up.to_vec() }
    }

    /// Nothing goes to a lane whose leader is not up; what waited goes first once it is.
    #[test]
    fn holds_until_the_leader_is_up_and_keeps_order() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        let batch = batch_of(&["a", "a", "a"]);
        assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Hold, "no partition is known");
        lanes.apply(&layout(&[1], &[]));
        assert_eq!(lanes.place(&batch, &batch.records()[1], 0), Place::Hold, "the leader is down");
        lanes.apply(&layout(&[1], &[1]));
        assert_eq!(lanes.place(&batch, &batch.records()[2], 0), Place::Hold, "older records wait");
        let tokens: Vec<_> = lanes.waiting(0).iter().map(|entry| entry.token).collect();
        assert_eq!(tokens, [0, 1, 2].map(Token::nobody));
        lanes.released(0, 3, 3, 0);
        assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Go(0));
    }

    /// A topic that refuses writes gets one record at a time, until one is stored.
    #[test]
    fn on_trial_nothing_goes_by_itself() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        lanes.apply(&layout(&[1], &[1]));
        let batch = batch_of(&["a"]);
        lanes.suspect();
        assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Hold);
        assert_eq!(lanes.next_release(0), Some(0));
        lanes.released(0, 1, 1, 0);
        lanes.trust();
        assert_eq!(lanes.place(&batch, &batch.records()[0], 0), Place::Go(0));
    }

    /// A topic that grows: held records move to the lanes that are theirs now, in order.
    #[test]
    fn growth_moves_held_records() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        lanes.apply(&layout(&[1; 2], &[]));
        let keys = ["a", "b", "c", "d", "a", "b"];
        let batch = batch_of(&keys);
        for record in batch.records() {
            lanes.place(&batch, record, 0);
        }
        lanes.apply(&layout(&[1; 5], &[1]));
        assert_eq!(lanes.held_records(), keys.len());
        for index in 0..5 {
            let found: Vec<_> = lanes.waiting(index).iter().map(|entry| entry.key.to_vec()).collect();
            assert!(found.iter().all(|key| partition_of(murmur2(key), 5) == index), "{found:?}");
        }
    }

    /// G5 in small: one broker of two cannot take the whole buffer.
    #[test]
    fn a_slow_broker_fills_its_share_only() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        lanes.apply(&layout(&[1, 2], &[1, 2]));
        let key = ["a", "b", "c", "d"]
            .into_iter()
            .find(|key| partition_of(murmur2(key.as_bytes()), 2) == 0)
            .unwrap();
        let batch = batch_of(&[key]);
        for _ in 0..75 {
            assert!(lanes.view().takes(murmur2(key.as_bytes())));
            lanes.place(&batch, &batch.records()[0], 0);
        }
        assert_eq!(lanes.view().full, [true, false]);
        for _ in 0..14 {
            lanes.ended(0);
        }
        assert_eq!(lanes.view().full, [true, false], "80 % is not reached yet");
        lanes.ended(0);
        lanes.ended(0);
        assert_eq!(lanes.view(), LaneView::default());
    }

    /// A topic that grows under load: what was inside ends in the lanes where it was counted.
    #[test]
    fn growth_keeps_the_count_of_each_lane() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        lanes.apply(&layout(&[1, 2], &[1, 2]));
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let batch = batch_of(&keys);
        for record in batch.records() {
            lanes.place(&batch, record, 0);
        }
        lanes.apply(&layout(&[1, 2, 1, 2], &[1, 2]));
        for key in keys {
            lanes.ended(partition_of(murmur2(key.as_bytes()), 2) as i32);
        }
        assert!(lanes.loads.iter().all(|load| load.records == 0), "{:?}", lanes.loads);
    }

    /// The client knew of a partition before us: its records end elsewhere than where they were counted.
    #[test]
    fn a_count_that_drifted_comes_down_under_load() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        lanes.apply(&layout(&[1, 2], &[1, 2]));
        let batch = batch_of(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        for _ in 0..100 {
            for record in batch.records() {
                lanes.place(&batch, record, 0);
                lanes.ended(2);
            }
        }
        assert_eq!([0, 1].map(|hash| lanes.view().takes(hash)), [false, false]);
        lanes.adjust(4);
        assert_eq!(lanes.view(), LaneView::default());
    }

    /// A buffer of a few records: a share is never nothing, and a full lane opens again once it is empty.
    #[test]
    fn the_smallest_shares_open_again() {
        for max_records in 1..10 {
            let mut lanes = Lanes::new(max_records, TIMEOUT_US);
            lanes.apply(&layout(&[1, 2], &[1, 2]));
            let batch = batch_of(&["a"]);
            let hash = batch.records()[0].hash;
            let lane = partition_of(hash, 2) as i32;
            let mut inside = 0;
            while lanes.view().takes(hash) {
                lanes.place(&batch, &batch.records()[0], 0);
                inside += 1;
            }
            assert!((1..=max_records).contains(&inside), "{inside} of {max_records}");
            (0..inside).for_each(|_| lanes.ended(lane));
            assert!(lanes.view().takes(hash), "{max_records}");
        }
    }

    #[test]
    fn expires_by_age_and_at_the_end() {
        let mut lanes = Lanes::new(100, TIMEOUT_US);
        let batch = batch_of(&["a", "b"]);
        lanes.place(&batch, &batch.records()[0], 0);
        lanes.apply(&layout(&[-1, -1, -1], &[]));
        lanes.place(&batch, &batch.records()[1], 0);
        let mut seen = Vec::new();
        for too_early in [0, 100] {
            lanes.expire(too_early, |token, _| seen.push(token));
            assert!(seen.is_empty(), "nothing is older than the gateway, or than its acceptance");
        }
        lanes.expire(101, |token, _| seen.push(token));
        assert_eq!((seen.len(), lanes.held_records()), (2, 0));
    }
}
