//! `sluice consume ... --reset`: offsets set by a person, the one way out of offsets that do not fit the topic.
//!
//! Written for all partitions at once, under the ids that cluster and topic have now. A member that is reading finds
//! its claim gone, and goes on from the new offsets once its session timeout has passed.

use std::collections::BTreeMap;

use super::database::{Database, passing};
use super::offsets;
use super::options::ConsumeOptions;
use super::sink::{Source, Trouble};
use crate::kafka::consumer::{GroupConsumer, GroupOptions, Partition};

/// Where reading is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At the oldest records.
    Earliest,
    /// Behind the newest.
    Latest,
    /// At these offsets; other partitions stay as they are.
    Offsets(BTreeMap<Partition, i64>),
}

impl Reset {
    /// Reads `earliest`, `latest` or `PARTITION:OFFSET` by comma.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pair = |one: &str| -> Option<(Partition, i64)> {
            let (partition, offset) = one.split_once(':')?;
            let (partition, offset) = (partition.trim().parse().ok()?, offset.trim().parse().ok()?);
            (partition >= 0 && offset >= 0).then_some((partition, offset))
        };
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let mut offsets = BTreeMap::new();
        for one in text.split(',') {
            let fresh = pair(one).filter(|(partition, _)| !offsets.contains_key(partition));
            let (partition, offset) =
                fresh.ok_or("earliest, latest or PARTITION:OFFSET by comma, such as 0:100,1:250")?;
            offsets.insert(partition, offset);
        }
        Ok(Self::Offsets(offsets))
    }
}

/// Sets the offsets; gives those that were written.
///
/// # Errors
/// The topic has no such partition or offset, or a server does not answer.
pub fn reset(options: &ConsumeOptions, to: &Reset) -> Result<Vec<(Partition, i64)>, String> {
    let group = GroupOptions {
        servers: options.servers.clone(),
        topic: options.topic.clone(),
        group: options.group.clone(),
        session_timeout: options.session_timeout,
    };
    let reader = GroupConsumer::outside(&group, &options.kafka)?;
    let identity = reader.identity()?;
    let mut next = Vec::new();
    for partition in reader.partitions()? {
        let (oldest, end) = reader.bounds(partition)?;
        match to {
            Reset::Earliest => next.push((partition, oldest)),
            Reset::Latest => next.push((partition, end)),
            Reset::Offsets(offsets) => match offsets.get(&partition) {
                Some(offset) if !(oldest..=end).contains(offset) => {
                    return Err(format!(
                        "partition {partition} has offsets from {oldest} to {end}, not {offset}"
                    ));
                }
                Some(offset) => next.push((partition, *offset)),
                None => {}
            },
        }
    }
    if let Reset::Offsets(offsets) = to
        && let Some(missing) = offsets.keys().find(|known| next.iter().all(|(found, _)| found != *known))
    {
        return Err(format!("there is no partition {missing}"));
    }
    let source = Source { group: options.group.clone(), topic: options.topic.clone(), identity };
    let mut database = Database::new(&options.database, options.session_timeout);
    let words = |trouble| match trouble {
        Trouble::Passing(why) | Trouble::Final(why) => why,
    };
    let connection = database.connection().map_err(words)?;
    offsets::set(connection, &source, &next).map_err(|error| words(passing(&error)))?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_offsets() {
        assert_eq!(Reset::parse("earliest"), Ok(Reset::Earliest));
        assert_eq!(Reset::parse("latest"), Ok(Reset::Latest));
        assert_eq!(Reset::parse("0:7, 3:0"), Ok(Reset::Offsets([(0, 7), (3, 0)].into())));
        for bad in ["", "Earliest", "7", "0:", ":1", "0:-1", "-1:0", "0:1,0:2", "0:1,", "a:b"] {
            assert!(Reset::parse(bad).is_err(), "{bad}");
        }
    }
}
