//! `send --ack`: connections and threads around the account.
//!
//! Three threads share it (`shared`), each with one thing to sleep in: `input` in a read of the input, `hear` in a
//! read of the socket, the calling one, which this file owns, in a write or on the condition variable. Answers
//! are read whatever the writer does, so a gateway that waits for us to listen is never waited for.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::account::{Account, Limits};
use super::outcome::{Failure, Totals};
use super::report::Report;
use super::shared::{Shared, State, TICK, hear};
use super::{Args, Input, connect, input, patience};
use crate::cli::stop;

/// How long a peer may take for its last answers once nothing more is sent.
const GRACE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Size of a write.
const CHUNK_BYTES: usize = 64 * 1024;

/// Sends everything and follows it. `Ok` only when every line is stored; both sides begin with the sums.
pub(super) fn run(args: &Args, input: Input, bar: &ProgressBar, report: Report) -> Result<String, String> {
    let stop = stop::requested().map_err(|error| error.to_string())?;
    // Before the input is touched: nobody there is a fault of the command line, not one to wait out.
    let stream = connect(&args.addr, CONNECT).map_err(|error| format!("{}: {error}", args.addr))?;
    let limits = Limits { lines: args.window as usize, bytes: args.window_bytes as usize };
    let shared = Arc::new(Shared::new(Account::new(limits, args.resend_unknown, Instant::now())));
    let feeder = (Arc::clone(&shared), args.max_line_bytes as usize);
    // Not joined: it may sleep in a read of a terminal, which nothing here can end; the process's end does.
    std::thread::spawn(move || input::feed(input, feeder.1, &feeder.0));
    let patience = patience(args.timeout);
    let mut sender =
        Sender { addr: &args.addr, patience, shared, stop, bar, report, failures: Vec::new(), told_at: None };
    let end = sender.send_all(stream);
    sender.conclude(end)
}

/// Why a conversation, or the whole run, ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Broken,
    Stalled,
    Violation(String),
}

struct Sender<'a> {
    addr: &'a str,
    patience: Option<Duration>,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    bar: &'a ProgressBar,
    report: Report,
    failures: Vec<Failure>,
    /// When the progress bar was told last.
    told_at: Option<Instant>,
}

