//! Step one: from an environment to raw strings, each on the row it belongs to.
//!
//! Settles under which name a value was given (aliases, `KAFKA_CONF_*`, `*_FILE`) and which names belong to nobody.
//! Looks into no value beyond comparing it: reading is step two (`ready`).

use std::collections::BTreeMap;

use super::fault::{Fault, MASK, Warning};
use super::passthrough::{self, Property, Rule};
use super::profile::{self, Profile};
use super::table::{self, Kind, Variable};
use super::{parse, unknown};

/// A value as somebody gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The name it was given under: the row's own, an alias or a client property's.
    pub under: String,
    pub text: String,
}

/// What an environment says about Sluice.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub profile: Profile,
    /// By the row's own name.
    pub given: BTreeMap<&'static str, Given>,
    /// Client properties that no row stands for.
    pub properties: Vec<Property>,
    pub faults: Vec<Fault>,
    pub warnings: Vec<Warning>,
}

/// Sorts an environment onto the table's rows.
pub(super) fn gather(environment: impl IntoIterator<Item = (String, String)>) -> Raw {
    let mut properties = BTreeMap::new();
    // By name, so that messages come in the same order whatever order the environment has.
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    let profile = Profile::of(environment.get(profile::VARIABLE).map(String::as_str));
    let mut raw = Raw { profile, ..Raw::default() };
    for (name, text) in &environment {
        if let Some(row) = profile.row(name) {
            raw.take(row, name, text);
        } else if let Some(row) = table::secret_of_file(name) {
            match passthrough::secret_from(text) {
                Ok(secret) => raw.take(row, name, &secret),
                Err(right) => raw.faults.push(Fault::new(name, text, right)),
            }
        } else if let Some(tail) = passthrough::tail(name, text) {
            match passthrough::read(name, tail, text) {
                Ok(property) => raw.take_property(&mut properties, property),
                Err(fault) => raw.faults.push(fault),
            }
        } else if let Some(warning) = unknown::warn(name).filter(|_| !passthrough::is_login(name)) {
            raw.warnings.push(warning);
        }
    }
    raw.warnings.extend(passthrough::complete_login(&mut properties));
    for property in properties.into_values() {
        raw.apply(property);
    }
    raw
}

impl Raw {
    fn take(&mut self, row: &'static Variable, name: &str, text: &str) {
        let new = Given { under: name.into(), text: text.into() };
        match self.given.get(row.name) {
            Some(old) if old.text != new.text => {
                let shown = |text| if row.kind == Kind::Secret { MASK } else { text };
                let right = format!(
                    "the same value as {}={:?}, or only one of the two names",
                    old.under,
                    shown(&old.text)
                );
                self.faults.push(Fault::new(name, shown(text), right));
            }
            // The row's own name is the one to speak of.
            Some(_) if name != row.name => {}
            _ => drop(self.given.insert(row.name, new)),
        }
    }

    fn take_property(&mut self, taken: &mut BTreeMap<String, Property>, new: Property) {
        if let Some(old) = taken.get(&new.name) {
            let right = format!("only one of {} and {}", old.variable, new.variable);
            self.faults.push(Fault::new(&new.variable, new.shown(), right));
        } else {
            taken.insert(new.name.clone(), new);
        }
    }

    /// Lets a client property through, or settles it against the row that stands for it.
    fn apply(&mut self, property: Property) {
        match passthrough::rule(&property.name) {
            Rule::Free => match passthrough::check(&property) {
                Ok(()) => self.properties.push(property),
                Err(fault) => self.faults.push(fault),
            },
            Rule::Owned(why) => {
                let right = format!("not to be set: {why}");
                self.faults.push(Fault::new(&property.variable, property.shown(), right));
            }
            Rule::Ignored(why) => {
                self.warnings.push(Warning::new(&property.variable, format!("ignored: {why}")));
            }
            Rule::Knob(knob) => self.settle(knob, property),
        }
    }

    /// A property that has a variable of its own counts when that variable is not given.
    fn settle(&mut self, knob: &'static str, property: Property) {
        let text = passthrough::as_knob(knob, property.value);
        let Some(old) = self.given.get(knob) else {
            self.given.insert(knob, Given { under: property.variable, text });
            return;
        };
        if same(knob, &old.text, &text) {
            return;
        }
        if knob == passthrough::DELIVERY_TIMEOUT {
            let right = format!(
                "the same value as {}={:?}, or only one of them: message.timeout.ms and delivery.timeout.ms are one \
                 property with two names (use {knob})",
                old.under, old.text
            );
            self.faults.push(Fault::new(&property.variable, &text, right));
        } else {
            let text = format!("ignored, {}={:?} wins", old.under, old.text);
            self.warnings.push(Warning::new(&property.variable, text));
        }
    }
}

/// Whether two texts mean the same to a row; a text that cannot be read equals only itself.
fn same(knob: &str, one: &str, other: &str) -> bool {
    let read = |text| table::find(knob).and_then(|row| parse::parse(row.kind, text).ok());
    one == other || read(one).is_some_and(|value| read(other) == Some(value))
}
