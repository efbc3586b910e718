//! `KAFKA_CONF_*`: client properties that go through as they are.
//!
//! Which properties may pass, which have a variable of their own, which are Sluice's and why, and which are
//! secret. Whether a property exists and what it takes is librdkafka's knowledge: the kafka room asks it.

use std::collections::BTreeMap;
use std::io::Read;

use crate::kafka::check_property;

use super::fault::{Fault, MASK, Warning};
use super::table::PASSTHROUGH_PREFIX;

/// The row for which message.timeout.ms and delivery.timeout.ms are two more names (S0-P1).
pub(super) const DELIVERY_TIMEOUT: &str = "KAFKA_DELIVERY_TIMEOUT_MS";

/// Longest secret that is read from a file.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// One client property.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Property {
    /// librdkafka's name.
    pub name: String,
    pub value: String,
    /// The variable that gave it.
    pub variable: String,
}

impl Property {
    /// The value, or a mask.
    pub(super) fn shown(&self) -> &str {
        if is_secret(&self.name) { MASK } else { &self.value }
    }
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={:?} ({})", self.name, self.shown(), self.variable)
    }
}

/// What happens to a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Free,
    /// The row that stands for it.
    Knob(&'static str),
    /// Set by Sluice whatever is given, which is ignored with a warning; the reason.
    Ignored(&'static str),
    /// A fault: with another value Sluice would break a promise; the reason.
    Owned(&'static str),
}

pub(super) fn rule(property: &str) -> Rule {
    match property {
        "bootstrap.servers" | "metadata.broker.list" => Rule::Knob("KAFKA_BOOTSTRAP_SERVERS"),
        "enable.idempotence" => Rule::Knob("ENABLE_IDEMPOTENCE"),
        "acks" | "request.required.acks" => Rule::Knob("KAFKA_REQUIRED_ACKS"),
        "linger.ms" | "queue.buffering.max.ms" => Rule::Knob("KAFKA_LINGER_MS"),
        "compression.type" | "compression.codec" => Rule::Knob("KAFKA_COMPRESSION"),
        "message.timeout.ms" | "delivery.timeout.ms" => Rule::Knob(DELIVERY_TIMEOUT),
        "queue.buffering.max.messages" => Rule::Ignored("derived from BUFFER_MAX_MSGS"),
        "queue.buffering.max.kbytes" => Rule::Ignored("derived from BUFFER_MAX_BYTES"),
        "statistics.interval.ms" => Rule::Ignored("readiness follows the client's statistics"),
        "enable.sparse.connections" => {
            Rule::Ignored("every broker is connected from the start, for readiness")
        }
        "partitioner" => Rule::Owned("records are sorted by murmur2 of the key, as Java clients do"),
        "delivery.report.only.error" => Rule::Owned("every record is accounted for by its delivery report"),
        "transactional.id" => Rule::Owned("there are no transactions"),
        "allow.auto.create.topics" => {
            Rule::Owned("topics are created with KAFKA_PARTITIONS, never by accident")
        }
        _ => Rule::Free,
    }
}

/// S4's names for the way to Kafka, and what follows [`PASSTHROUGH_PREFIX`] for the same (S4-R8).
const LOGIN: [(&str, &str); 4] = [
    (USERNAME, "SASL_USERNAME"),
    ("KAFKA_PASSWORD", "SASL_PASSWORD"),
    ("KAFKA_PASSWORD_FILE", "SASL_PASSWORD_FILE"),
    ("KAFKA_SECURITY_PROTOCOL", "SECURITY_PROTOCOL"),
];
const USERNAME: &str = "KAFKA_USERNAME";

/// Whether a variable is one of S4's for the way to Kafka.
pub(super) fn is_login(name: &str) -> bool {
    LOGIN.iter().any(|(login, _)| *login == name)
}

/// Whether a variable names a client property.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PASSTHROUGH_PREFIX) || is_login(name)
}

/// Which property a variable names, if it does. S4's services are given empty ones where there is no login.
pub(super) fn tail<'a>(name: &'a str, text: &str) -> Option<&'a str> {
    let login = LOGIN.iter().find(|(login, _)| *login == name && !text.is_empty()).map(|(_, tail)| *tail);
    login.or_else(|| name.strip_prefix(PASSTHROUGH_PREFIX).filter(|tail| !tail.is_empty()))
}

