//! What the pipeline writes.

/// How a record's value is encoded (S0-R4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueFormat {
    /// `leaderboard.ScoreUpdate`, bare.
    #[default]
    Protobuf,
    /// A JSON object with the members lb, player, score, ts_ms.
    Json,
}
