//! The same table for `sluice consume` and `sluice migrate`: values to what a consumer needs.
//!
//! Two defaults differ from the gateway's, because both may run in one container: no health listener unless
//! HEALTH_PORT is given, and S4's topic for dead letters.

use std::net::SocketAddr;

use crate::consume::{BatchOptions, ConsumeOptions, DatabaseOptions, Kind};
use crate::kafka::Bootstrap;

use super::fault::{Fault, Refusal, Warning};
use super::log_options::LogOptions;
use super::values::Values;
use super::{passthrough, raw, ready};

/// S4's topic.
const DEAD_LETTER_TOPIC: &str = "system.dlq";

/// What must be there, one way or the other.
const NEEDS_ADDRESS: &str = "the address of PostgreSQL, or DB_HOST with DB_NAME, DB_USER and DB_PASSWORD";

/// A consumer's configuration that can be started.
#[derive(Clone, Debug)]
pub struct ConsumerConfiguration {
    pub options: ConsumeOptions,
    pub log: LogOptions,
    pub warnings: Vec<Warning>,
}

/// Reads the configuration of a consumer of this kind.
///
/// # Errors
/// All faults at once; the process exits with 2 then.
pub fn load_consumer(
    environment: impl IntoIterator<Item = (String, String)>,
    kind: Kind,
) -> Result<ConsumerConfiguration, Refusal> {
    let raw::Raw { profile, given, mut properties, mut faults, warnings } = raw::gather(environment);
    properties.sort_by(|one, other| one.name.cmp(&other.name));
    let values = Values::read(profile, given, &mut faults);
    let database = database(&values, &mut faults);
    let options = options(&values, &properties, kind, database, &mut faults);
    if !faults.is_empty() {
        return Err(Refusal { faults, warnings });
    }
    Ok(ConsumerConfiguration { options, log: ready::log(&values), warnings })
}

