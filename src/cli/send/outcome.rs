//! What can become of a line, and of a gateway that is not to be believed: the words shared by the account, which
//! decides, and the report, which tells.

use std::fmt;

/// How a line ended that is not stored. The words are the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Rejected,
    NotStored,
    Unknown,
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::NotStored => "not_stored",
            Self::Unknown => "unknown",
        }
    }
}

/// A line that did not get stored, as far as this run knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Number in the input, from 1.
    pub(super) line: u64,
    pub(super) fate: Fate,
    pub(super) code: String,
    pub(super) detail: String,
}

/// lines = stored + rejected + not_stored + unknown + waiting, at every moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) lines: u64,
    pub(super) stored: u64,
    pub(super) rejected: u64,
    pub(super) not_stored: u64,
    pub(super) unknown: u64,
    /// Times that a line went out again.
    pub(super) resent: u64,
}

/// An answer that cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Names a message that was never sent.
    Beyond { n: u64, sent: u64 },
    /// Takes back what an earlier answer said.
    Backwards { n: u64, after: u64 },
    /// Names a message whose fate was settled.
    Twice { n: u64 },
    /// Comes after the account was closed.
    AfterClose,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond { n, sent } => write!(f, "it answers message {n}, but only {sent} were sent"),
            Self::Backwards { n, after } => write!(f, "it goes back to {n} after {after}"),
            Self::Twice { n } => write!(f, "it answers message {n} twice"),
            Self::AfterClose => f.write_str("it answers after closing the account"),
        }
    }
}
