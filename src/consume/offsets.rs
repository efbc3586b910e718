//! `sluice_offsets`: how far each partition got, written in the transaction that writes its rows.
//!
//! Every write is a compare-and-set on two numbers. The epoch is raised by each claim, so that whoever was paused while
//! its partitions went to somebody else finds its own no longer there. The offset is the one that the writer started
//! from, so that a batch counts once however often it is tried. Kafka's own generation would not do: it rises at every
//! rebalance, also for partitions that stay.

use std::collections::BTreeMap;

use diesel::pg::PgConnection;
use diesel::result::Error;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::batch::Span;
use super::sink::{Claimed, Source};
use crate::kafka::consumer::{Identity, Partition};

/// Inserts a partition that is new, and raises the epoch of all. Ids are those of the first claim until there is an
/// offset that belongs to them.
const CLAIM: &str = "
INSERT INTO sluice_offsets AS o (group_id, topic, partition, cluster_id, topic_id, epoch)
SELECT $1, $2, p, $3, $4, 1 FROM unnest($5) AS p ORDER BY p
ON CONFLICT (group_id, topic, partition) DO UPDATE SET
    epoch = o.epoch + 1,
    cluster_id = CASE WHEN o.next_offset IS NULL THEN EXCLUDED.cluster_id ELSE o.cluster_id END,
    topic_id = CASE WHEN o.next_offset IS NULL THEN EXCLUDED.topic_id ELSE o.topic_id END
RETURNING partition, next_offset, epoch, cluster_id, topic_id";

const ADVANCE: &str = "
UPDATE sluice_offsets o SET next_offset = w.next, updated_at = now()
FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) AS w(partition, epoch, expected, next)
WHERE o.group_id = $1 AND o.topic = $2 AND o.partition = w.partition
  AND o.epoch = w.epoch AND o.next_offset IS NOT DISTINCT FROM w.expected
RETURNING o.partition";

const LOOK: &str = "
SELECT partition, next_offset, epoch, cluster_id, topic_id FROM sluice_offsets
WHERE group_id = $1 AND topic = $2 AND partition = ANY($3)";

const SET: &str = "
INSERT INTO sluice_offsets AS o (group_id, topic, partition, cluster_id, topic_id, next_offset, epoch)
SELECT $1, $2, w.partition, $3, $4, w.next, 1 FROM unnest($5::int[], $6::bigint[]) AS w(partition, next)
ON CONFLICT (group_id, topic, partition) DO UPDATE SET
    epoch = o.epoch + 1, next_offset = EXCLUDED.next_offset, cluster_id = EXCLUDED.cluster_id,
    topic_id = EXCLUDED.topic_id, updated_at = now()";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Integer)]
    partition: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    next_offset: Option<i64>,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = Text)]
    cluster_id: String,
    #[diesel(sql_type = Text)]
    topic_id: String,
}

#[derive(QueryableByName)]
struct Advanced {
    #[diesel(sql_type = Integer)]
    partition: i32,
}

/// What this process holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    epoch: i64,
    /// As the table has it.
    next: Option<i64>,
}

/// The partitions that this process has claimed.
#[derive(Debug, Default)]
pub struct Offsets {
    group: String,
    topic: String,
    held: BTreeMap<Partition, Held>,
}

impl Offsets {
    /// See [`super::Sink::claim`].
    ///
    /// # Errors
    /// The database's; nothing is claimed then.
    pub fn claim(
        &mut self,
        connection: &mut PgConnection,
        source: &Source,
        partitions: &[Partition],
    ) -> Result<Vec<Claimed>, Error> {
        (self.group, self.topic) = (source.group.clone(), source.topic.clone());
        let lines: Vec<Line> = sql_query(CLAIM)
            .bind::<Text, _>(&source.group)
            .bind::<Text, _>(&source.topic)
            .bind::<Text, _>(&source.identity.cluster)
            .bind::<Text, _>(&source.identity.topic)
            .bind::<Array<Integer>, _>(partitions)
            .load(connection)?;
        let claimed = lines.into_iter().map(|line| {
            self.held.insert(line.partition, Held { epoch: line.epoch, next: line.next_offset });
            let identity = Identity { cluster: line.cluster_id, topic: line.topic_id };
            Claimed { partition: line.partition, next: line.next_offset, identity }
        });
        Ok(claimed.collect())
    }

