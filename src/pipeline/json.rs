//! A line of JSON to the four members of a score update (S0-R2a): simd-json finds the structure, the strict
//! reading of it is ours.
//!
//! simd-json's own readers would take a line with a member twice or an array in place of the object, so only
//! its tape is used. The line is copied once, with the padding that the parser needs, and unescaped in that
//! copy: the caller's bytes stay as they came.

use crate::event::{Field, Rejection, ScoreUpdate};
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

/// How deep objects and arrays may nest, the line's own object included.
pub const MAX_DEPTH: usize = 64;

/// 2^63 as a double: the first integer above what a score holds.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Buffers for one line at a time.
#[derive(Debug)]
pub(super) struct Parser {
    padded: Vec<u8>,
    buffers: Scratch,
    tape: Tape<'static>,
}

/// simd-json's buffers, which do not implement `Debug`.
struct Scratch(Buffers);

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffers")
    }
}

/// The known members as far as a line gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members<'a> {
    pub(super) lb: Option<&'a str>,
    pub(super) player: Option<&'a str>,
    pub(super) score: Option<i64>,
    pub(super) ts_ms: Option<i64>,
}

impl<'a> Members<'a> {
    /// The update, or the first member that is missing; the time may be.
    #[inline]
    pub(super) fn complete(self, now_ms: i64) -> Result<ScoreUpdate<'a>, Rejection> {
        Ok(ScoreUpdate {
            leaderboard: self.lb.ok_or(Rejection::LbMissing)?,
            player: self.player.ok_or(Rejection::PlayerMissing)?,
            score: self.score.ok_or(Rejection::ScoreMissing)?,
            ts_ms: self.ts_ms.unwrap_or(now_ms.max(0)),
        })
    }
}

impl Parser {
    pub(super) fn new() -> Self {
        Self {
            padded: Vec::new(),
            buffers: Scratch(Buffers::with_max_depth(256, MAX_DEPTH)),
            tape: Tape(Vec::new()),
        }
    }

    /// Reads one line. The members borrow this parser's copy of it.
    pub(super) fn parse<'s>(&'s mut self, line: &[u8]) -> Result<Members<'s>, Rejection> {
        let Self { padded, buffers, tape } = self;
        padded.clear();
        padded.extend_from_slice(line);
        padded.resize(line.len() + INPUT_PADDING, b' ');
        let mut nodes: Tape<'s> = std::mem::replace(tape, Tape(Vec::new())).reset();
        let members = match simd_json::fill_tape_padded(padded, line.len(), &mut buffers.0, &mut nodes) {
            Ok(()) => members(&nodes.0),
            Err(error) => Err(unreadable(line, error.error())),
        };
        *tape = nodes.reset();
        members
    }
}

/// Why simd-json refused: whatever else is wrong, a line that is not UTF-8 is told so.
#[cold]
fn unreadable(line: &[u8], error: &ErrorType) -> Rejection {
    match error {
        _ if std::str::from_utf8(line).is_err() => Rejection::NotUtf8,
        ErrorType::DepthLimitExceeded => Rejection::TooDeep,
        _ => Rejection::NotJson,
    }
}

/// Reads the known members off a tape and passes over all others.
fn members<'a>(tape: &[Node<'a>]) -> Result<Members<'a>, Rejection> {
    let [Node::Object { .. }, rest @ ..] = tape else { return Err(Rejection::NotAnObject) };
    let mut nodes = rest;
    let mut found = Members::default();
    while let [Node::String(name), value, rest @ ..] = nodes {
        match *name {
            "lb" => text(value, Field::Lb, Rejection::LbMistyped, &mut found.lb)?,
            "player" => text(value, Field::Player, Rejection::PlayerMistyped, &mut found.player)?,
            "score" => integer(value, &SCORE, &mut found.score)?,
            "ts_ms" => integer(value, &TS_MS, &mut found.ts_ms)?,
            _ => {}
        }
        nodes = match value {
            // A tape counts what is inside, and it is behind.
            Node::Object { count, .. } | Node::Array { count, .. } => &rest[*count..],
            Node::String(_) | Node::Static(_) => rest,
        };
    }
    Ok(found)
}

#[inline]
fn text<'a>(
    value: &Node<'a>,
    field: Field,
    mistyped: Rejection,
    slot: &mut Option<&'a str>,
) -> Result<(), Rejection> {
    if slot.is_some() {
        return Err(Rejection::duplicate(field));
    }
    let Node::String(text) = value else { return Err(mistyped) };
    *slot = Some(text);
    Ok(())
}

/// What to say about an integer member.
struct Integer {
    field: Field,
    mistyped: Rejection,
    negative: Rejection,
    out_of_range: Rejection,
}

const SCORE: Integer = Integer {
    field: Field::Score,
    mistyped: Rejection::ScoreMistyped,
    negative: Rejection::ScoreNegative,
    out_of_range: Rejection::ScoreOutOfRange,
};

const TS_MS: Integer = Integer {
    field: Field::TsMs,
    mistyped: Rejection::TsMsMistyped,
    negative: Rejection::TsMsNegative,
    out_of_range: Rejection::TsMsOutOfRange,
};

#[inline]
fn integer(value: &Node<'_>, rule: &Integer, slot: &mut Option<i64>) -> Result<(), Rejection> {
    if slot.is_some() {
        return Err(Rejection::duplicate(rule.field));
    }
    *slot = Some(match value {
        Node::Static(StaticNode::U64(number)) => i64::try_from(*number).map_err(|_| rule.out_of_range)?,
        Node::Static(StaticNode::I64(number)) if *number >= 0 => *number,
        Node::Static(StaticNode::I64(_)) => return Err(rule.negative),
        // What 64 bits do not hold comes as a double, integer or not: its size alone refuses it.
        Node::Static(StaticNode::F64(number)) if *number >= TWO_TO_63 => return Err(rule.out_of_range),
        Node::Static(StaticNode::F64(number)) if *number < -TWO_TO_63 => return Err(rule.negative),
        _ => return Err(rule.mistyped),
    });
    Ok(())
}
