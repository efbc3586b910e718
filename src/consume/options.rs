//! What a consumer needs to know, as the configuration fills it in.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::kafka::KafkaOptions;

/// The consumers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Player events into `events` (S4-R9).
    EventLog,
    /// Dead letters into `dlq_events` (S4-R11).
    DeadLetters,
    /// Usage events into `usage_events` (S2-R20, S2-R21).
    Usage,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::EventLog, Self::DeadLetters, Self::Usage];

    /// Its name on the command line and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventLog => "event-log",
            Self::DeadLetters => "dead-letters",
            Self::Usage => "usage",
        }
    }

    /// S4's group ids, so that lag tools find them where they looked before (S4-R7).
    pub fn group(self) -> &'static str {
        match self {
            Self::EventLog => "event-logger-group",
            Self::DeadLetters => "dead-letters-group",
            Self::Usage => "usage-group",
        }
    }

    /// `consumer_service` of its dead letters.
    pub fn service(self) -> &'static str {
        match self {
            Self::EventLog => "event-logger",
            Self::DeadLetters => "dead-letters",
            Self::Usage => "usage",
        }
    }
}

/// When a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// So many are written at once even if more may come.
    pub min_records: usize,
    /// Never more than so many.
    pub max_records: usize,
    /// Nor more bytes of keys, values and headers, but for one record.
    pub max_bytes: usize,
    /// Fewer than `min_records` are written after so long.
    pub wait: Duration,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { min_records: 100, max_records: 5000, max_bytes: 4 << 20, wait: Duration::from_millis(200) }
    }
}

/// Where PostgreSQL is. Shown for debugging, it keeps the password back.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// A libpq URI or `name=value` pairs.
    pub address: String,
}

/// What every connection of ours has unless the address says otherwise: an end to every wait, and a name.
const DEFAULTS: [(&str, &str); 6] = [
    ("application_name", "sluice"),
    ("connect_timeout", "5"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "15000"),
];

impl DatabaseOptions {
    /// From the parts that S4 names; an empty one is left to libpq.
    pub fn from_parts(parts: &[(&str, &str)]) -> Self {
        let given = parts.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        Self { address: pairs.join(" ") }
    }

    pub fn is_uri(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|start| self.address.starts_with(start))
    }

    /// The address with what every connection of ours has.
    pub fn url(&self) -> String {
        let mut url = self.address.clone();
        let missing = DEFAULTS.iter().filter(|(name, _)| !self.address.contains(&format!("{name}=")));
        for (name, value) in missing {
            let separator = match (self.is_uri(), url.contains('?')) {
                (false, _) => " ",
                (true, false) => "?",
                (true, true) => "&",
            };
            url.push_str(&format!("{separator}{name}={value}"));
        }
        url
    }

    /// The value of `sslmode`, if the address has one.
    pub fn sslmode(&self) -> Option<&str> {
        let (_, rest) = self.address.split_once("sslmode=")?;
        rest.split(|c: char| c == '&' || c.is_whitespace()).next().map(|word| word.trim_matches('\''))
    }
}

/// A value in a libpq connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions").finish_non_exhaustive()
    }
}

/// Everything that `sluice consume` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    pub kind: Kind,
    /// Where Kafka is, its client properties, and how a topic is created; its topics are those below.
    pub kafka: KafkaOptions,
    /// The brokers, as the client library takes them.
    pub servers: String,
    /// The topic that is read.
    pub topic: String,
    /// Where records go that no table takes; `None` where they are stored as they are.
    pub dead_letter_topic: Option<String>,
    pub group: String,
    /// KAFKA_SESSION_TIMEOUT.
    pub session_timeout: Duration,
    pub database: DatabaseOptions,
    pub batch: BatchOptions,
    /// Where /health, /ready and the metrics are, if anywhere.
    pub health: Option<SocketAddr>,
    pub metrics_path: Option<String>,
    /// Time between two lines that say how far it got; 0 for none.
    pub metrics_interval: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: &str) -> DatabaseOptions {
        DatabaseOptions { address: address.into() }
    }

    #[test]
    fn an_address_gets_what_it_does_not_say() {
        let url = options("postgres://u@h/db").url();
        assert!(url.starts_with("postgres://u@h/db?application_name=sluice&connect_timeout=5&"), "{url}");
        let url = options("postgresql://h/db?connect_timeout=1&application_name=me").url();
        assert!(url.contains("connect_timeout=1&application_name=me&keepalives_idle=10"), "{url}");
        assert_eq!(url.matches("connect_timeout").count(), 1);
        let url = options("host=h dbname=d").url();
        assert!(url.starts_with("host=h dbname=d application_name=sluice connect_timeout=5 "), "{url}");
    }

    #[test]
    fn parts_are_quoted_and_empty_ones_left_out() {
        let parts = [("host", "h"), ("port", ""), ("password", r"it's a \")];
        assert_eq!(DatabaseOptions::from_parts(&parts).address, r"host='h' password='it\'s a \\'");
    }

    #[test]
    fn sslmode_is_found() {
        for address in ["postgres://h/d?a=b&sslmode=require&c=d", "host=h sslmode='require' port=1"] {
            assert_eq!(options(address).sslmode(), Some("require"));
        }
        assert_eq!(options("postgres://h/d").sslmode(), None);
    }

    #[test]
    fn debug_output_keeps_the_password_back() {
        assert!(!format!("{:?}", options("postgres://u:hunter2@h/d")).contains("hunter2"));
    }
}
