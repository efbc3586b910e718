//! One peer's conversation: bytes, receipts and time in, records and answers out.
//!
//! Owns what is said and when. Never opens a socket, reads a clock or starts a thread: a session can live a
//! million lives in a test.

mod admin;
mod answers;
#[cfg(feature = "http")]
mod http;
#[cfg(not(feature = "http"))]
#[path = "without_http.rs"]
mod http;
#[cfg(feature = "http")]
mod ids;
mod intake;
mod options;
mod page;
#[cfg_attr(not(feature = "http"), path = "without_letters.rs")]
mod rejected;
mod tcp;

pub use admin::{ADMIN_PATHS, AdminSession, AdminView, OUT_BYTES_MAX};
pub use answers::{ANSWER_BYTES, FREE_ANSWERS};
#[cfg(feature = "http")]
pub use http::{
    ANSWER_FREE_BYTES, Ack, Cors, Ended, EventRefusal, IdempotencyOptions, OPENAPI, ORIGIN_BYTES_MAX,
    RouteOptions, Settled, Waiter, answer_store_bytes_min,
};
pub use http::{HttpOptions, HttpSession, KeyCounts, Web, Window};
#[cfg(feature = "http")]
pub use ids::Ids;
pub use intake::{
    EVENTS_TOPIC, Intake, LETTERS_TOPIC, Now, PLAYER_EVENTS_TOPIC, RETRY_AFTER_STUCK, Rejects, TCP_TOPIC,
    Taken,
};
pub use options::{Framing, TcpOptions};
pub use rejected::Rejected;
pub use tcp::{Progress, Stop, TcpSession};
