//! All connections and whose turn it is: reading in fair turns, pausing at the high mark, writing answers.
//!
//! Owns readiness as the kernel last reported it and as we want it (edge-triggered: an edge is owed only after
//! `WouldBlock`, so whoever was paused is read at once when it may go on). Knows streams, not sockets: the
//! simulation runs this very code.

mod admin;
mod drain;
mod receipts;
mod stats;
mod web;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::conn::{After, Conn, Session, Wait};
use super::desk::Desk;
use super::options::NetOptions;
use super::stream::Stream;
use super::table::Table;
use crate::handoff::{Cause, HOST_SLOT, PollEnd, Receipt, Report};
use crate::pipeline::ValueFormat;
use crate::session::{HttpOptions, Now, Rejected, Stop, TcpOptions, TcpSession, Web};

pub use stats::HubStats;

/// Records that one turn of all connections takes at most, so that receipts and answers get theirs.
const TURN_RECORDS: usize = 8192;
/// Connections read in one turn at most: 8 MiB of lines that are all refused use up no room, only time.
const TURN_READS: usize = 128;
/// An admin connection that says nothing for so long is closed, in microseconds.
const ADMIN_IDLE_US: u64 = 30_000_000;

/// Answers that may be outstanding over all connections, beside the free ones of each: enough for every record of
/// a full buffer, and for as many refusals again.
pub fn answers_limit(max_records: usize) -> usize {
    2 * max_records
}

/// See the module's text.
pub struct Hub<S> {
    table: Table<S>,
    desk: Desk,
    pub end: PollEnd,
    tcp: TcpOptions,
    http: Arc<HttpOptions>,
    metrics_path: Option<Arc<str>>,
    ready: VecDeque<u32>,
    admin_ready: Vec<u32>,
    http_ready: VecDeque<u32>,
    /// HTTP connections that wait for a page.
    viewers: Vec<u32>,
    /// When the clock is to look after whom: (moment, slot, generation), the next one first.
    moments: BinaryHeap<Reverse<(u64, u32, u16)>>,
    /// Connections with answers to write.
    dirty: Vec<u32>,
    lane_waiting: Vec<u32>,
    /// Connections that found the shared store of answers full.
    answers_waiting: Vec<u32>,
    answers_limit: usize,
    admins: usize,
    https: usize,
    /// No room: nobody is read until the low mark.
    blocked: bool,
    draining: bool,
    /// The drain reads no more: what still comes is counted, not taken.
    stopped: bool,
    paused_us: u64,
    last_turn_us: u64,
    unread_bytes: u64,
    /// When the low mark ended the last pause, until the next turn.
    resumed: Option<u64>,
    /// When the drain rate was measured last, and how many records had ended then.
    measured: (u64, u64),
}

impl<S: Stream> Hub<S> {
    #[allow(clippy::too_many_arguments)] // what the rooms above decided, handed over once
    pub fn new(
        net: &NetOptions,
        tcp: &TcpOptions,
        http: Arc<HttpOptions>,
        web: Web,
        format: ValueFormat,
        metrics_path: Option<Arc<str>>,
        excerpts: bool,
        end: PollEnd,
    ) -> Self {
        let answers_limit = answers_limit(end.shared.budget.limits().max_records);
        Self {
            table: Table::default(),
            desk: Desk::new(net, tcp, format, excerpts, answers_limit, web),
            end,
            tcp: tcp.clone(),
            http,
            metrics_path,
            ready: VecDeque::new(),
            admin_ready: Vec::new(),
            http_ready: VecDeque::new(),
            viewers: Vec::new(),
            moments: BinaryHeap::new(),
            dirty: Vec::new(),
            lane_waiting: Vec::new(),
            answers_waiting: Vec::new(),
            answers_limit,
            admins: 0,
            https: 0,
            blocked: false,
            draining: false,
            stopped: false,
            paused_us: 0,
            last_turn_us: 0,
            unread_bytes: 0,
            resumed: None,
            measured: (0, 0),
        }
    }

