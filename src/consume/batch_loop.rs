//! The batch loop: poll a batch, hand it to the sink, tell the group. One thread, and nothing in flight beside it.
//!
//! Owns which partitions are read and when a batch is written. While the sink cannot store, all partitions are paused
//! and the loop goes on polling, so that the group keeps this member; the batch stays as it is and is tried again. What
//! is taken away leaves the batch before anything else happens: it was not stored, and its new owner reads it again.
//! Knows no table, and no outcome of a single record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::batch::Batch;
use super::board::Board;
use super::claims::{self, Misfit};
use super::options::BatchOptions;
use super::sink::{Sink, Source, Stored, Trouble};
use crate::event::quoted;
use crate::handoff::{lock, unix_ms};
use crate::kafka::consumer::{Change, GroupConsumer, Identity, Partition, Polled};

/// Longest wait in one poll, so that a stop and what is due are seen.
const POLL: Duration = Duration::from_millis(100);
/// How often the group is told where the reading stands.
const TELL: Duration = Duration::from_secs(1);
/// How often it is asked whether the topic is still the same.
const IDENTIFY: Duration = Duration::from_secs(5);

/// Why the loop ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Offsets that do not fit the topic.
    Misfit { partition: Option<Partition>, misfit: Misfit },
    /// What no waiting mends.
    Failed(String),
}

/// What was done until the loop was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub rows: u64,
    pub doubles: u64,
    pub dead: u64,
    pub dropped: u64,
    /// Records that were read and not stored when it stopped: they are read again.
    pub unstored: u64,
}

/// A partition that is ours.
enum Part {
    /// The sink has not answered yet.
    Waiting,
    /// `told`: what the group knows of `next`.
    Reading { next: i64, told: i64 },
    /// Somebody else claimed it. If the group does not take it away by then, it is claimed again.
    Lost { until: Instant },
}

/// See the module's text.
pub struct Loop<'a> {
    pub group: GroupConsumer,
    pub sink: &'a mut dyn Sink,
    pub source: Source,
    pub batch_options: BatchOptions,
    pub session_timeout: Duration,
    pub board: Arc<Board>,
    parts: BTreeMap<Partition, Part>,
    batch: Batch,
    /// When the first record of the batch came.
    since: Instant,
    /// When the batch is tried again; `None` while all is well.
    retry: Option<Instant>,
    store_backoff: Backoff,
    claim_at: Instant,
    claim_backoff: Backoff,
    tell_at: Instant,
    identify_at: Instant,
    summary: Summary,
}

impl<'a> Loop<'a> {
    /// A loop that has read nothing yet.
    pub fn new(
        group: GroupConsumer,
        sink: &'a mut dyn Sink,
        source: Source,
        batch_options: BatchOptions,
        session_timeout: Duration,
        board: Arc<Board>,
    ) -> Self {
        let now = Instant::now();
        Self {
            group,
            sink,
            source,
            batch_options,
            session_timeout,
            board,
            parts: BTreeMap::new(),
            batch: Batch::default(),
            since: now,
            retry: None,
            store_backoff: Backoff::default(),
            claim_at: now,
            claim_backoff: Backoff::default(),
            tell_at: now,
            identify_at: now,
            summary: Summary::default(),
        }
    }

    /// Runs until `stop` turns true, then stores what it has if the sink lets it, and leaves the group.
    ///
    /// # Errors
    /// It ended by itself: see [`Ended`].
    pub fn run(mut self, stop: &AtomicBool) -> Result<Summary, Ended> {
        self.board.is_started.store(true, Relaxed);
        while !stop.load(Relaxed) {
            self.turn()?;
        }
        self.board.is_stopping.store(true, Relaxed);
        if self.retry.is_none() && !self.batch.is_empty() {
            self.store()?;
        }
        self.tell(true);
        self.summary.unstored = self.batch.len() as u64;
        Ok(self.summary)
    }

    fn turn(&mut self) -> Result<(), Ended> {
        self.board.turn();
        let is_quiet = self.poll()?;
        self.changes();
        let now = Instant::now();
        self.claim_if_due(now)?;
        let is_due = match self.retry {
            Some(at) => now >= at,
            None => self.is_full() || (is_quiet && self.is_ripe(now)),
        };
        if is_due && !self.batch.is_empty() {
            self.store()?;
        }
        match self.sink.tick() {
            Ok(()) => {}
            Err(Trouble::Passing(why)) => {
                log::warn!(target: "consume", "sink.waiting reason={}", quoted(&why))
            }
            Err(Trouble::Final(why)) => return Err(Ended::Failed(why)),
        }
        self.housekeeping(now)
    }

    /// Takes records until there is none at hand, or enough; whether there is none.
    fn poll(&mut self) -> Result<bool, Ended> {
        let mut wait = self.wait();
        loop {
            match self.group.poll(wait) {
                Polled::Record(message) => {
                    if self.batch.is_empty() {
                        self.since = Instant::now();
                    }
                    self.batch.push(&message);
                }
                Polled::Nothing => return Ok(true),
                Polled::OutOfRange => return self.examine().map(|()| true),
                Polled::Trouble(why) => {
                    log::debug!(target: "consume", "kafka.trouble reason={}", quoted(&why));
                    return Ok(true);
                }
                Polled::Fatal(why) => return Err(Ended::Failed(why)),
            }
            if self.is_full() || self.retry.is_some() {
                return Ok(false);
            }
            wait =
                if self.batch.len() >= self.batch_options.min_records { Duration::ZERO } else { self.wait() };
        }
    }

