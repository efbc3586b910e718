//! Lanes: one per partition of every topic. Which take records, which hold them back, and what waits on our side.
//!
//! A record is handed to the client library only while the leader of its partition is up; until then it waits
//! here, where it can still be taken out and answered "not stored". A leader that is slow may fill its share of
//! the buffer, not all of it: its lanes are then full, and whoever sends to them waits alone. The same holds for a
//! topic whose records wait here.
//! Pure: no client library, no clock. The simulation runs this code.

use super::held::{Entry, Held};
use super::inside::Inside;
use super::keyless::Stay;
use super::producer::Partition;
use crate::handoff::{Batch, LaneView, Record, TopicId, partition_of};

/// What the cluster is known to look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// By topic, the leader of each partition; -1 = none.
    pub leaders: Vec<Vec<i32>>,
    /// Ids of brokers that answer.
    pub up: Vec<i32>,
}

#[derive(Debug, Default)]
struct Lane {
    topic: TopicId,
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

/// A topic's stretch of the lanes.
#[derive(Debug, Default)]
struct Topic {
    /// Its first lane; the others follow.
    first: usize,
    count: usize,
    /// Records that came before the partition count was known.
    early: Held,
    /// It refused writes: one record at a time goes, until one is stored.
    on_trial: bool,
    /// Too much of it waits here.
    is_full: bool,
    /// Where its records without a key go for now.
    stay: Stay,
}

/// See the module's text.
#[derive(Debug)]
pub struct Lanes {
    /// All topics' lanes, one topic after the other.
    lanes: Vec<Lane>,
    loads: Vec<Load>,
    topics: Vec<Topic>,
    max_records: usize,
    /// The client library is to be left alone: nothing goes.
    is_closed: bool,
    /// The delivery timeout.
    timeout_us: u64,
    /// What a record may spend inside at least, however long it waited before.
    grace_us: u64,
    /// How exactly deadlines inside are kept.
    grain_us: u64,
    /// How long records linger.
    linger_us: u64,
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
    /// `topics`: how many there are; `max_records`: the buffer's high mark; `timeout_us`: the delivery timeout.
    pub fn new(topics: usize, max_records: usize, timeout_us: u64) -> Self {
        Self {
            lanes: Vec::new(),
            loads: Vec::new(),
            topics: (0..topics.max(1)).map(|_| Topic::default()).collect(),
            max_records,
            is_closed: false,
            timeout_us,
            grace_us: (timeout_us / 4).max(LEAST_GRACE_US),
            grain_us: (timeout_us / 64).max(LEAST_GRAIN_US),
            linger_us: 0,
        }
    }

    /// For a client library that waits so long for company: records without a key keep it.
    pub fn lingering(self, linger_us: u64) -> Self {
        Self { linger_us, ..self }
    }

    /// Lanes of all topics together.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Partitions of each topic.
    pub fn counts(&self) -> impl Iterator<Item = (TopicId, usize)> {
        self.topics.iter().enumerate().map(|(id, topic)| (TopicId(id as u8), topic.count))
    }

    /// What a lane is to the cluster.
    pub fn partition(&self, lane: u32) -> Partition {
        let topic = self.lanes[lane as usize].topic;
        Partition { topic, number: lane - self.topics[usize::from(topic.0)].first as u32 }
    }

    /// The lane of a partition, as the client library names it.
    pub fn lane_of(&self, topic: TopicId, partition: i32) -> Option<usize> {
        let topic = self.topics.get(usize::from(topic.0))?;
        let number = usize::try_from(partition).ok().filter(|number| *number < topic.count)?;
        Some(topic.first + number)
    }

    /// Takes a new picture of the cluster in. A partition count that changed moves held records to the lanes
    /// that are theirs now; each key's order stays, as all records of a key come from one lane.
    pub fn apply(&mut self, layout: &Layout) {
        let nothing = Vec::new();
        let leaders = |id: usize| layout.leaders.get(id).unwrap_or(&nothing);
        if self.topics.iter().enumerate().any(|(id, topic)| leaders(id).len() != topic.count) {
            let counts: Vec<usize> = (0..self.topics.len()).map(|id| leaders(id).len()).collect();
            self.reshape(&counts);
        }
        let all: Vec<i32> = (0..self.topics.len()).flat_map(|id| leaders(id).iter().copied()).collect();
        let mut brokers = all.clone();
        brokers.sort_unstable();
        brokers.dedup();
        self.loads =
            brokers.iter().map(|broker| Load { broker: *broker, records: 0, is_full: false }).collect();
        for (lane, leader) in self.lanes.iter_mut().zip(&all) {
            lane.leader = brokers.binary_search(leader).unwrap_or(0);
            lane.is_up = *leader >= 0 && layout.up.contains(leader);
            self.loads[lane.leader].records += lane.inside.len() + lane.held.len();
        }
    }

