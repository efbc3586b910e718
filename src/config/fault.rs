//! What is wrong with a configuration, in words that end the search for it.
//!
//! A [`Fault`] names the variable, the value that was given and what would be right; it never shows a secret. A
//! [`Warning`] is something that works, but perhaps not as meant.

use std::fmt;

/// Values longer than this many characters are cut when shown.
const SHOWN_CHARS_MAX: usize = 120;

/// What is shown instead of a secret.
pub const MASK: &str = "********";

/// One reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable as it was given.
    pub variable: String,
    /// The value as it may be shown: cut, and masked when it is a secret.
    pub value: String,
    /// What would be right, to be read after "expected".
    pub right: String,
}

impl Fault {
    /// A fault of `variable`; `value` is cut to what fits a line.
    #[must_use]
    pub fn new(variable: &str, value: &str, right: impl Into<String>) -> Self {
        Self { variable: variable.into(), value: shown(value), right: right.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}: expected {}", self.variable, self.value, self.right)
    }
}

/// One thing to know about a configuration that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub variable: String,
    pub text: String,
}

impl Warning {
    #[must_use]
    pub fn new(variable: &str, text: impl Into<String>) -> Self {
        Self { variable: variable.into(), text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.text)
    }
}

/// A configuration that does not start: every fault of it, and what else was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Warning>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        writeln!(f, "configuration refused, {count} {}:", if count == 1 { "fault" } else { "faults" })?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl std::error::Error for Refusal {}

fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &value[..cut]),
        None => value.to_owned(),
    }
}