    /// From now on refused messages become dead letters; `topics` are the names of all topics, by id.
    pub fn keep_rejected(&mut self, topics: Vec<String>) {
        self.desk.rejects.rejected = Some(Rejected::new(topics));
    }

    /// Takes a new sender in; `register` gets the stream and the token for its events, and may refuse.
    pub fn add_tcp<E>(
        &mut self,
        stream: S,
        now: Now,
        register: impl FnOnce(&mut S, u32, u16) -> Result<(), E>,
    ) -> Result<u32, E> {
        let session = Session::Tcp(TcpSession::new(&self.tcp));
        self.add(stream, session, now, register)
    }

    fn add<E>(
        &mut self,
        stream: S,
        session: Session,
        now: Now,
        register: impl FnOnce(&mut S, u32, u16) -> Result<(), E>,
    ) -> Result<u32, E> {
        let mut generation_given = 0;
        let slot = self.table.insert(|_, generation| {
            generation_given = generation;
            Conn::new(stream, session, generation, now.us)
        });
        let conn = self.table.get(slot).expect("inserted above");
        match register(&mut conn.stream, slot, generation_given) {
            Ok(()) if conn.is_admin() => Ok(slot),
            Ok(()) => {
                let (peer, door) = (conn.client.ip(), &mut self.desk.door);
                conn.expects_proxy = door.trusts(peer);
                conn.counted = door.enter(peer);
                Ok(slot)
            }
            Err(error) => {
                self.table.remove(slot);
                Err(error)
            }
        }
    }

    /// The kernel reported a connection readable; `half_closed`: the peer will send nothing more.
    pub fn readable(&mut self, slot: u32, generation: u16, half_closed: bool) {
        let Some(conn) = self.table.at(slot, generation) else { return };
        conn.half_closed |= half_closed;
        if conn.wait == Wait::Bytes {
            conn.wait = Wait::Turn;
            self.make_ready(slot);
        }
    }

    /// Puts a connection whose turn it is into the list of its kind.
    fn make_ready(&mut self, slot: u32) {
        match self.table.get(slot).map(|conn| &conn.session) {
            None => {}
            Some(Session::Tcp(_)) => self.ready.push_back(slot),
            Some(Session::Http(_)) => self.http_ready.push_back(slot),
            Some(Session::Admin(_)) => self.admin_ready.push(slot),
        }
    }

    /// The kernel reported a connection broken: what it still holds is read, and its end is not the peer's.
    pub fn broken(&mut self, slot: u32, generation: u16) {
        if let Some(conn) = self.table.at(slot, generation) {
            conn.is_broken = true;
        }
    }

    /// The kernel reported that a connection takes bytes again.
    pub fn writable(&mut self, slot: u32, generation: u16) {
        if self.table.at(slot, generation).is_some_and(|conn| conn.is_write_blocked()) {
            self.dirty.push(slot);
        }
    }

    pub fn has_reports(&self) -> bool {
        self.end.has_reports()
    }

    /// Whether a turn of reading would find work now. To be asked after the sleep is announced: room that was made
    /// before that rang for nobody.
    pub fn has_turns(&self) -> bool {
        let may_read = !self.blocked || (self.end.shared.budget.is_low() && self.end.has_room());
        !self.admin_ready.is_empty()
            || (!self.http_ready.is_empty() && self.end.has_room())
            || (may_read && !self.ready.is_empty())
    }

