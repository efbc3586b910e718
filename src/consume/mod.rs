//! Kafka into PostgreSQL: `sluice consume` and `sluice migrate`.
//!
//! One synchronous batch loop ([`Loop`]) reads one topic as a member of a consumer group and hands batches to a
//! [`Sink`]; what a sink does with them, and how it remembers where it stands, is its own. [`table`] is the sink that
//! writes one row a record and the partition's next offset in one transaction, over any [`Rows`]. This room owns the
//! schema, the judgement of database errors and what becomes of records that no table takes. Never sees librdkafka (the
//! kafka room's), never reads the environment, never sleeps but in a poll of the group.
//!
//! A new consumer is one file in `rows/` and a line in [`Kind`], or a [`Sink`] of its own where a record is not a row.

mod backoff;
mod batch;
mod batch_loop;
mod board;
mod claims;
mod database;
mod failure;
mod health;
mod json;
mod letters;
mod offsets;
mod options;
mod reset;
mod rows;
mod schema;
mod service;
mod sink;
pub mod table;

// libpq comes with diesel; naming the crate that builds it keeps its feature ours.
use pq_sys as _;

pub use batch::{Batch, Record, Span};
pub use batch_loop::{Ended, Loop, Summary};
pub use board::Board;
pub use database::Database;
pub use failure::{Class, classify};
pub use offsets::Offsets;
pub use options::{BatchOptions, ConsumeOptions, DatabaseOptions, Kind};
pub use reset::{Reset, reset};
pub use schema::{SchemaState, check_schema, migrate, migrate_schema, schema_state};
pub use service::run;
pub use sink::{Claimed, Sink, Source, Stored, Trouble};
pub use table::{Poison, Row, Rows};
