//! Frames: a length in 4 bytes, big-endian, then that many bytes (S0-R2b).
//!
//! Remembers only how much of an overlong frame is left to skip. A frame of length 0 is a message like any
//! other here; whether it may be empty is `pipeline`'s to say.

use super::{Item, Step};

/// Bytes of the length before each frame.
const PREFIX: usize = 4;

/// Finds frames. One per connection; 16 bytes.
///
/// A caller whose buffer holds `max_frame_bytes` + 4 bytes never gets stuck.
#[derive(Clone, Debug)]
pub struct Frames {
    max_frame_bytes: usize,
    skip: u32,
}

impl Frames {
    /// A framer that takes frames of up to `max_frame_bytes` bytes, prefix not counted.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes, skip: 0 }
    }

    /// The next finding in `input`, which begins at the first byte that no earlier call consumed.
    ///
    /// `eof` says that nothing follows `input`: what is left of a frame then becomes [`Item::Truncated`],
    /// unless the frame was already told to be too long.
    #[inline]
    pub fn next(&mut self, input: &[u8], eof: bool) -> Step {
        let start = self.skipped(input.len());
        let Some(prefix) = input[start..].first_chunk::<PREFIX>() else {
            return Self::unfinished(input, start, eof);
        };
        let length = u32::from_be_bytes(*prefix);
        let body = start + PREFIX;
        if length as usize > self.max_frame_bytes {
            self.skip = length;
            let consumed = body + self.skipped(input.len() - body);
            return Step { consumed, item: Some(Item::TooLong) };
        }
        if input.len() - body < length as usize {
            return Self::unfinished(input, start, eof);
        }
        let end = body + length as usize;
        Step { consumed: end, item: Some(Item::Message(body..end)) }
    }

    /// Counts off how many of the next `available` bytes belong to an overlong frame.
    fn skipped(&mut self, available: usize) -> usize {
        let skipped = available.min(self.skip as usize);
        self.skip -= skipped as u32; // at most `skip`, by the line above
        skipped
    }

    /// The frame at `start` is not all there: wait for more, or say so when nothing follows.
    fn unfinished(input: &[u8], start: usize, eof: bool) -> Step {
        if eof && start < input.len() {
            return Step { consumed: input.len(), item: Some(Item::Truncated) };
        }
        Step { consumed: start, item: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Found, check, split_anywhere};

    const MAX: usize = 8;

    fn frame(length: u32, body: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes(), body].concat()
    }

    fn holds(input: &[u8], expected: &[Found]) {
        check(
            || {
                let mut frames = Frames::new(MAX);
                move |input, eof| frames.next(input, eof)
            },
            input,
            expected,
        );
    }

    fn message(body: &[u8]) -> Found {
        Found::Message(body.to_vec())
    }

    /// S0-R2b.
    #[test]
    fn frames_of_any_length_up_to_the_limit() {
        holds(b"", &[]);
        holds(&frame(3, b"abc"), &[message(b"abc")]);
        holds(
            &[frame(1, b"a"), frame(0, b""), frame(8, b"12345678")].concat(),
            &[message(b"a"), message(b""), message(b"12345678")],
        );
    }

    /// S0-R2b: rejected, skipped to its end, and the next one counts.
    #[test]
    fn an_overlong_frame_is_said_once_and_skipped() {
        holds(&[frame(9, b"123456789"), frame(2, b"ok")].concat(), &[Found::TooLong, message(b"ok")]);
        holds(&frame(9, b"1234"), &[Found::TooLong]);
        holds(&frame(u32::MAX, b"1234"), &[Found::TooLong]);
        holds(&[frame(9, b"123456789"), frame(9, b"123456789")].concat(), &[Found::TooLong, Found::TooLong]);
    }

    #[test]
    fn a_frame_cut_by_the_end_of_the_input_is_said() {
        holds(&[0], &[Found::Truncated]);
        holds(&[0, 0, 0], &[Found::Truncated]);
        holds(&frame(3, b""), &[Found::Truncated]);
        holds(&[frame(1, b"a"), frame(3, b"ab")].concat(), &[message(b"a"), Found::Truncated]);
    }

    #[test]
    fn random_bytes_give_the_same_frames_however_they_are_cut() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..3_000 {
            let mut input = Vec::new();
            for _ in 0..random.usize(..5) {
                let length = random.usize(..12);
                input.extend(frame(length as u32, &vec![b'x'; length]));
            }
            input.truncate(random.usize(..=input.len()));
            split_anywhere(
                &mut random,
                || {
                    let mut frames = Frames::new(MAX);
                    move |input, eof| frames.next(input, eof)
                },
                &input,
            );
        }
    }
}
