//! `send --http`: lines as events of `POST` requests, each followed until it is stored or refused.
//!
//! Owns one connection at a time with several requests in flight, and the lines in them. The calling thread writes and
//! reads; the input has a thread of its own, as a terminal may never say anything. Lines that were not stored
//! (503, 429) go out again once the gateway's `Retry-After` has passed; what was in flight when a connection broke is
//! unknown, and goes out again only if that was asked for. Bounded by the window, whatever the input's size.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::http_answer::{Verdict, verdicts};
use super::outcome::{Failure, Fate, Totals};
use super::report::Report;
use super::shared::TICK;
use super::{Args, Input, confirmed, connect, input};
use crate::cli::stop;
use crate::wire::http1::{Reply, parse_reply};

const CONNECT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 << 10;
/// A request is not made longer than this by further lines.
const REQUEST_BYTES: usize = 256 << 10;
/// Pause where the gateway names none, and the longest that it may ask for.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where to send, from `--http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// HOST:PORT, as given in `Host` too.
    addr: String,
    /// Path and query.
    path: String,
}

impl Target {
    /// Errors: it is no address that this command can speak to.
    pub(super) fn parse(given: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("--http {given}: {why}"));
        let rest = match given.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return wrong("only http:// is spoken"),
            None => given,
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() || host.contains('@') || rest.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
            return wrong("expected HOST:PORT or http://HOST[:PORT]/PATH");
        }
        if path.contains("ack=") || path.contains('#') {
            return wrong("the answer is always asked for when the event is stored");
        }
        let path = if path.is_empty() || path == "/" { "/events" } else { path };
        let path = format!("{path}{}ack=delivered", if path.contains('?') { '&' } else { '?' });
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let default = if given.contains("://") { 80 } else { 8080 };
        let addr = if has_port { host.to_owned() } else { format!("{host}:{default}") };
        Ok(Self { addr, path })
    }
}

struct Line {
    number: u64,
    text: Vec<u8>,
}

/// From the input's thread.
enum Fed {
    Line(Line),
    TooLong(u64, u64),
    /// Everything was read, or why not.
    End(Result<(), String>),
}

/// Sends everything and follows it. `Ok` only when every line is stored; both sides begin with the sums.
pub(super) fn run(
    args: &Args,
    target: &Target,
    input: Input,
    bar: &ProgressBar,
    report: Report,
) -> Result<String, String> {
    let stop = stop::requested().map_err(|error| error.to_string())?;
    // Before the input is touched: nobody there is a fault of the command line, not one to wait out.
    let stream = open(target).map_err(|error| format!("{}: {error}", target.addr))?;
    let (put, lines) = sync_channel(1024);
    let max = args.max_line_bytes as usize;
    // Not joined: it may sleep in a read of a terminal, which nothing here can end; the process's end does.
    std::thread::spawn(move || {
        let end = input::each(input, max, |piece| {
            let fed = match piece {
                input::Piece::Line { number, text } => {
                    Fed::Line(Line { number, text: text.trim_ascii().to_vec() })
                }
                input::Piece::TooLong { number, bytes } => Fed::TooLong(number, bytes),
            };
            put.send(fed).is_ok()
        });
        let _ = put.send(Fed::End(end.map_err(|error| error.to_string()))); // nobody listens any more
    });
    let sender = Sender {
        target,
        batch: args.batch as usize,
        pipeline: args.pipeline as usize,
        resend_unknown: args.resend_unknown,
        patience: super::patience(args.timeout),
        lines,
        stop,
        bar,
        report,
        stream: Some(stream),
        out: Vec::new(),
        heard: Vec::new(),
        again: VecDeque::new(),
        flying: VecDeque::new(),
        resume_at: None,
        moved_at: Instant::now(),
        end: None,
        totals: Totals::default(),
    };
    sender.send_all()
}

fn open(target: &Target) -> std::io::Result<TcpStream> {
    let stream = connect(&target.addr, CONNECT)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

struct Sender<'a> {
    target: &'a Target,
    batch: usize,
    pipeline: usize,
    resend_unknown: bool,
    patience: Option<Duration>,
    lines: Receiver<Fed>,
    stop: Arc<AtomicBool>,
    bar: &'a ProgressBar,
    report: Report,
    stream: Option<TcpStream>,
    /// Bytes of requests that are to be written.
    out: Vec<u8>,
    /// Bytes of answers that are not complete.
    heard: Vec<u8>,
    /// Lines to go out again, before new ones.
    again: VecDeque<Line>,
    /// Requests without an answer, in their order.
    flying: VecDeque<Vec<Line>>,
    /// Nothing goes out before.
    resume_at: Option<Instant>,
    /// When a line was settled last, or began to wait.
    moved_at: Instant,
    /// How the input ended.
    end: Option<Result<(), String>>,
    totals: Totals,
}

