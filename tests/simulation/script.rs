//! What one sender says: its bytes, and what each message of it is meant to be.

use fastrand::Rng;
use prost::Message as _;
use sluice::event::pb::ScoreUpdate;
use sluice::handoff::TopicId;

use crate::truth::Truth;

/// How a connection talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    Lines,
    /// Lines, and `#ack` first.
    AckLines,
    Frames,
}

/// A message that has a number.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// Bytes of the connection after which it may be counted, and after which it must be.
    pub may_from: usize,
    pub must_from: usize,
    /// It counts only once the end was seen.
    pub needs_end: bool,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Its number in [`Truth`].
    Good(usize),
    /// Refused at the door with this code.
    Bad(&'static str),
}

#[derive(Debug, Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// Numbered from 1 in this order.
    pub messages: Vec<Said>,
}

/// Limits and proportions of one run.
#[derive(Clone, Debug)]
pub struct Style {
    pub tongue: Tongue,
    pub messages: usize,
    /// Share of messages that are bad, in percent.
    pub bad_percent: u32,
    pub max_line_bytes: usize,
    pub max_frame_bytes: usize,
    pub keys: u32,
    /// An overlong message has up to this many bytes too many.
    pub excess_bytes: usize,
    /// Whether a last line may come without LF, or a last frame be cut.
    pub ragged_end: bool,
}

impl Script {
    pub fn write(conn: usize, style: &Style, rng: &mut Rng, truth: &mut Truth) -> Self {
        let mut script = Self::default();
        let is_frames = style.tongue == Tongue::Frames;
        if !is_frames {
            script.blanks(rng);
        }
        if style.tongue == Tongue::AckLines {
            script.bytes.extend(if rng.bool() { &b"#ack\n"[..] } else { b"#ack\r\n" });
        }
        for index in 0..style.messages {
            let is_bad = rng.u32(..100) < style.bad_percent;
            match (is_frames, is_bad) {
                (false, false) => script.good_line(conn, style, rng, truth),
                (false, true) => script.bad_line(style, rng, index == 0 && style.tongue == Tongue::Lines),
                (true, false) => script.good_frame(conn, style, rng, truth),
                (true, true) => script.bad_frame(style, rng),
            }
        }
        if style.ragged_end {
            script.ragged_end(is_frames, rng);
        }
        script
    }

    fn blanks(&mut self, rng: &mut Rng) {
        while rng.u32(..6) == 0 {
            self.bytes.extend(if rng.bool() { &b"\n"[..] } else { b"\r\n" });
        }
    }

    fn end(&mut self, what: What) {
        let at = self.bytes.len();
        self.messages.push(Said { may_from: at, must_from: at, needs_end: false, what });
    }

    fn good_line(&mut self, conn: usize, style: &Style, rng: &mut Rng, truth: &mut Truth) {
        let key = rng.u32(..style.keys);
        let id = truth.expect(conn, TopicId(0), Some(key), None);
        let spaces = " ".repeat(rng.usize(..4));
        let lb = conn_name(conn);
        let line = match rng.u32(..3) {
            0 => format!("{{\"lb\":\"{lb}\",{spaces}\"player\":\"k{key}\",\"score\":{id},\"ts_ms\":7}}"),
            1 => format!("{{\"score\":{id},\"player\":{spaces}\"k{key}\",\"lb\":\"{lb}\"}}"),
            _ => format!("{{\"x\":[1,{{}}],\"player\":\"k{key}\",\"lb\":\"{lb}\"{spaces},\"score\":{id}}}"),
        };
        assert!(line.len() <= style.max_line_bytes, "a good line fits");
        self.bytes.extend(line.as_bytes());
        self.line_end(rng);
        self.end(What::Good(id));
        self.blanks(rng);
    }

    fn line_end(&mut self, rng: &mut Rng) {
        self.bytes.extend(if rng.u32(..4) == 0 { &b"\r\n"[..] } else { b"\n" });
    }

