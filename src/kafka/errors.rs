//! Every error code, classified once: what the sender is told, and under which name.
//!
//! The client library's message status draws the line between not stored and unknown; the class only says
//! whether the same record could ever be taken. Nothing is produced again behind the sender's back: that would
//! break order, and double.

use rdkafka_sys::rd_kafka_msg_status_t as Status;
pub use rdkafka_sys::rd_kafka_resp_err_t as Code;

use crate::event::Outcome;
use crate::handoff::Cause;

/// Whether a record may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Never,
    Possibly,
    Surely,
}

impl From<Status> for Persistence {
    fn from(status: Status) -> Self {
        match status {
            Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Self::Never,
            Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Self::Possibly,
            Status::RD_KAFKA_MSG_STATUS_PERSISTED => Self::Surely,
        }
    }
}

/// What a code says about the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The record as it is will never be taken: its sender must change it.
    RefusedForGood,
    /// Nothing is wrong with the record: sent again later it may be stored.
    Passing,
}

/// The table. A code that is not in it is `Passing` with [`Cause::BrokerRefused`].
pub const TABLE: &[(Code, Class, Cause)] = {
    use Cause::*;
    use Class::*;
    use Code::*;
    &[
        (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RefusedForGood, TooLarge),
        (RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, RefusedForGood, TooLarge),
        (RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, RefusedForGood, TooLarge),
        (RD_KAFKA_RESP_ERR_INVALID_RECORD, RefusedForGood, InvalidRecord),
        (RD_KAFKA_RESP_ERR_INVALID_MSG, RefusedForGood, InvalidRecord),
        (RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, RefusedForGood, InvalidRecord),
        (RD_KAFKA_RESP_ERR_POLICY_VIOLATION, RefusedForGood, PolicyViolation),
        (RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, Passing, TimedOut),
        (RD_KAFKA_RESP_ERR__TIMED_OUT, Passing, TimedOut),
        (RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, Passing, TimedOut),
        (RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, Passing, TimedOut),
        (RD_KAFKA_RESP_ERR__PURGE_QUEUE, Passing, ShuttingDown),
        (RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, Passing, ShuttingDown),
        (RD_KAFKA_RESP_ERR__DESTROY, Passing, ShuttingDown),
        (RD_KAFKA_RESP_ERR__FATAL, Passing, ProducerLost),
        (RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, Passing, ProducerLost),
        (RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, Passing, ProducerLost),
        (RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, Passing, ProducerLost),
        (RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Passing, ProducerLost),
        (RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, Passing, UnknownTopic),
        (RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, Passing, UnknownTopic),
        (RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Passing, UnknownTopic),
        (RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, Passing, UnknownTopic),
        (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Passing, NotAuthorized),
        (RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Passing, NotAuthorized),
        (RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Passing, NotAuthorized),
        (RD_KAFKA_RESP_ERR__AUTHENTICATION, Passing, NotAuthenticated),
        (RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, Passing, NotAuthenticated),
        (RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Passing, NotEnoughReplicas),
        (RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, Passing, NotEnoughReplicas),
        (RD_KAFKA_RESP_ERR__TRANSPORT, Passing, Transport),
        (RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, Passing, Transport),
        (RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, Passing, Transport),
        (RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, Passing, Transport),
        (RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, Passing, Transport),
        (RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Passing, Transport),
        (RD_KAFKA_RESP_ERR__QUEUE_FULL, Passing, QueueFull),
    ]
};

/// Class and name of a code.
pub fn classify(code: Code) -> (Class, Cause) {
    TABLE
        .iter()
        .find(|(known, _, _)| *known == code)
        .map_or((Class::Passing, Cause::BrokerRefused), |(_, class, cause)| (*class, *cause))
}

/// How a record with this report ended.
pub fn judge(code: Code, persistence: Persistence) -> (Outcome, Cause) {
    if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR || persistence == Persistence::Surely {
        return (Outcome::Stored, Cause::Delivered);
    }
    let (class, cause) = classify(code);
    let outcome = match (persistence, class) {
        (Persistence::Possibly, _) => Outcome::Unknown,
        (_, Class::RefusedForGood) => Outcome::Rejected,
        (_, Class::Passing) => Outcome::NotStored,
    };
    (outcome, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One case a class, and the message status as the line between `not_stored` and `unknown` (G1).
    #[test]
    fn a_case_for_each_class() {
        use Code::*;
        let cases = [
            (RD_KAFKA_RESP_ERR_NO_ERROR, Persistence::Surely, Outcome::Stored),
            (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Persistence::Never, Outcome::Rejected),
            (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Persistence::Possibly, Outcome::Unknown),
            (RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, Persistence::Never, Outcome::NotStored),
            (RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, Persistence::Possibly, Outcome::Unknown),
            (RD_KAFKA_RESP_ERR__PURGE_QUEUE, Persistence::Never, Outcome::NotStored),
            (RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, Persistence::Possibly, Outcome::Unknown),
            (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Persistence::Never, Outcome::NotStored),
            (RD_KAFKA_RESP_ERR_UNKNOWN, Persistence::Never, Outcome::NotStored),
            (RD_KAFKA_RESP_ERR_UNKNOWN, Persistence::Possibly, Outcome::Unknown),
        ];
        for (code, persistence, expected) in cases {
            assert_eq!(judge(code, persistence).0, expected, "{code:?} {persistence:?}");
        }
    }

    /// Pain 16: what is refused for good is told so, whatever its code.
    #[test]
    fn each_code_stands_once() {
        for (index, (code, class, cause)) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|(other, _, _)| other != code), "{code:?} twice");
            assert_eq!(classify(*code), (*class, *cause));
            let expected =
                if *class == Class::RefusedForGood { Outcome::Rejected } else { Outcome::NotStored };
            assert_eq!(judge(*code, Persistence::Never).0, expected);
            assert_eq!(judge(*code, Persistence::Possibly).0, Outcome::Unknown);
        }
    }
}
