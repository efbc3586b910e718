//! HTTP connections' turns, and the clock's: requests are read whether or not the buffer has room, as overload is
//! answered and not waited out; deadlines and slow peers are found by a heap of moments.
//!
//! Owns nothing; part of the hub.

use std::cmp::Reverse;
use std::net::SocketAddr;

use super::{After, Conn, Hub, Session, Stop, TURN_READS, TURN_RECORDS, Wait};
#[cfg(feature = "http")]
use crate::handoff::Receipt;
use crate::net::desk::TOO_MANY;
use crate::net::stream::Stream;
use crate::session::{AdminView, HttpSession, Now, RETRY_AFTER_STUCK};

/// Longest wait that an overloaded sender is asked for, in seconds.
const RETRY_AFTER_MAX: u64 = 60;

/// Moments kept beyond two a connection before those that mean nothing any more are cleared away.
const MOMENTS_SPARE: usize = 1024;

/// Seconds until `held` records are through, going by the `ended` ones of the last `elapsed_us`.
fn retry_after(held: usize, ended: u64, elapsed_us: u64) -> u32 {
    match u128::from(ended) * 1_000_000 {
        0 => RETRY_AFTER_STUCK,
        ended => {
            let seconds = (held as u128 * u128::from(elapsed_us)).div_ceil(ended);
            seconds.clamp(1, u128::from(RETRY_AFTER_MAX)) as u32
        }
    }
}

impl<S: Stream> Hub<S> {
    /// What overloaded answers ask for from now on.
    pub(super) fn measure_drain(&mut self, now_us: u64) {
        let budget = &self.end.shared.budget;
        let (measured_us, before) = std::mem::replace(&mut self.measured, (now_us, budget.ended()));
        let (ended, elapsed_us) = (self.measured.1 - before, now_us.saturating_sub(measured_us));
        self.desk.web.retry_after = retry_after(budget.records(), ended, elapsed_us);
    }

    /// Whether a new peer is let in; one that is not is counted.
    pub fn lets_in(&mut self, peer: SocketAddr, is_http: bool, now: Now) -> bool {
        let has_place = self.desk.door.has_place(peer.ip());
        if !has_place {
            self.desk.refuse(peer, is_http, TOO_MANY, now);
        }
        has_place
    }

    /// Takes a new HTTP peer in; `register` gets the stream and the token for its events, and may refuse.
    // Without the feature there is no session to make, and this is never called.
    #[cfg_attr(not(feature = "http"), allow(unreachable_code, unused_variables))]
    pub fn add_http<E>(
        &mut self,
        stream: S,
        now: Now,
        register: impl FnOnce(&mut S, u32, u16) -> Result<(), E>,
    ) -> Result<u32, E> {
        let responses = self.desk.web.responses.clone();
        let session = HttpSession::new(self.http.clone(), self.metrics_path.clone(), responses, now);
        let slot = self.add(stream, Session::Http(Box::new(session)), now, register)?;
        self.https += 1;
        self.arm(slot, now);
        Ok(slot)
    }

    pub fn http_connections(&self) -> usize {
        self.https
    }

    /// Phases "read" and "submit" for HTTP: one fair turn over the ready connections.
    pub fn http_turn(&mut self, now: Now) {
        if self.http_ready.is_empty() {
            return;
        }
        self.open_desk();
        let records_before = self.desk.room.records;
        for _ in 0..self.http_ready.len().min(TURN_READS) {
            let Some(slot) = self.http_ready.pop_front() else { break };
            let Some(conn) = self.table.get(slot).filter(|conn| conn.wait == Wait::Turn) else { continue };
            if conn.is_write_blocked() {
                conn.wait = Wait::Answers;
                continue;
            }
            let after = conn.read(slot, &mut self.desk, &mut self.end, now);
            conn.book_answers(&mut self.desk.web.answers_held);
            if !self.sort_in_http(slot, after, now)
                || records_before.saturating_sub(self.desk.room.records) >= TURN_RECORDS
            {
                break;
            }
        }
        self.end.submit();
        self.end.announce();
    }

    /// Puts a connection where its turn leaves it. False: the batch finds no place, the turn is over for all.
    fn sort_in_http(&mut self, slot: u32, after: After, now: Now) -> bool {
        self.dirty.push(slot);
        self.arm(slot, now);
        let draining = self.draining;
        let Some(conn) = self.table.get(slot) else { return true };
        let is_over = conn.http().is_some_and(|session| session.is_over());
        match after {
            After::Gone => self.remove(slot, now),
            After::Ended if conn.lingers => self.remove(slot, now),
            After::Ended => conn.wait = Wait::End,
            // It is over, and read only so that its peer gets the last answer.
            After::Idle if conn.lingers && !draining => conn.wait = Wait::Bytes,
            After::Again if conn.lingers && !draining => self.http_ready.push_back(slot),
            _ if is_over => conn.wait = Wait::End,
            After::Idle if draining => {
                let body_room = &mut self.desk.web.body_room;
                conn.http().into_iter().for_each(|session| session.cut_off(body_room));
                conn.wait = Wait::End;
            }
            After::Idle => conn.wait = Wait::Bytes,
            After::Again => self.http_ready.push_back(slot),
            After::Stopped(Stop::View) => {
                conn.wait = Wait::View;
                self.viewers.push(slot);
            }
            After::Stopped(Stop::Batch | Stop::Room | Stop::Lane) => {
                self.http_ready.push_front(slot);
                return false;
            }
            After::Stopped(Stop::Answers) => conn.wait = Wait::Answers,
        }
        true
    }

