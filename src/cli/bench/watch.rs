//! The run as a whole: opens the connections, starts the threads, follows the gateway's counters until everything
//! is accounted for or time is up, and adds up.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use super::answers::{Answers, Due};
use super::hear::{GLANCE, listen};
use super::lines::Corpus;
use super::measured::{Heard, Measured};
use super::plan::{Clock, Plan, Target};
use super::process::{self, Process};
use super::scrape::{Metrics, Outcomes};
use super::send::{Sender, Sent, Step};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one connection may hold up a pacer, once; the kernel rounds it up to its tick.
const PACER_PATIENCE: Duration = Duration::from_millis(1);
const THREAD_STACK_BYTES: usize = 128 << 10;
/// From the last connection to the first line, so that all threads stand ready.
const LEAD_IN: Duration = Duration::from_millis(20);
/// Bounds of the time between two looks at the counters: a scrape costs the gateway CPU that we measure.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Where the threads tell the watcher how far they are, and leave what they found.
#[derive(Default)]
struct Board {
    writing: AtomicUsize,
    hearing: AtomicUsize,
    sent: AtomicU64,
    give_up: AtomicBool,
    cpu_ns: AtomicU64,
    results: Mutex<Vec<(u32, Sent)>>,
    heard: Mutex<Vec<(u32, Answers)>>,
}

/// What every thread of a run sees.
struct Stage<'a> {
    plan: &'a Plan,
    corpus: &'a Corpus,
    streams: Vec<TcpStream>,
    due: Vec<Mutex<VecDeque<Due>>>,
    board: Board,
    clock: Clock,
}

/// Runs the plan. Fails when a connection cannot be opened or a thread not be started.
pub fn run(
    plan: &Plan,
    corpus: &Corpus,
    metrics: Option<Metrics>,
    gateway: Option<Process>,
) -> Result<Measured, String> {
    // Threads inherit it: sleeps end when due, not up to 50 us later. Best effort, the default only blurs.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let streams = match plan.target {
        Target::Tcp(addr) => connect_all(addr, plan)?,
        Target::Stdout => Vec::new(),
    };
    let due = (0..plan.connections).map(|_| Mutex::default()).collect();
    let clock = Clock::starting(Instant::now() + LEAD_IN);
    let stage = Stage { plan, corpus, streams, due, board: Board::default(), clock };
    let (outcomes, settled_ns, usage) = std::thread::scope(|scope| {
        let started = stage.start(scope);
        let followed = started.map(|()| stage.follow(metrics.as_ref()));
        let usage = gateway.map(|process| process.usage());
        stage.board.give_up.store(true, Ordering::Relaxed);
        followed.map(|(outcomes, settled_ns)| (outcomes, settled_ns, usage))
    })?;
    let mut measured = stage.add_up();
    (measured.outcomes, measured.settled_ns, measured.gateway) = (outcomes, settled_ns, usage);
    Ok(measured)
}

fn connect_all(addr: SocketAddr, plan: &Plan) -> Result<Vec<TcpStream>, String> {
    let files = u64::from(plan.connections) + 64;
    let _ = rlimit::increase_nofile_limit(files); // best effort: the connection that fails says so
    let open = |_| -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(if plan.rate > 0 { PACER_PATIENCE } else { GLANCE }))?;
        if plan.ack {
            stream.write_all(b"#ack\n")?;
        }
        Ok(stream)
    };
    (0..plan.connections).map(open).collect::<Result<_, _>>().map_err(|e| format!("--addr {addr}: {e}"))
}

/// A quarter of the time that the rest should take, so that the last look comes soon after the end.
fn next_look(sent: Option<u64>, seen: Option<Outcomes>, clock: Clock) -> Duration {
    let Some(sent) = sent else { return LONGEST_LOOK };
    let seen = seen.map_or(0, |o| o.total());
    let left_ns =
        u128::from(clock.now_ns()) * u128::from(sent.saturating_sub(seen)) / u128::from(seen.max(1));
    Duration::from_nanos(u64::try_from(left_ns / 4).unwrap_or(u64::MAX)).clamp(SHORTEST_LOOK, LONGEST_LOOK)
}

impl<'a> Stage<'a> {
    /// Starts the hearing threads, then the sending ones: a pacer for many in open loop, one each in closed loop.
    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Result<(), String> {
        for i in 0..if self.plan.ack { self.plan.connections } else { 0 } {
            self.board.hearing.fetch_add(1, Ordering::Relaxed);
            spawn(scope, "bench-hear", move || self.hear(i))?;
        }
        self.board.writing.store(self.plan.connections as usize, Ordering::Relaxed);
        if self.streams.is_empty() {
            return spawn(scope, "bench-send", || self.send_alone(self.sender(0, std::io::stdout())));
        }
        let senders = self.streams.iter().zip(0..).map(|(stream, i)| self.sender(i, stream));
        if self.plan.rate == 0 {
            for sender in senders {
                spawn(scope, "bench-send", move || self.send_alone(sender))?;
            }
            return Ok(());
        }
        let pacers = self.plan.pacers();
        let mut shares: Vec<Vec<_>> = (0..pacers).map(|_| Vec::new()).collect();
        senders.enumerate().for_each(|(n, sender)| shares[n % pacers].push(sender));
        shares.into_iter().try_for_each(|share| spawn(scope, "bench-pace", move || self.pace(scope, share)))
    }

