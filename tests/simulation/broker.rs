//! A pretended producer with its cluster: takes records, and in virtual time stores or refuses them, or loses the
//! answer. Leaders go down and come up, partitions grow, its queue may be full, it may turn fatal.
//!
//! Honest where the real one is: order within a partition, one report for each record taken, and a status that
//! never claims more than is known. Without an answer it sends again, stores nothing twice, and never stops by itself:
//! the one deadline is ours.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastrand::Rng;
use sluice::handoff::{Token, TopicId, accounted_bytes};
use sluice::kafka::errors::{Code, Persistence, judge};
use sluice::kafka::lanes::Layout;
use sluice::kafka::producer::{self, Outgoing, Producer};

use crate::truth::Truth;

/// How the cluster behaves until it is healed, in percent of requests and records.
#[derive(Clone, Debug, Default)]
pub struct Moods {
    pub refuse_percent: u32,
    pub forget_percent: u32,
    /// Records that `produce` itself refuses.
    pub refuse_at_once_percent: u32,
    pub latency_us: u64,
    pub request_records: usize,
    pub queue_records: usize,
    /// The delivery timeout; the gateway's, not the producer's.
    pub timeout_us: u64,
}

/// What the client's queue holds for the Kafka thread.
#[derive(Debug)]
pub enum ClientEvent {
    Delivery {
        record: Record,
        partition: i32,
        code: Code,
        persistence: Persistence,
        /// Which of the producers had it, one after the other.
        producer: u32,
    },
    Picture(Layout),
    Down(Option<i32>),
    Fatal,
}

/// What was handed over, for the report of it.
#[derive(Debug)]
pub struct Record {
    pub token: Token,
    pub topic: TopicId,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<u8>,
}

impl Record {
    pub fn accounted_bytes(&self) -> usize {
        accounted_bytes(self.key.as_ref().map_or(0, Vec::len) + self.value.len(), self.headers.len())
    }
}

#[derive(Debug)]
struct Inside {
    record: Record,
    id: usize,
    produced_us: u64,
    /// It was sent, and no answer came.
    is_tried: bool,
    is_in_log: bool,
}

impl Inside {
    /// What is known of it if it is refused or given up.
    fn persistence(&self) -> Persistence {
        if self.is_tried { Persistence::Possibly } else { Persistence::Never }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Store,
    Refuse(Code),
    /// The answer never comes; whether it was appended is not known, and it is sent again.
    Forget,
}

#[derive(Debug)]
struct Request {
    records: Vec<Inside>,
    done_us: u64,
    fate: Fate,
}

#[derive(Debug, Default)]
struct Partition {
    topic: TopicId,
    number: usize,
    leader: i32,
    waiting: VecDeque<Inside>,
    request: Option<Request>,
}

/// See the module's text.
pub struct Broker {
    pub moods: Moods,
    pub events: VecDeque<ClientEvent>,
    pub now_us: u64,
    /// Records taken and not reported.
    pub inside: usize,
    /// The present producer's number.
    pub producer: u32,
    /// In the order in which they came to be.
    partitions: Vec<Partition>,
    topics: usize,
    /// By id, from 1.
    up: Vec<bool>,
    slow: Vec<u64>,
    rng: Rng,
    truth: Rc<RefCell<Truth>>,
}

/// As in `kafka/lanes.rs`: what a record may spend inside at least.
const GRACE_US: u64 = 1_000_000;
/// As in `kafka/replacement.rs`, a second for the others; a sleep of the Kafka thread, and a few stalls of it.
const SLACK_US: u64 = 1_000_000 + 250_000 + 500_000;

const REFUSALS: &[Code] = &[
    Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    Code::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    Code::RD_KAFKA_RESP_ERR_UNKNOWN,
];

impl Broker {
    /// `partitions`: of each topic.
    pub fn new(
        brokers: usize,
        partitions: &[usize],
        moods: Moods,
        rng: Rng,
        truth: Rc<RefCell<Truth>>,
    ) -> Self {
        let mut broker = Self {
            moods,
            events: VecDeque::new(),
            now_us: 0,
            inside: 0,
            producer: 0,
            partitions: Vec::new(),
            topics: partitions.len(),
            up: vec![true; brokers],
            slow: vec![1; brokers],
            rng,
            truth,
        };
        for (topic, count) in partitions.iter().enumerate() {
            broker.grow(TopicId(topic as u8), *count);
        }
        broker
    }

