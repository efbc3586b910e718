//! HTTP senders: what they say (`body`, `post`, `request`, `script`), how they read what they are told (`reader`), and
//! whether that was true (`told`, `keys`, `verdict`).
//!
//! Reads answers with a reader of its own: what the gateway writes them with has no say in what they mean. Compiles
//! without the feature `http` as well, and has no senders to make then.

pub mod body;
pub mod keys;
pub mod options;
pub mod post;
pub mod reader;
pub mod request;
pub mod script;
pub mod told;
pub mod verdict;
