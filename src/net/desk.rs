//! What all connections of the poll thread share while one of them has its turn: the staging area for a read,
//! the store of incomplete messages, the pipeline, the room that is left.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::options::NetOptions;
use crate::admission::Door;
use crate::event::quoted;
use crate::handoff::{LaneView, PollEnd, Room};
use crate::metrics::Throttle;
use crate::pipeline::{Pipeline, ValueFormat};
use crate::session::{Intake, Now, Progress, Rejects, Stop, TcpOptions, Web};

use super::conn::Session;

/// One read takes at most this much: a fair turn (G6), and about as many lines as fill a batch.
const READ_BYTES: usize = 64 << 10;
/// Small buffers kept for the next incomplete message, so that none is allocated on the steady path.
const POOL_BUFFERS: usize = 256;
const POOLED_BYTES: usize = 4 << 10;

/// Why an address gets no further connection.
pub const TOO_MANY: &str = "too many connections of this address";

/// See the module's text.
pub struct Desk {
    /// `[0, head)`: room for a message's start that came earlier; `[head, ..)`: the read area.
    stage: Vec<u8>,
    head: usize,
    pool: Vec<Vec<u8>>,
    partial_held: usize,
    partial_limit: usize,
    pub room: Room,
    /// Answers that may still be outstanding over all connections.
    pub answers_room: usize,
    pub lanes: Arc<LaneView>,
    pipeline: Pipeline,
    pub rejects: Rejects,
    /// By topic.
    pub max_record_bytes: Vec<usize>,
    pub web: Web,
    pub door: Door,
    /// Connections that were not let in: TCP, HTTP.
    pub refused: [u64; 2],
    refusals: Throttle,
}

impl Desk {
    /// `answers`: how many answers the shared store holds.
    pub fn new(
        net: &NetOptions,
        tcp: &TcpOptions,
        format: ValueFormat,
        excerpts: bool,
        answers: usize,
        web: Web,
    ) -> Self {
        // A frame's prefix or a CR may come on top of the longest message; admin heads fit as well.
        let head = tcp.max_line_bytes.max(tcp.max_frame_bytes).max(16 << 10) + 8;
        let read = READ_BYTES.max(head);
        Self {
            stage: vec![0; head + read],
            head,
            pool: Vec::new(),
            partial_held: 0,
            partial_limit: net.partial_bytes,
            room: Room { records: 0, bytes: 0 },
            answers_room: answers,
            lanes: Arc::default(),
            pipeline: Pipeline::new(format),
            rejects: Rejects::new(excerpts),
            max_record_bytes: Vec::new(),
            web,
            door: Door::new(&net.admission),
            refused: [0; 2],
            refusals: Throttle::new(1),
        }
    }

    /// Counts a connection that is not let in, and says so now and then.
    pub fn refuse(&mut self, peer: SocketAddr, is_http: bool, reason: &str, now: Now) {
        self.refused[usize::from(is_http)] += 1;
        if self.refusals.allow(0, now.us / 1000) {
            log::warn!(target: "net", "connection.refused peer={peer} reason={}", quoted(&reason));
        }
    }

    /// Whether the store of incomplete messages could overflow with one more read: then bytes are looked at
    /// in the kernel, and only whole messages are taken from there.
    pub fn is_tight(&self) -> bool {
        self.partial_held + self.stage.len() > self.partial_limit
    }

    pub fn partial_held(&self) -> usize {
        self.partial_held
    }

    /// Puts a message's start before the read area; where it begins.
    pub fn stage(&mut self, partial: &[u8]) -> usize {
        let start = self.head.saturating_sub(partial.len());
        self.stage[start..start + partial.len()].copy_from_slice(partial);
        start
    }

    pub fn read_area(&mut self) -> &mut [u8] {
        &mut self.stage[self.head..]
    }

    pub fn staged(&self, range: Range<usize>) -> &[u8] {
        &self.stage[range]
    }

