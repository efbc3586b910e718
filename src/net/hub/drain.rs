//! How a shutdown ends conversations: everybody is read out while time lasts, and what is left is counted.
//!
//! Owns nothing; part of the hub, called by the poller's shutdown phases.

use super::{Conn, Hub, Wait};
use crate::event::Outcome;
use crate::handoff::Cause;
use crate::net::stream::Stream;
use crate::session::Now;

/// Reads that count what a closing connection still holds, at most: more than a receive buffer, and an end to the
/// chase after a sender that goes on.
const READS_AWAY: usize = 256;

impl<S: Stream> Hub<S> {
    /// Every connection is read to its end or until nothing is there, and nobody new is expected.
    pub fn start_draining(&mut self) {
        self.draining = true;
        for slot in self.table.slots() {
            let Some(conn) = self.table.get(slot) else { continue };
            if conn.is_admin() {
                continue;
            }
            let waits_for_bytes = conn.wait == Wait::Bytes;
            if waits_for_bytes {
                conn.wait = Wait::Turn;
            }
            self.drain_http(slot);
            if waits_for_bytes {
                self.make_ready(slot);
            }
        }
    }

    /// Whether every sender has been read to its end.
    pub fn is_read_out(&self) -> bool {
        let still_read =
            |wait| matches!(wait, Wait::Bytes | Wait::Turn | Wait::Lane | Wait::Answers | Wait::View);
        !self.table.iter().any(|(_, conn)| !conn.is_admin() && still_read(conn.wait))
    }

    /// Reads no more from anybody. What was not taken is counted; parked records end as not stored.
    pub fn stop_reading(&mut self, now: Now) {
        self.draining = true;
        self.stopped = true;
        self.ready.clear();
        self.http_ready.clear();
        self.lane_waiting.clear();
        self.answers_waiting.clear();
        for slot in self.table.slots() {
            let Some(conn) = self.table.get(slot) else { continue };
            if conn.is_admin() || conn.wait == Wait::End {
                continue;
            }
            conn.wait = Wait::End;
            let body_room = &mut self.desk.web.body_room;
            conn.http().into_iter().for_each(|session| session.cut_off(body_room));
            let unread = conn.leave_unread(self.desk.read_area());
            // A request without an answer was not taken, and its sender can tell.
            self.unread_bytes += if conn.is_http() { 0 } else { unread };
            if let Some(told) =
                conn.tcp().and_then(|session| session.give_up_parked(Cause::ShuttingDown, now.us))
            {
                let ledger = &self.end.shared.ledger;
                ledger.accept(1);
                ledger.credit(Outcome::NotStored, 1);
                ledger.lose(u64::from(!told));
            }
            self.dirty.push(slot);
        }
    }

    /// Hands over whatever the open batch still holds. False: the channel is full.
    pub fn submit_rest(&mut self) -> bool {
        let done = self.end.submit();
        self.end.announce();
        done
    }

    /// The end: whoever is still here will not be told any more.
    pub fn close_all(&mut self, now: Now) {
        for slot in self.table.slots() {
            self.remove(slot, now);
        }
    }

    /// Whether a sender that is about to be closed by a drain has sent more since it was read: its turn comes again.
    pub(super) fn has_late_bytes(&mut self, slot: u32) -> bool {
        if !self.draining || self.stopped {
            return false;
        }
        let is_closing =
            |conn: &&mut Conn<S>| conn.wait == Wait::End && !conn.is_admin() && !conn.has_ended();
        let Some(conn) = self.table.get(slot).filter(is_closing) else { return false };
        let known = conn.left_in_kernel();
        let is_late = match conn.stream.peek(self.desk.read_area()) {
            // The end makes a message of a last line that had none.
            Ok(0) => conn.partial_bytes() > 0,
            Ok(count) => count > known,
            Err(_) => false,
        };
        if is_late {
            conn.wait = Wait::Turn;
        }
        is_late
    }

    /// Counts what lies unread in a sender's stream, as its acknowledged bytes end with it.
    pub(super) fn read_away(&mut self, slot: u32) {
        let Some(conn) = self.table.get(slot).filter(|conn| !conn.is_admin() && !conn.has_ended()) else {
            return;
        };
        let is_http = conn.is_http();
        let (mut left, known, mut ended) = (0, conn.left_in_kernel() as u64, false);
        for _ in 0..READS_AWAY {
            match conn.stream.read(self.desk.read_area()) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Err(_) => break,
                Ok(count) => left += count as u64,
            }
        }
        // The start of a message whose end never came is no message; a last line is one once its sender has ended,
        // whether its start lies here or in the kernel.
        let unread = match ended {
            true => left + conn.partial_bytes() as u64,
            false if left > known => left,
            false => 0,
        };
        if !is_http {
            self.unread_bytes += unread;
        }
    }
}
