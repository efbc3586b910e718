//! What the batch loop asks of whoever takes its batches.
//!
//! A sink knows nothing of Kafka's group. It remembers, where its data lie, how far each partition got and who may
//! write for it; the loop believes it, and not the group.

use crate::kafka::consumer::{Identity, Partition};

use super::batch::Batch;

/// Whose offsets they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub group: String,
    pub topic: String,
    pub identity: Identity,
}

/// What a sink remembers of a partition that is now claimed for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub partition: Partition,
    /// Where reading goes on; `None` if nothing was ever read.
    pub next: Option<i64>,
    /// The cluster and the topic that `next` belongs to.
    pub identity: Identity,
}

/// How a batch was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows written.
    pub rows: u64,
    /// Records that were there already.
    pub doubles: u64,
    /// Records that went to the dead letters.
    pub dead: u64,
    /// Partitions that somebody else has claimed since: nothing of them was stored.
    pub lost: Vec<Partition>,
}

/// Why a sink could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The same may work later; nothing was stored, or the sink will find out.
    Passing(String),
    /// It will not, whatever is waited for.
    Final(String),
}

/// See the module's text. Called by one thread, one call after the other; may block, within bounds of its own that lie
/// well below the group's `max.poll.interval.ms`.
pub trait Sink {
    /// Claims partitions for this process: from now on nobody who claimed them before can store anything of them.
    ///
    /// # Errors
    /// See [`Trouble`]; nothing is claimed then.
    fn claim(&mut self, source: &Source, partitions: &[Partition]) -> Result<Vec<Claimed>, Trouble>;

    /// Stores the batch and how far each of its partitions got, all or nothing, but for partitions that were lost.
    /// After `Passing` the same batch comes again, perhaps without some partitions.
    ///
    /// # Errors
    /// See [`Trouble`].
    fn store(&mut self, batch: &Batch) -> Result<Stored, Trouble>;

    /// These partitions are not ours any more.
    fn release(&mut self, partitions: &[Partition]);

    /// Called often, also while there is nothing to store: for work that is due by time.
    ///
    /// # Errors
    /// See [`Trouble`].
    fn tick(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}
