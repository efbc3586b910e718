//! The run as a whole: opens the connections, starts the threads, follows the gateway's counters until everything
//! is accounted for or time is up, and adds up.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::answers::{Answers, Due, Totals, histogram};
use super::lines::Corpus;
use super::load::{self, Clock, GLANCE, Plan, Sent, Target};
use super::process::{self, Process, Usage};
use super::scrape::{Metrics, Outcomes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const THREAD_STACK_BYTES: usize = 128 << 10;
/// From the last connection to the first line, so that all threads stand ready.
const LEAD_IN: Duration = Duration::from_millis(20);
/// Bounds of the time between two looks at the counters: a scrape costs the gateway CPU that we measure.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Everything that was measured.
pub struct Measured {
    pub lines: u64,
    pub bytes: u64,
    pub malformed: u64,
    pub send_us: Histogram<u64>,
    /// End of the last write, in nanoseconds of the run.
    pub sent_ns: u64,
    pub torn: u64,
    pub faults: Vec<String>,
    /// Answers of all connections, if they were asked for.
    pub answers: Option<Heard>,
    /// The gateway's counters at the end, if they were read.
    pub outcomes: Option<Outcomes>,
    /// When the counters first covered all that was sent.
    pub settled_ns: Option<u64>,
    pub gateway: Option<Result<Usage, String>>,
    pub generator_cpu_ns: u64,
}

/// Answers of all connections.
pub struct Heard {
    pub totals: Totals,
    pub stored_us: Histogram<u64>,
    pub last_ns: u64,
}

/// Counters by which the threads tell the watcher where they are.
#[derive(Default)]
struct Progress {
    writing: AtomicUsize,
    listening: AtomicUsize,
    sent: AtomicU64,
    give_up: AtomicBool,
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
    let due: Vec<Mutex<VecDeque<Due>>> = (0..plan.connections).map(|_| Mutex::default()).collect();
    let progress = Progress::default();
    let clock = Clock::starting(Instant::now() + LEAD_IN);
    let mut measured = std::thread::scope(|scope| {
        let threads = Threads::start(scope, plan, corpus, &streams, &due, &progress, clock);
        let threads = threads.inspect_err(|_| progress.give_up.store(true, Ordering::Relaxed))?;
        let (outcomes, settled_ns) = follow(plan, metrics.as_ref(), &progress, clock);
        let usage = gateway.map(|process| process.usage());
        progress.give_up.store(true, Ordering::Relaxed);
        let mut measured = threads.join(plan.ack);
        (measured.outcomes, measured.settled_ns, measured.gateway) = (outcomes, settled_ns, usage);
        Ok::<_, String>(measured)
    })?;
    measured.generator_cpu_ns += process::thread_cpu_ns();
    Ok(measured)
}

fn connect_all(addr: SocketAddr, plan: &Plan) -> Result<Vec<TcpStream>, String> {
    let files = u64::from(plan.connections) + 64;
    let _ = rlimit::increase_nofile_limit(files); // best effort: the connection that fails says so
    let open = |_| -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(GLANCE))?;
        if plan.ack {
            stream.write_all(b"#ack\n")?;
        }
        Ok(stream)
    };
    (0..plan.connections).map(open).collect::<Result<_, _>>().map_err(|e| format!("--addr {addr}: {e}"))
}

/// Follows the counters until all is accounted for, or `settle` after the last line.
fn follow(
    plan: &Plan,
    metrics: Option<&Metrics>,
    progress: &Progress,
    clock: Clock,
) -> (Option<Outcomes>, Option<u64>) {
    let (mut last, mut settled_ns, mut sent_since) = (None, None, None);
    loop {
        let sent =
            (progress.writing.load(Ordering::Acquire) == 0).then(|| progress.sent.load(Ordering::Relaxed));
        if let (Some(metrics), None) = (metrics, settled_ns) {
            last = metrics.sample().ok().or(last);
            settled_ns = sent
                .filter(|sent| last.is_some_and(|o: Outcomes| o.total() >= *sent))
                .map(|_| clock.now_ns());
        }
        if sent.is_some() {
            let heard = progress.listening.load(Ordering::Acquire) == 0;
            let since = *sent_since.get_or_insert_with(Instant::now);
            if (heard && (metrics.is_none() || settled_ns.is_some())) || since.elapsed() >= plan.settle {
                return (last, settled_ns);
            }
        }
        std::thread::sleep(next_look(sent, last, clock));
    }
}

