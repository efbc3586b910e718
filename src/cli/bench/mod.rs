//! `sluice bench`: puts load on a gateway over TCP or HTTP and says what came of it.
//!
//! Two rates stand side by side (G21): *enqueue*, what the peer's kernel took, and *stored*, what the gateway says
//! Kafka has. The first alone is what queue-only benchmarks publish, and it can be had by losing everything.
//! Latency in open loop counts from the moment an event was due, not from when a late sender got round to it, so a
//! stalled gateway cannot hide behind a generator that waited for it (coordinated omission).
//!
//! Never sends without a bound in count or time, never waits for ever, never reads Kafka.

mod answers;
mod hear;
mod http;
mod lines;
mod measured;
mod plan;
mod process;
mod report;
mod scrape;
mod send;
mod watch;

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use lines::{Corpus, Shape};
use plan::{Plan, Target};
use process::Process;
use report::Report;
use scrape::Metrics;

const EXAMPLES: &str = "\
Examples:
  sluice bench --count 2000000 --pid \"$(pidof sluice)\"              TCP lines, as fast as they are taken
  sluice bench --rate 10000 --duration 10s --connections 8 --ack     TCP, latency to stored
  sluice bench --http --pid \"$(pidof sluice)\"                        POST /events, one event a request
  sluice bench --http --batch 100 --pipeline 4 --ack delivered       NDJSON, 200 once stored
  sluice bench --http --path /api/v1/events --rate 5000 --duration 10s";

/// Put load on a running gateway over TCP or HTTP, and report rates, latency and CPU per event.
///
/// Open loop (--rate) sends on a fixed schedule whatever the gateway does; closed loop (no --rate) sends as fast
/// as it is taken. Exit code 0: every line sent is accounted for; 1: some are not, or the run was cut short;
/// 2: bad arguments. With --http a line is an event, and a refusal (statuses are counted) is an end as well.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Gateway's listener: 127.0.0.1:7000, with --http 127.0.0.1:8080; `-` writes the lines to standard output and
    /// the report to standard error.
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    #[command(flatten)]
    http: http::Options,
    /// Gateway's health listener, read for stored counts; `off` for a peer that has none.
    #[arg(long, default_value = "127.0.0.1:7001", value_name = "HOST:PORT|off")]
    health: String,
    /// Connections, all opened before the first line is sent.
    #[arg(long, short = 'c', default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Events a second over all connections; 0 = closed loop.
    #[arg(long, short = 'r', default_value_t = 0, value_name = "PER_SECOND")]
    rate: u64,
    /// Stop after this many events (1,000,000 when --duration is not given either).
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// Stop sending after this time, such as 10s; without it a run by count is cut short after 60s.
    #[arg(long, short = 'd', value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Wait this long after the last line for everything to be accounted for.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// Bytes an event, its LF included (79, on /api/v1/events 138); a longer one is padded.
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// Share of lines that no gateway should take, of eight kinds.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    malformed: f64,
    /// Lines a write; 0 = 64 KiB at once in closed loop, one line in open loop.
    #[arg(long, default_value_t = 0, value_name = "N")]
    per_write: u32,
    /// TCP: ask for answers by `#ack`, and measure from the scheduled send to `stored`. HTTP: when requests are
    /// answered, instead of the route's own way.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_missing_value = "lines")]
    ack: Option<Ack>,
    /// Process id of the gateway, for its CPU per event and its peak memory.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--ack` asks for.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    /// TCP's answers: `--ack` alone.
    #[value(hide = true)]
    Lines,
    None,
    Queued,
    Delivered,
}

impl Ack {
    fn word(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::None => "none",
            Self::Queued => "queued",
            Self::Delivered => "delivered",
        }
    }
}

/// Events of a run that names neither a count nor a duration.
const DEFAULT_COUNT: u64 = 1_000_000;
/// How long a run that names only a count may send.
const LONGEST_SENDING: Duration = Duration::from_secs(60);

