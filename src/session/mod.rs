mod options;
pub use options::{Framing, TcpOptions};
