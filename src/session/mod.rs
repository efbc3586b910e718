//! One peer's conversation: bytes, receipts and time in, records and answers out.
//!
//! Owns what is said and when. Never opens a socket, reads a clock or starts a thread: a session can live a
//! million lives in a test.

mod admin;
mod answers;
mod http;
mod ids;
mod intake;
mod options;
mod page;
mod tcp;

pub use admin::{ADMIN_PATHS, AdminSession, AdminView, OUT_BYTES_MAX};
pub use answers::{ANSWER_BYTES, FREE_ANSWERS};
pub use http::{
    Ack, Ended, HttpOptions, HttpSession, IdempotencyOptions, KeyCounts, Page, RouteOptions, Settled, Waiter,
    Window,
};
pub use ids::Ids;
pub use intake::{
    EVENTS_TOPIC, EventRefusal, Intake, Now, PLAYER_EVENTS_TOPIC, Rejects, TCP_TOPIC, Taken, Web,
};
pub use options::{Framing, TcpOptions};
pub use tcp::{Progress, Stop, TcpSession};
