//! The six ways in which an accepted message can end. Words only; who counts them is `handoff`'s ledger.

/// How a message ended: the same word in ledger, metric, log and reply.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// The broker confirmed it.
    Stored,
    /// Bad input: sending it again as it is cannot succeed.
    Rejected,
    /// Certainly not in the topic: may be sent again freely.
    NotStored,
    /// Put on the dead-letter topic instead.
    DeadLettered,
    /// Given up without telling the sender, where a listener's policy says so.
    Dropped,
    /// Possibly in the topic: sending it again may double it.
    Unknown,
}

impl Outcome {
    /// How many outcomes there are.
    pub const COUNT: usize = 6;
    /// All of them, in the order of [`Outcome::index`].
    pub const ALL: [Outcome; Self::COUNT] = [
        Outcome::Stored,
        Outcome::Rejected,
        Outcome::NotStored,
        Outcome::DeadLettered,
        Outcome::Dropped,
        Outcome::Unknown,
    ];

    /// The word used in metrics, logs and replies.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Rejected => "rejected",
            Outcome::NotStored => "not_stored",
            Outcome::DeadLettered => "dead_lettered",
            Outcome::Dropped => "dropped",
            Outcome::Unknown => "unknown",
        }
    }

    /// Dense number from 0, for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_follows_all_and_names_differ() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), at);
            assert!(Outcome::ALL[..at].iter().all(|other| other.name() != outcome.name()));
        }
    }
}