    /// How long a poll may last.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let until = match self.retry {
            Some(at) => at,
            None if self.batch.is_empty() => return POLL,
            None => self.since + self.batch_options.wait,
        };
        until.saturating_duration_since(now).min(POLL)
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.batch_options.max_records
            || self.batch.bytes() >= self.batch_options.max_bytes
    }

    fn is_ripe(&self, now: Instant) -> bool {
        self.batch.len() >= self.batch_options.min_records || now >= self.since + self.batch_options.wait
    }

    /// What the group decided. A partition that went and came back within one poll is claimed anew, like any other.
    fn changes(&mut self) {
        let mut is_changed = false;
        while let Some(change) = self.group.change() {
            is_changed = true;
            match change {
                Change::Assigned(partitions) => {
                    log::info!(target: "consume", "partitions.assigned partitions={}", listed(&partitions));
                    self.parts.extend(partitions.into_iter().map(|partition| (partition, Part::Waiting)));
                    self.claim_at = Instant::now();
                }
                Change::Revoked(partitions) => {
                    self.drop_records(&partitions);
                    self.sink.release(&partitions);
                    self.parts.retain(|partition, _| !partitions.contains(partition));
                    log::info!(target: "consume", "partitions.revoked partitions={}", listed(&partitions));
                }
            }
        }
        if is_changed {
            self.show();
        }
    }

    fn drop_records(&mut self, partitions: &[Partition]) {
        let dropped = self.batch.drop_partitions(partitions) as u64;
        self.summary.dropped += dropped;
        self.board.dropped.fetch_add(dropped, Relaxed);
        if self.batch.is_empty() && self.retry.is_some() {
            self.go_on();
        }
    }

    fn claim_if_due(&mut self, now: Instant) -> Result<(), Ended> {
        for part in self.parts.values_mut() {
            if matches!(part, Part::Lost { until } if now >= *until) {
                *part = Part::Waiting;
            }
        }
        let waiting: Vec<Partition> = self
            .parts
            .iter()
            .filter(|(_, part)| matches!(part, Part::Waiting))
            .map(|(partition, _)| *partition)
            .collect();
        if waiting.is_empty() || now < self.claim_at {
            return Ok(());
        }
        match self.claim(&waiting) {
            Ok(()) => self.claim_backoff.reset(),
            Err(Stop::Later(why)) => {
                let wait = self.claim_backoff.next();
                let tries = self.claim_backoff.tries();
                log::warn!(target: "consume", "claim.waiting tries={tries} reason={}", quoted(&why));
                self.claim_at = Instant::now() + wait;
                self.board.retries.fetch_add(1, Relaxed);
            }
            Err(Stop::Ended(ended)) => return Err(ended),
        }
        self.show();
        Ok(())
    }

    /// Asks the sink where these go on, and lets them.
    fn claim(&mut self, partitions: &[Partition]) -> Result<(), Stop> {
        let found = self.group.identity().map_err(Stop::Later)?;
        self.source.identity = found.clone();
        let claimed = self.sink.claim(&self.source, partitions)?;
        let mut starts = Vec::with_capacity(claimed.len());
        for one in &claimed {
            let bounds = self.group.bounds(one.partition).map_err(Stop::Later)?;
            let start = claims::start(one, &found, bounds);
            starts.push(start.map_err(|misfit| Ended::Misfit { partition: Some(one.partition), misfit })?);
        }
        self.group.begin(&starts).map_err(Stop::Later)?;
        if self.retry.is_some() {
            // It begins with the others, once the sink stores again.
            self.group.pause(partitions).map_err(Stop::Later)?;
        }
        for (partition, next) in starts {
            log::info!(target: "consume", "partition.begin partition={partition} offset={next}");
            self.parts.insert(partition, Part::Reading { next, told: next });
        }
        Ok(())
    }

    fn store(&mut self) -> Result<(), Ended> {
        let spans = self.batch.spans();
        match self.sink.store(&self.batch) {
            Ok(stored) => {
                for span in spans.iter().filter(|span| !stored.lost.contains(&span.partition)) {
                    if let Some(Part::Reading { next, .. }) = self.parts.get_mut(&span.partition) {
                        *next = span.next;
                    }
                }
                self.count(&stored);
                self.lose(&stored.lost);
                self.batch.clear(self.batch_options.max_bytes);
                self.go_on();
                self.show();
                Ok(())
            }
            Err(Trouble::Final(why)) => Err(Ended::Failed(why)),
            Err(Trouble::Passing(why)) => {
                self.wait_for_sink(&why);
                Ok(())
            }
        }
    }

    fn count(&mut self, stored: &Stored) {
        let Stored { rows, doubles, dead, .. } = *stored;
        self.summary.rows += rows;
        self.summary.doubles += doubles;
        self.summary.dead += dead;
        self.board.rows.fetch_add(rows, Relaxed);
        self.board.doubles.fetch_add(doubles, Relaxed);
        self.board.dead.fetch_add(dead, Relaxed);
        self.board.batches.fetch_add(1, Relaxed);
        self.board.last_batch_records.store(self.batch.len() as u64, Relaxed);
        self.board.last_commit_ms.store(unix_ms(), Relaxed);
    }

    fn lose(&mut self, partitions: &[Partition]) {
        if partitions.is_empty() {
            return;
        }
        log::warn!(target: "consume", "partitions.lost partitions={} reason=\"claimed by another process\"", listed(partitions));
        self.drop_records(partitions);
        self.sink.release(partitions);
        // Paused or taken away meanwhile: both are what we want.
        let _ = self.group.pause(partitions);
        let until = Instant::now() + self.session_timeout;
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                *part = Part::Lost { until };
            }
        }
    }

    /// Pauses everything and plans the next try.
    fn wait_for_sink(&mut self, why: &str) {
        let wait = self.store_backoff.next();
        let tries = self.store_backoff.tries();
        log::warn!(
            target: "consume",
            "store.waiting records={} tries={tries} next_ms={} reason={}",
            self.batch.len(), wait.as_millis(), quoted(&why)
        );
        self.board.retries.fetch_add(1, Relaxed);
        self.board.is_waiting.store(true, Relaxed);
        if self.retry.is_none() {
            // A partition that was just taken away cannot be paused: the change comes with the next poll.
            let _ = self.group.pause(&self.reading());
        }
        self.retry = Some(Instant::now() + wait);
    }

    /// The sink stores again.
    fn go_on(&mut self) {
        if self.retry.take().is_some() {
            log::info!(target: "consume", "store.resumed tries={}", self.store_backoff.tries());
            let _ = self.group.resume(&self.reading());
            self.board.is_waiting.store(false, Relaxed);
        }
        self.store_backoff.reset();
    }

    fn reading(&self) -> Vec<Partition> {
        let reading = self.parts.iter().filter(|(_, part)| matches!(part, Part::Reading { .. }));
        reading.map(|(partition, _)| *partition).collect()
    }

    fn housekeeping(&mut self, now: Instant) -> Result<(), Ended> {
        if now >= self.tell_at {
            self.tell_at = now + TELL;
            self.tell(false);
            *lock(&self.board.ends) = self.group.ends();
        }
        if now >= self.identify_at {
            self.identify_at = now + IDENTIFY;
            self.identify()?;
        }
        Ok(())
    }

    /// Whether the topic is still the one that was begun. No answer is no news.
    fn identify(&mut self) -> Result<(), Ended> {
        let known = &self.source.identity;
        if self.reading().is_empty() || known.cluster.is_empty() {
            return Ok(());
        }
        let Ok(found) = self.group.identity() else { return Ok(()) };
        self.same(&found)
    }

    fn same(&self, found: &Identity) -> Result<(), Ended> {
        claims::same_topic(&self.source.identity, found)
            .map_err(|misfit| Ended::Misfit { partition: None, misfit })
    }

    /// A partition does not have the offset that it was asked for: says which, and why. If none is found any more,
    /// all are claimed anew.
    fn examine(&mut self) -> Result<(), Ended> {
        if let Ok(found) = self.group.identity() {
            self.same(&found)?;
        }
        for (partition, part) in &self.parts {
            let (Part::Reading { next, .. }, Ok(bounds)) = (part, self.group.bounds(*partition)) else {
                continue;
            };
            claims::within(*next, bounds)
                .map_err(|misfit| Ended::Misfit { partition: Some(*partition), misfit })?;
        }
        let reading = self.reading();
        self.drop_records(&reading);
        self.parts.extend(reading.into_iter().map(|partition| (partition, Part::Waiting)));
        Ok(())
    }

    /// For lag tools only: a group that does not listen changes nothing.
    fn tell(&mut self, wait: bool) {
        let mut news = Vec::new();
        for (partition, part) in &self.parts {
            if let Part::Reading { next, told } = part
                && next != told
            {
                news.push((*partition, *next));
            }
        }
        if news.is_empty() || self.group.tell(&news, wait).is_err() {
            return;
        }
        for (partition, at) in news {
            if let Some(Part::Reading { told, .. }) = self.parts.get_mut(&partition) {
                *told = at;
            }
        }
    }

    fn show(&self) {
        let position = |part: &Part| match part {
            Part::Reading { next, .. } => Some(*next),
            Part::Waiting | Part::Lost { .. } => None,
        };
        *lock(&self.board.positions) =
            self.parts.iter().map(|(partition, part)| (*partition, position(part))).collect();
    }
}

/// Why a claim did not come about.
enum Stop {
    Later(String),
    Ended(Ended),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(why) => Self::Later(why),
            Trouble::Final(why) => Self::Ended(Ended::Failed(why)),
        }
    }
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

fn listed(partitions: &[Partition]) -> String {
    let mut sorted = partitions.to_vec();
    sorted.sort_unstable();
    sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
