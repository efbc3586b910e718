//! `sluice check-config`: what is in effect, where it comes from, and how much memory it may take.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::config::table::Section;
use crate::config::{Configuration, Effective, Origin, markdown, memory};

use super::{environment, exit, put};

const EXAMPLES: &str = "\
Examples:
  KAFKA_TOPIC=scores sluice check-config            what `serve` would run with in this environment
  sluice check-config > /dev/null && echo fine      0 when `serve` would start, 2 with all faults at once
  sluice check-config --markdown > docs/configuration.md";

/// Check the environment and print what is in effect.
///
/// Prints every variable with its value and origin (secrets masked), then the worst-case memory part by part.
/// Opens no socket and asks no broker.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct Args {
    /// Print the reference of all variables as Markdown instead: the whole page, or one table
    #[arg(long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "page", require_equals = true)]
    #[arg(value_parser = ["page", "table"])]
    markdown: Option<String>,
}

/// Prints to stdout; exit code 0 when `serve` would start with this environment, 2 with all faults on stderr.
pub fn run(args: Args) -> ExitCode {
    let mut stdout = std::io::stdout();
    match args.markdown.as_deref() {
        Some("table") => put(&mut stdout, &markdown::table()),
        Some(_) => put(&mut stdout, &markdown::page()),
        None => match environment::load() {
            Ok(configuration) => put(&mut stdout, &report(&configuration)),
            Err(refusal) => {
                put(&mut std::io::stderr(), &refusal.to_string());
                return ExitCode::from(exit::CONFIGURATION);
            }
        },
    }
    ExitCode::from(exit::OK)
}

fn report(configuration: &Configuration) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", section.title());
        for one in configuration.effective.iter().filter(|one| one.section == section) {
            let _ = writeln!(text, "  {:<27} {:<24} {}", one.name, one.value, origin(one));
        }
    }
    text.push('\n');
    memory_report(&mut text, configuration);
    for warning in &configuration.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn origin(one: &Effective) -> String {
    match &one.origin {
        Origin::Default => "default".into(),
        Origin::Profile => "profile".into(),
        Origin::Derived => "derived".into(),
        Origin::Environment(under) if *under == one.name => "environment".into(),
        Origin::Environment(under) => format!("environment, as {under}"),
    }
}

fn memory_report(text: &mut String, configuration: &Configuration) {
    let parts = memory::worst_case(&configuration.gateway);
    let _ = writeln!(text, "Worst-case memory");
    for part in &parts {
        let _ = writeln!(text, "  {:<27} {:>10}  {}", part.name, mebibytes(part.bytes), part.how);
    }
    let total = memory::total(&parts);
    let limit = configuration.gateway.memory_limit;
    let limit =
        limit.map_or("MEMORY_LIMIT is off".into(), |limit| format!("MEMORY_LIMIT {}", mebibytes(limit)));
    let _ = writeln!(text, "  {:<27} {:>10}  {total} bytes; {limit}", "sum", mebibytes(total));
    let kernel = memory::kernel_buffers(&configuration.gateway);
    let _ = writeln!(text, "In the kernel, beside the sum");
    let _ = writeln!(text, "  {:<27} {:>10}  {}", kernel.name, mebibytes(kernel.bytes), kernel.how);
}

/// Tenths of a MiB are enough to see which part matters.
fn mebibytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_values_origins_and_the_sum() {
        let vars =
            [("KAFKA_BROKERS", "b:1"), ("KAFKA_CONF_SASL_PASSWORD", "hunter2"), ("MEMORY_LIMIT", "2GiB")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let report = report(&crate::config::load(vars).unwrap());
        let squeezed = report.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "KAFKA_BOOTSTRAP_SERVERS b:1 environment, as KAFKA_BROKERS",
            "sasl.password ******** environment, as KAFKA_CONF_SASL_PASSWORD",
            "KAFKA_TOPIC score_updates default",
            "MEMORY_LIMIT 2GiB environment",
            "connections 24.0 MiB 16384 x 1536",
            "MEMORY_LIMIT 2048.0 MiB",
            "kernel socket buffers 4096.0 MiB",
        ] {
            assert!(squeezed.contains(expected), "{expected}\n{report}");
        }
        assert!(!report.contains("hunter2"));
    }
}
