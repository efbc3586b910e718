//! A sender: pushes its script in pieces of its own taste, reads its answers or does not, ends well or badly.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;

use crate::account::Told;
use crate::script::Script;
use crate::stream::{Pipe, Wire};
use crate::truth::Truth;
use crate::web;
use crate::web::told::Since;

/// What it speaks: what it says, and what it has been told so far.
pub enum Talk {
    Tcp(Script, Told),
    Http(web::script::Script, web::told::Told),
}

/// How a sender behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    pub connect_us: u64,
    pub piece_bytes: usize,
    pub gap_us: u64,
    /// What our receive buffer takes of it.
    pub receive_buffer: usize,
    /// It breaks the connection once so many bytes are sent.
    pub resets_at: Option<usize>,
    pub closes: bool,
    /// It does not read answers before this moment.
    pub reads_from_us: u64,
}

pub struct Peer {
    pub talk: Talk,
    pub manner: Manner,
    pub wire: Rc<RefCell<Wire>>,
    /// A drain may come while it talks.
    may_drain: bool,
    pub sent: usize,
    /// How much had been sent, and written to it, at which moment.
    pub sent_at: Vec<(usize, u64)>,
    pub written_at: Vec<(usize, u64)>,
    pub slot: Option<(u32, u16)>,
    pub done: bool,
}

/// What a step changed for the gateway's end.
#[derive(Debug, Default)]
pub struct Step {
    pub readable: bool,
    pub writable: bool,
}

impl Peer {
    pub fn new(talk: Talk, manner: Manner, wire: Wire, may_drain: bool) -> Self {
        let wire = Rc::new(RefCell::new(wire));
        let (sent_at, written_at) = (Vec::new(), Vec::new());
        Self { talk, manner, wire, may_drain, sent: 0, sent_at, written_at, slot: None, done: false }
    }

    pub fn is_http(&self) -> bool {
        matches!(self.talk, Talk::Http(..))
    }

    /// Everything that it would like to say.
    pub fn bytes(&self) -> &[u8] {
        match &self.talk {
            Talk::Tcp(script, _) => &script.bytes,
            Talk::Http(script, _) => &script.bytes,
        }
    }

    /// Messages or requests.
    pub fn count(&self) -> usize {
        match &self.talk {
            Talk::Tcp(script, _) => script.messages.len(),
            Talk::Http(script, _) => script.exchanges.len(),
        }
    }

    /// Notes how much was written to it until now.
    pub fn note_written(&mut self, now_us: u64) {
        let written = self.wire.borrow().said.len();
        if self.is_http() && self.written_at.last().map_or(0, |last| last.0) < written {
            self.written_at.push((written, now_us));
        }
    }

    /// It reads more answers.
    pub fn hear(&mut self, bytes: &[u8], truth: &Truth) {
        match &mut self.talk {
            Talk::Tcp(script, told) => told.read(bytes, self.sent, script, truth),
            Talk::Http(script, told) => {
                let since = Since { sent: self.sent, may_drain: self.may_drain };
                told.read(bytes, since, script, truth);
            }
        }
    }

    /// How far it may go on sending: an HTTP sender waits for 100 now and then.
    fn may_send(&self) -> usize {
        match &self.talk {
            Talk::Tcp(script, _) => script.bytes.len(),
            Talk::Http(script, told) => told.may_send(script),
        }
    }

    /// It was told that nothing more will be answered.
    fn is_dismissed(&self) -> bool {
        matches!(&self.talk, Talk::Http(_, told) if told.is_closed)
    }

    pub fn connect(&self) -> Pipe {
        Pipe(self.wire.clone())
    }

    /// Sends a piece, reads some answers.
    pub fn step(&mut self, now_us: u64, rng: &mut Rng, truth: &Truth) -> Step {
        let mut step = Step::default();
        let shared = self.wire.clone();
        let mut wire = shared.borrow_mut();
        if now_us >= self.manner.reads_from_us && !wire.outbound.is_empty() && !wire.reset {
            let count = rng.usize(1..=wire.outbound.len());
            let bytes: Vec<u8> = wire.outbound.drain(..count).collect();
            self.hear(&bytes, truth);
            step.writable = std::mem::take(&mut wire.owes_writable);
        }
        if wire.dropped && wire.outbound.is_empty() || wire.reset {
            self.done = true;
            return step;
        }
        let before = self.sent;
        let has_sent = self.send(&mut wire, rng);
        if self.sent > before && self.is_http() {
            self.sent_at.push((self.sent, now_us));
        }
        step.readable = has_sent || std::mem::take(&mut wire.owes_readable);
        step
    }

    fn send(&mut self, wire: &mut Wire, rng: &mut Rng) -> bool {
        let total = self.bytes().len();
        if self.manner.resets_at.is_some_and(|at| self.sent >= at) {
            wire.reset = true;
            if rng.bool() {
                wire.inbound.clear();
            }
            return true;
        }
        if wire.fin || wire.dropped {
            return false;
        }
        if self.sent == total || (self.is_dismissed() && rng.bool()) {
            wire.fin = self.manner.closes;
            return wire.fin;
        }
        let room = self.manner.receive_buffer.saturating_sub(wire.inbound.len());
        let allowed = self.may_send().saturating_sub(self.sent);
        let count = rng.usize(1..=self.manner.piece_bytes).min(room).min(allowed);
        wire.inbound.extend(&self.bytes()[self.sent..self.sent + count]);
        self.sent += count;
        // The end may come in the same packet.
        if self.sent == total && self.manner.closes && rng.bool() {
            wire.fin = true;
        }
        count > 0
    }
}
