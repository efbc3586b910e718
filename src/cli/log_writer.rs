//! The stream that log lines go to, with a bound on how long it may hold the caller up.
//!
//! Log lines are written by the thread that logs, the poll thread among them. A pipe whose reader has stopped (a
//! pager, a stalled log collector) would block it for ever, and all connections with it. So the stream is asked
//! first whether it takes bytes: a slow reader is waited for a little, a stuck one is not, and the lines that it
//! missed are counted and told once it reads again. The stream's own mode is not changed: other processes share it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line may wait for a reader that was not stuck before it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Writes whole lines, or drops and counts them.
pub(super) struct LogWriter<W> {
    out: W,
    /// The line that tells of so many lines missed.
    note: fn(u64, &mut String),
    missed: u64,
}

impl<W: Write + AsFd> LogWriter<W> {
    pub(super) fn new(out: W, note: fn(u64, &mut String)) -> Self {
        Self { out, note, missed: 0 }
    }

    /// Whether the stream takes a line now. A pipe says so when a page is free: more than any line of ours needs.
    fn is_ready(&self) -> bool {
        // After one line has waited in vain the next ones do not wait.
        let patience = if self.missed == 0 { PATIENCE } else { Duration::ZERO };
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], Some(&left)) {
                Ok(ready) => return ready > 0,
                // A signal: ask again, for what is left of the time.
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl<W: Write + AsFd> Write for LogWriter<W> {
    /// Takes all of `line` or drops all of it; the logger calls this once a line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.is_ready() {
            self.missed += 1;
            return Ok(line.len());
        }
        if self.missed > 0 {
            let mut note = String::new();
            (self.note)(std::mem::take(&mut self.missed), &mut note);
            self.out.write_all(note.as_bytes())?;
        }
        self.out.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn note(missed: u64, out: &mut String) {
        out.push_str(&format!("missed {missed}\n"));
    }

    #[test]
    fn a_reader_that_stops_holds_nothing_up_and_learns_what_it_missed() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut writer = LogWriter::new(pipe, note);
        let line = [b'x'; 1000];
        let began = Instant::now();
        for _ in 0..1000 {
            writer.write_all(&line).unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(5), "one wait at most");
        assert!(writer.missed > 0, "the pipe holds 64 KiB, not 1 MB");

        let missed = writer.missed;
        let mut seen = vec![0; (1000 - usize::try_from(missed).unwrap()) * line.len()];
        reader.read_exact(&mut seen).unwrap();
        writer.write_all(b"again\n").unwrap();
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("missed {missed}\nagain\n"));
    }

    #[test]
    fn a_slow_reader_misses_nothing() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut writer = LogWriter::new(pipe, note);
        let read = std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).map(|_| all.lines().count())
        });
        for _ in 0..10_000 {
            writer
                .write_all(b"a line that is about as long as many a line of a log is, and a little longer\n")
                .unwrap();
        }
        assert_eq!(writer.missed, 0);
        drop(writer);
        assert_eq!(read.join().unwrap().unwrap(), 10_000);
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error_and_no_more() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let mut writer = LogWriter::new(pipe, note);
        assert_eq!(writer.write(b"x\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
