//! `sluice bench --http`: the same load over HTTP/1.1, one request a write or many in flight.
//!
//! Owns the options that only HTTP has and the order of a run: requests are rendered (`requests`), one thread drives
//! hundreds of connections (`drive`, `client`), then the counters are followed until they cover what was accepted, and
//! all is told (`report`). Latency counts answers of success alone: a refusal comes fast and is no service.

mod client;
mod drive;
mod report;
mod requests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lines::{Corpus, Shape};
use super::plan::Plan;
use super::process::Process;
use super::scrape::{Metrics, Outcomes};
use super::{Ack, Args};
pub use report::Report;
use requests::Requests;

/// Between two looks at the counters once all is answered.
const LOOK: Duration = Duration::from_millis(5);

/// What only HTTP has.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Speak HTTP/1.1 to --addr: POST --path, keep-alive.
    #[arg(long)]
    pub http: bool,
    /// Route that takes the events; `/api/v1/events` gets S4's fields, any other path score updates.
    #[arg(long, default_value = "/events", value_name = "PATH", requires = "http")]
    pub path: String,
    /// Events a request: 1 is a JSON object, more are NDJSON.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "http", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Requests in flight a connection.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "http", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pipeline: u32,
}

/// What is to be requested, and when.
pub struct Load {
    pub addr: SocketAddr,
    /// Path and query.
    pub target: String,
    pub batch: u64,
    pub pipeline: usize,
    pub ack: Option<Ack>,
    /// Counts requests; its rate is in events.
    pub plan: Plan,
}

impl Load {
    /// `plan` counts events.
    pub fn new(args: &Args, addr: SocketAddr, plan: &Plan) -> Result<Self, String> {
        let Options { path, batch, pipeline, .. } = &args.http;
        if !path.starts_with('/') || path.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
            return Err(format!("--path {path}: a path begins with / and has no blanks"));
        }
        let batch = u64::from(*batch);
        let target = match args.ack {
            Some(ack) => format!("{path}{}ack={}", if path.contains('?') { '&' } else { '?' }, ack.word()),
            None => path.clone(),
        };
        let requests = if plan.count == u64::MAX { u64::MAX } else { plan.count.div_ceil(batch) };
        let plan = Plan { count: requests, ..plan.clone() };
        Ok(Self { addr, target, batch, pipeline: *pipeline as usize, ack: args.ack, plan })
    }

    /// When request `k` of connection `i` is due, in nanoseconds of the run, in open loop.
    pub fn due_ns(&self, i: u32, k: u64) -> u64 {
        let request = u128::from(k) * u128::from(self.plan.connections) + u128::from(i);
        let ns = request * u128::from(self.batch) * 1_000_000_000 / u128::from(self.plan.rate.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    pub fn is_open(&self) -> bool {
        self.plan.rate > 0
    }

    fn shape(&self) -> Shape {
        if self.target.starts_with("/api/v1/events") { Shape::Player } else { Shape::Score }
    }
}

/// Runs the load to its end.
pub fn execute(
    args: &Args,
    load: &Load,
    metrics: Option<Metrics>,
    process: Option<Process>,
) -> Result<Report, String> {
    let shape = load.shape();
    let corpus = Corpus::new(shape, args.size.unwrap_or(shape.plain_bytes()), 0.0)?;
    let requests = Requests::new(load, &corpus);
    let (mut tally, clock) = drive::run(load, &requests)?;
    let (outcomes, settled_ns) = match &metrics {
        None => (None, None),
        Some(metrics) => follow(metrics, tally.accepted, load.plan.settle, || clock.now_ns()),
    };
    tally.own_cpu_ns += super::process::thread_cpu_ns();
    let usage = process.map(|process| process.usage());
    Ok(Report::new(load, requests.event_bytes(), tally, outcomes, settled_ns, usage))
}

/// Follows the counters until they cover what was accepted.
fn follow(
    metrics: &Metrics,
    accepted: u64,
    patience: Duration,
    now_ns: impl Fn() -> u64,
) -> (Option<Outcomes>, Option<u64>) {
    let begun = Instant::now();
    let mut last = None;
    loop {
        let seen: Option<Outcomes> = metrics.sample().ok().or(last);
        // Events turned away are counted as well: the end is when nothing moves any more, or all is stored.
        let is_quiet = seen == last;
        let ended = seen.map_or(0, |o| o.total() - o.rejected);
        if seen.is_some_and(|o| o.stored >= accepted || (ended >= accepted && is_quiet)) {
            return (seen, Some(now_ns()));
        }
        if begun.elapsed() >= patience {
            return (seen, None);
        }
        last = seen;
        std::thread::sleep(LOOK);
    }
}
