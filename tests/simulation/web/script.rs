//! What one HTTP sender says, request by request, and what each is meant to come to.

use fastrand::Rng;

use super::body::{Body, BodyStyle, EVENTS, PLAYERS};
use super::post::Ack;
use crate::truth::Truth;

/// What a request is to the oracle.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// Events, by number in [`Truth`].
    Post(usize),
    /// One of these statuses.
    Fixed(&'static [u16]),
}

/// Whether the answer ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    Never,
    Maybe,
    Always,
}

/// A request within the bytes of its sender.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub start: usize,
    pub head_end: usize,
    pub end: usize,
    pub ask: Ask,
    pub closes: Closes,
    /// Nothing behind it is answered.
    pub is_end: bool,
    /// So much of it is read away at most: perhaps nothing behind it is answered.
    pub may_end: bool,
    /// It may be answered with 100 first.
    pub expects: bool,
    /// Its sender waits for that before it sends the body.
    pub pauses: bool,
    pub is_head: bool,
    /// The sender ends in the middle of it.
    pub is_cut: bool,
}

impl Exchange {
    /// A plain one.
    pub fn of(start: usize, end: usize, ask: Ask) -> Self {
        Self {
            start,
            head_end: end,
            end,
            ask,
            closes: Closes::Never,
            is_end: false,
            may_end: false,
            expects: false,
            pauses: false,
            is_head: false,
            is_cut: false,
        }
    }
}

#[derive(Debug, Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    pub exchanges: Vec<Exchange>,
}

/// Proportions of one sender, in percent where it says so.
#[derive(Clone, Debug)]
pub struct WebStyle {
    pub requests: usize,
    pub body: BodyStyle,
    /// What the two routes do for a request that does not say.
    pub acks: [Ack; 2],
    /// How long they wait for delivery, in microseconds.
    pub waits_us: [u64; 2],
    pub refused_percent: u32,
    pub page_percent: u32,
    pub key_percent: u32,
    pub close_percent: u32,
    /// Bodies may find no room, and then their connection ends.
    pub is_store_small: bool,
    /// Whether the last request may be cut.
    pub ragged_end: bool,
}

/// All bodies of a run: a retry takes one again, whoever sent it before.
#[derive(Debug, Default)]
pub struct Library {
    pub bodies: Vec<Body>,
    keys: usize,
}

impl Library {
    /// A body to send; its place.
    fn choose(&mut self, style: &WebStyle, rng: &mut Rng) -> usize {
        let mut key = None;
        if rng.u32(..100) < style.key_percent {
            let keyed: Vec<usize> =
                (0..self.bodies.len()).filter(|at| self.bodies[*at].key.is_some()).collect();
            match rng.u32(..12) {
                0..=6 if !keyed.is_empty() => return keyed[rng.usize(..keyed.len())],
                7 if !keyed.is_empty() => key = self.bodies[keyed[rng.usize(..keyed.len())]].key,
                _ => {
                    key = Some(self.keys);
                    self.keys += 1;
                }
            }
        }
        let topic = if rng.bool() { EVENTS } else { PLAYERS };
        let body = Body::write(self.bodies.len(), topic, key, &style.body, rng);
        self.bodies.push(body);
        self.bodies.len() - 1
    }
}

impl Script {
    pub fn write(
        conn: usize,
        style: &WebStyle,
        library: &mut Library,
        rng: &mut Rng,
        truth: &mut Truth,
    ) -> Self {
        let mut script = Self::default();
        let mut behind_the_end = 0;
        for _ in 0..style.requests {
            behind_the_end += usize::from(script.exchanges.iter().any(|exchange| exchange.is_end));
            if behind_the_end > 2 {
                break;
            }
            let roll = rng.u32(..100);
            match () {
                () if roll < style.refused_percent => script.refused(rng),
                () if roll < style.refused_percent + style.page_percent => script.page(rng),
                () => {
                    let at = library.choose(style, rng);
                    script.post(conn, &library.bodies[at], style, rng, truth);
                }
            }
        }
        if style.ragged_end {
            script.cut(rng);
        }
        script
    }

    pub(super) fn push(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    /// Events that may have been counted by the time at which so many bytes were sent.
    pub fn most_accepted(&self, sent: usize, truth: &Truth) -> u64 {
        let begun = self.exchanges.iter().filter(|exchange| exchange.start < sent);
        begun
            .map(|exchange| match exchange.ask {
                Ask::Post(number) => truth.posts[number].items.len().max(1) as u64,
                Ask::Fixed(_) => 1,
            })
            .sum()
    }

    fn cut(&mut self, rng: &mut Rng) {
        let Some(last) = self.exchanges.last_mut().filter(|last| matches!(last.ask, Ask::Post(_))) else {
            return;
        };
        self.bytes.truncate(rng.usize(last.start + 1..last.end));
        (last.is_cut, last.pauses, last.is_end) = (true, false, false);
        last.closes = Closes::Maybe;
    }
}
