//! The description of the listener's routes that it serves: one static document (OpenAPI 3.1).
//!
//! Holds no configuration, so that it is the same everywhere. What it says is held against the program by
//! tests/openapi.rs.

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");
