//! The sink for a table in which a record is a row: rows and offsets in one transaction, over any [`Rows`].
//!
//! A batch goes in with one statement. If one of its rows is at fault the batch is split until that row stands alone;
//! the transaction is rolled back, the row becomes a dead letter, and the batch goes again without it. A dead letter is
//! stored before the offset moves over its record, so it may come twice, and never not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;

use diesel::connection::TransactionManager;
use diesel::pg::PgConnection;
use diesel::result::Error;

use super::batch::{Batch, Record, Span};
use super::database::{self, COLUMNS_MAX, Database, Tried, attempt, passing};
use super::failure::{Class, classify};
use super::letters::Letters;
use super::offsets::Offsets;
use super::sink::{Claimed, Sink, Source, Stored, Trouble};
use crate::kafka::consumer::Partition;

/// The columns of one row as PostgreSQL reads them from text; those that a table does not have are `None`.
pub type Row<'a> = [Option<Cow<'a, str>>; COLUMNS_MAX];

/// Why a record is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// One stable word: `dlq.code`.
    pub code: String,
    /// For a person: `dlq.reason`, and the envelope's `error`.
    pub reason: String,
}

impl Poison {
    pub fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.into(), reason: reason.into() }
    }
}

/// What a consumer of this kind knows about its table.
pub trait Rows {
    /// Inserts the columns `$1` to `$10`, each a `text[]`, in the order of the table's key, and leaves out what is
    /// there already.
    fn statement(&self) -> &'static str;

    /// A record as a row, or why it is none.
    ///
    /// # Errors
    /// [`Poison`]: the record becomes a dead letter.
    fn read<'a>(&self, record: &Record<'a>) -> Result<Row<'a>, Poison>;

    /// Another row for a record whose own the database refuses; `None` makes it a dead letter.
    fn rescue<'a>(&self, _record: &Record<'a>) -> Option<Row<'a>> {
        None
    }
}

/// See the module's text.
pub struct TableSink<R: Rows> {
    rows: R,
    database: Database,
    offsets: Offsets,
    letters: Letters,
    /// A transaction ended without our seeing how.
    is_unsure: bool,
}

/// How one try of a batch ended.
enum Attempt {
    Done {
        rows: u64,
    },
    Lost(Vec<Partition>),
    /// Places among the rows that the database refuses, and why.
    Refused(Vec<(usize, Poison)>),
}

impl<R: Rows> TableSink<R> {
    pub fn new(rows: R, database: Database, letters: Letters) -> Self {
        Self { rows, database, offsets: Offsets::default(), letters, is_unsure: false }
    }

    /// Gives the connection up with its error, and remembers to look what became of the transaction.
    fn broken(&mut self, error: &Error) -> Trouble {
        self.database.disconnect();
        self.is_unsure = true;
        passing(error)
    }