impl Sender<'_> {
    fn send_all(&mut self, first: TcpStream) -> End {
        let (mut stream, mut backoff) = (first, BACKOFF_MIN);
        loop {
            let before = self.shared.lock().account.totals().stored;
            match self.conversation(&stream) {
                End::Broken => {}
                end => return end,
            }
            if self.shared.lock().account.totals().stored > before {
                backoff = BACKOFF_MIN;
            }
            stream = match self.reconnect(&mut backoff) {
                Ok(stream) => stream,
                Err(end) => return end,
            };
        }
    }

    /// One connection, from `#ack` to its end; afterwards the account is ready for the next.
    fn conversation(&mut self, stream: &TcpStream) -> End {
        let reader = stream.try_clone().and_then(|reader| {
            stream.set_write_timeout(Some(TICK))?;
            self.shared.lock().hung_up = false;
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new().name("answers".into()).spawn(move || hear(reader, &shared))
        });
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => return End::Violation(format!("no second thread for the answers: {error}")),
        };
        let (mut end, unwritten) = self.write_lines(stream);
        if matches!(end, End::Done | End::Broken) {
            // Both directions can break apart from each other: what the peer still has to say counts.
            drop(stream.shutdown(Shutdown::Write));
            self.await_hang_up();
        }
        drop(stream.shutdown(Shutdown::Both)); // an error means that it is gone already
        drop(reader.join()); // a panic there was printed; what it left open becomes unknown below
        let mut state = self.shared.lock();
        if let (End::Done | End::Broken, Some(why)) = (&end, state.violation.take()) {
            end = End::Violation(why);
        }
        state.account.handle_disconnect(unwritten, Instant::now());
        end
    }

    /// Writes lines until there is an end. Also how many bytes of the last chunk were not taken.
    fn write_lines(&mut self, mut stream: &TcpStream) -> (End, usize) {
        let (mut chunk, mut at) = (b"#ack\n".to_vec(), 0);
        loop {
            if at < chunk.len() {
                match stream.write(&chunk[at..]) {
                    Ok(0) => return (End::Broken, chunk.len() - at),
                    Ok(written) => at += written,
                    Err(error) if is_pause(&error) => {}
                    Err(_) => return (End::Broken, chunk.len() - at),
                }
            }
            let unwritten = chunk.len() - at;
            if let Some(end) = self.next(&mut chunk, unwritten == 0) {
                return (end, unwritten);
            }
            if unwritten == 0 {
                at = 0;
            }
        }
    }

    /// Waits for something to write, unless the last chunk is not written yet; `Some` when there is an end.
    fn next(&mut self, chunk: &mut Vec<u8>, written: bool) -> Option<End> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            if let Some(why) = state.violation.take() {
                return Some(End::Violation(why));
            }
            if state.hung_up || state.account.is_closed() {
                return Some(End::Broken);
            }
            if self.is_stalled(&state, now) {
                return Some(End::Stalled);
            }
            if self.stop.load(Ordering::Relaxed) {
                state.over = true; // ends the input; what is on its way is still followed
            }
            if self.must_tell(&mut state, now) {
                let (totals, bytes, waiting) =
                    (state.account.totals(), state.input_bytes, state.account.waiting());
                drop(state);
                self.tell(now, bytes, &format!("{} stored, {waiting} waiting", totals.stored));
                state = shared.lock();
                continue;
            }
            if !written {
                return None;
            }
            chunk.clear();
            state.account.poll_send(chunk, CHUNK_BYTES, now);
            if !chunk.is_empty() {
                return None;
            }
            if (state.input_ended || state.over) && state.account.waiting() == 0 {
                return Some(End::Done);
            }
            let pause = state.account.pause_left(now).unwrap_or(TICK).min(TICK);
            state = shared.wait(state, pause);
        }
    }

    fn is_stalled(&self, state: &State, now: Instant) -> bool {
        self.patience.is_some_and(|patience| state.account.stalled(now) > patience)
    }

    /// Whether there is something for stderr, which is not to be written under the lock.
    fn must_tell(&mut self, state: &mut State, now: Instant) -> bool {
        state.account.take_failures(&mut self.failures);
        let bar_is_old = self.told_at.is_none_or(|told| now.duration_since(told) >= TICK);
        !self.failures.is_empty() || (bar_is_old && !self.bar.is_hidden())
    }

    fn tell(&mut self, now: Instant, input_bytes: u64, sums: &str) {
        self.failures.drain(..).for_each(|failure| self.report.add(&failure));
        self.told_at = Some(now);
        self.bar.set_position(input_bytes);
        self.bar.set_message(sums.to_owned());
    }

    fn await_hang_up(&self) {
        let deadline = Instant::now() + GRACE;
        let mut state = self.shared.lock();
        while !state.hung_up && state.violation.is_none() && Instant::now() < deadline {
            state = self.shared.wait(state, TICK);
        }
    }

    /// Waits until there is something to send, then for a connection. `Err` when there is no need or no hope.
    fn reconnect(&mut self, backoff: &mut Duration) -> Result<TcpStream, End> {
        let mut told = false;
        let shared = Arc::clone(&self.shared);
        let mut next_try = Instant::now() + *backoff;
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            state.over |= self.stop.load(Ordering::Relaxed);
            if (state.input_ended || state.over) && state.account.waiting() == 0 {
                return Err(End::Done);
            }
            if self.is_stalled(&state, now) {
                return Err(End::Stalled);
            }
            state.account.take_failures(&mut self.failures);
            if state.account.waiting() == 0 || now < next_try {
                let pause = next_try.saturating_duration_since(now).min(TICK);
                state = shared.wait(state, if pause.is_zero() { TICK } else { pause });
                continue;
            }
            drop(state);
            *backoff = (*backoff * 2).min(BACKOFF_MAX);
            match connect(self.addr, self.patience.map_or(CONNECT, |patience| patience.min(CONNECT))) {
                Ok(stream) => return Ok(stream),
                Err(error) if !told => {
                    told = true;
                    self.bar.suspend(|| eprintln!("sluice send: {}: {error} (still trying)", self.addr));
                }
                Err(_) => {}
            }
            next_try = Instant::now() + *backoff;
            state = shared.lock();
        }
    }

    fn conclude(mut self, end: End) -> Result<String, String> {
        let mut state = self.shared.lock();
        state.over = true;
        state.account.give_up(Instant::now());
        state.account.take_failures(&mut self.failures);
        let (totals, whole, input_error) =
            (state.account.totals(), state.input_whole, state.input_error.take());
        self.shared.changed.notify_all();
        drop(state);
        self.failures.drain(..).for_each(|failure| self.report.add(&failure));
        let mut faults = Vec::new();
        match end {
            End::Done | End::Broken => {}
            End::Stalled => faults.push("gave up: nothing was settled for --timeout".to_owned()),
            End::Violation(why) => faults.push(format!("hung up on the gateway: {why}")),
        }
        match input_error {
            Some(error) => faults.push(format!("the input broke off: {error}")),
            None if !whole => faults.push("the input was not read to its end".to_owned()),
            None => {}
        }
        if let Err(error) = self.report.finish() {
            faults.push(format!("the report is not complete: {error}"));
        }
        self::conclude(&totals, faults)
    }
}

/// The sums, and whether that is all that could be wished for.
pub(super) fn conclude(totals: &Totals, faults: Vec<String>) -> Result<String, String> {
    let sums = format!(
        "lines={} stored={} rejected={} not_stored={} unknown={} resent={}",
        totals.lines, totals.stored, totals.rejected, totals.not_stored, totals.unknown, totals.resent
    );
    if faults.is_empty() && totals.stored == totals.lines {
        return Ok(sums);
    }
    Err([vec![sums], faults].concat().join("; "))
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
