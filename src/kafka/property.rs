//! Whether the client library takes a property, asked before anything starts.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Asks librdkafka for one property and its value; nothing is created, nothing connects. Values that only
/// contradict each other are found when the client is made.
///
/// # Errors
/// librdkafka's own words: no such property, a value out of range, or a feature that is not built in. They may
/// quote the value.
pub fn check_property(property: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(property, value);
    config.create_native_config().map(drop).map_err(|error| match error {
        KafkaError::ClientConfig(_, words, ..) => words,
        other => other.to_string(),
    })
}