/// Reads where PostgreSQL is.
///
/// # Errors
/// As [`load_consumer`].
pub fn load_database(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<DatabaseOptions, Refusal> {
    let raw::Raw { profile, given, mut faults, warnings, .. } = raw::gather(environment);
    let values = Values::read(profile, given, &mut faults);
    let database = database(&values, &mut faults);
    if faults.is_empty() { Ok(database) } else { Err(Refusal { faults, warnings }) }
}

fn database(values: &Values, faults: &mut Vec<Fault>) -> DatabaseOptions {
    let url = values.text("DATABASE_URL");
    let options = if url.is_empty() {
        let port = values.number::<u16>("DB_PORT").to_string();
        DatabaseOptions::from_parts(&[
            ("host", values.text("DB_HOST")),
            ("port", &port),
            ("dbname", values.text("DB_NAME")),
            ("user", values.text("DB_USER")),
            ("password", values.text("DB_PASSWORD")),
        ])
    } else {
        DatabaseOptions { address: url.to_owned() }
    };
    if url.is_empty() && values.text("DB_HOST").is_empty() {
        faults.push(Fault::new("DATABASE_URL", "", NEEDS_ADDRESS));
    }
    if let Some(mode @ ("require" | "verify-ca" | "verify-full")) = options.sslmode() {
        let right = "an address without TLS: this build's libpq has none";
        faults.push(Fault::new("DATABASE_URL", &format!("sslmode={mode}"), right));
    }
    options
}

fn options(
    values: &Values,
    properties: &[passthrough::Property],
    kind: Kind,
    database: DatabaseOptions,
    faults: &mut Vec<Fault>,
) -> ConsumeOptions {
    let kafka = ready::kafka(values, properties);
    let servers = match &kafka.bootstrap {
        Bootstrap::Servers(servers) => servers.clone(),
        Bootstrap::Embedded => {
            let right = "brokers that others write to: the embedded one would be empty";
            faults.push(values.fault("KAFKA_BOOTSTRAP_SERVERS", right));
            String::new()
        }
    };
    let letters = match values.is_given("KAFKA_DLQ_TOPIC") {
        true => values.text("KAFKA_DLQ_TOPIC"),
        false => DEAD_LETTER_TOPIC,
    };
    let topic = match kind {
        Kind::EventLog => values.text("PLAYER_EVENTS_TOPIC"),
        Kind::DeadLetters => letters,
        Kind::Usage => values.text("USAGE_TOPIC"),
    };
    let dead_letter_topic = Some(letters).filter(|topic| !topic.is_empty() && kind != Kind::DeadLetters);
    if topic.is_empty() {
        let name = if kind == Kind::DeadLetters { "KAFKA_DLQ_TOPIC" } else { "PLAYER_EVENTS_TOPIC" };
        faults.push(values.fault(name, "a topic to read"));
    }
    if dead_letter_topic == Some(topic) {
        let right = "another topic than the one that is read";
        faults.push(values.fault("KAFKA_DLQ_TOPIC", right));
    }
    let batch = BatchOptions {
        min_records: values.number("CONSUME_BATCH_MIN"),
        max_records: values.number("CONSUME_BATCH_MAX"),
        wait: values.time("CONSUME_BATCH_WAIT"),
        ..BatchOptions::default()
    };
    if values.usable(&["CONSUME_BATCH_MIN", "CONSUME_BATCH_MAX"]) && batch.min_records > batch.max_records {
        let right = format!("at most CONSUME_BATCH_MAX={}", batch.max_records);
        faults.push(values.fault("CONSUME_BATCH_MIN", right));
    }
    let health_address =
        values.address("HEALTH_LISTEN_ADDR").or_else(|| values.address("GATEWAY_LISTEN_ADDR"));
    let health_port = values.port("HEALTH_PORT").filter(|_| values.is_given("HEALTH_PORT"));
    ConsumeOptions {
        kind,
        servers,
        topic: topic.to_owned(),
        dead_letter_topic: dead_letter_topic.map(str::to_owned),
        group: kind.group().to_owned(),
        session_timeout: values.time("KAFKA_SESSION_TIMEOUT"),
        database,
        batch,
        health: health_address.zip(health_port).map(|(address, port)| SocketAddr::new(address, port)),
        metrics_path: values.flag("METRICS_ENABLED").then(|| values.text("METRICS_PATH").to_owned()),
        metrics_interval: values.time("METRICS_INTERVAL"),
        kafka,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(kind: Kind, vars: &[(&str, &str)]) -> Result<ConsumeOptions, Vec<String>> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load_consumer(vars, kind)
            .map(|configuration| configuration.options)
            .map_err(|refusal| refusal.faults.iter().map(ToString::to_string).collect())
    }

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u:hunter2@h/d");

    #[test]
    fn the_defaults_are_those_of_the_source() {
        let options = load(Kind::EventLog, &[DATABASE]).unwrap();
        assert_eq!(
            (options.topic.as_str(), options.group.as_str()),
            ("player.events.raw", "event-logger-group")
        );
        assert_eq!(options.dead_letter_topic.as_deref(), Some("system.dlq"));
        assert_eq!((options.session_timeout, options.health), (Duration::from_secs(30), None));
        assert_eq!(options.batch, BatchOptions::default());
        let letters = load(Kind::DeadLetters, &[DATABASE]).unwrap();
        assert_eq!((letters.topic.as_str(), letters.dead_letter_topic), ("system.dlq", None));
        assert_eq!(load(Kind::Usage, &[DATABASE]).unwrap().topic, "usage-events");
    }

    #[test]
    fn variables_reach_their_options() {
        let vars = [
            ("DB_HOST", "h"),
            ("DB_PORT", "1"),
            ("DB_NAME", "n"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "p"),
            ("KAFKA_SESSION_TIMEOUT", "6s"),
            ("KAFKA_DLQ_TOPIC", "off"),
            ("HEALTH_PORT", "7101"),
            ("HEALTH_LISTEN_ADDR", "127.0.0.1"),
            ("CONSUME_BATCH_MIN", "1"),
            ("CONSUME_BATCH_MAX", "2"),
            ("CONSUME_BATCH_WAIT", "3ms"),
        ];
        let options = load(Kind::EventLog, &vars).unwrap();
        let address = "host='h' port='1' dbname='n' user='u' password='p'";
        assert_eq!((options.database.address.as_str(), options.dead_letter_topic), (address, None));
        assert_eq!(options.health, Some("127.0.0.1:7101".parse().unwrap()));
        let BatchOptions { min_records, max_records, wait, .. } = options.batch;
        assert_eq!((min_records, max_records, wait), (1, 2, Duration::from_millis(3)));
        let url = load(Kind::EventLog, &[DATABASE, ("DB_HOST", "other")]).unwrap().database.address;
        assert_eq!(url, DATABASE.1, "the URL wins");
    }

    #[test]
    fn faults_name_what_would_be_right() {
        for (kind, vars, variable) in [
            (Kind::EventLog, &[][..], "DATABASE_URL"),
            (Kind::EventLog, &[DATABASE, ("KAFKA_BROKERS", "embedded")], "KAFKA_BROKERS"),
            (Kind::EventLog, &[DATABASE, ("KAFKA_DLQ_TOPIC", "player.events.raw")], "KAFKA_DLQ_TOPIC"),
            (Kind::DeadLetters, &[DATABASE, ("KAFKA_DLQ_TOPIC", "off")], "KAFKA_DLQ_TOPIC"),
            (Kind::Usage, &[DATABASE, ("CONSUME_BATCH_MAX", "9")], "CONSUME_BATCH_MIN"),
            (Kind::Usage, &[("DATABASE_URL", "postgres://h/d?sslmode=require")], "DATABASE_URL"),
        ] {
            let faults = load(kind, vars).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(variable), "{vars:?}: {faults:?}");
        }
    }

    /// A secret stands in a variable or in the file that `_FILE` names, and is shown from neither.
    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        std::fs::write(&path, "postgres://u:hunter3@h/d\n").unwrap();
        let file = ("DATABASE_URL_FILE", path.to_str().unwrap());
        let options = load(Kind::Usage, &[file]).unwrap();
        assert_eq!(options.database.address, "postgres://u:hunter3@h/d");
        assert!(!format!("{options:?}").contains("hunter"));
        let both = load(Kind::Usage, &[DATABASE, file]).unwrap_err();
        assert!(both.len() == 1 && !both[0].contains("hunter"), "{both:?}");
        let effective =
            super::super::load([(DATABASE.0.to_owned(), DATABASE.1.to_owned())]).unwrap().effective;
        assert!(!format!("{effective:?}").contains("hunter"));
    }
}
