//! Sockets; all of mio and socket2.
//!
//! Owns listeners, connections, readiness and whose turn it is. Never calls the Kafka client, never decides
//! what a message means, never blocks. The hub knows streams only, so that a test can pretend them.

mod conn;
mod desk;
mod hub;
mod listener;
mod options;
mod poller;
mod prelude;
mod stream;
mod table;

pub use conn::OUT_LIMIT_BYTES;
pub use hub::{Hub, HubStats, answers_limit};
pub use listener::Listener;
pub use options::NetOptions;
pub use poller::{Control, Host, Poller, install_waker};
pub use stream::{Socket, Stream};