/// Runs the benchmark. Faults of the arguments end in 2, of the network or the account in 1.
pub fn run(args: Args) -> ExitCode {
    let plan = match plan(&args) {
        Ok(plan) => plan,
        Err(fault) => {
            eprintln!("sluice bench: {fault}");
            return ExitCode::from(2);
        }
    };
    match execute(&args, &plan) {
        Ok((text, is_complete)) => {
            if plan.target == Target::Stdout {
                eprint!("{text}")
            } else {
                print!("{text}")
            }
            if is_complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(fault) => {
            eprintln!("sluice bench: {fault}");
            ExitCode::from(1)
        }
    }
}

fn plan(args: &Args) -> Result<Plan, String> {
    let is_http = args.http.http;
    if is_http && !cfg!(feature = "http") {
        return Err(format!("--http: {}", super::NO_HTTP));
    }
    let target = match args.addr.as_deref() {
        Some("-") => Target::Stdout,
        Some(addr) => Target::Tcp(resolve("--addr", addr.trim_start_matches("http://"))?),
        None if is_http => Target::Tcp(resolve("--addr", "127.0.0.1:8080")?),
        None => Target::Tcp(resolve("--addr", "127.0.0.1:7000")?),
    };
    match (is_http, args.ack) {
        (true, Some(Ack::Lines)) => return Err("with --http say --ack none, queued or delivered".into()),
        (false, Some(Ack::None | Ack::Queued | Ack::Delivered)) => {
            return Err("over TCP --ack takes no value: lines are answered when they are stored".into());
        }
        _ => {}
    }
    if is_http && (target == Target::Stdout || args.malformed > 0.0 || args.per_write > 0) {
        return Err("--http goes without --addr -, --malformed and --per-write".into());
    }
    if target == Target::Stdout && (args.ack.is_some() || args.connections != 1) {
        return Err("--addr - is one stream without answers: use --connections 1 and no --ack".into());
    }
    if !(0.0..=100.0).contains(&args.malformed) {
        return Err(format!("--malformed {} is not a share between 0 and 100 percent", args.malformed));
    }
    if args.count == Some(0) {
        return Err("--count 0 sends nothing: name at least 1".into());
    }
    let count = args.count.or(args.duration.is_none().then_some(DEFAULT_COUNT));
    Ok(Plan {
        target,
        connections: args.connections,
        rate: args.rate,
        count: count.unwrap_or(u64::MAX),
        by_time: args.count.is_none() || args.duration.is_some(),
        sending: args.duration.unwrap_or(LONGEST_SENDING),
        settle: args.settle,
        per_write: args.per_write,
        ack: args.ack == Some(Ack::Lines),
        watched: args.health != "off" && target != Target::Stdout,
    })
}

/// Runs the plan. The report, and whether everything is accounted for.
fn execute(args: &Args, plan: &Plan) -> Result<(String, bool), String> {
    let health = args.health.trim_start_matches("http://");
    let metrics = plan.watched.then(|| Metrics::connect(resolve("--health", health)?)).transpose()?;
    let process = args.pid.map(Process::open).transpose()?;
    if let (true, Target::Tcp(addr)) = (cfg!(feature = "http") && args.http.http, plan.target) {
        let load = http::Load::new(args, addr, plan)?;
        let report = http::execute(args, &load, metrics, process)?;
        return Ok((if args.json { report.json() } else { report.text() }, report.is_complete()));
    }
    let corpus = Corpus::new(Shape::Score, args.size.unwrap_or(lines::PLAIN_LINE_BYTES), args.malformed)?;
    let run = watch::run(plan, &corpus, metrics, process)?;
    let report = Report::new(plan, &corpus, run);
    Ok((if args.json { report.json() } else { report.text() }, report.is_complete()))
}

fn resolve(option: &str, addr: &str) -> Result<SocketAddr, String> {
    let mut found =
        addr.to_socket_addrs().map_err(|e| format!("{option} {addr}: {e}; expected HOST:PORT"))?;
    found.next().ok_or_else(|| format!("{option} {addr}: no address"))
}

#[cfg(test)]
mod tests;
