//! The chunked transfer coding (RFC 9112 7.1), decoded as it comes.
//!
//! One state a byte, so that no cut changes what is found; only payload is copied in bulk. Strict: CRLF and nothing
//! else ends a line, a size is hexadecimal digits and nothing else. Extensions and trailers are looked at, bounded and
//! dropped.

use super::{Fault, append};

/// Most bytes of chunk extensions and trailer lines of one body, all together (RFC 9112 7.1.1 asks for a limit).
pub const SKIPPED_BYTES_MAX: usize = 4 * 1024;

/// Digits that a `u64` has room for.
const SIZE_DIGITS_MAX: u32 = 16;

/// Decoder of one chunked body.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    state: State,
    /// Size of the chunk while it is read, then what is missing of it.
    left: u64,
    digits: u32,
    decoded: usize,
    skipped: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Blanks between the size and the `;` of an extension.
    SizeBlank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line or of the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkStep {
    /// Bytes of `input` that belong to the body: all of them unless it is `done`.
    pub consumed: usize,
    /// The body has ended.
    pub done: bool,
}

impl Chunked {
    /// Takes what was read and appends the payload in it to `out`. `limit` bounds the payload of the whole body,
    /// whatever the caller does with `out` in between; it is held against what a chunk announces.
    ///
    /// # Errors
    /// The [`Fault`] to be answered. Neither the decoder nor the connection can go on after it.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<ChunkStep, Fault> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let piece = &input[at..at + left.min(input.len() - at)];
                append(out, piece, out.len() + (limit - self.decoded));
                at += piece.len();
                self.decoded += piece.len();
                self.left -= piece.len() as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(input[at], limit)?;
                at += 1;
            }
        }
        Ok(ChunkStep { consumed: at, done: self.state == State::Done })
    }

    /// Bytes of payload so far.
    pub fn decoded(&self) -> usize {
        self.decoded
    }

    fn step(&mut self, byte: u8, limit: usize) -> Result<State, Fault> {
        use State::*;
        Ok(match (self.state, byte) {
            (Size, b'\r') if self.digits > 0 => SizeLf,
            (Size | SizeBlank, b';') if self.digits > 0 => Extension,
            (Size | SizeBlank, b' ' | b'\t') if self.digits > 0 => {
                self.skip(SizeBlank, EXTENSIONS_TOO_LONG)?
            }
            (Size, _) => self.digit(byte, limit)?,
            (SizeBlank, _) => return Err(Fault::Malformed("a chunk size is not a hexadecimal number")),
            (Extension, b'\r') => SizeLf,
            (Extension, _) if is_text(byte) => self.skip(Extension, EXTENSIONS_TOO_LONG)?,
            (SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { Trailer } else { Data }
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size,
            (DataCr | DataLf, _) => return Err(Fault::Malformed("a chunk is not as long as it says")),
            (Trailer, b'\r') => EndLf,
            (Trailer | TrailerName, _) if is_name(byte) => self.skip(TrailerName, Fault::HeadTooLarge)?,
            (TrailerName, b':') => TrailerValue,
            (TrailerValue, b'\r') => TrailerLf,
            (TrailerValue, _) if is_text(byte) => self.skip(TrailerValue, Fault::HeadTooLarge)?,
            (TrailerLf, b'\n') => Trailer,
            (EndLf, b'\n') => Done,
            (Trailer | TrailerName | TrailerValue, _) => {
                return Err(Fault::Malformed("a trailer line is malformed"));
            }
            _ => return Err(Fault::Malformed("a line of the chunked coding must end with CRLF")),
        })
    }

    fn digit(&mut self, byte: u8, limit: usize) -> Result<State, Fault> {
        let digit = char::from(byte).to_digit(16).filter(|_| self.digits < SIZE_DIGITS_MAX);
        let Some(digit) = digit else {
            return Err(Fault::Malformed("a chunk size is not a hexadecimal number"));
        };
        // Nothing is left of the chunk before: the first digit starts at 0.
        self.left = self.left << 4 | u64::from(digit);
        self.digits += 1;
        if self.left > (limit - self.decoded) as u64 {
            return Err(Fault::BodyTooLarge);
        }
        Ok(State::Size)
    }

    fn skip(&mut self, state: State, too_long: Fault) -> Result<State, Fault> {
        self.skipped += 1;
        if self.skipped > SKIPPED_BYTES_MAX { Err(too_long) } else { Ok(state) }
    }
}

const EXTENSIONS_TOO_LONG: Fault = Fault::Malformed("the chunk extensions are too long");

/// A byte of a field value or a quoted string.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// A byte of a token (RFC 9110 5.6.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
