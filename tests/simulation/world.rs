//! One run in virtual time: senders, poll thread, Kafka thread and broker, one event after the other, with the
//! oracle looking on at every step.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use fastrand::Rng;
use sluice::handoff::{Bell, Shared, Sleep, crossing};
use sluice::net::Hub;
use sluice::pipeline::ValueFormat;
use sluice::session::Now;

use crate::account::Told;
use crate::broker::{Broker, ClientEvent};
use crate::kafka_side::KafkaSide;
use crate::peer::{Peer, Talk};
use crate::plan::{Plan, Speech, Trouble};
use crate::poll_side::{Phase, PollSide};
use crate::script::Script;
use crate::stream::Wire;
use crate::truth::Truth;
use crate::web;

/// More events than any run needs: a loop that turns without getting anywhere.
const MAX_EVENTS: u64 = 3_000_000;
/// A sender with nothing to do looks again at least this often, in microseconds.
const IDLE_US: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connect(usize),
    Peer(usize),
    Readable(usize),
    Writable(usize),
    Picture,
    Trouble(usize),
    Heal,
    Stop,
}

/// How often a run came to where it hurts; shows that the simulation gets there at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sights {
    pub paused_queue: u64,
    pub paused_lane: u64,
    pub paused_answers: u64,
    pub channel_full: u64,
    pub held_back: u64,
    pub partial: u64,
    pub late: u64,
    pub let_go: u64,
}

pub struct World {
    pub sights: Sights,
    pub plan: Plan,
    pub peers: Vec<Peer>,
    pub truth: Rc<RefCell<Truth>>,
    pub poll: PollSide,
    pub kafka: KafkaSide,
    pub shared: Arc<Shared>,
    pub now_us: u64,
    pub events: u64,
    idle_us: Vec<u64>,
    poll_due_us: u64,
    kafka_due_us: u64,
    kafka_sleep: Sleep,
    poll_stalled_us: u64,
    kafka_stalled_us: u64,
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    rng: Rng,
    is_verbose: bool,
}

impl World {
    pub fn new(seed: u64, is_verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let truth = Rc::new(RefCell::new(Truth::default()));
        let peers = make_peers(&plan, &mut rng, &mut truth.borrow_mut());
        let shared = Shared::new(plan.buffer.clone());
        let (poll_bell, kafka_bell) = (Bell::default(), Bell::default());
        let (poll_end, kafka_end) = crossing(&shared, poll_bell.clone(), kafka_bell);
        let (http, web) = plan.web.build(plan.buffer.max_records);
        let hub = Hub::new(&plan.net, &plan.tcp, http, web, ValueFormat::Protobuf, None, false, poll_end);
        let broker =
            Broker::new(plan.brokers, &plan.partitions, plan.moods.clone(), rng.fork(), truth.clone());
        let kafka = KafkaSide::new(
            kafka_end,
            broker,
            &plan.kafka(),
            plan.buffer.max_records,
            plan.gates_us.clone(),
            plan.dozes,
            truth.clone(),
        );
        let mut world = Self {
            poll: PollSide::new(hub, poll_bell, plan.drain_us),
            kafka,
            shared,
            truth,
            now_us: 0,
            events: 0,
            idle_us: vec![0; peers.len()],
            peers,
            poll_due_us: 0,
            kafka_due_us: 0,
            kafka_sleep: Sleep::Awake,
            poll_stalled_us: 0,
            kafka_stalled_us: 0,
            heap: BinaryHeap::new(),
            rng,
            is_verbose,
            plan,
            sights: Sights::default(),
        };
        world.schedule_plan();
        world
    }

