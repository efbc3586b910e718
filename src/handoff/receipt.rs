//! What comes back for a record, and why.

use super::token::Address;
use crate::event::Outcome;

/// How one record ended, for the peer that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub to: Address,
    pub outcome: Outcome,
    pub cause: Cause,
    /// Of a record that is stored, where Kafka says where.
    pub place: Option<Place>,
}

impl Receipt {
    /// One that does not say where.
    pub fn new(to: Address, outcome: Outcome, cause: Cause) -> Self {
        Self { to, outcome, cause, place: None }
    }
}

/// Where a record is in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    /// Never negative.
    pub offset: i64,
}

macro_rules! causes {
    ($($name:ident = $code:literal, $detail:literal;)*) => {
        /// Why a record ended as it did; one name in log, metric and answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause { $(#[doc = $detail] $name,)* }

        impl Cause {
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];

            /// The stable word, in Kafka's spelling where Kafka has one.
            pub fn code(self) -> &'static str {
                match self { $(Cause::$name => $code,)* }
            }

            /// One sentence for a person.
            pub fn detail(self) -> &'static str {
                match self { $(Cause::$name => $detail,)* }
            }
        }
    };
}

causes! {
    Delivered = "DELIVERED", "Kafka has it";
    DeadlinePassed = "DEADLINE", "no leader for its partition came up within the delivery timeout";
    TimedOut = "MSG_TIMED_OUT", "Kafka did not acknowledge it within the delivery timeout";
    LetGo = "LET_GO", "given up together with others that had passed the delivery timeout";
    ShuttingDown = "SHUTDOWN", "the gateway stopped before it could be delivered";
    ProducerLost = "PRODUCER_FATAL", "the producer had to be built anew";
    TooLarge = "MSG_SIZE_TOO_LARGE", "larger than the topic or the broker allows";
    InvalidRecord = "INVALID_RECORD", "the broker refuses this record";
    UnknownTopic = "UNKNOWN_TOPIC_OR_PART", "the topic or its partition does not exist";
    NotAuthorized = "TOPIC_AUTHORIZATION_FAILED", "the broker does not allow writing to this topic";
    NotAuthenticated = "AUTHENTICATION", "the broker does not accept the credentials";
    NotEnoughReplicas = "NOT_ENOUGH_REPLICAS", "too few replicas of the partition are in sync";
    PolicyViolation = "POLICY_VIOLATION", "a policy of the broker refuses this record";
    Transport = "TRANSPORT", "the connection to the broker failed";
    QueueFull = "QUEUE_FULL", "the client library had no room";
    BrokerRefused = "BROKER_ERROR", "the broker answered with another error";
}
