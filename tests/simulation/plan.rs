//! A seed becomes a run: who connects and how, what goes wrong and when, how much may wait.

use fastrand::Rng;
use sluice::admission::LimiterOptions;
use sluice::handoff::{BufferOptions, TopicId};
use sluice::kafka::{DEAD_LETTERS, KafkaOptions, LetterOptions, Topics};
use sluice::net::NetOptions;
use sluice::session::{Framing, TcpOptions};

use crate::broker::Moods;
use crate::peer::Manner;
use crate::script::{Style, Tongue};
use crate::truth::TOPICS;
use crate::web::body::BodyStyle;
use crate::web::options::WebPlan;
use crate::web::script::WebStyle;

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Down(i32),
    Up(i32),
    Slow(i32, u64),
    Grow(TopicId, usize),
    /// The producer turns fatal.
    Fatal,
    /// All topics are unknown in the next picture.
    Vanish,
    PollStalls(u64),
    KafkaStalls(u64),
}

/// A delivery timeout that no healthy run reaches, in microseconds of virtual time.
const PATIENT_US: u64 = 3_600_000_000;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Plan {
    pub buffer: BufferOptions,
    pub net: NetOptions,
    pub tcp: TcpOptions,
    pub web: WebPlan,
    pub brokers: usize,
    /// Of each topic; the first one is TCP's and the only one where nobody speaks HTTP.
    pub partitions: Vec<usize>,
    /// Topics whose records become dead letters.
    pub letter_sources: Vec<TopicId>,
    pub moods: Moods,
    /// When each topic is found.
    pub gates_us: Vec<u64>,
    pub dozes: bool,
    pub troubles: Vec<(u64, Trouble)>,
    pub heal_us: u64,
    /// When the drain is asked for; `None`: once every sender that ends has ended.
    pub stop_us: Option<u64>,
    pub second_stop_us: Option<u64>,
    pub drain_us: u64,
    pub peers: Vec<(Speech, Manner, Wires)>,
}

/// How a sender speaks.
#[derive(Clone, Debug)]
pub enum Speech {
    Tcp(Style),
    Http(WebStyle),
}

/// How rough a connection is.
#[derive(Clone, Debug)]
pub struct Wires {
    pub out_limit: usize,
    pub interrupted_one_in: u32,
    pub hiccup_one_in: u32,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Self {
        let is_rough = rng.u32(..4) > 0;
        let is_big = rng.u32(..40) == 0;
        let max_records = if is_big { rng.usize(1000..4000) } else { rng.usize(1..200) };
        let max_bytes = if rng.u32(..4) == 0 { rng.usize(300..20_000) } else { 16 << 20 };
        let framing = if rng.u32(..3) == 0 { None } else { Some(Framing::Auto) };
        let max_line_bytes = rng.usize(96..400);
        let tcp = TcpOptions {
            framing: framing.unwrap_or(Framing::Lines),
            max_line_bytes,
            max_frame_bytes: rng.usize(64..400),
        };
        let partial_bytes = match rng.u32(..3) {
            0 => 0,
            1 => (80 << 10) + 8 + rng.usize(..1200), // about the staging area: sometimes tight
            _ => 16 << 20,
        };
        let brokers = rng.usize(1..=3);
        let mut moods = moods(rng, is_rough);
        if is_big {
            moods.request_records = 200;
        }
        // Senders of HTTP among all, in percent.
        let web_percent = if cfg!(feature = "http") { [0, 50, 50, 100][rng.usize(..4)] } else { 0 };
        let topics = if web_percent > 0 { TOPICS.len() } else { 1 };
        let partitions: Vec<usize> = (0..topics).map(|_| rng.usize(1..=6)).collect();
        let heal_us = rng.u64(1_000..2_000_000);
        let mut plan = Self {
            buffer: BufferOptions { max_records, max_bytes },
            net: NetOptions { partial_bytes, ..NetOptions::default() },
            tcp,
            web: WebPlan::new(rng),
            brokers,
            letter_sources: match rng.u32(..4) {
                _ if topics == 1 => Vec::new(),
                0 => vec![TopicId(0), TopicId(1), TopicId(2)],
                _ => vec![TopicId(1), TopicId(2)],
            },
            gates_us: gates(rng, topics, moods.timeout_us),
            dozes: rng.bool(),
            troubles: if is_rough { troubles(rng, brokers, &partitions, heal_us) } else { Vec::new() },
            partitions,
            moods,
            heal_us,
            stop_us: (rng.u32(..3) == 0).then(|| rng.u64(..1_500_000)),
            second_stop_us: None,
            drain_us: rng.u64(1_000..3_000_000),
            peers: Vec::new(),
        };
        let is_crowded = !is_big && rng.u32(..12) == 0;
        if is_crowded {
            plan.crowd(rng);
        }
        if let Some(stop_us) = plan.stop_us.filter(|_| rng.u32(..3) == 0) {
            plan.second_stop_us = Some(stop_us + rng.u64(..plan.drain_us));
        }
        if web_percent > 0 && rng.u32(..10) == 0 {
            let (per_second, burst) = (rng.u32(1..300), rng.u32(1..10));
            plan.net.admission.limiter = Some(LimiterOptions { per_second, burst, capacity: 16 });
        }
        let count = rng.usize(1..=6);
        for _ in 0..count {
            let speech = match rng.u32(..100) < web_percent {
                true => Speech::Http(plan.web_style(rng, is_big)),
                false => Speech::Tcp(plan.style(rng, is_big)),
            };
            let (manner, wires) = plan.manner(rng, is_rough, is_big);
            let mut peer = (speech, manner, wires);
            if is_crowded {
                peer.1 = Manner { connect_us: 0, piece_bytes: 150, gap_us: rng.u64(1..200), ..peer.1 };
            }
            plan.peers.push(peer);
        }
        plan
    }

