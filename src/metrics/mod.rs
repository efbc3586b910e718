//! What the gateway shows of itself: one plain [`Snapshot`], and the two ways to write it down.
//!
//! Owns the metric names, the Prometheus text, the METRICS line and the latency [`Histogram`]. It counts nothing
//! by itself (the ledger and the rooms do), never logs, never opens a socket, and knows no other room: the gateway
//! fills a snapshot once a question comes, so that the steady path pays for nothing but the histogram. The only
//! thing it reads is `/proc/self`, in [`process`].

#[cfg(feature = "consume")]
mod consumer;
mod exposition;
mod families;
mod histogram;
mod line;
#[cfg(test)]
mod lint;
pub mod process;
mod responses;
mod snapshot;
mod throttle;

#[cfg(feature = "consume")]
pub use consumer::{CONSUMER_OUTCOMES, ConsumerSnapshot, consumer_prometheus};
pub use families::prometheus;
pub use histogram::{BOUNDS_MICROS, Histogram, HistogramSnapshot};
pub use line::line;
pub use process::ProcessSnapshot;
pub use responses::{Responses, STATUSES};
pub use snapshot::{
    BrokerRtt, LISTENERS, ListenerSnapshot, OUTCOMES, PAUSE_REASONS, Snapshot, outcome, pause,
};
pub use throttle::{Throttle, suppressed_lines};
