//! Sets up the log: level, format and where it goes.
//!
//! The convention for every log call of ours is
//! `log::info!(target: "tcp", "input.malformed peer={peer} bytes={excerpt}")`: the target is the component, the
//! message an event name followed by logfmt pairs, values in quotes ([`quote`]) where they may hold spaces, quotes
//! or control characters. A log that cannot be written never stops the program, and one that is not read holds it up
//! for a tenth of a second at most (`log_writer`).

use std::fs::OpenOptions;
use std::io::Write;
use std::time::SystemTime;

use log::{Level, LevelFilter};

use crate::config::{Fault, LogFormat, LogOptions, LogOutput};

use super::log_writer::LogWriter;
use super::logfmt::{self, Line};

/// Installs the logger for the whole process.
///
/// # Errors
/// LOG_OUTPUT names a file that cannot be opened for appending.
pub fn init(options: &LogOptions) -> Result<(), Fault> {
    let out = open(&options.output, options.format)?;
    // Fails only when the process has a logger already: an embedding host's, which stays.
    let _ = builder(options.level, options.format, out).try_init();
    Ok(())
}

type Out = Box<dyn Write + Send>;

fn builder(level: LevelFilter, format: LogFormat, out: Out) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    // mio speaks of every registration at debug level.
    builder.filter_module("mio", level.min(LevelFilter::Warn));
    builder.target(env_logger::Target::Pipe(out));
    builder.format(move |out, record| {
        let line = render(format, record, SystemTime::now());
        out.write_all(line.as_bytes())
    });
    builder
}

/// `value` in quotes, with everything escaped that would break a log line.
#[must_use]
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    logfmt::push_quoted(&mut quoted, value);
    quoted
}

fn open(output: &LogOutput, format: LogFormat) -> Result<Out, Fault> {
    let note = match format {
        LogFormat::Text => missed_text,
        LogFormat::Json => missed_json,
    };
    let path = match output {
        LogOutput::Stderr => return Ok(Box::new(LogWriter::new(std::io::stderr(), note))),
        LogOutput::Stdout => return Ok(Box::new(LogWriter::new(std::io::stdout(), note))),
        LogOutput::File(path) => path,
    };
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Ok(Box::new(LogWriter::new(file, note))),
        Err(error) => {
            let right = format!("stderr, stdout or the path of a file that can be written ({error})");
            Err(Fault::new("LOG_OUTPUT", &path.to_string_lossy(), right))
        }
    }
}

fn missed_text(lines: u64, out: &mut String) {
    Line::read("log", &missed(lines)).text(out, SystemTime::now(), Level::Warn);
}

fn missed_json(lines: u64, out: &mut String) {
    Line::read("log", &missed(lines)).json(out, SystemTime::now(), Level::Warn);
}

fn missed(lines: u64) -> String {
    format!("log.missed lines={lines} reason=\"nobody read the log\"")
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
    use log::Log as _;

    #[test]
    fn a_file_that_cannot_be_opened_is_a_fault() {
        let output = LogOutput::File("/nonexistent/sluice.log".into());
        let fault = open(&output, LogFormat::Text).err().unwrap();
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
                &log::Record::builder().level(Level::Info).target("kafka").args(args).build(),
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
    fn a_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for _ in 0..2 {
            let out = open(&LogOutput::File(path.clone()), LogFormat::Text).unwrap();
            let logger = builder(LevelFilter::Info, LogFormat::Text, out).build();
            for (level, target) in [(Level::Info, "tcp"), (Level::Debug, "tcp"), (Level::Info, "mio::poll")] {
                let record =
                    log::Record::builder().level(level).target(target).args(format_args!("a.b k=v")).build();
                logger.log(&record);
            }
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written.matches(" [INFO] a.b k=v component=tcp\n").count(), 2, "{written}");
        assert_eq!(written.lines().count(), 2, "{written}");
    }

    #[test]
    fn a_stream_that_fails_stops_nobody() {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let logger = builder(LevelFilter::Info, LogFormat::Json, Box::new(pipe)).build();
        let record =
            log::Record::builder().level(Level::Info).target("tcp").args(format_args!("a.b")).build();
        logger.log(&record);
        logger.log(&record);
    }

    #[test]
    fn quotes_hold_anything() {
        assert_eq!(quote("a \"b\"\n\u{1b}[31m\\"), r#""a \"b\"\n\u001b[31m\\""#);
    }
}
