//! `sluice consume`: Kafka into PostgreSQL, one consumer a process.

use std::process::ExitCode;

use crate::config::ConsumerConfiguration;
use crate::consume::{self, Kind, Reset};

use super::{environment, exit, logging, put, stop};

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://me@db/game sluice migrate
  DATABASE_URL=postgres://me@db/game KAFKA_BOOTSTRAP_SERVERS=kafka:9092 sluice consume event-log
  sluice consume event-log --reset earliest         read everything again
  sluice consume event-log --reset 0:100,3:250      go on at these offsets, other partitions where they are

Configured by environment variables; `sluice serve --help` lists them all.
Exit codes: 0 stopped by TERM or INT, or the offsets are set; 1 it cannot go on; 2 wrong configuration; 3 HEALTH_PORT
is taken.";

/// Carry records from Kafka into PostgreSQL.
///
/// Each record's row and the offset behind it are written in one transaction: nothing twice, nothing left out.
/// Needs the tables that `sluice migrate` makes. Stops on TERM or INT.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Args {
    /// What is read, and where it goes
    #[arg(value_enum)]
    consumer: Consumer,
    /// Set the offsets, read nothing: earliest, latest or PARTITION:OFFSET by comma
    #[arg(long, value_name = "WHERE", value_parser = Reset::parse)]
    reset: Option<Reset>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Consumer {
    /// Player events into `events`
    EventLog,
    /// Dead letters into `dlq_events`
    DeadLetters,
    /// Usage events into `usage_events`
    Usage,
}

impl From<Consumer> for Kind {
    fn from(consumer: Consumer) -> Self {
        match consumer {
            Consumer::EventLog => Self::EventLog,
            Consumer::DeadLetters => Self::DeadLetters,
            Consumer::Usage => Self::Usage,
        }
    }
}

/// Exit codes: see [`EXAMPLES`].
pub fn run(args: Args) -> ExitCode {
    let ConsumerConfiguration { options, log, warnings } =
        match environment::load_consumer(args.consumer.into()) {
            Ok(configuration) => configuration,
            Err(refusal) => {
                put(&mut std::io::stderr(), &refusal.to_string());
                return ExitCode::from(exit::CONFIGURATION);
            }
        };
    if let Some(reset) = &args.reset {
        return match consume::reset(&options, reset) {
            Ok(offsets) => {
                let lines: String = offsets
                    .iter()
                    .map(|(partition, at)| format!("partition {partition} offset {at}\n"))
                    .collect();
                put(&mut std::io::stdout(), &lines);
                ExitCode::from(exit::OK)
            }
            Err(why) => fail(&why),
        };
    }
    if let Err(fault) = logging::init(&log) {
        put(&mut std::io::stderr(), &format!("configuration refused: {fault}\n"));
        return ExitCode::from(exit::CONFIGURATION);
    }
    for warning in &warnings {
        let text = logging::quote(&warning.text);
        log::warn!(target: "config", "config.warning variable={} text={text}", warning.variable);
    }
    match stop::requested() {
        Ok(stop) => {
            let code = consume::run(&options, &stop);
            ExitCode::from(u8::try_from(code).unwrap_or(exit::FAILED))
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(why: &str) -> ExitCode {
    put(&mut std::io::stderr(), &format!("sluice consume: {why}"));
    ExitCode::from(exit::FAILED)
}