impl Sender<'_> {
    fn send_all(mut self) -> Result<String, String> {
        let mut fault = None;
        loop {
            if self.stop.load(Ordering::Relaxed) && self.end.is_none() {
                self.end = Some(Err("stopped by a signal".into()));
            }
            let is_idle = self.flying.is_empty() && self.again.is_empty();
            if is_idle {
                self.moved_at = Instant::now();
                if self.end.is_some() {
                    break;
                }
            } else if self.patience.is_some_and(|patience| self.moved_at.elapsed() > patience) {
                fault = Some("gave up: nothing was settled for --timeout".to_owned());
                break;
            }
            if let Err(why) = self.turn() {
                fault = Some(format!("hung up on the gateway: {why}"));
                break;
            }
        }
        self.conclude(fault)
    }

    /// Begins a request if one may go out, else writes and hears. Errors: what came is no answer.
    fn turn(&mut self) -> Result<(), String> {
        let left = self.resume_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        if self.flying.len() < self.pipeline && self.out.is_empty() && left.is_zero() {
            let lines = self.gather();
            if !lines.is_empty() {
                self.begin(lines);
                return Ok(());
            }
        }
        if self.flying.is_empty() {
            std::thread::sleep(left.min(TICK)); // the gateway asked for it; without a pause the input was waited for
            return Ok(());
        }
        self.converse()
    }

    /// The lines of the next request: those that go out again first. Waits a moment for the input if nothing else is
    /// to be done.
    fn gather(&mut self) -> Vec<Line> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < self.batch && bytes < REQUEST_BYTES {
            let line = match self.again.pop_front() {
                Some(line) => line,
                None => match self.next_line(lines.is_empty() && self.flying.is_empty()) {
                    Some(line) => line,
                    None => break,
                },
            };
            bytes += line.text.len() + 1;
            lines.push(line);
        }
        lines
    }

    fn next_line(&mut self, may_wait: bool) -> Option<Line> {
        while self.end.is_none() {
            let fed = match may_wait {
                true => self.lines.recv_timeout(TICK).map_err(|e| e == RecvTimeoutError::Disconnected),
                false => self.lines.try_recv().map_err(|e| e == TryRecvError::Disconnected),
            };
            match fed {
                Ok(Fed::Line(line)) => {
                    self.totals.lines += 1;
                    return Some(line);
                }
                Ok(Fed::TooLong(line, bytes)) => {
                    self.totals.lines += 1;
                    self.fail(
                        line,
                        Fate::Rejected,
                        "line_too_long",
                        &format!("{bytes} bytes, see --max-line-bytes"),
                    );
                }
                Ok(Fed::End(end)) => self.end = Some(end),
                Err(true) => self.end = Some(Err("the input's reader failed".into())),
                Err(false) => return None,
            }
        }
        None
    }

    fn begin(&mut self, lines: Vec<Line>) {
        if self.stream.is_none() {
            self.stream = open(self.target).ok();
        }
        if self.stream.is_none() {
            lines.into_iter().rev().for_each(|line| self.again.push_front(line));
            self.resume_at = Some(Instant::now() + PAUSE);
            return;
        }
        self.out = self.render(&lines);
        self.flying.push_back(lines);
        self.write();
    }

    fn write(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.out.is_empty()) else { return };
        match stream.write(&self.out) {
            Ok(written) => drop(self.out.drain(..written)),
            Err(e) if is_pause(&e) => {}
            Err(_) => self.lost(),
        }
    }

    fn render(&self, lines: &[Line]) -> Vec<u8> {
        let body = lines.iter().map(|line| &line.text[..]).collect::<Vec<_>>().join(&b'\n');
        // A line that is an array would be a batch of its own.
        let is_single = self.batch == 1 && !body.starts_with(b"[");
        let kind = if is_single { "application/json" } else { "application/x-ndjson" };
        let Target { addr, path } = self.target;
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        request
    }

    /// Waits a moment until the gateway takes or says something. Both ways at once: it does not read while its own
    /// answers are not read.
    fn converse(&mut self) -> Result<(), String> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let wanted = if self.out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = [PollFd::new(stream, wanted)];
        let _ = rustix::event::poll(&mut fds, Timespec::try_from(TICK).ok().as_ref()); // interrupted: look again
        let came = fds[0].revents();
        if came.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.hear()?;
        }
        self.write();
        Ok(())
    }

    fn hear(&mut self) -> Result<(), String> {
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let mut buffer = [0; READ_BYTES];
        match stream.read(&mut buffer) {
            Ok(0) => self.lost(),
            Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            Err(e) if is_pause(&e) => {}
            Err(_) => self.lost(),
        }
        let heard = std::mem::take(&mut self.heard);
        let mut used = 0;
        while let Some(reply) = parse_reply(&heard[used..])? {
            self.settle(&reply, &heard[used..][reply.body.clone()])?;
            used += reply.body.end;
            if reply.closes {
                self.closed();
                return Ok(());
            }
        }
        self.heard = heard[used..].to_vec();
        Ok(())
    }

    fn settle(&mut self, reply: &Reply, body: &[u8]) -> Result<(), String> {
        if reply.status < 200 {
            return Ok(());
        }
        let lines = self.flying.pop_front().ok_or("it answers a request that was never made")?;
        let verdicts = verdicts(reply.status, body, lines.len())?;
        for (line, verdict) in lines.into_iter().zip(verdicts) {
            self.moved_at = if verdict == Verdict::Again { self.moved_at } else { Instant::now() };
            match verdict {
                Verdict::Stored => self.totals.stored += 1,
                Verdict::Again => {
                    let asked =
                        reply.retry_after.map_or(PAUSE, |seconds| Duration::from_secs(seconds.into()));
                    self.resume_at = Some(Instant::now() + asked.min(PAUSE_MAX));
                    self.totals.resent += 1;
                    self.again.push_back(line);
                }
                Verdict::Failed { fate: Fate::Unknown, .. } if self.resend_unknown => {
                    self.totals.resent += 1;
                    self.again.push_back(line);
                }
                Verdict::Failed { fate, code, detail } => self.fail(line.number, fate, &code, &detail),
            }
        }
        self.bar.set_message(format!("{} stored", self.totals.stored));
        Ok(())
    }

    /// The gateway said that it takes nothing more here: what it did not answer it did not read (RFC 9112 9.6).
    fn closed(&mut self) {
        let unread = self.forget_connection();
        self.totals.resent += unread.len() as u64;
        self.again.extend(unread);
    }

    /// The connection broke: what was in flight may be stored or not.
    fn lost(&mut self) {
        for line in self.forget_connection() {
            if self.resend_unknown {
                self.totals.resent += 1;
                self.again.push_back(line);
            } else {
                self.fail(line.number, Fate::Unknown, "connection_lost", "");
            }
        }
    }

    fn forget_connection(&mut self) -> Vec<Line> {
        self.stream = None;
        self.heard.clear();
        self.out.clear();
        self.resume_at = Some(Instant::now() + TICK);
        std::mem::take(&mut self.flying).into_iter().flatten().collect()
    }

    fn fail(&mut self, line: u64, fate: Fate, code: &str, detail: &str) {
        match fate {
            Fate::Rejected => self.totals.rejected += 1,
            Fate::NotStored => self.totals.not_stored += 1,
            Fate::Unknown => self.totals.unknown += 1,
        }
        self.report.add(&Failure { line, fate, code: code.to_owned(), detail: detail.to_owned() });
    }

    fn conclude(mut self, fault: Option<String>) -> Result<String, String> {
        self.resend_unknown = false;
        self.lost();
        for line in std::mem::take(&mut self.again) {
            self.fail(line.number, Fate::NotStored, "gave_up", "");
        }
        let mut faults: Vec<String> = fault.into_iter().collect();
        match self.end {
            Some(Ok(())) => {}
            Some(Err(why)) => faults.push(format!("the input was not read to its end: {why}")),
            None => faults.push("the input was not read to its end".into()),
        }
        if let Err(error) = self.report.finish() {
            faults.push(format!("the report is not complete: {error}"));
        }
        confirmed::conclude(&self.totals, faults)
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_or_urls() {
        for (given, addr, path) in [
            ("gateway:8081", "gateway:8081", "/events?ack=delivered"),
            ("gateway", "gateway:8080", "/events?ack=delivered"),
            ("http://gateway/", "gateway:80", "/events?ack=delivered"),
            ("http://[::1]:8080/api/v1/events", "[::1]:8080", "/api/v1/events?ack=delivered"),
            ("gateway:1/events?timeout=2s", "gateway:1", "/events?timeout=2s&ack=delivered"),
        ] {
            assert_eq!(Target::parse(given), Ok(Target { addr: addr.into(), path: path.into() }), "{given}");
        }
        for wrong in
            ["", "https://gateway", "http://", "a b", "http://user@gateway", "gateway/events?ack=none"]
        {
            assert!(Target::parse(wrong).unwrap_err().starts_with("--http "), "{wrong}");
        }
    }
}
