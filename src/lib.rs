//! Sluice: an event ingestion gateway. Rooms in reading order; the full map is in `docs/architecture.md`.

pub mod admission;
pub mod cli;
pub mod config;
#[cfg(feature = "consume")]
pub mod consume;
pub mod event;
pub mod gateway;
pub mod handoff;
pub mod kafka;
pub mod letters;
pub mod metrics;
pub mod net;
pub mod pipeline;
pub mod session;
pub mod wire;

/// The README's example, compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
