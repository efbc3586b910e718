//! The words for faults: which broker, which request, which error. Each parses from what a person types.
//!
//! Owns no state and breaks nothing itself.

use std::str::FromStr;

use rdkafka_sys::{RDKafkaApiKey, RDKafkaRespErr};

/// One broker of the cluster, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerId {
    /// Ids count from 1.
    One(i32),
    All,
}

impl BrokerId {
    /// As librdkafka wants it.
    pub(super) fn raw(self) -> i32 {
        match self {
            Self::One(id) => id.max(0), // -1 would mean all
            Self::All => -1,
        }
    }
}

impl FromStr for BrokerId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            _ => match text.parse() {
                Ok(id) if id >= 1 => Ok(Self::One(id)),
                _ => Err(format!("`{text}` is no broker: an id from 1, or `all`")),
            },
        }
    }
}

/// The kinds of request that can be refused a number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Produce,
    Fetch,
    ListOffsets,
    InitProducerId,
    FindCoordinator,
}

impl Request {
    pub(super) fn api_key(self) -> RDKafkaApiKey {
        match self {
            Self::Produce => RDKafkaApiKey::Produce,
            Self::Fetch => RDKafkaApiKey::Fetch,
            Self::ListOffsets => RDKafkaApiKey::ListOffsets,
            Self::InitProducerId => RDKafkaApiKey::InitProducerId,
            Self::FindCoordinator => RDKafkaApiKey::FindCoordinator,
        }
    }
}

impl FromStr for Request {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "produce" => Self::Produce,
            "fetch" => Self::Fetch,
            "list_offsets" => Self::ListOffsets,
            "init_producer_id" => Self::InitProducerId,
            "find_coordinator" => Self::FindCoordinator,
            _ => return Err(format!("`{text}` cannot be refused")),
        })
    }
}

/// An error that a broker can answer with: Kafka's name of it (`NOT_ENOUGH_REPLICAS`) or its number (`19`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerError(pub(super) RDKafkaRespErr);

impl BrokerError {
    const PREFIX: &'static str = "RD_KAFKA_RESP_ERR_";

    /// Kafka's name, in capitals.
    pub fn name(self) -> String {
        format!("{:?}", self.0).trim_start_matches(Self::PREFIX).to_owned()
    }

    /// Kafka's number of it.
    pub fn code(self) -> i32 {
        self.0 as i32
    }
}

impl FromStr for BrokerError {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no error that a broker answers with");
        let by_code = |code: i32| RDKafkaRespErr::try_from(code).ok().map(Self);
        if let Ok(code) = text.parse::<i32>() {
            // -195 is librdkafka's _TRANSPORT; other negative codes never cross the wire.
            return (code > 0 || code == -195).then(|| by_code(code)).flatten().ok_or_else(unknown);
        }
        let mut known = (1..1000).chain([-195]).filter_map(by_code);
        known.find(|error| error.name() == text && text != "END_ALL").ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_by_name_and_by_number() {
        let by_name: BrokerError = "NOT_ENOUGH_REPLICAS".parse().unwrap();
        assert_eq!((by_name.code(), by_name.name().as_str()), (19, "NOT_ENOUGH_REPLICAS"));
        assert_eq!("19".parse(), Ok(by_name));
        assert_eq!("MSG_SIZE_TOO_LARGE".parse::<BrokerError>().unwrap().code(), 10);
        assert_eq!("TOPIC_AUTHORIZATION_FAILED".parse::<BrokerError>().unwrap().code(), 29);
        assert_eq!("_TRANSPORT".parse::<BrokerError>().unwrap().code(), -195);
        for wrong in ["", "0", "-1", "99999", "not_enough_replicas", "NO_ERROR", "END_ALL"] {
            assert!(wrong.parse::<BrokerError>().is_err(), "{wrong}");
        }
    }
}