/// A user name in S4's way logs in by SCRAM-SHA-512, over TCP in clear unless KAFKA_SECURITY_PROTOCOL says otherwise.
pub(super) fn complete_login(properties: &mut BTreeMap<String, Property>) -> Option<Warning> {
    let user = properties.get("sasl.username").filter(|property| property.variable == USERNAME)?;
    let variable = user.variable.clone();
    let property = |name: &str, value: &str| Property {
        name: name.into(),
        value: value.into(),
        variable: variable.clone(),
    };
    let mechanisms = ["sasl.mechanism", "sasl.mechanisms"];
    if !mechanisms.iter().any(|name| properties.contains_key(*name)) {
        properties.insert(mechanisms[0].into(), property(mechanisms[0], "SCRAM-SHA-512"));
    }
    let protocol = "security.protocol";
    if properties.contains_key(protocol) {
        return None;
    }
    properties.insert(protocol.into(), property(protocol, "sasl_plaintext"));
    let text = "no KAFKA_SECURITY_PROTOCOL beside it: SASL_PLAINTEXT, what is sent can be read on the way";
    Some(Warning::new(&variable, text))
}

/// Whether this build of the client takes the property; the fault says why not.
pub(super) fn check(property: &Property) -> Result<(), Fault> {
    let fault = |right: String| Err(Fault::new(&property.variable, property.shown(), right));
    if needs_tls(&property.name, &property.value) && !cfg!(feature = "tls") {
        return fault("a value without TLS or SCRAM: this build lacks the Cargo feature `tls`".into());
    }
    match check_property(&property.name, &property.value) {
        Ok(()) => Ok(()),
        Err(words) if is_secret(&property.name) && words.contains(&property.value) => {
            fault("a property and a value that librdkafka takes".into())
        }
        Err(words) => fault(format!("a property and a value that librdkafka takes ({words})")),
    }
}

fn needs_tls(property: &str, value: &str) -> bool {
    match property {
        "security.protocol" => value.to_ascii_lowercase().ends_with("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.to_ascii_uppercase().starts_with("SCRAM"),
        _ => false,
    }
}

/// Whether the value of a property must never be shown.
#[must_use]
pub fn is_secret(property: &str) -> bool {
    const PARTS: [&str; 5] = ["password", "passphrase", "secret", "key.pem", "oauthbearer.config"];
    PARTS.iter().any(|part| property.contains(part))
}

/// Reads `KAFKA_CONF_<tail>`; a secret may stand in a file that `KAFKA_CONF_<tail>_FILE` names.
pub(super) fn read(variable: &str, tail: &str, text: &str) -> Result<Property, Fault> {
    let file_of = tail.strip_suffix("_FILE").map(property_name).filter(|name| is_secret(name));
    let (name, value) = match file_of {
        Some(name) => (name, secret_from(text).map_err(|right| Fault::new(variable, text, right))?),
        None => (property_name(tail), text.to_owned()),
    };
    let value = if name == "security.protocol" { value.to_ascii_lowercase() } else { value };
    let property = Property { name, value, variable: variable.into() };
    if property.value.is_empty() {
        return Err(Fault::new(variable, text, "a value that librdkafka takes for this property, not empty"));
    }
    Ok(property)
}

/// `SASL_USERNAME` is sasl.username; log_level is the one property with an underscore.
fn property_name(tail: &str) -> String {
    let dotted = tail.to_ascii_lowercase().replace('_', ".");
    if dotted == "log.level" { "log_level".into() } else { dotted }
}

/// The content of a file without its last line end.
pub(super) fn secret_from(path: &str) -> Result<String, String> {
    let unreadable = |e: std::io::Error| format!("a readable file ({e})");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(format!("a file of at most {SECRET_FILE_BYTES_MAX} bytes"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() { Err("a file that is not empty".into()) } else { Ok(line.to_owned()) }
}

/// The value of a property in the words of the row that stands for it.
pub(super) fn as_knob(knob: &str, value: String) -> String {
    if knob == "KAFKA_REQUIRED_ACKS" && value == "-1" { "all".into() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_properties() {
        for (tail, name) in
            [("SASL_PASSWORD", "sasl.password"), ("BATCH_SIZE", "batch.size"), ("LOG_LEVEL", "log_level")]
        {
            assert_eq!(property_name(tail), name);
        }
    }

    #[test]
    fn secrets_are_known() {
        let secret = ["sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem"];
        assert!(secret.iter().all(|name| is_secret(name)));
        assert!(is_secret("sasl.oauthbearer.client.secret") && is_secret("sasl.oauthbearer.config"));
        let open = ["sasl.username", "ssl.key.location", "ssl.ca.pem", "sasl.oauthbearer.token.endpoint.url"];
        assert!(!open.iter().any(|name| is_secret(name)));
    }

    #[test]
    fn a_property_that_ends_in_file_is_not_a_secret_file() {
        let tail = "SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE";
        let property = read("V", tail, "/etc/key.pem").unwrap();
        assert_eq!(property.name, "sasl.oauthbearer.assertion.private.key.file");
        assert_eq!(property.value, "/etc/key.pem");
    }

    #[test]
    fn debug_output_masks() {
        let property = read("V", "SASL_PASSWORD", "hunter2").unwrap();
        assert!(!format!("{property:?}").contains("hunter2"));
    }
}
