//! (room: see docs/architecture.md)
