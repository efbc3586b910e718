//! `sluice send`: lines from a file or stdin to a gateway over TCP or HTTP.
//!
//! Owns the arguments and the choice of three ways. With `--http` every line is an event of a request (`http`, and
//! `http_answer` for what answers mean). Over TCP without `--ack` bytes are passed on as they are (`plain`). With
//! it every line is followed to its end: `input` cuts lines, `account` keeps the books and decides what goes out
//! (no sockets, no clock), `confirmed` runs connections and threads around it, `report` tells of lines that are
//! not stored. Blocking sockets and threads: one conversation does not need the gateway's event loop.
//! Memory is bounded by the window, whatever the size of the input.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::exit;

mod account;
mod confirmed;
mod http;
mod http_answer;
mod input;
mod outcome;
mod plain;
mod report;
mod shared;

const EXAMPLES: &str = "\
Examples:
  sluice send --ack scores.jsonl                    0 only when every line is stored
  sluice send --ack --report failed.jsonl < scores.jsonl
  producer | sluice send --addr gateway:7000        like nc, but waits until all bytes were taken
  sluice send --http localhost:8080 events.jsonl    POST /events, one line a request
  sluice send --http http://gateway:8080/api/v1/events --batch 100 events.jsonl";

/// Send lines from a file or stdin to a gateway.
///
/// Without --ack the bytes are passed on as they are, and the command waits until the gateway has closed the
/// connection: all bytes were taken then, but nobody says what became of each line. With --ack the gateway
/// answers, lines that it could not store are sent again, and the exit code is 0 only when every line is stored;
/// the others are listed on stderr with their line number and the reason. A line that is sent again arrives
/// after lines that were sent in between. Blank lines are left out. With --http it is the same over HTTP: requests
/// ask for the answer that an event is stored, and 503 and 429 are tried again after their Retry-After.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("follows").args(["ack", "http"]))]
pub struct Args {
    /// File to send; stdin when absent or `-`
    pub file: Option<PathBuf>,
    /// The gateway's address
    #[arg(long, default_value = "127.0.0.1:7000", value_name = "HOST:PORT")]
    pub addr: String,
    /// Ask for an answer to each line and follow every line until it is stored or refused
    #[arg(long)]
    pub ack: bool,
    /// Send over HTTP/1.1 and follow every line; without a path to /events, without a port to 8080 (in a URL 80)
    #[arg(long, value_name = "URL|HOST:PORT", conflicts_with_all = ["addr", "ack", "window", "window_bytes"])]
    pub http: Option<String>,
    /// Lines a request: 1 is a JSON object, more are NDJSON
    #[arg(long, default_value_t = 1, value_name = "LINES", requires = "http")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Requests that may wait for their answer
    #[arg(long, default_value_t = 16, value_name = "N", requires = "http")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pipeline: u32,
    /// Most lines that may wait for an answer
    #[arg(long, default_value_t = 10_000, value_name = "LINES", requires = "ack")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub window: u32,
    /// Most bytes that may wait for an answer
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES", requires = "ack")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub window_bytes: u32,
    /// Longest line that is sent; a longer one is reported as rejected
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES", requires = "follows")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub max_line_bytes: u32,
    /// Send lines again whose fate is unknown (the connection broke): they may then be stored twice
    #[arg(long, requires = "follows")]
    pub resend_unknown: bool,
    /// Give up when for this long no line that waits was settled, or no byte was taken; 0s waits for ever
    #[arg(long, default_value = "90s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Write every line that is not stored to this file, as JSON lines
    #[arg(long, value_name = "FILE", requires = "follows")]
    pub report: Option<PathBuf>,
}

/// Exit codes: 0 every line is stored (over TCP without --ack: every byte was taken), 1 anything less, 2 bad arguments or
/// a file that cannot be opened.
pub fn run(args: Args) -> ExitCode {
    if args.http.is_some() && !cfg!(feature = "http") {
        return fail(exit::CONFIGURATION, &format!("--http: {}", super::NO_HTTP));
    }
    let target = match args.http.as_deref().map(http::Target::parse).transpose() {
        Ok(target) => target,
        Err(why) => return fail(exit::CONFIGURATION, &why),
    };
    let (input, size) = match open(&args) {
        Ok(opened) => opened,
        Err(why) => return fail(exit::CONFIGURATION, &why),
    };
    let bar = progress(size);
    let done = if args.ack || target.is_some() {
        let report = match report::Report::new(args.report.as_deref(), bar.clone()) {
            Ok(report) => report,
            Err(error) => return fail(exit::CONFIGURATION, &format!("--report: {error}")),
        };
        match &target {
            Some(target) if cfg!(feature = "http") => http::run(&args, target, input, &bar, report),
            _ => confirmed::run(&args, input, &bar, report),
        }
    } else {
        plain::run(&args, input, &bar)
    };
    bar.finish_and_clear();
    match done {
        Ok(summary) => {
            eprintln!("sluice send: {summary}");
            ExitCode::SUCCESS
        }
        Err(why) => fail(exit::FAILED, &why),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("sluice send: {why}");
    ExitCode::from(code)
}

type Input = Box<dyn Read + Send>;

/// The input, and its size where that is known.
fn open(args: &Args) -> Result<(Input, Option<u64>), String> {
    let Some(path) = args.file.as_ref().filter(|path| path.as_os_str() != "-") else {
        return Ok((Box::new(io::stdin()), None));
    };
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(named)?;
    let about = file.metadata().map_err(named)?;
    if about.is_dir() {
        return Err(format!("{}: is a directory", path.display()));
    }
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

/// On stderr, and only if that is a terminal.
fn progress(size: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, shape) = match size {
        Some(size) => {
            (ProgressBar::new(size), "{bar:30} {percent:>3}% {bytes}/{total_bytes} eta {eta} {msg}")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes} in {elapsed} {msg}"),
    };
    match ProgressStyle::with_template(shape) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar, // cannot be: both templates are above; the default style does as well
    }
}

/// `--timeout`, with zero as "for ever".
fn patience(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

/// Connects to the first of the host's addresses that answers.
fn connect(addr: &str, timeout: Duration) -> io::Result<std::net::TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in std::net::ToSocketAddrs::to_socket_addrs(addr)? {
        match std::net::TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
