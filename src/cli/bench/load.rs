//! One connection's part of the load: a thread that writes lines when they are due, and one that hears the answers.
//!
//! A blocking thread a connection rather than readiness: a connection that the gateway pauses must stall alone, and
//! a blocked writer costs nothing. Nothing here knows the other connections but by the shared clock and plan.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answers::{Answers, Due, histogram, record};
use super::lines::Corpus;

/// How long a blocked read or write may keep a thread from looking at the clock.
pub const GLANCE: Duration = Duration::from_millis(100);
/// What a line that the end of the run cut in two gets to be completed.
const FINISH_LINE: Duration = Duration::from_secs(2);
/// Bytes a write in closed loop, when the plan does not say.
const BULK_WRITE_BYTES: usize = 64 << 10;

/// Where the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Stdout,
}

/// What is to be sent, and how long that may take.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub connections: u32,
    /// Events a second over all connections; 0 = as fast as taken.
    pub rate: u64,
    /// Events over all connections.
    pub count: u64,
    /// Whether the end of `sending` is a normal end, not a cut.
    pub by_time: bool,
    pub sending: Duration,
    pub settle: Duration,
    /// Lines a write; 0 = the mode's own.
    pub per_write: u32,
    pub ack: bool,
    /// Whether the gateway's counters are read.
    pub watched: bool,
}

impl Plan {
    /// Events that connection `i` sends.
    pub fn quota(&self, i: u32) -> u64 {
        let connections = u64::from(self.connections);
        self.count / connections + u64::from(u64::from(i) < self.count % connections)
    }

    /// When event `k` of connection `i` is due, in nanoseconds of the run: event `k * connections + i` of all.
    fn due_ns(&self, i: u32, k: u64) -> u64 {
        let n = u128::from(k) * u128::from(self.connections) + u128::from(i);
        u64::try_from(n * 1_000_000_000 / u128::from(self.rate.max(1))).unwrap_or(u64::MAX)
    }

    fn lines_a_write(&self, corpus: &Corpus) -> usize {
        match (self.per_write, self.rate) {
            (0, 0) => (BULK_WRITE_BYTES / corpus.run(0, 1).bytes.len()).max(1),
            (0, _) => 1,
            (n, _) => n as usize,
        }
    }

    /// Where in the ring connection `i` begins.
    pub fn ring_start(&self, i: u32, corpus: &Corpus) -> u64 {
        u64::from(i) * corpus.len() as u64 / u64::from(self.connections)
    }
}

/// The run's time, shared by all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that reads 0 at `start`, and before it.
    pub fn starting(start: Instant) -> Self {
        Self(start)
    }

    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, ns: u64) {
        let target = self.0 + Duration::from_nanos(ns);
        let left = target.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

/// What one connection sent.
pub struct Sent {
    /// Lines wholly taken by the kernel.
    pub lines: u64,
    pub bytes: u64,
    pub malformed: u64,
    /// Due time (open loop) or begin of the write (closed loop) to its end, in microseconds.
    pub latency_us: Histogram<u64>,
    /// End of the last write, in nanoseconds of the run.
    pub last_ns: u64,
    /// Whether the stream ends inside a line.
    pub torn: bool,
    pub fault: Option<String>,
}

/// Writes connection `i`'s share of the plan. `due` is told of each write before it is made, if answers are awaited.
pub fn send<W: Write>(
    plan: &Plan,
    corpus: &Corpus,
    i: u32,
    clock: Clock,
    due: Option<&Mutex<VecDeque<Due>>>,
    out: &mut W,
) -> Sent {
    let (quota, at_once, origin) = (plan.quota(i), plan.lines_a_write(corpus), plan.ring_start(i, corpus));
    let stop_ns = u64::try_from(plan.sending.as_nanos()).unwrap_or(u64::MAX);
    let mut sent = Sent {
        lines: 0,
        bytes: 0,
        malformed: 0,
        latency_us: histogram(),
        last_ns: 0,
        torn: false,
        fault: None,
    };
    clock.sleep_until(0);
    while sent.lines < quota {
        let place = origin + sent.lines;
        let run = corpus.run(place, at_once.min(usize::try_from(quota - sent.lines).unwrap_or(at_once)));
        let begin_ns = if plan.rate == 0 { clock.now_ns() } else { plan.due_ns(i, sent.lines) };
        if begin_ns >= stop_ns {
            break;
        }
        clock.sleep_until(begin_ns);
        if let Some(due) = due {
            lock(due).push_back(Due { last: sent.lines + run.lines as u64, at_ns: begin_ns });
        }
        let (taken, fault) = write_run(out, run.bytes, clock, stop_ns);
        let lines = corpus.complete_lines(place, taken) as u64;
        sent.last_ns = clock.now_ns();
        record(&mut sent.latency_us, sent.last_ns.saturating_sub(begin_ns), lines);
        sent.lines += lines;
        sent.bytes += taken as u64;
        sent.torn = taken > 0 && run.bytes[taken - 1] != b'\n';
        sent.fault = fault;
        if taken < run.bytes.len() {
            break;
        }
    }
    sent.malformed = corpus.malformed(origin, sent.lines);
    sent
}

/// Writes `bytes`; past `stop_ns` only to the end of the line begun. Says how many bytes were taken.
fn write_run<W: Write>(out: &mut W, bytes: &[u8], clock: Clock, stop_ns: u64) -> (usize, Option<String>) {
    let (mut taken, mut limit) = (0, bytes.len());
    loop {
        match out.write(&bytes[taken..limit]) {
            Ok(0) => return (taken, Some("the peer takes no more".into())),
            Ok(n) => taken += n,
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) => return (taken, Some(e.to_string())),
        }
        if taken == limit {
            return (taken, None);
        }
        let now_ns = clock.now_ns();
        if now_ns >= stop_ns && limit == bytes.len() {
            let torn = taken > 0 && bytes[taken - 1] != b'\n';
            let rest = bytes[taken..].iter().position(|b| *b == b'\n').map_or(0, |lf| lf + 1);
            limit = if torn { taken + rest } else { taken };
        }
        if taken == limit || now_ns >= stop_ns.saturating_add(FINISH_LINE.as_nanos() as u64) {
            return (taken, None);
        }
    }
}