    fn bad_line(&mut self, style: &Style, rng: &mut Rng, is_first: bool) {
        if rng.u32(..5) == 0 {
            let start = self.bytes.len();
            let length = style.max_line_bytes + 1 + rng.usize(..=style.excess_bytes);
            self.bytes.extend(std::iter::repeat_n(b'x', length));
            self.line_end(rng);
            let must_from = self.bytes.len();
            let may_from = start + style.max_line_bytes + 1;
            self.messages.push(Said {
                may_from,
                must_from,
                needs_end: false,
                what: What::Bad("line_too_long"),
            });
            return;
        }
        const BAD: &[(&[u8], &str)] = &[
            (b"no json", "not_json"),
            (b"#ack", "not_json"),
            (b"{\"lb\":\"a\",\"player\":\"b\",\"score\":1", "not_json"),
            (b"\xff\xfe", "not_utf8"),
            (b"[]", "not_an_object"),
            (b"{\"lb\":\"a\",\"player\":\"b\"}", "missing"),
            (b"{\"lb\":\"a\",\"player\":\"b\",\"score\":1.5}", "mistyped"),
            (b"{\"lb\":\"\",\"player\":\"b\",\"score\":1}", "empty"),
            (b"{\"lb\":\"a\",\"lb\":\"a\",\"player\":\"b\",\"score\":1}", "duplicate_member"),
            (b"{\"lb\":\"a\",\"player\":\"b\",\"score\":-1}", "negative"),
            (b"{\"lb\":\"a\",\"player\":\"b\",\"score\":9223372036854775808}", "out_of_range"),
        ];
        let (line, code) = loop {
            let (line, code) = BAD[rng.usize(..BAD.len())];
            if !(is_first && line == b"#ack") {
                break (line, code);
            }
        };
        self.bytes.extend(line);
        self.line_end(rng);
        self.end(What::Bad(code));
    }

    fn frame(&mut self, body: &[u8]) {
        self.bytes.extend((body.len() as u32).to_be_bytes());
        self.bytes.extend(body);
    }

    fn good_frame(&mut self, conn: usize, style: &Style, rng: &mut Rng, truth: &mut Truth) {
        let key = rng.u32(..style.keys);
        let id = truth.expect(conn, TopicId(0), Some(key), None);
        let update = ScoreUpdate {
            leaderboard_id: conn_name(conn),
            player_id: format!("k{key}"),
            score: id as i64,
            timestamp_ms: i64::from(rng.u32(..3)),
        };
        self.frame(&update.encode_to_vec());
        self.end(What::Good(id));
    }

    fn bad_frame(&mut self, style: &Style, rng: &mut Rng) {
        match rng.u32(..3) {
            0 => {
                self.frame(b"");
                self.end(What::Bad("frame_empty"));
            }
            1 => {
                self.frame(b"\xff\xff\xff");
                self.end(What::Bad("not_protobuf"));
            }
            _ => {
                let start = self.bytes.len();
                let length = style.max_frame_bytes + 1 + rng.usize(..=style.excess_bytes);
                self.frame(&vec![0; length]);
                let said = Said {
                    may_from: start + 4,
                    must_from: self.bytes.len(),
                    needs_end: false,
                    what: What::Bad("frame_too_long"),
                };
                self.messages.push(said);
            }
        }
    }

    fn ragged_end(&mut self, is_frames: bool, rng: &mut Rng) {
        let what = if is_frames {
            self.bytes.extend(&[0, 0, 0, 9, b'c', b'u', b't'][..rng.usize(1..=7)]);
            What::Bad("frame_truncated")
        } else {
            self.bytes.extend(b"half a line");
            What::Bad("not_json")
        };
        let at = self.bytes.len();
        self.messages.push(Said { may_from: at, must_from: at, needs_end: true, what });
    }
}

/// The leaderboard that stands for a connection.
pub fn conn_name(conn: usize) -> String {
    format!("c{conn}")
}
