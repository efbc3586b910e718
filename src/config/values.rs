//! The table's rows with their values read: what step two works on.
//!
//! A value that cannot be read becomes a fault and stands at its default from then on, marked, so that the
//! relations that it takes part in are skipped and all other faults are still found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::fault::{Fault, MASK};
use super::parse::{self, Value};
use super::profile::Profile;
use super::raw::Given;
use super::table::{Kind, VARIABLES, Variable};
use crate::admission::TrustedProxies;

/// Every row's value by the row's name.
pub(super) struct Values {
    pub profile: Profile,
    given: BTreeMap<&'static str, Given>,
    read: BTreeMap<&'static str, Value>,
    bad: BTreeSet<&'static str>,
}

impl Values {
    pub(super) fn read(
        profile: Profile,
        given: BTreeMap<&'static str, Given>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut values = Self { profile, given, read: BTreeMap::new(), bad: BTreeSet::new() };
        for row in VARIABLES {
            values.read_row(row, faults);
        }
        values
    }

    fn read_row(&mut self, row: &'static Variable, faults: &mut Vec<Fault>) {
        if let Some(given) = self.given.get(row.name) {
            match parse::parse(row.kind, &given.text) {
                Ok(value) => return drop(self.read.insert(row.name, value)),
                Err(right) => {
                    self.bad.insert(row.name);
                    let shown = if row.kind == Kind::Secret { MASK } else { &given.text };
                    faults.push(Fault::new(&given.under, shown, right + service_link_hint(row, &given.text)));
                }
            }
        }
        if let Ok(value) = parse::parse(row.kind, self.profile.default_of(row)) {
            self.read.insert(row.name, value);
        }
    }

    /// Whether somebody gave this row a value.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Whether all of these could be read, so that they may be held against each other.
    pub(super) fn usable(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.bad.contains(name))
    }

    /// A fault of `name`, under the name and with the text that it was given, or with its default.
    pub(super) fn fault(&self, name: &'static str, right: impl Into<String>) -> Fault {
        match self.given.get(name) {
            Some(given) => Fault::new(&given.under, &given.text, right),
            None => Fault::new(name, self.default_of(name), right),
        }
    }

    /// What a row is when nobody gives it.
    pub(super) fn default_of(&self, name: &str) -> &'static str {
        super::table::find(name).map_or("", |row| self.profile.default_of(row))
    }

    /// The name that a value was given under, and the value as text.
    pub(super) fn origin(&self, name: &'static str) -> Option<(&str, &str)> {
        self.given.get(name).map(|given| (given.under.as_str(), given.text.as_str()))
    }

    // The getters below panic when the table has no such row of such a kind. Every load calls each of them with
    // every name that is used anywhere, so the test `an_empty_environment_gives_the_defaults` proves them all.

    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        match self.read.get(name) {
            Some(Value::Address(address)) => Some(*address),
            None => None,
            other => mismatch(name, other),
        }
    }

    pub(super) fn port(&self, name: &str) -> Option<u16> {
        match self.read.get(name) {
            Some(Value::Port(port)) => *port,
            other => mismatch(name, other),
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.read.get(name) {
            Some(Value::Text(text)) => text,
            other => mismatch(name, other),
        }
    }

    pub(super) fn networks(&self, name: &str) -> TrustedProxies {
        match self.read.get(name) {
            Some(Value::Networks(networks)) => networks.clone(),
            other => mismatch(name, other),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.read.get(name) {
            Some(Value::Flag(flag)) => *flag,
            other => mismatch(name, other),
        }
    }

    pub(super) fn time(&self, name: &str) -> Duration {
        match self.read.get(name) {
            Some(Value::Time(time)) => *time,
            other => mismatch(name, other),
        }
    }

    /// A whole number, in whatever integer the options hold it.
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        match self.read.get(name) {
            // The ranges in the table fit the options' integers: the same test, and `ranges_fit` below.
            Some(Value::Number(number)) => T::try_from(*number).unwrap_or_else(|_| mismatch(name, None)),
            other => mismatch(name, other),
        }
    }

    pub(super) fn bytes_or_off(&self, name: &str) -> Option<u64> {
        match self.read.get(name) {
            Some(Value::Bytes(bytes)) => *bytes,
            other => mismatch(name, other),
        }
    }

    /// Bytes of a row that cannot be off; beyond the address space they are as good as endless.
    pub(super) fn bytes(&self, name: &str) -> usize {
        let bytes = self.bytes_or_off(name).unwrap_or_else(|| mismatch(name, None));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

fn mismatch(name: &str, value: Option<&Value>) -> ! {
    unreachable!("the table has another kind of row for {name}: {value:?}")
}

fn service_link_hint(row: &Variable, text: &str) -> &'static str {
    if row.kind == Kind::Port && text.starts_with("tcp://") {
        "; this looks like a service link of Kubernetes (enableServiceLinks: false in the pod leaves them out)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_read() {
        for row in VARIABLES.iter().filter(|row| !row.default.is_empty()) {
            assert!(parse::parse(row.kind, row.default).is_ok(), "{}", row.name);
        }
    }

    #[test]
    fn ranges_fit() {
        for row in VARIABLES {
            if let Kind::Count { max, .. } = row.kind {
                assert!(i32::try_from(max).is_ok(), "{}", row.name);
            }
        }
    }
}