    /// The topic has this many partitions from now on.
    pub fn grow(&mut self, topic: TopicId, count: usize) {
        for number in self.count(topic)..count {
            let leader = 1 + ((number + usize::from(topic.0)) % self.up.len()) as i32;
            self.partitions.push(Partition { topic, number, leader, ..Partition::default() });
        }
    }

    /// Partitions of a topic.
    pub fn count(&self, topic: TopicId) -> usize {
        self.partitions.iter().filter(|partition| partition.topic == topic).count()
    }

    pub fn set_up(&mut self, broker: i32, up: bool) {
        self.up[broker as usize - 1] = up;
        if !up {
            for partition in self.partitions.iter_mut().filter(|partition| partition.leader == broker) {
                if let Some(request) = &mut partition.request {
                    request.fate = Fate::Forget;
                }
            }
        }
    }

    pub fn slow_down(&mut self, broker: i32, factor: u64) {
        self.slow[broker as usize - 1] = factor;
    }

    /// From now on everything works.
    pub fn heal(&mut self) {
        self.moods.refuse_percent = 0;
        self.moods.forget_percent = 0;
        self.moods.refuse_at_once_percent = 0;
        self.moods.queue_records = self.moods.queue_records.max(100);
        self.up.fill(true);
        self.slow.fill(1);
    }

    /// What a look at the cluster would show now.
    pub fn layout(&self) -> Layout {
        let mut leaders = vec![Vec::new(); self.topics];
        for partition in &self.partitions {
            leaders[usize::from(partition.topic.0)].push(partition.leader);
        }
        let up = (1..=self.up.len() as i32).filter(|id| self.up[*id as usize - 1]).collect();
        Layout { leaders, up }
    }

    fn is_up(&self, leader: i32) -> bool {
        self.up[leader as usize - 1]
    }

    /// Lets time pass: requests end, new ones begin.
    pub fn advance(&mut self, now_us: u64) {
        self.now_us = now_us;
        for index in 0..self.partitions.len() {
            let is_done =
                self.partitions[index].request.as_ref().is_some_and(|request| request.done_us <= now_us);
            if is_done && let Some(request) = self.partitions[index].request.take() {
                self.conclude(index, request);
            }
            let leader = self.partitions[index].leader;
            if self.partitions[index].request.is_none() && self.is_up(leader) {
                self.send(index);
            }
        }
    }

    /// When something will happen by itself.
    pub fn next_us(&self) -> Option<u64> {
        self.partitions.iter().filter_map(|partition| Some(partition.request.as_ref()?.done_us)).min()
    }

    fn send(&mut self, index: usize) {
        let most = self.rng.usize(1..=self.moods.request_records);
        let count = most.min(self.partitions[index].waiting.len());
        if count == 0 {
            return;
        }
        let roll = self.rng.u32(..100);
        let fate = match () {
            () if roll < self.moods.refuse_percent => {
                Fate::Refuse(REFUSALS[self.rng.usize(..REFUSALS.len())])
            }
            () if roll < self.moods.refuse_percent + self.moods.forget_percent => Fate::Forget,
            () => Fate::Store,
        };
        let leader = self.partitions[index].leader as usize - 1;
        let latency_us = (1 + self.rng.u64(..=self.moods.latency_us)) * self.slow[leader];
        let records = self.partitions[index].waiting.drain(..count).collect();
        self.partitions[index].request = Some(Request { records, done_us: self.now_us + latency_us, fate });
    }

