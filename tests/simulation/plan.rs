//! A seed becomes a run: who connects and how, what goes wrong and when, how much may wait.

use fastrand::Rng;
use sluice::handoff::BufferOptions;
use sluice::net::NetOptions;
use sluice::session::{Framing, TcpOptions};

use crate::broker::Moods;
use crate::peer::Manner;
use crate::script::{Style, Tongue};

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Down(i32),
    Up(i32),
    Slow(i32, u64),
    Grow(usize),
    /// The producer turns fatal.
    Fatal,
    /// The topic is unknown in the next picture.
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
    pub brokers: usize,
    pub partitions: usize,
    pub moods: Moods,
    pub gate_us: u64,
    pub dozes: bool,
    pub troubles: Vec<(u64, Trouble)>,
    pub heal_us: u64,
    /// When the drain is asked for; `None`: once every sender that ends has ended.
    pub stop_us: Option<u64>,
    pub second_stop_us: Option<u64>,
    pub drain_us: u64,
    pub peers: Vec<(Style, Manner, Wires)>,
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
        let partitions = rng.usize(1..=6);
        let heal_us = rng.u64(1_000..2_000_000);
        let mut plan = Self {
            buffer: BufferOptions { max_records, max_bytes },
            net: NetOptions { partial_bytes, ..NetOptions::default() },
            tcp,
            brokers,
            partitions,
            moods,
            gate_us: if rng.bool() { 0 } else { rng.u64(..500_000) },
            dozes: rng.bool(),
            troubles: if is_rough { troubles(rng, brokers, partitions, heal_us) } else { Vec::new() },
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
        let count = rng.usize(1..=6);
        for _ in 0..count {
            let mut peer = plan.peer(rng, is_rough, is_big);
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

    fn peer(&self, rng: &mut Rng, is_rough: bool, is_big: bool) -> (Style, Manner, Wires) {
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
        let style = Style {
            tongue,
            messages,
            bad_percent: [0, 5, 40][rng.usize(..3)],
            max_line_bytes: self.tcp.max_line_bytes,
            max_frame_bytes: self.tcp.max_frame_bytes,
            keys: rng.u32(1..12),
            excess_bytes: if rng.u32(..30) == 0 { 150_000 } else { 300 },
            ragged_end: rng.u32(..4) == 0,
        };
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
        (style, manner, wires)
    }

    /// Nothing goes wrong on the broker's side, and nobody cuts anything short.
    pub fn is_healthy(&self) -> bool {
        let is_kind =
            self.moods.refuse_percent + self.moods.forget_percent + self.moods.refuse_at_once_percent == 0;
        let harmless = |trouble: &Trouble| {
            matches!(
                trouble,
                Trouble::Grow(_) | Trouble::PollStalls(_) | Trouble::KafkaStalls(_) | Trouble::Slow(..)
            )
        };
        is_kind
            && self.moods.timeout_us == PATIENT_US
            && self.stop_us.is_none()
            && self.troubles.iter().all(|(_, trouble)| harmless(trouble))
    }
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

fn troubles(rng: &mut Rng, brokers: usize, partitions: usize, heal_us: u64) -> Vec<(u64, Trouble)> {
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
            5 | 6 => Trouble::Grow(partitions + rng.usize(..6)),
            7 => Trouble::Fatal,
            8 => Trouble::Vanish,
            9 => Trouble::PollStalls(rng.u64(1..100_000)),
            _ => Trouble::KafkaStalls(rng.u64(1..100_000)),
        };
        troubles.push((at_us, trouble));
    }
    troubles
}
