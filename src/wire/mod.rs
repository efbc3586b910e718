//! (room: see docs/architecture.md)
pub mod http1;