    /// Moves the offsets on, within the caller's transaction. Gives the partitions that are not ours any more: the
    /// transaction is to be rolled back then. Call [`Offsets::moved`] once it is committed.
    ///
    /// # Errors
    /// The database's.
    pub fn advance(&self, connection: &mut PgConnection, spans: &[Span]) -> Result<Vec<Partition>, Error> {
        let mine = |span: &&Span| self.held.contains_key(&span.partition);
        let held: Vec<(&Span, &Held)> =
            spans.iter().filter(mine).map(|span| (span, &self.held[&span.partition])).collect();
        let advanced: Vec<Advanced> = sql_query(ADVANCE)
            .bind::<Text, _>(&self.group)
            .bind::<Text, _>(&self.topic)
            .bind::<Array<Integer>, _>(held.iter().map(|(span, _)| span.partition).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(held.iter().map(|(_, held)| held.epoch).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>(held.iter().map(|(_, held)| held.next).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>(held.iter().map(|(span, _)| span.next).collect::<Vec<_>>())
            .load(connection)?;
        let is_done = |span: &&Span| advanced.iter().any(|one| one.partition == span.partition);
        Ok(spans.iter().filter(|span| !is_done(span)).map(|span| span.partition).collect())
    }

    /// What [`Offsets::advance`] did is committed.
    pub fn moved(&mut self, spans: &[Span]) {
        for span in spans {
            if let Some(held) = self.held.get_mut(&span.partition) {
                held.next = Some(span.next);
            }
        }
    }

    /// Reads back how far our partitions got, after a transaction whose end nobody saw; those that are not ours any
    /// more are given.
    ///
    /// # Errors
    /// The database's.
    pub fn look(&mut self, connection: &mut PgConnection) -> Result<Vec<Partition>, Error> {
        let partitions: Vec<Partition> = self.held.keys().copied().collect();
        let lines: Vec<Line> = sql_query(LOOK)
            .bind::<Text, _>(&self.group)
            .bind::<Text, _>(&self.topic)
            .bind::<Array<Integer>, _>(&partitions)
            .load(connection)?;
        let mut lost = Vec::new();
        for (partition, held) in &mut self.held {
            match lines.iter().find(|line| line.partition == *partition && line.epoch == held.epoch) {
                Some(line) => held.next = line.next_offset,
                None => lost.push(*partition),
            }
        }
        self.release(&lost);
        Ok(lost)
    }

    /// Whether a record is stored already: a batch whose end nobody saw was committed after all.
    pub fn has(&self, partition: Partition, offset: i64) -> bool {
        self.held.get(&partition).and_then(|held| held.next).is_some_and(|next| offset < next)
    }

    /// These are not ours any more.
    pub fn release(&mut self, partitions: &[Partition]) {
        self.held.retain(|partition, _| !partitions.contains(partition));
    }
}

/// Writes offsets down from outside, whoever holds the partitions; whoever does has lost them by it.
///
/// # Errors
/// The database's.
pub fn set(connection: &mut PgConnection, source: &Source, next: &[(Partition, i64)]) -> Result<(), Error> {
    let (partitions, offsets): (Vec<Partition>, Vec<i64>) = next.iter().copied().unzip();
    sql_query(SET)
        .bind::<Text, _>(&source.group)
        .bind::<Text, _>(&source.topic)
        .bind::<Text, _>(&source.identity.cluster)
        .bind::<Text, _>(&source.identity.topic)
        .bind::<Array<Integer>, _>(partitions)
        .bind::<Array<BigInt>, _>(offsets)
        .execute(connection)
        .map(drop)
}
