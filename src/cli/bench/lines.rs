//! The lines that are sent, rendered once before the clock starts: a generator that formats while it measures
//! takes its CPU from the gateway it shares the machine with.

use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a line without padding, its LF included.
pub const PLAIN_LINE_BYTES: usize = 79;
/// Players that the lines name: enough keys to reach every partition evenly.
const PLAYERS: usize = 10_000;
/// Lines rendered; the connections walk round this ring from different places.
const RING_LINES: usize = 16_384;
/// Bound of the ring's memory when lines are long.
const RING_BYTES: usize = 16 << 20;
const PAD_OPEN: &str = ",\"pad\":\"";

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A score update (S0), which `POST /events` takes as well.
    Score,
    /// An event with S4's fields.
    Player,
}

impl Shape {
    /// Bytes of a line without padding, its LF included.
    pub const fn plain_bytes(self) -> usize {
        match self {
            Self::Score => PLAIN_LINE_BYTES,
            Self::Player => 138,
        }
    }
}

/// A ring of rendered lines.
pub struct Corpus {
    bytes: Vec<u8>,
    /// `ends[i]` = offset after line `i`; `ends[0]` = 0 belongs to no line.
    ends: Vec<usize>,
    /// `bad[i]` = malformed lines among the first `i`.
    bad: Vec<u64>,
}

/// Lines that lie next to each other in the ring.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub bytes: &'a [u8],
    pub lines: usize,
}

impl Corpus {
    /// Renders the ring: lines of `size` bytes, `malformed_percent` of them spoilt, evenly spread.
    pub fn new(shape: Shape, size: usize, malformed_percent: f64) -> Result<Self, String> {
        if size < shape.plain_bytes() {
            return Err(format!("--size {size}: the shortest line has {} bytes", shape.plain_bytes()));
        }
        let lines = RING_LINES.min((RING_BYTES / size).max(64));
        let now = SystemTime::now();
        let mut corpus = Self { bytes: Vec::with_capacity(lines * size), ends: vec![0], bad: vec![0] };
        let (mut due, mut spoilt) = (0.0, 0);
        for i in 0..lines {
            due += malformed_percent / 100.0;
            let spoil = due >= spoilt as f64 + 1.0 - 1e-9;
            let line = good_line(shape, i, now, size);
            if spoil {
                corpus.bytes.extend_from_slice(&bad_line(spoilt, &line));
                spoilt += 1;
            } else {
                corpus.bytes.extend_from_slice(line.as_bytes());
            }
            corpus.bytes.push(b'\n');
            corpus.ends.push(corpus.bytes.len());
            corpus.bad.push(spoilt as u64);
        }
        Ok(corpus)
    }

    /// Lines in the ring.
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// At most `lines` lines from place `at` of the ring on, fewer where the ring wraps. Never empty for `lines` > 0.
    pub fn run(&self, at: u64, lines: usize) -> Run<'_> {
        let first = (at % self.len() as u64) as usize;
        let lines = lines.min(self.len() - first);
        Run { bytes: &self.bytes[self.ends[first]..self.ends[first + lines]], lines }
    }

    /// Complete lines in the first `taken` bytes of the run that begins at place `at`.
    pub fn complete_lines(&self, at: u64, taken: usize) -> usize {
        let first = (at % self.len() as u64) as usize;
        let limit = self.ends[first] + taken;
        self.ends[first + 1..].partition_point(|end| *end <= limit)
    }

    /// Malformed lines among the `count` from place `at` on.
    pub fn malformed(&self, at: u64, count: u64) -> u64 {
        self.malformed_before(at + count) - self.malformed_before(at)
    }

    fn malformed_before(&self, at: u64) -> u64 {
        let len = self.len() as u64;
        (at / len) * self.bad[self.len()] + self.bad[(at % len) as usize]
    }
}

