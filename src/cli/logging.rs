//! Sets up the log: level, format and where it goes.
//!
//! The convention for every log call of ours is
//! `log::info!(target: "tcp", "input.malformed peer={peer} bytes={excerpt}")`: the target is the component, the
//! message an event name followed by logfmt pairs, values in quotes ([`quote`]) where they may hold spaces, quotes
//! or control characters. A log that cannot be written never stops the program.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::SystemTime;

use log::LevelFilter;

use crate::config::{Fault, LogFormat, LogOptions, LogOutput};

use super::logfmt::{self, Line};

/// Installs the logger for the whole process.
///
/// # Errors
/// LOG_OUTPUT names a file that cannot be opened for appending.
pub fn init(options: &LogOptions) -> Result<(), Fault> {
    let format = options.format;
    let mut builder = env_logger::Builder::new();
    builder.filter_level(options.level);
    // mio speaks of every registration at debug level.
    builder.filter_module("mio", options.level.min(LevelFilter::Warn));
    builder.target(target(&options.output)?);
    builder.format(move |out, record| {
        let line = render(format, record, SystemTime::now());
        out.write_all(line.as_bytes())
    });
    // Fails only when the process has a logger already: an embedding host's, which stays.
    let _ = builder.try_init();
    Ok(())
}

/// `value` in quotes, with everything escaped that would break a log line.
#[must_use]
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    logfmt::push_quoted(&mut quoted, value);
    quoted
}

fn target(output: &LogOutput) -> Result<env_logger::Target, Fault> {
    let path = match output {
        LogOutput::Stderr => return Ok(env_logger::Target::Stderr),
        LogOutput::Stdout => return Ok(env_logger::Target::Stdout),
        LogOutput::File(path) => path,
    };
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(|file| env_logger::Target::Pipe(Box::new(file))).map_err(|error| {
        let right = format!("stderr, stdout or the path of a file that can be written ({error})");
        Fault::new("LOG_OUTPUT", &path.to_string_lossy(), right)
    })
}

fn render(format: LogFormat, record: &log::Record<'_>, time: SystemTime) -> String {
    let message = record.args().to_string();
    let line = Line::read(record.target(), &message);
    let mut out = String::with_capacity(message.len() + 96);
    match format {
        LogFormat::Text => line.text(&mut out, time, record.level()),
        LogFormat::Json => line.json(&mut out, time, record.level()),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_a_fault() {
        let fault = target(&LogOutput::File("/nonexistent/sluice.log".into())).unwrap_err();
        assert!(
            fault
                .to_string()
                .starts_with("LOG_OUTPUT=\"/nonexistent/sluice.log\": expected stderr, stdout or")
        );
    }

    #[test]
    fn records_are_rendered_in_both_formats() {
        let time = SystemTime::UNIX_EPOCH;
        let line = |format| {
            let args = format_args!("topic.ready name=t created=false");
            render(
                format,
                &log::Record::builder().level(log::Level::Info).target("kafka").args(args).build(),
                time,
            )
        };
        let text = "1970-01-01T00:00:00.000Z [INFO] topic.ready name=t created=false component=kafka\n";
        assert_eq!(line(LogFormat::Text), text);
        assert!(
            line(LogFormat::Json)
                .contains(r#""event":"topic.ready","fields":{"name":"t","created":"false"}"#)
        );
    }

    #[test]
    fn quotes_hold_anything() {
        assert_eq!(quote("a \"b\"\n\u{1b}[31m\\"), r#""a \"b\"\n\u001b[31m\\""#);
    }
}