    /// Many small batches against a Kafka thread that takes its time: the channel between them is full.
    fn crowd(&mut self, rng: &mut Rng) {
        self.buffer = BufferOptions { max_records: rng.usize(40..200), max_bytes: 16 << 20 };
        for _ in 0..rng.usize(1..4) {
            let at_us = rng.u64(..20_000);
            self.troubles.push((at_us, Trouble::KafkaStalls(rng.u64(10_000..100_000))));
        }
    }

    fn style(&self, rng: &mut Rng, is_big: bool) -> Style {
        let is_lines_only = self.tcp.framing == Framing::Lines;
        let tongue = match rng.u32(..5) {
            0 if !is_lines_only => Tongue::Frames,
            0 | 1 => Tongue::Lines,
            _ => Tongue::AckLines,
        };
        let messages = match rng.u32(..8) {
            0 => 0,
            1 => rng.usize(1..4),
            _ if is_big => rng.usize(500..3000),
            _ => rng.usize(1..80),
        };
        Style {
            tongue,
            messages,
            bad_percent: [0, 5, 40][rng.usize(..3)],
            max_line_bytes: self.tcp.max_line_bytes,
            max_frame_bytes: self.tcp.max_frame_bytes,
            keys: rng.u32(1..12),
            excess_bytes: if rng.u32(..30) == 0 { 150_000 } else { 300 },
            ragged_end: rng.u32(..4) == 0,
        }
    }

    fn web_style(&self, rng: &mut Rng, is_big: bool) -> WebStyle {
        let is_crowd = is_big || rng.u32(..6) == 0;
        WebStyle {
            requests: match rng.u32(..8) {
                0 => rng.usize(..3),
                1 if is_big => rng.usize(100..300),
                _ => rng.usize(1..20),
            },
            body: BodyStyle {
                bad_percent: [0, 5, 40][rng.usize(..3)],
                items_max: if is_crowd { 12 } else { 3 },
                keys: rng.u32(1..12),
                max_body_bytes: self.web.max_body_bytes,
                max_records: self.buffer.max_records,
            },
            acks: self.web.acks,
            waits_us: self.web.waits.map(|wait| wait.as_micros() as u64),
            refused_percent: [0, 0, 4, 20][rng.usize(..4)],
            page_percent: [0, 5, 30][rng.usize(..3)],
            key_percent: [0, 30, 90][rng.usize(..3)],
            close_percent: [0, 2, 15][rng.usize(..3)],
            is_store_small: self.web.is_store_small(),
            ragged_end: rng.u32(..4) == 0,
        }
    }

    fn manner(&self, rng: &mut Rng, is_rough: bool, is_big: bool) -> (Manner, Wires) {
        let is_trickle = !is_big && rng.u32(..12) == 0;
        let gap_us = [50, 2_000, 20_000][rng.usize(..3)];
        let manner = Manner {
            connect_us: if rng.bool() { 0 } else { rng.u64(..300_000) },
            piece_bytes: match () {
                () if is_trickle => 3,
                () if is_big => 1 << 17,
                () => [40, 400, 4000, 1 << 17][rng.usize(..4)],
            },
            gap_us: 1 + rng.u64(..gap_us),
            receive_buffer: if rng.bool() { 256 << 10 } else { rng.usize(600..4000) },
            resets_at: (is_rough && rng.u32(..6) == 0).then(|| rng.usize(..6000)),
            closes: self.stop_us.is_none() || rng.u32(..3) > 0,
            reads_from_us: match rng.u32(..6) {
                0 if self.stop_us.is_some() => u64::MAX,
                0 | 1 => rng.u64(..3_000_000),
                _ => 0,
            },
        };
        let wires = Wires {
            out_limit: if rng.bool() { usize::MAX } else { rng.usize(1..500) },
            interrupted_one_in: if rng.bool() { 0 } else { rng.u32(3..30) },
            hiccup_one_in: if rng.bool() { 0 } else { rng.u32(2..20) },
        };
        (manner, wires)
    }

