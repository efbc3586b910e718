//! Names that look like ours but are not: a typing error that would otherwise be silent.
//!
//! Never a fault: an environment holds the variables of others too.

use super::fault::Warning;
use super::table::VARIABLES;

/// What our names begin with.
const PREFIXES: [&str; 17] = [
    "GATEWAY_",
    "HEALTH_",
    "KAFKA_",
    "BUFFER_",
    "QUEUE_",
    "MEMORY_",
    "TCP_",
    "VALUE_",
    "DRAIN_",
    "LOG_",
    "METRICS_",
    "MAX_CONN",
    "ENABLE_IDEMP",
    "RATE_LIMIT_",
    "IDEMPOTENCY_",
    "CONSUME_",
    "SLUICE_",
];

/// Names of other programs for things that have another name here.
const KNOWN_ELSEWHERE: [(&str, &str); 3] = [
    ("KAFKA_CLIENT_ID", "KAFKA_CONF_CLIENT_ID"),
    ("KAFKA_ACKS", "KAFKA_REQUIRED_ACKS"),
    ("GATEWAY_PORT", "GATEWAY_LISTEN_PORT"),
];

/// Names of the source documents that mean nothing here, and why (S3-R7).
const IGNORED: [(&str, &str); 3] = [
    ("WORKER_POOL_SIZE", "one producer thread serves all, and keeps the order of each key"),
    ("KAFKA_MAX_RETRIES", "KAFKA_DELIVERY_TIMEOUT_MS is the one bound on retries"),
    ("KAFKA_RETRY_BACKOFF", "KAFKA_DELIVERY_TIMEOUT_MS is the one bound on retries"),
];

/// Most single-character edits between a typing error and what was meant.
const EDITS_MAX: usize = 3;

/// A warning about `name`, which is no row of the table, if it looks meant for us.
pub(super) fn warn(name: &str) -> Option<Warning> {
    if let Some((_, why)) = IGNORED.iter().find(|(other, _)| *other == name) {
        return Some(Warning::new(name, format!("ignored: {why}")));
    }
    let meant = suggestion(name);
    let close = meant.is_some_and(|(_, edits)| edits <= 2 && name.len() >= 8);
    let ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_service_link(name) || !(ours || close) {
        return None;
    }
    let text = match meant {
        Some((meant, _)) => format!("unknown variable {name}, did you mean {meant}?"),
        None => format!("unknown variable {name}, ignored"),
    };
    Some(Warning::new(name, text))
}

fn suggestion(name: &str) -> Option<(&'static str, usize)> {
    if let Some((_, meant)) = KNOWN_ELSEWHERE.iter().find(|(other, _)| *other == name) {
        return Some((meant, 0));
    }
    let names = VARIABLES.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    names
        .map(|ours| (*ours, strsim::osa_distance(name, ours)))
        .filter(|(_, edits)| *edits <= EDITS_MAX)
        .min_by_key(|(_, edits)| *edits)
}

/// Kubernetes puts `<SERVICE>_PORT`, `<SERVICE>_PORT_80_TCP_ADDR` and the like into every container.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_pointed_out() {
        for (name, meant) in [
            ("KAFKA_TOPICS", "KAFKA_TOPIC"),
            ("GATEWAY_LISTEN_PROT", "GATEWAY_LISTEN_PORT"),
            ("MAX_CONECTIONS", "MAX_CONNECTIONS"),
            ("KAFKA_CLIENT_ID", "KAFKA_CONF_CLIENT_ID"),
            ("DRAIN_TIMOUT", "DRAIN_TIMEOUT"),
            ("ENABLE_IDEMPOTENCY", "ENABLE_IDEMPOTENCE"),
        ] {
            let expected = format!("unknown variable {name}, did you mean {meant}?");
            assert_eq!(warn(name).map(|w| w.text), Some(expected));
        }
        assert_eq!(warn("TCP_QUUX_CORGE").unwrap().text, "unknown variable TCP_QUUX_CORGE, ignored");
    }

    #[test]
    fn other_programs_names_are_left_alone() {
        for name in
            ["PATH", "HOME", "LOGNAME", "HTTP_PROXY", "KAFKA_SERVICE_HOST", "KAFKA_PORT_9092_TCP_ADDR"]
        {
            assert_eq!(warn(name), None, "{name}");
        }
    }
}
