//! One connection: its stream, its session, and the bytes in between.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::desk::Desk;
use super::prelude::Prelude;
use super::stream::Stream;
use crate::admission::Network;
use crate::handoff::{PollEnd, Receipt};
use crate::session::{
    AdminSession, AdminView, HttpSession, Intake, Now, OUT_BYTES_MAX, Progress, Stop, TcpSession,
};
use crate::wire::ack::{self, Answer};

/// Answers are made until this many bytes wait to be written; a peer that does not read keeps no more of us.
pub const OUT_LIMIT_BYTES: usize = 1 << 10;

/// Unread bytes of one connection are counted up to here: a sender at full speed could go on for ever.
const UNREAD_LIMIT_BYTES: u64 = 4 << 20;

/// Who speaks on a connection.
pub enum Session {
    Tcp(TcpSession),
    Http(Box<HttpSession>),
    Admin(AdminSession),
}

impl Session {
    /// The listener's name in logs.
    pub fn component(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(_) => "http",
            Self::Admin(_) => "health",
        }
    }

    /// Shows a sender's session what was read. Admin connections have their own way.
    pub fn receive(
        &mut self,
        input: &[u8],
        eof: bool,
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) -> Progress {
        match self {
            Self::Tcp(session) => session.receive(input, eof, address, intake),
            Self::Http(session) => session.receive(input, eof, address, intake),
            Self::Admin(_) => Progress { consumed: 0, stop: None },
        }
    }
}

/// What a connection waits for when it is not in the ready list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The peer's bytes.
    Bytes,
    /// A turn: it is in the ready list.
    Turn,
    /// Its parked record's lane.
    Lane,
    /// The peer reading its answers, or the fate of what it sent.
    Answers,
    /// The page that it asked for.
    View,
    /// Nothing more is read; the last answers and their writing.
    End,
}

/// How one turn of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Read as much as one turn may: another turn is due.
    Again,
    /// Read everything there was.
    Idle,
    /// Stopped with messages in hand.
    Stopped(Stop),
    /// The peer has finished and everything it sent was taken.
    Ended,
    /// The stream failed.
    Gone,
}

/// See the module's text.
pub struct Conn<S> {
    pub stream: S,
    pub session: Session,
    pub generation: u16,
    pub wait: Wait,
    /// The kernel said that the peer has finished; there may be bytes before that end.
    pub half_closed: bool,
    /// The kernel said that the connection failed: half a message before that is none.
    pub is_broken: bool,
    /// Bytes read and not taken: the start of a message, or whole ones that found no room.
    partial: Vec<u8>,
    /// `partial` holds whole messages.
    has_work: bool,
    /// Bytes of an incomplete message that were looked at and left in the kernel, for want of room here.
    left_in_kernel: usize,
    ended: bool,
    out: Vec<u8>,
    written: usize,
    /// Moment of the last byte in or out on an admin connection, gateway's clock.
    pub touched_us: u64,
    /// When the hub looks after this connection by the clock; 0 for never.
    pub armed_us: u64,
    /// Our side is closed, and the peer's bytes are read away until it closes its own.
    pub lingers: bool,
    /// Who speaks: the peer, or whom a trusted proxy named before the first byte.
    pub client: SocketAddr,
    /// Under whose name the door counts it.
    pub counted: Option<Network>,
    /// A PROXY header may come yet.
    pub expects_proxy: bool,
}

impl<S: Stream> Conn<S> {
    pub fn new(stream: S, session: Session, generation: u16, now_us: u64) -> Self {
        let client = stream.peer();
        Self {
            stream,
            session,
            generation,
            wait: Wait::Bytes,
            half_closed: false,
            is_broken: false,
            partial: Vec::new(),
            has_work: false,
            left_in_kernel: 0,
            ended: false,
            out: Vec::new(),
            written: 0,
            touched_us: now_us,
            armed_us: 0,
            lingers: false,
            client,
            counted: None,
            expects_proxy: false,
        }
    }

