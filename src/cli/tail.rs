//! `sluice tail`: a topic as JSON lines on stdout.
//!
//! Owns the arguments and the loop that reads, renders and writes; records come from `kafka::reader`, lines from
//! `render`. Lines collect in one reused buffer that is written when it is full or when there is nothing more to
//! read at the moment, so a pipe gets large writes and a person sees each record at once. Notes go to stderr,
//! never among the records.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{environment, exit, stop};
use crate::kafka::Bootstrap;
use crate::kafka::reader::{Next, ReadError, Reader, ReaderOptions, Start, UntilEnd};

mod render;

/// Written at once when this many bytes have collected.
const WRITE_BYTES: usize = 64 * 1024;
/// How long one read may sleep: the longest that a signal waits to be seen.
const SLEEP: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  sluice tail score_updates                         what arrives from now on
  sluice tail score_updates --until-end             everything there is, then stop
  sluice tail score_updates --from @2026-01-31T12:00:00Z --count 10";

/// Print a topic's records as JSON lines, Protobuf scores decoded.
///
/// Each line is {"topic","partition","offset","timestamp_ms","key","value"}. A value that is neither a
/// ScoreUpdate nor JSON is printed as text with "value_encoding":"text", or with \xNN escapes and
/// "value_encoding":"escaped". Records are in order within a partition, not across partitions.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The topic to read
    pub topic: String,
    /// Kafka brokers, host:port[,host:port]; default: KAFKA_BOOTSTRAP_SERVERS, else localhost:9092.
    /// KAFKA_CONF_* count here as they do for the gateway
    #[arg(long, value_name = "SERVERS")]
    pub brokers: Option<String>,
    /// Where to start: beginning, end, an offset, or @TIME (RFC 3339, or milliseconds since the epoch);
    /// default: end, or beginning with --until-end
    #[arg(long, value_name = "START", value_parser = parse_start)]
    pub from: Option<Start>,
    /// Stop where the topic ended when the command started
    #[arg(long)]
    pub until_end: bool,
    /// Stop after N records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Read this partition only
    #[arg(long, value_name = "P")]
    pub partition: Option<i32>,
    /// Print the values as they are, each followed by a line feed
    #[arg(long)]
    pub raw: bool,
    /// How long to look for the brokers, and with --until-end how long to go without a record
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// A client property to pass through, such as check.crcs=true; may be repeated, wins over KAFKA_CONF_*
    #[arg(long = "conf", value_name = "PROPERTY=VALUE", value_parser = parse_property)]
    pub conf: Vec<(String, String)>,
}

/// Exit codes: 0 all that was asked for is printed (without --count and --until-end also when interrupted),
/// 1 Kafka or stdout failed or --count or --until-end was cut short, 2 bad arguments.
pub fn run(args: Args) -> ExitCode {
    let options = match options(&args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("sluice tail: {why}");
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    let stop = match stop::requested() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    match tail(&args, &options, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(End::Output(error)) => fail(&error),
        Err(End::Kafka(error)) => fail(&error),
        Err(End::CutShort) => fail(&"interrupted before the end"),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("sluice tail: {why}");
    ExitCode::FAILURE
}

enum End {
    Kafka(ReadError),
    Output(io::Error),
    CutShort,
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        Self::Kafka(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn tail(args: &Args, options: &ReaderOptions, stop: &AtomicBool) -> Result<(), End> {
    let reader = Reader::open(options)?;
    let mut until_end = args.until_end.then(|| UntilEnd::new(reader.spans()));
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut lines = render::Lines::new(&args.topic, args.raw);
    let mut out = io::stdout().lock();
    let mut notes = Notes::default();
    let mut moved = Instant::now();
    let mut sleep = Duration::ZERO;
    while left > 0 && !until_end.as_ref().is_some_and(UntilEnd::is_done) {
        match reader.next(sleep)? {
            Next::Record(record) => {
                sleep = Duration::ZERO;
                if until_end.as_mut().is_none_or(|end| end.wants(record.partition(), record.offset())) {
                    lines.push(&record);
                    left -= 1;
                }
            }
            Next::EndOf(partition) => {
                if let Some(end) = until_end.as_mut() {
                    end.ended(partition);
                }
            }
            Next::Trouble(why) => notes.trouble(why),
            Next::Nothing if sleep.is_zero() => {
                lines.write_to(&mut out)?;
                moved = Instant::now();
                sleep = SLEEP;
            }
            Next::Nothing if args.until_end && moved.elapsed() > args.timeout => {
                lines.write_to(&mut out)?;
                return Err(ReadError::Timeout { read: lines.count() }.into());
            }
            Next::Nothing => {}
        }
        if lines.len() >= WRITE_BYTES {
            lines.write_to(&mut out)?;
        }
        if stop.load(Ordering::Relaxed) {
            lines.write_to(&mut out)?;
            let endless = args.count.is_none() && !args.until_end;
            return if endless { Ok(()) } else { Err(End::CutShort) };
        }
    }
    Ok(lines.write_to(&mut out)?)
}

/// The arguments, over what the environment says of Kafka. `Err` is for stderr.
fn options(args: &Args) -> Result<ReaderOptions, String> {
    let kafka = environment::load().map_err(|refusal| refusal.to_string())?.gateway.kafka;
    let bootstrap = match (&args.brokers, kafka.bootstrap) {
        (Some(servers), _) => servers.clone(),
        (None, Bootstrap::Servers(servers)) => servers,
        (None, Bootstrap::Embedded) => {
            return Err("the embedded broker has another address each time: give it with --brokers".into());
        }
    };
    let default_start = if args.until_end { Start::Beginning } else { Start::End };
    Ok(ReaderOptions {
        bootstrap,
        topic: args.topic.clone(),
        partition: args.partition,
        start: args.from.unwrap_or(default_start),
        timeout: args.timeout,
        passthrough: kafka.passthrough.into_iter().chain(args.conf.iter().cloned()).collect(),
    })
}

/// Tells of each new trouble once, so that an outage does not fill the screen.
#[derive(Default)]
struct Notes {
    last: String,
}

impl Notes {
    fn trouble(&mut self, why: String) {
        if why != self.last {
            eprintln!("sluice tail: {why} (still trying)");
            self.last = why;
        }
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    if let Some(time) = text.strip_prefix('@') {
        return parse_time(time).map(Start::Time);
    }
    match text {
        "beginning" => Ok(Start::Beginning),
        "end" => Ok(Start::End),
        _ => match text.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err("must be beginning, end, an offset from 0, or @TIME".into()),
        },
    }
}

fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return if ms >= 0 { Ok(ms) } else { Err("a time before 1970".into()) };
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "a time is RFC 3339 in UTC (2026-01-31T12:00:00Z) or milliseconds since the epoch")?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| "a time before 1970")?;
    i64::try_from(since.as_millis()).map_err(|_| "a time too far away".into())
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((property, value)) if !property.is_empty() => Ok((property.into(), value.into())),
        _ => Err("must be PROPERTY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_words_offsets_or_times() {
        assert_eq!(parse_start("beginning"), Ok(Start::Beginning));
        assert_eq!(parse_start("end"), Ok(Start::End));
        assert_eq!(parse_start("42"), Ok(Start::Offset(42)));
        assert_eq!(parse_start("@1700000000123"), Ok(Start::Time(1_700_000_000_123)));
        assert_eq!(parse_start("@2023-11-14T22:13:20.123Z"), Ok(Start::Time(1_700_000_000_123)));
        for wrong in ["", "-1", "start", "@", "@-5", "@yesterday", "1.5"] {
            assert!(parse_start(wrong).is_err(), "{wrong}");
        }
    }
}