/// Reads answers until the peer closes or `give_up` is set.
pub fn listen(
    mut stream: &TcpStream,
    clock: Clock,
    due: &Mutex<VecDeque<Due>>,
    give_up: &AtomicBool,
) -> Answers {
    let mut answers = Answers::new();
    let mut buffer = vec![0; 16 << 10];
    let mut filled = 0;
    while !give_up.load(Ordering::Relaxed) {
        let read = match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(_) => break,
        };
        let now_ns = clock.now_ns();
        filled += read;
        let mut waiting = lock(due);
        let mut begin = 0;
        while let Some(lf) = buffer[begin..filled].iter().position(|b| *b == b'\n') {
            let line = &buffer[begin..begin + lf];
            answers.handle_line(line.strip_suffix(b"\r").unwrap_or(line), now_ns, &mut waiting);
            begin += lf + 1;
        }
        drop(waiting);
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        if filled == buffer.len() {
            answers.totals.strange += 1; // an answer without end
            filled = 0;
        }
    }
    answers
}

/// A poisoned lock means that the other thread panicked; what it guards is a queue, whole at every moment.
fn lock(due: &Mutex<VecDeque<Due>>) -> std::sync::MutexGuard<'_, VecDeque<Due>> {
    due.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: u64, count: u64) -> Plan {
        Plan {
            target: Target::Stdout,
            connections: 4,
            rate,
            count,
            by_time: false,
            sending: Duration::from_secs(5),
            settle: Duration::ZERO,
            per_write: 0,
            ack: false,
            watched: false,
        }
    }

    /// Takes `room` bytes, then blocks for ever.
    struct Narrow {
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn quotas_add_up_and_the_schedule_interleaves() {
        let plan = plan(1000, 10);
        assert_eq!([0, 1, 2, 3].map(|i| plan.quota(i)), [3, 3, 2, 2]);
        assert_eq!([plan.due_ns(0, 0), plan.due_ns(1, 0), plan.due_ns(0, 1)], [0, 1_000_000, 4_000_000]);
    }

    #[test]
    fn open_loop_latency_counts_from_the_due_time() {
        let corpus = Corpus::new(79, 0.0).unwrap();
        let late = Clock::starting(Instant::now() - Duration::from_millis(500));
        let sent = send(&plan(1000, 40), &corpus, 0, late, None, &mut Vec::new());
        assert_eq!((sent.lines, sent.bytes), (10, 790));
        assert!(
            sent.latency_us.min() >= 400_000,
            "sent late, so each line waited: {}",
            sent.latency_us.min()
        );
        let closed = send(&plan(0, 40), &corpus, 0, late, None, &mut Vec::new());
        assert!(closed.latency_us.max() < 400_000, "closed loop counts the write alone");
    }

    #[test]
    fn the_end_of_the_run_leaves_no_torn_line_where_there_is_room() {
        let corpus = Corpus::new(79, 0.0).unwrap();
        let over = Clock::starting(Instant::now() - Duration::from_secs(6));
        let bytes = corpus.run(0, 3).bytes;
        assert_eq!(write_run(&mut Narrow { room: 158 }, bytes, over, 0).0, 158);
        let mut plan = plan(0, 12);
        plan.sending = Duration::from_millis(50);
        plan.per_write = 3;
        let sent = send(&plan, &corpus, 0, Clock::starting(Instant::now()), None, &mut Narrow { room: 100 });
        assert_eq!((sent.lines, sent.bytes, sent.torn), (1, 100, true));
    }
}