    fn look(&mut self) -> Result<Vec<Partition>, Trouble> {
        if !self.is_unsure {
            return Ok(Vec::new());
        }
        let connection = self.database.connection()?;
        match self.offsets.look(connection) {
            Ok(lost) => {
                self.is_unsure = false;
                Ok(lost)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn try_once(&mut self, spans: &[Span], rows: &[(Record<'_>, Row<'_>)]) -> Result<Attempt, Trouble> {
        let statement = self.rows.statement();
        let connection = self.database.connection()?;
        let offsets = &self.offsets;
        match transaction(connection, offsets, spans, statement, rows) {
            Ok(Ok(attempt)) => {
                if let Attempt::Done { .. } = attempt {
                    self.offsets.moved(spans);
                }
                Ok(attempt)
            }
            Ok(Err(trouble)) => {
                self.database.disconnect();
                Err(trouble)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }
}

impl<R: Rows> Sink for TableSink<R> {
    fn claim(&mut self, source: &Source, partitions: &[Partition]) -> Result<Vec<Claimed>, Trouble> {
        let connection = self.database.connection()?;
        match self.offsets.claim(connection, source, partitions) {
            Ok(claimed) => Ok(claimed),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn store(&mut self, batch: &Batch) -> Result<Stored, Trouble> {
        let mut stored = Stored { lost: self.look()?, ..Stored::default() };
        let mut rows = Vec::with_capacity(batch.len());
        let mut refused = Vec::new();
        let mut known = 0;
        for record in batch.iter().filter(|record| !stored.lost.contains(&record.partition)) {
            if self.offsets.has(record.partition, record.offset) {
                known += 1;
                continue;
            }
            match self.rows.read(&record).and_then(storable) {
                Ok(row) => rows.push((record, row)),
                Err(poison) => refused.push((record, poison)),
            }
        }
        let mut spans = batch.spans();
        let lost = stored.lost.clone();
        spans.retain(|span| {
            !lost.contains(&span.partition) && !self.offsets.has(span.partition, span.next - 1)
        });
        let mut rescued = BTreeMap::new();
        let mut written = 0;
        while !spans.is_empty() {
            self.letters.send(&refused)?;
            match self.try_once(&spans, &rows)? {
                Attempt::Done { rows } => {
                    written = rows;
                    break;
                }
                Attempt::Lost(partitions) => {
                    spans.retain(|span| !partitions.contains(&span.partition));
                    rows.retain(|(record, _)| !partitions.contains(&record.partition));
                    refused.retain(|(record, _)| !partitions.contains(&record.partition));
                    self.offsets.release(&partitions);
                    stored.lost.extend(partitions);
                }
                Attempt::Refused(places) => {
                    // From behind, so that the places before stay what they are.
                    for (place, poison) in places.into_iter().rev() {
                        let record = rows[place].0;
                        let is_first = rescued.insert((record.partition, record.offset), ()).is_none();
                        match self.rows.rescue(&record).filter(|_| is_first) {
                            Some(row) => rows[place].1 = row,
                            None => {
                                rows.remove(place);
                                refused.push((record, poison));
                            }
                        }
                    }
                }
            }
        }
        self.letters.forget();
        stored.rows = written + known;
        stored.doubles = (rows.len() as u64).saturating_sub(written);
        stored.dead = refused.len() as u64;
        if spans.is_empty() && known == 0 {
            (stored.rows, stored.doubles, stored.dead) = (0, 0, 0);
        }
        Ok(stored)
    }

    fn release(&mut self, partitions: &[Partition]) {
        self.offsets.release(partitions);
    }
}

/// A NUL would make the whole statement unreadable, before any row of it is looked at.
fn storable(row: Row<'_>) -> Result<Row<'_>, Poison> {
    match row.iter().flatten().any(|text| text.contains('\0')) {
        true => Err(Poison::new("nul", "a text holds a NUL, which PostgreSQL does not store")),
        false => Ok(row),
    }
}

type Rowed<'r, 'a> = [(Record<'a>, Row<'a>)];

/// One transaction: committed if it is done, rolled back in every other case. The outer error ends the connection.
fn transaction(
    connection: &mut PgConnection,
    offsets: &Offsets,
    spans: &[Span],
    statement: &str,
    rows: &Rowed<'_, '_>,
) -> Result<Result<Attempt, Trouble>, Error> {
    type Manager = <PgConnection as diesel::Connection>::TransactionManager;
    Manager::begin_transaction(connection)?;
    let attempt = inside(connection, offsets, spans, statement, rows);
    match attempt {
        Ok(Ok(done @ Attempt::Done { .. })) => {
            Manager::commit_transaction(connection)?;
            Ok(Ok(done))
        }
        Ok(other) => {
            Manager::rollback_transaction(connection)?;
            Ok(other)
        }
        // The connection is given up, and the transaction with it.
        Err(error) => Err(error),
    }
}

fn inside(
    connection: &mut PgConnection,
    offsets: &Offsets,
    spans: &[Span],
    statement: &str,
    rows: &Rowed<'_, '_>,
) -> Result<Result<Attempt, Trouble>, Error> {
    let lost = offsets.advance(connection, spans)?;
    if !lost.is_empty() {
        return Ok(Ok(Attempt::Lost(lost)));
    }
    if rows.is_empty() {
        return Ok(Ok(Attempt::Done { rows: 0 }));
    }
    let tried = write(connection, statement, rows)?;
    if is_good(&tried) {
        return Ok(Ok(Attempt::Done { rows: tried.stored.unsigned_abs() }));
    }
    // What is still to be looked at, as (from, to), smallest places first.
    let (mut refused, mut stored) = (Vec::new(), 0);
    let mut open = vec![(0, rows.len(), Some(tried))];
    while let Some((from, to, tried)) = open.pop() {
        let tried = match tried {
            Some(tried) => tried,
            None => write(connection, statement, &rows[from..to])?,
        };
        if is_good(&tried) {
            stored += tried.stored.unsigned_abs();
            continue;
        }
        let (class, name) = classify(&tried.code);
        if class == Class::Transient {
            let Tried { code, message, .. } = &tried;
            return Ok(Err(Trouble::Passing(format!("{code}: {}", database::one_line(message)))));
        }
        if to - from == 1 {
            refused.push((from, Poison::new(name, database::one_line(&tried.message))));
            continue;
        }
        let middle = from + (to - from) / 2;
        open.push((middle, to, None));
        open.push((from, middle, None));
    }
    // A whole that failed and whose parts all went in is in.
    Ok(Ok(if refused.is_empty() { Attempt::Done { rows: stored } } else { Attempt::Refused(refused) }))
}

fn is_good(tried: &Tried) -> bool {
    tried.code == "00000"
}

fn write(connection: &mut PgConnection, statement: &str, rows: &Rowed<'_, '_>) -> Result<Tried, Error> {
    let columns: [Vec<Option<&str>>; COLUMNS_MAX] =
        std::array::from_fn(|column| rows.iter().map(|(_, row)| row[column].as_deref()).collect());
    attempt(connection, statement, &columns)
}