/// One valid line without its LF, padded to `size` - 1 bytes by a member that the gateway ignores.
fn good_line(shape: Shape, i: usize, now: SystemTime, size: usize) -> String {
    let player = i * 7919 % PLAYERS; // 7919 is prime to 10,000: the first 10,000 lines name every player once
    let score = 1_000_000 + i * 104_729 % 9_000_000;
    let line = match shape {
        Shape::Score => {
            let now_ms = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
            format!(
                "{{\"lb\":\"global\",\"player\":\"player-{player:06}\",\"score\":{score},\"ts_ms\":{now_ms:013}"
            )
        }
        Shape::Player => {
            let time = humantime::format_rfc3339_seconds(now);
            format!(
                "{{\"event_type\":\"player_score\",\"player_id\":\"player-{player:06}\",\"game_id\":\"game-01\",\"timestamp\":\"{time}\",\"data\":{{\"score\":{score}}}"
            )
        }
    };
    let room = size - shape.plain_bytes();
    match room.checked_sub(PAD_OPEN.len() + 1) {
        Some(fill) => format!("{line}{PAD_OPEN}{}\"}}", "x".repeat(fill)),
        None => format!("{line}{}}}", " ".repeat(room)),
    }
}

/// A line that S0-R2a or S0-R3 refuses; the kinds take turns. None is empty or holds an LF.
fn bad_line(turn: usize, good: &str) -> Vec<u8> {
    let text = match turn % 8 {
        0 => good[..good.len() / 2].to_owned(),
        1 => "this is not JSON".to_owned(),
        2 => good.replace("\"player\":\"player", "\"nobody\":\"player"),
        3 => good.replace("\"score\":", "\"score\":\"1\",\"was\":"),
        4 => good.replace("\"score\":", "\"score\":-"),
        5 => good.replace("\"lb\":\"global\"", "\"lb\":\"\""),
        6 => good.replace("\"lb\":", "\"lb\":\"other\",\"lb\":"),
        _ => {
            let mut bytes = good.as_bytes().to_vec();
            bytes[8] = 0xFF; // inside the name of the leaderboard: not UTF-8
            return bytes;
        }
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_size_asked_for_and_parse() {
        for (shape, more) in
            [Shape::Score, Shape::Player].iter().flat_map(|s| [0, 1, 8, 9, 10, 121, 4017].map(|m| (*s, m)))
        {
            let size = shape.plain_bytes() + more;
            let corpus = Corpus::new(shape, size, 0.0).unwrap();
            for at in 0..64 {
                let run = corpus.run(at, 1);
                assert_eq!((run.lines, run.bytes.len(), run.bytes[size - 1]), (1, size, b'\n'));
                let value: serde_json::Value = serde_json::from_slice(run.bytes).unwrap();
                let (player, score) = match shape {
                    Shape::Score => (&value["player"], &value["score"]),
                    Shape::Player => (&value["player_id"], &value["data"]["score"]),
                };
                assert!(score.is_u64() && player.as_str().unwrap().starts_with("player-"));
            }
        }
        assert!(Corpus::new(Shape::Score, 78, 0.0).is_err());
    }

    #[test]
    fn the_malformed_share_is_exact_and_counted_across_the_wrap() {
        let corpus = Corpus::new(Shape::Score, 79, 5.0).unwrap();
        let len = corpus.len() as u64;
        let spoilt = |at: u64| {
            let line = corpus.run(at, 1).bytes;
            line.trim_ascii().is_empty()
                || serde_json::from_slice::<serde_json::Value>(line).is_err()
                || std::str::from_utf8(line).is_ok_and(|l| {
                    l.contains("nobody")
                        || l.contains("\"1\"")
                        || l.contains(":-")
                        || l.contains("\"\"")
                        || l.contains("other")
                })
        };
        assert_eq!((0..len).filter(|at| spoilt(*at)).count() as u64, len / 20);
        assert_eq!(corpus.malformed(0, len), len / 20);
        let (from, count) = (len - 50, 100);
        assert_eq!(
            corpus.malformed(from, count),
            (from..from + count).filter(|at| spoilt(*at % len)).count() as u64
        );
    }

    #[test]
    fn a_cut_write_counts_only_complete_lines() {
        let corpus = Corpus::new(Shape::Score, 79, 0.0).unwrap();
        assert_eq!([78, 79, 157, 158].map(|taken| corpus.complete_lines(7, taken)), [0, 1, 1, 2]);
        let last = corpus.len() as u64 - 1;
        assert_eq!(corpus.run(last, 10).lines, 1, "a run ends where the ring wraps");
        assert_eq!(corpus.complete_lines(last, 79), 1);
    }
}