    /// Phase "admin" for HTTP: shows the pages that were asked for.
    pub(super) fn serve_viewers(&mut self, view: &dyn AdminView) {
        for slot in std::mem::take(&mut self.viewers) {
            let Some(conn) = self.table.get(slot).filter(|conn| conn.wait == Wait::View) else { continue };
            let Some(session) = conn.http() else { continue };
            session.show(view, self.desk.web.answers_held);
            conn.book_answers(&mut self.desk.web.answers_held);
            conn.wait = Wait::Turn;
            self.http_ready.push_back(slot);
            self.dirty.push(slot);
        }
    }

    /// Sees to it that the clock looks after this connection in time.
    pub(super) fn arm(&mut self, slot: u32, now: Now) {
        let Some(conn) = self.table.get(slot) else { return };
        let (generation, armed_us) = (conn.generation, conn.armed_us);
        let Some(due_us) = conn.http().map(|session| session.due_us()) else { return };
        // Never in the present: the clock's turn goes on until nothing is due.
        let due_us = due_us.max(now.us + 1);
        if armed_us == 0 || due_us < armed_us {
            conn.armed_us = due_us;
            self.moments.push(Reverse((due_us, slot, generation)));
            self.forget_moments();
        }
    }

    /// Moments that earlier ones replaced stay until they pass: with ever shorter timeouts a peer could pile them up.
    fn forget_moments(&mut self) {
        if self.moments.len() > MOMENTS_SPARE + 2 * self.https {
            let table = &mut self.table;
            self.moments.retain(|Reverse((due_us, slot, generation))| {
                table.at(*slot, *generation).is_some_and(|conn| conn.armed_us == *due_us)
            });
        }
    }

    /// When [`Hub::clock_turn`] is due next.
    pub fn next_moment_us(&self) -> Option<u64> {
        self.moments.peek().map(|Reverse((due_us, ..))| *due_us)
    }

    /// Phase "clock": deadlines that have passed.
    pub fn clock_turn(&mut self, now: Now) {
        while let Some(Reverse((due_us, slot, generation))) = self.moments.peek().copied() {
            if due_us > now.us {
                return;
            }
            self.moments.pop();
            // An entry that an earlier one replaced, or one of a connection that is gone.
            let is_current = |conn: &&mut Conn<S>| conn.armed_us == due_us;
            let Some(conn) = self.table.at(slot, generation).filter(is_current) else { continue };
            conn.armed_us = 0;
            let body_room = &mut self.desk.web.body_room;
            match conn.http().map(|session| session.on_time(now.us, body_room)) {
                None => {}
                Some(true) => self.remove(slot, now),
                Some(false) => {
                    if conn.http().is_some_and(|session| session.is_over()) {
                        conn.wait = Wait::End;
                    }
                    self.dirty.push(slot);
                    self.arm(slot, now);
                }
            }
        }
    }

    /// A record of a request with an idempotency key has ended: whoever waits for the whole request hears of it.
    #[cfg(feature = "http")]
    pub(super) fn settle_keyed(&mut self, receipt: &Receipt, now: Now) {
        let window = &mut self.desk.web.window;
        let Some(settled) = window.settle(receipt, now.us) else { return };
        self.end.shared.latency.record_n(settled.latency_us, 1);
        let Some(ended) = settled.ended else { return };
        let (mut is_first, mut is_heard) = (true, false);
        for waiter in &ended.waiters {
            let Some(conn) = self.table.at(waiter.slot, waiter.generation) else { continue };
            let Some(session) = conn.http() else { continue };
            is_first &= !session.share(&ended, is_first, now.us);
            is_heard = true;
            self.dirty.push(waiter.slot);
        }
        // One that waited no longer was told that nobody knows: that does for its own events, and not for those of a
        // request that was told "taken".
        if is_first && (ended.is_accepted || !is_heard) {
            self.end.shared.ledger.lose(ended.not_stored);
        }
    }

    /// The gateway drains: who waits for nothing is closed, the others get their answers first.
    pub(super) fn drain_http(&mut self, slot: u32) {
        let Some(conn) = self.table.get(slot) else { return };
        if let Some(session) = conn.http() {
            session.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (records in the buffer, ended, in so many microseconds) to seconds.
    #[test]
    fn the_wait_is_the_time_that_the_buffer_takes_to_drain() {
        let cases = [
            (10_000, 5_000, 1_000_000, 2),
            (10_000, 5_001, 1_000_000, 2),
            (10_000, 4_999, 1_000_000, 3),
            (10_000, 10_000, 2_000_000, 2),
            (0, 1, 1_000_000, 1),
            (10, 100_000, 1_000_000, 1),
            (10_000, 1, 1_000_000, 60),
            (usize::MAX, u64::MAX, u64::MAX, 60),
            (10_000, 0, 1_000_000, RETRY_AFTER_STUCK),
            (0, 0, 0, RETRY_AFTER_STUCK),
        ];
        for (held, ended, elapsed_us, seconds) in cases {
            assert_eq!(retry_after(held, ended, elapsed_us), seconds, "{held} {ended} {elapsed_us}");
        }
    }
}
