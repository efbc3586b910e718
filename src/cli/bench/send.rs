//! One connection's part of the load: writes lines when they are due and keeps its own account.
//!
//! In closed loop each connection has a thread that blocks in its writes. In open loop one pacer serves many, since
//! a sleep and a wake-up an event would cost the machine more than the event; a connection that does not take its
//! line at once is handed to a thread of its own, so that it stalls alone.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::answers::{Due, histogram, record};
use super::hear::lock;
use super::lines::Corpus;
use super::plan::{Clock, Plan};

/// What a line that the end of the run cut in two gets to be completed.
const FINISH_LINE: Duration = Duration::from_secs(2);

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

impl Sent {
    pub fn new() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            malformed: 0,
            latency_us: histogram(),
            last_ns: 0,
            torn: false,
            fault: None,
        }
    }

    pub fn failed(fault: String) -> Self {
        Self { fault: Some(fault), ..Self::new() }
    }

    /// Messages that the peer sees: a torn line ends with the stream.
    pub fn messages(&self) -> u64 {
        self.lines + u64::from(self.torn)
    }
}

/// Sends connection `i`'s share of the plan, write by write.
pub struct Sender<'a, W> {
    pub i: u32,
    pub out: W,
    pub sent: Sent,
    plan: &'a Plan,
    corpus: &'a Corpus,
    clock: Clock,
    /// Told of each write before it is made, if answers are awaited.
    due: Option<&'a Mutex<VecDeque<Due>>>,
    /// The write under way.
    open: Option<Open<'a>>,
}

struct Open<'a> {
    bytes: &'a [u8],
    begin_ns: u64,
    taken: usize,
    /// Where this write is to end: all of it, or once the time is up the end of the line begun.
    limit: usize,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A write is complete.
    Wrote,
    /// The peer took nothing for a moment; the write goes on with the next step.
    Blocked,
    /// Nothing more is to be sent.
    Over,
}

impl<'a, W: Write> Sender<'a, W> {
    pub fn new(
        plan: &'a Plan,
        corpus: &'a Corpus,
        clock: Clock,
        due: &'a Mutex<VecDeque<Due>>,
        i: u32,
        out: W,
    ) -> Self {
        Self { i, out, sent: Sent::new(), plan, corpus, clock, due: plan.ack.then_some(due), open: None }
    }

