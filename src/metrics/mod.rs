//! (room: see docs/architecture.md)
mod throttle;
pub use throttle::Throttle;
