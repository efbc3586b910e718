//! What the three threads of `send --ack` share, and what the two that listen do with it: the input puts lines
//! in ([`Slot`]), the socket's reader applies answers ([`hear`]).
//!
//! Owns the lock and the condition variable. The lock is never held across a read or a write.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memchr::memchr;

use super::account::Account;
use super::input::Piece;
use crate::wire::ack::parse;

/// Longest sleep in a write or a wait: how late a signal or the end of patience is seen.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Longest answer that is taken for one.
const ANSWER_BYTES: usize = 64 * 1024;

/// What the threads share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) account: Account,
    pub(super) input_bytes: u64,
    pub(super) input_ended: bool,
    /// Everything that the input held was put.
    pub(super) input_whole: bool,
    pub(super) input_error: Option<io::Error>,
    /// No more input is wanted.
    pub(super) over: bool,
    /// The current connection's answers ended.
    pub(super) hung_up: bool,
    /// The peer does not speak the protocol, or lies.
    pub(super) violation: Option<String>,
}

impl Shared {
    pub(super) fn new(account: Account) -> Self {
        let state = State {
            account,
            input_bytes: 0,
            input_ended: false,
            input_whole: false,
            input_error: None,
            over: false,
            hung_up: false,
            violation: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has said so; the books it left are still the best there are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// For the input: a place to put lines, locked until [`Slot::finish`] except while there is no room.
    pub(super) fn slot(&self) -> Slot<'_> {
        Slot { shared: self, state: Some(self.lock()), now: Instant::now() }
    }

    /// No more input comes: all of it was put (true), the rest is not wanted (false), or it broke off.
    pub(super) fn end_input(&self, whole: io::Result<bool>) {
        let mut state = self.lock();
        state.input_ended = true;
        match whole {
            Ok(whole) => state.input_whole = whole,
            Err(error) => state.input_error = Some(error),
        }
        self.changed.notify_all();
    }
}

pub(super) struct Slot<'a> {
    shared: &'a Shared,
    /// Empty only while waiting for room.
    state: Option<MutexGuard<'a, State>>,
    now: Instant,
}

impl Slot<'_> {
    /// Puts a line, waiting until there is room; drops it when no more is wanted.
    pub(super) fn take(&mut self, piece: Piece<'_>) {
        let Some(mut state) = self.state.take() else { return };
        let len = if let Piece::Line { text, .. } = piece { text.len() } else { 0 };
        while !state.over && !state.account.has_room(len) {
            self.shared.changed.notify_all();
            state = self.shared.wait(state, TICK);
            self.now = Instant::now();
        }
        match piece {
            _ if state.over => {}
            Piece::Line { number, text } => state.account.push(number, text, self.now),
            Piece::TooLong { number, bytes } => {
                state.account.refuse(number, "line_too_long", format!("{bytes} bytes, see --max-line-bytes"))
            }
        }
        self.state = Some(state);
    }

    /// The read is used up. Whether more is wanted.
    pub(super) fn finish(self, bytes: u64) -> bool {
        let Some(mut state) = self.state else { return false };
        state.input_bytes += bytes;
        self.shared.changed.notify_all();
        !state.over
    }
}

/// Reads answers until the connection ends or the peer says what cannot be.
pub(super) fn hear(mut stream: TcpStream, shared: &Shared) {
    let (mut buffer, mut filled) = (vec![0; ANSWER_BYTES], 0);
    let violation = loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break None,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break None,
        }
        match apply(&buffer[..filled], shared) {
            Ok(used) => {
                buffer.copy_within(used..filled, 0);
                filled -= used;
            }
            Err(why) => break Some(why),
        }
        if filled == buffer.len() {
            break Some(format!("an answer is longer than {ANSWER_BYTES} bytes"));
        }
    };
    let mut state = shared.lock();
    state.hung_up = true;
    state.violation = state.violation.take().or(violation);
    shared.changed.notify_all();
}

/// Gives whole lines to the account. How many bytes they were.
fn apply(bytes: &[u8], shared: &Shared) -> Result<usize, String> {
    let mut used = 0;
    let mut state = shared.lock();
    let now = Instant::now();
    while let Some(end) = memchr(b'\n', &bytes[used..]) {
        let line = &bytes[used..used + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(answer) = parse(line) else {
            let start = &line[..line.len().min(100)];
            return Err(format!("`{}` is no answer", start.escape_ascii()));
        };
        state.account.handle_answer(answer, now).map_err(|violation| violation.to_string())?;
        used += end + 1;
    }
    shared.changed.notify_all();
    Ok(used)
}