    fn schedule_plan(&mut self) {
        for who in 0..self.peers.len() {
            self.at(self.peers[who].manner.connect_us, Event::Connect(who));
        }
        for (index, (at_us, _)) in self.plan.troubles.clone().into_iter().enumerate() {
            self.at(at_us, Event::Trouble(index));
        }
        let first_us = self.plan.gates_us.iter().min().copied().unwrap_or(0);
        self.at(first_us, Event::Picture);
        self.at(self.plan.heal_us * 2, Event::Heal);
        for at_us in self.plan.stop_us.into_iter().chain(self.plan.second_stop_us) {
            self.at(at_us, Event::Stop);
        }
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.heap.push(Reverse((at_us, self.rng.u64(..), event)));
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            println!("{:>10} us  {}", self.now_us, text());
        }
    }

    /// Runs to the end of the shutdown.
    pub fn run(&mut self) {
        let limit_us = self.limit_us();
        while self.poll.phase != Phase::Done {
            self.step();
            assert!(self.events < MAX_EVENTS, "turns without end: {}", self.state());
            assert!(self.now_us < limit_us, "stuck: {}", self.state());
        }
        for peer in &mut self.peers {
            let shared = peer.wire.clone();
            let mut wire = shared.borrow_mut();
            if peer.manner.reads_from_us < u64::MAX && !wire.reset {
                let rest: Vec<u8> = wire.outbound.drain(..).collect();
                peer.hear(&rest, &self.truth.borrow());
            }
        }
    }

    /// Virtual time within which every run must have ended, whatever went wrong in it.
    fn limit_us(&self) -> u64 {
        let talk = |peer: &Peer| {
            let bytes = peer.bytes().len() + 300 * peer.count();
            2 * bytes as u64 * peer.manner.gap_us.max(50)
        };
        let messages = self.truth.borrow().goods.len() as u64;
        120_000_000 + self.peers.iter().map(talk).sum::<u64>() + messages * self.plan.moods.latency_us * 2
    }

    fn step(&mut self) {
        self.events += 1;
        let heap_us = self.heap.peek().map_or(u64::MAX, |Reverse((at_us, _, _))| *at_us);
        let poll_us = self.poll_due_us.max(self.poll_stalled_us);
        let kafka_us = self.kafka_due_us.max(self.kafka_stalled_us);
        let broker_us = self.kafka.broker.next_us().unwrap_or(u64::MAX);
        let next_us = heap_us.min(poll_us).min(kafka_us).min(broker_us);
        assert!(next_us < u64::MAX, "nothing will ever happen: {}", self.state());
        self.now_us = self.now_us.max(next_us);
        match () {
            () if broker_us == next_us => self.kafka.broker.advance(self.now_us),
            () if heap_us == next_us => self.happen(),
            () if poll_us == next_us => self.poll_turn(),
            () => self.kafka_turn(),
        }
        self.wake();
    }

    /// Rung bells and filled queues wake their threads, a moment later.
    fn wake(&mut self) {
        if self.poll.rung.swap(false, SeqCst) {
            self.poll_due_us = self.poll_due_us.min(self.now_us + self.rng.u64(..50));
        }
        let has_events = !self.kafka.broker.events.is_empty();
        if self.kafka.rung.swap(false, SeqCst) || has_events {
            self.kafka_due_us = self.kafka_due_us.min(self.now_us + self.rng.u64(..50));
        }
        let is_waiting = self.plan.stop_us.is_none() && self.poll.level == 0;
        if is_waiting && self.peers.iter().all(|peer| peer.done) && self.shared.budget.records() == 0 {
            let connections = self.poll.connections() + self.poll.backlog.len();
            if connections == 0 {
                self.stop();
            }
        }
    }

    fn stop(&mut self) {
        self.poll.level = (self.poll.level + 1).min(2);
        self.poll_due_us = self.now_us;
        self.say(|| format!("stop, level {}", self.poll.level));
    }

    fn poll_turn(&mut self) {
        let now = Now { us: self.now_us, unix_ms: 1_700_000_000_000 + (self.now_us / 1000) as i64 };
        self.poll_due_us = self.poll.turn(now, self.kafka.ended);
        for (who, slot, generation) in std::mem::take(&mut self.poll.accepted) {
            self.peers[who].slot = Some((slot, generation));
            // Whatever came before the registration shows as an edge right after it.
            let delay_us = self.rng.u64(..20);
            self.at(self.now_us + delay_us, Event::Readable(who));
        }
        self.peers.iter_mut().for_each(|peer| peer.note_written(self.now_us));
        self.say(|| format!("poll thread   {}", self.state()));
        self.check_step();
        let is_rung = self.kafka.rung.load(SeqCst);
        let sleeps_long = self.kafka_sleep == Sleep::Asleep && self.kafka_due_us > self.now_us + 1_000;
        let has_work = self.kafka.accounts.end.has_work() && !self.kafka.ended;
        assert!(
            !(has_work && sleeps_long && !is_rung),
            "the Kafka thread sleeps over work: {}",
            self.state()
        );
    }

    fn kafka_turn(&mut self) {
        if self.kafka.ended {
            self.kafka_due_us = u64::MAX;
            return;
        }
        (self.kafka_due_us, self.kafka_sleep) = self.kafka.turn(self.now_us);
        self.say(|| format!("kafka thread  {}", self.state()));
        self.check_step();
        let sleeps = self.poll_due_us > self.now_us + 1_000 && !self.poll.rung.load(SeqCst);
        if sleeps && self.poll.phase == Phase::Running {
            assert!(!self.poll.hub.has_reports(), "the poll thread sleeps over reports: {}", self.state());
            let is_paused = self.shared.paused.load(SeqCst) && self.shared.budget.is_low();
            assert!(!is_paused, "a pause below the low mark: {}", self.state());
        }
    }

    fn happen(&mut self) {
        let Some(Reverse((_, _, event))) = self.heap.pop() else { return };
        match event {
            Event::Connect(who) => {
                if self.poll.phase == Phase::Running && self.poll.level == 0 {
                    let peer = &self.peers[who];
                    self.poll.backlog.push_back((who, peer.is_http(), peer.connect()));
                    self.poll_due_us = self.now_us;
                    self.at(self.now_us, Event::Peer(who));
                } else {
                    self.peers[who].done = true;
                }
            }
            Event::Peer(who) => self.peer_step(who),
            Event::Readable(who) => {
                let (fin, reset) = {
                    let wire = self.peers[who].wire.borrow();
                    (wire.fin, wire.reset)
                };
                if let Some((slot, generation)) = self.peers[who].slot {
                    if reset {
                        self.poll.hub.broken(slot, generation);
                    }
                    self.poll.hub.readable(slot, generation, fin || reset);
                    self.poll_due_us = self.now_us;
                }
            }
            Event::Writable(who) => {
                if let Some((slot, generation)) = self.peers[who].slot {
                    self.poll.hub.writable(slot, generation);
                    self.poll_due_us = self.now_us;
                }
            }
            Event::Picture => {
                if self.kafka.ended {
                    return;
                }
                let layout = self.kafka.broker.layout();
                self.kafka.broker.events.push_back(ClientEvent::Picture(layout));
                let gap_us = self.rng.u64(20_000..500_000);
                self.at(self.now_us + gap_us, Event::Picture);
            }
            Event::Trouble(index) => self.trouble(self.plan.troubles[index].1),
            Event::Heal => self.kafka.broker.heal(),
            Event::Stop => self.stop(),
        }
    }

    fn peer_step(&mut self, who: usize) {
        let peer = &mut self.peers[who];
        if peer.done {
            return;
        }
        let step = peer.step(self.now_us, &mut self.rng, &self.truth.borrow());
        let gap_us = peer.manner.gap_us;
        let is_done = peer.done;
        self.idle_us[who] = match step.readable || step.writable {
            true => gap_us,
            false => (self.idle_us[who].max(1) * 2).clamp(gap_us, IDLE_US.max(gap_us)),
        };
        if step.readable {
            let delay_us = self.rng.u64(..100);
            self.at(self.now_us + delay_us, Event::Readable(who));
        }
        if step.writable || (step.readable && self.peers[who].wire.borrow().reset) {
            let delay_us = self.rng.u64(..100);
            self.at(self.now_us + delay_us, Event::Writable(who));
        }
        if !is_done {
            self.at(self.now_us + self.idle_us[who], Event::Peer(who));
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.say(|| format!("trouble: {trouble:?}"));
        let is_healed = self.now_us >= self.plan.heal_us * 2;
        let broker = &mut self.kafka.broker;
        match trouble {
            Trouble::Down(id) if !is_healed => {
                broker.set_up(id, false);
                match self.rng.u32(..3) {
                    0 => broker.events.push_back(ClientEvent::Down(Some(id))),
                    1 => broker.events.push_back(ClientEvent::Down(None)),
                    _ => {}
                }
            }
            Trouble::Down(_) => {}
            Trouble::Up(id) => broker.set_up(id, true),
            Trouble::Slow(id, factor) => broker.slow_down(id, factor),
            Trouble::Grow(topic, count) => broker.grow(topic, count),
            Trouble::Fatal => broker.events.push_back(ClientEvent::Fatal),
            Trouble::Vanish => broker.events.push_back(ClientEvent::Picture(Default::default())),
            Trouble::PollStalls(for_us) => self.poll_stalled_us = self.now_us + for_us,
            Trouble::KafkaStalls(for_us) => self.kafka_stalled_us = self.now_us + for_us,
        }
    }

    /// What must hold after every turn of either thread.
    fn check_step(&mut self) {
        let account = self.shared.ledger.account();
        let (records, bytes) = (self.shared.budget.records(), self.shared.budget.bytes());
        assert_eq!(account.in_flight(), records as u64, "ledger against buffer: {}", self.state());
        let high = &self.plan.buffer;
        assert!(records <= high.max_records, "above the high mark: {}", self.state());
        assert!(
            bytes <= high.max_bytes + self.plan.excess_bytes(),
            "above the byte mark by more than a record or a body: {}",
            self.state()
        );
        if self.rng.u32(..32) == 0 {
            let stats = self.poll.hub.stats();
            let sights = &mut self.sights;
            sights.paused_queue += u64::from(stats.paused_queue > 0);
            sights.paused_lane += u64::from(stats.paused_lane > 0);
            sights.paused_answers += u64::from(stats.paused_answers > 0);
            sights.channel_full += u64::from(self.shared.channel_was_full.load(SeqCst));
            sights.held_back += u64::from(self.kafka.lanes.held_records() > 0);
            sights.partial += u64::from(stats.held_bytes > 0);
            (sights.late, sights.let_go) = (u64::from(self.kafka.closed), u64::from(self.kafka.let_go));
            let held = stats.held_bytes;
            let more = if self.plan.has_http() { self.plan.web.held_bytes() } else { 0 };
            let limit = self.plan.net.partial_bytes + more;
            assert!(held <= limit, "{held} bytes of partial messages");
        }
    }

    /// One line for a person.
    pub fn state(&self) -> String {
        let stats = self.poll.hub.stats();
        format!(
            "{:?} connections={}+{} paused={}/{}/{} held={} budget={} low={} | work={} lanes_held={} inside={} down={} | {:?}",
            self.poll.phase,
            stats.tcp_connections,
            stats.http_connections,
            stats.paused_queue,
            stats.paused_lane,
            stats.paused_answers,
            stats.held_bytes,
            self.shared.budget.records(),
            self.shared.budget.is_low(),
            self.kafka.accounts.end.has_work(),
            self.kafka.lanes.held_records(),
            self.kafka.inside,
            self.kafka.lanes.down(),
            self.shared.ledger.account(),
        )
    }
}

fn make_peers(plan: &Plan, rng: &mut Rng, truth: &mut Truth) -> Vec<Peer> {
    let (peers, mut library) = (plan.peers.iter().enumerate(), web::script::Library::default());
    peers
        .map(|(conn, (speech, manner, wires))| {
            let talk = match speech {
                Speech::Tcp(style) => Talk::Tcp(Script::write(conn, style, rng, truth), Told::default()),
                Speech::Http(style) => {
                    let script = web::script::Script::write(conn, style, &mut library, rng, truth);
                    Talk::Http(script, web::told::Told::default())
                }
            };
            let wire = Wire {
                out_limit: wires.out_limit,
                interrupted_one_in: wires.interrupted_one_in,
                hiccup_one_in: wires.hiccup_one_in,
                rng: rng.fork(),
                ..Wire::default()
            };
            Peer::new(talk, manner.clone(), wire, plan.stop_us.is_some())
        })
        .collect()
}
