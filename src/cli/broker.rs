//! `sluice broker`: the embedded broker as a process of its own, with faults by command on stdin.
//!
//! Owns the command language. The first line on stdout is `KAFKA_BOOTSTRAP_SERVERS=...`, so that a script can
//! read the address and wait for readiness with one `read`; each command is then answered by one line, `ok ...`
//! or `error ...`. Never ends because stdin does: what started it may have none.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit;
use crate::kafka::embedded::{BrokerError, EmbeddedBroker, EmbeddedError};

const HELP: &str = "commands: down ID|all; up ID|all; slow ID|all DURATION; leader TOPIC PARTITION ID|none; \
    refuse produce|fetch|list_offsets|init_producer_id|find_coordinator NAME|CODE [COUNT]; \
    refuse metadata NAME|CODE [TOPIC]; accept KIND [TOPIC]; topic NAME PARTITIONS; servers; help; quit";

const EXAMPLES: &str = "\
Examples:
  sluice broker --brokers 3                         three brokers; type `help` for what can be broken
  sluice broker < /dev/null & ...                   in a script: read its first line for the address";

/// Run the embedded Kafka broker (librdkafka's mock cluster) as a process of its own.
///
/// Records live in memory, about 5 MiB a partition. The first line on stdout is
/// KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:port,... Commands on stdin break it on purpose (`help` lists them):
/// `down 1`, `up all`, `slow 2 300ms`, `refuse produce NOT_ENOUGH_REPLICAS 3`, `topic NAME PARTITIONS`.
/// It runs until `quit`, SIGINT or SIGTERM; the end of stdin does not end it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Number of brokers; their ids count from 1
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub brokers: i32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 12, value_name = "N")]
    pub partitions: i32,
    /// The topic that exists from the start
    #[arg(long, default_value = "score_updates", value_name = "NAME")]
    pub topic: String,
    /// Copies of each partition, up to the number of brokers
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub replication: i32,
}

/// Runs until `quit` or a signal. Exit codes: 0 asked to end, 1 the cluster or stdout failed, 2 bad arguments.
pub fn run(args: Args) -> ExitCode {
    // Before the first line: a caller may signal as soon as it has read that.
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => return fail(exit::FAILED, &error),
    };
    let broker = match EmbeddedBroker::start(args.brokers, &args.topic, args.partitions, args.replication) {
        Ok(broker) => Arc::new(broker),
        Err(error) => return fail(exit::CONFIGURATION, &error),
    };
    if let Err(error) = say(&format!("KAFKA_BOOTSTRAP_SERVERS={}", broker.bootstrap_servers())) {
        return fail(exit::FAILED, &error);
    }
    let signals_handle = signals.handle();
    let console = Console { broker: Arc::clone(&broker), topic: args.topic, replication: args.replication };
    // Not joined: it may sleep in a read of stdin, which nothing here can end; the process's end does.
    std::thread::spawn(move || {
        if console.serve(io::stdin().lock()) {
            signals_handle.close(); // ends the wait below
        }
    });
    signals.forever().next();
    ExitCode::SUCCESS
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("sluice broker: {error}");
    ExitCode::from(code)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

struct Console {
    broker: Arc<EmbeddedBroker>,
    topic: String,
    replication: i32,
}

impl Console {
    /// Answers commands until `quit` (true) or the end of stdin (false).
    fn serve(&self, commands: impl BufRead) -> bool {
        for line in commands.lines() {
            let answer = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => self.answer(&line),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("not UTF-8".into()),
                Err(_) => return false,
            };
            let quit = answer.as_deref() == Ok("bye");
            let text = answer.map_or_else(|why| format!("error {why}"), |done| format!("ok {done}"));
            // A reader of answers that went away is no reason to take the broker from its other clients.
            drop(say(&text));
            if quit {
                return true;
            }
        }
        false
    }

    /// One command; `Ok` is what follows `ok`, `Err` what follows `error`.
    fn answer(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["help"] => Ok(HELP.to_owned()),
            ["quit"] => Ok("bye".into()),
            ["servers"] => Ok(self.broker.bootstrap_servers()),
            ["down", id] => self.done(self.broker.broker_down(id.parse()?), line),
            ["up", id] => self.done(self.broker.broker_up(id.parse()?), line),
            ["slow", id, delay] => self.done(self.broker.broker_slow(id.parse()?, duration(delay)?), line),
            ["topic", name, partitions] => {
                self.done(self.broker.create_topic(name, number(partitions)?, self.replication), line)
            }
            ["leader", topic, partition, leader] => {
                let leader = if leader == "none" { None } else { Some(number(leader)?) };
                self.done(self.broker.partition_leader(topic, number(partition)?, leader), line)
            }
            ["refuse", "metadata", error] => self.refuse_metadata(&self.topic, Some(error), line),
            ["refuse", "metadata", error, topic] => self.refuse_metadata(topic, Some(error), line),
            ["accept", "metadata"] => self.refuse_metadata(&self.topic, None, line),
            ["accept", "metadata", topic] => self.refuse_metadata(topic, None, line),
            ["refuse", kind, error] => self.refuse(kind, error, 1, line),
            ["refuse", kind, error, count] => self.refuse(kind, error, number(count)?, line),
            ["accept", kind] => self.done(self.broker.accept(kind.parse()?), line),
            _ => Err(format!("`{}` is no command; `help` lists them", line.trim().escape_debug())),
        }
    }

    fn refuse(&self, kind: &str, error: &str, count: usize, line: &str) -> Result<String, String> {
        self.done(self.broker.refuse(kind.parse()?, error.parse()?, count), line)
    }

    fn refuse_metadata(&self, topic: &str, error: Option<&str>, line: &str) -> Result<String, String> {
        let error = error.map(str::parse::<BrokerError>).transpose()?;
        self.done(self.broker.refuse_metadata(topic, error), line)
    }

    fn done(&self, result: Result<(), EmbeddedError>, line: &str) -> Result<String, String> {
        result.map(|()| line.trim().to_owned()).map_err(|error| error.to_string())
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is no number in range"))
}

/// The longest that an answer may be held back: more is a typing slip, and clients time out long before.
const SLOW_MAX: Duration = Duration::from_secs(3600);

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(delay) if delay <= SLOW_MAX => Ok(delay),
        Ok(_) => Err(format!("{text} is over an hour")),
        Err(_) => Err(format!("`{text}` is no duration: 300ms, 2s")),
    }
}
