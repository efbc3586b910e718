//! Where the reading of a partition starts, and what must not be passed over in silence.
//!
//! What the sink remembers wins over whatever the group says. If it fits neither the topic nor what the topic still
//! holds, nothing is read: each such case has a name, and `--reset` is the one way out of it.

use std::fmt;

use super::sink::Claimed;
use crate::kafka::consumer::{Identity, Partition};

/// Why a partition is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The offsets belong to another cluster.
    OtherCluster { recorded: String, found: String },
    /// The topic was deleted and made anew under its old name.
    TopicMadeAnew { recorded: String, found: String },
    /// Reading would go on behind the end: the topic lost records, or is another one.
    BeyondEnd { next: i64, end: i64 },
    /// Retention has removed records that were never read.
    Gap { next: i64, oldest: i64 },
}

impl Misfit {
    /// One stable word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OtherCluster { .. } => "other_cluster",
            Self::TopicMadeAnew { .. } => "topic_made_anew",
            Self::BeyondEnd { .. } => "beyond_end",
            Self::Gap { .. } => "gap",
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { recorded, found } => {
                write!(f, "the offsets are of cluster {recorded}, and this is {found}")
            }
            Self::TopicMadeAnew { recorded, found } => {
                write!(f, "the topic was made anew: its id was {recorded} and is {found}")
            }
            Self::BeyondEnd { next, end } => {
                write!(f, "reading goes on at offset {next}, and the topic ends at {end}")
            }
            Self::Gap { next, oldest } => {
                let lost = oldest - next;
                write!(
                    f,
                    "reading goes on at offset {next}, and the oldest record is {oldest}: {lost} are gone"
                )
            }
        }
    }
}

/// Whether offsets of `recorded` mean something in `found`.
///
/// # Errors
/// They do not.
pub fn same_topic(recorded: &Identity, found: &Identity) -> Result<(), Misfit> {
    if recorded.cluster != found.cluster {
        let (recorded, found) = (recorded.cluster.clone(), found.cluster.clone());
        return Err(Misfit::OtherCluster { recorded, found });
    }
    // A cluster that gives topics no ids leaves this open.
    if !recorded.topic.is_empty() && !found.topic.is_empty() && recorded.topic != found.topic {
        let (recorded, found) = (recorded.topic.clone(), found.topic.clone());
        return Err(Misfit::TopicMadeAnew { recorded, found });
    }
    Ok(())
}

/// Whether a partition that keeps `oldest` up to before `end` can be read from `next` on.
///
/// # Errors
/// It cannot.
pub fn within(next: i64, (oldest, end): (i64, i64)) -> Result<(), Misfit> {
    if next > end {
        return Err(Misfit::BeyondEnd { next, end });
    }
    if next < oldest { Err(Misfit::Gap { next, oldest }) } else { Ok(()) }
}

/// Where reading starts: where the sink says, or at the oldest record if nothing was ever read (S4-R22).
///
/// # Errors
/// See [`Misfit`].
pub fn start(claimed: &Claimed, found: &Identity, bounds: (i64, i64)) -> Result<(Partition, i64), Misfit> {
    let Some(next) = claimed.next else { return Ok((claimed.partition, bounds.0)) };
    same_topic(&claimed.identity, found)?;
    within(next, bounds)?;
    Ok((claimed.partition, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: &str, topic: &str) -> Identity {
        Identity { cluster: cluster.into(), topic: topic.into() }
    }

    fn name(next: Option<i64>, recorded: Identity, bounds: (i64, i64)) -> Result<i64, &'static str> {
        let claimed = Claimed { partition: 3, next, identity: recorded };
        start(&claimed, &identity("c", "t"), bounds).map(|(_, at)| at).map_err(|misfit| misfit.name())
    }

    #[test]
    fn reading_goes_on_where_the_sink_says() {
        assert_eq!(name(None, identity("c", "t"), (4, 9)), Ok(4));
        for next in [4, 7, 9] {
            assert_eq!(name(Some(next), identity("c", "t"), (4, 9)), Ok(next));
        }
        assert_eq!(name(Some(7), identity("c", ""), (4, 9)), Ok(7), "no ids to compare");
    }

    #[test]
    fn each_misfit_is_told_apart() {
        assert_eq!(name(Some(7), identity("d", "u"), (4, 9)), Err("other_cluster"));
        assert_eq!(name(Some(7), identity("c", "u"), (4, 9)), Err("topic_made_anew"));
        assert_eq!(name(Some(10), identity("c", "t"), (4, 9)), Err("beyond_end"));
        assert_eq!(name(Some(3), identity("c", "t"), (4, 9)), Err("gap"));
        let gap = Misfit::Gap { next: 3, oldest: 10 }.to_string();
        assert!(gap.ends_with("7 are gone"), "{gap}");
    }
}