    /// One turn of reading: at most one read, and as many messages as there is room for.
    pub fn read(&mut self, slot: u32, desk: &mut Desk, end: &mut PollEnd, now: Now) -> After {
        if self.has_work || self.ended {
            return self.read_held(slot, desk, end, now);
        }
        let tight = desk.is_tight();
        let start = desk.stage(&self.partial);
        let got = match tight {
            false => self.stream.read(desk.read_area()),
            true => self.stream.peek(desk.read_area()),
        };
        let count = match got {
            Ok(count) => count,
            // A parked record needs no further byte to go on.
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.parks() => {
                return self.read_held(slot, desk, end, now);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return After::Idle,
            Err(error) if error.kind() == ErrorKind::Interrupted => return After::Again,
            Err(_) => return After::Gone,
        };
        let is_short = count < desk.read_area().len();
        self.ended = count == 0 || (tight && self.half_closed && is_short && !self.is_broken);
        let tail = self.partial.len();
        let staged = start..start + tail + count;
        let (consumed, stop) = match self.pass_prelude(desk, staged.clone(), now) {
            Prelude::Broken => return After::Gone,
            Prelude::Incomplete => (0, None),
            Prelude::Passed(bytes) => {
                let address = (slot, self.generation);
                let rest = staged.start + bytes..staged.end;
                let (taken, stop) =
                    desk.feed_staged(&mut self.session, rest, self.ended, address, end, now, self.client);
                (bytes + taken, stop)
            }
        };
        if tight {
            // What was not taken stays where it is: in the kernel.
            let taken = consumed.saturating_sub(tail);
            if taken > 0 && self.stream.discard(taken).is_err() {
                return After::Gone;
            }
            self.left_in_kernel = count - taken;
            if self.ended && stop.is_some() {
                self.ended = false;
            }
            desk.release(&mut self.partial, consumed.min(tail));
        } else {
            self.left_in_kernel = 0;
            desk.keep(&mut self.partial, start + consumed..start + tail + count);
            self.has_work = stop.is_some();
        }
        match stop {
            Some(stop) => After::Stopped(stop),
            None if self.ended => After::Ended,
            None if is_short && tight && self.is_broken => After::Gone,
            None if is_short && !self.half_closed => After::Idle,
            None => After::Again,
        }
    }

    /// Goes on with what was read before; reads nothing new.
    fn read_held(&mut self, slot: u32, desk: &mut Desk, end: &mut PollEnd, now: Now) -> After {
        let address = (slot, self.generation);
        let (consumed, stop) =
            desk.feed(&mut self.session, &self.partial, self.ended, address, end, now, self.client);
        desk.release(&mut self.partial, consumed);
        self.has_work = stop.is_some();
        match stop {
            Some(stop) => After::Stopped(stop),
            None if self.ended => After::Ended,
            None => After::Again,
        }
    }

    /// One turn of an admin connection.
    pub fn serve_admin(&mut self, desk: &mut Desk, view: &dyn AdminView, now: Now) -> After {
        let Session::Admin(session) = &mut self.session else { return After::Gone };
        if self.has_work {
            let consumed = session.receive(&self.partial, self.ended, view, &mut self.out);
            desk.release(&mut self.partial, consumed);
        } else {
            let start = desk.stage(&self.partial);
            let count = match self.stream.read(desk.read_area()) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return After::Idle,
                Err(error) if error.kind() == ErrorKind::Interrupted => return After::Again,
                Err(_) => return After::Gone,
            };
            self.ended = count == 0;
            self.touched_us = now.us;
            let staged = start..start + self.partial.len() + count;
            let consumed = session.receive(desk.staged(staged.clone()), self.ended, view, &mut self.out);
            desk.keep(&mut self.partial, staged.start + consumed..staged.end);
        }
        // Requests that found no room for their answers are taken before anything more is read.
        self.has_work = !session.finished() && self.out.len() >= OUT_BYTES_MAX;
        match session.finished() || (self.ended && !self.has_work) {
            true => After::Ended,
            false => After::Again,
        }
    }