    /// Phases "read" and "submit": one fair turn over the ready connections.
    pub fn read_turn(&mut self, now: Now) {
        self.book_pauses(now.us);
        if let Some(low_us) = self.resumed.take() {
            // The turn that resumed reading is over: this is when its records were on their way.
            self.end.shared.resume.record_n(now.us.saturating_sub(low_us), 1);
        }
        if self.blocked {
            if !self.try_resume() {
                // Trying may have handed the last batch over.
                self.end.announce();
                return;
            }
            self.resumed = self.end.shared.take_low_mark();
        }
        self.open_desk();
        let records_before = self.desk.room.records;
        for _ in 0..self.ready.len().min(TURN_READS) {
            let Some(slot) = self.ready.pop_front() else { break };
            let Some(conn) = self.table.get(slot) else { continue };
            if conn.wait != Wait::Turn {
                continue;
            }
            if conn.is_write_blocked() {
                // It does not read its answers: it is not read either.
                conn.wait = Wait::Answers;
                continue;
            }
            let after = conn.read(slot, &mut self.desk, &mut self.end, now);
            if !self.sort_in(slot, after, now) {
                break;
            }
            if records_before - self.desk.room.records >= TURN_RECORDS {
                break;
            }
        }
        if !self.end.submit() && self.end.batch.is_full() {
            self.block();
        }
        self.end.announce();
    }

    /// What the turn may use.
    fn open_desk(&mut self) {
        self.desk.room = self.end.shared.budget.room();
        let limits = &self.end.shared.board.max_record_bytes;
        self.desk.max_record_bytes.clear();
        self.desk.max_record_bytes.extend(limits.iter().map(|limit| match limit.get() {
            0 => usize::MAX,
            bytes => bytes as usize,
        }));
    }

    /// Puts a connection where its turn leaves it. False: no room, the turn is over for all.
    fn sort_in(&mut self, slot: u32, after: After, now: Now) -> bool {
        self.note_answers(slot);
        let Some(conn) = self.table.get(slot) else { return true };
        match after {
            After::Again => {
                if conn.is_write_blocked() {
                    conn.wait = Wait::Answers;
                } else {
                    self.ready.push_back(slot);
                }
            }
            After::Idle => {
                conn.wait = Wait::Bytes;
                if self.draining {
                    self.end_reading(slot);
                }
            }
            After::Stopped(Stop::Room | Stop::Batch) => {
                self.ready.push_front(slot);
                self.block();
                return false;
            }
            // Only HTTP sessions ask for a page.
            After::Stopped(Stop::View) => {}
            After::Stopped(Stop::Lane) => {
                conn.wait = Wait::Lane;
                self.lane_waiting.push(slot);
            }
            After::Stopped(Stop::Answers) => {
                conn.wait = Wait::Answers;
                self.answers_waiting.push(slot);
            }
            After::Ended => self.end_reading(slot),
            After::Gone => self.remove(slot, now),
        }
        true
    }

    /// Nothing more is read from this connection: a silent one is closed, one with answers gets them first.
    fn end_reading(&mut self, slot: u32) {
        if let Some(conn) = self.table.get(slot) {
            conn.wait = Wait::End;
            self.dirty.push(slot);
        }
    }

    /// Answers that a turn made possible (refusals) are written in this same loop.
    fn note_answers(&mut self, slot: u32) {
        let Some(conn) = self.table.get(slot) else { return };
        let Some(session) = conn.tcp() else { return };
        if session.wants_answers() {
            self.dirty.push(slot);
        }
    }

    fn block(&mut self) {
        self.blocked = true;
        self.end.shared.take_low_mark();
        self.try_resume();
    }

    /// Clears the pause if the low mark is reached and the open batch has room.
    fn try_resume(&mut self) -> bool {
        let is_clear = self.end.submit() || !self.end.batch.is_full();
        // The Kafka thread looks at the flag after it gave room back: set first, look at the mark afterwards.
        self.end.shared.paused.store(true, SeqCst);
        self.blocked = !(is_clear && self.end.shared.budget.is_low());
        if !self.blocked {
            self.end.shared.paused.store(false, SeqCst);
        }
        !self.blocked
    }

    fn book_pauses(&mut self, now_us: u64) {
        let queue = if self.blocked { self.ready.len() } else { 0 };
        let paused = (queue + self.lane_waiting.len()) as u64;
        self.paused_us += paused * now_us.saturating_sub(self.last_turn_us);
        self.last_turn_us = now_us;
    }

