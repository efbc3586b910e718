//! How the log is written; set up by `cli`, read by nobody else.

use std::path::PathBuf;

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// RFC 3339 time, level, event name, logfmt pairs.
    Text,
    /// One JSON object a line: ts, level, component, event, fields (S3-R12).
    Json,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    Stderr,
    Stdout,
    /// Appended to, created when it does not exist.
    File(PathBuf),
}

/// Everything about the log but excerpts, which the rooms that log decide on
/// ([`crate::gateway::GatewayOptions::log_excerpts`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub level: log::LevelFilter,
    pub format: LogFormat,
    pub output: LogOutput,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: log::LevelFilter::Info, format: LogFormat::Text, output: LogOutput::Stderr }
    }
}