    fn sender<W: Write>(&'a self, i: u32, out: W) -> Sender<'a, W> {
        Sender::new(self.plan, self.corpus, self.clock, &self.due[i as usize], i, out)
    }

    /// Serves connections in turn, which is the order in which their events are due; one that blocks leaves the round.
    fn pace<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        mut senders: Vec<Sender<'scope, &'scope TcpStream>>,
    ) {
        self.clock.sleep_until(0);
        while !senders.is_empty() {
            let mut at = 0;
            while at < senders.len() {
                match senders[at].step() {
                    Step::Wrote => at += 1,
                    Step::Over => self.finish(senders.remove(at)),
                    Step::Blocked => {
                        let sender = senders.remove(at);
                        let i = sender.i;
                        if let Err(fault) = spawn(scope, "bench-send", move || self.send_alone(sender)) {
                            self.leave(i, Sent::failed(fault));
                        }
                    }
                }
            }
        }
        self.add_cpu();
    }

    fn send_alone<W: Write + Stream>(&self, mut sender: Sender<'_, W>) {
        sender.out.be_patient();
        sender.run();
        self.finish(sender);
        self.add_cpu();
    }

    fn finish<W: Write + Stream>(&self, mut sender: Sender<'_, W>) {
        if let Err(e) = sender.out.end() {
            sender.sent.fault.get_or_insert(e.to_string());
        }
        self.leave(sender.i, sender.sent);
    }

    fn leave(&self, i: u32, sent: Sent) {
        self.board.sent.fetch_add(sent.messages(), Ordering::Relaxed);
        put(&self.board.results, (i, sent));
        self.board.writing.fetch_sub(1, Ordering::Release);
    }

    fn hear(&self, i: u32) {
        let answers =
            listen(&self.streams[i as usize], self.clock, &self.due[i as usize], &self.board.give_up);
        put(&self.board.heard, (i, answers));
        self.board.hearing.fetch_sub(1, Ordering::Release);
        self.add_cpu();
    }

    fn add_cpu(&self) {
        self.board.cpu_ns.fetch_add(process::thread_cpu_ns(), Ordering::Relaxed);
    }

    /// Follows the counters until all is accounted for, or `settle` after the last line.
    fn follow(&self, metrics: Option<&Metrics>) -> (Option<Outcomes>, Option<u64>) {
        let (mut last, mut settled_ns, mut sent_since) = (None, None, None);
        loop {
            let sent = (self.board.writing.load(Ordering::Acquire) == 0)
                .then(|| self.board.sent.load(Ordering::Relaxed));
            if let (Some(metrics), None) = (metrics, settled_ns) {
                last = metrics.sample().ok().or(last);
                settled_ns = sent
                    .filter(|sent| last.is_some_and(|o: Outcomes| o.total() >= *sent))
                    .map(|_| self.clock.now_ns());
            }
            if sent.is_some() {
                let heard = self.board.hearing.load(Ordering::Acquire) == 0;
                let since = *sent_since.get_or_insert_with(Instant::now);
                if (heard && (metrics.is_none() || settled_ns.is_some()))
                    || since.elapsed() >= self.plan.settle
                {
                    return (last, settled_ns);
                }
            }
            std::thread::sleep(next_look(sent, last, self.clock));
        }
    }

    fn add_up(self) -> Measured {
        let mut all = Measured::empty();
        let mut sent_by = vec![0; self.plan.connections as usize];
        for (i, sent) in into_inner(self.board.results) {
            sent_by[i as usize] = sent.messages();
            all.add(sent);
        }
        let mut heard = Heard::default();
        for (i, answers) in into_inner(self.board.heard) {
            heard.add(answers, sent_by[i as usize]);
        }
        all.answers = self.plan.ack.then_some(heard);
        all.generator_cpu_ns = self.board.cpu_ns.into_inner() + process::thread_cpu_ns();
        all
    }
}

/// What a sending thread does to its stream beside writing.
trait Stream {
    /// From now on a write may block long.
    fn be_patient(&self) {}
    /// Nothing more will be written.
    fn end(&mut self) -> std::io::Result<()>;
}

impl Stream for &TcpStream {
    fn be_patient(&self) {
        let _ = self.set_write_timeout(Some(GLANCE)); // fails only for a duration of zero
    }
    fn end(&mut self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for std::io::Stdout {
    fn end(&mut self) -> std::io::Result<()> {
        self.flush()
    }
}

fn spawn<'scope, F: FnOnce() + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: F,
) -> Result<(), String> {
    let thread = Builder::new().name(name.into()).stack_size(THREAD_STACK_BYTES);
    thread.spawn_scoped(scope, run).map(|_| ()).map_err(|e| format!("no thread for a connection: {e}"))
}

/// A poisoned lock means that another thread panicked, which ends the run anyway; a list of results is whole.
fn put<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(item);
}

fn into_inner<T>(list: Mutex<Vec<T>>) -> Vec<T> {
    list.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
