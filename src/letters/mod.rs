//! Dead letters on disk: what a segment's bytes mean, the folder of segments, the thread that writes them.
//!
//! The last resort of a record that nobody waits for and that Kafka does not take, not a queue: nothing reads them
//! back but `sluice dead-letters`. Never knows why a record became a dead letter: its headers say so.

mod folder;
mod format;
mod writer;

pub use folder::{Folder, SEGMENT_BYTES_MAX, Segment, segments};
pub use format::{HEADER, Letter, Piece, encode, read};
pub use writer::{Done, JOBS, Job, Writer};