    fn reshape(&mut self, counts: &[usize]) {
        let mut before = std::mem::take(&mut self.lanes).into_iter();
        for (id, (topic, count)) in self.topics.iter_mut().zip(counts).enumerate() {
            let mut old: Vec<Lane> = before.by_ref().take(topic.count).collect();
            let mut waiting = vec![std::mem::take(&mut topic.early)];
            waiting.extend(old.iter_mut().map(|lane| std::mem::take(&mut lane.held)));
            (topic.first, topic.count) = (self.lanes.len(), *count);
            topic.stay = Stay::new(*count, self.max_records);
            // What is inside stays in the partition that it was given to, whatever is added beside it.
            let inside =
                old.into_iter().map(|lane| lane.inside).chain(std::iter::repeat_with(Inside::default));
            let lane = |inside| Lane { topic: TopicId(id as u8), inside, ..Lane::default() };
            self.lanes.extend(inside.take(*count).map(lane));
            // Oldest lane first would be wrong only between keys, never within one.
            for entry in waiting.iter().flat_map(Held::iter) {
                let held = match *count {
                    0 => &mut topic.early,
                    count => {
                        let number = partition_of(entry.hash, count as u32) as usize;
                        &mut self.lanes[topic.first + number].held
                    }
                };
                held.push(entry);
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

    /// This lane is down until the next picture says otherwise: the client library does not know its partition any more,
    /// as when a topic was made anew with fewer of them.
    pub fn lane_down(&mut self, lane: u32) {
        self.lanes[lane as usize].is_up = false;
    }

    /// The topic refuses writes (no right, no such topic): a flood would only be refused as fast as it comes, so
    /// records wait here, and one at a time tries.
    pub fn suspect(&mut self, topic: TopicId) {
        self.topics[usize::from(topic.0)].on_trial = true;
    }

    /// A record was stored: all may go again.
    pub fn trust(&mut self, topic: TopicId) {
        self.topics[usize::from(topic.0)].on_trial = false;
    }

    pub fn is_on_trial(&self, topic: TopicId) -> bool {
        self.topics[usize::from(topic.0)].on_trial
    }

    /// Records of a topic inside the client library.
    pub fn inside(&self, topic: TopicId) -> usize {
        self.stretch(topic).iter().map(|lane| lane.inside.len()).sum()
    }

    /// Records of a topic that wait here.
    pub fn held(&self, topic: TopicId) -> usize {
        let early = self.topics[usize::from(topic.0)].early.len();
        early + self.stretch(topic).iter().map(|lane| lane.held.len()).sum::<usize>()
    }

    /// Whether records of a topic can be stored: its partitions are known, and the leader of one is up.
    pub fn has_way(&self, topic: TopicId) -> bool {
        self.stretch(topic).iter().any(|lane| lane.is_up)
    }

    fn stretch(&self, topic: TopicId) -> &[Lane] {
        let topic = &self.topics[usize::from(topic.0)];
        &self.lanes[topic.first..topic.first + topic.count]
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
        let topic = &mut self.topics[usize::from(record.shape.topic.0)];
        if topic.count == 0 {
            topic.early.push(Entry::of(batch, record));
            return Place::Hold;
        }
        let index = match record.shape.key_len {
            Some(_) => topic.first + partition_of(record.hash, topic.count as u32) as usize,
            None => {
                let number = topic.stay.take(since_us, self.linger_us);
                topic.first + open_lane(&self.lanes[topic.first..topic.first + topic.count], number)
            }
        };
        let lane = &mut self.lanes[index];
        self.loads[lane.leader].records += 1;
        if lane.is_up && lane.held.is_empty() && !topic.on_trial && !self.is_closed {
            lane.inside.enter(since_us, self.grain_us);
            return Place::Go(index as u32);
        }
        lane.held.push(Entry::of(batch, record));
        Place::Hold
    }

    /// A record that waits here whatever its lane does, behind those that wait already.
    pub fn keep(&mut self, entry: Entry<'_>) {
        let topic = &mut self.topics[usize::from(entry.shape.topic.0)];
        if topic.count == 0 {
            return topic.early.push(entry);
        }
        let number = partition_of(entry.hash, topic.count as u32) as usize;
        let index = match entry.shape.key_len {
            Some(_) => topic.first + number,
            None => topic.first + open_lane(&self.lanes[topic.first..topic.first + topic.count], number),
        };
        let lane = &mut self.lanes[index];
        self.loads[lane.leader].records += 1;
        lane.held.push(entry);
    }

    /// The client library had no room for a record that was to go: it waits here, in its place.
    pub fn hold_back(&mut self, lane: u32, entry: Entry<'_>) {
        let lane = &mut self.lanes[lane as usize];
        lane.inside.undo();
        lane.held.push(entry);
    }

    /// Lanes that are up and have records waiting that may go; those of topics on trial only where `may_try` says so
    /// and none of theirs is inside.
    pub fn next_release(&self, from: u32, may_try: bool) -> Option<u32> {
        let may_go = |lane: &Lane| {
            lane.is_up
                && !lane.held.is_empty()
                && (!self.is_on_trial(lane.topic) || (may_try && self.inside(lane.topic) == 0))
        };
        let lanes = self.lanes.iter().enumerate().skip(from as usize);
        lanes.filter(|_| !self.is_closed).find(|(_, lane)| may_go(lane)).map(|(index, _)| index as u32)
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
    pub fn ended(&mut self, topic: TopicId, partition: i32) {
        if let Some(lane) = self.lane_of(topic, partition) {
            self.leave(lane as u32);
        }
    }

    /// The same by lane.
    pub fn leave(&mut self, lane: u32) {
        let lane = &mut self.lanes[lane as usize];
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

    /// Takes out what was accepted before `before_us` (`u64::MAX`: all), and what has waited longer than its own
    /// patience; shows each record.
    pub fn expire(&mut self, before_us: u64, now_us: u64, mut show: impl FnMut(&Entry<'_>)) {
        for topic in &mut self.topics {
            topic.early.expire(before_us, now_us, &mut show);
        }
        for lane in &mut self.lanes {
            let gone = lane.held.expire(before_us, now_us, &mut show);
            let load = &mut self.loads[lane.leader];
            load.records = load.records.saturating_sub(gone);
        }
    }

    pub fn held_records(&self) -> usize {
        let early: usize = self.topics.iter().map(|topic| topic.early.len()).sum();
        early + self.lanes.iter().map(|lane| lane.held.len()).sum::<usize>()
    }

    pub fn down(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.is_up).count()
    }

    /// A broker may fill this many records of the buffer: all of it if it is the only one, more than its equal
    /// share and less than all otherwise. The same for a topic whose records wait here.
    fn share(&self, of: usize) -> usize {
        match of {
            0 | 1 => usize::MAX,
            of => (self.max_records * (of + 1) / (2 * of)).max(1),
        }
    }

    /// Which lanes take no more for now; a full one is open again below 80 % of the share.
    pub fn view(&mut self) -> LaneView {
        let is_full = |was_full: bool, records: usize, share: usize| match was_full {
            true => records > share - share.div_ceil(5),
            false => records >= share,
        };
        let share = self.share(self.loads.len());
        for load in &mut self.loads {
            load.is_full = is_full(load.is_full, load.records, share);
        }
        let share = self.share(self.topics.len());
        for id in 0..self.topics.len() {
            let held = if share < usize::MAX { self.held(TopicId(id as u8)) } else { 0 };
            self.topics[id].is_full = is_full(self.topics[id].is_full, held, share);
        }
        if !self.loads.iter().any(|load| load.is_full) && !self.topics.iter().any(|topic| topic.is_full) {
            return LaneView::default();
        }
        let full = |(id, topic): (usize, &Topic)| match topic.count {
            0 => vec![topic.is_full],
            _ => {
                let lanes = self.stretch(TopicId(id as u8)).iter();
                lanes.map(|lane| topic.is_full || self.loads[lane.leader].is_full).collect()
            }
        };
        LaneView::new(self.topics.iter().enumerate().map(full).collect())
    }
}

/// Any lane will do: the first from `number` on that takes records, or that one if none does.
fn open_lane(lanes: &[Lane], number: usize) -> usize {
    let count = lanes.len();
    let mut candidates = (0..count).map(|step| (number + step) % count);
    candidates.find(|index| lanes[*index].is_up && lanes[*index].held.is_empty()).unwrap_or(number)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