    /// Writes what there is to write. `Ok(true)`: all of it is out. What that frees goes to `answers_room`.
    pub fn write(&mut self, answers_room: &mut usize) -> io::Result<bool> {
        loop {
            match &mut self.session {
                Session::Tcp(session) => {
                    let before = session.stored_outside();
                    session.write_answers(&mut self.out, OUT_LIMIT_BYTES);
                    *answers_room += before - session.stored_outside();
                }
                Session::Http(session) => session.write_answers(&mut self.out),
                Session::Admin(_) => {}
            }
            if self.out.is_empty() {
                return Ok(true);
            }
            while self.written < self.out.len() {
                match self.stream.write(&self.out[self.written..]) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.written = 0;
            self.out = Vec::new();
        }
    }

    /// Writes the last answer line if every message has its answer. `Ok(true)`: nothing more will be said.
    pub fn close_account(&mut self, answers_room: &mut usize) -> io::Result<bool> {
        if !self.write(answers_room)? {
            return Ok(false);
        }
        let session = match &mut self.session {
            Session::Tcp(session) => session,
            Session::Http(session) => return Ok(session.is_settled()),
            Session::Admin(_) => return Ok(true),
        };
        if !session.close_account(&mut self.out) {
            return Ok(false);
        }
        self.write(answers_room)
    }

    /// Books what the answers of an HTTP connection hold of their shared store, of which `held` bytes are used.
    pub fn book_answers(&mut self, held: &mut usize) {
        if let Session::Http(session) = &mut self.session {
            session.book(self.out.capacity(), held);
        }
    }

    fn parks(&self) -> bool {
        matches!(&self.session, Session::Tcp(session) if session.parked().is_some())
    }

    pub fn tcp(&mut self) -> Option<&mut TcpSession> {
        match &mut self.session {
            Session::Tcp(session) => Some(session),
            Session::Http(_) | Session::Admin(_) => None,
        }
    }

    pub fn http(&mut self) -> Option<&mut HttpSession> {
        match &mut self.session {
            Session::Http(session) => Some(session),
            Session::Tcp(_) | Session::Admin(_) => None,
        }
    }

    pub fn is_http(&self) -> bool {
        matches!(self.session, Session::Http(_))
    }

    /// Takes the outcome of one record; the time from acceptance to now in microseconds.
    pub fn settle(&mut self, receipt: &Receipt, now_us: u64) -> Option<u64> {
        match &mut self.session {
            Session::Tcp(session) => session.settle(receipt, now_us),
            Session::Http(session) => session.settle(receipt, now_us),
            Session::Admin(_) => None,
        }
    }

    /// Whether nothing more may be read from it until answers are written, with `room` left in TCP's shared store and
    /// `held` bytes used of HTTP's.
    pub fn is_answer_bound(&self, room: usize, held: usize) -> bool {
        match &self.session {
            Session::Tcp(session) => session.is_answer_bound(room),
            Session::Http(session) => session.is_answer_bound(held),
            Session::Admin(_) => false,
        }
    }

    /// Bytes of an incomplete message that are known to lie in the kernel.
    pub fn left_in_kernel(&self) -> usize {
        self.left_in_kernel
    }

    /// The peer has finished, and all that it sent was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    pub fn is_admin(&self) -> bool {
        matches!(self.session, Session::Admin(_))
    }

    /// Not-stored messages that this sender has not been told of: answers not made, or not written to their end.
    pub fn untold(&mut self) -> u64 {
        if let Session::Http(session) = &self.session {
            return session.untold(self.out.len() - self.written);
        }
        let written = self.written;
        let mut end = 0;
        let lines = self.out.split_inclusive(|byte| *byte == b'\n').filter(|line| {
            end += line.len();
            end > written && matches!(ack::parse(line), Ok(Answer::Retry { .. }))
        });
        let unwritten = lines.count() as u64;
        self.tcp().map_or(0, |session| session.untold() + unwritten)
    }

    /// Nothing more is read: bytes that are left, here and in the kernel. The start of a message whose end has
    /// not come is none of them.
    pub fn leave_unread(&mut self, area: &mut [u8]) -> u64 {
        let mut left = 0;
        let mut may_be_whole = self.has_work;
        while left < UNREAD_LIMIT_BYTES {
            match self.stream.peek(area) {
                Ok(0) => {
                    may_be_whole = true;
                    break;
                }
                Ok(count) => {
                    left += count as u64;
                    if self.stream.discard(count).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        match may_be_whole || left > 0 {
            true => left + self.partial.len() as u64,
            false => 0,
        }
    }

    /// Whether answers wait for the peer to read.
    pub fn is_write_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Bytes read and not taken.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    pub fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }
}