    /// Keeps the part of the stage that was not taken in the connection's own store.
    pub fn keep(&mut self, partial: &mut Vec<u8>, range: Range<usize>) {
        if range.is_empty() {
            let length = partial.len();
            return self.release(partial, length);
        }
        self.partial_held -= partial.capacity();
        if partial.capacity() > POOLED_BYTES && partial.capacity() / 4 > range.len() {
            // It held a paused read; the start of one message needs no such buffer.
            *partial = Vec::new();
        }
        if partial.capacity() == 0 {
            *partial = self.pool.pop().unwrap_or_default();
        }
        partial.clear();
        partial.reserve_exact(range.len());
        partial.extend_from_slice(&self.stage[range]);
        self.partial_held += partial.capacity();
    }

    /// Drops the first `count` bytes of a connection's store; an empty store gives its buffer back.
    pub fn release(&mut self, partial: &mut Vec<u8>, count: usize) {
        partial.drain(..count);
        if partial.is_empty() && partial.capacity() > 0 {
            let buffer = std::mem::take(partial);
            self.partial_held -= buffer.capacity();
            if buffer.capacity() <= POOLED_BYTES && self.pool.len() < POOL_BUFFERS {
                self.pool.push(buffer);
            }
        }
    }

    /// Shows a session the staged bytes; how many it took, and why it stopped.
    #[allow(clippy::too_many_arguments)] // the turn's circumstances, all of them needed
    pub fn feed_staged(
        &mut self,
        session: &mut Session,
        range: Range<usize>,
        eof: bool,
        address: (u32, u16),
        end: &mut PollEnd,
        now: Now,
        peer: SocketAddr,
    ) -> (usize, Option<Stop>) {
        let stage = std::mem::take(&mut self.stage);
        let result = self.feed(session, &stage[range], eof, address, end, now, peer);
        self.stage = stage;
        result
    }

    /// Shows a session these bytes, handing over full batches on the way.
    #[allow(clippy::too_many_arguments)] // the turn's circumstances, all of them needed
    pub fn feed(
        &mut self,
        session: &mut Session,
        input: &[u8],
        eof: bool,
        address: (u32, u16),
        end: &mut PollEnd,
        now: Now,
        peer: SocketAddr,
    ) -> (usize, Option<Stop>) {
        let mut consumed = 0;
        loop {
            let (batch, tally) = end.intake();
            let mut intake = Intake {
                batch,
                tally,
                room: &mut self.room,
                answers_room: &mut self.answers_room,
                lanes: &self.lanes,
                pipeline: &mut self.pipeline,
                rejects: &mut self.rejects,
                now,
                max_record_bytes: &self.max_record_bytes,
                web: &mut self.web,
                component: session.component(),
                peer,
                door: &mut self.door,
            };
            let Progress { consumed: more, stop } =
                session.receive(&input[consumed..], eof, address, &mut intake);
            consumed += more;
            if stop != Some(Stop::Batch) || !end.submit() {
                return (consumed, stop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer that grew in a pause does not stay that large for a few bytes, or a steady flood would use the
    /// store up with nothing in it.
    #[test]
    fn a_large_buffer_is_not_kept_for_a_few_bytes() {
        let mut desk = Desk::new(
            &NetOptions::default(),
            &TcpOptions::default(),
            ValueFormat::default(),
            true,
            0,
            Web::default(),
        );
        let mut partial = Vec::new();
        desk.keep(&mut partial, 0..READ_BYTES);
        assert_eq!(desk.partial_held(), READ_BYTES);
        desk.release(&mut partial, READ_BYTES - 10);
        desk.keep(&mut partial, 0..20);
        assert_eq!((desk.partial_held(), partial.len()), (partial.capacity(), 20));
        assert!(partial.capacity() <= POOLED_BYTES);
        desk.keep(&mut partial, 0..0);
        assert_eq!(desk.partial_held(), 0);
    }
}