    fn conclude(&mut self, index: usize, mut request: Request) {
        let appended = match request.fate {
            Fate::Store => true,
            Fate::Refuse(_) => false,
            Fate::Forget => self.rng.bool(),
        };
        if appended {
            self.append(index, &mut request.records);
        }
        let code = match request.fate {
            Fate::Store => Code::RD_KAFKA_RESP_ERR_NO_ERROR,
            Fate::Refuse(code) => code,
            Fate::Forget => {
                for mut inside in request.records.into_iter().rev() {
                    inside.is_tried = true;
                    self.partitions[index].waiting.push_front(inside);
                }
                return;
            }
        };
        for inside in request.records {
            let persistence = if appended { Persistence::Surely } else { inside.persistence() };
            self.report(index, inside, code, persistence);
        }
    }

    /// The same producer's record is appended once, however often it is sent.
    fn append(&mut self, index: usize, records: &mut [Inside]) {
        for inside in records.iter_mut().filter(|inside| !inside.is_in_log) {
            inside.is_in_log = true;
            let Partition { topic, number, .. } = self.partitions[index];
            self.truth.borrow_mut().append(topic, number, inside.id);
        }
    }

    fn report(&mut self, index: usize, inside: Inside, code: Code, persistence: Persistence) {
        self.inside -= 1;
        let inside_us = self.now_us - inside.produced_us;
        let limit_us = self.moods.timeout_us.max(GRACE_US) + self.moods.timeout_us / 64 + SLACK_US;
        assert!(inside_us <= limit_us, "message {} was inside for {inside_us} us", inside.id);
        self.truth.borrow_mut().report(
            inside.record.topic,
            inside.id,
            judge(code, persistence).0,
            self.now_us,
        );
        self.events.push_back(ClientEvent::Delivery {
            record: inside.record,
            partition: self.partitions[index].number as i32,
            code,
            persistence,
            producer: self.producer,
        });
    }

    /// A new producer takes its place.
    pub fn give_up(&mut self) {
        self.let_go();
        self.producer += 1;
    }

    /// Gives up on everything inside, as the real one does on demand.
    pub fn let_go(&mut self) {
        for index in 0..self.partitions.len() {
            if let Some(mut request) = self.partitions[index].request.take() {
                if self.rng.bool() {
                    self.append(index, &mut request.records);
                }
                let code = Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
                for inside in request.records {
                    self.report(index, inside, code, Persistence::Possibly);
                }
            }
            for inside in std::mem::take(&mut self.partitions[index].waiting) {
                let persistence = inside.persistence();
                self.report(index, inside, Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE, persistence);
            }
        }
    }
}

impl Producer for Broker {
    fn produce<'a>(
        &mut self,
        partition: producer::Partition,
        records: impl Iterator<Item = Outgoing<'a>>,
        mut refused: impl FnMut(usize, Code),
    ) -> usize {
        let (topic, number) = (partition.topic, partition.number as usize);
        let is_it = |known: &Partition| (known.topic, known.number) == (topic, number);
        let index = self.partitions.iter().position(is_it).expect("a partition that was shown");
        let mut taken = 0;
        let mut is_full = false;
        for (position, record) in records.enumerate() {
            is_full |= self.inside >= self.moods.queue_records;
            if is_full {
                refused(position, Code::RD_KAFKA_RESP_ERR__QUEUE_FULL);
                continue;
            }
            let id = self.truth.borrow_mut().id_of(topic, record.key, record.value, record.headers);
            if self.rng.u32(..100) < self.moods.refuse_at_once_percent {
                let code = match self.rng.bool() {
                    true => Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                    false => Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
                };
                self.truth.borrow_mut().report(topic, id, judge(code, Persistence::Never).0, self.now_us);
                refused(position, code);
                continue;
            }
            self.truth.borrow_mut().enter(topic, id, self.now_us);
            let record = Record {
                token: record.token,
                topic,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.to_vec(),
                headers: record.headers.to_vec(),
            };
            self.partitions[index].waiting.push_back(Inside {
                record,
                id,
                produced_us: self.now_us,
                is_tried: false,
                is_in_log: false,
            });
            self.inside += 1;
            taken += 1;
        }
        taken
    }
}
