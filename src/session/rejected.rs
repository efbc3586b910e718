//! Refused messages on their way to the dead letters, where DEAD_LETTER_REJECTS asks for it.
//!
//! A refused message goes as it came, with the rule that it broke in its headers. Its sender is told of the refusal all
//! the same, so nothing waits for the letter: where the buffer has no room, or the letter is larger than its topic
//! takes, it is left out, counted, and ends as rejected like any other. Only whole messages go: of an overlong line or a
//! broken frame there is nothing to keep.

use super::intake::{Intake, LETTERS_TOPIC};
use crate::event::{Rejection, headers};
use crate::handoff::{Shape, Token, TopicId};

/// Where refused messages come from, and how many found no way.
#[derive(Debug)]
pub struct Rejected {
    /// Names of the topics that they were for, by id.
    topics: Vec<String>,
    left_out: u64,
}

impl Rejected {
    /// `topics`: the names of all topics, by id; empty for one that is not there.
    pub fn new(topics: Vec<String>) -> Self {
        Self { topics, left_out: 0 }
    }

    /// Letters that found no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Intake<'_> {
    /// Puts a refused message into the open batch as a dead letter; false if it ends here.
    pub(super) fn dead_letter(&mut self, rejection: Rejection, message: &[u8], topic: TopicId) -> bool {
        let is_part =
            matches!(rejection, Rejection::LineTooLong | Rejection::FrameTooLong | Rejection::FrameTruncated);
        if is_part || message.is_empty() || self.rejects.rejected.is_none() {
            return false;
        }
        let fits = self.room.is_open() && self.room.records > 0 && self.put_letter(rejection, message, topic);
        if !fits && let Some(rejected) = &mut self.rejects.rejected {
            rejected.left_out += 1;
        }
        fits
    }

    fn put_letter(&mut self, rejection: Rejection, message: &[u8], topic: TopicId) -> bool {
        let time = self.web.moment(self.now);
        let limit = self.limit_of(LETTERS_TOPIC);
        let Some(rejected) = &self.rejects.rejected else { return false };
        let source = rejected.topics.get(usize::from(topic.0)).map_or("", String::as_str);
        let arena = self.batch.arena();
        let start = arena.len();
        arena.extend_from_slice(message);
        let headers_from = arena.len();
        for (name, value) in [
            ("dlq.reason", rejection.detail().as_bytes()),
            ("dlq.code", rejection.code().as_bytes()),
            ("dlq.stage", headers::STAGE_CHECK.as_bytes()),
            ("dlq.source_topic", source.as_bytes()),
            ("dlq.attempts", b"0"),
            ("dlq.time", time.as_bytes()),
        ] {
            // Names and values of ours are short.
            headers::push(arena, name, value);
        }
        let shape = Shape {
            topic: LETTERS_TOPIC,
            key_len: None,
            value_len: message.len() as u32,
            headers_len: (arena.len() - headers_from) as u32,
            patience: 0,
        };
        if shape.len() > limit {
            arena.truncate(start);
            return false;
        }
        let record = self.batch.commit(Token::nobody(self.now.us), shape, self.now.us);
        let bytes = record.accounted_bytes();
        self.tally.records += 1;
        self.tally.bytes += bytes;
        self.room.use_up(1, bytes);
        true
    }
}
