//! The values in effect, for `sluice check-config`: what, and where it comes from.

use crate::gateway::GatewayOptions;

use super::fault::MASK;
use super::parse::size_text;
use super::passthrough::Property;
use super::ready;
use super::table::{Kind, Section, VARIABLES};
use super::values::Values;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// PROFILE.
    Profile,
    /// A default that follows another value.
    Derived,
    /// The environment, under this name.
    Environment(String),
}

/// One variable with its value as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub section: Section,
    pub name: String,
    pub value: String,
    pub origin: Origin,
}

pub(super) fn list(values: &Values, properties: &[Property], options: &GatewayOptions) -> Vec<Effective> {
    let mut list = Vec::with_capacity(VARIABLES.len() + properties.len());
    for row in VARIABLES {
        // A name that stands for another row under this profile is shown there.
        if values.profile.row(row.name).is_none_or(|meant| meant.name != row.name) {
            continue;
        }
        if row.kind == Kind::Passthrough {
            list.extend(properties.iter().map(|property| of_property(row.section, property)));
            continue;
        }
        let (value, origin) = match values.origin(row.name) {
            Some((under, _)) if row.kind == Kind::Secret => {
                (MASK.to_owned(), Origin::Environment(under.to_owned()))
            }
            Some((under, text)) => (text.to_owned(), Origin::Environment(under.to_owned())),
            None => match derived(row.name, values, options) {
                Some(value) if value != row.default => (value, Origin::Derived),
                _ => match values.default_of(row.name) {
                    default if default == row.default => (default.to_owned(), Origin::Default),
                    default => (default.to_owned(), Origin::Profile),
                },
            },
        };
        list.push(Effective { section: row.section, name: row.name.into(), value, origin });
    }
    list
}

fn of_property(section: Section, property: &Property) -> Effective {
    Effective {
        section,
        name: property.name.clone(),
        value: property.shown().to_owned(),
        origin: Origin::Environment(property.variable.clone()),
    }
}

/// The rows whose default follows others.
fn derived(name: &str, values: &Values, options: &GatewayOptions) -> Option<String> {
    match name {
        "HEALTH_LISTEN_ADDR" => {
            let address = options.net.health.or(options.net.tcp);
            Some(address.map_or("GATEWAY_LISTEN_ADDR".into(), |address| address.ip().to_string()))
        }
        "TCP_RECV_BUFFER_BYTES" => Some(size_text(options.net.recv_buffer_bytes as u64)),
        "TCP_PARTIAL_BYTES" => Some(size_text(options.net.partial_bytes as u64)),
        "KAFKA_CREATE_TOPICS" => Some(ready::creations(values)),
        _ => None,
    }
}
