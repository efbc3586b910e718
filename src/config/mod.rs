//! Configuration: an environment becomes the options that each room declares.
//!
//! Two steps. [`load`] first sorts raw strings onto the rows of one table (`raw`), then reads every value and holds
//! them against each other (`ready`, `relations`). All faults come at once, each naming the variable, the value and
//! what would be right. The environment is an argument: this room never asks the process for it, so that a test
//! needs no environment; only a secret's file (`*_FILE`) is read from disk. Whether a Kafka property exists is asked
//! of the kafka room; whether a port is free or a broker there, only starting tells.
//!
//! Called by `cli`; an embedding host may fill [`GatewayOptions`] itself and leave this room out.

#[cfg(feature = "consume")]
mod consumers;
mod effective;
mod fault;
mod log_options;
pub mod markdown;
pub mod memory;
mod parse;
mod passthrough;
mod profile;
mod raw;
mod ready;
mod relations;
pub mod table;
mod unknown;
mod values;

use crate::gateway::GatewayOptions;

#[cfg(feature = "consume")]
pub use consumers::{ConsumerConfiguration, load_consumer, load_database};
pub use effective::{Effective, Origin};
pub use fault::{Fault, MASK, Refusal, Warning};
pub use log_options::{LogFormat, LogOptions, LogOutput};
pub use parse::{expected, size_text};
pub use profile::Profile;

/// The value of KAFKA_BOOTSTRAP_SERVERS that runs a mock cluster inside the process.
pub const EMBEDDED: &str = "embedded";

/// A configuration that can be started.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub gateway: GatewayOptions,
    pub log: LogOptions,
    /// Every variable with the value in effect, secrets masked.
    pub effective: Vec<Effective>,
    pub warnings: Vec<Warning>,
}

/// Whether a variable may hold a secret.
#[must_use]
pub fn may_be_secret(name: &str) -> bool {
    let row = table::find(name).or_else(|| table::secret_of_file(name));
    row.is_some_and(|row| row.kind == table::Kind::Secret) || passthrough::is_one(name)
}

/// Reads a configuration from `environment`, as (name, value) in any order.
///
/// # Errors
/// All faults at once; the process exits with 2 then.
pub fn load(environment: impl IntoIterator<Item = (String, String)>) -> Result<Configuration, Refusal> {
    let raw::Raw { profile, given, mut properties, mut faults, mut warnings } = raw::gather(environment);
    properties.sort_by(|one, other| one.name.cmp(&other.name));
    let values = values::Values::read(profile, given, &mut faults);
    let gateway = ready::gateway(&values, &properties);
    let log = ready::log(&values);
    relations::check(&values, &gateway, &mut faults, &mut warnings);
    if !faults.is_empty() {
        return Err(Refusal { faults, warnings });
    }
    let effective = effective::list(&values, &properties, &gateway);
    Ok(Configuration { gateway, log, effective, warnings })
}

/// Whether a variable is one of the table's or a passed-through client property.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    table::find(name).is_some() || table::secret_of_file(name).is_some() || passthrough::is_one(name)
}