/// A quarter of the time that the rest should take, so that the last look comes soon after the end.
fn next_look(sent: Option<u64>, seen: Option<Outcomes>, clock: Clock) -> Duration {
    let Some(sent) = sent else { return LONGEST_LOOK };
    let seen = seen.map_or(0, |o| o.total());
    let left_ns =
        u128::from(clock.now_ns()) * u128::from(sent.saturating_sub(seen)) / u128::from(seen.max(1));
    Duration::from_nanos(u64::try_from(left_ns / 4).unwrap_or(u64::MAX)).clamp(SHORTEST_LOOK, LONGEST_LOOK)
}

struct Threads<'scope> {
    writers: Vec<ScopedJoinHandle<'scope, (Sent, u64)>>,
    listeners: Vec<ScopedJoinHandle<'scope, (Answers, u64)>>,
}

impl<'scope> Threads<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        plan: &'env Plan,
        corpus: &'env Corpus,
        streams: &'env [TcpStream],
        due: &'env [Mutex<VecDeque<Due>>],
        progress: &'env Progress,
        clock: Clock,
    ) -> Result<Self, String> {
        let mut threads = Self { writers: Vec::new(), listeners: Vec::new() };
        let thread = |name: &str| Builder::new().name(name.into()).stack_size(THREAD_STACK_BYTES);
        for (i, due) in (0..plan.connections).zip(due) {
            let stream = streams.get(i as usize);
            progress.writing.fetch_add(1, Ordering::Relaxed);
            let writer = move || write_share(plan, corpus, i, clock, stream, due, progress);
            threads
                .writers
                .push(thread("bench-send").spawn_scoped(scope, writer).map_err(|e| e.to_string())?);
            let (true, Some(stream)) = (plan.ack, stream) else { continue };
            progress.listening.fetch_add(1, Ordering::Relaxed);
            let listener = move || {
                let answers = load::listen(stream, clock, due, &progress.give_up);
                progress.listening.fetch_sub(1, Ordering::Release);
                (answers, process::thread_cpu_ns())
            };
            threads
                .listeners
                .push(thread("bench-hear").spawn_scoped(scope, listener).map_err(|e| e.to_string())?);
        }
        Ok(threads)
    }

    fn join(self, ack: bool) -> Measured {
        let mut all = Measured::empty();
        let mut sent_by = Vec::with_capacity(self.writers.len());
        for writer in self.writers {
            let (sent, cpu_ns) = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.generator_cpu_ns += cpu_ns;
            sent_by.push(sent.lines + u64::from(sent.torn));
            all.add(sent);
        }
        let mut heard = Heard { totals: Totals::default(), stored_us: histogram(), last_ns: 0 };
        for (listener, sent) in self.listeners.into_iter().zip(sent_by) {
            let (mut answers, cpu_ns) =
                listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.generator_cpu_ns += cpu_ns;
            answers.totals.closed = u64::from(answers.account_closed_at == Some(sent));
            heard.totals.add(&answers.totals);
            heard.last_ns = heard.last_ns.max(answers.last_ns);
            let _ = heard.stored_us.add(&answers.latency_us); // both grow by themselves: never out of range
        }
        all.answers = ack.then_some(heard);
        all
    }
}

/// A writer's thread: sends, closes its half, and reports.
fn write_share(
    plan: &Plan,
    corpus: &Corpus,
    i: u32,
    clock: Clock,
    stream: Option<&TcpStream>,
    due: &Mutex<VecDeque<Due>>,
    progress: &Progress,
) -> (Sent, u64) {
    let due = plan.ack.then_some(due);
    let mut sent = match stream {
        Some(mut stream) => load::send(plan, corpus, i, clock, due, &mut stream),
        None => load::send(plan, corpus, i, clock, due, &mut std::io::stdout().lock()),
    };
    if let Some(Err(e)) = stream.map(|s| s.shutdown(Shutdown::Write)) {
        sent.fault.get_or_insert(e.to_string());
    }
    progress.sent.fetch_add(sent.lines + u64::from(sent.torn), Ordering::Relaxed);
    progress.writing.fetch_sub(1, Ordering::Release);
    (sent, process::thread_cpu_ns())
}

impl Measured {
    fn empty() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            malformed: 0,
            send_us: histogram(),
            sent_ns: 0,
            torn: 0,
            faults: Vec::new(),
            answers: None,
            outcomes: None,
            settled_ns: None,
            gateway: None,
            generator_cpu_ns: 0,
        }
    }

    fn add(&mut self, sent: Sent) {
        self.lines += sent.lines;
        self.bytes += sent.bytes;
        self.malformed += sent.malformed;
        self.sent_ns = self.sent_ns.max(sent.last_ns);
        self.torn += u64::from(sent.torn);
        self.faults.extend(sent.fault);
        let _ = self.send_us.add(&sent.latency_us); // both grow by themselves: never out of range
    }
}
