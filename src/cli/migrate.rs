//! `sluice migrate`: the tables of the consumers, made or compared.

use std::process::ExitCode;

use crate::consume;

use super::{environment, exit, put};

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://me@db/game sluice migrate
  DATABASE_URL=postgres://me@db/game sluice migrate --check || echo not current";

/// Make the tables that `sluice consume` writes to, or bring them up to date.
///
/// All of it happens in one transaction; two at once do it once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Change nothing; exit code 0 if the schema is current
    #[arg(long)]
    check: bool,
}

/// Exit codes: 0 the schema is current, 1 it is not, or the database does not answer, 2 wrong configuration.
pub fn run(args: Args) -> ExitCode {
    let options = match environment::load_database() {
        Ok(options) => options,
        Err(refusal) => {
            put(&mut std::io::stderr(), &refusal.to_string());
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    let done = if args.check { consume::check_schema(&options) } else { consume::migrate_schema(&options) };
    match done {
        Ok(text) => {
            put(&mut std::io::stdout(), &text);
            ExitCode::from(exit::OK)
        }
        Err(why) => {
            put(&mut std::io::stderr(), &format!("sluice migrate: {why}"));
            ExitCode::from(exit::FAILED)
        }
    }
}
