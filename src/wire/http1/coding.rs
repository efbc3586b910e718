//! Content codings of a request body (RFC 9110 8.4): which one it is, and undoing it within a limit.
//!
//! Nothing is written beyond one byte over the limit, and no more memory is taken for it, whatever the input claims.

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Fault, Head, make_room};

/// What to answer in `Accept-Encoding` along with 415 (RFC 9110 12.5.3).
pub const ACCEPT_ENCODING: &str = "gzip, deflate, zstd";

/// Members of one gzip body. Each may be empty and costs a setup.
const GZIP_MEMBERS_MAX: usize = 64;

/// Frames of one zstd body, for the same reason.
const ZSTD_FRAMES_MAX: usize = 64;

/// Window of a zstd body: 8 MiB, what RFC 9659 allows senders of the content coding.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How much is inflated at first where nothing says how much it will be.
const FIRST_BYTES: usize = 4 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    /// The zlib format; the bare deflate format, which some senders mean by it, is taken as well.
    Deflate,
    Zstd,
}

impl Coding {
    /// Meaning of a Content-Encoding value.
    ///
    /// # Errors
    /// [`Fault::UnknownContentCoding`] for another coding, and for more than one.
    pub fn parse(value: &[u8]) -> Result<Self, Fault> {
        let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if value.is_empty() || is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip), // RFC 9110 8.4.1.3
            () if is("deflate") => Ok(Self::Deflate),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(Fault::UnknownContentCoding),
        }
    }

    /// The coding that a head announces.
    ///
    /// # Errors
    /// As for [`Self::parse`]; two Content-Encoding lines are two codings.
    pub fn of(head: &Head<'_>) -> Result<Self, Fault> {
        let mut lines = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        match (lines.next(), lines.next()) {
            (None, _) => Ok(Self::Identity),
            (Some((_, value)), None) => Self::parse(value),
            _ => Err(Fault::UnknownContentCoding),
        }
    }
}

/// Appends to `out` what `input`, a whole body, is without its coding: `limit` bytes at most.
///
/// # Errors
/// [`Fault::BodyTooLarge`] as soon as there would be more, [`Fault::CorruptContent`] for everything that is not one
/// whole body of that coding. What `out` has got by then means nothing.
pub fn inflate(coding: Coding, input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let mut room = Room { most: out.len().saturating_add(limit), out };
    match coding {
        Coding::Identity if input.len() > limit => Err(Fault::BodyTooLarge),
        Coding::Identity => {
            room.out.extend_from_slice(input);
            Ok(())
        }
        Coding::Gzip => gzip(input, &mut room),
        Coding::Deflate => deflate(input, &mut room),
        Coding::Zstd => zstd(input, &mut room),
    }
}

/// Where inflated bytes go: never more than one beyond `most`, which shows that there are too many.
struct Room<'o> {
    out: &'o mut Vec<u8>,
    most: usize,
}

impl Room<'_> {
    /// Makes sure that something can be written behind what there is.
    fn open(&mut self) -> Result<(), Fault> {
        if self.out.len() > self.most {
            return Err(Fault::BodyTooLarge);
        }
        if self.out.len() == self.out.capacity() {
            let more = FIRST_BYTES.min(self.most + 1 - self.out.len());
            make_room(self.out, more, self.most + 1);
        }
        Ok(())
    }
}

fn gzip(mut input: &[u8], room: &mut Room<'_>) -> Result<(), Fault> {
    const CORRUPT: Fault = Fault::CorruptContent("the body is not valid gzip");
    for _ in 0..GZIP_MEMBERS_MAX {
        input = &input[zlib(Decompress::new_gzip(15), input, room, CORRUPT)?..];
        if input.is_empty() {
            return Ok(());
        }
    }
    Err(CORRUPT)
}

fn deflate(input: &[u8], room: &mut Room<'_>) -> Result<(), Fault> {
    const CORRUPT: Fault = Fault::CorruptContent("the body is not valid deflate");
    // Deflate with a window of 32 KiB at most and a header that 31 divides (RFC 1950 2.2).
    let is_zlib = matches!(*input, [method, flags, ..] if method & 0x8f == 0x08 && u16::from_be_bytes([method, flags]).is_multiple_of(31));
    match zlib(Decompress::new(is_zlib), input, room, CORRUPT)? {
        consumed if consumed == input.len() => Ok(()),
        _ => Err(CORRUPT),
    }
}

/// Inflates one stream; returns its length in the input.
fn zlib(mut stream: Decompress, input: &[u8], room: &mut Room<'_>, corrupt: Fault) -> Result<usize, Fault> {
    loop {
        room.open()?;
        let rest = &input[stream.total_in() as usize..];
        match stream.decompress_vec(rest, room.out, FlushDecompress::None) {
            Ok(Status::StreamEnd) if room.out.len() > room.most => return Err(Fault::BodyTooLarge),
            Ok(Status::StreamEnd) => return Ok(stream.total_in() as usize),
            // With room left it is the input that has come to its end, too early.
            Ok(_) if room.out.len() == room.out.capacity() => {}
            _ => return Err(corrupt),
        }
    }
}

fn zstd(input: &[u8], room: &mut Room<'_>) -> Result<(), Fault> {
    const CORRUPT: Fault = Fault::CorruptContent("the body is not valid zstd, or needs a window over 8 MiB");
    let mut context = DCtx::try_create().ok_or(CORRUPT)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(|_| CORRUPT)?;
    let mut input = InBuffer::around(input);
    let (mut frames, mut frame_start) = (0, 0);
    loop {
        room.open()?;
        if input.pos() == frame_start && !is_zstd_frame(&input.src[frame_start..]) {
            return Err(CORRUPT);
        }
        let start = room.out.len();
        let mut output = OutBuffer::around_pos(room.out, start);
        let missing = context.decompress_stream(&mut output, &mut input).map_err(|_| CORRUPT)?;
        let input_ended = input.pos() == input.src.len();
        if missing == 0 {
            frames += 1;
            frame_start = input.pos();
            if room.out.len() > room.most {
                return Err(Fault::BodyTooLarge);
            }
            if input_ended || frames == ZSTD_FRAMES_MAX {
                return if input_ended { Ok(()) } else { Err(CORRUPT) };
            }
        } else if input_ended && room.out.len() < room.out.capacity() {
            return Err(CORRUPT);
        }
    }
}

/// A frame or one to be skipped (RFC 8878 3.1). The library may know formats from before, whose decoders are not for
/// strangers' bytes.
fn is_zstd_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
