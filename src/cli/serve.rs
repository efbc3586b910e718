//! `sluice serve`: the environment, the log, then the gateway.

use std::process::ExitCode;

use crate::config::{Configuration, markdown};

use super::{environment, exit, logging, put};

const EXAMPLES: &str = "\
Examples:
  KAFKA_BOOTSTRAP_SERVERS=embedded sluice serve     a mock broker inside, nothing else needed
  KAFKA_BOOTSTRAP_SERVERS=kafka:9092 LOG_FORMAT=json sluice serve
  curl localhost:7001/ready                         200 once a record can be stored

Signals: TERM or INT drain within DRAIN_TIMEOUT, a second one ends at once; USR1 logs the state; HUP is harmless.";

const SHORT_ONLY: &str = "Configured by environment variables alone: `sluice serve --help` lists them all.";

fn short_help() -> String {
    format!("{EXAMPLES}\n{SHORT_ONLY}")
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", markdown::help())
}

/// Run the gateway in the foreground.
///
/// Takes events over TCP, publishes them to Kafka and accounts for every one of them.
/// Logs to stderr, listens before it is ready, and stops on TERM or INT.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_help = short_help(), after_long_help = long_help())]
pub struct Args {}

/// Exit code 2 with all faults on stderr when the configuration is wrong; otherwise the gateway's own.
pub fn run(_: Args) -> ExitCode {
    let Configuration { gateway, log, warnings, .. } = match environment::load() {
        Ok(configuration) => configuration,
        Err(refusal) => {
            put(&mut std::io::stderr(), &refusal.to_string());
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    if let Err(fault) = logging::init(&log) {
        put(&mut std::io::stderr(), &format!("configuration refused: {fault}\n"));
        return ExitCode::from(exit::CONFIGURATION);
    }
    for warning in &warnings {
        let text = logging::quote(&warning.text);
        log::warn!(target: "config", "config.warning variable={} text={text}", warning.variable);
    }
    let code = crate::gateway::run(gateway);
    ExitCode::from(u8::try_from(code).unwrap_or(exit::FAILED))
}
