//! How a conversation over TCP is framed.

/// Which framing a connection speaks (S0-R2b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// LF or CRLF terminated JSON.
    Lines,
    /// 4-byte big-endian length, then a Protobuf `ScoreUpdate`.
    Frames,
    /// The first byte decides: 0x00 opens a frame (below 16 MiB), anything else a line.
    Auto,
}

/// Limits of one TCP conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    pub framing: Framing,
    /// Longest line in bytes, terminator not counted; a longer one is rejected and skipped.
    pub max_line_bytes: usize,
    /// Longest frame payload in bytes; a longer one is rejected and skipped.
    pub max_frame_bytes: usize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { framing: Framing::Auto, max_line_bytes: 65_536, max_frame_bytes: 65_536 }
    }
}