    pub fn has_http(&self) -> bool {
        self.peers.iter().any(|(speech, ..)| matches!(speech, Speech::Http(_)))
    }

    /// A thread is late now and then.
    pub fn has_stalls(&self) -> bool {
        self.troubles
            .iter()
            .any(|(_, trouble)| matches!(trouble, Trouble::PollStalls(_) | Trouble::KafkaStalls(_)))
    }

    fn has_letters(&self) -> bool {
        !self.letter_sources.is_empty()
    }

    /// By how much the buffer may hold more than its mark: a record, or a body, and what dead letters grow by.
    pub fn excess_bytes(&self) -> usize {
        if self.has_letters() { 16_384 + self.buffer.max_records * 470 } else { 1_024 }
    }

    /// As the configuration would say it.
    pub fn kafka(&self) -> KafkaOptions {
        let mut topics = Topics::default();
        for (id, name) in TOPICS.iter().enumerate().take(self.partitions.len()) {
            topics.set(TopicId(id as u8), name);
        }
        let letters = LetterOptions { sources: self.letter_sources.clone(), ..LetterOptions::default() };
        KafkaOptions { topics, letters, ..KafkaOptions::default() }
    }

    /// Nothing goes wrong on the broker's side, and nobody cuts anything short.
    pub fn is_healthy(&self) -> bool {
        let is_kind =
            self.moods.refuse_percent + self.moods.forget_percent + self.moods.refuse_at_once_percent == 0;
        let harmless = |trouble: &Trouble| {
            matches!(
                trouble,
                Trouble::Grow(..) | Trouble::PollStalls(_) | Trouble::KafkaStalls(_) | Trouble::Slow(..)
            )
        };
        is_kind
            && self.moods.timeout_us == PATIENT_US
            && self.gates_us.iter().take(3).all(|gate_us| *gate_us < PATIENT_US)
            && self.stop_us.is_none()
            && self.troubles.iter().all(|(_, trouble)| harmless(trouble))
    }
}

/// The topic of dead letters may never be found: then they wait for it as long as the delivery timeout.
fn gates(rng: &mut Rng, topics: usize, timeout_us: u64) -> Vec<u64> {
    let first_us = if rng.bool() { 0 } else { rng.u64(..500_000) };
    let is_slow = rng.u32(..4) == 0;
    let mut gates: Vec<u64> =
        (0..topics).map(|_| if is_slow { rng.u64(..1_000_000) } else { first_us }).collect();
    if let Some(gate_us) = gates.get_mut(usize::from(DEAD_LETTERS.0))
        && timeout_us < PATIENT_US
        && rng.u32(..4) == 0
    {
        *gate_us = u64::MAX;
    }
    gates
}

fn moods(rng: &mut Rng, is_rough: bool) -> Moods {
    let percent = |rng: &mut Rng| if is_rough && rng.u32(..3) == 0 { rng.u32(1..30) } else { 0 };
    Moods {
        refuse_percent: percent(rng),
        forget_percent: percent(rng),
        refuse_at_once_percent: percent(rng),
        latency_us: [100, 2_000, 40_000][rng.usize(..3)],
        request_records: [1, 7, 200][rng.usize(..3)],
        queue_records: if rng.u32(..3) == 0 { rng.usize(1..60) } else { 1 << 20 },
        timeout_us: if is_rough && rng.bool() { rng.u64(50_000..3_000_000) } else { PATIENT_US },
    }
}

fn troubles(rng: &mut Rng, brokers: usize, partitions: &[usize], heal_us: u64) -> Vec<(u64, Trouble)> {
    let mut troubles = Vec::new();
    for _ in 0..rng.usize(..8) {
        let broker = rng.i32(1..=brokers as i32);
        let at_us = rng.u64(..heal_us);
        let trouble = match rng.u32(..12) {
            0..=3 => {
                troubles.push((at_us + rng.u64(1..heal_us), Trouble::Up(broker)));
                Trouble::Down(broker)
            }
            4 if rng.bool() => Trouble::Slow(broker, rng.u64(2..50)),
            // So slow that records pass their deadline inside the client.
            4 => Trouble::Slow(broker, rng.u64(100..1000)),
            5 | 6 => {
                let topic = rng.usize(..partitions.len());
                Trouble::Grow(TopicId(topic as u8), partitions[topic] + rng.usize(..6))
            }
            7 => Trouble::Fatal,
            8 => Trouble::Vanish,
            9 => Trouble::PollStalls(rng.u64(1..100_000)),
            _ => Trouble::KafkaStalls(rng.u64(1..100_000)),
        };
        troubles.push((at_us, trouble));
    }
    troubles
}