    /// Begins the next write when it is due, or goes on with the open one.
    pub fn step(&mut self) -> Step {
        let mut open = match self.open.take().or_else(|| self.begin()) {
            Some(open) => open,
            None => return Step::Over,
        };
        while open.taken < open.limit {
            match self.out.write(&open.bytes[open.taken..open.limit]) {
                Ok(0) => return self.close(&open, Some("the peer takes no more".into())),
                Ok(n) => open.taken += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !self.is_time_up(&mut open) {
                        self.open = Some(open);
                        return Step::Blocked;
                    }
                }
                Err(e) => return self.close(&open, Some(e.to_string())),
            }
        }
        self.close(&open, None)
    }

    /// All of the share, in this thread.
    pub fn run(&mut self) {
        self.clock.sleep_until(0);
        while self.step() != Step::Over {}
    }

    fn begin(&mut self) -> Option<Open<'a>> {
        let left = self.plan.quota(self.i).saturating_sub(self.sent.lines);
        let at_once = self.plan.lines_a_write(self.corpus);
        let run = self.corpus.run(self.place(), at_once.min(usize::try_from(left).unwrap_or(at_once)));
        let open_loop = self.plan.rate > 0;
        let begin_ns =
            if open_loop { self.plan.due_ns(self.i, self.sent.lines) } else { self.clock.now_ns() };
        if left == 0 || begin_ns >= self.plan.sending_ns() || self.sent.fault.is_some() {
            return None;
        }
        self.clock.sleep_until(begin_ns);
        if let Some(due) = self.due {
            lock(due).push_back(Due { last: self.sent.lines + run.lines as u64, at_ns: begin_ns });
        }
        Some(Open { bytes: run.bytes, begin_ns, taken: 0, limit: run.bytes.len() })
    }

    /// Past the end of the run a write goes on to the end of its line at most, and not for ever.
    /// Says whether to give up; shortens the write as needed.
    fn is_time_up(&self, open: &mut Open<'a>) -> bool {
        let (now_ns, stop_ns) = (self.clock.now_ns(), self.plan.sending_ns());
        if now_ns < stop_ns {
            return false;
        }
        let torn = open.taken > 0 && open.bytes[open.taken - 1] != b'\n';
        let rest = open.bytes[open.taken..].iter().position(|b| *b == b'\n').map_or(0, |lf| lf + 1);
        open.limit = if torn { open.taken + rest } else { open.taken };
        if now_ns >= stop_ns.saturating_add(FINISH_LINE.as_nanos() as u64) {
            open.limit = open.taken;
        }
        open.taken == open.limit
    }

    fn close(&mut self, open: &Open<'a>, fault: Option<String>) -> Step {
        let lines = self.corpus.complete_lines(self.place(), open.taken) as u64;
        let sent = &mut self.sent;
        sent.last_ns = self.clock.now_ns();
        record(&mut sent.latency_us, sent.last_ns.saturating_sub(open.begin_ns), lines);
        sent.bytes += open.taken as u64;
        sent.torn = open.taken > 0 && open.bytes[open.taken - 1] != b'\n';
        sent.fault = fault;
        let from = self.plan.ring_start(self.i, self.corpus);
        self.sent.lines += lines;
        self.sent.malformed = self.corpus.malformed(from, self.sent.lines);
        if open.taken < open.bytes.len() { Step::Over } else { Step::Wrote }
    }

    /// Place in the ring of the next line.
    fn place(&self) -> u64 {
        self.plan.ring_start(self.i, self.corpus) + self.sent.lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Shape;
    use super::*;
    use std::time::Instant;

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

    fn sent<W: Write>(plan: &Plan, clock: Clock, out: W) -> Sent {
        let (corpus, due) = (Corpus::new(Shape::Score, 79, 0.0).unwrap(), Mutex::default());
        let mut sender = Sender::new(plan, &corpus, clock, &due, 0, out);
        sender.run();
        sender.sent
    }

    #[test]
    fn open_loop_latency_counts_from_the_due_time() {
        let late = Clock::starting(Instant::now() - Duration::from_millis(500));
        let open = sent(&Plan::small(1000, 10), late, Vec::new());
        assert_eq!((open.lines, open.bytes), (10, 790));
        assert!(
            open.latency_us.min() >= 400_000,
            "sent late, so each line waited: {}",
            open.latency_us.min()
        );
        let closed = sent(&Plan::small(0, 10), late, Vec::new());
        assert!(closed.latency_us.max() < 400_000, "closed loop counts the write alone");
    }

    #[test]
    fn a_blocked_write_goes_on_where_it_stopped() {
        let (corpus, due, plan) =
            (Corpus::new(Shape::Score, 79, 0.0).unwrap(), Mutex::default(), Plan::small(1000, 2));
        let clock = Clock::starting(Instant::now());
        let mut sender = Sender::new(&plan, &corpus, clock, &due, 0, Narrow { room: 30 });
        assert_eq!((sender.step(), sender.sent.lines), (Step::Blocked, 0));
        sender.out.room = 49;
        assert_eq!((sender.step(), sender.sent.lines, sender.sent.bytes), (Step::Wrote, 1, 79));
        sender.out.room = 100;
        assert_eq!([sender.step(), sender.step()], [Step::Wrote, Step::Over]);
        assert_eq!((sender.sent.lines, sender.out.room), (2, 21));
    }

    #[test]
    fn the_end_of_the_run_leaves_no_torn_line_where_there_is_room() {
        let mut plan = Plan::small(0, 3);
        plan.sending = Duration::from_millis(500);
        let clock = Clock::starting(Instant::now());
        let whole = sent(&plan, clock, Narrow { room: 158 });
        assert_eq!((whole.lines, whole.bytes, whole.torn), (2, 158, false));
        let clock = Clock::starting(Instant::now());
        let torn = sent(&plan, clock, Narrow { room: 100 });
        assert_eq!((torn.lines, torn.bytes, torn.torn), (1, 100, true));
    }
}
