//! May this peer enter, and how fast: rate limits, true addresses behind proxies, connections per address.
//!
//! Answers questions and keeps score; it never refuses anybody itself. No socket, no clock, no thread: time comes as
//! microseconds. Every table here has a fixed capacity, because its keys are chosen by peers. What a caller asks, in
//! the order of a request's life, through a [`Door`]: a place at accept, the true client once a head was read (or
//! `wire::proxy` before the first byte of it), a token before any work is done.

mod caps;
mod door;
mod limiter;
mod network;
mod table;
mod true_client;

pub use caps::{CapOptions, ConnectionCaps};
pub use door::{AdmissionOptions, Door};
pub use limiter::{Limiter, LimiterOptions, Verdict};
pub use network::Network;
pub use true_client::{BadEntry, HOPS_MAX, TrustedProxies, true_client};
