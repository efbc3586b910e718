//! One file a table: what its rows are, and the statement that writes them. No Kafka, no connection, no clock.

pub mod dead_letters;
pub mod event_log;
pub mod usage;

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// Milliseconds since the Unix epoch as PostgreSQL reads a time.
fn rfc3339(ms: i64) -> Cow<'static, str> {
    let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0).min(253_402_300_799_999));
    Cow::Owned(humantime::format_rfc3339_millis(time).to_string())
}