    /// Phase "write": answers that are certain.
    pub fn write_turn(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.dirty) {
            if self.has_late_bytes(slot) {
                self.make_ready(slot);
                continue;
            }
            let Some(conn) = self.table.get(slot) else { continue };
            let room = &mut self.desk.answers_room;
            let result = match conn.wait {
                Wait::End => conn.close_account(room),
                _ => conn.write(room),
            };
            conn.book_answers(&mut self.desk.web.answers_held);
            match (conn.wait, result) {
                (_, Err(_)) => self.remove(slot, now),
                (Wait::End, Ok(true)) => self.finish(slot, now),
                (Wait::Answers, Ok(true)) => self.resume_reading(slot),
                // One that is in the ready list stays there: its turn finds out.
                (Wait::Bytes, Ok(false)) if !conn.is_admin() => conn.wait = Wait::Answers,
                _ => {}
            }
        }
        self.wake_answers_waiters();
    }

    /// Its answers are out: it is read again, unless it must wait for the fate of what it sent.
    fn resume_reading(&mut self, slot: u32) {
        let (room, held) = (self.desk.answers_room, self.desk.web.answers_held);
        let Some(conn) = self.table.get(slot).filter(|conn| conn.wait == Wait::Answers) else { return };
        if conn.is_write_blocked() || conn.is_answer_bound(room, held) {
            return;
        }
        conn.wait = Wait::Turn;
        self.make_ready(slot);
    }

    /// The shared store of answers has room again: those who waited for it go on.
    fn wake_answers_waiters(&mut self) {
        if self.answers_waiting.is_empty() || self.desk.answers_room < self.answers_limit / 5 {
            return;
        }
        for slot in std::mem::take(&mut self.answers_waiting) {
            self.resume_reading(slot);
        }
    }

    /// The last byte is written.
    fn finish(&mut self, slot: u32, now: Now) {
        let draining = self.draining;
        if let Some(conn) = self.table.get(slot) {
            let _ = conn.stream.finish();
            if conn.is_http() && !draining && !conn.has_ended() && !conn.lingers {
                conn.lingers = true;
                conn.wait = Wait::Turn;
                conn.http().into_iter().for_each(|session| session.linger(now.us));
                self.http_ready.push_back(slot);
                return self.arm(slot, now);
            }
        }
        if draining {
            self.read_away(slot);
        }
        self.remove(slot, now);
    }

    fn remove(&mut self, slot: u32, now: Now) {
        let Some(mut conn) = self.table.remove(slot) else { return };
        if conn.is_admin() {
            self.admins -= 1;
        }
        if let Some(session) = conn.http() {
            session.release_body(&mut self.desk.web.body_room);
            session.release_answers(&mut self.desk.web.answers_held);
            self.https -= 1;
        }
        self.desk.door.leave(conn.counted.take());
        if let Some(session) = conn.tcp() {
            self.desk.answers_room += session.stored_outside();
        }
        let parked = conn.tcp().and_then(|session| session.give_up_parked(Cause::ShuttingDown, now.us));
        let ledger = &self.end.shared.ledger;
        if parked.is_some() {
            ledger.accept(1);
            ledger.credit(crate::event::Outcome::NotStored, 1);
        }
        ledger.lose(conn.untold() + u64::from(parked == Some(false)));
        let mut partial = conn.take_partial();
        let length = partial.len();
        self.desk.release(&mut partial, length);
    }

    /// Once a second: silent admin connections go, suppressed warnings are summed up, the drain is measured.
    pub fn housekeeping(&mut self, now: Now) {
        self.desk.rejects.summarise(now.us / 1000);
        self.measure_drain(now.us);
        if self.admins == 0 {
            return;
        }
        for slot in self.table.slots() {
            let Some(conn) = self.table.get(slot) else { continue };
            if conn.is_admin() && now.us.saturating_sub(conn.touched_us) > ADMIN_IDLE_US {
                self.remove(slot, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod drain_tests;
