pub mod admin;
mod options;
pub use options::{Framing, TcpOptions};
