//! The command line: one file a subcommand, each with its `Args` and a `run` that gives the exit code.
//!
//! Knows no socket and no Kafka: a command reads its arguments or the environment and calls the room that does the
//! work. The only place that reads the process's environment (`environment`) and that sets up the log (`logging`).

mod bench;
mod broker;
mod check_config;
#[cfg(feature = "consume")]
mod consume;
#[cfg(feature = "http")]
mod dead_letters;
mod environment;
mod log_writer;
mod logfmt;
pub mod logging;
#[cfg(feature = "consume")]
mod migrate;
mod send;
mod serve;
mod stop;
mod tail;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Exit codes, the same for every command.
pub mod exit {
    /// All is well: for `serve`, the ledger balances and nothing is lost, unknown or unread.
    pub const OK: u8 = 0;
    /// Anything else.
    pub const FAILED: u8 = 1;
    /// The configuration or the arguments are wrong, or ask for a feature that is not built in.
    pub const CONFIGURATION: u8 = 2;
    /// A listener's address cannot be bound.
    pub const CANNOT_BIND: u8 = 3;
}

const EXAMPLES: &str = "\
Examples:
  KAFKA_BOOTSTRAP_SERVERS=embedded sluice serve   a gateway with a mock broker inside
  KAFKA_BOOTSTRAP_SERVERS=kafka:9092 sluice serve a gateway in front of your Kafka
  echo '{\"lb\":\"global\",\"player\":\"alice\",\"score\":10}' | nc localhost 7000
  sluice check-config                               what is in effect, and how much memory it may take

Exit codes:
  0  all is well: balanced, nothing lost, unknown or left unread
  1  anything else, or cut short by a second signal
  2  wrong configuration or arguments, or a feature that is not built in
  3  an address cannot be bound";

/// Event ingestion gateway: TCP lines and frames into Kafka, with an honest outcome for every event.
#[derive(Parser)]
#[command(name = "sluice", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    CheckConfig(check_config::Args),
    Send(send::Args),
    Tail(tail::Args),
    Broker(broker::Args),
    Bench(bench::Args),
    #[cfg(feature = "http")]
    DeadLetters(dead_letters::Args),
    #[cfg(feature = "consume")]
    Consume(consume::Args),
    #[cfg(feature = "consume")]
    Migrate(migrate::Args),
}

/// Why a command or an option does not work in a build for constrained hosts, which leaves its code out.
pub const NO_HTTP: &str = "this build lacks the Cargo feature `http`";

/// Runs the command that the process's arguments name; without one it prints the help.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    match cli.command {
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::CheckConfig(args)) => check_config::run(args),
        Some(Command::Send(args)) => send::run(args),
        Some(Command::Tail(args)) => tail::run(args),
        Some(Command::Broker(args)) => broker::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        #[cfg(feature = "http")]
        Some(Command::DeadLetters(args)) => dead_letters::run(args),
        #[cfg(feature = "consume")]
        Some(Command::Consume(args)) => consume::run(args),
        #[cfg(feature = "consume")]
        Some(Command::Migrate(args)) => migrate::run(args),
        None => {
            put(&mut std::io::stdout(), &Cli::command().render_help().to_string());
            ExitCode::from(exit::OK)
        }
    }
}

/// Help and version go to stdout and are no failure; a wrong argument is exit code 2.
fn answer(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        put(&mut std::io::stderr(), &text);
        ExitCode::from(exit::CONFIGURATION)
    } else {
        put(&mut std::io::stdout(), &text);
        ExitCode::from(exit::OK)
    }
}

/// Writes whole lines to a stream that may be closed: a reader that has gone is no failure of ours, and `print!`
/// would panic.
fn put(out: &mut impl std::io::Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_teaches() {
        let help = Cli::command().render_help().to_string();
        for word in ["serve", "check-config", "Examples:", "Exit codes:"] {
            assert!(help.contains(word), "{word}\n{help}");
        }
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        let serve = serve.split_whitespace().collect::<Vec<_>>().join(" ");
        for row in crate::config::table::VARIABLES {
            assert!(serve.contains(row.name) && serve.contains(row.help), "{}", row.name);
        }
    }
}
